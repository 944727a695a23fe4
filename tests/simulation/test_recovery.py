"""Recoveries that a seed once found to be wrong, each played again by itself."""

import asyncio
from contextlib import suppress
from typing import Annotated, Any

import pytest

from partita import (
    App,
    CallFailed,
    Case,
    Command,
    Event,
    Retry,
    Service,
    Waits,
    Wiring,
    Workflow,
    call,
    child,
    saga,
    step,
    waits_for,
    workflow,
)
from partita.runtime.requests import Request
from partita.store.facts import Closed, Handled, Published, Withdrawn
from tests.simulation.stage import Stage, play

TripId = Annotated[str, Case("trip")]
RideId = Annotated[str, Case("ride")]


class Booked(Event, external="the traveller"):
    trip_id: TripId


class PassportShown(Event, external="the traveller"):
    trip_id: TripId


class Departed(Event, ends="done"):
    trip_id: TripId


class Ride(Event):
    ride_id: RideId


class Pay(Command[None]):
    trip_id: TripId


class PayBack(Command[None]):
    trip_id: TripId


class Sign(Command[None]):
    trip_id: TripId


class TearUp(Command[None]):
    trip_id: TripId


class World:
    """What handlers do to the test that plays them."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self.asked = 0
        self.paid_back = 0
        self.deadly = False
        self.slow_s = 0.0


world = World()
bank = Service("bank", retry=Retry(attempts=2, first="10s"))


@pytest.fixture(autouse=True)
def new_world() -> None:
    world.__init__()  # type: ignore[misc]


async def die_here() -> None:
    assert world.stage is not None
    world.asked += 1
    if world.deadly:
        world.stage.kill()
    await asyncio.sleep(world.slow_s)


@bank.handles(Pay)
async def pay(command: Pay) -> None:
    await die_here()


@bank.handles(PayBack)
async def pay_back(command: PayBack) -> None:
    world.paid_back += 1


@bank.handles(Sign)
def sign(command: Sign) -> None:
    """Somebody cancels while a thread is at it."""
    assert world.stage is not None
    world.stage.soon(Request(op="cancel", key="c", case=f"trip:{command.trip_id}"))


@bank.handles(TearUp)
def tear_up(command: TearUp) -> None: ...


@step
async def walk() -> None:
    await die_here()


@workflow(starts_on=Booked)
async def travel(trip: Booked) -> str:
    try:
        async with saga():
            await call(Pay(trip_id=trip.trip_id), undo=PayBack(trip_id=trip.trip_id), timeout="1h")
    except CallFailed as why:
        return f"stayed: {why}"
    return "travelled"


@workflow(starts_on=Booked)
async def sign_up(trip: Booked) -> None:
    async with saga():
        await call(Sign(trip_id=trip.trip_id), undo=TearUp(trip_id=trip.trip_id))


@workflow(starts_on=Booked)
async def hike(trip: Booked) -> str:
    try:
        await walk()
    except CallFailed as why:
        return f"stayed: {why}"
    return "travelled"


shop = Service("shop")
by_card = Wiring("by card")


@by_card.on(PassportShown, service=shop)
async def order(event: PassportShown) -> Pay:
    await asyncio.sleep(2)
    return Pay(trip_id=event.trip_id)


by_letter = Wiring("by letter")


@by_letter.on(Booked, service=bank)
async def ask_for_passport(event: Booked) -> Waits:
    """Takes a while to ask for what may be there by then."""
    await asyncio.sleep(2)
    return waits_for(PassportShown, within="1d", who="the traveller")


@by_letter.on(PassportShown, service=bank)
async def see_off(event: PassportShown) -> Departed:
    if world.deadly:
        raise RuntimeError("nobody is there yet")
    return Departed(trip_id=event.trip_id)


@workflow
async def ride_along(ride: Ride) -> str:
    await asyncio.sleep(60)
    return ride.ride_id


@workflow(starts_on=Booked)
async def tour(trip: Booked) -> str:
    return await child(ride_along, Ride(ride_id=trip.trip_id))


@workflow
async def ride_and_tidy_up(ride: Ride) -> None:
    try:
        await asyncio.sleep(600)
    finally:
        await walk()


async def leave_behind(ridden: Workflow[Ride, Any], trip: Booked) -> str:
    """End without waiting for the end of what was started."""
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await child(ridden, Ride(ride_id=trip.trip_id), on_close="cancel")
    return "gone"


@workflow(starts_on=Booked)
async def hurry(trip: Booked) -> str:
    return await leave_behind(ride_and_tidy_up, trip)


@workflow
async def ride_into_a_ditch(ride: Ride) -> str:
    if world.deadly:
        raise RuntimeError("a bug in the workflow")
    await asyncio.sleep(60)
    return "out of it"


@workflow(starts_on=Booked)
async def lead(trip: Booked) -> str:
    return await leave_behind(ride_into_a_ditch, trip)


@workflow(starts_on=Booked)
async def follow(trip: Booked) -> str:
    """Has a bug that only the end of its child shows."""
    try:
        await child(ride_along, Ride(ride_id=trip.trip_id))
    except CallFailed:
        if world.deadly:
            raise RuntimeError("a bug in the workflow") from None
        return "alone"
    return "together"


@workflow(starts_on=Booked)
async def rest(trip: Booked) -> str:
    await asyncio.sleep(60)
    return "rested"


@workflow(starts_on=Booked)
async def impatient(trip: Booked) -> str:
    """Ends while what it has called is still being handled."""
    try:
        await call(Pay(trip_id=trip.trip_id), timeout="1s")
    except CallFailed:
        return "gone"
    return "paid"


@workflow(starts_on=Booked)
async def undecided(trip: Booked) -> str:
    """Gives a step up in the very turn in which it asks for it."""
    async with asyncio.TaskGroup() as group:
        hiking = group.create_task(walk())
        await asyncio.sleep(0)
        hiking.cancel()
    return "stayed"


def returned(stage: Stage, run: str) -> bytes:
    return bytes(stage.life.store.trail.list_history(run)[-1].body.value)  # type: ignore[attr-defined]


async def die_six_times(stage: Stage) -> None:
    world.stage, world.deadly = stage, True
    await stage.client.emit(Booked(trip_id="t"))
    await asyncio.sleep(1)
    for _ in range(6):
        assert stage.life.ended
        await stage.start()
        await asyncio.sleep(1)


def test_a_call_that_kills_its_process_again_and_again_fails_its_caller_at_a_start() -> None:
    async def scene(stage: Stage) -> None:
        await die_six_times(stage)
        await stage.settle()

        assert world.asked == 6
        assert b"stayed: the process ended 5 times" in returned(stage, "travel/trip:t/1")

    play(App("trips", services=[bank], workflows=[travel]), scene)


def test_a_step_that_kills_its_process_again_and_again_fails_at_a_start() -> None:
    async def scene(stage: Stage) -> None:
        await die_six_times(stage)
        await stage.settle()

        assert world.asked == 6
        assert b"stayed: the process ended 5 times" in returned(stage, "hike/trip:t/1")

    play(App("trips", services=[bank], workflows=[hike]), scene)


def test_what_began_before_a_crash_is_undone_though_a_clean_stop_came_between() -> None:
    async def scene(stage: Stage) -> None:
        world.stage, world.deadly = stage, True
        await stage.client.emit(Booked(trip_id="t"))
        await asyncio.sleep(1)
        assert stage.life.ended
        world.deadly, world.slow_s = False, 10.0

        stage.setting.wire.drop = 1.0  # nothing arrives, so nothing is claimed in this life
        await stage.start()
        await asyncio.sleep(0.5)
        await stage.stop()
        stage.clock.set_forward(3_601 * 1_000_000)
        await stage.start()
        await asyncio.sleep(0.5)
        stage.setting.wire.drop = 0.0
        await stage.settle(30.0)

        assert not [fact for fact in stage.facts() if isinstance(fact.body, Withdrawn)]
        assert world.paid_back == 1

    play(App("trips", services=[bank], workflows=[travel]), scene)


def test_a_stop_with_something_in_flight_is_not_called_clean() -> None:
    async def scene(stage: Stage) -> None:
        world.stage, world.slow_s = stage, 600.0
        await stage.client.emit(Booked(trip_id="t"))
        await asyncio.sleep(1)
        await stage.stop()
        world.slow_s = 0.0
        await stage.start()

        assert not stage.life.store.clean
        assert not [fact for fact in stage.facts() if isinstance(fact.body, Closed)]

    play(App("trips", services=[bank], workflows=[travel]), scene)


def test_a_child_is_rebuilt_from_an_input_that_nobody_else_declares() -> None:
    async def scene(stage: Stage) -> None:
        await stage.client.emit(Booked(trip_id="t"))
        await asyncio.sleep(1)
        assert stage.life.evict() == 2
        await stage.settle(61.0)

        assert returned(stage, "tour/trip:t/1") == b'"t"'

    play(App("trips", services=[bank], workflows=[tour, ride_along]), scene)


def test_a_run_that_ended_before_its_call_was_handled_is_at_rest() -> None:
    async def scene(stage: Stage) -> None:
        world.stage, world.slow_s = stage, 5.0
        await stage.client.emit(Booked(trip_id="t"))
        await asyncio.sleep(2)
        assert stage.kinds("impatient/trip:t/1")[-1] == "returned"
        await stage.settle(10.0)

        handled = [fact for fact in stage.facts() if isinstance(fact.body, Handled) and fact.body.type == "Pay"]
        assert len(handled) == 1

    play(App("trips", services=[bank], workflows=[impatient]), scene)


def test_a_step_that_was_given_up_in_the_turn_that_asked_for_it_is_never_made() -> None:
    async def scene(stage: Stage) -> None:
        world.stage = stage
        await stage.client.emit(Booked(trip_id="t"))
        await stage.settle()

        assert returned(stage, "undecided/trip:t/1") == b'"stayed"'
        assert world.asked == 0

    play(App("trips", services=[bank], workflows=[undecided]), scene)


def test_what_the_transport_loses_holds_its_place_in_its_keys_order() -> None:
    async def scene(stage: Stage) -> None:
        world.stage = stage
        stage.setting.wire.drop = 1.0
        await stage.client.send(Pay(trip_id="t"), key="first")
        stage.setting.wire.drop = 0.0
        await stage.client.send(PayBack(trip_id="t"), key="second")
        await stage.settle()

        handled = [fact.body.message for fact in stage.facts() if isinstance(fact.body, Handled)]
        sent = [fact.body.id for fact in stage.facts() if isinstance(fact.body, Published)]
        assert handled == sent

    play(App("trips", services=[bank], workflows=[travel]), scene)


def test_what_the_transport_doubles_is_handled_once() -> None:
    async def scene(stage: Stage) -> None:
        world.stage = stage
        stage.setting.wire.double = 1.0
        await stage.client.send(Pay(trip_id="t"))
        await stage.settle(10.0)

        assert world.asked == 1

    play(App("trips", services=[bank], workflows=[travel]), scene)


def test_a_request_that_meets_a_death_is_unknown() -> None:
    async def scene(stage: Stage) -> None:
        stage.setting.commits.crash_after = 1.0
        reply = await stage.client.ask(Request(op="pause", key="k", group="bank"))
        stage.setting.commits.crash_after = 0.0
        await stage.start()

        assert reply.status == "unknown"
        assert [group.state for group in stage.life.store.work.list_groups()] == ["paused"]

    play(App("trips", services=[bank], workflows=[travel]), scene)


def test_what_came_while_a_handler_made_up_its_mind_to_wait_for_it_is_not_waited_for() -> None:
    async def scene(stage: Stage) -> None:
        await stage.client.emit(Booked(trip_id="t"))
        await stage.client.emit(PassportShown(trip_id="t"))
        await stage.settle(10.0)

        where = stage.find_where("trip:t")
        assert where is not None
        assert (where.verdict, where.waiting_for) == ("done", ())

    play(App("trips", services=[bank], wiring=[by_letter]), scene)


def test_a_request_that_is_made_again_does_not_take_the_timer_of_a_run_that_was_let_go() -> None:
    async def scene(stage: Stage) -> None:
        await stage.client.emit(Booked(trip_id="t"), key="k")
        await asyncio.sleep(1)
        assert stage.life.evict() == 1
        await stage.client.emit(Booked(trip_id="t"), key="k")
        await stage.settle(61.0)

        assert returned(stage, "rest/trip:t/1") == b'"rested"'

    play(App("trips", services=[bank], workflows=[rest]), scene)


def test_a_child_whose_workflow_is_not_in_the_app_waits_for_one_that_has_it() -> None:
    async def scene(stage: Stage) -> None:
        await stage.client.emit(Booked(trip_id="t"))
        await stage.settle(61.0)
        await stage.stop()
        stage.setting.app = App("trips", services=[bank], workflows=[tour, ride_along])
        await stage.start()
        await stage.settle(61.0)

        assert returned(stage, "tour/trip:t/1") == b'"t"'

    play(App("trips", services=[bank], workflows=[tour]), scene)


def test_what_is_published_in_one_batch_is_handled_in_its_order_whoever_publishes_it() -> None:
    async def scene(stage: Stage) -> None:
        world.stage = stage
        await stage.client.emit(PassportShown(trip_id="t"))
        await asyncio.sleep(1.9)  # its handler is about to end
        stage.life.stall(5.0)
        asking = asyncio.create_task(stage.client.send(Pay(trip_id="t"), key="k"))  # noqa: TID251 - a client's own
        await stage.settle(20.0)
        await asking

        handled = [fact.body.message for fact in stage.facts() if isinstance(fact.body, Handled)]
        sent = [fact.body.id for fact in stage.facts() if isinstance(fact.body, Published)]
        assert len(sent) == 3
        assert handled == sent

    play(App("trips", services=[bank, shop], wiring=[by_card]), scene)


def test_what_died_before_its_group_waited_for_it_ends_the_wait_when_it_is_redriven() -> None:
    async def scene(stage: Stage) -> None:
        world.deadly = True
        await stage.client.emit(PassportShown(trip_id="t"))
        await stage.settle(300.0)
        await stage.client.emit(Booked(trip_id="t"))
        await stage.settle(10.0)
        world.deadly = False
        await stage.client.ask(Request(op="redrive", key="r", case="trip:t"))
        await stage.settle(10.0)

        where = stage.find_where("trip:t")
        assert where is not None
        assert (where.verdict, where.waiting_for) == ("done", ())

    play(App("trips", services=[bank], wiring=[by_letter]), scene)


def test_a_child_whose_workflow_is_not_in_the_app_meets_its_cancellation_when_it_is() -> None:
    async def scene(stage: Stage) -> None:
        await stage.client.emit(Booked(trip_id="t"))
        await stage.settle(1.0)
        await stage.client.ask(Request(op="cancel", key="c", case="trip:t"))
        await asyncio.sleep(1)
        await stage.stop()
        stage.setting.app = App("trips", services=[bank], workflows=[tour, ride_along])
        await stage.start()
        await stage.settle(5.0)

        assert [stage.kinds(run)[-1] for run in ("ride_along/ride:t/1", "tour/trip:t/1")] == ["returned", "returned"]
        assert returned(stage, "tour/trip:t/1") == b""

    play(App("trips", services=[bank], workflows=[tour]), scene)


def test_a_child_is_cancelled_once_though_its_parent_ends_in_the_turn_that_gives_it_up() -> None:
    async def scene(stage: Stage) -> None:
        world.stage, world.slow_s = stage, 1.0
        await stage.client.emit(Booked(trip_id="t"))
        await stage.settle(20.0)

        history = stage.kinds("ride_and_tidy_up/ride:t/1")
        assert (history.count("cancel asked"), history.count("stepped")) == (1, 1), "it could tidy up"

    play(App("trips", workflows=[hurry, ride_and_tidy_up]), scene)


def test_a_child_is_cancelled_though_the_engine_dies_right_after_its_parents_end() -> None:
    async def scene(stage: Stage) -> None:
        world.stage = stage
        await stage.stop()
        stage.setting.disk_s = 0.2  # between a commit and its answer
        await stage.start()
        await stage.client.emit(Booked(trip_id="t"))
        while "returned" not in stage.kinds("hurry/trip:t/1"):
            await asyncio.sleep(0.001)
        stage.kill()
        await stage.start()
        await stage.settle(20.0)

        history = stage.kinds("ride_and_tidy_up/ride:t/1")
        assert (history.count("cancel asked"), history[-2:]) == (1, ["stepped", "returned"])

    play(App("trips", workflows=[hurry, ride_and_tidy_up]), scene)


def test_what_a_thread_answers_while_its_saga_unwinds_is_late() -> None:
    async def scene(stage: Stage) -> None:
        world.stage, stage.setting.thread_s = stage, 1.0
        await stage.client.emit(Booked(trip_id="t"))
        await stage.settle(10.0)

        handled = [fact.body for fact in stage.facts() if isinstance(fact.body, Handled)]
        assert [(body.type, body.late) for body in handled] == [("Sign", True), ("TearUp", False)]

    play(App("trips", services=[bank], workflows=[sign_up]), scene)


def test_a_child_that_was_stopped_when_its_parent_ended_is_cancelled_when_it_is_retried() -> None:
    async def scene(stage: Stage) -> None:
        world.deadly = True
        await stage.client.emit(Booked(trip_id="t"))
        await stage.settle(10.0)
        world.deadly = False
        await stage.client.ask(Request(op="retry", key="r", case="ride:t"))
        await stage.settle(5.0)

        history = stage.kinds("ride_into_a_ditch/ride:t/1")
        assert history == ["started", "incident", "retried", "cancel asked", "returned"]

    play(App("trips", workflows=[lead, ride_into_a_ditch]), scene)


def test_a_run_that_is_retried_after_the_end_of_its_child_does_not_wait_for_that_child_again() -> None:
    async def scene(stage: Stage) -> None:
        world.deadly = True
        await stage.client.emit(Booked(trip_id="t"))
        await stage.settle(1.0)
        await stage.client.ask(Request(op="cancel", key="c", case="ride:t"))
        await stage.settle(5.0)
        world.deadly = False
        await stage.client.ask(Request(op="retry", key="r", case="trip:t"))
        await stage.settle(5.0)

        assert returned(stage, "follow/trip:t/1") == b'"alone"'

    play(App("trips", workflows=[follow, ride_along]), scene)
