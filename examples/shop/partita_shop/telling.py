"""Telling: the demo's progress while it runs, and afterwards what came of the orders and what to try next."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from partita.cli.causes import why_lines
from partita.cli.output import Line, Span, columns, print_json, print_lines
from partita.cli.render import STYLES, When, show_lines
from partita.cli.suggesting import Mends, as_typed
from partita.clock import SystemClock
from partita.monitor.cases import CaseLine, CaseView, Where
from partita.monitor.verdict import BAD, RANK
from partita.monitor.why import WhyTree
from partita_shop.books import Tally

_RUN = " --run"
"""When the demo is over no engine runs: what mends something has to run the app itself."""
CASE_TYPES = {"order": "orders", "return": "returns", "delivery": "deliveries"}


class Meter:
    """How far a demo is: a bar for a person, a line for each quarter otherwise; on standard error."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total = total
        self._shown = shown
        self._quarters = 0
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._row = self._bar.add_task("orders and returns at rest", total=total)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._shown and self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the whole, and stop."""
        if kind is None:
            self.show(self._total)
        if self._shown and self._console.is_terminal:
            self._bar.stop()

    def show(self, resting: int) -> None:
        """So many have come to rest."""
        resting = min(resting, self._total)
        self._bar.update(self._row, completed=resting)
        quarters = 4 * resting // self._total
        if self._shown and not self._console.is_terminal and quarters > self._quarters:
            self._quarters = quarters
            print(f"{resting} of {self._total} orders and returns at rest", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Story:
    """A case that is told as an example."""

    title: str
    view: CaseView


class Told(Protocol):
    """What a demo came to."""

    @property
    def form(self) -> str: ...
    @property
    def store(self) -> Path: ...
    @property
    def seconds(self) -> float: ...
    @property
    def cases(self) -> tuple[CaseLine, ...]: ...
    @property
    def stories(self) -> tuple[Story, ...]: ...
    @property
    def why(self) -> WhyTree | None: ...
    @property
    def outside(self) -> Tally: ...


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The same as JSON."""

    form: str
    store: str
    app: str
    seconds: float
    verdicts: dict[str, int]
    """Of all cases."""
    by_type: dict[str, dict[str, int]]
    examples: dict[str, Where]
    why: WhyTree | None
    outside: Tally
    commands: list[str]


def tell(told: Told, *, as_json: bool, here: bool) -> None:
    """Print what came of a demo. `here` says whether the commands find its store from the current folder."""
    commands = [(as_typed(command), f"# {what}") for command, what in _commands(told, here=here)]
    if not as_json:
        print_lines(_lines(told, commands))
        return
    by_type = {name: dict(count_verdicts(told.cases, case_type)) for case_type, name in CASE_TYPES.items()}
    print_json(
        Report(
            form=told.form,
            store=str(told.store),
            app=_app(told),
            seconds=told.seconds,
            verdicts=dict(count_verdicts(told.cases)),
            by_type=by_type,
            examples={story.title: _where(story.view) for story in told.stories},
            why=told.why,
            outside=told.outside,
            commands=[command for command, _said in commands],
        )
    )


def count_verdicts(cases: Sequence[CaseLine], case_type: str = "") -> Counter[str]:
    """How many cases, of one type if one is named, have each verdict, worst first."""
    ordered = sorted(cases, key=lambda line: RANK[line.verdict])
    return Counter(line.verdict for line in ordered if line.case.startswith(f"{case_type}:" if case_type else ""))


def _lines(told: Told, commands: Sequence[tuple[str, str]]) -> Iterator[Line]:
    when = When(SystemClock().now_us())
    yield ()
    orders = sum(not line.case.startswith("delivery:") for line in told.cases)
    yield (Span(f"The shop in form {told.form}: {orders} real orders and returns in {told.seconds:.1f} s", "strong"),)
    yield ()
    yield from _verdict_table(told.cases)
    yield from _outside_lines(told.outside)
    for story in told.stories:
        yield ()
        yield (Span(f"One that is {story.title}", "strong"),)
        yield from show_lines(story.view, when, flags=_RUN)
    if told.why is not None:
        yield ()
        yield (Span(as_typed(f"partita why {told.why.case} {told.why.outcome}"), "strong"),)
        yield from why_lines(told.why, when, Mends(acting=_RUN, dev=f"partita dev {_app(told)}"))
    yield ()
    yield (Span("Try next", "strong"),)
    yield from columns(((Span(command), Span(said, "dim")) for command, said in commands), indent=2)


def _outside_lines(books: Tally) -> Iterator[Line]:
    done = ", ".join(f"{times} × {op}" for op, times in books.effects_by_op.items())
    yield ()
    yield (Span("The world outside", "strong"),)
    yield (Span(f"  {books.requests} requests, {books.effects} effects: {done}"),)
    yield (Span(f"  {books.suppressed} requests came again under a known key, and had no second effect"),)


def _verdict_table(cases: Sequence[CaseLine]) -> list[Line]:
    counts = {case_type: count_verdicts(cases, case_type) for case_type in CASE_TYPES}
    rows: list[Line] = [(Span("verdict", "dim"), *(Span(f"{name:>10}", "dim") for name in CASE_TYPES.values()))]
    for verdict in RANK:
        found = [counted[verdict] for counted in counts.values()]
        if any(found):
            style = "bad" if verdict in BAD else STYLES.get(verdict, "")
            rows.append((Span(verdict, style), *(Span(f"{count or '':>10}") for count in found)))
    return columns(rows, indent=2)


def _commands(told: Told, *, here: bool) -> Iterator[tuple[str, str]]:
    if not here:
        yield f"export PARTITA_STORE={told.store} PARTITA_APP={_app(told)}", "./partita.toml names another store or app"
    cases = {story.title: story.view.case for story in told.stories}
    yield "partita ps --stuck", "what can't move by itself, and why"
    if done := cases.get("done"):
        yield f"partita where {done}", "where an order is"
    if stuck := cases.get("stuck"):
        yield f"partita why {stuck} OrderShipped", "why it was not shipped"
        yield f"partita retry {stuck} --run", "mend it: the carrier answers who asks anew"
        yield f"partita show {stuck}", "its story, to the end"
    if waiting := cases.get("waiting for approval"):
        said = '{"approve": true, "by": "you"}'
        yield f"partita signal {waiting} DecideOrder '{said}' --run", "decide it"
    yield "partita group resume gift-notes --run", "let the paused group work off what it owes"
    yield f"partita dev {_app(told)}", "keep it running, and ask from a second terminal"


def _app(told: Told) -> str:
    return f"partita_shop.{told.form}:app"


def _where(view: CaseView) -> Where:
    return Where(**{name: getattr(view, name) for name in Where.__struct_fields__})
