"""Form 3: a workflow to the confirmation, choreography after it; the workflow waits for the choreographed outcome."""

from partita import Abort, App, CallFailed, Refused, Wiring, call, publish, receive, saga, workflow
from partita_shop.messages import (
    CardCharged,
    ChargeCard,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    OrderShipped,
    RefundCard,
    ReleaseStock,
    ReserveStock,
    ShipmentRefused,
    ShipOrder,
    StockReserved,
)
from partita_shop.orchestration import approved, take_return
from partita_shop.services import SERVICES, shipping

after_confirmation = Wiring("after confirmation")


@after_confirmation.on(OrderConfirmed, service=shipping, within="2d")
def ship_when_confirmed(event: OrderConfirmed) -> ShipOrder:
    return ShipOrder(order_id=event.order_id)


@workflow(starts_on=OrderPlaced)
async def fulfil(order: OrderPlaced) -> None:
    key = order.order_id
    try:
        async with saga():
            if order.total_pence > 1_000_00:
                await approved("7d")
            reserve = ReserveStock(order_id=key, lines=order.lines)
            await call(reserve, expect=StockReserved, undo=ReleaseStock(order_id=key))
            charge = ChargeCard(order_id=key, pence=order.total_pence)
            await call(charge, expect=CardCharged, undo=RefundCard(order_id=key), timeout="30s")
            await publish(OrderConfirmed(order_id=key))
            match await receive(OrderShipped | ShipmentRefused, timeout="5d"):
                case OrderShipped():
                    pass
                case ShipmentRefused(reason=reason):
                    raise Abort(reason)
    except (Refused, Abort, CallFailed, TimeoutError) as why:
        await publish(OrderCancelled(order_id=key, reason=str(why)))


app = App("shop", services=SERVICES, workflows=[fulfil, take_return], wiring=[after_confirmation])
