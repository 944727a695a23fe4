"""CloudEvents: what we write anybody reads, what anybody writes we read, and what is no event is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from partita.errors import LimitExceeded, MessageError
from partita.limits import LIMITS
from partita.messages.catalog import Catalog
from partita.messages.cloudevents import from_cloudevent, to_cloudevent
from partita.messages.codec import check_raw
from partita.messages.envelope import Cause, Envelope
from tests.unit.messages.words import OrderShipped, envelopes, refusal, texts, trees

NOW_US = 1_769_860_800_000_000  # 2026-01-31T12:00:00Z
MINIMAL = {"specversion": "1.0", "id": "A234-1234", "source": "/warehouse", "type": "OrderShipped"}
UUID = "018f6a7e-5d0c-7a3b-8000-0123456789ab"

ENVELOPE = Envelope(
    id="7f3a",
    type="OrderShipped",
    version=2,
    source="shop/1",
    at=NOW_US,
    case="order:12345",
    also=("parcel:P 1",),
    correlation="c0",
    causes=(Cause("m1", "shipping", 2), Cause("m2", "workflow:fulfil", 1)),
    sequence=42,
    data=b'{"order_id":"12345","parcel":"P 1"}',
)


def read(event: object) -> Envelope:
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    return from_cloudevent(raw, now_us=NOW_US, new_id=lambda: "fresh")


@given(envelopes)
def test_an_envelope_comes_back_as_it_went(envelope: Envelope) -> None:
    assert read(to_cloudevent(envelope)) == envelope


@given(st.binary() | st.sampled_from([b" 1 ", b'{"a":NaN}', b'"\xff"', b"[" * 2000 + b"]" * 2000]))
def test_a_body_that_is_no_json_keeps_its_bytes_and_spoils_no_event(body: bytes) -> None:
    envelope = msgspec.structs.replace(ENVELOPE, data=body)
    raw = to_cloudevent(envelope)

    assert json.loads(raw)["id"] == ENVELOPE.id
    assert read(raw) == envelope


@given(envelopes)
def test_what_others_respell_is_read_the_same(envelope: Envelope) -> None:
    respelled = json.dumps(json.loads(to_cloudevent(envelope)), indent=1, sort_keys=True)
    found = read(respelled.encode())

    assert json.loads(found.data) == json.loads(envelope.data)
    assert msgspec.structs.replace(found, data=b"") == msgspec.structs.replace(envelope, data=b"")


def test_an_envelope_is_written_as_a_cloud_event() -> None:
    assert json.loads(to_cloudevent(ENVELOPE)) == {
        "specversion": "1.0",
        "id": "7f3a",
        "source": "shop/1",
        "type": "OrderShipped",
        "subject": "order:12345",
        "time": "2026-01-31T12:00:00.000000Z",
        "datacontenttype": "application/json",
        "dataversion": 2,
        "correlationid": "c0",
        "causationid": "m1/shipping#2 m2/workflow:fulfil#1",
        "partitionkey": "order:12345",
        "sequence": "0000000000000000042",
        "partitakind": "event",
        "partitaalso": "parcel:P%201",
        "data": {"order_id": "12345", "parcel": "P 1"},
    }


@given(st.lists(st.integers(1, 2**63 - 1), min_size=2))
def test_sequences_have_the_same_order_as_text(sequences: list[int]) -> None:
    written = [
        json.loads(to_cloudevent(msgspec.structs.replace(ENVELOPE, sequence=number)))["sequence"]
        for number in sequences
    ]

    assert sorted(written) == [f"{number:019}" for number in sorted(sequences)]


def test_what_an_envelope_lacks_is_left_out() -> None:
    written = json.loads(to_cloudevent(Envelope(id="1", type="Ping", at=0)))

    assert written.keys() == {
        "specversion", "id", "source", "type", "time", "datacontenttype", "dataversion", "partitakind", "data",
    }  # fmt: skip
    assert written["source"] == "/"


def test_the_least_foreign_event_is_read() -> None:
    assert read(MINIMAL) == Envelope(
        id="/warehouse#A234-1234", type="OrderShipped", source="/warehouse", at=NOW_US, data=b"{}"
    )


def test_foreign_ids_are_told_apart_by_their_sources() -> None:
    assert read(MINIMAL | {"source": "/a"}).id != read(MINIMAL | {"source": "/b"}).id
    assert read(MINIMAL | {"id": UUID}).id == UUID
    assert read(MINIMAL | {"id": UUID.replace("-", "")}).id == UUID.replace("-", "")
    assert read(MINIMAL | {"id": "7", "partitakind": "event"}).id == "7"


def test_a_foreign_id_that_grows_too_long_with_its_source_is_shortened_the_same_way_each_time() -> None:
    long = MINIMAL | {"source": "/" + "s" * 300}

    assert len(read(long).id) == 32
    assert read(long).id == read(long).id != read(long | {"id": "A234-1235"}).id


def test_a_plain_json_object_with_type_and_data_is_read() -> None:
    found = read({"type": "OrderShipped", "data": {"order_id": "1"}})

    assert found == Envelope(id="fresh", type="OrderShipped", at=NOW_US, data=b'{"order_id": "1"}')


def test_a_plain_json_object_may_say_more() -> None:
    found = read(
        {"type": "Pinged", "id": 17, "subject": "order:1", "time": "2026-01-31T12:00:00Z", "data": 1, "colour": "red"}
    )

    assert (found.id, found.case, found.at, found.data) == ("17", "order:1", NOW_US, b"1")


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-31T12:00:00Z", "2026-01-31t12:00:00.000000z", "2026-01-31T14:00:00+02:00", "2026-01-30T23:30:00-12:30",
        "2026-01-31 12:00:00.0000000001Z",
    ],
)  # fmt: skip
def test_a_time_is_read_with_any_offset(time: str) -> None:
    assert read(MINIMAL | {"time": time}).at == NOW_US


@pytest.mark.parametrize(
    ("subject", "case"),
    [("order:1", "order:1"), *dict.fromkeys(["12345", "Order:1", "https://a/b", "order:", "order:a\nb", None]).items()],
)
def test_a_foreign_subject_names_a_case_where_it_is_one(subject: str | None, case: str | None) -> None:
    assert read(MINIMAL | {"subject": subject}).case == case


@pytest.mark.parametrize(
    ("written", "version"),
    [(2, 2), ("2", 2), ("2.1", 2), (None, 1), ("2019-01-01", 1), (0, 1), (True, 1), ({}, 1), ("", 1)],
)
def test_a_version_is_the_major_number_of_dataversion(written: object, version: int) -> None:
    assert read(MINIMAL | {"dataversion": written}).version == version


@pytest.mark.parametrize(
    ("written", "sequence"),
    [("0042", 42), (42, 42), ("01H8X", 0), ("-1", 0), (2**63, 0), (1.5, 0), ("٣", 0), ("9" * 19, 0)],
)
def test_a_sequence_that_is_no_number_is_none(written: object, sequence: int) -> None:
    assert read(MINIMAL | {"sequence": written}).sequence == sequence


def test_a_foreign_cause_is_taken_as_the_id_it_is() -> None:
    assert read(MINIMAL | {"causationid": "a/b c#d", "correlationid": 7}).causes == (Cause("a/b c#d", "", 0),)


def test_attributes_that_are_null_are_as_good_as_missing() -> None:
    attributes = ("subject", "time", "datacontenttype", "correlationid", "causationid", "sequence", "data_base64")

    assert read(MINIMAL | dict.fromkeys(attributes)) == read(MINIMAL)


@pytest.mark.parametrize(
    "kind", [None, "application/json", "Application/JSON; charset=utf-8", "application/vnd.shop+json", "text/json"]
)
def test_json_is_json_under_each_of_its_names(kind: str | None) -> None:
    assert read(MINIMAL | {"datacontenttype": kind, "data": [1]}).data == b"[1]"


def test_data_may_come_in_base64() -> None:
    assert read(MINIMAL | {"data_base64": base64.b64encode(b'{"a":1}').decode()}).data == b'{"a":1}'


@given(trees)
def test_a_body_keeps_its_bytes(tree: Any) -> None:
    body = json.dumps(tree).encode()

    assert read(b'{"type":"A" , "data" : ' + body + b" }").data == body


@pytest.mark.parametrize(
    "body",
    [b'{"a":1,"a":2}', rb'"\u0000"', b"18446744073709551616", b'"\xff"', b'{"parcel":7}', b"[" * 100 + b"]" * 100],
)
def test_an_event_with_a_bad_body_is_read_and_its_body_is_refused(body: bytes) -> None:
    found = read(b'{"specversion":"1.0","id":"1","source":"/s","type":"OrderShipped","data":' + body + b"}")

    assert (found.id, found.data) == ("/s#1", body)
    with pytest.raises(MessageError):
        Catalog([OrderShipped]).decode_strict(found.type, found.version, found.data)


def test_a_body_that_everyone_reads_alike_passes_the_door() -> None:
    check_raw(read(to_cloudevent(ENVELOPE)).data)


NO_EVENT = "or a JSON object with `type` and `data`"
OWN = MINIMAL | {"partitakind": "event"}


@pytest.mark.parametrize(
    ("event", "says", "remedy"),
    [
        (b"", "not an event", NO_EVENT),
        (b"nope", "not an event", NO_EVENT),
        (b"\xff", "not an event", NO_EVENT),
        (b'{"type":"A","data":NaN}', "not an event: JSON is malformed", NO_EVENT),
        ([MINIMAL], "not an event: Expected `object`, got `array`", NO_EVENT),
        ({}, "not an event: it has no specversion", NO_EVENT),
        ({"type": "A"}, "not both of type and data", NO_EVENT),
        ({"data": 1}, "not both of type and data", NO_EVENT),
        (MINIMAL | {"id": None}, "event: it has no id", "requires id, source and type"),
        (MINIMAL | {"source": None}, "event 'A234-1234': it has no source", "requires id, source and type"),
        (MINIMAL | {"type": None}, "it has no type", "requires id, source and type"),
        (MINIMAL | {"id": ""}, "its id is empty", "Send plain text"),
        (MINIMAL | {"source": ""}, "its source is empty", "Send plain text"),
        (MINIMAL | {"type": "a\0b"}, "its type holds a control character", "Send plain text"),
        (MINIMAL | {"correlationid": "a\nb"}, "its correlationid holds a control character", "Send plain text"),
        (MINIMAL | {"specversion": "0.3"}, "CloudEvents '0.3' is not read here", "Send version 1.0"),
        (MINIMAL | {"specversion": 1.0}, "Expected `str | null`, got `float` - at `$.specversion`", NO_EVENT),
        (MINIMAL | {"partitakind": "rumour"}, "not an event: Invalid enum value 'rumour'", NO_EVENT),
        (MINIMAL | {"time": "2026-01-31T12:00:00"}, "12:00:00' has no time zone", "2026-01-31T12:00:00Z"),
        (MINIMAL | {"time": "yesterday"}, "its time 'yesterday' is not RFC 3339", "2026-01-31T12:00:00Z"),
        (MINIMAL | {"time": "1969-12-31T23:59:59Z"}, "is out of range", "from 1970 to 9999"),
        (MINIMAL | {"time": "9999-12-31T23:59:59-01:00"}, "is out of range", "from 1970 to 9999"),
        (MINIMAL | {"datacontenttype": "text/xml", "data": "<a/>"}, "its data is 'text/xml'", "application/json"),
        (MINIMAL | {"data": 1, "data_base64": "MQ=="}, "both data and data_base64", "Send one of them"),
        (MINIMAL | {"data_base64": "%%"}, "its data_base64 is not base64", "RFC 4648"),
        (MINIMAL | {"data_base64": "ä"}, "its data_base64 is not base64", "RFC 4648"),
        (OWN | {"subject": "12345"}, "its subject '12345' is no case", "type:key"),
        (OWN | {"causationid": "m1"}, "its causationid has 'm1'", "message/group#attempt"),
        (OWN | {"causationid": "m%00/g#1"}, "its causationid has", "message/group#attempt"),
        (OWN | {"partitaalso": "parcel:1 7"}, "its partitaalso has '7'", "type:key"),
        (b'{"type":"A","data":{},"type":"B"}', "it has 'type' twice", "Send each attribute once"),
        (rb'{"type":"A","data":{},"x":1,"\u0078":2}', "it has 'x' twice", "Send each attribute once"),
    ],
    ids=lambda part: ascii(part)[:40] if isinstance(part, str) else "",
)  # fmt: skip
def test_what_is_no_event_is_refused(event: object, says: str, remedy: str) -> None:
    with refusal(MessageError, says, remedy):
        read(event)


@pytest.mark.parametrize("attribute", ["id", "type", "correlationid"])
def test_an_attribute_that_is_too_long_is_refused(attribute: str) -> None:
    with refusal(LimitExceeded, f"length of its {attribute} is 201", "raise limits.name_bytes_max"):
        read(MINIMAL | {attribute: "x" * 201})


def test_an_event_that_is_too_large_is_refused() -> None:
    with refusal(LimitExceeded, "event: size in bytes is 4,194,305", "raise limits.request_bytes_max"):
        read(b" " * (LIMITS.request_bytes_max + 1))


def test_an_event_that_is_nested_beyond_reading_is_refused() -> None:
    with refusal(LimitExceeded, "nesting is 65", "raise limits.nesting_max"):
        read(b'{"type":"A","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}")


attributes = st.sampled_from([*json.loads(to_cloudevent(ENVELOPE)), "data_base64", "other"])


@given(st.dictionaries(attributes, trees | texts), st.booleans())
def test_any_object_is_read_or_refused_and_never_worse(event: dict[str, Any], minimal: bool) -> None:
    try:
        found = read(MINIMAL | event if minimal else event)
    except MessageError:
        return
    assert msgspec.structs.replace(read(to_cloudevent(found)), id=found.id, causes=found.causes) == found


@given(st.binary(max_size=60))
@example(b'{"type":" ","data":{}}')
def test_any_bytes_are_read_or_refused_and_never_worse(raw: bytes) -> None:
    try:
        found = read(raw)
    except MessageError:
        return
    assert msgspec.structs.replace(read(to_cloudevent(found)), id=found.id, causes=found.causes) == found
