"""Time, chance and ids: the only room that reads them, so that a test or a simulation can own all three."""

from __future__ import annotations

import asyncio
import heapq
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

US = 1_000_000
"""Microseconds in a second: inside, time is an integer of microseconds since 1970, UTC."""


class Clock(Protocol):
    """What the engine knows of the world outside. Promise: `now_us` never goes back within one process."""

    def now_us(self) -> int:
        """Microseconds since 1970, UTC; never less than it said before."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return no earlier than `seconds` from now."""
        ...

    def new_id(self) -> str:
        """A fresh id, 32 hex digits, sorting by time (UUIDv7)."""
        ...

    def chance(self) -> float:
        """A number in [0, 1): jitter and nothing else."""
        ...


class SystemClock:
    """The machine's own clock, held still where it is set back."""

    def __init__(self) -> None:
        self._last_us = 0

    def now_us(self) -> int:
        """Microseconds since 1970; where the machine's clock is set back, the last value told."""
        now = time.time_ns() // 1_000
        if now > self._last_us:  # noqa: PLR1730 - max() costs three times as much, for each unit
            self._last_us = now
        return self._last_us

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running loop."""
        await asyncio.sleep(seconds)

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562) in hex."""
        return uuid7(self.now_us() // 1_000, _entropy.take())

    def chance(self) -> float:
        """Not for secrets."""
        return random.random()


class _Entropy:
    """The system's randomness, fetched for many ids at once: a call costs up to 20 µs where it is not mapped in."""

    IDS = 256
    BYTES = 10
    """Of one id: 80 bits, of which 74 are used."""

    def __init__(self) -> None:
        self._left: list[bytes] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def take(self) -> int:
        """74 bits that nobody else has."""
        try:
            return int.from_bytes(self._left.pop()) >> 6
        except IndexError:
            size = self.BYTES
            fetched = os.urandom(self.IDS * size)
            self._left = [fetched[at : at + size] for at in range(size, len(fetched), size)]
            return int.from_bytes(fetched[:size]) >> 6

    def forget(self) -> None:
        """In a child, which would otherwise give out what its parent gives out."""
        self._left = []


_entropy = _Entropy()


def uuid7(milliseconds: int, entropy: int) -> str:
    """Lay out a UUIDv7 (RFC 9562, section 5.7): 48 bits of time, version, 12 bits, variant, 62 bits."""
    high = (milliseconds & (1 << 48) - 1) << 16 | 0x7000 | (entropy >> 62) & 0xFFF
    low = 0b10 << 62 | entropy & (1 << 62) - 1
    return f"{high << 64 | low:032x}"


def to_datetime(at_us: int) -> datetime:
    """Microseconds as an aware datetime, UTC."""
    return datetime.fromtimestamp(at_us // US, UTC).replace(microsecond=at_us % US)


def to_rfc3339(at_us: int) -> str:
    """Microseconds as RFC 3339 with `Z`, at full precision."""
    return to_datetime(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_datetime(moment: datetime) -> int:
    """An aware datetime as microseconds. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone\nAdd one: 2026-01-31T12:00:00Z")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * US + delta.microseconds


class Alarms:
    """What is due when: callbacks by instant, woken by one sleeper. An alarm is set again by whoever still needs it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._changed = asyncio.Event()

    def set(self, at_us: int, ring: Callable[[], None]) -> None:
        """Call `ring` on this loop, no earlier than `at_us`."""
        self._count += 1
        heapq.heappush(self._heap, (at_us, self._count, ring))
        if self._heap[0][1] == self._count:
            self._changed.set()

    def next_at(self) -> int | None:
        """When the earliest is due; None where there is none."""
        return self._heap[0][0] if self._heap else None

    async def watch(self) -> None:
        """Ring until cancelled."""
        while True:
            self._changed.clear()
            self.ring_due()
            if not self._heap:
                await self._changed.wait()
                continue
            # Sleep in pieces, so that a machine's clock that is set forward is noticed within a second.
            wait_s = min((self._heap[0][0] - self._clock.now_us()) / US, 1.0)
            sleeper = asyncio.ensure_future(self._clock.sleep(max(wait_s, 0.0)))
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({sleeper, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeper.cancel()
                changed.cancel()

    def ring_due(self) -> None:
        """Ring all that are due now."""
        now = self._clock.now_us()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
