"""The engine: the one writer of a store, with everything that moves by itself.

It takes up what the store owes, hands it to dispatch and the executor, carries out requests, and lets go cleanly. It is
given its store, clock, transport and lanes, so the same engine runs in a process and in a seeded simulation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from partita.choreography.dispatch import Dispatch
from partita.choreography.dispatch import Surroundings as DispatchSurroundings
from partita.choreography.relay import Relay
from partita.clock import Alarms
from partita.limits import LIMITS
from partita.messages.topology import Topology
from partita.orchestration.consequences import Standing
from partita.orchestration.executor import Executor
from partita.orchestration.executor import Surroundings as ExecutorSurroundings
from partita.runtime.declared import QUARANTINE, Declared
from partita.runtime.desk import Desk
from partita.runtime.world import World
from partita.store.facts import Body, Closed, Opened
from partita.store.port import ObligationRow, Recorded
from partita.telemetry import Log
from partita.transports.outbox import Book, Draft, owed_from
from partita.transports.port import Owed

log = Log(__name__)
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class _Callers:
    """Lets dispatch name runs, before the executor stands."""

    def __init__(self) -> None:
        self.executor: Executor | None = None

    def naming(self, run: str) -> None:
        if self.executor is not None:
            self.executor.naming(run)

    def named(self, run: str, recorded: Recorded | None, body: Body | None) -> None:
        if self.executor is not None:
            self.executor.named(run, recorded, body)


class Engine:
    """One app on one store, moving.

    Use: `start()` inside a task group that `spawn` belongs to, `take(request)` while it runs, `stop()` at the end.
    """

    def __init__(
        self,
        declared: Declared,
        topology: Topology,
        world: World,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.declared = declared
        relay = Relay(world.transport)
        self.world = world = replace(world, transport=relay)
        self.topology = topology
        self._spawn = spawn
        self.book = Book(declared.catalog, topology)
        self.alarms = Alarms(world.clock)
        callers = _Callers()
        self.dispatch = Dispatch(
            self.book,
            DispatchSurroundings(world.store, world.transport, world.clock, self.alarms, spawn, world.in_thread),
            handlers=declared.handlers,
            policies=declared.policies,
            callers=callers,
            consumers={workflow.group: self for workflow in declared.workflows.values()},
        )
        relay.expect = self.dispatch.lanes.expect
        self.executor = Executor(
            self.book,
            ExecutorSurroundings(
                world.store, world.transport.send, world.clock, self.alarms, spawn, world.in_thread, self
            ),
            declared.workflows,
        )
        callers.executor = self.executor
        self.desk = Desk(self.book, declared, world, spawn, dispatch=self.dispatch, executor=self.executor)
        self._background: list[asyncio.Task[None]] = []

    # What the rooms of the floor below ask of one another, through here.

    def consume(self, owed: Owed, message: Any, settled: Callable[[Any], None]) -> None:
        """Hand a workflow group's message to the executor."""
        self.executor.intake.consume(owed, message, settled)

    def bar(self, message: str, group: str) -> Standing:
        """See `Dispatch.bar`."""
        return self.dispatch.bar(message, group)

    def lift(self, message: str, group: str) -> None:
        """See `Dispatch.lift`."""
        self.dispatch.lift(message, group)

    def drop(self, message: str, group: str) -> None:
        """See `Dispatch.drop`."""
        self.dispatch.drop(message, group)

    def is_held(self, message: str, group: str) -> bool:
        """Whether a call is held open after its attempts were spent."""
        row = self.world.store.work.find_obligation(message, group)
        return row is not None and row.state == "held"

    # Its life.

    def start(self) -> None:
        """Take up everything that the store owes."""
        for workflow in self.declared.workflows.values():
            for finding in workflow.findings:
                log.warning("workflow.not_repeatable", workflow=workflow.name, finding=finding)
        self.world.transport.subscribe(self.dispatch.receive, self.desk.take_foreign)
        draft = Draft()
        draft.say(Opened(app=self.declared.name, version=self.topology.digest(), clean=self.world.clean), case=None)
        self.world.store.submit(draft.unit)
        for group in self.world.store.work.list_groups():
            if group.state == "paused":
                self.dispatch.lanes.pause(group.name)
        # Runs and what is owed stand in their places before anything moves: each asks the other as soon as it does.
        cells = self.executor.load(self.world.store.work.list_open_runs(), unclean=not self.world.clean)
        self._send_owed(unclean=not self.world.clean)
        for cell in cells:
            self.executor.pump(cell)
        self.desk.take_owed_requests()
        self._background = [self._spawn(self.alarms.watch()), self._spawn(self._tidy())]

    async def stop(self, is_lost: Callable[[], bool] = lambda: False) -> bool:
        """Begin nothing more, and let what is being handled end, as far as it does in time; whether that was all.

        Only then may the store be closed cleanly: what is open at a clean start has never begun, but for the attempts
        that failed, so that a saga may withdraw it. Where the store `is_lost`, nothing more can end.
        """
        self.dispatch.stop()
        deadline = self.world.clock.now_us() + int(LIMITS.drain_s * 1_000_000)
        while self.is_moving() and not is_lost() and self.world.clock.now_us() < deadline:
            await self.world.clock.sleep(0.01)
        clean = not is_lost() and not self.is_moving() and not self.dispatch.lanes.has_unclean()
        self.executor.stop()
        for task in self._background:
            task.cancel()
        if clean:
            draft = Draft()
            draft.say(Closed(), case=None)
            self.world.store.submit(draft.unit)
        return clean

    def is_moving(self) -> bool:
        """Whether anything is being handled, made or decided at this moment."""
        return bool(self.dispatch.lanes.count_busy() or self.executor.count_busy() or self.desk.in_hand)

    async def settle(self, horizon_s: float = 0.0) -> None:
        """Return when nothing moves and nothing is due within `horizon_s` from now."""
        while True:
            due = self.alarms.next_at()
            soon = due is not None and due <= self.world.clock.now_us() + int(horizon_s * 1_000_000)
            if not self.is_moving() and not soon:
                return
            await self.world.clock.sleep(0.01)

    async def _tidy(self) -> None:
        """Evict idle runs, and look for what is owed and was lost on the way."""
        while True:
            await self.world.clock.sleep(self.world.poll_s)
            self.executor.roster.evict_idle()
            self._send_owed(unclean=False)

    def _send_owed(self, *, unclean: bool) -> None:
        lost: list[Owed] = []
        for row in self.world.store.work.list_obligations():
            if row.state == "dead" and self._holds(row):
                self.dispatch.lanes.block((row.group, row.case or f"\0{row.message}"), row.message)
            if row.state in {"open", "delayed"} and not self.dispatch.lanes.has(row.message, row.group):
                owed = self.owed_of(row)
                owed.unclean = unclean and (row.state == "open" or row.due_at <= self.world.clock.now_us())
                owed.began = owed.began or owed.unclean
                self.dispatch.lanes.expect(owed)
                lost.append(owed)
        for owed in lost:
            self.world.transport.send(owed)

    def owed_of(self, row: ObligationRow) -> Owed:
        """An owed handling, from its row and its published fact."""
        fact = self.world.store.trail.find_fact(row.seq)
        assert fact is not None, f"obligation {row.message} refers to fact {row.seq}, which is not there"
        return owed_from(fact, row.group, row)

    def _holds(self, row: ObligationRow) -> bool:
        edge = self.topology.find_edge(row.group, row.type)
        return row.group != QUARANTINE and edge is not None and edge.hold
