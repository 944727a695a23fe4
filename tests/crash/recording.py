"""A whole run of the shop on a recorded disk: what the disk was asked for, and who had been told what by then."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from partita.store.sqlite import store
from partita.store.sqlite.connection import select
from partita.store.sqlite.writer import Executor
from tests.crash import killable
from tests.crash.disk import Act, Disk, watched
from tests.crash.killable import Life, World

CHECKPOINT_PAGES = 25
"""So few that the log is folded back many times in a small run."""


@dataclass(slots=True)
class Recording:
    """One run, and for each moment what was promised by then; a moment is a number of acts of the disk."""

    form: str
    orders: int
    log: list[Act] = field(default_factory=list[Act])
    durable: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """From this moment on, so many facts are acknowledged."""
    said: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    """At this moment, a line of this book of the world outside."""
    chain: list[bytes] = field(default_factory=list[bytes])
    """The link of each fact, in the end."""

    def acknowledged(self, cut: int) -> int:
        """How many facts were acknowledged by then."""
        return max((facts for moment, facts in self.durable if moment <= cut), default=0)


def record(form: str, folder: Path, *, orders: int, synchronous: str = "full") -> Recording:
    """Run the shop from an empty file to its clean end."""
    recording = Recording(form, orders)
    World.folder = folder
    with watched(Disk()) as disk, _set_up(synchronous), _listening(recording, disk):
        asyncio.run(killable.live(Life(form=form, folder=os.fspath(folder), orders=orders)))
    recording.log = disk.log
    recording.chain = read_chain(folder / killable.STORE)
    return recording


def read_chain(path: Path) -> list[bytes]:
    """The links of a store's facts, each of which stands for all that was said up to there."""
    with closing(apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return [link for (link,) in select(connection, "select chain from trail order by seq")]


@contextmanager
def _set_up(synchronous: str) -> Iterator[None]:
    """Fold the log back early and often, and sync as it is to be tried."""
    original = store.set_durable

    def set_durable(connection: apsw.Connection) -> None:
        original(connection)
        for pragma in (f"wal_autocheckpoint={CHECKPOINT_PAGES}", f"synchronous={synchronous}"):
            connection.execute(f"pragma {pragma}").fetchall()

    with _instead(store, "set_durable", set_durable):
        yield


@contextmanager
def _listening(recording: Recording, disk: Disk) -> Iterator[None]:
    """Note when a commit has come back, and when the world outside was told something."""
    finish, append = Executor._finish, killable.append

    def finished(self: Executor, units: int) -> None:
        finish(self, units)
        recording.durable.append((len(disk.log), self._tail.seq))

    def appended(path: Path, line: str) -> None:
        recording.said.append((len(disk.log), path.name, line))
        append(path, line)

    with _instead(Executor, "_finish", finished), _instead(killable, "append", appended):
        yield


@contextmanager
def _instead(place: Any, name: str, other: Callable[..., Any]) -> Iterator[None]:
    original = getattr(place, name)
    setattr(place, name, other)
    try:
        yield
    finally:
        setattr(place, name, original)
