"""The shop's handlers, called as the plain functions that they are."""

from collections.abc import Iterator

import pytest

from partita import Delivery, Final, Noop, RetryLater
from partita_shop import errands
from partita_shop.books import Books
from partita_shop.messages import (
    CardCharged,
    CardDeclined,
    CardRefunded,
    ChargeCard,
    DecideOrder,
    OrderApproved,
    OrderShipped,
    OrderTurnedDown,
    RefundCard,
    ShipmentRefused,
    ShipOrder,
)
from partita_shop.orders import list_invoices
from partita_shop.services import charge, decide, mail_shipped, refund, ship
from partita_shop.trouble import Trouble, trouble_of


@pytest.fixture(autouse=True)
def books() -> Iterator[Books]:
    with errands.in_memory() as books:
        yield books


def id_with(trouble: Trouble | None) -> str:
    return next(invoice.id for invoice in list_invoices() if trouble_of(invoice.id) == trouble)


def delivery(order_id: str, attempt: int = 1, key: str = "m1") -> Delivery:
    return Delivery(id=key, case=f"order:{order_id}", attempt=attempt, causes=())


async def test_a_card_is_charged_and_refunded() -> None:
    order_id = id_with(None)

    charged = await charge(ChargeCard(order_id=order_id, pence=500), delivery(order_id))
    refunded = await refund(RefundCard(order_id=order_id), delivery(order_id, key="m2"))

    assert charged == CardCharged(order_id=order_id, pence=500)
    assert refunded == CardRefunded(order_id=order_id, pence=500)


async def test_what_was_never_charged_is_not_refunded() -> None:
    assert isinstance(await refund(RefundCard(order_id="1"), delivery("1")), Noop)


async def test_a_declined_card_is_an_answer() -> None:
    order_id = id_with("card declined")

    answer = await charge(ChargeCard(order_id=order_id, pence=500), delivery(order_id))

    assert answer == CardDeclined(order_id=order_id, reason="card expired")


async def test_a_busy_gateway_is_tried_later() -> None:
    order_id = id_with("gateway flaky")

    with pytest.raises(RetryLater, match="busy"):
        await charge(ChargeCard(order_id=order_id, pence=500), delivery(order_id))


async def test_a_free_order_needs_no_card(books: Books) -> None:
    order_id = id_with("card declined")

    assert await charge(ChargeCard(order_id=order_id, pence=0), delivery(order_id)) == CardCharged(
        order_id=order_id, pence=0
    )


async def test_a_parcel_leaves_or_is_refused() -> None:
    well, refused = id_with(None), id_with("shipment refused")

    assert await ship(ShipOrder(order_id=well), delivery(well)) == OrderShipped(order_id=well, parcel=f"P{well}")
    assert await ship(ShipOrder(order_id=refused), delivery(refused, key="m2")) == ShipmentRefused(
        order_id=refused, reason="no such street"
    )


async def test_a_carrier_that_is_down_is_a_technical_failure() -> None:
    order_id = id_with("carrier down")

    with pytest.raises(ConnectionError, match="carrier"):
        await ship(ShipOrder(order_id=order_id), delivery(order_id))


async def test_a_mailbox_that_is_gone_is_not_tried_again() -> None:
    order_id = id_with("mailbox gone")

    with pytest.raises(Final, match="no such mailbox"):
        await mail_shipped(OrderShipped(order_id=order_id, parcel="P"), delivery(order_id))


@pytest.mark.parametrize(("approve", "event"), [(True, OrderApproved), (False, OrderTurnedDown)])
def test_a_person_decides(approve: bool, event: type[OrderApproved] | type[OrderTurnedDown]) -> None:
    assert decide(DecideOrder(order_id="1", approve=approve, by="ann")) == event(order_id="1", by="ann")
