"""A member of a gym is onboarded over days: local steps, hand-made undos, deadlines, and what failed by name."""

import asyncio
from datetime import timedelta
from typing import Annotated

from partita import (
    App,
    CallFailed,
    Case,
    Command,
    Delivery,
    Event,
    Refused,
    Retry,
    Service,
    call,
    now,
    publish,
    receive,
    saga,
    step,
    uuid,
    workflow,
)

MemberId = Annotated[str, Case("member")]


class MemberJoined(Event):
    member_id: MemberId
    mail: str


class CardMade(Event):
    member_id: MemberId
    number: str


class LockerGiven(Event):
    member_id: MemberId
    locker: int


class NoLocker(Event):
    member_id: MemberId
    reason: str


class TourTaken(Event):
    member_id: MemberId
    notes: str


class Onboarded(Event, ends="done"):
    member_id: MemberId


class MakeCard(Command[CardMade]):
    member_id: MemberId


class CutCard(Command[None]):
    member_id: MemberId


class GiveLocker(Command[LockerGiven | NoLocker]):
    member_id: MemberId


class ClearLocker(Command[None]):
    member_id: MemberId


class CountVisits(Command[int]):
    member_id: MemberId


desk = Service("desk", retry=Retry(attempts=20, most="1h"))


@desk.handles(MakeCard)
async def make_card(command: MakeCard) -> CardMade:
    return CardMade(member_id=command.member_id, number="7")


@desk.handles(CutCard)
async def cut_card(command: CutCard) -> None: ...


@desk.handles(CountVisits)
def count_visits(command: CountVisits) -> int:
    return 3


@step(timeout="10s", retry=Retry(attempts=3))
async def write_mail(to: str, *, text: str) -> str:
    return f"{to}: {text}"


@step
def sign(text: str, delivery: Delivery | None = None) -> str:
    return f"{text} ({delivery.id if delivery else 'unsigned'})"


def shout(text: str) -> str:
    return text.upper()


@workflow(starts_on=MemberJoined, within="30d")
async def onboard(member: MemberJoined) -> str:
    key = member.member_id
    began = now()
    try:
        async with saga(retry=Retry(attempts=100, most="1h"), parallel=True) as undo:
            card = await call(MakeCard(member_id=key), undo=CutCard(member_id=key))
            locker = await call(GiveLocker(member_id=key), expect=LockerGiven, timeout=timedelta(days=2))
            undo(ClearLocker(member_id=key))
    except Refused as refused:
        match refused.answer:
            case NoLocker(reason=reason):
                await write_mail(member.mail, text=f"sorry: {reason}")
            case other:
                await write_mail(member.mail, text=f"sorry: {other}")
        return "cancelled"
    except CallFailed as failure:
        return f"cancelled after {failure.attempts} attempts: {failure.kind}: {failure.text}"
    mail: str = await write_mail(member.mail, text=await step(shout)(f"locker {locker.locker}"))
    while (tour := await receive(TourTaken, timeout="3d", default=None)) is None:
        mail = await sign(mail)
    await asyncio.sleep(14 * 86_400)
    visits: int = await call(CountVisits(member_id=key), key=uuid(), retry=Retry(then="hold"))
    await publish(Onboarded(member_id=key), after="1h")
    return f"{card.number}: {tour.notes}, {visits} visits in {now() - began}"


app = App("gym", services=[desk], workflows=[onboard], retry=Retry(attempts=3))
