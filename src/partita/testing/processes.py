"""What the simulated shop says and does: its messages, and its services with their own tables and the world outside."""

from __future__ import annotations

from typing import Annotated

from partita.choreography.service import Service
from partita.errors import Final
from partita.messages.answers import Delivery, Noop, noop, rollback
from partita.messages.message import Case, Command, Event
from partita.orchestration.step import step
from partita.retry import Retry
from partita.store.port import AsyncTransaction, Transaction
from partita.testing.outside import outside

OrderId = Annotated[str, Case("order")]
ParcelId = Annotated[str, Case("parcel")]
STOCK = {"apple": 7, "pear": 4}
"""What lies on the shelves at first."""


# An order.


class Placed(Event, external="the customer"):
    """A customer orders."""

    order_id: OrderId
    sku: str
    count: int
    pence: int
    large: bool = False
    gift: bool = False


class NoteAdded(Event, external="the web form"):
    """A customer's note for the gift; comes from a foreign producer."""

    order_id: OrderId
    text: str


class Approved(Event):
    """A manager agrees."""

    order_id: OrderId


class TurnedDown(Event):
    """A manager does not."""

    order_id: OrderId


class Reserved(Event):
    """Stock is held."""

    order_id: OrderId


class OutOfStock(Event):
    """There is not enough."""

    order_id: OrderId
    reason: str = "no stock"


class Released(Event):
    """Stock is back on the shelf."""

    order_id: OrderId


class Charged(Event):
    """The card is charged."""

    order_id: OrderId
    pence: int


class Declined(Event):
    """The card is not."""

    order_id: OrderId
    reason: str = "declined"


class Refunded(Event):
    """The money is back."""

    order_id: OrderId
    pence: int


class Confirmed(Event):
    """The order will be sent."""

    order_id: OrderId


class Shipped(Event, ends="done"):
    """The parcel is on its way."""

    order_id: OrderId


class ShipmentRefused(Event):
    """The carrier does not take it."""

    order_id: OrderId
    reason: str = "refused"


class Recalled(Event):
    """The parcel comes back."""

    order_id: OrderId


class Cancelled(Event, ends="compensated"):
    """The order is undone."""

    order_id: OrderId
    reason: str


class ReviewAsked(Event):
    """Asked an hour later."""

    order_id: OrderId


class Reserve(Command[Reserved | OutOfStock]):
    """Hold stock."""

    order_id: OrderId
    sku: str
    count: int


class Release(Command[Released | None]):
    """Put it back."""

    order_id: OrderId


class Charge(Command[Charged | Declined]):
    """Charge the card."""

    order_id: OrderId
    pence: int


class Refund(Command[Refunded | None]):
    """Pay it back."""

    order_id: OrderId


class Ship(Command[Shipped | ShipmentRefused]):
    """Send the parcel."""

    order_id: OrderId


class Recall(Command[Recalled | None]):
    """Have the parcel brought back."""

    order_id: OrderId


class Decide(Command[Approved | TurnedDown], external="a manager"):
    """Sent by a person."""

    order_id: OrderId
    approve: bool


# A parcel.


class Parcel(Event, case="parcel"):
    """What a child run starts with."""

    parcel_id: ParcelId
    order_id: OrderId


class ParcelSent(Event, ends="done", case="parcel"):
    """The end of a parcel's case; the order is told as well."""

    parcel_id: ParcelId
    order_id: OrderId


class Insure(Command[str]):
    """Answered with a policy's number, which is no event."""

    parcel_id: ParcelId


QUICK = Retry(attempts=4, first="500ms", most="5s")

_SHELVES = ", ".join(f"('{sku}', {free})" for sku, free in STOCK.items())
stock = Service(
    "stock",
    tables=f"""
        create table if not exists stock_item (sku text primary key, free integer not null check (free >= 0)) strict;
        create table if not exists stock_held (
            order_id text primary key, sku text not null, count integer not null
        ) strict;
        insert into stock_item values {_SHELVES} on conflict do nothing;
    """,  # noqa: S608 - a constant of this file
)
card = Service(
    "card",
    retry=QUICK,
    timeout="10s",
    concurrency=3,
    tables="create table if not exists card_price (order_id text primary key, pence integer not null) strict;",
)
books = Service(
    "books",
    tables="create table if not exists books_line (order_id text not null, pence integer not null) strict;",
)
parcels = Service("parcels", timeout="10s")
insurer = Service(
    "insurer",
    retry=Retry(attempts=2, first="1s"),  # few: nobody catches its failure, so its caller stops and is retried
    tables="create table if not exists insurer_policy (parcel_id text primary key) strict;",
)
approvals = Service("approvals", retry=QUICK)
mail = Service("mail", retry=Retry(attempts=3, first="1s", most="5s"), timeout="10s")
notes = Service("notes", retry=Retry(attempts=2, first="1s"))
counts = Service(
    "counts",
    tables="create table if not exists counts_event (type text primary key, times integer not null) strict;",
)
orders = Service(
    "orders",
    tables="create table if not exists orders_trouble (order_id text primary key, reason text not null) strict;",
)
SERVICES = [stock, card, books, parcels, insurer, approvals, mail, notes, counts, orders]


# Own tables: plain handlers with a transaction.


@stock.handles(Reserve)
def reserve(command: Reserve, tx: Transaction) -> Reserved | OutOfStock:
    """Hold what is free; what was written for an order that can't be served is rolled back."""
    tx.execute("insert into stock_held values (?, ?, ?)", command.order_id, command.sku, command.count)
    taken = tx.execute(
        "update stock_item set free = free - ? where sku = ? and free >= ?", command.count, command.sku, command.count
    )
    return Reserved(order_id=command.order_id) if taken else rollback(OutOfStock(order_id=command.order_id))


@stock.handles(Release)
def release(command: Release, tx: Transaction) -> Released | Noop:
    """Put back what was held; accept that nothing was."""
    held = tx.find_row("delete from stock_held where order_id = ? returning sku, count", command.order_id)
    if held is None:
        return noop("nothing is held")
    tx.execute("update stock_item set free = free + ? where sku = ?", held["count"], held["sku"])
    return Released(order_id=command.order_id)


@books.on(Charged)
async def book_charge(event: Charged, tx: AsyncTransaction) -> None:
    """An exclusive transaction."""
    await tx.execute("insert into books_line values (?, ?)", event.order_id, event.pence)


@books.on(Refunded)
def book_refund(event: Refunded, tx: Transaction) -> None:
    """The other side of the books."""
    tx.execute("insert into books_line values (?, ?)", event.order_id, -event.pence)


@counts.on(Reserved | Charged | Shipped, observer=True)
def count(event: Reserved | Charged | Shipped, tx: Transaction) -> None:
    """Counts for nothing in a verdict."""
    tx.execute(
        "insert into counts_event values (?, 1) on conflict (type) do update set times = times + 1",
        type(event).__name__,
    )


@insurer.handles(Insure)
async def insure(command: Insure, tx: AsyncTransaction) -> str:
    """An answer that is no event: it goes to the caller only."""
    await tx.execute("insert into insurer_policy values (?)", command.parcel_id)
    outside().stumble(f"insure {command.parcel_id}")
    return f"policy of {command.parcel_id}"


# The world outside: async handlers, and plain ones in a thread, with the idempotency key in hand.


@card.handles(Charge)
async def charge(command: Charge, delivery: Delivery) -> Charged | Declined:
    """A card may be declined: an answer, never retried."""
    if outside().plan(command.order_id).declined:
        return Declined(order_id=command.order_id)
    await outside().ask("charge", delivery.case, delivery.id, amount=command.pence)
    return Charged(order_id=command.order_id, pence=command.pence)


@card.handles(Refund)
async def refund(command: Refund, delivery: Delivery) -> Refunded | Noop:
    """Pay back what was charged; accept that nothing was."""
    charged = outside().find("charge", delivery.case or "")
    if not charged:
        return noop("never charged")
    pence = sum(effect.amount for effect in charged)
    await outside().ask("refund", delivery.case, delivery.id, amount=pence)
    return Refunded(order_id=command.order_id, pence=pence)


@parcels.handles(Ship, retry=Retry(attempts=3, first="1s", most="5s", then="hold"))
def ship(command: Ship, delivery: Delivery) -> Shipped | ShipmentRefused:
    """Runs in a thread; a carrier that is down for good holds the call."""
    if outside().plan(command.order_id).refused:
        return ShipmentRefused(order_id=command.order_id)
    outside().ask_now("parcel", delivery.case, delivery.id)
    return Shipped(order_id=command.order_id)


@parcels.handles(Recall)
def recall(command: Recall, delivery: Delivery) -> Recalled | Noop:
    """Accept that nothing was ever sent."""
    if not outside().find("parcel", delivery.case or ""):
        return noop("never sent")
    outside().ask_now("recall", delivery.case, delivery.id)
    return Recalled(order_id=command.order_id)


@approvals.handles(Decide)
def decide(command: Decide) -> Approved | TurnedDown:
    """A person has decided."""
    order_id = command.order_id
    return Approved(order_id=order_id) if command.approve else TurnedDown(order_id=order_id)


@mail.on(Confirmed, within="10m")
async def mail_confirmed(event: Confirmed, delivery: Delivery) -> None:
    """One mail."""
    await outside().ask("mail confirmed", delivery.case, delivery.id)


@mail.on(Cancelled)
async def mail_cancelled(event: Cancelled, delivery: Delivery) -> None:
    """Another."""
    await outside().ask("mail cancelled", delivery.case, delivery.id)


@mail.on(ReviewAsked)
def mail_review(event: ReviewAsked, delivery: Delivery) -> None:
    """A delayed one."""
    outside().ask_now("mail review", delivery.case, delivery.id)


@notes.on(NoteAdded, hold=True)
def print_note(event: NoteAdded, delivery: Delivery) -> None:
    """A dead letter stands in the way of the case's later notes."""
    outside().ask_now(f"note {event.text}", delivery.case, delivery.id)


# Local steps.

NEVER_SENT = Delivery(id="", case=None, attempt=0, causes=())
"""What a step's delivery is by its signature; the engine hands in the real one."""


@step(retry=Retry(attempts=20, first="300ms", most="2s"), timeout="10s")
async def pack(order_id: str, number: int, delivery: Delivery = NEVER_SENT) -> str:
    """One article."""
    await outside().ask(f"pack {number}", f"order:{order_id}", delivery.id)
    return f"box {number}"


@step(retry=Retry(attempts=12, first="300ms", most="2s"))
def print_label(order_id: str, delivery: Delivery = NEVER_SENT) -> str:
    """A plain function, in a thread; some labels can't be printed."""
    if outside().plan(order_id).no_label:
        raise Final("no label")
    outside().ask_now("label", f"order:{order_id}", delivery.id)
    return "label"
