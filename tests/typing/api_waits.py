"""Waiting for any of several things, predicates, plain asyncio, children, changed code, continuing as new."""

import asyncio
from typing import Annotated

from partita import (
    CallFailed,
    CallTimeout,
    Case,
    Command,
    Event,
    Refused,
    call,
    child,
    patched,
    publish,
    receive,
    step,
    workflow,
)

TripId = Annotated[str, Case("trip")]


class TripAsked(Event):
    trip_id: TripId
    seats: int


class Flown(Event, ends="done"):
    trip_id: TripId
    flight: str


class Grounded(Event):
    trip_id: TripId
    reason: str


class Paid(Event):
    trip_id: TripId
    cents: int


class NoMoney(Event):
    trip_id: TripId
    missing: int


class Pay(Command[Paid | NoMoney]):
    trip_id: TripId
    cents: int


def double(amount: int) -> int:
    return 2 * amount


@workflow
async def any_of(trip: TripAsked) -> str:
    flown = await receive(Flown, where=lambda event: event.flight.startswith("P"), timeout="5d", default=None)
    if flown is None:
        return "late"
    async with asyncio.TaskGroup() as group:
        paid = group.create_task(call(Pay(trip_id=trip.trip_id, cents=1), expect=Paid))
        outcome = group.create_task(receive(Flown | Grounded, timeout="2d"))
    cents: int = paid.result().cents
    match outcome.result():
        case Flown(flight=flight):
            return f"{flight}: {cents}"
        case Grounded(reason=reason):
            return reason


@workflow
async def partial(trip: TripAsked) -> int:
    calls = [call(Pay(trip_id=trip.trip_id, cents=seat), key=str(seat)) for seat in range(trip.seats)]
    bad = 0
    for result in await asyncio.gather(*calls, return_exceptions=True):
        match result:
            case Paid():
                pass
            case NoMoney(missing=missing):
                bad += missing
            case CallTimeout():
                bad += 1
            case CallFailed(kind=kind):
                bad += len(kind)
            case BaseException():
                raise result
    return bad


@workflow(restart="after-end", receives=(Flown, Grounded))
async def changed(trip: TripAsked) -> str:
    amount = await step(double)(trip.seats)
    if patched("pay twice"):
        amount = await step(name="again")(double)(amount)
    try:
        await call(Pay(trip_id=trip.trip_id, cents=amount), expect=Paid)
    except Refused as refused:
        return str(refused.answer)
    counted: int = await child(partial, TripAsked(trip_id="2", seats=1), on_close="abandon")
    return f"{counted} {await child(any_of, trip, key='first')}"


@workflow(starts_on=TripAsked)
async def once_a_month(trip: TripAsked) -> int:
    try:
        async with asyncio.timeout(30 * 86_400):
            await receive(Grounded)
    except TimeoutError:
        once_a_month.again(TripAsked(trip_id=trip.trip_id, seats=trip.seats + 1))
    await publish(Flown(trip_id=trip.trip_id, flight="none"))
    return trip.seats
