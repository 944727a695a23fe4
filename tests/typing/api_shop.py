"""A bookshop in its three forms: what users write for services, wirings and workflows."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import json

from partita import (
    Abort,
    App,
    CallFailed,
    Case,
    Command,
    Delivery,
    Event,
    Noop,
    Refused,
    Retry,
    RetryLater,
    Service,
    Transaction,
    Waits,
    Wiring,
    call,
    noop,
    publish,
    receive,
    rollback,
    saga,
    waits_for,
    workflow,
)

OrderId = Annotated[str, Case("order")]


@dataclass(frozen=True)
class Line:
    book: str
    copies: int


class OrderPlaced(Event, external="a reader"):
    order_id: OrderId
    lines: tuple[Line, ...]
    pence: int


class OrderAgreed(Event):
    order_id: OrderId
    by: str


class OrderTurnedDown(Event):
    order_id: OrderId
    by: str


class BooksReserved(Event):
    order_id: OrderId


class BookMissing(Event):
    order_id: OrderId
    book: str


class BooksReleased(Event):
    order_id: OrderId


class CardCharged(Event):
    order_id: OrderId
    pence: int


class CardDeclined(Event):
    order_id: OrderId
    reason: str


class CardRefunded(Event):
    order_id: OrderId


class OrderConfirmed(Event):
    order_id: OrderId


class OrderSent(Event, ends="done"):
    order_id: OrderId
    parcel: str


class SendingRefused(Event):
    order_id: OrderId
    reason: str


class OrderCancelled(Event, ends="compensated"):
    order_id: OrderId
    reason: str


class ReserveBooks(Command[BooksReserved | BookMissing]):
    order_id: OrderId
    lines: tuple[Line, ...]


class ReleaseBooks(Command[BooksReleased | None]):
    order_id: OrderId


class ChargeCard(Command[CardCharged | CardDeclined]):
    order_id: OrderId
    pence: int


class RefundCard(Command[CardRefunded | None]):
    order_id: OrderId


class SendOrder(Command[OrderSent | SendingRefused]):
    order_id: OrderId


class DecideOrder(Command[OrderAgreed | OrderTurnedDown], external="the owner"):
    order_id: OrderId
    agree: bool


shelves = Service(
    "shelves",
    tables="create table if not exists shelves_taken (order_id text)",
    retry=Retry(attempts=5, first="200ms", factor=2, most="1m"),
)
till = Service("till", timeout="30s", concurrency=8)
post = Service("post")
office = Service("office")
letters = Service("letters")


@shelves.handles(ReserveBooks)
def reserve(command: ReserveBooks, tx: Transaction) -> BooksReserved | BookMissing:
    for line in command.lines:
        if not tx.execute("update shelves_book set free = free - ? where name = ?", line.copies, line.book):
            return rollback(BookMissing(order_id=command.order_id, book=line.book))
    return BooksReserved(order_id=command.order_id)


@shelves.handles(ReleaseBooks)
def release(command: ReleaseBooks, tx: Transaction) -> BooksReleased | Noop:
    if not tx.execute("delete from shelves_taken where order_id = ?", command.order_id):
        return noop("nothing was taken")
    return BooksReleased(order_id=command.order_id)


@till.handles(ChargeCard, retry=Retry(attempts=8, final=(ValueError,)))
async def charge(command: ChargeCard, delivery: Delivery) -> CardCharged | CardDeclined:
    if command.pence > 5_000_00:
        return CardDeclined(order_id=command.order_id, reason="limit")
    if delivery.attempt < 2:
        raise RetryLater("the line is busy", after="10s")
    return CardCharged(order_id=command.order_id, pence=command.pence)


@till.handles(RefundCard)
async def refund(command: RefundCard, delivery: Delivery) -> CardRefunded | Noop:
    return noop("never charged") if delivery.case is None else CardRefunded(order_id=command.order_id)


@till.on(CardCharged)
def book(event: CardCharged, tx: Transaction) -> None:
    tx.execute("insert into till_book values (?, ?)", event.order_id, event.pence)


@post.handles(SendOrder)
def send(command: SendOrder) -> OrderSent | SendingRefused:
    return OrderSent(order_id=command.order_id, parcel="P" + command.order_id)


@office.handles(DecideOrder)
def decide(command: DecideOrder) -> OrderAgreed | OrderTurnedDown:
    answer = OrderAgreed if command.agree else OrderTurnedDown
    return answer(order_id=command.order_id, by="the owner")


@letters.on(OrderConfirmed | OrderSent, within="1m", observer=True)
async def write(event: OrderConfirmed | OrderSent) -> None: ...


SERVICES = [shelves, till, post, office, letters]

# Choreography.

by_events = Wiring("by events")


@by_events.on(OrderPlaced, service=office)
def agree_to_small(order: OrderPlaced) -> OrderAgreed | Waits:
    if order.pence > 1_000_00:
        return waits_for(OrderAgreed | OrderTurnedDown, within="7d", who="the owner")
    return OrderAgreed(order_id=order.order_id, by="rule")


@by_events.on(OrderPlaced, service=shelves)
def remember(order: OrderPlaced, tx: Transaction) -> None:
    tx.execute("insert into shelves_order values (?, ?)", order.order_id, json.encode(order.lines))


@by_events.on(OrderAgreed, service=shelves, within="1m")
def reserve_when_agreed(event: OrderAgreed, tx: Transaction) -> ReserveBooks:
    row = tx.get_row("select lines from shelves_order where order_id = ?", event.order_id)
    return ReserveBooks(order_id=event.order_id, lines=json.decode(row["lines"], type=tuple[Line, ...]))


@by_events.on(CardCharged, service=till)
def confirm(event: CardCharged) -> OrderConfirmed:
    return OrderConfirmed(order_id=event.order_id)


@by_events.on(OrderConfirmed, service=post, within="2d")
def send_when_confirmed(event: OrderConfirmed) -> SendOrder:
    return SendOrder(order_id=event.order_id)


@by_events.on(CardDeclined | SendingRefused, service=shelves)
def release_when_refused(event: CardDeclined | SendingRefused) -> ReleaseBooks:
    return ReleaseBooks(order_id=event.order_id)


@by_events.on(BooksReleased | BookMissing | OrderTurnedDown, service=office)
def cancel(event: BooksReleased | BookMissing | OrderTurnedDown) -> OrderCancelled:
    return OrderCancelled(order_id=event.order_id, reason=type(event).__name__)


# Orchestration.


async def agreed(timeout: str) -> None:
    match await receive(OrderAgreed | OrderTurnedDown, timeout=timeout):
        case OrderAgreed():
            pass
        case OrderTurnedDown(by=by):
            raise Abort(f"turned down by {by}")


@workflow(starts_on=OrderPlaced)
async def fulfil(order: OrderPlaced) -> None:
    key = order.order_id
    try:
        async with saga():
            if order.pence > 1_000_00:
                await agreed("7d")
            reserve_books = ReserveBooks(order_id=key, lines=order.lines)
            await call(reserve_books, expect=BooksReserved, undo=ReleaseBooks(order_id=key))
            charge_card = ChargeCard(order_id=key, pence=order.pence)
            charged = await call(charge_card, expect=CardCharged, undo=RefundCard(order_id=key), timeout="30s")
            assert charged.pence == order.pence
            await publish(OrderConfirmed(order_id=key))
            match await call(SendOrder(order_id=key), timeout="2d"):
                case OrderSent():
                    pass
                case SendingRefused(reason=reason):
                    raise Abort(reason)
    except (Refused, Abort, CallFailed, TimeoutError) as why:
        await publish(OrderCancelled(order_id=key, reason=str(why)))


# Both.

after_confirmation = Wiring("after confirmation")


@after_confirmation.on(OrderConfirmed, service=post, within="2d")
def send_after_confirmation(event: OrderConfirmed) -> SendOrder:
    return SendOrder(order_id=event.order_id)


@workflow(starts_on=OrderPlaced, name="fulfil", version="3")
async def fulfil_to_confirmation(order: OrderPlaced) -> str:
    await publish(OrderConfirmed(order_id=order.order_id))
    match await receive(OrderSent | SendingRefused, timeout="5d"):
        case OrderSent(parcel=parcel):
            return parcel
        case SendingRefused(reason=reason):
            return reason


choreography = App("bookshop", services=SERVICES, wiring=[by_events])
orchestration = App("bookshop", services=SERVICES, workflows=[fulfil])
hybrid = App("bookshop", services=SERVICES, workflows=[fulfil_to_confirmation], wiring=[after_confirmation])
