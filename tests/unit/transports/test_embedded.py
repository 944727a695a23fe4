"""The embedded transport: handing over is a call."""

import pytest

from partita.errors import TransportError
from partita.messages.envelope import Envelope
from partita.transports.embedded import EmbeddedTransport
from partita.transports.port import Owed


def test_what_is_owed_is_handed_over_at_once_as_it_is() -> None:
    transport, received = EmbeddedTransport(), list[Owed]()
    transport.subscribe(received.append, lambda _raw: None)
    owed = Owed(Envelope(id="m", type="Placed", at=0), "stock")

    transport.send(owed)

    assert received == [owed]


def test_foreign_bytes_are_handed_over_as_bytes() -> None:
    transport, taken = EmbeddedTransport(), list[bytes]()
    transport.subscribe(lambda _owed: None, taken.append)

    transport.put(b"{")

    assert taken == [b"{"]


def test_without_a_subscriber_nothing_is_lost_in_silence() -> None:
    with pytest.raises(TransportError, match="nothing subscribes to the embedded transport\nStart the engine first"):
        EmbeddedTransport().put(b"{}")


def test_a_lane_is_a_group_and_a_case_or_the_message_alone() -> None:
    def lane(case: str | None, message: str) -> tuple[str, str]:
        return Owed(Envelope(id=message, type="Placed", at=0, case=case), "stock").lane

    assert lane("order:1", "a") == lane("order:1", "b") == ("stock", "order:1")
    assert lane(None, "a") != lane(None, "b")
