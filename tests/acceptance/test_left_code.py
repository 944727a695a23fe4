"""What has left the code: every list and every question says the same of it, and what brings it back."""

from pathlib import Path

import pytest
from msgspec import Raw

from partita import App
from partita.runtime.access import open_access
from partita.runtime.look import Look
from partita.runtime.requests import Reply, Request
from tests.acceptance.small_app import after_booking, app, cards, desk, mail, printing, seats

ASKED = Request(op="emit", key="first", type="TripAsked", data=Raw(b'{"trip_id": "1", "seats": 2}'))
SERVICES = [seats, cards, mail, printing, desk]
without_book = App("travel", services=SERVICES, wiring=[after_booking])


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """A trip that waits for a decision."""
    path = tmp_path / "trips.db"
    async with app.run(path) as client:
        await client.ask(ASKED)
        await client.settle()
    return path


async def test_a_run_whose_workflow_is_gone_is_stuck_in_every_list(store: Path) -> None:
    async with without_book.run(store) as client:
        await client.settle()
        found = client.look.line("trip:1")
        listed, _ = client.look.list_cases(stuck=True)
        (group,) = [one for one in client.look.list_groups() if one.name == "workflow:book"]

    assert "run book/trip:1/1 can't move: workflow book is not in this code; deploy it again" in found.stuck
    assert listed == [found]
    assert group.state == "gone"


async def test_a_cancellation_that_a_gone_workflow_would_have_to_meet_is_refused_with_its_remedy(store: Path) -> None:
    async with without_book.run(store) as client:
        reply: Reply = await client.ask(Request(op="cancel", key="c", case="trip:1"))

    assert reply.why == "run book/trip:1/1 can't move: workflow book is not in this code"
    assert reply.remedy.startswith("Deploy it again, then ask once more")


async def test_a_group_that_is_listed_can_be_named(store: Path) -> None:
    async with without_book.run(store) as client:
        for op in ("pause", "resume", "retire"):
            reply = await client.ask(Request(op=op, key=op, group="workflow:book"))
            assert reply.status == "accepted"


# Groups.

without_mail = App("travel", services=[one for one in SERVICES if one is not mail], wiring=[after_booking])
BOOKED = Request(op="emit", key="booked", type="TripBooked", data=Raw(b'{"trip_id": "1"}'))


def mail_group(look: Look) -> tuple[str, bool, str]:
    (line,) = [one for one in look.list_groups() if one.name == "mail"]
    return line.state, line.paused, line.queued


async def test_a_paused_group_that_has_left_the_code_is_gone_and_paused(tmp_path: Path) -> None:
    async with app.run(tmp_path / "trips.db") as client:
        await client.ask(Request(op="pause", key="p", group="mail"))
        assert mail_group(client.look) == ("paused", True, "")
    async with without_mail.run(tmp_path / "trips.db") as client:
        assert mail_group(client.look) == ("gone", True, "")


async def test_a_retired_group_that_is_back_in_the_code_is_live_since_it_handles_what_comes(tmp_path: Path) -> None:
    async with app.run(tmp_path / "trips.db") as client:
        await client.ask(Request(op="pause", key="p", group="mail"))
    async with without_mail.run(tmp_path / "trips.db") as client:
        await client.ask(Request(op="retire", key="r", group="mail"))
        assert mail_group(client.look) == ("retired", False, "")
    async with app.run(tmp_path / "trips.db") as client:
        await client.ask(BOOKED)
        await client.settle()
        handled = [line.who for line in client.look.show("trip:1").story if line.what == "handled"]

        assert "mail" in handled
        assert mail_group(client.look) == ("live", False, "")


async def test_what_was_asked_of_a_group_without_an_engine_stands_in_the_list(tmp_path: Path) -> None:
    async with app.run(tmp_path / "trips.db"):
        pass
    async with open_access(tmp_path / "trips.db", app) as access:
        await access.ask(Request(op="resume", key="r", group="mail"))
        await access.ask(Request(op="pause", key="p", group="mail"))
        assert mail_group(access.look) == ("live", False, "pause")
    async with app.run(tmp_path / "trips.db") as client:
        await client.settle()
        assert mail_group(client.look) == ("paused", True, "")
