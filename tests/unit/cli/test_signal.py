import msgspec
import pytest

from partita.cli.failures import Usage
from partita.cli.sending import fill_case
from partita.messages.topology import MessageEntry

APPROVED = MessageEntry(name="OrderApproved", case_type="order", case_field="order_id", fields=("order_id", "by"))


def test_the_field_that_names_the_case_is_filled_in() -> None:
    filled = fill_case(b'{"by": "ada"}', APPROVED, "order:12345")

    assert msgspec.json.decode(filled) == {"order_id": "12345", "by": "ada"}


def test_a_case_field_that_is_there_is_left_as_it_was_typed() -> None:
    assert fill_case(b'{"order_id": 12345}', APPROVED, "order:12345") == b'{"order_id": 12345}'


def test_a_message_for_another_case_is_refused() -> None:
    with pytest.raises(Usage, match="order_id is '7' in the message, and the case is order:12345"):
        fill_case(b'{"order_id": "7"}', APPROVED, "order:12345")


@pytest.mark.parametrize("body", [b"[1]", b'"12345"', b"null", b"7"])
def test_a_message_is_an_object(body: bytes) -> None:
    with pytest.raises(Usage, match="OrderApproved is an object"):
        fill_case(body, APPROVED, "order:12345")
