"""The example of the guide: handlers called directly, and a whole process on a virtual clock."""

from collections.abc import Iterator

import pytest

from partita import CallFailed, Delivery
from partita.testing import TestApp
from partita_shop import errands
from partita_shop.hybrid import app
from partita_shop.messages import (
    CardDeclined,
    ChargeCard,
    DecideOrder,
    Line,
    OrderCancelled,
    OrderPlaced,
    OrderShipped,
    ShipOrder,
    StockReleased,
    TakeDelivery,
)
from partita_shop.services import charge, ship
from partita_shop.trouble import trouble_of


@pytest.fixture(autouse=True)
def errands_in_memory() -> Iterator[None]:
    with errands.in_memory():
        yield


def delivery(order_id: str) -> Delivery:
    return Delivery(id="m1", case=f"order:{order_id}", attempt=1, causes=())


async def test_a_card_that_is_not_honoured_is_declined() -> None:
    order_id = next(str(number) for number in range(1_000) if trouble_of(str(number)) == "card declined")

    assert isinstance(await charge(ChargeCard(order_id=order_id, pence=1_00), delivery(order_id)), CardDeclined)


async def test_a_shipment_is_booked() -> None:
    assert isinstance(await ship(ShipOrder(order_id="1"), delivery("1")), OrderShipped)


async def test_a_large_order_waits_for_a_person_and_ships() -> None:
    async with TestApp(app, seed=7) as shop:
        await shop.emit(OrderPlaced(order_id="1", lines=(), total_pence=2_000_00, customer="c"))
        await shop.settle()
        where = await shop.where("order:1")
        assert (where.verdict, where.waiting_for) == ("waiting", ("OrderApproved", "OrderTurnedDown"))
        await shop.call(DecideOrder(order_id="1", approve=True, by="ann"))
        await shop.advance("3d")
        assert (await shop.where("order:1")).verdict == "done"


async def test_a_declined_card_releases_the_stock() -> None:
    lines = (Line(sku="mug", count=1),)
    async with TestApp(app) as shop:
        shop.stub(ShipOrder, CallFailed("carrier is down"))
        shop.stub(ChargeCard, lambda command: CardDeclined(order_id=command.order_id, reason="expired"))
        await shop.call(TakeDelivery(delivery_id="d", lines=lines))
        await shop.emit(OrderPlaced(order_id="1", lines=lines, total_pence=1_00, customer="c"))
        await shop.settle()
        assert [event.order_id for event in shop.published(StockReleased)] == ["1"]
        assert shop.published(OrderCancelled)[0].reason == "expired"
