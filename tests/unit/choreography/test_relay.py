"""The relay: what is sent is expected first, and everything else is the transport's own."""

from collections.abc import Callable

from partita.choreography.relay import Relay
from partita.messages.envelope import Envelope
from partita.transports.port import Owed


class Line:
    """A transport that notes what it is asked for."""

    def __init__(self, seen: list[object]) -> None:
        self.seen = seen

    def send(self, owed: Owed) -> None:
        self.seen.append(("sent", owed))

    def subscribe(self, receive: Callable[[Owed], None], take_foreign: Callable[[bytes], None]) -> None:
        self.seen.append(("subscribed", receive, take_foreign))

    def put(self, raw: bytes) -> None:
        self.seen.append(("put", raw))


OWED = Owed(Envelope(id="m1", type="Placed", at=0), "stock")


def test_what_is_sent_is_expected_before_it_can_arrive() -> None:
    seen: list[object] = []
    relay = Relay(Line(seen))
    relay.expect = lambda owed: seen.append(("expected", owed))
    relay.send(OWED)

    assert seen == [("expected", OWED), ("sent", OWED)]


def test_before_the_lanes_stand_nobody_expects_anything() -> None:
    seen: list[object] = []
    Relay(Line(seen)).send(OWED)

    assert seen == [("sent", OWED)]


def test_who_receives_and_what_foreigners_put_is_the_transport_s_own() -> None:
    seen: list[object] = []
    relay = Relay(Line(seen))
    relay.subscribe(print, repr)  # type: ignore[arg-type]
    relay.put(b"raw")

    assert seen == [("subscribed", print, repr), ("put", b"raw")]
