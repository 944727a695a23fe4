"""What can be known to be wrong with a request is said at once, by the engine, the code, or what the last one left."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from partita.runtime.access import Access, open_access
from partita.runtime.requests import Request, checked
from tests.acceptance.small_app import app

TRIP = b'{"trip_id": "1", "seats": 2}'
ASKED = Request(op="emit", key="first", type="TripAsked", data=Raw(TRIP))
BOOKED = Request(op="emit", key="second", type="TripBooked", data=Raw(b'{"trip_id": "done"}'))
KNOWN_BY = ["the engine", "the code", "the topology"]


def start(data: bytes, workflow: str = "book", case: str = "") -> Request:
    return Request(op="start", key="k", workflow=workflow, data=Raw(data), case=case)


def say(op: Any, type: str, data: bytes = b'{"trip_id": "1"}') -> Request:
    return Request(op=op, key="k", type=type, data=Raw(data))


WRONG: list[tuple[str, Request, str, str]] = [
    ("an unknown workflow", start(TRIP, "bok"), "no workflow 'bok' in app 'travel'", "Did you mean book?"),
    ("no object", start(b"[1]"), "TripAsked", ""),
    ("a missing field", start(b'{"trip_id": "2"}'), "seats", ""),
    ("no case", start(b'{"seats": 2}'), "trip_id", ""),
    ("another case", start(TRIP, case="trip:2"), "its message is of case trip:1, not trip:2", "Leave --case out"),
    ("a case that is none", start(TRIP, case="one"), "'one' is no case", "Write it as type:key"),
    ("a second run", start(TRIP), "workflow book was not started: case trip:1 has run", "partita show trip:1"),
    ("an event without a field", say("emit", "TripAsked"), "seats", ""),
    (
        "a command as an event",
        say("emit", "ReserveSeat", TRIP),
        "ReserveSeat is a command",
        """Send it: partita signal trip:1 ReserveSeat '{"trip_id": "1", "seats": 2}'""",
    ),
    (
        "a command for nobody",
        say("emit", "ChargeCard", b"{}"),
        "ChargeCard is a command",
        "partita signal CASE ChargeC",
    ),
    (
        "an event as a command",
        say("send", "TripAsked", TRIP),
        "TripAsked is an event",
        """Publish it: partita emit TripAsked '{"trip_id": "1", "seats": 2}'""",
    ),
    ("an unknown group", Request(op="pause", key="k", group="cerds"), "no group 'cerds'", "Did you mean cards?"),
    ("a group of the code", Request(op="retire", key="k", group="cards"), "group cards is in the code", "pause it"),
    (
        "nothing to retry",
        Request(op="retry", key="k", case="trip:1"),
        "nothing of case trip:1 has failed: it is waiting for TripApproved, TripDeclined",
        "There is nothing to retry. Its story: partita show trip:1",
    ),
    (
        "a case that is done",
        Request(op="retry", key="k", case="trip:done"),
        "nothing of case trip:done has failed: it is done with TicketPrinted",
        "There is nothing to retry. Its story: partita show trip:done",
    ),
    (
        "nothing to cancel",
        Request(op="cancel", key="k", case="trip:done"),
        "case trip:done has no open run: it is done with TicketPrinted",
        "There is nothing to cancel. Its story: partita show trip:done",
    ),
    (
        "no dead letter",
        Request(op="discard", key="k", case="trip:1"),
        "case trip:1 has no dead letter",
        "partita dead list",
    ),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trip that waits for a decision, and one that is done."""
    path = tmp_path_factory.mktemp("known") / "trips.db"

    async def begin() -> None:
        async with app.run(path) as client:
            checked(await client.ask(ASKED))
            checked(await client.ask(BOOKED))
            await client.settle()

    asyncio.run(begin())
    return path


@asynccontextmanager
async def opened(store: Path, known_by: str) -> AsyncGenerator[Access]:
    """Access to a store, and who knows what is right."""
    async with AsyncExitStack() as stack:
        if known_by == "the engine":
            await stack.enter_async_context(app.run(store))
        yield await stack.enter_async_context(open_access(store, app if known_by == "the code" else None))


@pytest.mark.parametrize("known_by", KNOWN_BY)
@pytest.mark.parametrize(("request_", "why", "remedy"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
async def test_what_is_wrong_is_refused_with_its_remedy_whoever_knows_it(
    store: Path, known_by: str, request_: Request, why: str, remedy: str
) -> None:
    async with opened(store, known_by) as access:
        reply = await access.ask(request_)
        left = access.look.list_requests()

    assert (reply.status, left) == ("rejected", [])
    assert why in reply.why
    assert remedy in reply.remedy
    assert reply.remedy


@pytest.mark.parametrize("group", ["cards", "mail"])
async def test_only_the_code_is_certain_of_its_groups(store: Path, group: str) -> None:
    async with opened(store, "the topology") as access:
        reply = await access.ask(Request(op="retire", key="k", group=group))

    assert reply.remedy.endswith("if it is out, name the app: --app module:name.")


async def test_what_was_asked_before_may_change_what_there_is_to_do(tmp_path: Path) -> None:
    path = tmp_path / "trips.db"
    async with app.run(path):
        pass
    async with open_access(path, app) as access:
        replies = [
            await access.ask(start(TRIP)),
            await access.ask(Request(op="cancel", key="c", case="trip:1", reason="she is ill")),
            await access.ask(start(TRIP)),
        ]
    assert [reply.status for reply in replies] == ["accepted"] * 3
    assert replies[2].note.startswith("queued before")

    async with app.run(path) as client:
        await client.settle()
        told = [(line.what, line.which) for line in client.look.show("trip:1").story]
    assert ("was cancelled", "") in told
    assert [which for what, which in told if what == "carried out"] == ["start book", "cancel"]


async def test_a_dead_letter_that_is_named_alone_is_asked_for_in_its_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail-down").touch()
    path = tmp_path / "trips.db"
    async with app.run(path) as client:
        checked(await client.ask(say("emit", "TripBooked")))
        await client.settle(horizon="1s")
        (letter,) = client.look.list_dead()
    async with open_access(path) as access:
        reply = await access.ask(Request(op="redrive", key="k", message=letter.message))
        story = [line.what for line in access.look.show("trip:1").story]

    assert (reply.status, reply.case) == ("accepted", "trip:1")
    assert story[-1] == "asked to redrive"
