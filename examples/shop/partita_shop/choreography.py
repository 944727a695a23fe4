"""Form 1: nobody commands. Every line is 'when this happened, that service does its command'."""

from msgspec import json

from partita import App, Transaction, Waits, Wiring, waits_for
from partita_shop.messages import (
    CardCharged,
    CardDeclined,
    ChargeCard,
    GoodsReceived,
    Line,
    OrderApproved,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    OrderTurnedDown,
    OutOfStock,
    RefundCard,
    RefundReturn,
    ReleaseStock,
    ReserveStock,
    ReturnRequested,
    ShipmentRefused,
    ShipOrder,
    StockReleased,
    StockReserved,
    TakeBack,
)
from partita_shop.services import SERVICES, approvals, billing, inventory, shipping

by_events = Wiring("choreography")


@by_events.on(OrderPlaced, service=approvals)
def approve_small(order: OrderPlaced) -> OrderApproved | Waits:
    if order.total_pence > 1_000_00:
        return waits_for(OrderApproved | OrderTurnedDown, within="7d", who="a manager")
    return OrderApproved(order_id=order.order_id, by="rule")


@by_events.on(OrderPlaced, service=inventory)
def remember_lines(order: OrderPlaced, tx: Transaction) -> None:
    tx.execute("insert into inventory_order values (?, ?)", order.order_id, json.encode(order.lines).decode())


@by_events.on(OrderPlaced, service=billing)
def remember_price(order: OrderPlaced, tx: Transaction) -> None:
    tx.execute("insert into billing_order values (?, ?)", order.order_id, order.total_pence)


@by_events.on(OrderApproved, service=inventory, within="1m")
def reserve_when_approved(event: OrderApproved, tx: Transaction) -> ReserveStock:
    row = tx.get_row("select lines from inventory_order where order_id = ?", event.order_id)
    return ReserveStock(order_id=event.order_id, lines=json.decode(row["lines"], type=tuple[Line, ...]))


@by_events.on(StockReserved, service=billing)
def charge_when_reserved(event: StockReserved, tx: Transaction) -> ChargeCard:
    row = tx.get_row("select pence from billing_order where order_id = ?", event.order_id)
    return ChargeCard(order_id=event.order_id, pence=row["pence"])


@by_events.on(CardCharged, service=billing)
def confirm_when_charged(event: CardCharged) -> OrderConfirmed:
    return OrderConfirmed(order_id=event.order_id)


@by_events.on(OrderConfirmed, service=shipping, within="2d")
def ship_when_confirmed(event: OrderConfirmed) -> ShipOrder:
    return ShipOrder(order_id=event.order_id)


# Compensations are reactions as well.


@by_events.on(CardDeclined | ShipmentRefused, service=inventory)
def release_stock(event: CardDeclined | ShipmentRefused) -> ReleaseStock:
    return ReleaseStock(order_id=event.order_id)


@by_events.on(ShipmentRefused, service=billing)
def refund_when_refused(event: ShipmentRefused) -> RefundCard:
    return RefundCard(order_id=event.order_id)


@by_events.on(CardDeclined | ShipmentRefused, service=approvals)
def remember_trouble(event: CardDeclined | ShipmentRefused, tx: Transaction) -> None:
    tx.execute("insert or replace into approvals_trouble values (?, ?)", event.order_id, event.reason)


@by_events.on(StockReleased | OutOfStock | OrderTurnedDown, service=approvals)
def cancel(event: StockReleased | OutOfStock | OrderTurnedDown, tx: Transaction) -> OrderCancelled:
    return OrderCancelled(order_id=event.order_id, reason=_reason(event, tx))


@by_events.on(ReturnRequested, service=inventory, within="30d")
def take_back_when_requested(event: ReturnRequested) -> TakeBack:
    return TakeBack(return_id=event.return_id, lines=event.lines, pence=event.pence)


@by_events.on(GoodsReceived, service=billing)
def refund_when_back(event: GoodsReceived) -> RefundReturn:
    return RefundReturn(return_id=event.return_id, pence=event.pence)


def _reason(event: StockReleased | OutOfStock | OrderTurnedDown, tx: Transaction) -> str:
    match event:
        case OrderTurnedDown(by=by):
            return f"turned down by {by}"
        case OutOfStock():
            return "OutOfStock"
        case StockReleased(order_id=order_id):
            # What led to the release was published before it, and messages of one case come in order.
            row = tx.get_row("select reason from approvals_trouble where order_id = ?", order_id)
            return str(row["reason"])


app = App("shop", services=SERVICES, wiring=[by_events])
