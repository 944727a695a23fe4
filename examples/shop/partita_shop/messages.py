"""The shop's words: what may happen to an order, a return and a delivery, and what a service may be asked to do."""

from dataclasses import dataclass
from typing import Annotated

from partita import Case, Command, Event

OrderId = Annotated[str, Case("order")]
ReturnId = Annotated[str, Case("return")]
DeliveryId = Annotated[str, Case("delivery")]


@dataclass(frozen=True)
class Line:
    """So many of one article."""

    sku: str
    count: int


# An order.


class OrderPlaced(Event, external="the customer"):
    order_id: OrderId
    lines: tuple[Line, ...]
    total_pence: int
    customer: str


class OrderApproved(Event):
    order_id: OrderId
    by: str


class OrderTurnedDown(Event):
    order_id: OrderId
    by: str


class StockReserved(Event):
    order_id: OrderId


class OutOfStock(Event):
    order_id: OrderId
    sku: str


class StockReleased(Event):
    order_id: OrderId


class CardCharged(Event):
    order_id: OrderId
    pence: int


class CardDeclined(Event):
    order_id: OrderId
    reason: str


class CardRefunded(Event):
    order_id: OrderId
    pence: int


class OrderConfirmed(Event):
    order_id: OrderId


class OrderCancelled(Event, ends="compensated"):
    order_id: OrderId
    reason: str


class OrderShipped(Event, ends="done"):
    order_id: OrderId
    parcel: str


class ShipmentRefused(Event):
    order_id: OrderId
    reason: str


class GiftNoteAsked(Event, external="the web form"):
    """Comes over the transport from a web form that does not use partita."""

    order_id: OrderId
    text: str


class ReserveStock(Command[StockReserved | OutOfStock]):
    order_id: OrderId
    lines: tuple[Line, ...]


class ReleaseStock(Command[StockReleased | None]):
    order_id: OrderId


class ChargeCard(Command[CardCharged | CardDeclined]):
    order_id: OrderId
    pence: int


class RefundCard(Command[CardRefunded | None]):
    order_id: OrderId


class ShipOrder(Command[OrderShipped | ShipmentRefused]):
    order_id: OrderId


class DecideOrder(Command[OrderApproved | OrderTurnedDown], external="a manager"):
    """Sent by a person."""

    order_id: OrderId
    approve: bool
    by: str


# A return.


class ReturnRequested(Event, external="the customer"):
    return_id: ReturnId
    lines: tuple[Line, ...]
    pence: int


class GoodsReceived(Event):
    return_id: ReturnId
    pence: int


class ReturnRefunded(Event, ends="done"):
    return_id: ReturnId
    pence: int


class TakeBack(Command[GoodsReceived]):
    return_id: ReturnId
    lines: tuple[Line, ...]
    pence: int


class RefundReturn(Command[ReturnRefunded]):
    return_id: ReturnId
    pence: int


# A delivery of goods to the shop.


class ShelvesStocked(Event, ends="done"):
    delivery_id: DeliveryId
    articles: int


class TakeDelivery(Command[ShelvesStocked], external="the wholesaler"):
    delivery_id: DeliveryId
    lines: tuple[Line, ...]
