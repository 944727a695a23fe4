"""The catalog: names, versions, upcasting, and what is refused on the way out and in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partita.errors import DefinitionError, MessageError, NotFound
from partita.messages.catalog import Catalog, upcast
from partita.messages.message import Event
from tests.unit.messages.words import CardCharged, ChargeCard, Line, OrderId, OrderPlaced, OrderShipped, refusal

CATALOG = Catalog([OrderPlaced, OrderShipped, ChargeCard])


class PaidOnce(Event, type="Paid"):
    order_id: OrderId
    pounds: int


class PaidTwice(Event, type="Paid", version=2):
    order_id: OrderId
    pence: int


class Paid(Event, version=4):
    order_id: OrderId
    amount: int
    currency: str


@upcast(Paid, from_version=1)
def in_pence(body: dict[str, Any]) -> dict[str, Any]:
    return {"order_id": body["order_id"], "pence": body["pounds"] * 100}


@upcast(Paid, from_version=2)
def as_amount(body: dict[str, Any]) -> dict[str, Any]:
    body["amount"] = body.pop("pence")
    return body | {"currency": "GBP"}


def test_a_message_comes_back_as_it_went() -> None:
    message = OrderPlaced(order_id="1", lines=(Line("a", 2),), total_pence=100)

    found, raw = CATALOG.encode(message)

    assert found is CATALOG.get("OrderPlaced")
    assert CATALOG.decode(found.name, found.version, raw) == message
    assert CATALOG.decode_strict(found.name, found.version, raw) == message


def test_the_catalog_lists_types_in_the_order_they_came() -> None:
    assert [described.name for described in CATALOG] == ["OrderPlaced", "OrderShipped", "ChargeCard"]
    assert len(CATALOG) == 3
    assert "OrderPlaced" in CATALOG
    assert "OrderPlucked" not in CATALOG


def test_a_class_may_be_added_again() -> None:
    catalog = Catalog([OrderPlaced])

    assert catalog.add(OrderPlaced) is catalog.get("OrderPlaced")
    assert len(catalog) == 1


def test_a_class_that_is_sent_first_is_taken_in() -> None:
    catalog = Catalog()
    catalog.encode(CardCharged(order_id="1", pence=2))

    assert "CardCharged" in catalog


def test_what_is_unknown_is_not_found_and_the_nearest_name_is_told() -> None:
    assert CATALOG.find("OrderPlacd") is None
    with refusal(NotFound, "message type OrderPlacd is not known here", "Did you mean OrderPlaced?"):
        CATALOG.get("OrderPlacd")
    with refusal(NotFound, "message type Zebra is not known here", "Declare it in a module that the app imports"):
        CATALOG.get("Zebra")
    with refusal(NotFound, "message type OrderPlaced version 7", "Did you mean OrderPlaced?"):
        CATALOG.get("OrderPlaced", 7)


def test_bytes_of_an_unknown_type_are_refused() -> None:
    with refusal(MessageError, "message type OrderPlacd is not known here", "Did you mean OrderPlaced?"):
        CATALOG.decode("OrderPlacd", 1, b"{}")


def test_two_classes_of_one_name_and_version_are_refused() -> None:
    class Twin(Event, type="OrderPlaced"):
        order_id: OrderId

    with refusal(DefinitionError, "message OrderPlaced version 1 is both", 'class Twin(..., type="...", version=2)'):
        Catalog([OrderPlaced]).add(Twin)


def test_one_name_for_an_event_and_a_command_is_refused() -> None:
    class Twin(Event, type="ChargeCard", version=2):
        order_id: OrderId

    with refusal(DefinitionError, "version 1 is of kind command, version 2 of kind event", 'type="..."'):
        Catalog([ChargeCard]).add(Twin)


def test_a_class_whose_fields_cannot_be_read_is_refused_when_it_is_added() -> None:
    class Torn(Event):
        order_id: OrderId
        either: PaidOnce | PaidTwice

    with refusal(DefinitionError, "Torn can't be read from JSON", "each need a tag"):
        Catalog([Torn])


def test_what_is_no_message_is_refused() -> None:
    with refusal(DefinitionError, "is no message", "Derive it from Event or Command"):
        CATALOG.encode(Line("a", 1))


@pytest.mark.parametrize("pence", ["12", 1.5, None, float("nan")])
def test_a_message_built_with_the_wrong_types_is_refused_at_its_sender(pence: Any) -> None:
    with pytest.raises(MessageError, match=r"pence"):
        CATALOG.encode(ChargeCard(order_id="1", pence=pence))


def test_the_refusal_of_a_wrong_type_says_how_to_build_it() -> None:
    with refusal(MessageError, "Expected `int`, got `str` - at `$.pence`", "Build it with the types that ChargeCard"):
        CATALOG.encode(ChargeCard(order_id="1", pence="12"))  # type: ignore[arg-type]


def test_of_several_versions_the_newest_is_found_and_each_can_be_asked_for() -> None:
    orders: list[list[Any]] = [[PaidOnce, PaidTwice], [PaidTwice, PaidOnce]]
    for classes in orders:
        catalog = Catalog(classes)

        assert catalog.get("Paid").cls is PaidTwice
        assert catalog.get("Paid", 1).cls is PaidOnce
        assert [described.version for described in catalog] == [2]


def test_a_class_is_sent_under_its_own_version() -> None:
    found, raw = Catalog([PaidTwice, PaidOnce]).encode(PaidOnce(order_id="1", pounds=5))

    assert (found.version, raw) == (1, b'{"order_id":"1","pounds":5}')


@given(st.integers(0, 10**6))
def test_an_older_version_is_read_through_its_upcasters_in_sequence(pounds: int) -> None:
    catalog = Catalog([Paid])
    expected = Paid(order_id="1", amount=pounds * 100, currency="GBP")

    for version, raw in [
        (1, b'{"order_id":"1","pounds":%d}' % pounds),
        (2, b'{"order_id":"1","pence":%d}' % (pounds * 100)),
        (3, b'{"order_id":"1","amount":%d,"currency":"GBP"}' % (pounds * 100)),
        (4, b'{"order_id":"1","amount":%d,"currency":"GBP"}' % (pounds * 100)),
    ]:
        assert catalog.decode("Paid", version, raw) == expected
        assert catalog.decode_strict("Paid", version, raw) == expected


def test_an_older_version_without_an_upcaster_is_read_as_it_is() -> None:
    class Noted(Event, version=3):
        order_id: OrderId
        note: str = ""

    assert Catalog([Noted]).decode("Noted", 1, b'{"order_id":"1"}') == Noted(order_id="1")


def test_an_older_version_that_does_not_fit_asks_for_an_upcaster() -> None:
    class Renamed(Event, version=2):
        order_id: OrderId
        parcel: str

    with refusal(MessageError, "missing required field `parcel`, in version 1", "@upcast(Renamed, from_version=1)"):
        Catalog([Renamed]).decode("Renamed", 1, b'{"order_id":"1"}')


def test_a_newer_version_than_the_code_knows_is_refused() -> None:
    with refusal(MessageError, "Paid has version 5; this code knows it up to 4", "Deploy the code that knows it"):
        Catalog([Paid]).decode("Paid", 5, b"{}")


def test_an_upcaster_that_fails_is_named() -> None:
    catalog = Catalog([Paid])

    with refusal(MessageError, "the upcaster from version 1 raised KeyError: 'pounds'", "Mend the upcaster"):
        catalog.decode("Paid", 1, b'{"order_id":"1"}')
    with refusal(MessageError, "dict[str, typing.Any]: Expected `object`, got `array`", "Send what the type declares"):
        catalog.decode("Paid", 1, b"[]")


def test_an_upcaster_that_returns_no_body_is_named() -> None:
    class Forgetful(Event, version=2):
        order_id: OrderId

    @upcast(Forgetful, from_version=1)
    def forget(body: dict[str, Any]) -> Any:
        body["seen"] = True

    with refusal(MessageError, "the upcaster from version 1 returned NoneType", "Return the new body, a dict"):
        Catalog([Forgetful]).decode("Forgetful", 1, b'{"order_id":"1"}')


def test_two_upcasters_from_one_version_are_refused_and_one_twice_is_not() -> None:
    assert upcast(Paid, from_version=1)(in_pence) is in_pence
    with refusal(DefinitionError, "message Paid: version 1 has two upcasters", "Keep one"):
        upcast(Paid, from_version=1)(as_amount)


@pytest.mark.parametrize("version", [0, 4, 9])
def test_an_upcaster_that_leads_nowhere_is_refused(version: int) -> None:
    with refusal(DefinitionError, f"Paid is version 4: nothing to upcast from version {version}", "Raise it first"):
        upcast(Paid, from_version=version)


def test_foreign_bytes_are_checked_and_ours_are_trusted() -> None:
    raw = b'{"order_id":"1","parcel":"a","parcel":"b"}'

    assert CATALOG.decode("OrderShipped", 1, raw) == OrderShipped(order_id="1", parcel="b")
    with refusal(MessageError, "the key 'parcel' twice", "Send each key once"):
        CATALOG.decode_strict("OrderShipped", 1, raw)
    with refusal(MessageError, "the key 'pounds' twice", "Send each key once"):
        Catalog([Paid]).decode_strict("Paid", 1, b'{"order_id":"1","pounds":1,"pounds":2}')
