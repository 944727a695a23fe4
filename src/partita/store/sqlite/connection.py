"""Connections: how a store file, or a named database in memory, is opened, and what its errors mean.

Write-ahead log, `synchronous=FULL`, no memory map: an answered commit survives a loss of power.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, cast

import apsw

from partita.errors import StoreError
from partita.store.health import is_full, no_room

MEMORY = "memory:"
"""Opens `memory:NAME`: a database of this process, shared by all who name it, until `forget_memory`."""

APPLICATION_ID = 0x70617274
"""`part`, in the header of every store file."""

BUSY_MS = 30_000
FATAL = (
    apsw.FullError,
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.NoMemError,
    apsw.ProtocolError,
)
"""After one of these nobody knows what is on the disk: the store stops."""

_kept: dict[str, apsw.Connection] = {}
"""A database in memory lives as long as somebody is connected: one connection per name outlives a simulated crash."""


def is_memory(place: str | Path) -> bool:
    """Whether `place` names a database in memory."""
    return isinstance(place, str) and place.startswith(MEMORY)


def forget_memory(place: str) -> None:
    """Let a database in memory go, with all that is in it."""
    if kept := _kept.pop(place, None):
        kept.close()


def open_connection(place: str | Path, *, readonly: bool = False, sealed: bool = False) -> apsw.Connection:
    """Open a database; a missing file is made unless `readonly`. Raises StoreError that says what to do.

    One that lies where nothing can be written, or is to be read as if it did (`sealed`), is read as it stands: what is
    written to it later is not seen.
    """
    if isinstance(place, str) and place.startswith(MEMORY):
        if place not in _kept:
            _kept[place] = _open_memory(place)
        return _open_memory(place)
    path = Path(place)
    if not path.parent.is_dir():
        raise StoreError(f"store {path}: there is no directory {path.parent}\nMake the directory, or name another.")
    if readonly and not path.exists():
        raise StoreError(f"store {path}: there is no such file\nName an existing store, or start an app on it first.")
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    name, may = str(path), "read" if readonly else "written"
    if readonly and (sealed or _is_sealed(path)):
        name, flags = f"{path.absolute().as_uri()}?immutable=1", flags | apsw.SQLITE_OPEN_URI
    try:
        connection = apsw.Connection(name, flags=flags, statementcachesize=512)
    except apsw.Error as error:
        if is_full(error, path):
            raise no_room(path, error) from error
        raise StoreError(
            f"store {path}: cannot be opened ({error})\n"
            f"Check that the file and its directory may be {may} by this user, or name another store."
        ) from error
    connection.set_busy_timeout(BUSY_MS)
    return connection


def _is_sealed(path: Path) -> bool:
    """Whether a file lies, all by itself, where this user can write nothing: no log, and no room for an index of one.

    Raises StoreError where it has a log that only somebody who may write there can read.
    """
    if os.access(path.parent, os.W_OK):
        return False
    beside = [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-journal")]
    if not any(one.exists() and one.stat().st_size for one in beside):
        return True
    if path.with_name(f"{path.name}-shm").exists():
        return False  # whoever writes it, or wrote it last, has left its index
    raise StoreError(
        f"store {path}: its last commits are in a log beside it, and {path.parent} may not be written\n"
        f"Copy {path.name} and {path.name}-wal to a folder that may be written, and name the store there."
    )


def set_durable(connection: apsw.Connection) -> None:
    """Set what the writer's promise rests on. Raises apsw errors where the file does not allow it."""
    for pragma in (
        "journal_mode=wal",
        "synchronous=full",
        "mmap_size=0",
        "wal_autocheckpoint=1000",
        "cache_size=-16000",
        "journal_size_limit=67108864",
    ):
        connection.execute(f"pragma {pragma}").fetchall()


class Rows:
    """Selects over one connection, whichever thread asks: apsw refuses a connection that another thread is using."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def select(self, sql: str, *params: int | str | bytes | None) -> list[tuple[Any, ...]]:
        """All rows of a statement that is bounded by a key or a limit: one short read transaction."""
        with self._lock:
            return select(self._connection, sql, params)


def select(
    place: apsw.Connection | apsw.Cursor, sql: str, params: tuple[int | str | bytes | None, ...] = ()
) -> list[tuple[Any, ...]]:
    """All rows of a statement that is bounded by a key or a limit."""
    return cast("list[tuple[Any, ...]]", place.execute(sql, params).fetchall())


def _open_memory(place: str) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    name = place.removeprefix(MEMORY)
    return apsw.Connection(f"file:/{name}?vfs=memdb", flags=flags, statementcachesize=512)
