"""A shop to be killed: a life of it places orders and runs until each of them has come to an end.

Each request to the outside world is a line in the ledger, written before it is answered; each answered request of a
customer is a line among the acknowledgements. Whoever kills this process reads both. Started again on the same store it
goes on where it was. `python -m tests.crash.killable` forks a life for each line that it reads: start-up is paid once.
"""

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import msgspec

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
from partita.cli.failures import explain
from partita.clock import US, SystemClock
from partita.runtime.client import LocalClient
from partita.runtime.requests import Request
from partita.runtime.running import EngineClient
from tests.crash import points
from tests.crash.plants import plant
from tests.crash.trouble import TROUBLES, lift

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


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is to do."""

    form: str
    folder: str
    orders: int
    """Order 1 to this one are placed, each under a key that is the same in every life."""
    elsewhere: int = 0
    """An order that somebody else will place."""
    point: str = ""
    """Where it kills itself."""
    nth: int = 1
    pages: int = 0
    """The log is folded back as soon as it has so many."""
    trouble: str = ""
    """What is wrong with its machine, and when or by how much."""
    number: int = 0
    plant: str = ""
    """What is to be wrong with it."""


STORE, LEDGER, ACKNOWLEDGED, KILLED, COMPLAINT = "shop.db", "ledger.jsonl", "acknowledged", "killed", "complaint"


def is_refused(order_id: str) -> bool:
    """Every second parcel is refused by the carrier."""
    return int(order_id) % 2 == 0


class World:
    """The world outside: what was done there, line by line. A line of this size is whole or not there."""

    folder = Path()

    @classmethod
    def write(cls, name: str, line: str) -> None:
        append(cls.folder / name, line)

    @classmethod
    def knows(cls, kind: str, case: str | None) -> bool:
        path = cls.folder / LEDGER
        lines = path.read_text().splitlines() if path.exists() else []
        return any((line["kind"], line["case"]) == (kind, case) for line in map(json.loads, lines))


def append(path: Path, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode() + b"\n")
    os.close(file)


def note(kind: str, delivery: Delivery) -> None:
    """It is done outside; nobody here knows yet."""
    World.write(LEDGER, json.dumps({"kind": kind, "case": delivery.case, "key": delivery.id}))
    points.passing(points.EFFECT)


stock = Service(
    "stock",
    tables=f"""
        create table if not exists stock_free (sku text primary key, free integer not null) strict;
        create table if not exists stock_held (order_id text primary key) strict;
        insert into stock_free values ('mug', {STOCK}) on conflict do nothing;
    """,
)
card = Service("card", retry=Retry(attempts=6, first="20ms"), timeout="1s")
parcels = Service("parcels")


@stock.handles(Reserve)
def reserve(command: Reserve, tx: Transaction) -> Reserved:
    tx.execute("insert into stock_held values (?)", command.order_id)
    points.passing(points.TRANSACTION)
    tx.execute("update stock_free set free = free - 1")
    return Reserved(order_id=command.order_id)


@stock.handles(Release)
def release(command: Release, tx: Transaction) -> Released | Noop:
    if not tx.execute("delete from stock_held where order_id = ?", command.order_id):
        return noop("nothing was held")
    points.passing(points.COMPENSATION)
    tx.execute("update stock_free set free = free + 1")
    return Released(order_id=command.order_id)


@card.handles(Charge)
async def charge(command: Charge, delivery: Delivery) -> Charged:
    note("charge", delivery)
    await asyncio.sleep(0.01)
    if int(command.order_id) % 3 == 0 and delivery.attempt == 1:
        raise ConnectionError("the answer was lost")
    return Charged(order_id=command.order_id)


@card.handles(Refund)
async def refund(command: Refund, delivery: Delivery) -> Refunded | Noop:
    if not World.knows("charge", delivery.case):
        return noop("it never was charged")
    points.passing(points.COMPENSATION)
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


async def live(life: Life) -> None:
    """Place every order, see all of them to their end, and say how long that took."""
    clock = SystemClock()
    began = clock.now_us()
    async with FORMS[life.form].run(Path(life.folder) / STORE) as client:
        evicting = asyncio.get_running_loop().create_task(evict(client))
        for number in range(1, life.orders + 1):
            if number != life.elsewhere:
                await client.emit(Placed(order_id=str(number)), key=key_of(number))
                World.write(ACKNOWLEDGED, key_of(number))
                points.passing(points.ANSWERED)
        cases = [f"order:{number}" for number in range(1, life.orders + 1)]
        while cases:
            cases = [case for case in cases if not await is_over(client, case)]
            await asyncio.sleep(0.01)
        evicting.cancel()
    World.write("ended", str((clock.now_us() - began) / US))


def key_of(number: int) -> str:
    return f"order-{number}"


async def evict(client: LocalClient) -> None:
    """Let every run go that is idle, again and again: each waking is a rebuilding."""
    assert isinstance(client, EngineClient)
    while True:
        client.engine.executor.roster.evict_idle(idle_s=0.0)
        await asyncio.sleep(0.002)


async def is_over(client: LocalClient, case: str) -> bool:
    """Whether it has ended; what was killed five times is a dead letter by now, and is mended here."""
    found = await client.find_where(case)
    if found is not None and found.verdict == "failed":
        await client.ask(Request(op="retry", key=client.new_key(), case=case, by="the test"))
    return found is not None and found.verdict in {"done", "compensated"}


def be(life: Life) -> None:
    """Live in this process, to the end of it."""
    World.folder = Path(life.folder)
    try:
        if life.plant:
            plant(life.plant)
        if life.pages:
            points.fold_back_every(life.pages)
        if life.trouble:
            TROUBLES[life.trouble](life.number)
        if life.point:
            points.arm(life.point, life.nth, World.folder / KILLED)
        asyncio.run(live(life))
    except BaseException as error:  # noqa: BLE001 - whoever reads it must learn of everything
        lift()
        (World.folder / COMPLAINT).write_text(f"{traceback.format_exc()}\n{explain(error).remedy}\n")
        os._exit(explain(error).exit)
    os._exit(0)


def main() -> None:
    """Fork a life for each line; say its process, then how it ended."""
    for line in sys.stdin.buffer:
        life = msgspec.json.decode(line, type=Life)
        process = os.fork()
        if process == 0:
            be(life)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
