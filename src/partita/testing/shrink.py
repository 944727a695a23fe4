"""Shrinking: of all that went wrong in a failing seed, and of all that people did, the little that it still fails with.

Delta debugging (Zeller and Hildebrandt, 2002) over the names that the fate of a seed has kept: whole kinds first, then
halves, quarters, and one by one. It fails still where a checker says the same sentence, but for numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from partita.testing.fate import Mask
from partita.testing.simulation import Report, simulate

RUNS_MAX = 1_500
_NUMBERS = re.compile(r"\b[0-9a-f]{12,}\b|\d+")
_SHAPE_MAX = 60


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest run found that fails as the seed does, and what it was made from."""

    whole: Report
    report: Report
    """With its trace."""
    kept: list[str]
    runs: int

    @property
    def left_out(self) -> list[str]:
        """What happens in the whole run and is not needed."""
        kept = set(self.kept)
        return [name for name in self.whole.struck if name not in kept]


def shrink(seed: int, *, runs_max: int = RUNS_MAX) -> Shrunk | None:
    """Make a failing seed small; None where it does not fail."""
    whole = simulate(seed)
    if not whole.wrong:
        return None
    wanted, runs = shape(whole.wrong[0]), 0

    def fails(names: Sequence[str]) -> bool:
        nonlocal runs
        if runs >= runs_max:
            return False
        runs += 1
        found = simulate(seed, mask=Mask(frozenset(names)))
        return any(shape(sentence) == wanted for sentence in found.wrong)

    kept = minimise(_drop_kinds(whole.struck, fails), fails)
    report = simulate(seed, trace=True, mask=Mask(frozenset(kept)))
    return Shrunk(whole, report, [name for name in kept if name in set(report.struck)], runs)


def shape(sentence: str) -> str:
    """A sentence without its numbers and ids: what two failures of one kind have in common."""
    return _NUMBERS.sub("#", sentence)[:_SHAPE_MAX]


def minimise(names: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> list[str]:
    """A part of the names that still fails, and of which no single one can be left out."""
    left, parts = list(names), 2
    while left:
        size = max(len(left) // parts, 1)
        for at in range(0, len(left), size):
            rest = left[:at] + left[at + size :]
            if fails(rest):
                left, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(left))
    return left


def _drop_kinds(names: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> list[str]:
    """Leave out every kind of thing that is not needed at all."""
    left = list(names)
    for kind in dict.fromkeys(_kind(name) for name in names):
        rest = [name for name in left if _kind(name) != kind]
        if fails(rest):
            left = rest
    return left


def _kind(name: str) -> str:
    return re.split(r"[: ]", name, maxsplit=1)[0]
