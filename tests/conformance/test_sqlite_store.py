"""The SQLite store keeps the port's promises in both of its lanes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from partita.store.port import Projection
from partita.store.sqlite.connection import forget_memory
from partita.store.sqlite.store import SqliteStore, open_store
from tests.conformance.store_desk import SetClock
from tests.conformance.store_suite import StoreSuite


class TestThreadLane(StoreSuite):
    """A file, and a thread that writes it."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "shop.db"

    def open(self, place: str | Path, *, clock: SetClock, projection: Projection) -> SqliteStore:
        return open_store(place, clock=clock, projection=projection, app="shop")


class TestInlineLane(StoreSuite):
    """A database in memory, written in callbacks of the loop."""

    @pytest.fixture
    def place(self) -> Iterator[str]:
        yield "memory:conformance"
        forget_memory("memory:conformance")

    def open(self, place: str | Path, *, clock: SetClock, projection: Projection) -> SqliteStore:
        return open_store(place, clock=clock, projection=projection, app="shop")
