"""Sagas: on which ends they undo, in which way, in which order; and what they leave alone."""

import asyncio
from contextlib import suppress

import pytest

from partita.errors import Abort, CallFailed, DefinitionError, PartitaError, Refused
from partita.orchestration.acts import call, publish, receive
from partita.orchestration.asks import Ask, AskCall, AskUndo
from partita.orchestration.run import Ended
from partita.orchestration.saga import saga
from partita.orchestration.step import step
from partita.orchestration.workflow import workflow
from partita.retry import Retry
from tests.unit.orchestration.driver import Driver
from tests.unit.orchestration.words import (
    Cancelled,
    Charge,
    Charged,
    Confirmed,
    OrderPlaced,
    OutOfStock,
    Refund,
    Release,
    Reserve,
    Reserved,
    Shipped,
)

HOLD = Retry(then="hold")


@step
def note(name: str) -> str:
    return name


@workflow(starts_on=OrderPlaced)
async def shop(order: OrderPlaced) -> str:
    try:
        async with saga():
            await call(Reserve(), expect=Reserved, undo=Release())
            await call(Charge(), expect=Charged, undo=Refund(), timeout="30s")
            await publish(Confirmed())
            if (await receive(Shipped, timeout="5d")).parcel == "bug":
                raise ValueError("bug")
            raise Abort("turned down")
    except (Refused, Abort, CallFailed, TimeoutError) as why:
        await publish(Cancelled(reason=str(why)))
        return type(why).__name__


def reserved_and_charged(*, began: bool = True) -> Driver:
    run = Driver(shop, began=began)
    run.answer("Reserve#1", Reserved())
    run.answer("Charge#1", Charged())
    return run


def undos(run: Driver) -> list[Ask]:
    return [ask for ask in run.asked if getattr(ask, "step", "").endswith("/undo")]


async def test_what_was_answered_is_undone_latest_first_one_after_another() -> None:
    run = reserved_and_charged()
    run.receive(Shipped())
    assert undos(run) == [AskCall("Charge#1/undo", Refund(), HOLD, "Charge#1")]
    run.answer("Charge#1/undo")
    assert undos(run)[1:] == [AskCall("Reserve#1/undo", Release(), HOLD, "Reserve#1")]
    run.answer("Reserve#1/undo")

    assert run.value == "Abort"
    assert run.steps[-1] == "Cancelled#1"


async def test_a_refused_call_is_not_undone() -> None:
    run = Driver(shop)
    run.answer("Reserve#1", OutOfStock())

    assert run.value == "Refused"
    assert undos(run) == []


async def test_a_call_answered_with_nothing_is_refused_as_well() -> None:
    run = Driver(shop)
    run.answer("Reserve#1", Reserved())
    run.answer("Charge#1", None)
    run.answer("Reserve#1/undo")

    assert run.value == "Refused"
    assert [ask.step for ask in undos(run)] == ["Reserve#1/undo"]  # type: ignore[union-attr]


async def test_a_call_that_failed_for_good_is_undone() -> None:
    run = Driver(shop)
    run.fail("Reserve#1")
    run.answer("Reserve#1/undo")

    assert run.value == "CallFailed"
    assert undos(run) == [AskUndo("Reserve#1/undo", "Reserve#1", Reserve(), Release(), HOLD)]


async def test_a_discarded_call_is_undone() -> None:
    run = Driver(shop)
    run.discard("Reserve#1")
    run.answer("Reserve#1/undo")

    assert run.value == "CallFailed"


async def test_a_call_whose_time_is_over_is_undone_behind_it() -> None:
    run = Driver(shop)
    run.answer("Reserve#1", Reserved())
    run.advance(30)
    assert undos(run) == [AskUndo("Charge#1/undo", "Charge#1", Charge(), Refund(), HOLD)]
    run.answer("Charge#1", Charged())  # an attempt was under way: nobody minds any more
    run.answer("Charge#1/undo")
    run.answer("Reserve#1/undo")

    assert run.value == "CallTimeout"


async def test_a_call_of_which_no_attempt_began_is_withdrawn_and_needs_no_undo() -> None:
    run = Driver(shop, began=False)
    run.answer("Reserve#1", Reserved())
    run.advance(30)
    run.answer("Reserve#1/undo")

    assert run.value == "CallTimeout"
    assert "withdrawn" in run.kinds


async def test_a_timeout_around_a_wait_undoes() -> None:
    run = reserved_and_charged()
    run.advance(5 * 86_400)
    run.answer("Charge#1/undo")
    run.answer("Reserve#1/undo")

    assert run.value == "TimeoutError"


async def test_a_cancellation_undoes_and_goes_on() -> None:
    run = Driver(shop)
    run.answer("Reserve#1", Reserved())
    run.cancel()
    run.answer("Charge#1/undo")
    run.answer("Reserve#1/undo")

    assert run.live.outcome == Ended("cancelled")


async def test_undoing_is_not_cancelled_and_the_cancellation_comes_after_it() -> None:
    run = reserved_and_charged()
    run.receive(Shipped())
    run.cancel()
    assert len(undos(run)) == 1
    run.answer("Charge#1/undo")
    run.cancel()
    run.answer("Reserve#1/undo")

    assert run.live.outcome == Ended("cancelled")
    assert "Cancelled#1" not in run.steps


async def test_a_timeout_that_ends_while_a_saga_undoes_is_delivered_after_it() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            async with asyncio.timeout(60), saga():
                await call(Reserve(), undo=Release())
                await receive(Shipped)
                raise Abort("no")
        except TimeoutError:
            return "late"
        return ""

    run = Driver(flow)
    run.answer("Reserve#1", Reserved())
    run.receive(Shipped())
    run.advance(60)
    assert run.live.outcome is None
    run.answer("Reserve#1/undo")

    assert run.value == "late"


async def test_a_bug_undoes_nothing_and_stops_the_run() -> None:
    run = reserved_and_charged()
    run.receive(Shipped(parcel="bug"))

    assert str(run.error) == "bug"
    assert undos(run) == []


async def test_a_bug_that_is_mended_goes_on_with_what_is_to_undo() -> None:
    run = reserved_and_charged()
    run.receive(Shipped(parcel="bug"))

    @workflow(starts_on=OrderPlaced, name="shop")
    async def mended(order: OrderPlaced) -> str:
        try:
            async with saga():
                await call(Reserve(), expect=Reserved, undo=Release())
                await call(Charge(), expect=Charged, undo=Refund(), timeout="30s")
                await publish(Confirmed())
                await receive(Shipped, timeout="5d")
                raise Abort("turned down")
        except (Refused, Abort, CallFailed, TimeoutError) as why:
            return type(why).__name__

    run.retry(mended)
    run.answer("Charge#1/undo")
    run.answer("Reserve#1/undo")

    assert run.value == "Abort"


async def test_a_late_answer_counts_when_the_saga_undoes_later() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        async with saga():
            for sku in "ab":
                with suppress(TimeoutError):
                    await call(Reserve(sku=sku), expect=Reserved, undo=Release(sku=sku), timeout="30s")
            await receive(Shipped)
            raise asyncio.CancelledError

    run = Driver(flow)
    run.advance(60)
    run.answer("Reserve#1", Reserved())  # late, but done
    run.answer("Reserve#2", OutOfStock())  # late, and refused
    run.receive(Shipped())
    run.answer("Reserve#1/undo")

    assert undos(run) == [AskCall("Reserve#1/undo", Release(sku="a"), HOLD, "Reserve#1")]
    assert run.live.outcome == Ended("cancelled")


async def test_everything_can_be_undone_at_once() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            async with saga(parallel=True, retry=Retry(attempts=9, most="1h")):
                for sku in "abc":
                    await call(Reserve(sku=sku), undo=Release(sku=sku))
                raise Abort("no")
        except Abort:
            return "undone"

    run = Driver(flow)
    for n in (1, 2, 3):
        run.answer(f"Reserve#{n}", Reserved())
    policy = Retry(attempts=9, most="1h", then="hold")
    assert undos(run) == [
        AskCall(f"Reserve#{n}/undo", Release(sku=sku), policy, f"Reserve#{n}")
        for n, sku in ((3, "c"), (2, "b"), (1, "a"))
    ]
    for n in (1, 3, 2):
        assert run.live.outcome is None
        run.answer(f"Reserve#{n}/undo")

    assert run.value == "undone"


async def test_a_command_is_put_on_the_list_by_hand() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            async with saga() as undo:
                await note("a")
                undo(Release(sku="a"))
                undo(Release(sku="b"))
                raise Abort("no")
        except Abort:
            return "undone"

    run = Driver(flow)
    run.make_steps()
    run.answer("undo Release#2")
    run.answer("undo Release#1")

    assert run.value == "undone"
    assert run.asked[1] == AskCall("undo Release#2", Release(sku="b"), HOLD)


async def test_what_an_inner_saga_did_belongs_to_the_outer_one() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            async with saga():
                async with saga():
                    await call(Reserve(sku="inner"), undo=Release(sku="inner"))
                await call(Reserve(sku="outer"), expect=Reserved, undo=Release(sku="outer"))
        except Refused:
            return "undone"
        return "done"

    run = Driver(flow)
    run.answer("Reserve#1", Reserved())
    run.answer("Reserve#2", OutOfStock())
    run.answer("Reserve#1/undo")

    assert run.value == "undone"


async def test_an_inner_saga_undoes_alone_where_the_outer_one_goes_on() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        async with saga():
            await call(Reserve(sku="outer"), undo=Release(sku="outer"))
            try:
                async with saga():
                    await call(Reserve(sku="inner"), undo=Release(sku="inner"))
                    raise Abort("inner")
            except Abort:
                pass
        return "done"

    run = Driver(flow)
    run.answer("Reserve#1", Reserved())
    run.answer("Reserve#2", Reserved())
    run.answer("Reserve#2/undo")

    assert run.value == "done"
    assert [getattr(ask, "step", "") for ask in undos(run)] == ["Reserve#2/undo"]


async def test_tasks_made_inside_put_their_undos_on_the_same_list() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        async def one(sku: str) -> None:
            await call(Reserve(sku=sku), expect=Reserved, undo=Release(sku=sku))

        end = "done"
        try:
            async with saga(), asyncio.TaskGroup() as group:
                for sku in "abc":
                    group.create_task(one(sku))
        except* Refused:
            end = "undone"
        return end

    run = Driver(flow)
    run.answer("one#1/Reserve#1", Reserved())
    run.answer("one#2/Reserve#1", OutOfStock())  # the third is cancelled with it
    assert undos(run) == [AskUndo("one#3/Reserve#1/undo", "one#3/Reserve#1", Reserve(sku="c"), Release(sku="c"), HOLD)]
    run.answer("one#3/Reserve#1/undo")
    run.answer("one#1/Reserve#1/undo")

    assert run.value == "undone"


async def test_a_group_of_exceptions_with_a_bug_in_it_is_a_bug() -> None:
    async def fail(error: Exception) -> None:
        raise error

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        async with saga() as undo:
            undo(Release())
            async with asyncio.TaskGroup() as group:
                group.create_task(fail(Abort("no")))
                group.create_task(fail(ValueError("bug")))

    run = Driver(flow)

    assert isinstance(run.error, ExceptionGroup)
    assert run.asked == []


async def test_a_task_that_still_waits_for_an_undone_call_is_told() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            async with saga():
                task = asyncio.get_running_loop().create_task(call(Reserve(), undo=Release()))
                await receive(Shipped)
                raise Abort("no")
        except Abort:
            try:
                await task
            except CallFailed as failure:
                return failure.kind
        return ""

    run = Driver(flow)
    run.receive(Shipped())
    run.answer("Reserve#1/undo")

    assert run.value == "Undone"


async def test_an_undo_given_up_by_somebody_is_over() -> None:
    run = Driver(shop)
    run.fail("Reserve#1")
    run.discard("Reserve#1/undo")

    assert run.value == "CallFailed"


async def test_an_undo_that_fails_for_good_stops_the_run() -> None:
    run = Driver(shop)
    run.fail("Reserve#1")
    run.fail("Reserve#1/undo", "OSError", "down")

    assert type(run.error) is PartitaError
    assert "step 'Reserve#1/undo': the undo failed: OSError: down" in str(run.error)


async def test_an_undo_needs_a_saga() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await call(Reserve(), undo=Release())

    run = Driver(flow)

    assert isinstance(run.error, DefinitionError)
    assert "undo= was given outside of a saga" in str(run.error)
    assert run.asked == []


async def test_a_saga_that_is_over_takes_no_undo() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        async with saga() as undo:
            pass
        undo(Release())

    assert "its saga is over" in str(Driver(flow).error)


async def test_a_saga_that_ends_well_undoes_nothing() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        async with saga():
            await call(Reserve(), undo=Release())
        await receive(Shipped)
        raise Abort("too late to undo")

    run = Driver(flow)
    run.answer("Reserve#1", Reserved())
    run.receive(Shipped())

    assert isinstance(run.error, Abort)
    assert undos(run) == []


async def test_at_eviction_a_saga_does_nothing_and_undoes_after_it() -> None:
    run = reserved_and_charged()
    run.evict()
    assert undos(run) == []
    run.receive(Shipped())
    run.evict()
    run.answer("Charge#1/undo")
    run.evict()
    run.answer("Reserve#1/undo")

    assert run.value == "Abort"


@pytest.mark.parametrize("where", ["saga", "call"])
async def test_outside_of_a_run_a_saga_says_how_a_run_is_started(where: str) -> None:
    with pytest.raises(DefinitionError, match="outside of a workflow's run"):
        async with saga():
            pass
