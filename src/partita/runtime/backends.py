"""Backends: the only place that names a concrete store or transport; they are loaded when one is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from partita.clock import Clock
from partita.messages.topology import Topology
from partita.monitor.fold import CaseProjection
from partita.store.health import Finding
from partita.store.port import OwnedStore, Reader, TrailReader
from partita.transports.port import Transport


class Shelf:
    """Topologies by version, as the fold asks for them: those put here, then those that the store has."""

    def __init__(self) -> None:
        self._known: dict[int, Topology] = {0: Topology(app="")}
        self.trail: TrailReader | None = None

    def put(self, topology: Topology) -> None:
        """Keep a topology under its version."""
        self._known[topology.version] = topology

    def get(self, version: int) -> Topology:
        """The topology of a version; an empty one where nobody has it."""
        found = self._known.get(version)
        if found is None:
            stored = self.trail.find_topology(version) if self.trail is not None else None
            found = self._known[version] = stored or Topology(app="", version=version)
        return found


class Holder(NamedTuple):
    """The process that holds a store."""

    pid: int
    socket: Path


def take(
    place: str | Path,
    *,
    clock: Clock,
    shelf: Shelf,
    app: str = "",
    on_stopped: Callable[[BaseException], None] | None = None,
) -> OwnedStore:
    """Take a store as its only writer."""
    from partita.store.sqlite.store import open_store

    store = open_store(place, clock=clock, projection=CaseProjection(shelf.get), app=app, on_stopped=on_stopped)
    shelf.trail = store.trail
    return store


def read(path: Path, *, clock: Clock) -> Reader:
    """Read a store, whoever writes it."""
    from partita.store.sqlite.store import open_reader

    shelf = Shelf()
    reader = open_reader(path, clock=clock, projection=CaseProjection(shelf.get))
    shelf.trail = reader.trail
    return reader


def find_holder(path: Path) -> Holder | None:
    """Who holds a store, or None."""
    from partita.store.sqlite import lock

    found = lock.find_holder(path)
    return None if found is None else Holder(found.pid, Path(found.socket))


def examine(path: Path) -> list[Finding]:
    """Look a store over: file, format, lock, disk, pages, chain, tables."""
    from partita.store.sqlite import doctor

    return doctor.examine(path, _projecting)


def _projecting(trail: TrailReader) -> CaseProjection:
    shelf = Shelf()
    shelf.trail = trail
    return CaseProjection(shelf.get)


def embedded() -> Transport:
    """The transport inside one process."""
    from partita.transports.embedded import EmbeddedTransport

    return EmbeddedTransport()
