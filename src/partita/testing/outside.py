"""The world outside of a simulated system: it never dies, knows idempotency keys, and counts every raw request.

It is the ledger that checkers compare a store with, so nothing in it is taken from the store.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from partita.errors import Final, RetryLater
from partita.testing.fate import Fate

Trouble = Literal["none", "before", "after", "later", "slow", "kill"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the business says about one order: a function of the seed, never of timing."""

    large: bool = False
    gift: bool = False
    declined: bool = False
    refused: bool = False
    """By the carrier."""
    approves: bool | None = True
    """None: the manager never answers."""
    no_label: bool = False
    """Its label can't be printed, for good."""
    bug: bool = False
    """Its workflow's code raises until it is mended."""
    poison: str = ""
    """What kills the process that asks for it, until it is mended."""
    cancels: bool = False
    """Somebody asks its run to cancel."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What happened outside, once for each key."""

    kind: str
    case: str
    amount: int
    key: str


@dataclass(slots=True)
class Rates:
    """How often what goes wrong, as probabilities; a seed draws its own."""

    before: float = 0.0
    after: float = 0.0
    later: float = 0.0
    slow: float = 0.0


@dataclass(slots=True, eq=False)
class Outside:
    """The card network, the carrier, the post, the printer."""

    fate: Fate
    rates: Rates = field(default_factory=Rates)
    plans: dict[str, Plan] = field(default_factory=dict[str, Plan])
    effects: dict[str, Effect] = field(default_factory=dict[str, Effect])
    raw: Counter[str] = field(default_factory=Counter[str])
    """Requests by key."""
    seen: dict[str, int] = field(default_factory=dict[str, int])
    """The last fact of the trail when each key was first asked with."""
    kills: Counter[str] = field(default_factory=Counter[str])
    """How often one killed its process, by key."""
    wrong: list[str] = field(default_factory=list[str])
    """What no caller should ever do: one key for two things."""
    mended: bool = False
    last_seq: Callable[[], int] = lambda: 0
    kill: Callable[[str], None] = lambda _why: None
    """Ends the process that asks."""
    note: Callable[[str], None] = lambda _what: None
    """Hears of trouble, for the trace."""

    def plan(self, order_id: str) -> Plan:
        """What is meant to become of an order."""
        return self.plans.get(order_id, Plan())

    async def ask(self, kind: str, case: str | None, key: str, *, amount: int = 0) -> None:
        """Have something done, once for each key; may take its time, and may fail before or after it was done."""
        trouble = self._trouble(kind, case, key)
        await asyncio.sleep(self.fate.number("going s", f"{kind} of {case}") * 0.2)
        if trouble == "slow":
            await asyncio.sleep(20.0)
        self._act(kind, case, key, amount, trouble)
        await asyncio.sleep(self.fate.number("coming s", f"{kind} of {case}") * 0.2)
        if trouble == "after":
            raise ConnectionError(f"{kind}: the answer was lost")

    def ask_now(self, kind: str, case: str | None, key: str, *, amount: int = 0) -> None:
        """The same for plain functions."""
        trouble = self._trouble(kind, case, key)
        self._act(kind, case, key, amount, trouble)
        if trouble == "after":
            raise ConnectionError(f"{kind}: the answer was lost")

    def stumble(self, what: str) -> None:
        """Fail now and then, for plain functions with a transaction: what they wrote is rolled back."""
        if self.fate.strikes("stumble", what, self.rates.before):
            self.note(f"{what}: stumbles")
            raise ConnectionError(f"{what}: stumbled")

    def find(self, kind: str, case: str) -> list[Effect]:
        """What was done of one kind for a case."""
        return [effect for effect in self.effects.values() if effect.kind == kind and effect.case == case]

    def total(self, kind: str) -> int:
        """The amounts of one kind together."""
        return sum(effect.amount for effect in self.effects.values() if effect.kind == kind)

    def _trouble(self, kind: str, case: str | None, key: str) -> Trouble:
        self.raw[key] += 1
        if key not in self.seen:
            self.seen[key] = self.last_seq()
        plan = self.plan((case or "").partition(":")[2])
        if plan.poison == kind and not self.mended:
            self.kills[key] += 1
            return "kill"
        rates, whom = self.rates, f"{kind} of {case}"
        named: list[tuple[Trouble, float]] = [
            ("before", rates.before), ("after", rates.after), ("later", rates.later), ("slow", rates.slow)
        ]  # fmt: skip
        for trouble, rate in named:
            if self.fate.strikes(trouble, whom, rate):
                self.note(f"{whom}: {trouble}")
                return trouble
        return "none"

    def _act(self, kind: str, case: str | None, key: str, amount: int, trouble: Trouble) -> None:
        if trouble == "before":
            raise ConnectionError(f"{kind}: no connection")
        if trouble == "later":
            raise RetryLater(f"{kind}: busy", after="3s")
        if trouble == "kill":
            self.kill(f"{kind} of {case} kills its process")
            raise Final(f"{kind}: killed")
        effect = Effect(kind, case or "", amount, key)
        known = self.effects.setdefault(key, effect)
        if known != effect:
            self.wrong.append(f"key {key} stands for {known} and for {effect}")


_outside: list[Outside] = []


def use(outside: Outside) -> None:
    """Let this be the world that handlers and steps reach."""
    _outside[:] = [outside]


def outside() -> Outside:
    """The world that handlers and steps reach."""
    return _outside[-1]
