"""The people of a simulation: whoever uses what is simulated, and an operator who mends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from partita.errors import Rejected, Unknown
from partita.messages.message import AnyCommand, Event
from partita.monitor.cases import Where
from partita.monitor.verdict import RANK
from partita.orchestration.workflow import Workflow
from partita.runtime.client import Client
from partita.runtime.requests import Request
from partita.store.port import ObligationRow
from partita.testing.checkers import CUSTOMER, Cancelled
from partita.testing.system import System


class Party(Protocol):
    """Some of the people, who want something of their own."""

    def come(self, people: People, within_s: float) -> None:
        """Begin to want it, each at a time of their own."""
        ...

    async def decide(self) -> int:
        """Decide what waits for a decision; returns how much."""
        ...

    def may_discard(self, row: ObligationRow) -> bool:
        """Whether a dead letter may be given up: nothing that they look at may end differently."""
        ...


@dataclass(slots=True)
class Asked:
    """What became of one request, however often it was sent."""

    op: Literal["emit", "start"]
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
    parties: Sequence[Party]
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    cancelled: list[Cancelled] = field(default_factory=list[Cancelled])
    """Cancellations that were accepted."""
    client: Client = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    def __post_init__(self) -> None:
        system = self.system
        self.client = Client(system.setting.app.declared.catalog, system.ask, _Blind(), system.clock)

    def come(self, within_s: float) -> None:
        """Everybody comes."""
        for party in self.parties:
            party.come(self, within_s)

    @property
    def busy(self) -> bool:
        """Whether somebody still wants something."""
        return any(not task.done() for task in self._tasks)

    async def all_done(self) -> None:
        """Wait until everybody has what they wanted."""
        await asyncio.gather(*self._tasks)

    async def decide(self) -> int:
        """Let whoever decides look once; returns how much was decided."""
        return sum([await party.decide() for party in self.parties])

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
            mended += await self._operate(Request(op="retry", key=self.new_key(), case=case, by="operator"))
        for row in dead:
            op: Literal["discard", "redrive"] = "redrive"
            may = row.group == "quarantine" or any(party.may_discard(row) for party in self.parties)
            if row.group == "quarantine" or (may and self.chance("discard") < discards):
                op = "discard"
            name = f"{row.message}/{row.group}"
            mended += await self._operate(Request(op=op, key=self.new_key(), message=name, by="operator"))
        return mended

    async def _operate(self, request: Request) -> bool:
        reply = await self.system.ask(request)
        self.system.trace.say(
            f"-- operator: {request.op} {request.message or request.case}: {reply.status} {reply.why}"
        )
        return reply.status == "accepted"

    # What parties do.

    async def insist(self, key: str, message: Event | AnyCommand, *, start: Workflow[Any, Any] | None = None) -> None:
        """Ask with one key until there is an answer."""
        entry = self.asked.setdefault(key, Asked("emit" if start is None else "start"))
        while not self.system.over:
            try:
                if start is not None:
                    await self.client.start(start, message, key=key)
                elif isinstance(message, Event):
                    await self.client.emit(message, key=key)
                else:
                    await self.client.send(message, key=key)
            except Unknown:
                entry.unknown += 1
                await asyncio.sleep(0.1 + self.chance(f"again {key}"))
            except Rejected as error:
                entry.rejected = str(error)
                return
            else:
                entry.accepted += 1
                return

    async def cancel(self, case: str, after_s: float) -> None:
        """Ask its runs to cancel, once, and remember whether that was accepted, and when."""
        await asyncio.sleep(after_s)
        before = self._last_seq()
        reply = await self.system.ask(Request(op="cancel", key=self.new_key(), case=case, by=CUSTOMER))
        after = self._last_seq()
        # What is left for the next engine counts nothing yet; one that has died can't be asked where its trail ended.
        if reply.status == "accepted" and reply.count and after:
            self.cancelled.append((case, before, after))

    def _last_seq(self) -> int:
        """The last fact of the trail; 0 where nobody lives who could tell."""
        life = self.system.living()
        return 0 if life is None else life.last_seq()

    def happens(self, name: str) -> bool:
        """Whether somebody comes to do this."""
        return self.system.fate.happens(name)

    def chance(self, what: str) -> float:
        """A number in [0, 1) that only this draws."""
        return self.system.fate.number("chance", what)

    def new_key(self) -> str:
        """A key for a request that is made once."""
        return self.system.clock.new_id()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let somebody act on their own."""
        self._tasks.append(self.system.loop.create_task(coroutine))
