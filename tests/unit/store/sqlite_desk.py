"""Opens a SQLite store for tests that look behind the port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from partita.limits import LIMITS, Limits
from partita.store.sqlite.store import open_store
from tests.conformance.store_desk import Counting, Desk, SetClock

IMPATIENT = replace(LIMITS, writer_warn_s=0.01, writer_interrupt_s=0.2)


@asynccontextmanager
async def opened(place: str | Path, *, limits: Limits = LIMITS, **more: Any) -> AsyncIterator[Desk]:
    """A desk at a store that is closed at the end, unless the test has closed or abandoned it."""
    clock = more.pop("clock", None) or SetClock()
    projection = more.pop("projection", None) or Counting()
    store = open_store(place, clock=clock, projection=projection, app="shop", limits=limits, **more)
    try:
        yield Desk(store)
    finally:
        await store.close()
