"""An open store: the lock, the file in its newest format, the writer in its lane, and the readers beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import apsw
from typing_extensions import TypeVar

from partita.clock import Clock
from partita.errors import StoreError
from partita.limits import LIMITS, Limits
from partita.messages.topology import Topology
from partita.store.health import is_full, no_room, stopped
from partita.store.port import Projection, Unit
from partita.store.sqlite.connection import Rows, is_memory, open_connection, set_durable
from partita.store.sqlite.inline import InlineLane
from partita.store.sqlite.lanes import Lane, OnStopped, ThreadLane
from partita.store.sqlite.lock import StoreLock, hold
from partita.store.sqlite.migrate import (
    IF_BROKEN,
    find_meta,
    migrate,
    read_format,
    read_generation,
    refuse_others,
    set_meta,
)
from partita.store.sqlite.readers import SqliteCases, SqliteTrail, SqliteWork
from partita.store.sqlite.wal import count_lost, log_path
from partita.store.sqlite.writer import Executor, Faults

T = TypeVar("T")


class SqliteReader:
    """A store that somebody else may be writing: readers over a read-only connection, and no lock."""

    def __init__(
        self, connection: apsw.Connection, *, clock: Clock, projection: Projection, shared: bool = False
    ) -> None:
        rows = Rows(connection)
        self.trail = SqliteTrail(rows)
        self.work = SqliteWork(rows)
        self.cases = SqliteCases(rows, clock=clock, projection=projection)
        self.app = find_meta(connection, "app") or ""
        self.generation = read_generation(connection)
        self._connection = connection
        self._shared = shared

    def close(self) -> None:
        """Let the file go."""
        if not self._shared:
            self._connection.close()


class SqliteStore:
    """One open store. `clean` says whether the holder before this one had closed it."""

    def __init__(self, executor: Executor, lane: Lane, reader: SqliteReader, *, clean: bool, lock: StoreLock | None):
        self.trail = reader.trail
        self.work = reader.work
        self.cases = reader.cases
        self.app = reader.app
        self.generation = reader.generation
        self.source = executor.register.source
        """The source under which this store numbers its facts."""
        self.clean = clean
        self.holder = lock.holder if lock else None
        self._executor = executor
        self._lane = lane
        self._reader = reader
        self._lock = lock
        self._open = True

    @property
    def socket(self) -> Path:
        """Where the holder is to listen for other processes; of a store in memory, nowhere."""
        return Path(self.holder.socket) if self.holder else Path()

    def submit(self, unit: Unit) -> None:
        """Register a unit, at once and in order; its `answered` is called on this loop once it is decided."""
        self._lane.submit(unit)

    def register_topology(self, topology: Topology) -> Topology:
        """The topology under its number in this store; facts submitted from now on are written under it.

        Raises StoreError where it can't be written.
        """
        try:
            return self._lane.call(lambda: self._executor.add_topology(topology)).result()
        except apsw.Error as error:
            raise stopped("the store", error) from error

    async def refold(self, cases: Sequence[str] | None = None, *, limit: int = 500) -> int:
        """Write cases folded anew: those given, or up to `limit` that are stale; how many."""
        return await asyncio.wrap_future(self._lane.call(lambda: self._executor.refold(cases, limit=limit)))

    async def close(self, *, clean: bool = True) -> None:
        """Decide everything submitted, then let go; `clean=False` leaves the mark of an earlier crash as it was."""
        decided = await self._lane.close()
        self._let_go(clean=decided and clean)

    def abandon(self) -> None:
        """Let go as a crash would: nothing further is decided or answered, and the next holder finds it unclean."""
        self._lane.abandon()
        self._let_go(clean=False)

    def _let_go(self, *, clean: bool) -> None:
        if not self._open:
            return
        self._open = False
        self._reader.close()  # before the writer: the last one out folds the log into the file
        self._executor.close(clean=clean)
        if self._lock:
            self._lock.release()


def open_store(
    place: str | Path,
    *,
    clock: Clock,
    projection: Projection,
    app: str = "",
    faults: Faults | None = None,
    on_stopped: OnStopped | None = None,
    limits: Limits = LIMITS,
) -> SqliteStore:
    """Take the store at `place`, a file or `memory:NAME`, making it where there is none; the only writer until closed.

    A database in memory, or one with `faults`, is written inline, on the loop that submits. Raises StoreError, whose
    second line says what to do, where the file is held, newer, not ours, or cannot be written.
    """
    memory = is_memory(place)
    if not memory:
        refuse_others(Path(place))
    lock = None if memory else _hold(Path(place), clock)
    try:
        if lock and Path(place).exists():
            _look(Path(place))
        connection = open_connection(place)
        clean = _prepare(connection, name=str(place), app=app, clock=clock)
        executor = Executor(connection, clock=clock, projection=projection, limits=limits, faults=faults)
        # A database in memory has one lock for readers and writers: they share the connection there.
        reading = connection if memory else open_connection(place, readonly=True)
        reader = SqliteReader(reading, clock=clock, projection=projection, shared=memory)
        lane: Lane
        if memory or faults is not None:
            lane = InlineLane(executor, limits=limits, on_stopped=on_stopped)
        else:
            lane = ThreadLane(executor, limits=limits, on_stopped=on_stopped)
    except BaseException as error:
        if lock:
            lock.release()
        if isinstance(error, (apsw.Error, OSError)) and is_full(error, Path(place)):
            raise no_room(place, error) from error
        if isinstance(error, apsw.Error):
            raise StoreError(f"store {place}: cannot be read ({error})\n{IF_BROKEN}") from error
        raise
    return SqliteStore(executor, lane, reader, clean=clean, lock=lock)


def open_reader(path: str | Path, *, clock: Clock, projection: Projection) -> SqliteReader:
    """Read a store, whoever writes it. Raises StoreError where there is none, or none that this version can read."""
    refuse_others(Path(path))
    connection = open_connection(path, readonly=True)
    if read_format(connection, name=str(path)) == 0:
        raise StoreError(f"store {path}: the file is empty\nName an existing store, or start an app on it first.")
    return SqliteReader(connection, clock=clock, projection=projection)


def _hold(path: Path, clock: Clock) -> StoreLock:
    if not path.parent.is_dir():
        raise StoreError(f"store {path}: there is no directory {path.parent}\nMake the directory, or name another.")
    return hold(path, now_us=clock.now_us())


def _look(path: Path) -> None:
    """Refuse a file that is not ours, or that has lost something, before it is opened for writing and so changed."""
    # One that died while it was being made has a journal, and may be read only when that has been rolled back.
    born = not path.with_name(f"{path.name}-journal").exists()
    connection = open_connection(path, readonly=born)
    try:
        if read_format(connection, name=str(path)) == 0:
            return
        lost = count_lost(connection, path)
    finally:
        connection.close()
    if lost:
        raise StoreError(
            f"store {path}: {lost} acknowledged commits lie behind a broken part of its log, {log_path(path)}\n"
            "Keep a copy of both files and restore the last backup; or give these commits up:"
            f" sqlite3 {path} 'pragma wal_checkpoint(truncate)'"
        )


def _prepare(connection: apsw.Connection, *, name: str, app: str, clock: Clock) -> bool:
    """Bring the file up to date and mark it as in use; whether it had been closed cleanly."""
    try:
        set_durable(connection)
        migrate(connection, name=name, app=app, clock=clock)
        clean = find_meta(connection, "clean") == "1"
        set_meta(connection, "clean", "0")
    except apsw.Error as error:
        if is_full(error, Path(name)):
            raise no_room(name, error) from error
        raise StoreError(
            f"store {name}: cannot be written ({error})\n"
            "Check that the file and its directory may be written by this user, or name another store."
        ) from error
    return clean
