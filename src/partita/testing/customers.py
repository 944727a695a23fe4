"""The customers of the simulated shop, a web form that speaks for itself, and a manager."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field

from partita.errors import CallFailed, Rejected, Unknown
from partita.runtime.requests import Request, message_id_of
from partita.store.port import ObligationRow
from partita.testing.outside import Plan
from partita.testing.people import People
from partita.testing.processes import STOCK, Approved, Decide, Placed

_DISCARDED = {"mail", "notes"}
"""Groups whose dead letters may be given up: no order ends differently. A held shipment may too: it is undone."""


@dataclass(slots=True)
class Customers:
    """Whoever wants something of the shop."""

    plans: dict[str, Plan]
    placed: dict[str, Placed] = field(default_factory=dict[str, Placed])
    notes: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Order and text of every note that came over the transport, by its message id."""
    people: People = field(init=False)
    _undecided: list[str] = field(default_factory=list[str])

    def come(self, people: People, within_s: float) -> None:
        """Everybody comes to the shop, each at a time of their own."""
        self.people = people
        for order_id, plan in self.plans.items():
            dice = people.system.fate.dice(order_id)
            order = Placed(
                order_id=order_id,
                sku=dice.choice(list(STOCK)),
                count=dice.randint(1, 3),
                pence=dice.randint(1, 99),
                large=plan.large,
                gift=plan.gift,
            )
            self.placed[order_id] = order
            people.spawn(self._order(order, dice.random() * within_s))
            for number in range(2 if plan.gift else 0):
                people.spawn(self._write_note(order_id, f"{order_id}-{number}", dice.random() * within_s * 2))
            if plan.cancels:
                people.spawn(people.cancel(f"order:{order_id}", dice.random() * within_s * 3))
            if plan.large and plan.approves is not None:
                self._undecided.append(order_id)

    async def decide(self) -> int:
        """Let the manager look once; returns how many orders were decided."""
        decided, people = 0, self.people
        for order_id in list(self._undecided):
            life = people.system.living()
            where = life.look.find_where(f"order:{order_id}") if life is not None else None
            if where is not None and "Approved" in where.waiting_for:
                command = Decide(order_id=order_id, approve=bool(self.plans[order_id].approves))
                await people.insist(f"decide/{order_id}", command)
                self._undecided.remove(order_id)  # only now: a manager who is called away meanwhile decides it later
                decided += 1
                if people.chance(f"hear {order_id}") < 0.5:
                    people.spawn(self._hear_decision(command))
        return decided

    def may_discard(self, row: ObligationRow) -> bool:
        """Mails and notes may be given up, and a shipment that somebody holds."""
        return row.group in _DISCARDED or (row.type == "Ship" and row.caller is not None)

    async def _order(self, order: Placed, after_s: float) -> None:
        await asyncio.sleep(after_s)
        people, key = self.people, f"order/{order.order_id}"
        await people.insist(key, order)
        if people.chance(f"twice {key}") < 0.3:
            await asyncio.sleep(people.chance(f"wait {key}") * 5)
            await people.insist(key, order)
        if people.chance(f"other {key}") < 0.1:
            other = Placed(order_id=order.order_id, sku=order.sku, count=order.count, pence=order.pence + 1)
            await self._must_be_rejected(key, other)

    async def _must_be_rejected(self, key: str, other: Placed) -> None:
        if self.people.system.living() is None:
            return  # What is left for the next engine is judged by that one.
        try:
            await self.people.client.emit(other, key=key)
        except (Unknown, Rejected):
            return
        self.people.system.trace.blame(f"key {key} was accepted for another body")

    async def _write_note(self, order_id: str, text: str, after_s: float) -> None:
        """A foreign producer: it puts bytes on the wire, again and again, until it sees that they were taken.

        It waits until the order's own message is in the trail. An order that was left for the next engine was accepted
        before that: a note that came first would meet no run, and its order would wait for one that nobody writes.
        """
        await asyncio.sleep(after_s)
        while not self._is_placed(order_id):  # noqa: ASYNC110 - a person looks again
            await asyncio.sleep(1.0)
        note = {"order_id": order_id, "text": text}
        event = {"specversion": "1.0", "id": text, "source": "web", "type": "NoteAdded", "data": note}
        message_id = f"web#{text}"
        self.notes[message_id] = (order_id, text)
        system = self.people.system
        while not system.over:
            life = system.living()
            if life is not None:
                if life.store.trail.find_message(message_id) is not None:
                    return
                life.transport.put(json.dumps(event).encode())
            await asyncio.sleep(3.0)

    async def _hear_decision(self, command: Decide) -> None:
        """Ask for the answer as well: the same request once more, with one who waits."""
        with suppress(Unknown, Rejected, CallFailed):
            answer = await self.people.client.call(command, timeout="20s", key=f"decide/{command.order_id}")
            if isinstance(answer, Approved) != command.approve:
                self.people.system.trace.blame(f"{command} was answered with {answer}")

    def _is_placed(self, order_id: str) -> bool:
        system, placed = self.people.system, message_id_of(Request(op="emit", key=f"order/{order_id}"))
        life = system.living()
        return system.over or (life is not None and life.store.trail.find_message(placed) is not None)
