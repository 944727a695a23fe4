"""The transport inside one process: handing over is a call.

The open obligation row is outbox entry and queue entry in one, so nothing has to be kept here: what a crash loses is
sent again from the rows at the next start.
"""

from __future__ import annotations

from collections.abc import Callable

from partita.errors import TransportError
from partita.transports.port import Owed


class EmbeddedTransport:
    """Hands everything straight to the one subscriber."""

    def __init__(self) -> None:
        self._receive: Callable[[Owed], None] = _nobody
        self._take_foreign: Callable[[bytes], None] = _nobody

    def subscribe(self, receive: Callable[[Owed], None], take_foreign: Callable[[bytes], None]) -> None:
        """Name the one who receives."""
        self._receive = receive
        self._take_foreign = take_foreign

    def send(self, owed: Owed) -> None:
        """Hand over at once."""
        self._receive(owed)

    def put(self, raw: bytes) -> None:
        """Hand over at once, as bytes from outside."""
        self._take_foreign(raw)


def _nobody(_what: object) -> None:
    raise TransportError("nothing subscribes to the embedded transport\nStart the engine first.")
