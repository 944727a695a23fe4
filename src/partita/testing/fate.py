"""Fate: what goes wrong is decided by the seed and by what it befalls, never by what went wrong before.

So one fault can be left out of a simulation and the others stay: which is how a failing seed is made small. What struck
is kept by name, and a mask says which names may strike again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random  # noqa: TID251 - the simulation's seeded dice, never a secret

_WHOLE = float(2**64)


@dataclass(frozen=True, slots=True)
class Mask:
    """What may happen in a simulation; without names, everything that its seed draws."""

    names: frozenset[str] | None = None

    def allows(self, name: str) -> bool:
        """Whether it may happen."""
        return self.names is None or name in self.names


EVERYTHING = Mask()


@dataclass(slots=True, eq=False)
class Fate:
    """The dice of one seed: keyed numbers for faults, and a dice of its own for whoever asks for one."""

    seed: int = 0
    mask: Mask = EVERYTHING
    struck: dict[str, None] = field(default_factory=dict[str, None])
    """The names of what has happened so far, in order: faults, and what people came to do."""
    _counted: Counter[str] = field(default_factory=Counter[str])

    def dice(self, name: str) -> Random:
        """A dice that nobody else throws."""
        return Random(f"{self.seed}/{name}")

    def number(self, what: str, whom: str) -> float:
        """In [0, 1): the next one of this kind for this one."""
        return self._draw(what, whom)[1]

    def strikes(self, fault: str, whom: str, rate: float) -> bool:
        """Whether a fault of this kind strikes this one now."""
        if rate <= 0:
            return False
        name, number = self._draw(fault, whom)
        return number < rate and self.happens(name)

    def happens(self, name: str) -> bool:
        """Whether something that the seed has drawn may happen; then it is remembered."""
        if not self.mask.allows(name):
            return False
        self.struck[name] = None
        return True

    def _draw(self, what: str, whom: str) -> tuple[str, float]:
        name = f"{what}: {whom}"
        self._counted[name] += 1
        name = f"{name} #{self._counted[name]}"
        digest = blake2b(f"{self.seed}/{name}".encode(), digest_size=8).digest()
        return name, int.from_bytes(digest, "big") / _WHOLE
