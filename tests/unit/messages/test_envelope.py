"""Envelopes: ids that follow from what caused them, digests and partitions."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from partita.messages.envelope import Cause, Envelope, body_digest, derive_id, partition_of
from tests.unit.messages.words import cases, envelopes


@given(st.lists(st.text(st.characters(codec="utf-8"))), st.lists(st.text(st.characters(codec="utf-8"))))
def test_ids_are_the_same_exactly_where_their_parts_are(parts: list[str], others: list[str]) -> None:
    assert (derive_id(*parts) == derive_id(*others)) == (parts == others)


def test_the_border_between_two_parts_matters() -> None:
    assert derive_id("ab", "c") != derive_id("a", "bc")


def test_a_derived_id_never_changes() -> None:
    assert derive_id("fulfil/order:1/1", "0", "charge#1") == "876f08a16189467d165639431b1b6e4e"


def test_a_partition_never_changes() -> None:
    assert partition_of("order:12345") == 2896


@given(cases)
def test_a_partition_is_one_of_4096(case: str) -> None:
    assert 0 <= partition_of(case) < 4096


def test_a_digest_tells_bodies_apart() -> None:
    assert body_digest(b'{"a":1}') == body_digest(b'{"a":1}') != body_digest(b'{"a":2}')


def test_a_cause_reads_as_message_group_and_attempt() -> None:
    assert str(Cause("7f3a", "billing", 2)) == "7f3a/billing#2"


@given(envelopes)
def test_an_envelope_is_stored_and_read_back_unchanged(envelope: Envelope) -> None:
    assert msgspec.json.decode(msgspec.json.encode(envelope), type=Envelope) == envelope
