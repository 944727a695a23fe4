"""The relay: what is owed takes its place in its key's order before it is sent; what overtakes it on the way waits."""

from __future__ import annotations

from collections.abc import Callable

from partita.transports.port import Owed, Transport


class Relay:
    """A transport whose sendings are expected at the other end, in the order in which they were made."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.expect: Callable[[Owed], None] = _nobody

    def send(self, owed: Owed) -> None:
        """Let it be expected, then send it."""
        self.expect(owed)
        self._transport.send(owed)

    def subscribe(self, receive: Callable[[Owed], None], take_foreign: Callable[[bytes], None]) -> None:
        """See `Transport.subscribe`."""
        self._transport.subscribe(receive, take_foreign)

    def put(self, raw: bytes) -> None:
        """See `Transport.put`."""
        self._transport.put(raw)


def _nobody(_owed: Owed) -> None:
    """Before the lanes stand, nothing is sent."""
