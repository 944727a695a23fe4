"""A shop to be killed: `python killable.py FORM STORE LEDGER ORDERS` runs it until every order has come to an end.

Each request to the outside world is a line in the ledger, written before it is answered; whoever kills this process
counts them. Started again on the same store it goes on where it was.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated

from partita import (
    Abort,
    App,
    CallFailed,
    Case,
    Client,
    Command,
    Delivery,
    Event,
    Noop,
    Refused,
    Retry,
    Service,
    Transaction,
    Wiring,
    call,
    noop,
    publish,
    receive,
    saga,
    step,
    workflow,
)
from partita.runtime.requests import Request

OrderId = Annotated[str, Case("order")]
STOCK = 1_000


class Placed(Event, external="the customer"):
    order_id: OrderId


class Reserved(Event):
    order_id: OrderId


class Released(Event):
    order_id: OrderId


class Charged(Event):
    order_id: OrderId


class Refunded(Event):
    order_id: OrderId


class Shipped(Event, ends="done"):
    order_id: OrderId


class ShipmentRefused(Event):
    order_id: OrderId


class Cancelled(Event, ends="compensated"):
    order_id: OrderId


class Reserve(Command[Reserved]):
    order_id: OrderId


class Release(Command[Released | None]):
    order_id: OrderId


class Charge(Command[Charged]):
    order_id: OrderId


class Refund(Command[Refunded | None]):
    order_id: OrderId


class Ship(Command[Shipped | ShipmentRefused]):
    order_id: OrderId


def is_refused(order_id: str) -> bool:
    """Every fourth parcel is refused by the carrier."""
    return int(order_id) % 4 == 0


def ledger_path() -> Path:
    return Path(os.environ["KILLABLE_LEDGER"])


def note(kind: str, delivery: Delivery) -> None:
    """Write a line; a line of this size is whole or not there."""
    line = json.dumps({"kind": kind, "case": delivery.case, "key": delivery.id}) + "\n"
    file = os.open(ledger_path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


stock = Service(
    "stock",
    tables=f"""
        create table if not exists stock_free (sku text primary key, free integer not null) strict;
        create table if not exists stock_held (order_id text primary key) strict;
        insert into stock_free values ('mug', {STOCK}) on conflict do nothing;
    """,
)
card = Service("card", retry=Retry(attempts=6, first="20ms"), timeout="5s")
parcels = Service("parcels")


@stock.handles(Reserve)
def reserve(command: Reserve, tx: Transaction) -> Reserved:
    tx.execute("insert into stock_held values (?)", command.order_id)
    tx.execute("update stock_free set free = free - 1")
    return Reserved(order_id=command.order_id)


@stock.handles(Release)
def release(command: Release, tx: Transaction) -> Released | Noop:
    if not tx.execute("delete from stock_held where order_id = ?", command.order_id):
        return noop("nothing was held")
    tx.execute("update stock_free set free = free + 1")
    return Released(order_id=command.order_id)


@card.handles(Charge)
async def charge(command: Charge, delivery: Delivery) -> Charged:
    note("charge", delivery)
    await asyncio.sleep(0.01)
    if int(command.order_id) % 5 == 0 and delivery.attempt == 1:
        raise ConnectionError("the answer was lost")
    return Charged(order_id=command.order_id)


@card.handles(Refund)
async def refund(command: Refund, delivery: Delivery) -> Refunded:
    note("refund", delivery)
    await asyncio.sleep(0.005)
    return Refunded(order_id=command.order_id)


@parcels.handles(Ship)
def ship(command: Ship, delivery: Delivery) -> Shipped | ShipmentRefused:
    if is_refused(command.order_id):
        return ShipmentRefused(order_id=command.order_id)
    note("parcel", delivery)
    return Shipped(order_id=command.order_id)


NEVER_SENT = Delivery("", None, 0, ())


@step
async def pack(order_id: str, delivery: Delivery = NEVER_SENT) -> str:
    note("pack", delivery)
    await asyncio.sleep(0.005)
    return f"box of {order_id}"


@workflow(starts_on=Placed)
async def fulfil(order: Placed) -> None:
    key = order.order_id
    try:
        async with saga():
            await call(Reserve(order_id=key), expect=Reserved, undo=Release(order_id=key))
            await call(Charge(order_id=key), expect=Charged, undo=Refund(order_id=key))
            await asyncio.gather(pack(key), asyncio.sleep(0.02))
            await call(Ship(order_id=key), expect=Shipped)
    except (Refused, CallFailed):
        await publish(Cancelled(order_id=key))


@workflow(starts_on=Placed)
async def fulfil_to_charge(order: Placed) -> None:
    key = order.order_id
    try:
        async with saga():
            await call(Reserve(order_id=key), expect=Reserved, undo=Release(order_id=key))
            await call(Charge(order_id=key), expect=Charged, undo=Refund(order_id=key))
            if isinstance(await receive(Shipped | ShipmentRefused), ShipmentRefused):
                raise Abort("refused")
    except (Abort, CallFailed):
        await publish(Cancelled(order_id=key))


by_events = Wiring("by events")
after_charge = Wiring("after the charge")


@by_events.on(Placed, service=stock)
def reserve_when_placed(event: Placed) -> Reserve:
    return Reserve(order_id=event.order_id)


@by_events.on(Reserved, service=card)
def charge_when_reserved(event: Reserved) -> Charge:
    return Charge(order_id=event.order_id)


@after_charge.on(Charged, service=parcels)
@by_events.on(Charged, service=parcels)
def ship_when_charged(event: Charged) -> Ship:
    return Ship(order_id=event.order_id)


@by_events.on(ShipmentRefused, service=card)
def refund_when_refused(event: ShipmentRefused) -> Refund:
    return Refund(order_id=event.order_id)


@by_events.on(ShipmentRefused, service=stock)
def release_when_refused(event: ShipmentRefused) -> Release:
    return Release(order_id=event.order_id)


@by_events.on(Released, service=parcels)
def cancel_when_released(event: Released) -> Cancelled:
    return Cancelled(order_id=event.order_id)


SERVICES = [stock, card, parcels]
FORMS = {
    "choreography": App("killable", services=SERVICES, wiring=[by_events]),
    "orchestration": App("killable", services=SERVICES, workflows=[fulfil]),
    "hybrid": App("killable", services=SERVICES, workflows=[fulfil_to_charge], wiring=[after_charge]),
}


async def run(form: str, store: str, orders: int) -> None:
    """Place every order, under a key that is the same each time, and see all of them to their end."""
    async with FORMS[form].run(store) as client:
        for number in range(1, orders + 1):
            await client.emit(Placed(order_id=str(number)), key=f"order-{number}")
        cases = [f"order:{number}" for number in range(1, orders + 1)]
        while unfinished := [case for case in cases if not await is_over(client, case)]:
            for case in unfinished:
                # What was killed five times is a dead letter by now: whoever runs this mends it.
                await client.ask(Request(op="retry", key=client.new_key(), case=case, by="the test"))
            await asyncio.sleep(0.05)
    print("done", flush=True)


async def is_over(client: Client, case: str) -> bool:
    return (await client.where(case)).verdict in {"done", "compensated"}


if __name__ == "__main__":
    os.environ["KILLABLE_LEDGER"] = sys.argv[3]
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[4])))
