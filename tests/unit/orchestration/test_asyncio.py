"""Plain asyncio, unmodified: the same order on every replay, wherever the objects lie in memory."""

import asyncio
import gc
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from partita.errors import DefinitionError, LimitExceeded
from partita.orchestration.acts import call, publish, receive
from partita.orchestration.run import Ended, LiveRun, Raised
from partita.orchestration.saga import saga
from partita.orchestration.step import step
from partita.orchestration.workflow import Workflow, workflow
from partita.store.facts import Handled, Open, Received, Started
from tests.unit.orchestration.driver import US, Driver
from tests.unit.orchestration.words import (
    CATALOG,
    Cancelled,
    Charged,
    Confirmed,
    OrderPlaced,
    Release,
    Reserve,
    Reserved,
    Shipped,
)


@step
def note(name: str) -> str:
    return name


async def reserve(sku: str) -> str:
    try:
        await call(Reserve(sku=sku))
    except asyncio.CancelledError:
        await note(f"cancelled {sku}")
        raise
    return sku


@workflow(starts_on=OrderPlaced)
async def waits(order: OrderPlaced) -> list[str]:
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(reserve(str(n))) for n in range(20)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    seen = [task.get_name() for task in (*done, *pending)]
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    return seen


@workflow(starts_on=OrderPlaced)
async def groups(order: OrderPlaced) -> str:
    async def fail() -> None:
        await receive(Shipped)
        raise ValueError("no")

    try:
        async with asyncio.TaskGroup() as group:
            for n in range(20):
                group.create_task(reserve(str(n)))
            group.create_task(fail())
    except* ValueError:
        pass
    return "aborted"


@workflow(starts_on=OrderPlaced)
async def completed(order: OrderPlaced) -> list[str]:
    seen: list[str] = []
    for one in asyncio.as_completed([reserve(str(n)) for n in range(20)]):
        sku = await one
        seen += [sku, await note(sku)]
    return seen


@workflow(starts_on=OrderPlaced)
async def gathered(order: OrderPlaced) -> list[str]:
    several = [asyncio.gather(*(reserve(f"{n}{m}") for m in range(3))) for n in range(8)]
    waiting: set[Any] = set(several)
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    return [f"{several.index(one)}" for one in (*done, *pending)]


@workflow(starts_on=OrderPlaced)
async def primitives(order: OrderPlaced) -> list[str]:
    lock, event, queue = asyncio.Lock(), asyncio.Event(), asyncio.Queue[str](2)
    seen: list[str] = []

    async def produce(n: int) -> None:
        async with lock:
            await queue.put(await reserve(str(n)))
        await event.wait()
        seen.append(f"produced {n}")

    async def consume() -> None:
        while len(seen) < 8:
            seen.append(await queue.get())
        event.set()

    async with asyncio.TaskGroup() as group:
        for n in range(8):
            group.create_task(produce(n))
        group.create_task(consume())
    return seen


ALL = [waits, groups, completed, gathered, primitives]


def play(definition: Workflow[Any, Any]) -> Driver:
    """Answer what is asked, oldest first, until the run is over; each turn is replayed by the driver."""
    run = Driver(definition)
    answered: set[str] = set()
    for _ in range(200):
        if run.live.outcome is not None:
            break
        steps = [one for one in run.steps if one not in answered and "Reserve" in one]
        if definition is groups and not run.owed:
            run.receive(Shipped())
        elif run.owed:
            run.make_steps()
        elif steps:
            step_id = steps[len(answered) % len(steps)]
            answered.add(step_id)
            run.answer(step_id, Reserved())
    return run


@pytest.mark.parametrize("definition", ALL, ids=lambda one: one.name)
async def test_asyncio_keeps_its_order_on_replay(definition: Workflow[Any, Any]) -> None:
    junk: list[list[object]] = []
    seen = set()
    for size in range(12):
        junk.append([object() for _ in range(size * 37)])
        run = play(definition)
        seen.add((tuple(run.steps), str(run.live.outcome)))

    assert len(seen) == 1
    assert isinstance(run.live.outcome, Ended)


def test_asyncio_keeps_its_order_in_another_process() -> None:
    code = (
        "from tests.unit.orchestration.test_asyncio import ALL, play\n"
        "print([(run.steps, run.live.outcome) for run in map(play, ALL)])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(seen) == 1
    assert "primitives" not in seen.pop()


async def test_gathering_in_another_order_keeps_every_identity() -> None:
    @workflow(starts_on=OrderPlaced, name="flow")
    async def one_way(order: OrderPlaced) -> object:
        return await asyncio.gather(call(Reserve(sku="a")), note("b"))

    @workflow(starts_on=OrderPlaced, name="flow")
    async def other_way(order: OrderPlaced) -> object:
        return await asyncio.gather(note("b"), call(Reserve(sku="a")))

    run = Driver(one_way)
    run.answer("Reserve#1", Reserved(bin="a"))
    rebuilt = run.rebuild(other_way)
    assert rebuilt.take() == run.still_owed()
    run.stepped("note#1", "b")

    assert run.value == [Reserved(bin="a"), "b"]
    assert run.rebuild(other_way).outcome == Ended("returned", ["b", Reserved(bin="a")])


@pytest.mark.parametrize("kind", ["list_iterator", "set"])
async def test_coroutines_without_an_order_are_refused(kind: str) -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        several = [reserve("a"), reserve("b")]
        try:
            for one in asyncio.as_completed(iter(several) if kind == "list_iterator" else set(several)):
                await one
        finally:
            for one in several:
                one.close()

    assert f"as_completed was given a {kind} of coroutines" in str(Driver(flow).error)


async def test_a_run_that_is_let_go_leaves_nothing_to_the_garbage_collector() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await asyncio.gather(call(Reserve(), timeout="1h"), reserve("a"))
        await receive(Shipped)

    def one_run(*, to_the_end: bool) -> weakref.ref[object]:
        live = LiveRun(flow, run="flow/order:1/1", case="order:1", epoch=0, decode=CATALOG.decode)
        live.apply(0, Started(workflow="flow"), OrderPlaced())
        for step_id in ("Reserve#1", "reserve#1/Reserve#1"):
            live.apply(0, Handled(message="m", group="g", type="t", step=step_id))
        if to_the_end:
            live.apply(0, Received(message="m", type="Shipped", group="g"), Shipped())
        assert (live.outcome is not None) is to_the_end
        live.close()
        return weakref.ref(live._ledger)

    gc.collect()
    gc.disable()
    try:
        gone = [one_run(to_the_end=to_the_end)() is None for to_the_end in (True, False)]
    finally:
        gc.enable()
    assert gone == [True, True]


async def test_a_timeout_cancels_what_it_encloses() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            async with asyncio.timeout(30):
                await call(Reserve())
        except TimeoutError:
            return "late"
        return "in time"

    run = Driver(flow)
    run.advance(30)

    assert run.value == "late"


async def test_waiting_for_with_a_limit_is_the_same() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        first = await asyncio.wait_for(call(Reserve()), 30)
        try:
            await asyncio.wait_for(call(Reserve()), 30)
        except TimeoutError:
            return f"{first is not None}, then late"
        return "in time"

    run = Driver(flow)
    run.answer("Reserve#1", Reserved())
    run.advance(30)

    assert run.value == "True, then late"


async def test_a_shielded_task_outlives_the_cancellation_of_who_waits() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        task = asyncio.get_running_loop().create_task(reserve("a"))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            return await task
        return ""

    run = Driver(flow)
    run.cancel()
    run.answer("reserve#1/Reserve#1", Reserved())

    assert run.value == "a"


async def test_a_cancelled_run_may_clean_up_and_ends_cancelled() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        try:
            await receive(Shipped)
        finally:
            await publish(Cancelled())

    run = Driver(flow)
    run.cancel()

    assert run.steps == ["Cancelled#1"]
    assert run.live.outcome == Ended("cancelled")


async def test_a_run_that_swallows_its_cancellation_goes_on() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            await receive(Shipped)
        except asyncio.CancelledError:
            return (await receive(Shipped)).parcel
        return ""

    run = Driver(flow)
    run.cancel()
    run.receive(Shipped(parcel="a"))

    assert run.value == "a"


async def test_tasks_left_over_are_cancelled_and_waited_for() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        asyncio.get_running_loop().create_task(reserve("a"))
        await receive(Shipped)
        return "done"

    run = Driver(flow)
    run.receive(Shipped())
    assert run.live.outcome is None
    run.make_steps()

    assert run.value == "done"
    assert run.steps[-1] == "reserve#1/note#1"


async def test_no_run_ends_over_an_error_that_nobody_looked_at() -> None:
    async def fail() -> None:
        raise ValueError("unseen")

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        asyncio.get_running_loop().create_task(fail())
        await asyncio.sleep(0)

    assert str(Driver(flow).error) == "unseen"


async def test_an_async_generator_left_open_is_closed_before_the_run_ends() -> None:
    async def parcels() -> AsyncGenerator[str, None]:
        try:
            yield "a"
            yield "b"
        finally:
            await note("closed")

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        async for parcel in parcels():
            return parcel
        return ""

    run = Driver(flow)
    assert run.live.outcome is None
    run.make_steps()

    assert run.value == "a"


async def test_a_turn_that_never_rests_is_stopped() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        while True:
            await asyncio.sleep(0)

    error = Driver(flow).error

    assert isinstance(error, LimitExceeded)
    assert "limits.turn_callbacks_max" in str(error)


async def test_a_turn_that_asks_without_end_is_stopped() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        while True:
            await publish(Confirmed())

    assert isinstance(Driver(flow).error, LimitExceeded)


@pytest.mark.parametrize(
    "reach",
    [
        lambda loop: loop.run_in_executor(None, print),
        lambda _: asyncio.to_thread(print),
        lambda loop: loop.call_soon_threadsafe(print),
        lambda _: asyncio.open_connection("localhost", 1),
        lambda _: asyncio.create_subprocess_exec("true"),
        lambda loop: loop.add_signal_handler(1, print),
        lambda loop: loop.sock_recv(None, 1),
        lambda loop: loop.stop(),
    ],
)
async def test_what_would_leave_the_run_is_refused_with_the_remedy(reach: Any) -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await reach(asyncio.get_running_loop())

    error = Driver(flow).error

    assert isinstance(error, DefinitionError)
    assert str(error).splitlines()[1].startswith("Do it in a @step")


async def test_a_callback_that_raises_stops_the_run() -> None:
    def fail() -> None:
        raise ValueError("in a callback")

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        asyncio.get_running_loop().call_soon(fail)
        await receive(Shipped)

    assert str(Driver(flow).error) == "in a callback"


async def test_leaving_the_interpreter_only_stops_the_run() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        sys.exit(3)

    assert isinstance(Driver(flow).error, SystemExit)


async def test_the_loop_around_a_run_is_left_as_it_was() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await receive(Shipped)

    outer, task = asyncio.get_running_loop(), asyncio.current_task()
    run = Driver(flow)
    run.receive(Shipped())
    run.live.close()

    assert (asyncio.get_running_loop(), asyncio.current_task()) == (outer, task)
    await asyncio.sleep(0)


async def test_generators_of_the_loop_around_stay_its_own() -> None:
    ended: list[str] = []

    async def letters(owner: str) -> AsyncGenerator[str, None]:
        try:
            yield "a"
            yield "b"
        finally:
            ended.append(owner)

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        async for _letter in letters("run"):
            await receive(Shipped)

    before = letters("before")
    await anext(before)
    run = Driver(flow)
    after = letters("after")
    await anext(after)
    del before, after
    gc.collect()
    await asyncio.sleep(0.01)  # the loop closes what it was told of in a task

    assert sorted(owner for owner in ended if owner != "run") == ["after", "before"]
    ended.clear()
    run.live.close()
    assert ended == ["run"]


def test_a_run_needs_no_loop_around_it() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        return (await receive(Shipped)).parcel

    run = Driver(flow)
    run.receive(Shipped(parcel="a"))

    assert run.value == "a"


async def test_thousands_of_tasks_take_no_longer_each_than_few() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> int:
        async def one(n: int) -> int:
            return (await call(Reserve(), key=str(n))) is not None

        return sum(await asyncio.gather(*(one(n) for n in range(5_000))))

    live = Driver(flow).live
    assert len({hash(task) for task in live._loop._kept}) == 5_001


# Eviction.


async def test_at_eviction_a_finally_runs_here_and_now_and_asks_for_nothing() -> None:
    seen: list[str] = []

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        try:
            await receive(Shipped)
        finally:
            seen.append("finally")
            try:
                await publish(Cancelled())
                seen.append("published")
            finally:
                await asyncio.sleep(1)
                seen.append("slept")

    run = Driver(flow)
    seen.clear()
    run.live.close()

    assert seen == ["finally"]
    assert run.live.take() == []


async def test_at_eviction_the_youngest_coroutine_is_closed_first() -> None:
    seen: list[str] = []

    async def wait(name: str) -> None:
        try:
            await receive(Shipped)
        finally:
            seen.append(name)

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait("a"))
            group.create_task(wait("b"))

    run = Driver(flow)
    seen.clear()
    run.live.close()

    assert seen == ["b", "a"]


async def test_a_coroutine_that_will_not_close_is_let_go() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        while True:
            try:
                await receive(Shipped)
            except BaseException:  # noqa: BLE001 - what must not be written
                await asyncio.sleep(0)
                continue

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Driver(flow, began=True)
        run.live.close()

    assert run.live.outcome is None


async def test_a_run_that_nobody_closes_does_not_end_inside_of_another() -> None:
    @workflow(starts_on=OrderPlaced)
    async def dropped(order: OrderPlaced) -> None:
        async with saga():
            try:
                await receive(Shipped)
            finally:
                await publish(Cancelled())

    @workflow(starts_on=OrderPlaced)
    async def other(order: OrderPlaced) -> None:
        async with saga():
            gc.collect()
            await call(Reserve(), expect=Reserved, undo=Release())

    def start(definition: Workflow[Any, Any]) -> LiveRun:
        live = LiveRun(definition, run=f"{definition.name}/order:1/1", case="order:1", decode=CATALOG.decode)
        live.apply(US, Started(workflow=definition.name, message="m0", correlation="c"), OrderPlaced())
        return live

    gc.collect()
    start(dropped)
    live = start(other)

    assert live.outcome is None
    assert [ask.step for ask in live.take()] == ["Reserve#1"]
    live.close()


async def test_an_evicted_run_goes_on_where_it_was() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        reserved = await call(Reserve(), expect=Reserved)
        await note("between")
        return reserved.bin + (await receive(Shipped)).parcel

    run = Driver(flow)
    run.evict()
    run.answer("Reserve#1", Reserved(bin="a"))
    run.evict()
    run.make_steps()
    run.receive(Shipped(parcel="b"))

    assert run.value == "ab"


async def test_a_run_that_waits_for_nothing_it_asked_for_says_so_once_its_last_call_is_answered() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await call(Reserve(), expect=Reserved)
        await asyncio.Event().wait()

    run = Driver(flow)
    assert run.live.open() == Open()
    run.answer("Reserve#1", Reserved(bin="a"))
    run.evict()
    run.receive(Shipped(parcel="b"))

    assert run.live.open() == Open(on_itself=True)
    assert run.kinds == ["started", "published", "handled", "waiting", "received"]
    run.cancel()
    assert isinstance(run.live.outcome, Ended)


async def test_a_lock_that_is_taken_twice_is_waited_for_by_nobody_else() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        lock = asyncio.Lock()
        async with lock, lock:
            pass

    assert Driver(flow).live.open() == Open(on_itself=True)


async def test_a_timer_or_a_step_is_something_that_was_asked_for() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await note("first")
        async with asyncio.timeout(5):
            await asyncio.Event().wait()

    run = Driver(flow)
    assert not run.live.open().on_itself
    run.make_steps()

    assert not run.live.open().on_itself


async def test_what_comes_after_the_end_changes_nothing() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> int:
        return 1

    run = Driver(flow)
    run.live.apply(run.now, run.received(Charged()), Charged())
    run.live.close()
    run.live.apply(run.now, run.received(Charged()), Charged())

    assert run.value == 1
    assert not isinstance(run.live.outcome, Raised)


async def test_what_comes_after_the_instant_at_which_a_run_failed_moves_no_task_of_it() -> None:
    went_on: list[str] = []

    @workflow
    async def hasty(order: OrderPlaced) -> None:
        async def beside() -> None:
            await note("beside")
            went_on.append("beside")

        asyncio.get_running_loop().create_task(beside())
        await asyncio.sleep(5)
        raise ValueError("the bug")

    run = Driver(hasty)
    run.now += 6 * US  # the step's answer is met by a run that has slept too long
    run.stepped("beside#1/note#1", "noted")

    assert went_on == []
    assert run.live.last_step is None
