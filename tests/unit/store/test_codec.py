"""Bodies and states come back as they were, however they lie on the disk."""

from hashlib import blake2b
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partita.errors import StoreError
from partita.store.facts import Body, NewFact, Published, Started, Stepped
from partita.store.sqlite.codec import CODEC_JSON, CODEC_PACKED, DICTIONARY, WORTH_MAX, is_kept, pack, unpack
from partita.store.sqlite.names import split_run
from partita.store.sqlite.operations import message_key
from partita.store.sqlite.recent import Recent
from tests.conformance.store_desk import add_run, published
from tests.unit.store.sqlite_desk import opened

BODY = b'{"id":"01a1fbee44e27f5f91217bb8b6481061","type":"OrderPlaced","data":{"order_id":"7"},"case":"order:7"}'


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_whatever_is_packed_is_unpacked(raw: bytes) -> None:
    codec, stored = pack(raw)

    assert unpack(codec, stored) == raw
    assert len(stored) <= len(raw)


def test_a_body_is_packed_to_less_than_half() -> None:
    codec, stored = pack(BODY)

    assert codec == CODEC_PACKED
    assert len(stored) < len(BODY) / 2


@pytest.mark.parametrize("raw", [b"{}", BODY * (WORTH_MAX // len(BODY) + 1)], ids=["small", "large"])
def test_what_is_not_worth_packing_stays_json(raw: bytes) -> None:
    assert pack(raw) == (CODEC_JSON, raw)


@pytest.mark.parametrize(("size", "codec"), [(99, 0), (100, 1), (8_192, 1), (8_193, 0)])
def test_what_is_packed_is_neither_too_small_nor_too_large(size: int, codec: int) -> None:
    assert pack(b"a" * size)[0] == codec


def test_the_dictionary_is_the_one_that_stores_were_written_with() -> None:
    """A better dictionary is another codec: with a changed one, every packed body would be lost."""
    assert blake2b(DICTIONARY, digest_size=8).hexdigest() == "d28832e1a6e9aab4"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (Started(workflow="fulfil"), True),
        (Published(id="m", type="OrderPlaced", owes=("inventory", "workflow:fulfil")), True),
        (Published(id="m", type="OrderPlaced", owes=("inventory",)), False),
        (Published(id="m", type="OrderPlaced"), False),
        (Stepped(step="reserve#1"), False),
    ],
)
def test_what_a_run_began_with_is_kept_for_long(body: Body, kept: bool) -> None:
    assert is_kept(body) is kept


async def test_a_parked_run_and_its_waiting_case_lie_packed_and_nothing_else_does(tmp_path: Path) -> None:
    long = "x" * 200
    async with opened(tmp_path / "a.db") as desk:
        for case in ("order:5-" + long, "order:4-" + long):
            await desk.accept(published(case), NewFact(Stepped(step=long), case=case))
            run = f"fulfil/{case}/1"
            await desk.accept(
                *(NewFact(Started(workflow="fulfil", code=long), run=run) for _ in range(20)), writes=[add_run(run)]
            )
    connection = apsw.Connection(str(tmp_path / "a.db"))
    bodies = "select kind.name, min(codec), max(codec) from trail join kind on kind.id = kind group by kind.name"
    assert list(connection.execute(bodies)) == [("published", 0, 0), ("started", 1, 1), ("stepped", 0, 0)]
    assert list(connection.execute("select rank, codec from cases order by rank")) == [(4, 0), (5, 1)]
    connection.close()


@pytest.mark.parametrize("codec", [CODEC_PACKED, 9])
def test_bytes_that_cannot_be_read_are_an_error_with_a_remedy(codec: int) -> None:
    with pytest.raises(StoreError, match="\n"):
        unpack(codec, b"\xff\xff")


@given(st.text(max_size=40) | st.from_regex(r"[0-9a-fA-F]{32}", fullmatch=True))
def test_two_messages_never_share_a_key(message: str) -> None:
    key = message_key(message)

    assert (key.hex() if isinstance(key, bytes) else key) == message


@given(st.text("abz_", min_size=1), st.text("abz:/1", min_size=1), st.integers(0, 10**9))
def test_a_run_made_of_its_parts_is_taken_apart_again(workflow: str, case: str, number: int) -> None:
    assert split_run(f"{workflow}/{case}/{number}") == (workflow, case, number)


@pytest.mark.parametrize("run", ["", "a", "a/b", "a/b/", "a/b/x", "a/b/01", "/b/1", "a//1", "a/b/-1", "a/b/²"])
def test_another_name_is_not_taken_apart(run: str) -> None:
    assert split_run(run) is None


def test_what_was_used_lately_is_remembered_and_the_rest_is_bounded() -> None:
    recent: Recent[int, str] = Recent(10)
    for number in range(1_000):
        recent.put(number, str(number))
        assert recent.find(0) == "0", "it is used all the time"

    assert recent.find(999) == "999"
    assert sum(recent.find(number) is not None for number in range(1_000)) <= 20
    recent.drop(999)
    recent.clear()
    assert recent.find(999) is recent.find(0) is None
