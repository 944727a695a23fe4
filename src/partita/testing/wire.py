"""A transport that loses, doubles, delays and reorders what it is given, as its port allows it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from partita.testing.fate import Fate
from partita.transports.port import Owed


@dataclass(slots=True)
class WireRates:
    """How often what happens to one sending, as probabilities."""

    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    delay_s: float = 2.0


class SimulatedTransport:
    """Carries what one engine sends to the same engine; what is on the way when it dies is lost."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fate: Fate, rates: WireRates, note: Callable[[str, str], None]
    ) -> None:
        self._loop = loop
        self._fate = fate
        self._rates = rates
        self._note = note
        self._receive: Callable[[Owed], None] | None = None
        self._take_foreign: Callable[[bytes], None] | None = None

    def subscribe(self, receive: Callable[[Owed], None], take_foreign: Callable[[bytes], None]) -> None:
        """Name the one who receives."""
        self._receive, self._take_foreign = receive, take_foreign

    def send(self, owed: Owed) -> None:
        """Hand over one owed handling: now, later, twice, or not at all."""
        what = f"{owed.envelope.type} of {owed.envelope.case} for {owed.group}"
        fate, rates = self._fate, self._rates
        if fate.strikes("drop", what, rates.drop):
            self._note("drop", what)
            return
        if fate.strikes("double", what, rates.double):
            self._note("double", what)
            copy = replace(owed)  # as it was when it was sent, whatever has become of it
            self._loop.call_later(fate.number("double s", what) * 2 * rates.delay_s, self._bring, copy)
        if fate.strikes("delay", what, rates.delay):
            self._note("delay", what)
            self._loop.call_later(fate.number("delay s", what) * rates.delay_s, self._bring, owed)
        else:
            self._bring(owed)

    def put(self, raw: bytes) -> None:
        """Put raw bytes on the wire, as a foreign producer would."""
        fate, rates = self._fate, self._rates
        if fate.strikes("drop", "foreign bytes", rates.drop):
            self._note("drop", "foreign bytes")
            return
        for _ in range(2 if fate.strikes("double", "foreign bytes", rates.double) else 1):
            self._loop.call_later(fate.number("delay s", "foreign bytes") * rates.delay_s, self._bring_foreign, raw)

    def cut(self) -> None:
        """The process at the other end is gone."""
        self._receive = self._take_foreign = None

    def _bring(self, owed: Owed) -> None:
        if self._receive is not None:
            self._receive(owed)

    def _bring_foreign(self, raw: bytes) -> None:
        if self._take_foreign is not None:
            self._take_foreign(raw)
