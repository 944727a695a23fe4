"""One life of a simulated engine: from taking the store to a clean end or a death between any two callbacks.

It runs the engine and the SQLite store as they are, on a database in memory that outlives it; only time, chance, the
transport and the threads are the simulation's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from typing_extensions import override

from partita.errors import StoreError, one_line
from partita.monitor.fold import CaseProjection
from partita.runtime.app import App
from partita.runtime.backends import Shelf
from partita.runtime.engine import Engine
from partita.runtime.look import Look
from partita.runtime.requests import Reply, Request
from partita.runtime.running import make_tables, refold_all
from partita.runtime.world import World
from partita.store.facts import Fact, Retrying
from partita.store.port import CaseRow
from partita.store.sqlite.store import SqliteStore, open_store
from partita.testing.fate import Fate
from partita.testing.slow import SlowStore
from partita.testing.virtual import SimClock, VirtualLoop
from partita.testing.wire import SimulatedTransport, WireRates


@dataclass(slots=True)
class CommitRates:
    """How often what becomes of a commit, as probabilities."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    crash_before: float = 0.0
    crash_after: float = 0.0


@dataclass(slots=True)
class Setting:
    """What every life in one simulation has around it."""

    loop: VirtualLoop
    clock: SimClock
    fate: Fate
    app: App
    place: str
    wire: WireRates
    commits: CommitRates
    thread_s: float
    """How long a plain function may take in its thread."""
    disk_s: float
    """How long a unit may take to be decided, and to be answered."""
    note: Callable[[str, str], None]
    """Hears of every fault: its kind, and what it met."""
    wrong: Callable[[str], None]
    """Hears of what must never happen."""
    died: Callable[[], None]


class OlderProjection(CaseProjection):
    """How an older release folded: it knew nothing of attempts that failed. What it wrote is stale to the newer one."""

    version = CaseProjection.version - 1

    @override
    def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
        """See `CaseProjection.fold`."""
        known = [fact for fact in facts if not isinstance(fact.body, Retrying)]
        return replace(super().fold(case, state, known), fold=self.version)


class Life:
    """Starts once, then either stops or dies."""

    def __init__(self, setting: Setting, app: App, projection: type[CaseProjection] = CaseProjection) -> None:
        self.setting = setting
        self.app = app
        self.projection = projection
        self.ended = False
        self.up = False
        """It takes requests."""
        self.committing = False
        """A transaction is open: what is read now may never have happened."""
        self.engine: Engine
        self.store: SqliteStore
        self.look: Look
        self.transport = SimulatedTransport(setting.loop, setting.fate, setting.wire, setting.note)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._has_store = False
        self._slow: SlowStore | None = None
        self._seq = 0

    def begin(self) -> None:
        """Start, as far as it gets."""
        _starting = self.spawn(self._start_or_die())

    async def _start_or_die(self) -> None:
        try:
            await self._start()
        except StoreError as error:
            self.die(f"no start: {one_line(error)}")

    async def _start(self) -> None:
        setting, shelf = self.setting, Shelf()
        self.store = store = open_store(
            setting.place,
            clock=setting.clock,
            projection=self.projection(shelf.get),
            app=self.app.name,
            faults=self,
            on_stopped=self._stopped,
        )
        self._has_store = True
        shelf.trail = store.trail
        topology = store.register_topology(self.app.declared.topology)
        shelf.put(topology)
        await make_tables(store, self.app.services)
        self._slow = SlowStore(store, setting.loop, setting.fate.dice("disk"), setting.disk_s)
        world = World(self._slow, self.transport, setting.clock, self._in_thread, clean=store.clean, poll_s=1.0)
        self.engine = Engine(self.app.declared, topology, world, self.spawn)
        self.look = Look(store.trail, store.work, store.cases, clock=setting.clock, is_running=lambda: True)
        self.engine.start()
        self.up = True
        _refolding = self.spawn(self._refold())

    async def _refold(self) -> None:
        with suppress(StoreError):  # it stopped, and takes this life with it
            await refold_all(self.store)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that dies with this life."""
        task = self.setting.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def ask(self, request: Request) -> Reply:
        """Put a request; unknown where this life ends before it has answered."""
        if not self.up:
            return Reply(status="unknown", key=request.key, why="nobody answers")
        task = self.setting.loop.create_task(self.engine.desk.take(request))
        self._tasks.add(task)
        await asyncio.wait({task})
        self._tasks.discard(task)
        if task.cancelled():
            return Reply(status="unknown", key=request.key, why="the connection broke")
        return task.result()

    def last_seq(self) -> int:
        """The last fact that is durable."""
        while facts := self.store.trail.list_facts(after_seq=self._seq, limit=1_000):
            self._seq = facts[-1].seq
        return self._seq

    def evict(self) -> int:
        """Evict every run that is idle now."""
        return self.engine.executor.roster.evict_idle(idle_s=0.0) if self.up else 0

    def stall(self, for_s: float) -> None:
        """Let the disk stand still for so long."""
        if self._slow is not None:
            self._slow.stall(for_s)

    async def stop(self) -> None:
        """End cleanly, unless it dies on the way."""
        stopping = self.setting.loop.create_task(self.engine.stop())
        self._tasks.add(stopping)
        await asyncio.wait({stopping})
        self._tasks.discard(stopping)
        if stopping.cancelled():
            return
        clean = stopping.result()
        if self._slow is not None:
            await self._slow.close()
        if self.ended:
            return
        self._cancel_all()
        self.setting.note("restart", "cleanly" if clean else "with something in flight")
        self.up = False
        await self.store.close(clean=clean)
        if not self.ended:
            self.ended = True
            self.transport.cut()

    def die(self, why: str) -> None:
        """End as a killed process does: nothing more is decided, written or answered."""
        if self.ended:
            return
        self.ended = True
        self.setting.note("death", why)
        self.up = False
        self.transport.cut()
        if self._slow is not None:
            self._slow.cut()
        if self._has_store:
            self.store.abandon()
        self._cancel_all()
        self.setting.died()

    # What the store and the engine ask of their world.

    def at_commit(self, units: int) -> str:
        """What becomes of a commit."""
        rates = self.setting.commits
        for fault, rate in (
            ("lost_before", rates.lost_before),
            ("lost_after", rates.lost_after),
            ("crash_before", rates.crash_before),
            ("crash_after", rates.crash_after),
        ):
            if self.setting.fate.strikes(fault, "a commit", rate):
                self.committing = True
                self.setting.note(fault, f"commit of {units} units")
                self.committing = False
                if fault.startswith("crash"):
                    self.setting.loop.call_soon(self.die, "killed at a commit")
                return fault
        return "pass"

    def _stopped(self, error: BaseException) -> None:
        """A store that stopped takes its engine down, and that takes a moment."""
        setting = self.setting
        why = f"the store stopped: {str(error).partition(chr(10))[0]}"
        setting.loop.call_later(setting.fate.number("stop s", "the store") * 0.1, self.die, why)

    async def _in_thread(self, act: Callable[[], Any]) -> Any:
        fate, most = self.setting.fate, self.setting.thread_s
        await asyncio.sleep(fate.number("thread s", "going") * most)
        found = act()
        await asyncio.sleep(fate.number("thread s", "coming") * most)
        return found

    def _cancel_all(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispatch.lanes.stop()
            self.engine.executor.stop()
        for task in list(self._tasks):
            task.cancel()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.ended:
            self.setting.wrong(f"a task of the engine raised {type(error).__name__}: {error}")
            self.die("a task of the engine raised")
