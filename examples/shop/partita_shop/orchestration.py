"""Form 2: one workflow commands all."""

from partita import Abort, App, CallFailed, Refused, call, publish, receive, saga, workflow
from partita_shop.messages import (
    CardCharged,
    ChargeCard,
    OrderApproved,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    OrderShipped,
    OrderTurnedDown,
    RefundCard,
    RefundReturn,
    ReleaseStock,
    ReserveStock,
    ReturnRequested,
    ShipOrder,
    StockReserved,
    TakeBack,
)
from partita_shop.services import SERVICES


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
            await call(ShipOrder(order_id=key), expect=OrderShipped, timeout="2d")
    except (Refused, Abort, CallFailed, TimeoutError) as why:  # the saga has undone by now
        await publish(OrderCancelled(order_id=key, reason=str(why)))


async def approved(timeout: str) -> None:
    match await receive(OrderApproved | OrderTurnedDown, timeout=timeout):
        case OrderApproved():
            pass
        case OrderTurnedDown(by=by):
            raise Abort(f"turned down by {by}")


@workflow(starts_on=ReturnRequested)
async def take_return(request: ReturnRequested) -> None:
    take_back = TakeBack(return_id=request.return_id, lines=request.lines, pence=request.pence)
    back = await call(take_back, timeout="30d")
    await call(RefundReturn(return_id=request.return_id, pence=back.pence))


app = App("shop", services=SERVICES, workflows=[fulfil, take_return])
