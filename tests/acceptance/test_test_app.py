"""TestApp as a user's tests meet it: virtual time, stubs, what was published, and replay behind the scenes."""

import asyncio
from typing import Annotated

import pytest

from partita import (
    App,
    CallFailed,
    CallTimeout,
    Case,
    Command,
    Delivery,
    Event,
    Rejected,
    Retry,
    Service,
    call,
    now,
    publish,
    receive,
    step,
    workflow,
)
from partita.errors import ContractBroken, DefinitionError
from partita.testing import TestApp

TripId = Annotated[str, Case("trip")]


class Booked(Event, external="the traveller"):
    trip_id: TripId


class Boarded(Event):
    trip_id: TripId


class TicketPrinted(Event):
    trip_id: TripId
    at: str


class TripEnded(Event, ends="done"):
    trip_id: TripId
    how: str


class PrintTicket(Command[TicketPrinted]):
    trip_id: TripId


desk = Service("desk", retry=Retry(attempts=3, first="10s"))
attempts: list[int] = []


@desk.handles(PrintTicket)
async def print_ticket(command: PrintTicket, delivery: Delivery) -> TicketPrinted:
    attempts.append(delivery.attempt)
    return TicketPrinted(trip_id=command.trip_id, at="the desk")


bell: list[str] = []


@desk.on(Boarded)
async def ring_the_bell(event: Boarded) -> None:
    await asyncio.to_thread(bell.append, event.trip_id)


@step
async def weigh(trip_id: str) -> int:
    return len(trip_id)


@workflow(starts_on=Booked)
async def travel(trip: Booked) -> str:
    try:
        printed = await call(PrintTicket(trip_id=trip.trip_id), expect=TicketPrinted)
    except CallFailed as why:
        await publish(TripEnded(trip_id=trip.trip_id, how=f"no ticket: {why}"))
        return "stayed"
    weight = await weigh(trip.trip_id)
    await asyncio.sleep(3600)
    boarded = await receive(Boarded, timeout="2d", default=None)
    await publish(TripEnded(trip_id=trip.trip_id, how=f"{printed.at}, {weight} kg, {'there' if boarded else 'missed'}"))
    return "travelled"


app = App("trips", services=[desk], workflows=[travel])


async def test_time_moves_only_when_the_test_says_so() -> None:
    async with TestApp(app) as trips:
        await trips.emit(Booked(trip_id="t"))
        await trips.settle()
        assert (await trips.where("trip:t")).verdict == "waiting"

        await trips.advance("59m")
        assert (await trips.where("trip:t")).at == "sleep"

        await trips.advance("1m")
        assert (await trips.where("trip:t")).waiting_for == ("Boarded",)


async def test_a_wait_of_days_is_over_at_once() -> None:
    async with TestApp(app) as trips:
        await trips.emit(Booked(trip_id="t"))
        await trips.advance("3d")

        assert [ended.how for ended in trips.published(TripEnded)] == ["the desk, 1 kg, missed"]


async def test_what_comes_early_is_there_when_it_is_asked_for() -> None:
    async with TestApp(app) as trips:
        await trips.emit(Booked(trip_id="t"))
        await trips.emit(Boarded(trip_id="t"))
        await trips.advance("61m")

        assert [ended.how for ended in trips.published(TripEnded)] == ["the desk, 1 kg, there"]


async def test_a_stub_answers_in_place_of_the_handler() -> None:
    async with TestApp(app) as trips:
        trips.stub(PrintTicket, TicketPrinted(trip_id="t", at="home"))
        await trips.emit(Booked(trip_id="t"))
        await trips.advance("3d")

        assert trips.published(TicketPrinted) == [TicketPrinted(trip_id="t", at="home")]


async def test_a_stub_of_one_app_is_not_one_of_another() -> None:
    async with TestApp(app) as stubbed:
        stubbed.stub(PrintTicket, lambda command: TicketPrinted(trip_id=command.trip_id, at="home"))
    async with TestApp(app) as trips:
        assert (await trips.call(PrintTicket(trip_id="t"))).at == "the desk"


async def test_what_a_stub_raises_is_retried_on_virtual_time_until_the_policy_is_spent() -> None:
    async with TestApp(app) as trips:
        trips.stub(PrintTicket, ConnectionError("out of paper"))
        await trips.emit(Booked(trip_id="t"))
        await trips.settle()

        assert [ended.how for ended in trips.published(TripEnded)] == ["no ticket: out of paper"]


async def test_a_stub_that_says_call_failed_is_not_retried() -> None:
    async with TestApp(app) as trips:
        before = trips.new_key()
        trips.stub(PrintTicket, CallFailed("closed"))
        with pytest.raises(CallFailed, match="closed"):
            await trips.call(PrintTicket(trip_id="t"))

        assert before[:12] == trips.new_key()[:12], "no time has passed"


async def test_a_stub_that_breaks_the_contract_is_refused_where_it_stands() -> None:
    async with TestApp(app) as trips:
        with pytest.raises(ContractBroken):
            trips.stub(PrintTicket, Boarded(trip_id="t"))


async def test_a_stub_of_what_nobody_handles_is_refused() -> None:
    class Unheard(Command[None]):
        trip_id: TripId

    async with TestApp(app) as trips:
        with pytest.raises(DefinitionError, match="no service"):
            trips.stub(Unheard, None)


async def test_a_call_waits_for_its_answer_as_long_as_it_may() -> None:
    async with TestApp(app) as trips:
        trips.stub(PrintTicket, ConnectionError("not yet"))
        with pytest.raises(CallTimeout):
            await trips.call(PrintTicket(trip_id="t"), timeout="5s")


async def test_a_handler_that_waits_for_the_real_world_is_waited_for() -> None:
    async with TestApp(app) as trips:
        await trips.emit(Boarded(trip_id="real"))
        await trips.settle()

    assert bell[-1] == "real"


async def test_a_run_is_started_and_gives_its_result() -> None:
    async with TestApp(app) as trips:
        run = await trips.start(travel, Booked(trip_id="t"))
        with pytest.raises(CallTimeout):
            await run.result()
        await trips.advance("3d")

        assert await run.result() == "travelled"


async def test_a_request_under_a_key_that_is_used_is_rejected() -> None:
    async with TestApp(app) as trips:
        await trips.emit(Booked(trip_id="t"), key="k")
        with pytest.raises(Rejected):
            await trips.emit(Booked(trip_id="other"), key="k")


async def test_the_seed_decides_the_ids() -> None:
    keys = []
    for seed in (1, 1, 2):
        async with TestApp(app, seed=seed) as trips:
            keys.append(trips.new_key())

    assert keys[0] == keys[1] != keys[2]


async def test_outside_of_its_block_it_says_what_to_do() -> None:
    with pytest.raises(DefinitionError, match="async with"):
        await TestApp(app).settle()


flips = 0


@workflow(starts_on=Booked)
async def fickle(trip: Booked) -> None:
    """Does something else each time it is run."""
    global flips  # noqa: PLW0603 - what no workflow should do
    flips += 1
    await (weigh(trip.trip_id) if flips % 2 else call(PrintTicket(trip_id=trip.trip_id)))
    await asyncio.sleep(60 * 60)


async def test_a_workflow_that_replay_would_not_follow_fails_the_test() -> None:
    async with TestApp(App("fickle", services=[desk], workflows=[fickle])) as trips:
        await trips.emit(Booked(trip_id="t"))
        with pytest.raises(DefinitionError, match="fickle"):
            await trips.settle()


@workflow(starts_on=Booked)
async def dated(trip: Booked) -> str:
    return now().isoformat()


async def test_time_begins_at_a_fixed_instant() -> None:
    async with TestApp(App("dated", services=[desk], workflows=[dated])) as trips:
        run = await trips.start(dated, Booked(trip_id="t"))

        assert (await run.result()).startswith("2026-01-01T00:00")
