"""The walkers of a simulation: who starts rounds, pokes those who are on their way, and asks what they came to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from partita.errors import CallFailed, Rejected, Unknown
from partita.runtime.client import Run
from partita.store.port import ObligationRow
from partita.testing.people import People
from partita.testing.rounds import Node, Poked, Round, go_round, walk_nodes


@dataclass(slots=True)
class Walkers:
    """Whoever goes on a round."""

    rounds: dict[str, Node]
    results: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """What somebody was told that a round returned."""
    people: People = field(init=False)

    def come(self, people: People, within_s: float) -> None:
        """Start, poke and cancel, each at a time of its own."""
        self.people = people
        for round_id, plan in self.rounds.items():
            dice = people.system.fate.dice(round_id)
            people.spawn(self._go_round(round_id, plan, dice.random() * within_s))
            for node in walk_nodes(plan):
                drawn, after_s = dice.random(), dice.random() * within_s * 2
                if node.op == "wait" and drawn < 0.6 and people.happens(f"{round_id} is poked for {node.n}"):
                    people.spawn(self._poke(round_id, node.n, after_s))
            if dice.random() < 0.2 and people.happens(f"{round_id} is cancelled"):
                people.spawn(people.cancel(f"round:{round_id}", dice.random() * within_s * 2))

    async def decide(self) -> int:
        """Nothing waits for them."""
        return 0

    def may_discard(self, row: ObligationRow) -> bool:
        """A round's calls are redriven."""
        return False

    async def _go_round(self, round_id: str, plan: Node, after_s: float) -> None:
        await asyncio.sleep(after_s)
        people = self.people
        await people.insist(f"round/{round_id}", Round(round_id=round_id, plan=plan), start=go_round)
        if people.chance(f"result {round_id}") < 0.5:
            with suppress(Unknown, Rejected, CallFailed):
                run = Run[list[int]](f"go_round/round:{round_id}/1", "", people.system.ask, people.new_key, list[int])
                self.results[round_id] = await run.result(timeout="40s")

    async def _poke(self, round_id: str, n: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self.people.insist(f"poke/{round_id}/{n}", Poked(round_id=round_id, n=n))
