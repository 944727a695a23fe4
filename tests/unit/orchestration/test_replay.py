"""Replay: changed code against a history, retries, and what is voided."""

import asyncio

import pytest

from partita.errors import CallFailed, NonDeterminism
from partita.orchestration.acts import call, child, patched, publish, receive
from partita.orchestration.asks import AskCall, AskPatched, AskStep
from partita.orchestration.run import Ended, Raised
from partita.orchestration.step import step
from partita.orchestration.workflow import workflow
from partita.store.facts import Claimed, Incident, Retrying
from tests.unit.orchestration.driver import Driver
from tests.unit.orchestration.words import Charge, Charged, Confirmed, OrderPlaced, Reserve, Reserved, Shipped


@step
def note(name: str) -> str:
    return name


@workflow(starts_on=OrderPlaced, name="flow")
async def original(order: OrderPlaced) -> str:
    await call(Reserve())
    await note("a")
    await call(Charge())
    await receive(Shipped)
    return "original"


def to_the_wait() -> Driver:
    run = Driver(original)
    run.answer("Reserve#1", Reserved())
    run.stepped("note#1", "a")
    run.answer("Charge#1", Charged())
    return run


async def test_a_removed_step_is_told_with_the_remedy() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await note("a")
        await call(Charge())
        await receive(Shipped)

    with pytest.raises(NonDeterminism) as caught:
        to_the_wait().rebuild(changed)

    assert str(caught.value) == (
        "run flow/order:1/1: step 'Reserve#1' was recorded as call Reserve, the code asked for nothing there\n"
        'Guard the change with patched("..."), or finish open runs on the old version.'
    )


async def test_a_renamed_step_is_told_with_what_is_asked_instead() -> None:
    @step(name="remark")
    def renamed(name: str) -> str:
        return name

    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await call(Reserve())
        await renamed("a")
        await call(Charge())
        await receive(Shipped)

    with pytest.raises(NonDeterminism) as caught:
        to_the_wait().rebuild(changed)

    assert (caught.value.step, caught.value.recorded, caught.value.asked) == ("note#1", "local step", "step 'remark#1'")


async def test_a_step_inserted_before_recorded_ones_is_told() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await call(Reserve())
        await call(Reserve(sku="new"))
        await note("a")
        await call(Charge())
        await receive(Shipped)

    with pytest.raises(NonDeterminism) as caught:
        to_the_wait().rebuild(changed)

    assert (caught.value.step, caught.value.asked) == ("note#1", "step 'Reserve#2'")


async def test_a_step_that_became_another_kind_is_told() -> None:
    @step(name="Charge")
    def charge(name: str) -> str:
        return name

    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await call(Reserve())
        await note("a")
        await charge("a")
        await receive(Shipped)

    with pytest.raises(NonDeterminism) as caught:
        to_the_wait().rebuild(changed)

    assert (caught.value.recorded, caught.value.asked) == ("call Charge", "local step")


async def test_code_that_returns_before_its_record_ends_is_told() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> str:
        await call(Reserve())
        return "early"

    with pytest.raises(NonDeterminism) as caught:
        to_the_wait().rebuild(changed)

    assert caught.value.asked == "nothing more"


async def test_a_step_added_beyond_the_record_is_asked_for() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await call(Reserve())
        await note("a")
        await call(Charge())
        await note("new")
        await receive(Shipped)

    rebuilt = to_the_wait().rebuild(changed)

    (ask,) = rebuilt.take()
    assert isinstance(ask, AskStep)
    assert ask.step == "note#2"


async def test_independent_steps_may_change_their_order() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> str:
        await note("a")
        await call(Charge())
        await call(Reserve())
        await receive(Shipped)
        return "changed"

    run = to_the_wait()
    rebuilt = run.rebuild(changed)

    assert rebuilt.take() == []
    assert rebuilt.open().waits == run.live.open().waits
    run.definition = changed
    run.evict()
    run.receive(Shipped())
    assert run.value == "changed"


async def test_under_patched_a_step_is_inserted_for_new_runs_only() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> str:
        await call(Reserve())
        if patched("note first"):
            await note("first")
        await note("a")
        await call(Charge())
        await receive(Shipped)
        return "old way" if not patched("note first") else "new way"

    old = to_the_wait()
    old.definition = changed
    old.evict()
    old.receive(Shipped())
    assert old.value == "old way"

    new = Driver(changed)
    new.answer("Reserve#1", Reserved())
    new.make_steps()
    new.answer("Charge#1", Charged())
    new.receive(Shipped())
    assert new.value == "new way"
    assert new.kinds.count("patched") == 1


async def test_a_turn_that_was_never_taken_goes_the_new_way() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def changed(order: OrderPlaced) -> None:
        await call(Reserve())
        if patched("other"):
            await note("new")
        await note("a")
        await call(Charge())
        await receive(Shipped)

    run = Driver(original)
    run.record(run.handled("Reserve#1", Reserved()))  # durable, and the process died before the turn
    rebuilt = run.rebuild(changed)

    assert [type(ask) for ask in rebuilt.take()] == [AskPatched, AskStep]


async def test_a_marker_without_its_question_does_no_harm() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def guarded(order: OrderPlaced) -> None:
        if patched("old change"):
            await note("a")
        await receive(Shipped)

    @workflow(starts_on=OrderPlaced, name="flow")
    async def cleaned(order: OrderPlaced) -> None:
        await note("a")
        await receive(Shipped)

    run = Driver(guarded)
    run.make_steps()

    assert run.rebuild(cleaned).take() == []


async def test_a_changed_child_or_event_is_told_as_well() -> None:
    @workflow
    async def inner(order: OrderPlaced) -> None:
        pass

    @workflow(starts_on=OrderPlaced, name="flow")
    async def before(order: OrderPlaced) -> None:
        await publish(Confirmed())
        await child(inner, order)

    @workflow(starts_on=OrderPlaced, name="flow")
    async def after(order: OrderPlaced) -> None:
        await child(inner, order)

    with pytest.raises(NonDeterminism, match="recorded as event Confirmed"):
        Driver(before).rebuild(after)


async def test_records_of_attempts_are_no_business_of_the_code() -> None:
    run = Driver(original)
    run.answer("Reserve#1", Reserved())
    run.record(Retrying(step="note#1", attempt=1))
    run.record(Claimed(step="note#1"))
    run.evict()
    run.stepped("note#1", "a")

    assert [ask.step for ask in run.asked if isinstance(ask, AskCall)] == ["Reserve#1", "Charge#1"]


# Stopped and retried.


@workflow(starts_on=OrderPlaced, name="flow")
async def strict(order: OrderPlaced) -> str:
    answer = await call(Reserve(), expect=Reserved)
    await receive(Shipped)
    return answer.bin


async def test_a_failure_that_is_voided_never_happened() -> None:
    run = Driver(strict)
    run.fail("Reserve#1")
    assert isinstance(run.error, CallFailed)
    assert run.live.last_completion is not None
    assert (run.live.last_completion.step, run.live.last_completion.failed) == ("Reserve#1", True)

    failed = run.rebuild().last_completion
    assert failed is not None
    assert failed.run_n is not None
    run.retry(voids=(failed.run_n,))
    assert run.live.outcome is None
    run.answer("Reserve#1", Reserved(bin="b"))
    run.receive(Shipped())

    assert run.value == "b"


async def test_a_voided_step_is_asked_for_again() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        return await note("a")

    run = Driver(flow)
    run.step_failed("note#1")
    run.retry(voids=(3,))
    run.make_steps()

    assert run.value == "a"
    assert run.steps == ["note#1", "note#1"]


async def test_mended_code_goes_on_from_the_same_fact() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def broken(order: OrderPlaced) -> str:
        await call(Reserve())
        raise ValueError("bug")

    run = Driver(broken)
    run.answer("Reserve#1", Reserved(bin="b"))
    assert isinstance(run.error, ValueError)
    run.retry(strict)
    run.receive(Shipped())

    assert run.value == "b"


async def test_what_came_while_the_run_was_stopped_is_held_back_until_it_is_retried() -> None:
    @workflow(starts_on=OrderPlaced, name="flow", receives=(Shipped,))
    async def broken(order: OrderPlaced) -> str:
        await call(Reserve())
        raise ValueError("bug")

    run = Driver(broken)
    run.answer("Reserve#1", Reserved(bin="b"))
    run.record(run.received(Shipped()))
    held = run.rebuild(strict)
    assert held.outcome is None
    assert len(held.open().waits) == 1
    run.retry(strict)

    assert run.value == "b"


async def test_the_code_may_raise_again() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await call(Reserve())
        raise ValueError("bug")

    run = Driver(flow)
    run.answer("Reserve#1", Reserved())
    run.retry()

    assert isinstance(run.live.outcome, Raised)
    assert run.kinds.count(Incident.kind) == 2


async def test_what_a_turn_asked_for_before_it_raised_is_asked_for_again_later() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def broken(order: OrderPlaced) -> None:
        await publish(Confirmed())
        raise ValueError("bug")

    @workflow(starts_on=OrderPlaced, name="flow")
    async def mended(order: OrderPlaced) -> None:
        await publish(Confirmed())

    run = Driver(broken)
    assert "published" not in run.kinds
    run.retry(mended)

    assert run.kinds == ["started", "incident", "retried", "published", "returned"]


# Going on as new.


async def test_a_run_continues_as_new() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        try:
            await call(Reserve())
            flow.again(OrderPlaced(total=order.total + 1))
        except Exception:  # noqa: BLE001 - it is no error
            await receive(Shipped)

    run = Driver(flow, OrderPlaced(total=1))
    run.answer("Reserve#1", Reserved())

    assert run.live.outcome == Ended("again", OrderPlaced(total=2))


async def test_a_run_can_be_given_its_input_as_it_is_recorded() -> None:
    run = to_the_wait()
    started = run.history[0]

    assert started.body.kind == "started"
    assert run.live.correlation == "c"
    assert not run.live.has_children
    await asyncio.sleep(0)
