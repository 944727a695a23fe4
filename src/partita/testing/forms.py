"""The simulated shop in its three forms: a workflow, a wiring, and a workflow with a wiring after it."""

from __future__ import annotations

import asyncio
from typing import Any

from partita.choreography.service import Wiring
from partita.errors import Abort, CallFailed, Refused
from partita.messages.answers import Waits, waits_for
from partita.orchestration.acts import call, child, publish, receive
from partita.orchestration.saga import saga
from partita.orchestration.workflow import Workflow, workflow
from partita.runtime.app import App
from partita.store.port import Transaction
from partita.testing.outside import outside
from partita.testing.processes import (
    SERVICES,
    Approved,
    Cancelled,
    Charge,
    Charged,
    Confirmed,
    Declined,
    Insure,
    NoteAdded,
    OutOfStock,
    Parcel,
    ParcelSent,
    Placed,
    Recall,
    Refund,
    Release,
    Released,
    Reserve,
    Reserved,
    ReviewAsked,
    Ship,
    ShipmentRefused,
    Shipped,
    TurnedDown,
    card,
    orders,
    pack,
    parcels,
    print_label,
    stock,
)
from partita.testing.rounds import go_round, go_round_before, rounds

# Orchestration.


async def approval() -> None:
    """Wait for the manager."""
    match await receive(Approved | TurnedDown, timeout="2h"):
        case TurnedDown():
            raise Abort("turned down")
        case _:
            pass


async def list_notes(wanted: int) -> list[str]:
    """Wait for so many notes; they may have come long before."""
    return [(await receive(NoteAdded)).text for _ in range(wanted)]


def meet_bug(order_id: str) -> None:
    """A bug in the workflow's code, until somebody mends it."""
    if outside().plan(order_id).bug and not outside().mended:
        raise RuntimeError("a bug in the workflow")


async def pack_all(order: Placed) -> None:
    """Pack every article, all at once; the first failure says why for all."""
    try:
        async with asyncio.TaskGroup() as packing:
            for number in range(order.count):
                packing.create_task(pack(order.order_id, number))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


@workflow
async def deliver(parcel: Parcel) -> str:
    """A child: a timer, a call into another case, an event."""
    await asyncio.sleep(15)
    policy = await call(Insure(parcel_id=parcel.parcel_id))
    await publish(ParcelSent(parcel_id=parcel.parcel_id, order_id=parcel.order_id))
    return policy


@workflow(starts_on=Placed, receives=(Approved, TurnedDown, NoteAdded))
async def fulfil(order: Placed) -> str:
    """Everything in one workflow: a saga, fan-outs, local steps, a child, a timer, what came early."""
    key = order.order_id
    try:
        async with saga():
            if order.large:
                await approval()
            reserve = Reserve(order_id=key, sku=order.sku, count=order.count)
            await call(reserve, expect=Reserved, undo=Release(order_id=key))
            charge = Charge(order_id=key, pence=order.pence)
            await call(charge, expect=Charged, undo=Refund(order_id=key), timeout="6s")
            await publish(Confirmed(order_id=key))
            meet_bug(key)
            await pack_all(order)
            parcel = Parcel(parcel_id=key, order_id=key)
            label, policy = await asyncio.gather(print_label(key), child(deliver, parcel))
            await call(Ship(order_id=key), expect=Shipped, undo=Recall(order_id=key))
    except (Refused, Abort, CallFailed, TimeoutError) as why:
        await publish(Cancelled(order_id=key, reason=str(why)))
        return "cancelled"
    except asyncio.CancelledError:
        await publish(Cancelled(order_id=key, reason="cancelled"))
        raise
    await publish(ReviewAsked(order_id=key), after="1h")
    texts = await list_notes(2 if order.gift else 0)
    return f"shipped with {label} and {policy}: {' '.join(sorted(texts))}"


# Choreography.

by_events = Wiring("by events")


@by_events.on(Placed, service=stock)
def reserve_when_placed(event: Placed, tx: Transaction) -> Reserve | Waits:
    """The first reaction; a large order waits for a manager."""
    tx.execute(
        "create table if not exists stock_asked ("
        "order_id text primary key, sku text not null, count integer not null) strict"
    )
    tx.execute("insert into stock_asked values (?, ?, ?)", event.order_id, event.sku, event.count)
    if event.large:
        return waits_for(Approved | TurnedDown, within="2h", who="a manager")
    return Reserve(order_id=event.order_id, sku=event.sku, count=event.count)


@by_events.on(Approved, service=stock)
def reserve_when_approved(event: Approved, tx: Transaction) -> Reserve:
    """The manager agrees."""
    asked = tx.get_row("select sku, count from stock_asked where order_id = ?", event.order_id)
    return Reserve(order_id=event.order_id, sku=asked["sku"], count=asked["count"])


@by_events.on(Placed, service=card)
def remember_price(event: Placed, tx: Transaction) -> None:
    """What will have to be charged: the key's order brings this before Reserved."""
    tx.execute("insert into card_price values (?, ?)", event.order_id, event.pence)


@by_events.on(Reserved, service=card)
def charge_when_reserved(event: Reserved, tx: Transaction) -> Charge:
    """Its handler is async: the command goes out as a message."""
    price = tx.get_row("select pence from card_price where order_id = ?", event.order_id)
    return Charge(order_id=event.order_id, pence=price["pence"])


@by_events.on(Charged, service=orders)
def confirm_when_charged(event: Charged) -> Confirmed:
    """An event answered with an event."""
    return Confirmed(order_id=event.order_id)


@by_events.on(Confirmed, service=parcels)
def ship_when_confirmed(event: Confirmed) -> Ship:
    """Both plain, in one unit, in a thread."""
    return Ship(order_id=event.order_id)


@by_events.on(OutOfStock | TurnedDown, service=orders)
def cancel(event: OutOfStock | TurnedDown) -> Cancelled:
    """Nothing has to be undone."""
    return Cancelled(order_id=event.order_id, reason="no stock" if isinstance(event, OutOfStock) else "turned down")


@by_events.on(Declined | ShipmentRefused, service=orders)
def remember_trouble(event: Declined | ShipmentRefused, tx: Transaction) -> None:
    """Why it will be cancelled, once the stock is back."""
    tx.execute("insert into orders_trouble values (?, ?)", event.order_id, event.reason)


@by_events.on(Declined | ShipmentRefused, service=stock)
def release_when_refused(event: Declined | ShipmentRefused) -> Release:
    """Undo the reservation."""
    return Release(order_id=event.order_id)


@by_events.on(ShipmentRefused, service=card)
def refund_when_refused(event: ShipmentRefused) -> Refund:
    """Undo the charge."""
    return Refund(order_id=event.order_id)


@by_events.on(Released, service=orders)
def cancel_when_released(event: Released, tx: Transaction) -> Cancelled:
    """The end of it."""
    trouble = tx.get_row("select reason from orders_trouble where order_id = ?", event.order_id)
    return Cancelled(order_id=event.order_id, reason=trouble["reason"])


# Hybrid.

after_confirmation = Wiring("after confirmation")


@after_confirmation.on(Confirmed, service=parcels, within="2d")
def send_when_confirmed(event: Confirmed) -> Ship:
    """Choreography after the workflow's event."""
    return Ship(order_id=event.order_id)


@workflow(starts_on=Placed, receives=(Approved, TurnedDown, NoteAdded, Shipped, ShipmentRefused))
async def fulfil_to_confirmation(order: Placed) -> str:
    """A workflow to the confirmation; then it waits for the choreographed outcome, and looks up now and then."""
    key = order.order_id
    try:
        async with saga() as undo:
            if order.large:
                await approval()
            reserve = Reserve(order_id=key, sku=order.sku, count=order.count)
            await call(reserve, expect=Reserved)
            undo(Release(order_id=key))
            charge = Charge(order_id=key, pence=order.pence)
            await call(charge, expect=Charged, undo=Refund(order_id=key), timeout="6s")
            meet_bug(key)
            await publish(Confirmed(order_id=key))
            answer = None
            while answer is None:
                answer = await asyncio.shield(outcome())
            if isinstance(answer, ShipmentRefused):
                raise Abort(answer.reason)
    except (Refused, Abort, CallFailed, TimeoutError) as why:
        await publish(Cancelled(order_id=key, reason=str(why)))
        return "cancelled"
    await publish(ReviewAsked(order_id=key), after="1h")
    return f"shipped: {' '.join(sorted(await list_notes(2 if order.gift else 0)))}"


async def outcome() -> Shipped | ShipmentRefused | None:
    """What became of the parcel, if that is known within ten minutes."""
    return await receive(Shipped | ShipmentRefused, timeout="10m", default=None)


NAME = "simulated shop"
_REST = [service for service in SERVICES if service.name != "counts"]


def _apps(form: str, *, counted: bool = True, walks: tuple[Workflow[Any, Any], ...] = (go_round,)) -> App:
    services = SERVICES if counted else _REST
    match form:
        case "choreography":
            return App(NAME, services=services, wiring=[by_events])
        case "orchestration":
            return App(NAME, services=[*services, rounds], workflows=[fulfil, deliver, *walks])
        case _:
            workflows = [fulfil_to_confirmation, *walks]
            return App(NAME, services=[*services, rounds], workflows=workflows, wiring=[after_confirmation])


FORMS = {form: _apps(form) for form in ("choreography", "orchestration", "hybrid")}
"""The apps, by form."""
OTHERS = {form: (_apps(form, counted=False, walks=()), _apps(form, walks=(go_round_before,))) for form in FORMS}
"""The same without one of their groups and a workflow, and before their code was changed."""
