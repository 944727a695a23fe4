"""A small app for tests of the commands: one workflow, two services that react, and a world that can be broken.

The world outside is files in the working directory: while `card-down` is there no card can be charged, while
`mail-down` is there no mail goes out.
"""

from pathlib import Path
from typing import Annotated

from partita import (
    Abort,
    App,
    CallFailed,
    Case,
    Command,
    Event,
    Refused,
    Retry,
    Service,
    Wiring,
    call,
    publish,
    receive,
    saga,
    workflow,
)

TripId = Annotated[str, Case("trip")]


class TripAsked(Event, external="a traveller"):
    trip_id: TripId
    seats: int


class SeatReserved(Event):
    trip_id: TripId


class NoSeat(Event):
    trip_id: TripId
    reason: str


class CardCharged(Event):
    trip_id: TripId


class TripApproved(Event):
    trip_id: TripId


class TripDeclined(Event):
    trip_id: TripId


class TripBooked(Event):
    trip_id: TripId


class TicketPrinted(Event, ends="done"):
    trip_id: TripId


class TripCancelled(Event, ends="compensated"):
    trip_id: TripId
    reason: str


class ReserveSeat(Command[SeatReserved | NoSeat]):
    trip_id: TripId
    seats: int


class ReleaseSeat(Command[None]):
    trip_id: TripId


class ChargeCard(Command[CardCharged]):
    trip_id: TripId


class DecideTrip(Command[TripApproved | TripDeclined], external="a clerk"):
    trip_id: TripId
    approve: bool


seats = Service("seats")
cards = Service("cards", retry=Retry(attempts=2, then="hold", first="1ms"))
mail = Service("mail", retry=Retry(attempts=2, first="1ms"))
printing = Service("printing")
desk = Service("desk")
after_booking = Wiring("after booking")


def is_down(what: str) -> bool:
    return Path(f"{what}-down").exists()


@seats.handles(ReserveSeat)
def reserve(command: ReserveSeat) -> SeatReserved | NoSeat:
    if command.seats > 9:
        return NoSeat(trip_id=command.trip_id, reason="the plane is full")
    return SeatReserved(trip_id=command.trip_id)


@seats.handles(ReleaseSeat)
def release(command: ReleaseSeat) -> None:
    return None


@cards.handles(ChargeCard)
async def charge(command: ChargeCard) -> CardCharged:
    if is_down("card"):
        raise ConnectionError("the gateway is down")
    return CardCharged(trip_id=command.trip_id)


@desk.handles(DecideTrip)
def decide(command: DecideTrip) -> TripApproved | TripDeclined:
    return (TripApproved if command.approve else TripDeclined)(trip_id=command.trip_id)


@mail.on(TripBooked)
async def send_mail(event: TripBooked) -> None:
    if is_down("mail"):
        raise ConnectionError("no route to the mail server")


@after_booking.on(TripBooked, service=printing)
def print_ticket(event: TripBooked) -> TicketPrinted:
    return TicketPrinted(trip_id=event.trip_id)


@workflow(starts_on=TripAsked)
async def book(asked: TripAsked) -> None:
    trip = asked.trip_id
    try:
        async with saga():
            await call(
                ReserveSeat(trip_id=trip, seats=asked.seats), expect=SeatReserved, undo=ReleaseSeat(trip_id=trip)
            )
            await call(ChargeCard(trip_id=trip), expect=CardCharged)
            match await receive(TripApproved | TripDeclined, timeout="7d"):
                case TripApproved():
                    await publish(TripBooked(trip_id=trip))
                case TripDeclined():
                    raise Abort("declined")
    except (Refused, Abort, CallFailed, TimeoutError) as why:
        await publish(TripCancelled(trip_id=trip, reason=str(why)))


app = App("travel", services=[seats, cards, mail, printing, desk], workflows=[book], wiring=[after_booking])
