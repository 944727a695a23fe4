"""The shop's services, written once: their commands, and what they do about an event whatever the form.

What is outside (a card, the carrier, a mail) is dealt with in `async def` handlers, under the delivery's idempotency
key; a service's own table follows in a `tx` handler of the event that came of it.
"""

from partita import Delivery, Final, Noop, Retry, RetryLater, Service, Transaction, noop, rollback
from partita_shop import errands
from partita_shop.messages import (
    CardCharged,
    CardDeclined,
    CardRefunded,
    ChargeCard,
    DecideOrder,
    GiftNoteAsked,
    GoodsReceived,
    Line,
    OrderApproved,
    OrderCancelled,
    OrderConfirmed,
    OrderShipped,
    OrderTurnedDown,
    OutOfStock,
    RefundCard,
    RefundReturn,
    ReleaseStock,
    ReserveStock,
    ReturnRefunded,
    ShelvesStocked,
    ShipmentRefused,
    ShipOrder,
    StockReleased,
    StockReserved,
    TakeBack,
    TakeDelivery,
)

inventory = Service(
    "inventory",
    retry=Retry(attempts=5, first="100ms", most="1m"),
    tables="""
        create table if not exists inventory_stock (sku text primary key, free integer not null) strict;
        create table if not exists inventory_reserved (
            order_id text, sku text, count integer not null, primary key (order_id, sku)
        ) strict;
        create table if not exists inventory_order (order_id text primary key, lines text not null) strict;
    """,
)
billing = Service(
    "billing",
    retry=Retry(attempts=8, first="100ms", most="1m"),
    timeout="30s",
    tables="""
        create table if not exists billing_order (order_id text primary key, pence integer not null) strict;
        create table if not exists billing_charge (
            order_id text primary key, pence integer not null, refunded integer not null default 0
        ) strict;
        create table if not exists billing_refund (return_id text primary key, pence integer not null) strict;
    """,
)
shipping = Service(
    "shipping",
    timeout="30s",
    tables="create table if not exists shipping_parcel (order_id text primary key, parcel text not null) strict;",
)
approvals = Service(
    "approvals",
    tables="""
        create table if not exists approvals_decision (
            order_id text primary key, approved integer not null, who text not null
        ) strict;
        create table if not exists approvals_trouble (order_id text primary key, reason text not null) strict;
    """,
)
notifications = Service(
    "notifications",
    retry=Retry(attempts=3, first="100ms", most="1m"),
    timeout="30s",
    tables="create table if not exists notifications_gift (order_id text primary key, text text not null) strict;",
)
analytics = Service(
    "analytics",
    tables="create table if not exists analytics_count (event text primary key, times integer not null) strict;",
)
SERVICES = [inventory, billing, shipping, approvals, notifications, analytics]


# Inventory.


@inventory.handles(ReserveStock)
def reserve(command: ReserveStock, tx: Transaction) -> StockReserved | OutOfStock:
    for line in command.lines:
        taken = tx.execute(
            "update inventory_stock set free = free - ? where sku = ? and free >= ?", line.count, line.sku, line.count
        )
        if not taken:
            # An answer that keeps none of this handler's writes: what was taken so far goes back.
            return rollback(OutOfStock(order_id=command.order_id, sku=line.sku))
        tx.execute("insert into inventory_reserved values (?, ?, ?)", command.order_id, line.sku, line.count)
    return StockReserved(order_id=command.order_id)


@inventory.handles(ReleaseStock)
def release(command: ReleaseStock, tx: Transaction) -> StockReleased | Noop:
    tx.execute(
        "update inventory_stock set free = free + r.count from inventory_reserved r "
        "where r.order_id = ? and r.sku = inventory_stock.sku",
        command.order_id,
    )
    if not tx.execute("delete from inventory_reserved where order_id = ?", command.order_id):
        return noop("nothing was reserved")
    return StockReleased(order_id=command.order_id)


@inventory.handles(TakeBack)
def take_back(command: TakeBack, tx: Transaction) -> GoodsReceived:
    _put_on_shelves(command.lines, tx)
    return GoodsReceived(return_id=command.return_id, pence=command.pence)


@inventory.handles(TakeDelivery)
def take_delivery(command: TakeDelivery, tx: Transaction) -> ShelvesStocked:
    _put_on_shelves(command.lines, tx)
    return ShelvesStocked(delivery_id=command.delivery_id, articles=len(command.lines))


# Billing.


@billing.handles(ChargeCard)
async def charge(command: ChargeCard, delivery: Delivery) -> CardCharged | CardDeclined:
    """The card is outside: the gateway knows the idempotency key, our own table follows below."""
    if command.pence == 0:
        return CardCharged(order_id=command.order_id, pence=0)  # a free order needs no card
    answer = await errands.charge(delivery.case, command.pence, key=delivery.id)
    if answer.status == "busy":
        raise RetryLater(answer.reason, after="150ms")  # technical: retried, with a delay of its own
    if answer.status == "refused":
        return CardDeclined(order_id=command.order_id, reason=answer.reason)  # business: an answer, never retried
    return CardCharged(order_id=command.order_id, pence=command.pence)


@billing.on(CardCharged)
def book_charge(event: CardCharged, tx: Transaction) -> None:
    tx.execute("insert into billing_charge (order_id, pence) values (?, ?)", event.order_id, event.pence)


@billing.handles(RefundCard)
async def refund(command: RefundCard, delivery: Delivery) -> CardRefunded | Noop:
    answer = await errands.refund(delivery.case, key=delivery.id)
    return CardRefunded(order_id=command.order_id, pence=answer.pence) if answer.pence else noop("never charged")


@billing.on(CardRefunded)
def book_refund(event: CardRefunded, tx: Transaction) -> None:
    tx.execute("update billing_charge set refunded = ? where order_id = ?", event.pence, event.order_id)


@billing.handles(RefundReturn)
async def refund_return(command: RefundReturn, delivery: Delivery) -> ReturnRefunded:
    await errands.pay_back(delivery.case, command.pence, key=delivery.id)
    return ReturnRefunded(return_id=command.return_id, pence=command.pence)


@billing.on(ReturnRefunded)
def book_return(event: ReturnRefunded, tx: Transaction) -> None:
    tx.execute("insert into billing_refund values (?, ?)", event.return_id, event.pence)


# Shipping.


@shipping.handles(ShipOrder, retry=Retry(attempts=4, first="100ms", most="1m", then="hold"))
async def ship(command: ShipOrder, delivery: Delivery) -> OrderShipped | ShipmentRefused:
    """A carrier that is down for good holds the call: an order that is paid for is not given up by itself."""
    answer = await errands.ship(delivery.case, key=delivery.id, attempt=delivery.attempt)
    if answer.status == "busy":
        raise ConnectionError(answer.reason)
    if answer.status == "refused":
        return ShipmentRefused(order_id=command.order_id, reason=answer.reason)
    return OrderShipped(order_id=command.order_id, parcel=answer.parcel)


@shipping.on(OrderShipped)
def book_parcel(event: OrderShipped, tx: Transaction) -> None:
    tx.execute("insert into shipping_parcel values (?, ?)", event.order_id, event.parcel)


# Approvals.


@approvals.handles(DecideOrder)
def decide(command: DecideOrder) -> OrderApproved | OrderTurnedDown:
    if command.approve:
        return OrderApproved(order_id=command.order_id, by=command.by)
    return OrderTurnedDown(order_id=command.order_id, by=command.by)


@approvals.on(OrderApproved | OrderTurnedDown)
def book_decision(event: OrderApproved | OrderTurnedDown, tx: Transaction) -> None:
    approved = isinstance(event, OrderApproved)
    tx.execute("insert or replace into approvals_decision values (?, ?, ?)", event.order_id, int(approved), event.by)


# Notifications and analytics react in every form, and emit nothing (-> None is that contract); analytics only observes.


@notifications.on(OrderConfirmed, within="1m")
async def mail_confirmed(event: OrderConfirmed, delivery: Delivery) -> None:
    await _mail(delivery, "confirmed")


@notifications.on(OrderShipped)
async def mail_shipped(event: OrderShipped, delivery: Delivery) -> None:
    await _mail(delivery, "shipped")


@notifications.on(OrderCancelled)
async def mail_cancelled(event: OrderCancelled, delivery: Delivery) -> None:
    await _mail(delivery, "cancelled")


@notifications.on(GiftNoteAsked, group="gift-notes")
def print_gift_note(event: GiftNoteAsked, tx: Transaction) -> None:
    tx.execute("insert or replace into notifications_gift values (?, ?)", event.order_id, event.text)


@analytics.on(StockReserved | CardCharged, observer=True)
def count(event: StockReserved | CardCharged, tx: Transaction) -> None:
    tx.execute(
        "insert into analytics_count values (?, 1) on conflict (event) do update set times = times + 1",
        type(event).__name__,
    )


def _put_on_shelves(lines: tuple[Line, ...], tx: Transaction) -> None:
    for line in lines:
        tx.execute(
            "insert into inventory_stock values (?, ?) on conflict (sku) do update set free = free + excluded.free",
            line.sku,
            line.count,
        )


async def _mail(delivery: Delivery, subject: str) -> None:
    answer = await errands.mail(delivery.case, subject, key=delivery.id)
    if answer.status == "refused":
        raise Final(answer.reason)  # no such mailbox: another attempt would be refused as well
