"""TestApp: a whole app inside one test, on a store in memory and a clock that moves only when the test says so.

It runs on the test's own loop. Whatever is due happens at its time, in order, however far the clock is moved; and each
time the app has come to rest every run is replayed, so that a workflow that replay would not follow fails the test.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import msgspec

from partita.choreography.service import Handler
from partita.clock import US
from partita.errors import CallFailed, DefinitionError
from partita.limits import in_force
from partita.messages.message import Command, Event, describe
from partita.monitor.cases import Where
from partita.retry import Duration, Retry, duration_us
from partita.runtime.app import App
from partita.runtime.backends import Shelf, embedded, take
from partita.runtime.client import Client
from partita.runtime.declared import Declared
from partita.runtime.engine import Engine
from partita.runtime.look import Look
from partita.runtime.requests import Reply, Request
from partita.runtime.running import make_tables
from partita.runtime.world import World
from partita.store.facts import Published
from partita.store.port import Answer, OwnedStore, Store, Unit
from partita.store.sqlite.connection import forget_memory
from partita.testing.replay import find_replay_fault
from partita.testing.virtual import ManualClock

E = TypeVar("E", bound=Event)
R = TypeVar("R")

SOON_US = 60 * US
"""How far ahead `settle` looks: retries come sooner, people and deadlines later."""
_STILL = 5
"""How many turns of the loop nothing has to move: an answer on its way to who asked takes some."""
_ENTER = "Use it inside of: async with TestApp(app) as it:"
_names = itertools.count()


class TestApp(Client):
    """An app in a test: `async with TestApp(app) as shop:`, then everything that a client can do, and time.

    `seed` decides ids and jitter. Nothing moves the clock but `settle`, `advance`, and a `call` or `result` that waits.
    """

    __test__ = False

    def __init__(self, app: App, *, seed: int = 0) -> None:
        self._manual = ManualClock(seed)
        declared = app.declared
        super().__init__(declared.catalog, self._take, _NotEntered(), self._manual)
        self._app = app
        self._declared: Declared = replace(declared, handlers=dict(declared.handlers), policies=dict(declared.policies))
        self._place = f"memory:test-{next(_names)}"
        self._busy = _Busy(self._manual)
        self._engine: Engine | None = None
        self._store: OwnedStore | None = None
        self._replayed = 0
        self._failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._limits = in_force(self._app.limits)
        self._limits.__enter__()
        shelf = Shelf()
        store = self._store = take(
            self._place, clock=self._manual, shelf=shelf, app=self._app.name, on_stopped=self._failures.append
        )
        topology = store.register_topology(self._declared.topology)
        shelf.put(topology)
        await make_tables(store, self._app.services)
        self._look = Look(store.trail, store.work, store.cases, clock=self._manual, is_running=lambda: True)
        world = World(_Watched(store, self._busy), embedded(), self._manual, _in_thread, clean=store.clean)
        engine = Engine(self._declared, topology, world, self._spawn)
        engine.start()
        self._engine = engine
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        engine, store = self._running()
        try:
            stopping = asyncio.get_running_loop().create_task(engine.stop())
            await self._drive(stopping, until_us=None)
            await stopping
            self._busy.cancel()
            await store.close()
        finally:
            self._engine = self._store = None
            self._limits.__exit__(None, None, None)
            forget_memory(self._place)
        if error is None:
            self._raise_failures()

    # What a test says.

    def stub(self, command: type[Command[R]], answer: R | Exception | Callable[[Any], R], /) -> None:
        """Answer a command in place of its handler, from now on.

        With an answer, a function of the command, or an exception that the handler raises: retried as its policy says,
        but for CallFailed, which says that the retries are spent. Raises DefinitionError for a command that the app
        does not handle, or an answer that its contract forbids.
        """
        name = describe(command).name
        key = next((key for key in self._declared.handlers if key[1] == name), None)
        if key is None:
            raise DefinitionError(f"stub: no service of app {self._app.name!r} handles {name}\nStub what it calls.")
        handler = self._declared.handlers[key]
        if isinstance(answer, CallFailed):
            policy = self._declared.policies[key]
            self._declared.policies[key] = replace(policy, retry=Retry(attempts=1))
        elif not isinstance(answer, Exception) and not callable(answer):
            handler.contract.check(answer)
        self._declared.handlers[key] = _stubbed(handler, answer)

    async def settle(self) -> None:
        """Let everything happen that is due at once or within the minute that begins now: retries first of all."""
        await self._pass(self._manual.now_us() + SOON_US)
        self._check_replay()

    async def advance(self, by: Duration, /) -> None:
        """Move the clock forward, from one due time to the next, and let happen what is due then."""
        end = self._manual.now_us() + duration_us(by)
        await self._pass(end)
        self._manual.move_to(end)
        await self._pass(end)
        self._check_replay()

    def published(self, event: type[E], /) -> list[E]:
        """Every event of this type that was published so far, oldest first."""
        _, store = self._running()
        name, found, seq = describe(event).name, list[Any](), 0
        while facts := store.trail.list_facts(after_seq=seq):
            seq = facts[-1].seq
            bodies = [fact.body for fact in facts if isinstance(fact.body, Published) and fact.body.type == name]
            found += [self._declared.catalog.decode(name, body.version, bytes(body.data)) for body in bodies]
        return cast("list[E]", found)

    # Requests.

    async def _take(self, request: Request) -> Reply:
        """Put a request to the engine; one that waits for an answer lets time pass, up to its limit or a minute."""
        engine, _ = self._running()
        self._raise_failures()
        if request.op not in {"call", "result"}:
            return await engine.desk.take(request)
        limit_us = SOON_US if request.timeout_us is None else request.timeout_us
        patient = msgspec.structs.replace(request, timeout_us=None)
        asked = asyncio.get_running_loop().create_task(engine.desk.take(patient))
        await self._drive(asked, until_us=self._manual.now_us() + limit_us)
        if asked.done():
            return asked.result()
        asked.cancel()
        return Reply(status="accepted", key=request.key, pending=True)

    # Time.

    async def _pass(self, until_us: int) -> None:
        """Go from due time to due time, until nothing is due by then."""
        while True:
            await self._rest()
            due = self._next_due()
            if due is None or due > until_us:
                return
            self._move_to(due)

    async def _drive(self, asked: asyncio.Future[Any], until_us: int | None) -> None:
        """Let time pass until something is done, or by `until_us` nothing is left to do."""
        while not asked.done():
            await self._rest(asked)
            due = self._next_due(asked)
            if asked.done() or due is None or (until_us is not None and due > until_us):
                return
            self._move_to(due)

    async def _rest(self, asked: asyncio.Future[Any] | None = None) -> None:
        """Wait until nothing moves any more but what sleeps on the clock."""
        engine, _ = self._running()
        waited, still = 0, 0
        while still < _STILL and not (asked is not None and asked.done()):
            await asyncio.sleep(0 if waited < 1_000 else 0.001)  # beyond that somebody waits for the real world
            waited += 1
            still = 0 if self._busy.is_moving() or engine.desk.in_hand else still + 1
        self._raise_failures()

    def _next_due(self, asked: asyncio.Future[Any] | None = None) -> int | None:
        engine, _ = self._running()
        due = [at for task, at in self._manual.sleeping().items() if task in self._busy.tasks or task is asked]
        alarm = engine.alarms.next_at()
        return min(due if alarm is None else [*due, alarm], default=None)

    def _move_to(self, at_us: int) -> None:
        engine, _ = self._running()
        self._manual.move_to(at_us)
        engine.alarms.ring_due()

    # What the engine asks for.

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        # What a new engine on an empty store spawns at its start runs as long as the engine does.
        self._busy.add(task, background=self._engine is None, failed=self._failures.append)
        return task

    def _running(self) -> tuple[Engine, OwnedStore]:
        if self._engine is None or self._store is None:
            raise DefinitionError(f"the app is not running\n{_ENTER}")
        return self._engine, self._store

    def _raise_failures(self) -> None:
        if self._failures:
            raise self._failures[0]

    def _check_replay(self) -> None:
        """Replay every run that has moved since the last time. Raises DefinitionError where that ends otherwise."""
        _, store = self._running()
        moved: dict[str, None] = {}
        while facts := store.trail.list_facts(after_seq=self._replayed):
            self._replayed = facts[-1].seq
            moved |= {fact.run: None for fact in facts if fact.run is not None}
        for row in filter(None, map(store.work.find_run, moved)):
            fault = find_replay_fault(row, store.trail, self._declared.catalog, self._declared.workflows)
            if fault is not None:
                raise DefinitionError(
                    f"{fault}\nA workflow does the same on every replay: read time by now(), chance and ids by uuid(),"
                    " and reach the world outside in a @step."
                )


async def _in_thread(act: Callable[[], Any]) -> Any:
    return act()


class _NotEntered:
    """Looks at nothing: the app is not running."""

    def find_where(self, case: str) -> Where | None:
        """Raise DefinitionError."""
        raise DefinitionError(
            f"where is {case}? The app is not running\nUse it inside of: async with TestApp(app) as it:"
        )


class _Busy:
    """Knows whether anything moves: units that are not answered, and tasks that do not sleep on the test's clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._unanswered = 0

    def is_moving(self) -> bool:
        """Whether anything will go on without the clock being moved."""
        return bool(self._unanswered or self.tasks - self._clock.sleeping().keys())

    def add(self, task: asyncio.Task[None], *, background: bool, failed: Callable[[BaseException], None]) -> None:
        """A task of the engine; one in the background runs for ever."""
        kept = self._background if background else self.tasks
        kept.add(task)

        def done(task: asyncio.Task[None]) -> None:
            kept.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                failed(error)

        task.add_done_callback(done)

    def submit(self, store: Store, unit: Unit) -> None:
        """Count a unit until it is answered."""
        answered, self._unanswered = unit.answered, self._unanswered + 1

        def told(answer: Answer) -> None:
            self._unanswered -= 1
            answered(answer)

        unit.answered = told
        store.submit(unit)

    def cancel(self) -> None:
        """Let every task go."""
        for task in [*self.tasks, *self._background]:
            task.cancel()


class _Watched:
    """A store whose units are counted while they are on their way."""

    def __init__(self, store: Store, busy: _Busy) -> None:
        self.trail = store.trail
        self.work = store.work
        self.cases = store.cases
        self._store = store
        self._busy = busy

    def submit(self, unit: Unit) -> None:
        """See `Store.submit`."""
        self._busy.submit(self._store, unit)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()


def _stubbed(handler: Handler, answer: object) -> Handler:
    """A handler with the same contract whose function is the stub."""

    def stub(command: object) -> object:
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)
        return answer(command) if callable(answer) else answer

    fn = answer if inspect.iscoroutinefunction(answer) else stub
    contract = replace(handler.contract, fn=fn, is_async=inspect.iscoroutinefunction(answer), tx=None, delivery=None)
    return replace(handler, contract=contract)
