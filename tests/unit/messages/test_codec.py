"""The codec: what goes out comes back, and what others would read differently goes neither out nor in."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partita.errors import DefinitionError, LimitExceeded, MessageError
from partita.limits import LIMITS
from partita.messages.codec import check_raw, check_readable, decode, decode_strict, encode
from tests.unit.messages.words import Channel, Line, OrderId, OrderPlaced, OrderWeighed, refusal, texts, trees

AWARE = datetime(2026, 1, 31, 12, tzinfo=UTC)
NAIVE = datetime(2026, 1, 31, 12)  # noqa: DTZ001 - what is refused
KEY_TWICE = ("twice", "Send each key once")
NO_JSON = ("not JSON", "Send JSON in UTF-8")


class Point(NamedTuple):
    x: float
    y: float


class Loose(msgspec.Struct, frozen=True):
    anything: Any


class Slim(msgspec.Struct, frozen=True, omit_defaults=True):
    first: float | None = None
    second: float | None = None


class Tree(msgspec.Struct, frozen=True):
    children: tuple[Tree, ...] = ()


@dataclass
class Tagged:
    tags: set[str]
    at: datetime | None = None


class Weight(Enum):
    HEAVY = math.inf


class Positive(msgspec.Struct, frozen=True):
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("below zero")
        if self.number == 0:
            raise LookupError("nothing\nat all")


def nested(depth: int) -> Any:
    value: Any = "leaf"
    for _ in range(depth):
        value = [value]
    return value


weighed = st.builds(
    OrderWeighed,
    order_id=texts,
    at=st.datetimes(timezones=st.just(UTC)),
    grams=st.floats(allow_nan=False, allow_infinity=False),
    tags=st.frozensets(texts, max_size=3),
    notes=st.dictionaries(texts, texts, max_size=3),
    channel=st.sampled_from(Channel),
)
placed = st.builds(
    OrderPlaced,
    order_id=texts,
    lines=st.lists(st.builds(Line, texts, st.integers(-(2**63), 2**63 - 1)), max_size=3).map(tuple),
    total_pence=st.integers(-(2**63), 2**63 - 1),
    customer=st.none() | texts,
)


@given(placed | weighed)
def test_a_message_comes_back_as_it_went(message: OrderPlaced | OrderWeighed) -> None:
    raw = encode(message)

    assert decode(raw, type(message)) == message
    assert decode_strict(raw, type(message)) == message


@given(trees)
def test_any_tree_comes_back_as_it_went_and_is_fit_for_the_door(tree: Any) -> None:
    raw = encode(tree)
    check_raw(raw)

    assert decode(raw, Any) == decode_strict(raw, object) == json.loads(raw) == tree


@given(trees)
def test_spacing_order_and_escapes_of_others_are_taken(tree: Any) -> None:
    check_raw(json.dumps(tree, indent=2).encode())
    check_raw(json.dumps(tree, ensure_ascii=False, sort_keys=True).encode())


@pytest.mark.parametrize(
    ("value", "as_type"),
    [
        (Loose(anything=[None, {"a": None}]), Loose),
        (Slim(second=1.5), Slim),
        (Tree(children=(Tree(), Tree(children=(Tree(),)))), Tree),
        (Point(1.5, 2.0), Point),
        ([Channel.WEB], list[Channel]),
        ({Channel.WEB: 1}, dict[Channel, int]),
        ({1: "a", 2: "b"}, dict[int, str]),
        (OrderedDict(b=1, a=2), dict[str, int]),
        ((Decimal("1.50"), date(2026, 1, 31), UUID(int=7)), tuple[Decimal, date, UUID]),
        ((timedelta(seconds=3), b"\0\xff"), tuple[timedelta, bytes]),
        (datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))), datetime),
        ("a string that says null and 12345678901234567890", str),
        ("\\u0000, written out", str),
        ([2**63 - 1, -(2**63)], list[int]),
        ([1e300, 0.1234567890123456789, 1e18], list[float]),
        (nested(64), Any),
        ([[]] * 100, list[Any]),
        (Tagged({"b", "a"}), Tagged),
        ({"2026-01-31T12:00:00": "a text that looks like a time"}, dict[str, str]),
        (None, None),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_only_looks_odd_passes(value: object, as_type: object) -> None:
    assert decode(encode(value), as_type) == value


@pytest.mark.parametrize(
    ("value", "says", "remedy"),
    [
        (math.nan, "float: $ is nan", "send None"),
        ({"a": [1.0, -math.inf]}, "dict: $.a[1] is -inf", "send None"),
        ({math.nan: 1}, "$[nan] is nan", "send None"),
        (Slim(first=math.nan), "Slim: $.first is nan", "send None"),
        ([Slim(first=math.nan)], "list: $[0].first is nan", "send None"),
        (OrderPlaced(order_id="1", lines=(), total_pence=math.nan), "OrderPlaced: $.total_pence is nan", "send None"),  # type: ignore[arg-type]
        (Weight.HEAVY, "Weight: $ is inf", "send None"),
        (NAIVE, "datetime: $ is a time without a time zone", "2026-01-31T12:00:00Z"),
        (Loose({"at": NAIVE}), "Loose: $.anything.at is a time without", "2026-01-31T12:00:00Z"),
        (OrderWeighed(order_id="1", at=NAIVE, grams=1), "OrderWeighed: $.at is a time without", "2026-01-31T12:00:00Z"),
        ({NAIVE: 1}, "is a time without a time zone", "2026-01-31T12:00:00Z"),
        (AWARE.replace(tzinfo=timezone(timedelta(seconds=1172))), "has the offset 0:19:32", "astimezone(UTC)"),
        (2**63, "int: $ is an integer beyond 64 bits", "Send it as text"),
        ([-(2**63) - 1], "list: $[0] is an integer beyond 64 bits", "Send it as text"),
        ({"a b": 10**4000}, "dict: $['a b'] is an integer beyond 64 bits", "Send it as text"),
        ({2**70: 1}, "is an integer beyond 64 bits", "Send it as text"),
        ("a\0b", "str: $ holds a NUL character", "Take it out"),
        (Line("\0", 1), "Line: $.sku holds a NUL character", "Take it out"),
        ({"a\0": 1}, "dict: $['a\\x00'] holds a NUL character", "Take it out"),
        ("\ud800", "str: $ holds half a surrogate pair", "errors='replace'"),
        ({"a": {"\udfff": 1}}, "dict: $.a['\\udfff'] holds half a surrogate pair", "errors='replace'"),
        ({1: "a", "1": "b"}, "keys that are different here and the same in JSON", "Use keys of one type"),
        (object(), "object: Encoding objects of type object is unsupported", "Use text, numbers, None"),
        ({(1, 2): 3}, "dict: Only dicts with str-like", "Use text, numbers, None"),
    ],
    ids=lambda part: part if isinstance(part, str) and part.isascii() and part.isprintable() else "",
)  # fmt: skip
def test_what_others_would_read_differently_is_refused(value: object, says: str, remedy: str) -> None:
    with refusal(MessageError, says, remedy):
        encode(value)


@pytest.mark.parametrize(
    "value", [nested(65), {"a": nested(64)}, [Loose(nested(63))], nested(100_000)], ids=lambda _: ""
)
def test_what_is_nested_too_deep_is_refused(value: object) -> None:
    with refusal(LimitExceeded, "nesting is 65; the limit is 64", "raise limits.nesting_max"):
        encode(value)


def test_an_integer_too_long_to_be_written_at_all_is_refused() -> None:
    with refusal(MessageError, "dict: $.a is an integer beyond 64 bits", "Send it as text"):
        encode({"a": 10**5000})
    with refusal(MessageError, "dict: $[a long integer] is an integer beyond 64 bits", "Send it as text"):
        encode({10**5000: "a"})


def test_what_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)

    with refusal(LimitExceeded, "nesting is 65", "raise limits.nesting_max"):
        encode(loop)


def test_what_is_too_large_is_refused() -> None:
    most = "x" * (LIMITS.payload_bytes_max - 2)

    assert len(encode(most)) == LIMITS.payload_bytes_max
    with refusal(LimitExceeded, "str: size in bytes is 2,097,153", "raise limits.payload_bytes_max"):
        encode(most + "x")
    with refusal(LimitExceeded, "body: size in bytes is 2,097,153", "raise limits.payload_bytes_max"):
        check_raw(b" " * (LIMITS.payload_bytes_max + 1))


def test_a_set_is_written_sorted_whatever_its_order_in_this_process() -> None:
    words = [f"word {number}" for number in range(10, 60)]

    assert encode(set(words)) == encode(words)
    assert (
        encode([{"b", 4, None, "a"}, {"z": frozenset("cab"), "a": 1}])
        == b'[["a","b",4,null],{"z":["a","b","c"],"a":1}]'
    )


def test_a_set_inside_a_struct_or_dataclass_is_written_sorted_and_stays_a_set() -> None:
    message = OrderWeighed(order_id="1", at=AWARE, grams=1, tags=frozenset({"b", "a", "c"}))
    tagged = Tagged({"b", "a"}, AWARE)

    assert b'"tags":["a","b","c"]' in encode(message)
    assert message.tags == {"a", "b", "c"}
    assert encode([tagged]) == b'[{"tags":["a","b"],"at":"2026-01-31T12:00:00Z"}]'
    assert tagged.tags == {"a", "b"}


def test_a_wrong_type_is_refused_by_path_and_by_what_was_expected() -> None:
    raw = b'{"order_id":"1","lines":[{"sku":"a","count":"2"}],"total_pence":1}'

    with refusal(
        MessageError, "OrderPlaced: Expected `int`, got `str` - at `$.lines[0].count`", "Send what the type declares"
    ):
        decode(raw, OrderPlaced)


def test_a_missing_field_is_refused_by_name() -> None:
    with refusal(MessageError, "OrderPlaced: Object missing required field `lines`", "Send what the type declares"):
        decode(b'{"order_id":"1"}', OrderPlaced)


def test_a_field_that_the_class_does_not_know_is_left_out() -> None:
    assert decode(b'{"sku":"a","count":1,"colour":"red"}', Line) == Line("a", 1)


def test_what_a_class_refuses_by_itself_is_a_message_error() -> None:
    with refusal(MessageError, "Positive: below zero", "Send what the type declares"):
        decode(b'{"number":-1}', Positive)
    with refusal(MessageError, "Positive: refused by its own check: LookupError: nothing at all", "Send other values"):
        decode(b'{"number":0}', Positive)


def test_an_annotation_that_cannot_be_read_is_refused() -> None:
    with refusal(DefinitionError, "can't be read from JSON", "structs in a union each need a tag"):
        check_readable(Line | Tagged)
    with refusal(DefinitionError, "can't be read from JSON", "structs in a union each need a tag"):
        decode(b"{}", list["Nowhere"])  # type: ignore[name-defined]  # noqa: F821 - what the test is about


def test_an_annotation_without_a_hash_is_read_all_the_same() -> None:
    assert decode(b"[1]", Annotated[list[int], []]) == [1]


def test_what_is_read_is_told_apart_by_annotation() -> None:
    assert (decode(b"[1]", list[int]), decode(b"[1]", tuple[int, ...]), decode(b"[1]", list[float])) == (
        [1],
        (1,),
        [1.0],
    )
    assert type(decode(b"[1]", list[float])[0]) is float


@pytest.mark.parametrize(
    ("raw", "says", "remedy"),
    [
        (b"", *NO_JSON),
        (b"nope", *NO_JSON),
        (b'{"a":1} {}', *NO_JSON),
        (b"NaN", *NO_JSON),
        (b"[-Infinity]", *NO_JSON),
        (b"[01]", *NO_JSON),
        (b"{'a':1}", *NO_JSON),
        (b"\xef\xbb\xbf{}", *NO_JSON),
        (b'{"a":"\xff"}', *NO_JSON),
        (b'{"\xff":1}', *NO_JSON),
        (b'"\xed\xa0\x80"', *NO_JSON),
        (rb'"\ud800"', *NO_JSON),
        (rb'{"\udc00":1}', *NO_JSON),
        (b'"\x00"', *NO_JSON),
        (b"1" + b"0" * 5000, "an integer beyond 64 bits", "Send it as text"),
        (b"1e400", "or no finite float", "Send it as text"),
        (rb'{"a":["\u0000"]}', "body: $.a[0] holds a NUL character", "Take it out"),
        (rb'{"\u0000":1}', "body: $['\\x00'] holds a NUL character", "Take it out"),
        (b"[9223372036854775808]", "body: $[0] is an integer beyond 64 bits", "Send it as text"),
        (b'{"a":-9223372036854775809}', "body: $.a is an integer beyond 64 bits", "Send it as text"),
        (b"1" + b"0" * 4000, "body: $ is an integer beyond 64 bits", "Send it as text"),
        (b'{"a":1,"a":1}', "body: an object has the key 'a'", KEY_TWICE[1]),
        (rb'{"a":1,"\u0061":2}', "the key 'a' twice", KEY_TWICE[1]),
        (b'[{"b":{"a":1,"c":2,"a":3}}]', "the key 'a' twice", KEY_TWICE[1]),
    ],
    ids=lambda raw: ascii(raw)[:30],
)  # fmt: skip
def test_foreign_bytes_that_are_read_differently_elsewhere_are_refused(raw: bytes, says: str, remedy: str) -> None:
    with refusal(MessageError, says, remedy):
        check_raw(raw)
    with refusal(MessageError, says, remedy):
        decode_strict(raw, Any)


@pytest.mark.parametrize(
    "raw",
    [
        b" {} ",
        b"[1E5,-0,-0.0,1.50]",
        rb'"\ud83d\ude00\/"',
        rb'"\\u0000"',
        b"9223372036854775807",
        b"0.12345678901234567890123",
    ],
)
def test_foreign_bytes_that_everyone_reads_alike_pass(raw: bytes) -> None:
    check_raw(raw)


@pytest.mark.parametrize("depth", [65, 900, 100_000])
@pytest.mark.parametrize("ends", [b"[]", b"[ "])
def test_foreign_bytes_nested_too_deep_are_refused(depth: int, ends: bytes) -> None:
    raw = b'["\\"[",' + ends[:1] * (depth - 1) + b"1" + b"]" * depth

    with refusal(LimitExceeded, "nesting is 65; the limit is 64", "raise limits.nesting_max"):
        check_raw(raw)


def test_foreign_bytes_nested_as_deep_as_allowed_pass() -> None:
    check_raw(b"[" * 64 + b'"[[["' + b"]" * 64)


def test_a_foreign_time_without_a_zone_is_refused() -> None:
    raw = b'{"order_id":"1","at":"2026-01-31T12:00:00","grams":1.0}'

    with refusal(MessageError, "OrderWeighed: $.at is a time without a time zone", "2026-01-31T12:00:00Z"):
        decode_strict(raw, OrderWeighed)


written = st.recursive(
    st.sampled_from(["1", '"a"', "null"]),
    lambda inner: st.lists(st.tuples(st.sampled_from(['"a"', '"b"', r'"\u0061"']), inner), max_size=3),
    max_leaves=8,
)


@given(written, st.sampled_from(["", " ", "\n\t"]))
def test_a_key_is_found_twice_exactly_where_it_stands_twice(objects: Any, space: str) -> None:
    def write(value: Any) -> str:
        if isinstance(value, str):
            return value
        return "{" + f",{space}".join(f"{key}:{space}{write(item)}" for key, item in value) + "}"

    def has_twins(value: Any) -> bool:
        if isinstance(value, str):
            return False
        keys = [json.loads(key) for key, _ in value]
        return len(set(keys)) < len(keys) or any(has_twins(item) for _, item in value)

    raw = write(objects).encode()

    if has_twins(objects):
        with refusal(MessageError, *KEY_TWICE):
            check_raw(raw)
    else:
        check_raw(raw)


@given(st.binary(max_size=40) | st.text('{}[]",:\\u0dx1eE+-. ntrf', max_size=30).map(str.encode))
def test_any_bytes_are_taken_or_refused_and_never_worse(raw: bytes) -> None:
    try:
        check_raw(raw)
    except MessageError:
        return
    json.loads(raw)


def test_a_message_needs_no_case_to_travel() -> None:
    class Bare(msgspec.Struct):
        order_id: OrderId

    assert decode(encode(Bare("1")), Bare) == Bare("1")


def test_stored_bytes_that_are_damaged_are_refused() -> None:
    with refusal(MessageError, "Line: not JSON", "Send JSON in UTF-8"):
        decode(b'{"sku":"a","cou', Line)
    with refusal(MessageError, "Line: not JSON", "Send JSON in UTF-8"):
        decode(b'{"sku":"\xff","count":1}', Line)
    with refusal(LimitExceeded, "nesting is 65", "raise limits.nesting_max"):
        decode(b"[" * 5000, Any)


def test_a_class_whose_annotations_cannot_be_found_is_looked_at_value_by_value() -> None:
    @dataclass
    class Local:
        at: Nowhere  # type: ignore[name-defined]  # noqa: F821 - what the test is about

    with refusal(MessageError, "Local: $.at is a time without a time zone", "2026-01-31T12:00:00Z"):
        encode(Local(NAIVE))


def test_what_stands_in_a_tuple_of_fixed_length_is_looked_at_by_its_types() -> None:
    class Pair(msgspec.Struct):
        both: tuple[str, datetime]

    with refusal(MessageError, "Pair: $.both[1] is a time without a time zone", "2026-01-31T12:00:00Z"):
        encode(Pair(("a", NAIVE)))


def test_an_enum_in_a_struct_is_looked_at_by_its_members() -> None:
    class Sold(msgspec.Struct):
        channel: Channel

    class Weighed(msgspec.Struct):
        weight: Weight

    assert decode(encode(Sold(Channel.SHOP)), Sold) == Sold(Channel.SHOP)
    with refusal(MessageError, "Weighed: $.weight is inf", "send None"):
        encode(Weighed(Weight.HEAVY))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"order_id":"\xed\xa0\x80","pence":1}', "body: not JSON: not UTF-8 at byte 14 (ed)"),
        (b'{"a":"\xc3\xa4\xff"}', "body: not JSON: not UTF-8 at byte 9 (ff)"),
    ],
)
def test_bytes_that_are_no_text_are_named_with_their_place(raw: bytes, said: str) -> None:
    with refusal(MessageError, said, "Send JSON in UTF-8."):
        check_raw(raw)
