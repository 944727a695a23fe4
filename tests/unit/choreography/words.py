"""The messages that the tests of this room speak with."""

from typing import Annotated

from partita import Case, Command, Event

OrderId = Annotated[str, Case("order")]


class Placed(Event, external="the customer"):
    order_id: OrderId = "1"


class Reserved(Event):
    order_id: OrderId = "1"


class OutOfStock(Event):
    order_id: OrderId = "1"


class Approved(Event):
    order_id: OrderId = "1"


class Reserve(Command[Reserved | OutOfStock]):
    order_id: OrderId = "1"


class Release(Command[None]):
    order_id: OrderId = "1"


class Refund(Command[Reserved | None]):
    order_id: OrderId = "1"


class CountLines(Command[int]):
    order_id: OrderId = "1"


class ListLines(Command[list[int]]):
    order_id: OrderId = "1"
