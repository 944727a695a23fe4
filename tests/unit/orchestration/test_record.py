"""What is read from a history, what a ledger refuses, and what a run says of itself: exactly, fact by fact."""

import asyncio
import contextlib
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from partita.errors import LimitExceeded, NonDeterminism
from partita.limits import Limits
from partita.messages.codec import encode
from partita.orchestration import ledger as ledger_room
from partita.orchestration.acts import call, child, patched, publish, receive
from partita.orchestration.asks import AskCall, AskChild, AskPublish
from partita.orchestration.loop import make_loop
from partita.orchestration.replay import Record, Recorded, meets, read_record
from partita.orchestration.run import Completion, Ended, LiveRun, Raised
from partita.orchestration.step import step
from partita.orchestration.workflow import workflow
from partita.store.body import Open
from partita.store.facts import (
    Barred,
    Body,
    CancelAsked,
    ChildEnded,
    ChildStarted,
    Claimed,
    Discarded,
    Fact,
    Fired,
    Handled,
    Incident,
    OpenStep,
    Patched,
    Published,
    Received,
    Retried,
    Retrying,
    Returned,
    Started,
    Stepped,
    Waiting,
    Withdrawn,
)
from tests.unit.orchestration.driver import START, Driver
from tests.unit.orchestration.words import CATALOG, Charge, Charged, Confirmed, OrderPlaced, Reserve, Reserved, Shipped


@step
def note(name: str) -> str:
    return name


@workflow
async def packing(order: OrderPlaced) -> None:
    await receive(Shipped)


def history(*bodies: Body, first: int | None = 1) -> list[Fact]:
    return [
        Fact(
            seq=n,
            source="s",
            n=n,
            kind=body.kind,
            at=n,
            run="r",
            run_n=None if first is None else n + first - 1,
            body=body,
        )
        for n, body in enumerate(bodies, start=1)
    ]


STARTED = Started(workflow="flow", message="m0")
CALLED = Published(id="m1", type="Reserve", command=True, step="Reserve#1")
ANSWERED = Handled(message="m1", group="g", type="Reserve", step="Reserve#1")
STOPPED = Incident(error="KeyError", text="")


def met(record: Record) -> list[int]:
    return [fact.n for fact in record.applied]


# What a run meets.


@pytest.mark.parametrize(
    "body",
    [
        STARTED,
        Stepped(step="note#1"),
        Received(message="m", type="t", group="g"),
        Fired(due=1),
        ChildEnded(step="c#1", child="c"),
        CancelAsked(),
        ANSWERED,
        Discarded(message="m", group="g", step="Reserve#1"),
        Withdrawn(message="m", group="g", type="t", step="Reserve#1"),
    ],
    ids=lambda body: body.kind,
)
def test_what_happens_to_a_run_is_met_by_it(body: Body) -> None:
    assert meets(body)


@pytest.mark.parametrize(
    "body",
    [
        CALLED,
        ChildStarted(step="c#1", child="c", workflow="w"),
        Patched(change="x"),
        Waiting(open=Open()),
        Barred(message="m", group="g", type="t", step="Reserve#1"),
        Returned(),
        STOPPED,
        Retrying(step="note#1"),
        Claimed(step="note#1"),
        Handled(message="m", group="g", type="t"),
        Discarded(message="m", group="g"),
        Withdrawn(message="m", group="g", type="t"),
    ],
    ids=lambda body: body.kind,
)
def test_what_a_run_did_and_what_concerns_others_is_not(body: Body) -> None:
    assert not meets(body)


# Reading a history.


@pytest.mark.parametrize(
    ("body", "steps"),
    [
        (CALLED, {"Reserve#1": Recorded("call", "Reserve")}),
        (Published(id="m", type="Confirmed", step="Confirmed#1"), {"Confirmed#1": Recorded("event", "Confirmed")}),
        (Published(id="m", type="Confirmed"), {}),
        (ChildStarted(step="c#1", child="c", workflow="packing"), {"c#1": Recorded("child", "packing")}),
        (Stepped(step="note#1"), {"note#1": Recorded("local step")}),
        (Withdrawn(message="m", group="g", type="t", step="Reserve#1"), {"Reserve#1/undo": Recorded("call")}),
        (Withdrawn(message="m", group="g", type="t"), {}),
        (ANSWERED, {}),
        (Waiting(open=Open()), {}),
    ],
)
def test_each_step_is_recorded_as_what_it_did(body: Body, steps: dict[str, Recorded]) -> None:
    assert read_record(history(body)).steps == steps


def test_children_that_ended_and_changes_that_were_met_are_recorded() -> None:
    record = read_record(history(ChildEnded(step="c#1", child="c"), Patched(change="x")))

    assert (record.ended, record.patches) == ({"c#1"}, {"x": True})


@pytest.mark.parametrize(
    ("bodies", "end"),
    [
        ((STARTED,), 0),
        ((STARTED, CALLED), 1),
        ((STARTED, CALLED, ANSWERED), 1),
        ((STARTED, CALLED, ANSWERED, Returned()), 3),
        ((STARTED, Waiting(open=Open())), 1),
        ((STARTED, Stepped(step="note#1", open=Open())), 2),
        ((STARTED, Stepped(step="note#1", open=Open()), CALLED), 2),
        ((STARTED, Stepped(step="note#1", open=Open()), ANSWERED), 2),
        ((STARTED, Stepped(step="note#1")), 0),
    ],
)
def test_a_turn_is_over_that_something_followed_from_or_that_said_what_it_waits_for(
    bodies: tuple[Body, ...], end: int
) -> None:
    assert read_record(history(*bodies)).end == end


def test_a_history_without_numbers_has_no_turn_that_is_over() -> None:
    record = read_record(history(STARTED, Stepped(step="note#1", open=Open()), first=None))

    assert (record.end, met(record)) == (0, [1, 2])


def test_what_a_retry_voids_was_never_recorded() -> None:
    failed = Stepped(step="note#1", error="OSError")

    record = read_record(history(STARTED, failed, STOPPED, Retried(voids=(2,)), ANSWERED))

    assert (met(record), record.steps) == ([1, 5], {})


@pytest.mark.parametrize(
    ("rest", "applied"),
    [
        ((), [1]),
        ((ANSWERED, Fired(due=1)), [1]),
        ((ANSWERED, STOPPED, Fired(due=1)), [1]),
        ((ANSWERED, Retried()), [1, 3]),
        ((ANSWERED, Retried(), Fired(due=1)), [1, 3, 5]),
        ((ANSWERED, Retried(), Fired(due=1), STOPPED, Fired(due=2)), [1, 3, 5]),
    ],
)
def test_what_came_while_a_run_was_stopped_is_held_back_until_it_is_retried(
    rest: tuple[Body, ...], applied: list[int]
) -> None:
    assert met(read_record(history(STARTED, STOPPED, *rest))) == applied


# Whether the code still asks for the same.


@pytest.mark.parametrize(
    ("recorded", "fits"),
    [
        (Recorded("call", "Reserve"), True),
        (Recorded("call"), True),
        (Recorded("call", "Charge"), False),
        (Recorded("event", "Reserve"), False),
        (Recorded("event"), False),
    ],
)
def test_an_ask_fits_what_was_recorded_of_its_step(recorded: Recorded, fits: bool) -> None:
    assert recorded.fits(AskCall("Reserve#1", Reserve())) is fits


def test_what_is_asked_for_is_told_in_words() -> None:
    said = [Recorded.of(ask).said for ask in (AskPublish("e", Confirmed()), AskChild("c", packing, OrderPlaced()))]

    assert said == ["event Confirmed", "child packing"]
    assert Recorded("local step").said == "local step"


async def test_a_child_of_another_workflow_is_told() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def original(order: OrderPlaced) -> None:
        await child(packing, order)

    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await child(wrapping, order)

    @workflow
    async def wrapping(order: OrderPlaced) -> None:
        await receive(Shipped)

    run = Driver(original)
    (asked,) = run.steps
    with pytest.raises(NonDeterminism) as caught:
        run.rebuild(changed)

    assert caught.value.recorded == "child packing"
    assert asked.startswith("packing")


async def test_a_mismatch_names_run_step_record_and_what_is_asked() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def original(order: OrderPlaced) -> None:
        await note("a")

    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await publish(Confirmed())

    run = Driver(original)
    run.make_steps()
    run.history[-2] = replace(run.history[-2], body=Stepped(step="Confirmed#1"))
    with pytest.raises(NonDeterminism) as caught:
        run.rebuild(changed)

    error = caught.value
    assert (error.run, error.step, error.recorded, error.asked) == (
        "flow/order:1/1",
        "Confirmed#1",
        "local step",
        "event Confirmed",
    )


async def test_a_step_that_is_gone_is_told_with_the_new_one_of_its_kind() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def original(order: OrderPlaced) -> None:
        await call(Reserve())

    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await publish(Confirmed())
        await call(Charge())

    with pytest.raises(NonDeterminism) as caught:
        Driver(original).rebuild(changed)

    assert (caught.value.step, caught.value.asked) == ("Reserve#1", "step 'Charge#1'")


# A new way.


async def test_a_turn_that_is_over_goes_the_old_way_and_the_one_after_it_the_new() -> None:
    ways: list[bool] = []

    @workflow(starts_on=OrderPlaced, name="flow", receives=(Shipped,))
    async def original(order: OrderPlaced) -> None:
        await receive(Shipped)
        await receive(Shipped)

    @workflow(starts_on=OrderPlaced, name="flow", receives=(Shipped,))
    async def changed(order: OrderPlaced) -> None:
        ways.append(patched("before"))
        await receive(Shipped)
        ways.append(patched("after"))
        await receive(Shipped)

    run = Driver(original)
    run.definition = changed
    run.live.close()
    run.live = run.rebuild()
    assert ways == [False]
    run.receive(Shipped())

    assert ways[:2] == [False, True]


async def test_the_last_turn_goes_the_old_way_where_it_said_what_it_waits_for() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> bool:
        return patched("x")

    replayed = LiveRun(changed, run="r", case="order:1", decode=CATALOG.decode)
    replayed.replay(history(Started(workflow="flow", message="m0", open=Open())), {"m0": OrderPlaced()})
    fresh = LiveRun(changed, run="r", case="order:1", decode=CATALOG.decode)
    fresh.replay(history(Started(workflow="flow", message="m0")), {"m0": OrderPlaced()})

    assert (replayed.outcome, fresh.outcome) == (Ended("returned", value=False), Ended("returned", value=True))


async def test_after_a_replay_changes_go_the_new_way() -> None:
    @workflow(starts_on=OrderPlaced, name="flow", receives=(Shipped,))
    async def flow(order: OrderPlaced) -> bool:
        await receive(Shipped)
        return patched("x")

    run = Driver(flow)
    run.evict()
    run.receive(Shipped())

    assert run.value is True


# Limits.


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_room, "LIMITS", Limits(run_acts_open_max=3))


def ends(many: int, act: Any) -> Any:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def flow(order: OrderPlaced) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(many):
                group.create_task(act())

    return Driver(flow).live.outcome


@pytest.mark.usefixtures("three")
async def test_as_many_acts_as_the_limit_are_made_in_one_turn_and_no_more() -> None:
    async def announce() -> None:
        await publish(Confirmed())

    assert ends(3, announce) == Ended("returned")
    stopped = ends(4, announce)
    assert isinstance(stopped, Raised)
    assert isinstance(stopped.error, ExceptionGroup)
    (error,) = stopped.error.exceptions
    assert isinstance(error, LimitExceeded)
    assert str(error) == (
        "run flow/order:1/1: acts in one turn is 4; the limit is 3\nMake it smaller, or raise limits.run_acts_open_max."
    )
    assert (error.actual, error.limit, error.setting) == (4, 3, "limits.run_acts_open_max")


@pytest.mark.usefixtures("three")
async def test_as_many_steps_as_the_limit_are_open_at_once_and_no_more() -> None:
    @workflow(starts_on=OrderPlaced, name="flow", receives=(Shipped,))
    async def flow(order: OrderPlaced) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(noting())
            await receive(Shipped)
            await note("b")

    async def noting() -> None:
        await note("a")

    run = Driver(flow)
    assert run.live.outcome is None
    run.receive(Shipped())

    assert isinstance(run.error, ExceptionGroup)
    (error,) = run.error.exceptions
    assert str(error).startswith("run flow/order:1/1: steps open at once is 4; the limit is 3\n")


# What a run is told and says.


async def test_a_run_knows_its_case_its_epoch_and_its_correlation() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def flow(order: OrderPlaced) -> None:
        await receive(Shipped)

    run = LiveRun(flow, run="r", case="order:7", epoch=3, decode=CATALOG.decode)
    assert (run.correlation, run.last_step, run.outcome, run.has_children) == ("", None, None, False)
    assert (run._ledger.case, run._ledger.epoch, run._loop._seed) == ("order:7", 3, make_loop("r", 3)._seed)
    assert LiveRun(flow, run="r", case="c:1", decode=CATALOG.decode)._loop._seed == make_loop("r", 0)._seed
    run.apply(START, Started(workflow="flow", message="m0", correlation="c"), OrderPlaced())
    assert run.correlation == "c"


async def test_a_direct_start_finds_its_input_by_the_run_s_id() -> None:
    @workflow
    async def flow(order: OrderPlaced) -> int:
        return order.total

    run = LiveRun(flow, run="r", case="order:1", decode=CATALOG.decode)
    run.replay(history(Started(workflow="flow")), {"r": OrderPlaced(total=5)})

    assert run.outcome == Ended("returned", 5)


async def test_a_direct_start_s_input_can_stand_in_its_fact() -> None:
    @workflow
    async def flow(count: int) -> int:
        return count

    run = LiveRun(flow, run="r", case="order:1", decode=CATALOG.decode)
    run.apply(START, Started(workflow="flow", data=Raw(encode(7))))

    assert run.outcome == Ended("returned", 7)


async def test_a_sleep_is_shown_since_when_and_until_when() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await asyncio.sleep(60)

    run = Driver(flow)

    due = START + 60_000_000
    assert run.live.open() == Open(sleeps=(OpenStep(step="sleep#1", name="sleep", since=START, due=due),), wakes=due)


async def test_a_run_that_has_ended_or_waits_for_calls_only_shows_nothing_open() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await call(Charge())

    run = Driver(flow)
    assert run.live.open() == Open()
    run.answer("Charge#1", Charged())
    assert run.live.open() == Open()


async def test_a_step_that_came_is_not_shown_as_open_any_more() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await asyncio.gather(note("a"), note("b"))

    run = Driver(flow)
    assert [opened.step for opened in run.live.open().steps] == ["note#1", "note#2"]
    run.stepped("note#2", "b")

    assert [opened.step for opened in run.live.open().steps] == ["note#1"]


async def test_an_answer_that_comes_before_its_step_is_asked_for_waits_for_it() -> None:
    @workflow(starts_on=OrderPlaced, receives=(Shipped,))
    async def flow(order: OrderPlaced) -> Any:
        await receive(Shipped)
        return await call(Reserve())

    run = LiveRun(flow, run="r", case="order:1", decode=CATALOG.decode)
    run.apply(START, Started(workflow="flow", message="m0"), OrderPlaced())
    early = Handled(
        message="m", group="g", type="t", step="Reserve#1", answer_type="Reserved", answer=Raw(encode(Reserved()))
    )
    run.apply(START, early)
    assert run.last_completion is not None
    assert (run.last_step, run.last_completion.failed) == ("Reserve#1", False)
    run.apply(START, Received(message="m1", type="Shipped", group="g"), Shipped())

    assert run.outcome == Ended("returned", Reserved())


@pytest.mark.parametrize(
    ("body", "step", "failed"),
    [
        (Stepped(step="note#1"), "note#1", False),
        (Stepped(step="note#1", error="OSError"), "note#1", True),
        (ChildEnded(step="c#1", child="c"), "c#1", False),
        (ChildEnded(step="c#1", child="c", error="OSError"), "c#1", True),
        (ANSWERED, "Reserve#1", False),
        (Handled(message="m1", group="g", type="Reserve", step="Reserve#1", outcome="failed"), "Reserve#1", True),
        (Discarded(message="m1", group="g", step="Reserve#1"), "Reserve#1", True),
        (Withdrawn(message="m1", group="g", type="t", step="Reserve#1"), "Reserve#1/undo", False),
    ],
)
async def test_the_last_completion_is_known_live_and_on_replay(body: Body, step: str, failed: bool) -> None:
    @workflow(starts_on=OrderPlaced, name="flow", receives=(Shipped,))
    async def flow(order: OrderPlaced) -> None:
        await receive(Shipped)

    live = LiveRun(flow, run="r", case="order:1", decode=CATALOG.decode)
    live.apply(START, STARTED, OrderPlaced())
    live.apply(START, body)
    assert live.last_completion == Completion(step, failed)

    replayed = LiveRun(flow, run="r", case="order:1", decode=CATALOG.decode)
    with contextlib.suppress(NonDeterminism):  # the code asks for none of these steps
        replayed.replay(history(STARTED, body), {"m0": OrderPlaced()})
    assert replayed.last_completion == Completion(step, failed, 2)


async def test_a_cancellation_before_the_start_cancels_nothing() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def flow(order: OrderPlaced) -> int:
        return 1

    run = LiveRun(flow, run="r", case="order:1", decode=CATALOG.decode)
    run.apply(START, CancelAsked())
    run.apply(START, STARTED, OrderPlaced())

    assert run.outcome == Ended("returned", 1)
    run.apply(START, CancelAsked())
    assert run.outcome == Ended("returned", 1)
