"""The world: what an engine is given, in a process or in a simulation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from partita.clock import Clock
from partita.store.port import Store
from partita.transports.port import Transport


@dataclass(frozen=True, slots=True)
class World:
    """What an engine is given: nothing of it is opened, read or started by the engine itself."""

    store: Store
    transport: Transport
    clock: Clock
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    clean: bool = True
    """Whether whoever held the store before let go of it cleanly."""
    poll_s: float = 30.0
    """How often the safety net looks for what is owed and was lost on the way."""
