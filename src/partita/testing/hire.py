"""A small process in its three forms, the hire of a van, in which a hire's own key says what will go wrong with it."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from partita.choreography.service import Service, Wiring
from partita.errors import Abort, CallFailed, Final, Refused, RetryLater
from partita.messages.answers import Noop, Waits, noop, waits_for
from partita.messages.message import Command, Event
from partita.orchestration.acts import call, publish, receive
from partita.orchestration.saga import saga
from partita.orchestration.step import step
from partita.orchestration.workflow import Workflow, workflow
from partita.retry import Retry
from partita.runtime.app import App
from partita.store.port import Transaction
from partita.testing.inspection import HELD, QUICK, fetch_van, inspect_van, inspection, inspectors
from partita.testing.place import HireId, kill, meets, trouble_of

AGES_S = 1e7
"""How long one takes who never comes to an end."""


# What is said.


class HireAsked(Event, external="a customer"):
    hire_id: HireId


class HireAgreed(Event):
    hire_id: HireId


class HireRefused(Event):
    hire_id: HireId


class VanHeld(Event):
    hire_id: HireId


class NoVan(Event):
    hire_id: HireId


class VanFreed(Event):
    hire_id: HireId


class DepositTaken(Event):
    hire_id: HireId


class CardDeclined(Event):
    hire_id: HireId


class PapersSigned(Event):
    hire_id: HireId


class HireConfirmed(Event):
    hire_id: HireId


class ReminderDue(Event):
    hire_id: HireId


class NoteLeft(Event, external="the web form"):
    hire_id: HireId
    text: str


class VanHandedOver(Event, ends="done"):
    hire_id: HireId


class VanBroken(Event):
    hire_id: HireId


class HireCancelled(Event, ends="compensated"):
    hire_id: HireId
    reason: str


class DecideHire(Command[HireAgreed | HireRefused], external="a clerk"):
    hire_id: HireId
    agree: bool


class HoldVan(Command[VanHeld | NoVan]):
    hire_id: HireId


class FreeVan(Command[VanFreed | None]):
    hire_id: HireId


class TakeDeposit(Command[DepositTaken | CardDeclined]):
    hire_id: HireId


class ReturnDeposit(Command[None]):
    hire_id: HireId


class HandOver(Command[VanHandedOver | VanBroken]):
    hire_id: HireId


# Who does it.

SLOW = Retry(attempts=5, first="1d", most="2d")

vans = Service(
    "vans",
    retry=QUICK,
    tables="create table if not exists vans_held (hire_id text primary key) strict;",
)
card = Service("card", retry=QUICK, timeout="20s")
yard = Service("yard", retry=QUICK)
desk = Service("desk", retry=QUICK)
mail = Service("mail", retry=QUICK)
files = Service("files", retry=QUICK)
counts = Service("counts", retry=QUICK)


@vans.handles(HoldVan)
def hold_van(command: HoldVan, tx: Transaction) -> VanHeld | NoVan | Noop:
    if trouble_of(command.hire_id) == "noop":
        return noop("the customer has a van of ours already")
    if trouble_of(command.hire_id) == "answered-otherwise":
        return NoVan(hire_id=command.hire_id)
    tx.execute("insert into vans_held values (?)", command.hire_id)
    return VanHeld(hire_id=command.hire_id)


@vans.handles(FreeVan)
def free_van(command: FreeVan, tx: Transaction) -> VanFreed | Noop | None:
    if meets(command.hire_id, "compensation-fails"):
        raise ConnectionError("the garage is locked")
    if not tx.execute("delete from vans_held where hire_id = ?", command.hire_id):
        return noop("no van is held")
    return VanFreed(hire_id=command.hire_id)


@card.handles(TakeDeposit)
async def take_deposit(command: TakeDeposit) -> DepositTaken | CardDeclined:
    key = command.hire_id
    if trouble_of(key) in {"declined", "compensation-fails"}:
        return CardDeclined(hire_id=key)
    if meets(key, "retrying"):
        raise RetryLater("the bank is closed", after="1d")
    if meets(key, "call-held", "discarded"):
        raise ConnectionError("the bank does not answer")
    if meets(key, "poison"):
        kill()
        await asyncio.sleep(AGES_S)
    if trouble_of(key) in {"timed-out", "undo-waits"}:
        await asyncio.sleep(AGES_S)
    return DepositTaken(hire_id=key)


@card.handles(ReturnDeposit)
async def return_deposit(command: ReturnDeposit) -> None:
    return None


@yard.handles(HandOver)
async def hand_over(command: HandOver) -> VanHandedOver | VanBroken | Noop:
    if meets(command.hire_id, "dead-letter", "call-failed"):
        raise ConnectionError("the yard is under water")
    if meets(command.hire_id, "engine-gone"):
        await asyncio.sleep(AGES_S)
    return VanHandedOver(hire_id=command.hire_id)


@desk.handles(DecideHire)
def decide_hire(command: DecideHire) -> HireAgreed | HireRefused:
    return (HireAgreed if command.agree else HireRefused)(hire_id=command.hire_id)


@mail.on(HireConfirmed, within="10m")
async def send_mail(event: HireConfirmed) -> None:
    if meets(event.hire_id, "dead-notice"):
        raise ConnectionError("no route to the mail server")
    if meets(event.hire_id, "slow"):
        await asyncio.sleep(AGES_S)


@mail.on(ReminderDue)
async def send_reminder(event: ReminderDue) -> None:
    return None


@files.on(NoteLeft, hold=True)
async def file_note(event: NoteLeft) -> None:
    if meets(event.hire_id, "blocked"):
        raise ConnectionError("the cabinet is locked")


@counts.on(VanHeld, observer=True)
def count_van(event: VanHeld) -> None:
    if meets(event.hire_id, "dead-observer"):
        raise ConnectionError("the counter has stopped")


@step(retry=SLOW)
async def print_contract(hire_id: str) -> str:
    if meets(hire_id, "step-retrying"):
        raise ConnectionError("the printer has no paper")
    if meets(hire_id, "step-failed"):
        raise Final("the printer is gone")
    if meets(hire_id, "poison-step"):
        kill()
        await asyncio.sleep(AGES_S)
    return f"contract of {hire_id}"


# Orchestration.

ASKS_A_CLERK = {"person", "overdue", "after-end", "timer-missed"}
RESTS = {"timer", "cancelled", "workflow-gone", "other-code"}


async def agreement() -> None:
    """Wait for the clerk."""
    match await receive(HireAgreed | HireRefused, timeout="2h"):
        case HireRefused():
            raise Abort("refused")
        case _:
            pass


def limit_of(key: str) -> str | None:
    """How long the deposit is waited for."""
    return "5s" if trouble_of(key) in {"timed-out", "undo-waits", "withdrawn"} else None


def meet_bug(key: str) -> None:
    """A bug in the workflow's code, until somebody mends it."""
    if meets(key, "bug"):
        raise RuntimeError("a bug in the workflow")


@workflow(starts_on=HireAsked, receives=(HireAgreed, HireRefused, PapersSigned))
async def lend(asked: HireAsked) -> None:
    """Everything in one workflow."""
    key = asked.hire_id
    try:
        async with saga():
            if trouble_of(key) in ASKS_A_CLERK:
                await agreement()
            await call(HoldVan(hire_id=key), expect=VanHeld, undo=FreeVan(hire_id=key))
            if trouble_of(key) in RESTS:
                await asyncio.sleep(6 * 3600)
            deposit, undo = TakeDeposit(hire_id=key), ReturnDeposit(hire_id=key)
            await call(deposit, expect=DepositTaken, undo=undo, timeout=limit_of(key), retry=HELD)
            await print_contract(key)
            meet_bug(key)
            await inspection(key)
            if trouble_of(key) == "doomed":
                await receive(PapersSigned)
            await publish(HireConfirmed(hire_id=key))
            if trouble_of(key) == "delayed":
                await publish(ReminderDue(hire_id=key), after="6h")
            if trouble_of(key) == "no-end":
                return
            await call(HandOver(hire_id=key), expect=VanHandedOver)
    except (Refused, Abort, CallFailed, TimeoutError, asyncio.CancelledError) as why:
        await publish(HireCancelled(hire_id=key, reason=str(why)))
        if isinstance(why, asyncio.CancelledError):
            raise


# Hybrid.

after_confirmation = Wiring("after confirmation")


@after_confirmation.on(HireConfirmed, service=yard)
def hand_over_when_confirmed(event: HireConfirmed) -> HandOver | Noop:
    if trouble_of(event.hire_id) == "no-end":
        return noop("nobody wants the van")
    return HandOver(hire_id=event.hire_id)


@workflow(starts_on=HireAsked, receives=(HireAgreed, HireRefused, PapersSigned, VanHandedOver, VanBroken))
async def lend_until_confirmed(asked: HireAsked) -> None:
    """A workflow until the confirmation; then it waits for the choreographed outcome."""
    key = asked.hire_id
    try:
        async with saga():
            if trouble_of(key) in ASKS_A_CLERK:
                await agreement()
            await call(HoldVan(hire_id=key), expect=VanHeld, undo=FreeVan(hire_id=key))
            if trouble_of(key) in RESTS:
                await asyncio.sleep(6 * 3600)
            deposit, undo = TakeDeposit(hire_id=key), ReturnDeposit(hire_id=key)
            await call(deposit, expect=DepositTaken, undo=undo, timeout=limit_of(key), retry=HELD)
            await print_contract(key)
            meet_bug(key)
            await inspection(key)
            if trouble_of(key) == "doomed":
                await receive(PapersSigned)
            await publish(HireConfirmed(hire_id=key))
            if trouble_of(key) == "delayed":
                await publish(ReminderDue(hire_id=key), after="6h")
            if isinstance(await receive(VanHandedOver | VanBroken, timeout="5d"), VanBroken):
                raise Abort("the van is broken")
    except (Refused, Abort, CallFailed, TimeoutError, asyncio.CancelledError) as why:
        await publish(HireCancelled(hire_id=key, reason=str(why)))
        if isinstance(why, asyncio.CancelledError):
            raise


# Choreography.

by_events = Wiring("by events")
confirming = Wiring("confirming")


@by_events.on(HireAsked, service=vans)
def hold_when_asked(event: HireAsked) -> HoldVan | Waits:
    if trouble_of(event.hire_id) in ASKS_A_CLERK:
        return waits_for(HireAgreed | HireRefused, within="2h", who="a clerk")
    return HoldVan(hire_id=event.hire_id)


@by_events.on(HireAgreed, service=vans)
def hold_when_agreed(event: HireAgreed) -> HoldVan:
    return HoldVan(hire_id=event.hire_id)


@by_events.on(VanHeld, service=card)
def take_when_held(event: VanHeld) -> TakeDeposit:
    return TakeDeposit(hire_id=event.hire_id)


@confirming.on(DepositTaken, service=desk)
def confirm_when_taken(event: DepositTaken) -> HireConfirmed | Waits:
    if trouble_of(event.hire_id) == "doomed":
        return waits_for(PapersSigned)
    return HireConfirmed(hire_id=event.hire_id)


@by_events.on(PapersSigned, service=desk)
def confirm_when_signed(event: PapersSigned) -> HireConfirmed:
    return HireConfirmed(hire_id=event.hire_id)


@by_events.on(NoVan | HireRefused, service=desk)
def cancel(event: NoVan | HireRefused) -> HireCancelled:
    return HireCancelled(hire_id=event.hire_id, reason="no van" if isinstance(event, NoVan) else "refused")


@by_events.on(CardDeclined | VanBroken, service=vans)
def free_when_declined(event: CardDeclined | VanBroken) -> FreeVan:
    return FreeVan(hire_id=event.hire_id)


@by_events.on(VanFreed, service=desk)
def cancel_when_freed(event: VanFreed) -> HireCancelled:
    return HireCancelled(hire_id=event.hire_id, reason="the card was declined")


# Other code, as a deploy may bring it.


RECEIVES = (HireAgreed, HireRefused, PapersSigned, VanHandedOver, VanBroken)


@workflow(starts_on=HireAsked, receives=RECEIVES, name="lend")
async def lend_by_others(asked: HireAsked) -> None:
    """What somebody may write who did not think of the runs that are open: another timer before the first call."""
    key = asked.hire_id
    await asyncio.sleep(1)
    await print_contract(key)
    await call(HoldVan(hire_id=key), expect=VanHeld)
    await publish(HireConfirmed(hire_id=key))
    await call(HandOver(hire_id=key), expect=VanHandedOver)


@workflow(starts_on=HireAsked, receives=RECEIVES, name="lend_until_confirmed")
async def confirm_by_others(asked: HireAsked) -> None:
    """The same, of the hybrid's workflow."""
    key = asked.hire_id
    await asyncio.sleep(1)
    await print_contract(key)
    await call(HoldVan(hire_id=key), expect=VanHeld)
    await publish(HireConfirmed(hire_id=key))


# The apps.

Form = Literal["choreography", "orchestration", "hybrid"]
FORMS: tuple[Form, ...] = ("choreography", "orchestration", "hybrid")
Code = Literal["whole", "without the yard", "without a subscriber", "without the workflow", "by others"]
NAME = "van hire"
SERVICES = [vans, card, yard, desk, mail, files, counts, inspectors]
CHILDREN: list[Workflow[Any, None]] = [inspect_van, fetch_van]
_CLOSED = [service for service in SERVICES if service is not yard]

APPS: dict[tuple[Form, Code], App] = {
    ("choreography", "whole"): App(NAME, services=SERVICES, wiring=[by_events, confirming, after_confirmation]),
    ("choreography", "without the yard"): App(NAME, services=_CLOSED, wiring=[by_events, confirming]),
    ("choreography", "without a subscriber"): App(NAME, services=SERVICES, wiring=[by_events, after_confirmation]),
    ("orchestration", "whole"): App(NAME, services=SERVICES, workflows=[lend, *CHILDREN]),
    ("orchestration", "without the yard"): App(NAME, services=_CLOSED, workflows=[lend, *CHILDREN]),
    ("orchestration", "without the workflow"): App(NAME, services=SERVICES),
    ("orchestration", "by others"): App(NAME, services=SERVICES, workflows=[lend_by_others, *CHILDREN]),
    ("hybrid", "whole"): App(
        NAME, services=SERVICES, workflows=[lend_until_confirmed, *CHILDREN], wiring=[after_confirmation]
    ),
    ("hybrid", "without the yard"): App(NAME, services=_CLOSED, workflows=[lend_until_confirmed, *CHILDREN]),
    ("hybrid", "without a subscriber"): App(NAME, services=SERVICES, workflows=[lend_until_confirmed, *CHILDREN]),
    ("hybrid", "without the workflow"): App(NAME, services=SERVICES, wiring=[after_confirmation]),
    ("hybrid", "by others"): App(
        NAME, services=SERVICES, workflows=[confirm_by_others, *CHILDREN], wiring=[after_confirmation]
    ),
}
"""The process in each form, as it should be and as a deploy may leave it."""
