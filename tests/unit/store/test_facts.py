"""What is read where a body is of no kind that is known, or is no JSON any more."""

import msgspec
import pytest

from partita.store.facts import Published, Unread, decode_body, encode_body


def test_a_body_is_read_as_what_it_was_written_from() -> None:
    body = Published(id="m", type="OrderPlaced", owes=("inventory",), due=7)

    assert decode_body("published", encode_body(body)) == body


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("whispered", b'{"text":"psst"}'),
        ("published", b'{"id":7}'),
        ("published", b"[]"),
    ],
)
def test_a_body_of_another_shape_is_kept_as_it_is(kind: str, raw: bytes) -> None:
    body = decode_body(kind, raw)

    assert isinstance(body, Unread)
    assert (body.name, bytes(body.raw)) == (kind, raw)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"", ""),
        (b"{", "{"),
        (b'\xff{"id"', '\\xff{"id"'),
        ('"Gänse'.encode(), '"Gänse'),
        (b"[" * 5_000, "[" * 5_000),
    ],
)
def test_a_body_that_is_no_json_is_shown_as_the_bytes_that_are_left(raw: bytes, shown: str) -> None:
    body = decode_body("published", raw)

    assert isinstance(body, Unread)
    assert (body.name, msgspec.json.decode(body.raw)) == ("published", shown)
