"""Rendering: the monitor's answers as lines for a person. The first line is the answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from partita.cli.output import Line, Span, clean, columns
from partita.cli.suggesting import as_typed
from partita.clock import from_datetime, to_datetime
from partita.monitor.cases import CaseLine, CaseView, DeadLetter, OpenItem, Where, say_verdict
from partita.monitor.state import QUARANTINE
from partita.monitor.story import StoryLine
from partita.monitor.verdict import BAD, Next, Verdict
from partita.retry import say_duration

STYLES: Mapping[Verdict, str] = {"running": "strong", "waiting": "waiting", "compensated": "good", "done": "good"}
BASES = {"owed": "owed", "wait": "awaited", "observed": "seen before"}


@dataclass(frozen=True, slots=True)
class When:
    """How instants are said at `now_us`: UTC; today's by their time alone."""

    now_us: int

    def say(self, at: datetime) -> str:
        """An instant, to the minute."""
        return self._format(at, "%H:%MZ")

    def exact(self, at: datetime) -> str:
        """An instant, to the second."""
        return self._format(at, "%H:%M:%SZ")

    def away(self, at: datetime) -> str:
        """How far an instant is from now, either way."""
        return say_duration(abs(self.now_us - from_datetime(at)))

    def is_past(self, at: datetime) -> bool:
        """Whether an instant has been."""
        return from_datetime(at) <= self.now_us

    def is_today(self, at: datetime) -> bool:
        """Whether an instant is of today, UTC."""
        return at.astimezone(UTC).date() == to_datetime(self.now_us).date()

    def _format(self, at: datetime, time_only: str) -> str:
        return at.astimezone(UTC).strftime(time_only if self.is_today(at) else f"%Y-%m-%d {time_only}")


# Where a case is.


def where_lines(found: Where, when: When, *, stuck: Sequence[str] = (), hint: str = "") -> Iterator[Line]:
    """The answer, then where exactly and what may come next; `stuck` and `hint` are what keeps it from moving."""
    yield headline(found, when)
    details: list[Line] = []
    if found.at is not None and found.verdict == "waiting" and found.waiting_for and found.at not in found.waiting_for:
        details.append((Span("at", "dim"), Span(clean(found.at))))
    if found.waiting_for and found.verdict != "waiting":
        details.append((Span("waits for", "dim"), Span(clean(", ".join(found.waiting_for)))))
    if found.next:
        details.append((Span("next", "dim"), Span(clean(_say_next(found.next)))))
    yield from columns(details, indent=2)
    yield from ((Span(f"  {clean(reason)}", "waiting"),) for reason in (*stuck, hint) if reason)


def headline(found: Where, when: When) -> Line:
    """`order:12345  waiting for OrderApproved since 14:02Z (3 h 11 min; until 18:00Z)`."""
    style = "bad" if found.verdict in BAD else STYLES.get(found.verdict, "")
    since = f" since {when.say(found.since)} ({when.away(found.since)}{_limit(found, when)})"
    return (Span(clean(found.case), "strong"), Span("  "), Span(clean(say_verdict(found)), style), Span(since))


def _limit(found: Where, when: When) -> str:
    if found.deadline is None:
        return ""
    return f"; {'was due' if when.is_past(found.deadline) else 'until'} {when.say(found.deadline)}"


def _say_next(following: Sequence[Next]) -> str:
    by_basis: dict[str, list[str]] = {}
    for one in following:
        share = f" {one.share:.0%}" if one.share is not None else ""
        by_basis.setdefault(BASES[one.basis], []).append(f"{one.name}{share}")
    return "; ".join(f"{', '.join(names)} ({basis})" for basis, names in by_basis.items())


def next_lines(found: Where, when: When) -> Iterator[Line]:
    """What may come next in a case, and on what grounds."""
    if not found.next:
        yield (*headline(found, when)[:3], Span(": nothing can be expected next"))
        return
    yield headline(found, when)
    rows = [
        (Span(clean(one.name)), Span(BASES[one.basis], "dim"), Span("" if one.share is None else f"{one.share:.0%}"))
        for one in found.next
    ]
    yield from columns(rows, indent=2)


# The story of a case.


def show_lines(view: CaseView, when: When, *, hint: str = "", flags: str = "") -> Iterator[Line]:
    """The answer, the story oldest first, then what is open and what has died."""
    yield headline(view, when)
    reasons = dict.fromkeys((view.explanation, *view.stuck, hint))
    yield from ((Span(f"  {clean(reason)}", "waiting"),) for reason in reasons if reason)
    yield ()
    yield from story_lines(view.story, when)
    if view.open:
        yield from _section("open")
        yield from columns((_open_row(item, when) for item in view.open), indent=2)
    if view.dead:
        yield from _section("dead")
        for letter in view.dead:
            yield (Span(f"  {clean(say_dead(letter))}: "), Span(clean(say_error(letter))))
            mend = "discard" if letter.group == QUARANTINE else "redrive"  # redriving needs code that can read it
            command = f"partita dead {mend} {shlex.quote(clean(letter.id))}{flags}"
            yield (Span(f"    {as_typed(command)}", "dim"),)


def say_dead(letter: DeadLetter) -> str:
    """Which message is dead for whom."""
    raw = letter.group == QUARANTINE
    ended = "is held by" if letter.held else "can't be handled, and is in" if raw else "is dead for"
    return f"{letter.type or 'a message'} {ended} {letter.group}{' (an observer)' if letter.observer else ''}"


def say_error(letter: DeadLetter) -> str:
    """What the last attempt raised, or why nobody could try."""
    return f"{letter.error}: {letter.text}" if letter.error and letter.text else letter.error or letter.text


def story_lines(story: Sequence[StoryLine], when: When) -> list[Line]:
    """When, who, what, which: one fact a line."""
    form = "%H:%M:%SZ" if all(when.is_today(line.at) for line in story) else "%Y-%m-%d %H:%M:%SZ"
    rows = [
        (
            Span(line.at.astimezone(UTC).strftime(form), "dim"),
            Span(clean(line.who)),
            Span(clean(line.what), "strong"),
            Span(clean(line.which)),
            Span(clean(line.note), "dim"),
        )
        for line in story
    ]
    return columns(rows, indent=2)


def _section(name: str) -> Iterator[Line]:
    yield ()
    yield (Span(name, "strong"),)


def _open_row(item: OpenItem, when: When) -> Line:
    notes = [
        f"since {when.exact(item.since)}",
        f"{item.stage}" if item.stage not in {"open", ""} else "",
        f"attempt {item.attempt} failed" if item.attempt else "",
        f"due {when.exact(item.due)}" if item.due else "",
        f"until {when.exact(item.deadline)}" if item.deadline else "",
        "observer" if item.observer else "",
        item.note,
    ]
    said = ", ".join(note for note in notes if note)
    return (Span(item.kind, "dim"), Span(clean(item.name)), Span(clean(item.who)), Span(clean(said), "dim"))


# Many cases.


def list_lines(
    found: Sequence[CaseLine], counts: Mapping[Verdict, int], when: When, *, stuck: bool = False, more: str = ""
) -> Iterator[Line]:
    """A table of cases, worst first, with how many there are of each verdict below it."""
    if found:
        last = "why" if stuck else "waits for"
        heads: Line = tuple(Span(name, "dim") for name in ("case", "verdict", "at", "since", last))
        yield from columns([heads, *(_case_row(line, when, stuck=stuck) for line in found)])
    yield count_line(counts)
    if more:
        yield (Span(f"more: {more}", "dim"),)


def count_line(counts: Mapping[Verdict, int]) -> Line:
    """How many cases have each verdict, worst first."""
    if not counts:
        return (Span("no cases yet"),)
    total = sum(counts.values())
    spans = [Span(f"{total} {'case' if total == 1 else 'cases'}: ")]
    for verdict, count in counts.items():
        style = "bad" if verdict in BAD else STYLES.get(verdict, "")
        spans += [Span(f"{count} {verdict}", style), Span(", ")]
    return tuple(spans[:-1])


def _case_row(line: CaseLine, when: When, *, stuck: bool) -> Line:
    style = "bad" if line.verdict in BAD else STYLES.get(line.verdict, "")
    last = "; ".join(line.stuck) if stuck else ", ".join(line.waiting_for)
    if not stuck and line.stuck and line.verdict not in BAD:
        last = f"{last} (stuck)".strip()
    return (
        Span(clean(line.case), "strong"),
        Span(line.verdict, style),
        Span(clean(line.at or "")),
        Span(f"{when.say(line.since)} ({when.away(line.since)})", "dim"),
        Span(clean(last)),
    )
