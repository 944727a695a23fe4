"""Messages: what a class declares, which case a message belongs to, and what is refused at import."""

from __future__ import annotations

from typing import Annotated, NewType, Union
from uuid import UUID

import pytest
from typing_extensions import TypeAliasType

from partita.errors import DefinitionError, LimitExceeded, MessageError
from partita.messages.message import (
    Case,
    Command,
    Event,
    MessageMeta,
    Query,
    case_name,
    describe,
    is_case,
    is_message,
    is_message_class,
    kind_of,
)
from tests.unit.messages.words import (
    ApplicationId,
    CardCharged,
    CardDeclined,
    ChargeCard,
    DecideOrder,
    OfferMade,
    OrderId,
    OrderPlaced,
    OrderShipped,
    Progress,
    refusal,
)

AccountId = Annotated[str, Case("account")]
Alias = TypeAliasType("Alias", Annotated[str, Case("order")])
NumberedId = Annotated[int, Case("invoice")]


class Quoted(Command["CardCharged | CardDeclined"]):
    order_id: OrderId


class LostAnswer(Command["NoSuchAnswer"]):  # type: ignore[name-defined]
    order_id: OrderId


class LostField(Event):
    order_id: OrderId
    what: NoSuchType  # type: ignore[name-defined]  # noqa: F821 - what the test is about


class Moved(Event, case="from_account"):
    from_account: AccountId
    to_account: AccountId | None = None


def test_a_message_is_built_by_keyword_and_frozen() -> None:
    shipped = OrderShipped(order_id="1", parcel="P1")

    with pytest.raises(AttributeError):
        shipped.parcel = "P2"  # type: ignore[misc]


def test_a_class_says_its_name_version_and_kind() -> None:
    class Renamed(Event, type="shop.order-placed.v2", version=2):
        order_id: OrderId

    described = describe(Renamed)

    assert (described.name, described.version, described.kind) == ("shop.order-placed.v2", 2, "event")
    assert [kind_of(cls) for cls in (OrderPlaced, ChargeCard, Progress)] == ["event", "command", "query"]


def test_a_class_says_what_it_ends_who_sends_it_and_what_is_secret() -> None:
    assert (describe(OrderShipped).ends, describe(OrderPlaced).ends) == ("done", None)
    assert (describe(OrderPlaced).external, describe(OrderShipped).external) == ("the customer", None)
    assert describe(DecideOrder).secret == ("pin",)


def test_a_command_says_what_it_is_answered_with() -> None:
    class Quieter(ChargeCard):
        pass

    class Silent(Command):
        order_id: OrderId

    assert describe(ChargeCard).answer == CardCharged | CardDeclined
    assert describe(Quieter).answer == CardCharged | CardDeclined
    assert describe(Progress).answer is str
    assert [describe(cls).answer for cls in (DecideOrder, Silent, OrderPlaced)] == [None, None, None]


def test_an_answer_in_quotes_is_found_in_the_messages_module() -> None:
    assert describe(Quoted).answer == CardCharged | CardDeclined


def test_the_marked_field_names_the_case() -> None:
    assert describe(OrderShipped).case_of(OrderShipped(order_id="12345", parcel="P1")) == "order:12345"


def test_of_several_marked_fields_the_class_keyword_picks_the_home_case() -> None:
    made = OfferMade(application_id="a1", offer_id="a1-1", rate=3.5)
    described = describe(OfferMade)

    assert (described.case_of(made), described.also_of(made)) == ("offer:a1-1", ("application:a1",))
    assert (described.case_type, described.part_of) == ("offer", "application")


def test_of_several_fields_of_one_case_type_the_class_keyword_names_the_field() -> None:
    moved = Moved(from_account="1", to_account="2")

    assert describe(Moved).case_of(moved) == "account:1"
    assert describe(Moved).also_of(moved) == ("account:2",)


def test_a_further_case_counts_once_and_not_when_it_is_none_or_home() -> None:
    assert describe(Moved).also_of(Moved(from_account="1")) == ()
    assert describe(Moved).also_of(Moved(from_account="1", to_account="1")) == ()


@pytest.mark.parametrize("marked", [Alias, OrderId | None, Union[OrderId, None], Annotated[OrderId, "more"]])  # noqa: UP007 - users write both
def test_a_mark_is_found_through_alias_union_and_annotation(marked: object) -> None:
    class Found(Event):
        __annotations__ = {"order_id": marked}

    assert describe(Found).case_field == "order_id"


def test_a_mark_is_found_through_a_new_type() -> None:
    marked = NewType("marked", Annotated[str, Case("order")])

    class Found(Event):
        __annotations__ = {"order_id": marked}

    assert describe(Found).case_type == "order"


def test_a_key_may_be_a_number_or_an_id() -> None:
    class Invoiced(Event):
        number: NumberedId

    assert describe(Invoiced).case_of(Invoiced(number=7)) == "invoice:7"
    assert case_name("order", UUID(int=1)) == "order:00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize("key", ["C536379", "a b", "äöü:1", "no\u00a0break", "家族\u200d", "x" * 200])
def test_a_key_may_hold_any_text_without_control_characters(key: str) -> None:
    assert case_name("order", key) == f"order:{key}"
    assert is_case(f"order:{key}")


@pytest.mark.parametrize("key", ["", None, "a\nb", "\0", "\x7f", "\u2028", "\ud800"])
def test_what_can_be_no_key_is_refused(key: object) -> None:
    with refusal(MessageError, "can't be the key of a case of type order", "1 to 200 bytes and no control characters"):
        case_name("order", key)


@pytest.mark.parametrize(("key", "size"), [("x" * 201, 201), ("ä" * 101, 202)])
def test_a_key_that_is_too_long_says_how_long_it_is(key: str, size: int) -> None:
    said = f"the size in bytes of the key '{key[:29]}…' of a case of type order is {size}; the limit is 200"
    with refusal(LimitExceeded, said, "Make it smaller, or raise limits.key_bytes_max."):
        case_name("order", key)


def test_a_message_without_its_key_belongs_to_no_case() -> None:
    class Odd(Event):
        order_id: OrderId | None = None

    with refusal(MessageError, "None can't be the key", "A key has 1 to 200 bytes"):
        describe(Odd).case_of(Odd())


@pytest.mark.parametrize(
    "text", ["", "order", "order:", ":1", "Order:1", "1order:1", "order:a\nb", f"order:{'x' * 201}"]
)
def test_what_is_not_type_and_key_is_no_case(text: str) -> None:
    assert not is_case(text)


def test_a_query_needs_no_case() -> None:
    assert describe(Progress).case_of(Progress()) is None


def test_an_event_without_a_marked_field_is_refused() -> None:
    class Adrift(Event):
        name: str

    with refusal(DefinitionError, "event Adrift has no field that names its case", 'Annotated[str, Case("order")]'):
        describe(Adrift)


def test_an_ambiguous_case_is_refused_with_the_keyword_that_settles_it() -> None:
    class Torn(Event):
        application_id: ApplicationId
        order_id: OrderId

    class Twice(Event):
        first: AccountId
        second: AccountId

    class Wrong(Event, case="parcel"):
        application_id: ApplicationId
        order_id: OrderId

    with refusal(DefinitionError, "which of application_id (application), order_id (order)", 'Torn(..., case="order")'):
        describe(Torn)
    with refusal(DefinitionError, "which of first (account), second (account)", 'Twice(..., case="second")'):
        describe(Twice)
    with refusal(DefinitionError, "event Wrong: which of", 'case="order"'):
        describe(Wrong)


def test_a_type_that_cannot_be_found_is_refused() -> None:
    with refusal(DefinitionError, "message LostField", "Import it where the message is declared"):
        describe(LostField)
    with refusal(DefinitionError, "message LostAnswer", "Import it where the message is declared"):
        describe(LostAnswer)


def test_a_secret_that_is_no_field_is_refused() -> None:
    class Leaky(Event, secret=("pni",)):
        order_id: OrderId
        pin: str

    with refusal(DefinitionError, "secret='pni' is none of its fields", "Did you mean pin?"):
        describe(Leaky)


@pytest.mark.parametrize("name", ["1st", "a b", "a/b", "x" * 201])
def test_a_wire_name_that_is_no_name_is_refused(name: str) -> None:
    with refusal(DefinitionError, "is not a name", "Use letters, digits, '_', '.' and '-'"):
        MessageMeta("Odd", (Event,), {}, type=name)


def test_a_version_below_one_is_refused() -> None:
    with refusal(DefinitionError, "version 0 is below 1", "Versions count from 1"):

        class _Early(Event, version=0):
            order_id: OrderId


def test_an_end_that_is_none_is_refused() -> None:
    with refusal(DefinitionError, "ends='finished'", "Use one of done, failed, compensated"):

        class _Odd(Event, ends="finished"):
            order_id: OrderId


@pytest.mark.parametrize("name", ["Order", "an order", "1st", ""])
def test_a_case_type_that_is_no_word_is_refused(name: str) -> None:
    with refusal(DefinitionError, "is not [a-z][a-z0-9_]*", "Use lower case"):
        Case(name)
    with refusal(DefinitionError, "is not [a-z][a-z0-9_]*", "Use lower case"):
        Case("order", part_of=name)


@pytest.mark.parametrize("cls", [str, Event, Command, Query])
def test_only_a_declared_class_is_a_message_class(cls: type) -> None:
    assert not is_message_class(cls)
    with refusal(DefinitionError, "is no message", "Derive it from Event or Command"):
        describe(cls)


def test_a_message_is_told_from_other_values() -> None:
    assert is_message(Progress())
    assert is_message_class(Progress)
    assert not is_message("Progress")


def test_a_message_is_described_once() -> None:
    assert describe(OrderShipped) is describe(OrderShipped)
    assert describe(OrderShipped).also_of(OrderShipped(order_id="1", parcel="P1")) == ()
