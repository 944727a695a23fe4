"""The messages that the tests of this room speak with."""

from typing import Annotated

from partita.messages.catalog import Catalog
from partita.messages.message import Case, Command, Event

OrderId = Annotated[str, Case("order")]


class OrderPlaced(Event):
    order_id: OrderId = "1"
    total: int = 0


class Reserved(Event):
    order_id: OrderId = "1"
    bin: str = ""


class OutOfStock(Event):
    order_id: OrderId = "1"
    reason: str = "none left"


class Charged(Event):
    order_id: OrderId = "1"
    pence: int = 0


class Shipped(Event):
    order_id: OrderId = "1"
    parcel: str = ""


class ShipmentRefused(Event):
    order_id: OrderId = "1"
    reason: str = ""


class Confirmed(Event):
    order_id: OrderId = "1"


class Cancelled(Event):
    order_id: OrderId = "1"
    reason: str = ""


class Reserve(Command[Reserved | OutOfStock]):
    order_id: OrderId = "1"
    sku: str = ""


class Release(Command[None]):
    order_id: OrderId = "1"
    sku: str = ""


class Charge(Command[Charged]):
    order_id: OrderId = "1"
    pence: int = 0


class Refund(Command[None]):
    order_id: OrderId = "1"
    pence: int = 0


class Count(Command[int]):
    order_id: OrderId = "1"


EVENTS = (OrderPlaced, Reserved, OutOfStock, Charged, Shipped, ShipmentRefused, Confirmed, Cancelled)
CATALOG = Catalog([*EVENTS, Reserve, Release, Charge, Refund, Count])
