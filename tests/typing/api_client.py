"""What a web server, a script and a test say to an app."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, assert_type

from partita import (
    App,
    CallFailed,
    Case,
    Client,
    Command,
    Event,
    Next,
    NotFound,
    Rejected,
    Run,
    Service,
    Unknown,
    Verdict,
    Where,
    workflow,
)
from partita.testing import TestApp

RoomId = Annotated[str, Case("room")]


class RoomAsked(Event):
    room_id: RoomId


class RoomGiven(Event, ends="done"):
    room_id: RoomId
    number: int


class RoomRefused(Event, ends="failed"):
    room_id: RoomId


class GiveRoom(Command[RoomGiven | RoomRefused]):
    room_id: RoomId


class Sweep(Command[None]):
    room_id: RoomId


hotel = Service("hotel")


@hotel.handles(GiveRoom)
def give(command: GiveRoom) -> RoomGiven | RoomRefused:
    return RoomGiven(room_id=command.room_id, number=7)


@hotel.handles(Sweep)
def sweep(command: Sweep) -> None: ...


@workflow(starts_on=RoomAsked)
async def stay(asked: RoomAsked) -> int:
    return len(asked.room_id)


app = App("hotel", services=[hotel], workflows=[stay])


@asynccontextmanager
async def lifespan() -> AsyncGenerator[dict[str, Client]]:
    async with app.client("sqlite:///hotel.db") as client:
        yield {"partita": client}


async def sign_in(client: Client, room_id: str) -> dict[str, str]:
    try:
        run = await client.start(stay, RoomAsked(room_id=room_id), key=room_id)
        assert_type(run, Run[int])
        nights: int = await run.result(timeout="5s")
    except Rejected as rejected:
        return {"why": rejected.why, "remedy": rejected.remedy, "missing": str(isinstance(rejected, NotFound))}
    except Unknown as unknown:
        return {"send again with": unknown.key or ""}
    except CallFailed as failed:
        return {"why": failed.text}
    return {"case": run.case, "run": run.id, "nights": str(nights)}


async def look(client: Client, room_id: str) -> dict[str, object]:
    where = await client.find_where(f"room:{room_id}")
    if where is None:
        return {}
    assert_type(where, Where)
    verdict: Verdict = where.verdict
    deadline: datetime | None = where.deadline
    following: tuple[Next, ...] = where.next
    return {"verdict": verdict, "at": where.at, "until": deadline, "next": [one.name for one in following]}


async def ask(client: Client, room_id: str) -> int:
    await client.emit(RoomAsked(room_id=room_id), key="asked")
    await client.send(Sweep(room_id=room_id))
    await client.call(Sweep(room_id=room_id))
    match await client.call(GiveRoom(room_id=room_id), timeout="5s"):
        case RoomGiven(number=number):
            return number
        case RoomRefused():
            return 0


async def run_it(path: Path) -> Where:
    async with app.run(path) as client:
        await client.emit(RoomAsked(room_id="1"))
        await client.settle(horizon="5s")
        return await client.where("room:1")


async def test_a_room_is_given() -> None:
    async with TestApp(app, seed=7) as house:
        house.stub(GiveRoom, lambda command: RoomRefused(room_id=command.room_id))
        house.stub(GiveRoom, RoomGiven(room_id="1", number=3))
        house.stub(Sweep, CallFailed("no broom"))
        await house.emit(RoomAsked(room_id="1"))
        await house.settle()
        await house.advance("3d")
        given = house.published(RoomGiven)
        assert_type(given, list[RoomGiven])
