"""The trace of a simulation: what was said and what went wrong, in one order, for a person to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from partita.clock import US
from partita.store.facts import Body, Fact
from partita.store.port import TrailReader
from partita.testing.covered import Step, find_covered
from partita.testing.virtual import EPOCH_US

_SHOWN = ("type", "group", "attempt", "outcome", "step", "how", "error", "reason", "text", "due", "count", "workflow")
"""What a line shows of a fact's body, where it is there and not empty."""


class Trace:
    """Counts faults; where it `keeps`, writes a line for each of them and for each fact."""

    def __init__(self, now_us: Callable[[], int], *, keeps: bool) -> None:
        self.faults: Counter[str] = Counter()
        self.lines: list[str] = []
        self.wrong: list[str] = []
        """What must never happen, and did."""
        self._now_us = now_us
        self.struck: list[tuple[int, str]] = []
        """When which kind of fault struck."""
        self.steps: frozenset[Step] = frozenset()
        self.situations: frozenset[int] = frozenset()
        self._keeps = keeps
        self._seq = 0

    def note(self, kind: str, what: str) -> None:
        """A fault."""
        self.faults[kind] += 1
        self.struck.append((self._now_us(), kind))
        self.say(f"!! {kind}: {what}")

    def blame(self, what: str) -> None:
        """Something that must never happen."""
        self.wrong.append(what)
        self.say(f"?? {what}")

    def say(self, text: str) -> None:
        """One line, now."""
        if self._keeps:
            self.lines.append(f"{_seconds(self._now_us())} {text}")

    def look_back(self, facts: Sequence[Fact]) -> None:
        """Work out what was covered, at the end."""
        self.steps, self.situations = find_covered(facts, self.struck)

    def catch_up(self, trail: TrailReader) -> None:
        """Write what the trail has said since."""
        while self._keeps and (facts := trail.list_facts(after_seq=self._seq, limit=500)):
            self.lines += [say_fact(fact) for fact in facts]
            self._seq = facts[-1].seq


def say_fact(fact: Fact) -> str:
    """A fact in one line."""
    place = f"{fact.run} {fact.run_n}" if fact.run is not None else fact.case or "-"
    return f"{_seconds(fact.at)} #{fact.seq:<4} {place}: {fact.kind} {_say_body(fact.body)}".rstrip()


def _say_body(body: Body) -> str:
    words: list[str] = []
    for name in _SHOWN:
        value = getattr(body, name, None)
        if value in {None, "", 0} or (name == "attempt" and value == 1):
            continue
        if name == "due":
            value = f"due {_seconds(int(str(value))).strip()}"
        words.append(str(value)[:60])
    return " ".join(words)


def _seconds(at_us: int) -> str:
    return f"{(at_us - EPOCH_US) / US:12.6f}"
