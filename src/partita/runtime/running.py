"""Running an app in this process: the store, the engine, the door beside it, and an end that lets go cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from partita.choreography.service import Service
from partita.clock import SystemClock
from partita.errors import DefinitionError, StoreError
from partita.limits import LIMITS
from partita.orchestration.lastword import stop_frozen
from partita.runtime.backends import Shelf, embedded, take
from partita.runtime.client import LocalClient
from partita.runtime.declared import Declared
from partita.runtime.door import open_door
from partita.runtime.engine import Engine
from partita.runtime.look import Look
from partita.runtime.process import HANDLER_THREADS
from partita.runtime.watchdog import LoopDog
from partita.runtime.world import World
from partita.store.health import stopped as store_stopped
from partita.store.port import Answer, Lost, OwnedStore, Refusal, Scope, Unit


class EngineClient(LocalClient):
    """The client that `App.run` gives, with the engine behind it, for tests and measurements."""

    def __init__(self, engine: Engine, look: Look) -> None:
        super().__init__(engine.declared.catalog, engine.desk.take, look, engine.world.clock, engine.settle)
        self.engine = engine


@asynccontextmanager
async def run_app(declared: Declared, services: Iterable[Service], path: Path) -> AsyncGenerator[LocalClient]:
    """Run an app's engine on a store of its own while the block lasts."""
    loop, shelf, clock = asyncio.get_running_loop(), Shelf(), SystemClock()
    stopped: asyncio.Future[BaseException] = loop.create_future()

    def on_stopped(error: BaseException) -> None:
        loop.call_soon_threadsafe(lambda: None if stopped.done() else stopped.set_result(error))

    store = take(path, clock=clock, app=declared.name, shelf=shelf, on_stopped=on_stopped)
    threads = ThreadPoolExecutor(LIMITS.threads_max, thread_name_prefix=HANDLER_THREADS)
    clean = store.clean
    try:
        check_app(store, declared.name, path)
        topology = store.register_topology(declared.topology)
        shelf.put(topology)
        await make_tables(store, services)
        tasks: set[asyncio.Task[None]] = set()
        async with _task_group() as group:

            def spawn(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                task = group.create_task(coroutine)
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                return task

            world = World(store, embedded(), clock, lambda act: loop.run_in_executor(threads, act), clean=store.clean)
            engine = Engine(declared, topology, world, spawn)
            guard = group.create_task(_fail_when(stopped, path))
            look = Look(store.trail, store.work, store.cases, clock=clock, is_running=lambda: True)
            roster = engine.executor.roster
            dog = LoopDog(roster.pulse, stop_run=partial(stop_frozen, roster, store, clock), tasks=tasks)
            async with open_door(store.socket, engine.desk.take):
                dog.start()
                engine.start()
                refolding = spawn(refold_all(store))
                try:
                    yield EngineClient(engine, look)
                finally:
                    clean = await engine.stop(stopped.done)
                    dog.stop()
                    guard.cancel()
                    refolding.cancel()
                    for task in list(tasks):  # what did not end in time is tried again at the next start
                        task.cancel()
    finally:
        await store.close(clean=clean)
        threads.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def _task_group() -> AsyncGenerator[asyncio.TaskGroup]:
    """A task group that an error leaves as it is: what a user's block raised does not come out in a group of one."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        first, *others = errors.exceptions
        if others:
            raise
        raise first from first.__cause__


def check_app(store: OwnedStore, name: str, path: Path) -> None:
    """A store belongs to the app that made it: another one's code would stop its runs. Raises StoreError."""
    if store.app and store.app != name:
        raise StoreError(
            f"store {path} belongs to app {store.app!r}, and this is {name!r}\n"
            "Name a store of its own: --store FILE, PARTITA_STORE or partita.toml."
        )


async def refold_all(store: OwnedStore) -> None:
    """Bring the cases that an older version folded up to date, a few at a time."""
    folded = await store.refold()
    while folded:
        folded = await store.refold()


async def _fail_when(stopped: asyncio.Future[BaseException], path: Path) -> None:
    """A store that stopped takes its engine down: only a new start can tell what was committed."""
    error = await stopped
    raise store_stopped(f"store {path}", error, path) from error


async def make_tables(store: OwnedStore, services: Iterable[Service]) -> None:
    """Make the tables that services name, where they are missing. Raises DefinitionError for SQL that can't be run."""
    for service in services:
        if service.tables is None:
            continue
        answer = await _commit_work(store, _table_maker(service.tables))
        if isinstance(answer, Refusal):
            raise DefinitionError(
                f"service {service.name}: its tables can't be made: {answer.error or answer.why}\n"
                'Use "create table if not exists SERVICE_name (...)".'
            ) from answer.error
        if isinstance(answer, Lost):
            raise store_stopped("the store", answer.error) from answer.error


def _table_maker(sql: str) -> Callable[[Unit, Scope], None]:
    def work(_unit: Unit, scope: Scope) -> None:
        scope.tx.execute(sql)

    return work


async def _commit_work(store: OwnedStore, work: Callable[[Unit, Scope], None]) -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    store.submit(Unit(work=work, answered=future.set_result, label="users' tables"))
    return await future
