"""A run begins in the unit of the very event that starts it, unless somebody stands before it."""

import asyncio
from pathlib import Path

import pytest

from partita import App, Rejected, workflow
from partita.store.facts import DuplicateStart, Incident, Started
from tests.acceptance.engine import Broken, Placed, all_facts, ask, history, kinds, owed, said, until_said

RUN = "fulfil/order:1/1"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@workflow(starts_on=Placed)
async def fulfil(order: Placed) -> str:
    if order.note == "breaks":
        raise Broken("at once")
    return order.note


app = App("shop", services=[], workflows=[fulfil])


async def test_an_event_and_the_run_that_it_starts_are_one_unit(store: Path) -> None:
    async with app.run(store) as client:
        await client.emit(Placed(note="a"))
        facts = [fact for fact in all_facts(client) if fact.case == "order:1"]

    # Nobody was waited for: what the answer to the emit found durable was in its own unit.
    assert [fact.kind for fact in facts] == ["published", "started", "returned"]
    assert len({fact.at for fact in facts}) == 1, "no effect stands before its cause"


async def test_the_same_event_under_the_same_key_starts_nothing_twice(store: Path) -> None:
    async with app.run(store) as client:
        for _ in range(2):
            await client.emit(Placed(note="a"), key="once")
        with pytest.raises(Rejected):
            await client.emit(Placed(note="b"), key="once")
        await client.settle()

        assert kinds(client).count("started Placed") == 1
        assert not owed(client)


async def test_a_second_event_of_the_case_is_a_duplicate_start(store: Path) -> None:
    async with app.run(store) as client:
        await asyncio.gather(client.emit(Placed(note="a")), client.emit(Placed(note="b")))
        await until_said(client, DuplicateStart)
        await client.settle()

        assert len(said(client, Started)) == 1
        assert not owed(client)


async def test_an_event_whose_run_breaks_at_once_is_taken_all_the_same(store: Path) -> None:
    async with app.run(store) as client:
        await client.emit(Placed(note="breaks"))
        await until_said(client, Incident)

        assert history(client, RUN) == ["started", "incident"]
        assert kinds(client)[0] == "published Placed"


async def test_an_event_for_a_paused_workflow_waits(store: Path) -> None:
    async with app.run(store) as client:
        await ask(client, "pause", group="workflow:fulfil")
        await client.emit(Placed(note="a"))
        waiting = [row.group for row in owed(client)]
        await ask(client, "resume", group="workflow:fulfil")
        await until_said(client, Started)

    assert waiting == ["workflow:fulfil"]
