"""Runs that stop and go on, continue as new, and make local steps: over restarts, under one id."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from partita import (
    App,
    CallFailed,
    Command,
    Delivery,
    Event,
    Final,
    Rejected,
    Retry,
    RetryLater,
    Service,
    Workflow,
    call,
    child,
    publish,
    receive,
    saga,
    step,
    upcast,
    workflow,
)
from partita.store.facts import Incident, Retrying, Returned, Started, Stepped
from tests.acceptance.engine import (
    CASE,
    Attempts,
    Broken,
    Declined,
    Noted,
    OrderId,
    Paid,
    Pay,
    Placed,
    Refund,
    ask,
    history,
    kinds,
    owed,
    said,
    trail,
    until,
    until_said,
)

QUICK = Retry(attempts=3, first="1ms", most="2ms")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def paying(gate: Attempts, **options: Any) -> Service:
    """A service that answers Pay when its gate lets it."""
    cards = Service("cards", **options)

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        gate.make()
        return Paid(order_id=command.order_id, pence=gate.made)

    return cards


@workflow(starts_on=Placed)
async def pay_once(order: Placed) -> int:
    return (await call(Pay(order_id=order.order_id), expect=Paid)).pence


# Stopping, and going on.


def ship(version: Workflow[Placed, Any], *services: Service) -> App:
    return App("shop", services=services, workflows=[version])


async def test_a_run_stops_where_its_code_fails_and_goes_on_with_mended_code(store: Path) -> None:
    cards = paying(Attempts(0))

    @workflow(starts_on=Placed, name="fulfil", version="1")
    async def broken(order: Placed) -> int:
        paid = await call(Pay(), expect=Paid)
        raise Broken("a bug")
        return paid.pence

    @workflow(starts_on=Placed, name="fulfil", version="2")
    async def mended(order: Placed) -> int:
        paid = await call(Pay(), expect=Paid)
        return paid.pence

    async with ship(broken, cards).run(store) as client:
        run = await client.start(broken, Placed())
        with pytest.raises(CallFailed, match="a bug") as failed:
            await run.result(timeout="5s")
        assert failed.value.kind == "Broken"
        incident = await until_said(client, Incident)
        assert (incident.step, incident.remedy) == ("Pay#1", f"Mend the code, then: partita retry {CASE}")
        where = await client.where(CASE)
        assert (where.verdict, where.at) == ("failed", "Pay")

    async with ship(mended, cards).run(store) as client:
        assert (await client.where(CASE)).verdict == "failed", "it waits for the operator"
        await ask(client, "retry", case=CASE, by="ann")
        returned = await until_said(client, Returned)
        assert history(client, run.id)[-2:] == ["retried", "returned"]

    assert bytes(returned.value) == b"1"


async def test_the_result_of_a_run_that_has_stopped_is_its_failure(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def broken(order: Placed) -> None:
        raise Broken("a bug")

    async with ship(broken).run(store) as client:
        run = await client.start(broken, Placed())
        await until_said(client, Incident)
        with pytest.raises(CallFailed, match="a bug"):
            await run.result(timeout="5s")


async def test_retry_makes_the_last_failed_call_anew_under_its_id(store: Path) -> None:
    ids: list[str] = []
    gate = Attempts(2)
    cards = Service("cards", retry=Retry(attempts=2, first="1ms"))

    @cards.handles(Pay)
    async def pay(command: Pay, delivery: Delivery) -> Paid | Declined:
        ids.append(f"{delivery.id} {delivery.attempt}")
        gate.make()
        return Paid(pence=gate.made)

    @workflow(starts_on=Placed)
    async def trusting(order: Placed) -> int:
        return (await call(Pay(), expect=Paid)).pence

    async with ship(trusting, cards).run(store) as client:
        run = await client.start(trusting, Placed())
        await until_said(client, Incident)
        reply = await ask(client, "retry", case=CASE)
        assert await run.result(timeout="5s") == 3

    assert "its last failure is made anew" in reply.note
    assert [one.split()[1] for one in ids] == ["1", "2", "1"]
    assert len({one.split()[0] for one in ids}) == 1


async def test_retry_makes_a_failed_local_step_anew(store: Path) -> None:
    gate = Attempts(2)

    @step(retry=Retry(attempts=2, first="1ms"))
    async def fetch() -> int:
        gate.make()
        return gate.made

    @workflow(starts_on=Placed)
    async def trusting(order: Placed) -> int:
        return await fetch()

    async with ship(trusting).run(store) as client:
        run = await client.start(trusting, Placed())
        await until_said(client, Incident)
        await ask(client, "retry", case=CASE)
        assert await run.result(timeout="5s") == 3


async def test_retry_does_not_undo_what_a_saga_has_undone(store: Path) -> None:
    gate = Attempts(9)
    cards = Service("cards", retry=Retry(attempts=1))

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        gate.make()
        return Paid()

    @cards.handles(Refund)
    async def refund(command: Refund) -> None: ...

    @workflow(starts_on=Placed)
    async def undoing(order: Placed) -> None:
        async with saga():
            await call(Pay(), undo=Refund())

    async with ship(undoing, cards).run(store) as client:
        await client.start(undoing, Placed())
        await until_said(client, Incident)
        assert "published Refund" in kinds(client)
        reply = await ask(client, "retry", case=CASE)
        await until_said(client, Incident, count=2)

    assert "what its saga has undone is over" in reply.note
    assert gate.made == 1, "the call is not made anew"


async def test_a_case_in_which_nothing_failed_can_not_be_retried(store: Path) -> None:
    async with ship(pay_once, paying(Attempts(0))).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Returned)
        with pytest.raises(Rejected, match=f"nothing of case {CASE} has failed"):
            await ask(client, "retry", case=CASE)


async def test_a_stopped_run_whose_workflow_is_gone_can_not_be_retried(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def broken(order: Placed) -> None:
        raise Broken("a bug")

    async with ship(broken).run(store) as client:
        run = await client.start(broken, Placed())
        await until_said(client, Incident)

    async with App("shop", services=[paying(Attempts(0))]).run(store) as client:
        async with asyncio.timeout(5):
            with pytest.raises(Rejected, match=f"run {run.id}"):
                await ask(client, "retry", case=CASE)


async def test_what_comes_for_a_stopped_run_is_kept_for_it(store: Path) -> None:
    @workflow(starts_on=Placed, name="fulfil", version="1")
    async def broken(order: Placed) -> str:
        await receive(Paid)
        raise Broken("a bug")
        return (await receive(Noted)).text

    @workflow(starts_on=Placed, name="fulfil", version="2")
    async def mended(order: Placed) -> str:
        await receive(Paid)
        return (await receive(Noted)).text

    async with ship(broken).run(store) as client:
        await client.emit(Placed())
        await client.emit(Paid())
        await until_said(client, Incident)
        await client.emit(Noted(text="meanwhile"))
        await until(lambda: not owed(client), "it is taken")
    async with ship(mended).run(store) as client:
        await ask(client, "retry", case=CASE)
        returned = await until_said(client, Returned)

    assert bytes(returned.value) == b'"meanwhile"'


async def test_a_workflow_that_fails_at_once_is_an_incident_and_not_a_lost_order(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def broken(order: Placed) -> None:
        await publish(Noted())
        raise Broken("a bug")

    async with ship(broken).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Incident)
        assert kinds(client) == ["published Placed", "started Placed", "incident"], "its turn is discarded"
        assert owed(client) == []


# Continuing as new.


@workflow(starts_on=Placed)
async def spell(order: Placed) -> str:
    letter = (await receive(Noted)).text
    if letter != ".":
        spell.again(Placed(note=order.note + letter))
    return order.note


async def test_a_run_that_continues_as_new_goes_on_under_the_next_number(store: Path) -> None:
    async with App("shop", workflows=[spell]).run(store) as client:
        await client.emit(Placed())
        for letter in "abc.":
            await client.emit(Noted(text=letter))
        await until(lambda: any(body.how == "returned" for body in said(client, Returned)), "the last run returned")
        runs = [fact.run for fact in trail(client) if isinstance(fact.body, Started)]
        ends = [(body.how, bytes(body.value)) for body in said(client, Returned)]

    assert runs == [f"spell/{CASE}/{number}" for number in (1, 2, 3, 4)]
    assert ends == [("again", b"")] * 3 + [("returned", b'"abc"')]


async def test_the_result_of_a_run_that_continued_as_new_is_that_of_the_last(store: Path) -> None:
    async with App("shop", workflows=[spell]).run(store) as client:
        run = await client.start(spell, Placed())

        async def spelt() -> None:
            assert await run.result(timeout="5s") == "ab"

        async with asyncio.TaskGroup() as group:
            group.create_task(spelt())
            for letter in "ab.":
                await client.emit(Noted(text=letter))
        assert await run.result(timeout="5s") == "ab"


async def test_a_child_that_continues_as_new_returns_to_its_parent(store: Path) -> None:
    @workflow
    async def parent(order: Placed) -> str:
        return await child(spell, Placed())

    async with App("shop", workflows=[parent, spell]).run(store) as client:
        run = await client.start(parent, Placed(order_id="9"))
        await until_said(client, Started)
        for letter in "ab.":
            await client.emit(Noted(text=letter))
        assert await run.result(timeout="5s") == "ab"


# Local steps.


async def test_a_local_step_is_retried_under_one_id(store: Path) -> None:
    seen: list[tuple[str, int]] = []

    @step(retry=QUICK)
    async def fetch(delivery: Delivery) -> int:
        seen.append((delivery.id, delivery.attempt))
        if len(seen) < 3:
            raise Broken("not yet")
        return len(seen)

    @workflow(starts_on=Placed)
    async def fetching(order: Placed) -> int:
        return await fetch()  # type: ignore[call-arg]

    async with ship(fetching).run(store) as client:
        run = await client.start(fetching, Placed())
        assert await run.result(timeout="5s") == 3
        (stepped,) = said(client, Stepped)
        assert [body.attempt for body in said(client, Retrying)] == [1, 2]

    assert stepped.attempts == 3
    assert [attempt for _id, attempt in seen] == [1, 2, 3]
    assert len({key for key, _attempt in seen}) == 1


async def test_the_retries_of_a_local_step_outlive_the_engine(store: Path) -> None:
    seen: list[int] = []

    @step(retry=Retry(attempts=3, first="80ms", factor=1))
    async def fetch(delivery: Delivery) -> int:
        seen.append(delivery.attempt)
        raise Broken("never")

    @workflow(starts_on=Placed)
    async def fetching(order: Placed) -> str:
        try:
            await fetch()  # type: ignore[call-arg]
        except CallFailed as failed:
            return f"{failed.kind} {failed.attempts}"
        return ""

    app = ship(fetching)
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Retrying)
    async with app.run(store) as client:
        returned = await until_said(client, Returned)
        facts = [fact for fact in trail(client) if isinstance(fact.body, Retrying)]
        first, second = (fact.body for fact in facts)
        assert isinstance(first, Retrying)
        assert isinstance(second, Retrying)
        assert facts[1].at >= first.due, "the second attempt waited for its time"

    assert seen == [1, 2, 3]
    assert bytes(returned.value) == b'"Broken 3"'


@pytest.mark.parametrize(
    "error", [Final("never"), asyncio.CancelledError(), RetryLater("busy", after="soon")], ids=repr
)
async def test_a_local_step_answers_whatever_it_raises(store: Path, error: BaseException) -> None:
    @step(retry=Retry(attempts=2, first="1ms"))
    async def fetch() -> int:
        raise error

    @workflow(starts_on=Placed)
    async def fetching(order: Placed) -> str:
        try:
            await fetch()
        except CallFailed as failed:
            return f"{failed.kind} {failed.attempts}"
        return ""

    async with ship(fetching).run(store) as client:
        run = await client.start(fetching, Placed())
        found = await run.result(timeout="5s")

    assert (
        found
        == {"Final": "Final 1", "CancelledError": "CancelledError 2", "RetryLater": "DefinitionError 1"}[
            type(error).__name__
        ]
    )


async def test_a_local_step_that_takes_too_long_is_a_timeout(store: Path) -> None:
    @step(timeout="10ms", retry=Retry(attempts=1))
    async def forever() -> None:
        await asyncio.Event().wait()

    @workflow(starts_on=Placed)
    async def hurried(order: Placed) -> str:
        try:
            await forever()
        except TimeoutError as late:
            return type(late).__name__
        return ""

    async with ship(hurried).run(store) as client:
        run = await client.start(hurried, Placed())
        assert await run.result(timeout="5s") == "CallTimeout"


async def test_a_plain_local_step_runs_beside_the_loop_and_a_timer_outlives_the_engine(store: Path) -> None:
    @step
    def add(one: int, other: int) -> int:
        return one + other

    @workflow(starts_on=Placed)
    async def slow(order: Placed) -> int:
        found = await add(1, 2)
        await asyncio.sleep(0.1)
        return found

    app = ship(slow)
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Stepped)
        assert (await client.where(CASE)).verdict == "waiting"
    async with app.run(store) as client:
        returned = await until_said(client, Returned)

    assert bytes(returned.value) == b"3"


# Versions of messages.


class Tagged(Event, version=2):
    order_id: OrderId = "1"
    tags: tuple[str, ...] = ()


@upcast(Tagged, from_version=1)
def one_tag(body: dict[str, Any]) -> dict[str, Any]:
    return {"order_id": body["order_id"], "tags": [body["tag"]]}


class Tag(Command[Tagged]):
    order_id: OrderId = "1"


@workflow
async def tagging(start: Tagged) -> str:
    await receive(Noted)
    found = await call(Tag())
    return " ".join((*start.tags, *found.tags))


async def test_what_is_of_the_newest_version_is_not_upcast_again(store: Path) -> None:
    tags = Service("tags")

    @tags.handles(Tag)
    async def tag(command: Tag) -> Tagged:
        return Tagged(tags=("c", "d"))

    app = App("shop", services=[tags], workflows=[tagging])
    async with app.run(store) as client:
        assert await client.call(Tag(order_id="2"), timeout="5s") == Tagged(tags=("c", "d"))
        await client.start(tagging, Tagged(tags=("a", "b")))
    async with app.run(store) as client:
        await client.emit(Noted())
        returned = await until_said(client, Returned)

    assert bytes(returned.value) == b'"a b c d"'
