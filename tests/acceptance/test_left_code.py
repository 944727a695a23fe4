"""What has left the code: every list and every question says the same of it, and what brings it back."""

from pathlib import Path

import pytest
from msgspec import Raw

from partita import App
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
