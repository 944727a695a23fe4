"""What simulations have covered: which steps were taken after which fault, and how many situations a case was in.

A step is a kind of fact upon the kind before it in the same case, with the last fault that struck. A situation is all
that a case has open after a fact (by type, group and stage; runs by what they wait for), with the last fault; numbers
in names are left out, so that two webs of one shape count once. Situations are counted as a HyperLogLog does (Flajolet
et al., 2007): within about one per cent, in 16 KB, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import log

from partita.store.facts import Dead, Fact, Incident, Open, Published, Redriven, Retried, Retrying, Returned
from partita.testing.checkers import closed_by

Step = tuple[str, str, str]
"""The last fault, the kind before, the kind."""
_NO_DIGITS = str.maketrans("", "", "0123456789")
_PLACES = 14


def find_covered(facts: Sequence[Fact], faults: Sequence[tuple[int, str]]) -> tuple[frozenset[Step], frozenset[int]]:
    """The steps and the situations of one simulation, from its facts and the faults by time."""
    steps: set[Step] = set()
    situations: set[int] = set()
    open_of: dict[str, dict[str, str]] = {}
    before: dict[str, str] = {}
    struck, next_fault = "", 0
    for fact in facts:
        while next_fault < len(faults) and faults[next_fault][0] <= fact.at:
            struck, next_fault = faults[next_fault][1], next_fault + 1
        case = fact.case or ""
        steps.add((struck, before.get(case, ""), fact.kind))
        before[case] = fact.kind
        for touched in _follow(fact, open_of):
            labels = ",".join(sorted(set(open_of[touched].values())))
            situation = f"{touched.partition(':')[0]} {struck} {labels}"
            situations.add(int.from_bytes(blake2b(situation.encode(), digest_size=8).digest(), "big"))
    return frozenset(steps), frozenset(situations)


def _follow(fact: Fact, open_of: dict[str, dict[str, str]]) -> Iterator[str]:
    """Keep what each case has open; the cases that a fact changes."""
    body, case = fact.body, fact.case or ""
    closes = closed_by(fact)
    if closes is not None:
        key = " ".join(closes)
        for name, labels in open_of.items():
            if labels.pop(key, None) is not None:
                yield name
    mine = open_of.setdefault(case, {})
    match body:
        case Published():
            home = open_of.setdefault(body.case or "", {})
            for group in body.owes:
                home[f"{body.id} {group}"] = f"{body.type} {group}".translate(_NO_DIGITS)
            yield body.case or ""
        case Retrying() | Dead() | Redriven():
            mine[f"{body.message} {body.group}"] = f"{body.type} {body.group} {fact.kind}".translate(_NO_DIGITS)
        case Incident():
            mine[f"{fact.run} stopped"] = "stopped"
        case Retried() | Returned():
            mine.pop(f"{fact.run} stopped", None)
            mine.pop(str(fact.run), None)
        case _:
            pass
    if fact.run is not None:
        _follow_run(fact, mine)
    yield case


def _follow_run(fact: Fact, mine: dict[str, str]) -> None:
    waiting: Open | None = getattr(fact.body, "open", None)
    if waiting is not None:
        named = [*(step.name for step in waiting.steps), *(name for wait in waiting.waits for name in wait.types)]
        mine[str(fact.run)] = f"run {' '.join(sorted(named))} {bool(waiting.sleeps)}".translate(_NO_DIGITS)


@dataclass(slots=True)
class Covered:
    """What many simulations have covered together."""

    steps: set[Step] = field(default_factory=set[Step])
    registers: bytearray = field(default_factory=lambda: bytearray(1 << _PLACES))

    def add(self, steps: frozenset[Step], situations: frozenset[int]) -> None:
        """Add those of one simulation."""
        self.steps |= steps
        for situation in situations:
            place, rest = situation & ((1 << _PLACES) - 1), situation >> _PLACES
            rank = 64 - _PLACES - rest.bit_length() + 1
            self.registers[place] = max(self.registers[place], rank)

    def merge(self, other: Covered) -> None:
        """Add those of others."""
        self.steps |= other.steps
        self.registers[:] = bytes(map(max, self.registers, other.registers))

    def count_situations(self) -> int:
        """About how many different ones there were."""
        size, empty = len(self.registers), self.registers.count(0)
        if empty > size // 20:  # as long as some registers are empty, their share tells more
            return round(size * log(size / empty))
        return round(0.7213 / (1 + 1.079 / size) * size * size / sum(2.0**-rank for rank in self.registers))
