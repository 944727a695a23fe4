"""The people of a simulation: customers, a web form that speaks for itself, a manager, and an operator who mends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from partita.errors import CallFailed, Rejected, Unknown
from partita.messages.message import AnyCommand, Event
from partita.monitor.cases import Where
from partita.monitor.verdict import RANK
from partita.runtime.client import Client, Run
from partita.runtime.requests import Request
from partita.store.port import ObligationRow
from partita.testing.outside import Plan
from partita.testing.processes import STOCK, Approved, Decide, Placed
from partita.testing.rounds import Node, Poked, Round, go_round, walk_nodes
from partita.testing.system import System

DISCARDED = {"mail", "notes"}
"""Groups whose dead letters may be given up: no order ends differently. A held shipment may too: it is undone."""


@dataclass(slots=True)
class Asked:
    """What became of one request, however often it was sent."""

    message: Event | AnyCommand
    accepted: int = 0
    rejected: str = ""
    unknown: int = 0


class _Blind:
    """The client of a simulation asks only for what it may: it looks through the engine's own eyes."""

    def find_where(self, case: str) -> Where | None:
        """Nothing."""
        return None


@dataclass(slots=True)
class People:
    """Everybody who uses the system."""

    system: System
    plans: dict[str, Plan]
    rounds: dict[str, Node] = field(default_factory=dict[str, Node])
    placed: dict[str, Placed] = field(default_factory=dict[str, Placed])
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    notes: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Order and text of every note that came over the transport, by its message id."""
    results: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """What somebody was told that a round returned."""
    client: Client = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    _undecided: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        system = self.system
        self.client = Client(system.setting.app.declared.catalog, system.ask, _Blind(), system.clock)

    def come(self, within_s: float) -> None:
        """Everybody comes to the shop, each at a time of their own."""
        dice = self.system.dice
        for order_id, plan in self.plans.items():
            order = Placed(
                order_id=order_id,
                sku=dice.choice(list(STOCK)),
                count=dice.randint(1, 3),
                pence=dice.randint(1, 99),
                large=plan.large,
                gift=plan.gift,
            )
            self.placed[order_id] = order
            self._spawn(self._order(order, plan, dice.random() * within_s))
            for number in range(2 if plan.gift else 0):
                self._spawn(self._write_note(order_id, f"{order_id}-{number}", dice.random() * within_s * 2))
            if plan.cancels:
                self._spawn(self._cancel(f"order:{order_id}", dice.random() * within_s * 3))
            if plan.large and plan.approves is not None:
                self._undecided.append(order_id)
        for round_id, walk in self.rounds.items():
            self._spawn(self._go_round(round_id, walk, dice.random() * within_s))
            for node in walk_nodes(walk):
                if node.op == "wait" and dice.random() < 0.6:
                    self._spawn(self._poke(round_id, node.n, dice.random() * within_s * 2))
            if dice.random() < 0.2:
                self._spawn(self._cancel(f"round:{round_id}", dice.random() * within_s * 2))

    @property
    def busy(self) -> bool:
        """Whether somebody still wants something."""
        return any(not task.done() for task in self._tasks)

    async def all_done(self) -> None:
        """Wait until everybody has what they wanted."""
        await asyncio.gather(*self._tasks)

    async def decide(self) -> int:
        """Let the manager look once; returns how many orders were decided."""
        decided = 0
        for order_id in list(self._undecided):
            life = self.system.living()
            where = life.look.find_where(f"order:{order_id}") if life is not None else None
            if where is not None and "Approved" in where.waiting_for:
                decided += 1
                self._undecided.remove(order_id)
                command = Decide(order_id=order_id, approve=bool(self.plans[order_id].approves))
                await self._insist(f"decide/{order_id}", command)
                if self.system.dice.random() < 0.5:
                    self._spawn(self._hear_decision(command))
        return decided

    async def mend(self, *, discards: float = 0.3) -> int:
        """Let the operator look once: stopped runs are retried, dead letters redriven or given up; returns how many."""
        life = self.system.living()
        if life is None:
            return 0
        work = life.store.work
        failed, _ = life.store.cases.list_cases(ranks=[RANK["failed"]], limit=1_000)
        cases = sorted(row.case for row in failed)
        stopped = [case for case in cases if any(row.status == "stopped" for row in work.list_runs(case))]
        dead = [row for row in work.list_obligations() if row.state in {"dead", "held"}]
        mended = 0
        for case in stopped:
            mended += await self._operate(Request(op="retry", key=self._key(), case=case, by="operator"))
        for row in dead:
            op: Literal["discard", "redrive"] = "redrive"
            if row.group == "quarantine" or (self._may_discard(row) and self.system.dice.random() < discards):
                op = "discard"
            name = f"{row.message}/{row.group}"
            mended += await self._operate(Request(op=op, key=self._key(), message=name, by="operator"))
        return mended

    async def _operate(self, request: Request) -> bool:
        reply = await self.system.ask(request)
        self.system.trace.say(
            f"-- operator: {request.op} {request.message or request.case}: {reply.status} {reply.why}"
        )
        return reply.status == "accepted"

    def _may_discard(self, row: ObligationRow) -> bool:
        return row.group in DISCARDED or (row.type == "Ship" and row.caller is not None)

    # Each one.

    async def _order(self, order: Placed, plan: Plan, after_s: float) -> None:
        await asyncio.sleep(after_s)
        dice, key = self.system.dice, f"order/{order.order_id}"
        await self._insist(key, order)
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 5)
            await self._insist(key, order)
        if dice.random() < 0.1:
            other = Placed(order_id=order.order_id, sku=order.sku, count=order.count, pence=order.pence + 1)
            await self._must_be_rejected(key, other)

    async def _insist(self, key: str, message: Event | AnyCommand) -> None:
        """Ask with one key until there is an answer."""
        entry = self.asked.setdefault(key, Asked(message))
        while not self.system.over:
            try:
                if isinstance(message, Round):
                    await self.client.start(go_round, message, key=key)
                elif isinstance(message, Event):
                    await self.client.emit(message, key=key)
                else:
                    await self.client.send(message, key=key)
            except Unknown:
                entry.unknown += 1
                await asyncio.sleep(0.1 + self.system.dice.random())
            except Rejected as error:
                entry.rejected = str(error)
                return
            else:
                entry.accepted += 1
                return

    async def _must_be_rejected(self, key: str, other: Placed) -> None:
        if self.system.living() is None:
            return  # What is left for the next engine is judged by that one.
        try:
            await self.client.emit(other, key=key)
        except (Unknown, Rejected):
            return
        self.system.trace.blame(f"key {key} was accepted for another body")

    async def _write_note(self, order_id: str, text: str, after_s: float) -> None:
        """A foreign producer: it puts bytes on the wire, again and again, until it sees that they were taken."""
        await asyncio.sleep(after_s)
        while not self._is_placed(order_id):  # noqa: ASYNC110 - a person looks again
            await asyncio.sleep(1.0)
        note = {"order_id": order_id, "text": text}
        event = {"specversion": "1.0", "id": text, "source": "web", "type": "NoteAdded", "data": note}
        message_id = f"web#{text}"
        self.notes[message_id] = (order_id, text)
        while not self.system.over:
            life = self.system.living()
            if life is not None:
                if life.store.trail.find_message(message_id) is not None:
                    return
                life.transport.put(json.dumps(event).encode())
            await asyncio.sleep(3.0)

    async def _go_round(self, round_id: str, plan: Node, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._insist(f"round/{round_id}", Round(round_id=round_id, plan=plan))

        if self.system.dice.random() < 0.5:
            with suppress(Unknown, Rejected, CallFailed):
                run = Run[list[int]](f"go_round/round:{round_id}/1", "", self.system.ask, self._key, list[int])
                self.results[round_id] = await run.result(timeout="40s")

    async def _hear_decision(self, command: Decide) -> None:
        """Ask for the answer as well: the same request once more, with one who waits."""
        with suppress(Unknown, Rejected, CallFailed):
            answer = await self.client.call(command, timeout="20s", key=f"decide/{command.order_id}")
            if isinstance(answer, Approved) != command.approve:
                self.system.trace.blame(f"{command} was answered with {answer}")

    async def _poke(self, round_id: str, n: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._insist(f"poke/{round_id}/{n}", Poked(round_id=round_id, n=n))

    async def _cancel(self, case: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self.system.ask(Request(op="cancel", key=self._key(), case=case, by="the customer"))

    def _is_placed(self, order_id: str) -> bool:
        asked = self.asked.get(f"order/{order_id}")
        return self.system.over or (asked is not None and asked.accepted > 0)

    def _key(self) -> str:
        return self.system.clock.new_id()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(self.system.loop.create_task(coroutine))
