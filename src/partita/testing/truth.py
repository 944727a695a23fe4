"""`python -m partita.testing.truth`: trouble by kind, form and seed, and whether the story told the truth about it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from os import cpu_count
from time import perf_counter  # noqa: TID251 - it measures how long the table takes

from partita.testing.expected import EXPECTED, Expected
from partita.testing.hire import FORMS, Form
from partita.testing.simulate import at_least_one
from partita.testing.stage import Stage
from partita.testing.troubles import BRING

ASKED = ("verdict", "leaf", "command", "after")
"""What is compared with what stands in the table."""
LOOKS = (["show"], ["flow"], ["ps"], ["doctor"])
"""Commands that mend nothing."""
AS_IT_IS = frozenset({"no-subscriber", "group-gone", "workflow-gone"})
"""Kinds whose command has to work on the code that is there."""
HANGING = frozenset({"slow"})
"""Kinds in which a handler never comes to its end; only its process can."""
FRAGILE = frozenset({"undo-waits", "lost"})
"""Kinds of trouble that a restart would mend."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the story said of one trouble."""

    form: Form
    kind: str
    seed: int
    said: dict[str, str] = field(default_factory=dict[str, str])
    """The verdict, the leading leaf, the command, and the verdict once it had been carried out."""
    wrong: str = ""
    """What kept the scene from being played."""

    @property
    def expected(self) -> Expected:
        """What it should have said."""
        return EXPECTED[self.kind, self.form]

    def is_right(self, asked: str) -> bool:
        """Whether one of the answers is the one that stands in the table."""
        return not self.wrong and fnmatchcase(self.said.get(asked, ""), self.expected.answer(asked))

    @property
    def faults(self) -> list[str]:
        """What it said, and what it should have said, where these differ."""
        if self.wrong:
            return [self.wrong]
        differ = [asked for asked in ASKED if not self.is_right(asked)]
        return [f"{asked} is {self.said.get(asked)!r}, not {self.expected.answer(asked)!r}" for asked in differ]


def tell(kind: str, form: Form, seed: int) -> Told:
    """Bring about one trouble, look at it, and do what the story says."""
    stage = Stage(form, kind, seed)
    told = Told(form, kind, seed)
    try:
        stage.run(_play(stage, told))
    except Exception as error:  # noqa: BLE001 - a scene that can't be played is a line of the table
        return Told(form, kind, seed, told.said, f"{type(error).__name__}: {error}")
    return Told(form, kind, seed, told.said, "; ".join(stage.wrong))


async def _play(stage: Stage, told: Told) -> None:
    stage.start()
    for number in range(stage.dice.choice([0, 0, 1, 2])):
        await stage.say("HireAsked", f"healthy-{stage.key}-{number}")
    await stage.bring(BRING[told.kind], calm=told.kind in FRAGILE)
    command = _look(stage, told)
    await _mend(stage, told, command)
    with stage.looking() as look:
        told.said["after"] = look.where(stage.case).verdict


def _look(stage: Stage, told: Told) -> str:
    """Ask the monitor; returns the command that it prints, empty where none mends."""
    with stage.looking() as look:
        where = look.where(stage.case)
        leading = look.why(stage.case, told.expected.outcome).leading
    command = leading.command or ""
    if command.split()[1:2] in LOOKS:
        command = ""
    shown = command.removeprefix("partita ").replace(stage.case, "CASE").replace(stage.key, "KEY")
    told.said.update(verdict=where.verdict, leaf=str(leading.leaf), command=shown or "-")
    return command


async def _mend(stage: Stage, told: Told, command: str) -> None:
    """Let the world be mended; then carry out what was printed, or leave it to time."""
    stage.mended, stage.wire.drop = True, 0.0
    if not stage.is_whole and not (command and told.kind in AS_IT_IS):
        await stage.deploy("whole")
    elif told.kind in HANGING or (command != "partita dev" and stage.dice.random() < 0.3):
        await stage.deploy()
    if command:
        await stage.obey(command)
    else:
        await stage.pass_time(days=1.5)
    await stage.rest()


# The table.


def confusion(told: Iterable[Told]) -> Iterator[str]:
    """One line for each kind and form: how many seeds, and how many of them were right in each answer."""
    by_row: dict[tuple[str, Form], list[Told]] = {}
    for one in told:
        by_row.setdefault((one.kind, one.form), []).append(one)
    yield f"{'trouble':<20}{'form':<15}{'seeds':>6}" + "".join(f"{asked:>9}" for asked in ASKED) + "   it should say"
    for (kind, form), rows in by_row.items():
        counts = [sum(one.is_right(asked) for one in rows) for asked in ASKED]
        marks = "".join(f"{count:>8}{' ' if count == len(rows) else '!'}" for count in counts)
        expected = EXPECTED[kind, form]
        said = f"{expected.verdict}, {expected.leaf}, {expected.command}, {expected.after}"
        yield f"{kind:<20}{form:<15}{len(rows):>6}{marks}   {said}"
        faults = Counter(fault for one in rows for fault in one.faults)
        for fault, times in faults.most_common(3):
            first = next(one.seed for one in rows if fault in one.faults)
            yield f"    {times} times, first with seed {first}: {fault}"


def run_rows(rows: Sequence[tuple[str, Form]], seeds: range, *, workers: int = 1) -> list[Told]:
    """Every row with every seed."""
    if workers == 1:
        return [tell(kind, form, seed) for kind, form in rows for seed in seeds]
    with ProcessPoolExecutor(max_workers=workers) as pool:
        found = pool.map(_run_row, [(kind, form, seeds) for kind, form in rows])
        return list(chain.from_iterable(found))


def _run_row(row: tuple[str, Form, range]) -> list[Told]:
    kind, form, seeds = row
    return [tell(kind, form, seed) for seed in seeds]


def main() -> int:
    """Print the table; 1 where the story was wrong."""
    parser = argparse.ArgumentParser(prog="partita.testing.truth", description="Does the story tell the truth?")
    parser.add_argument("--seeds", type=at_least_one, default=100, help="how many (100)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (1)")
    parser.add_argument("--kind", choices=sorted(BRING), action="append", help="only this kind of trouble")
    parser.add_argument("--form", choices=FORMS, action="append", help="only this form")
    parser.add_argument("--workers", type=at_least_one, default=cpu_count() or 1, help="how many processes")
    asked = parser.parse_args()
    rows = [row for row in EXPECTED if row[0] in (asked.kind or [row[0]]) and row[1] in (asked.form or [row[1]])]
    if not rows:
        parser.error("that kind of trouble does not come in that form: nothing would be asked")
    began = perf_counter()
    told = run_rows(rows, range(asked.first, asked.first + asked.seeds), workers=asked.workers)
    wrong = sum(bool(one.faults) for one in told)
    kinds = len({kind for kind, _ in rows})
    sys.stdout.write("".join(f"{line}\n" for line in confusion(told)))
    sys.stdout.write(
        f"{kinds} kinds of trouble, {len(rows)} rows, {asked.seeds} seeds each: {len(told)} stories"
        f" in {perf_counter() - began:.1f} s; {wrong} were wrong\n"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
