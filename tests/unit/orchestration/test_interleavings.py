"""Seeded interleavings of answers, messages, timers and cancellations: a rebuilt run stands where the live one does."""

import asyncio
import random  # noqa: TID251 - a seeded dice
from typing import Any

import pytest

from partita.errors import Abort, CallFailed, Refused
from partita.orchestration.acts import call, child, now, patched, publish, receive, uuid
from partita.orchestration.asks import AskCall, AskCancelChild, AskChild, AskStep, AskUndo
from partita.orchestration.run import Ended, Raised
from partita.orchestration.saga import saga
from partita.orchestration.step import step
from partita.orchestration.workflow import Workflow, workflow
from partita.store.facts import Handled
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
    ShipmentRefused,
    Shipped,
)

SEEDS = 500
CHUNK = 50
TURNS_MAX = 60


@step
def note(name: str) -> str:
    return name


@workflow
async def inner(order: OrderPlaced) -> str:
    return "inner"


async def line(sku: str) -> str:
    async with asyncio.timeout(50):
        reserved = await call(Reserve(sku=sku), expect=Reserved, undo=Release(sku=sku), timeout="40s")
    await note(f"{sku} {uuid()}")
    return reserved.bin


@workflow(starts_on=OrderPlaced)
async def shop(order: OrderPlaced) -> str:
    try:
        async with saga(parallel=order.total % 2 == 1) as undo:
            undo(Refund(pence=1))
            async with asyncio.TaskGroup() as group:
                for sku in "abc":
                    group.create_task(line(sku))
                group.create_task(note("beside"))
            await call(Charge(pence=order.total), expect=Charged, undo=Refund(), timeout="30s")
            if patched("confirm"):
                await publish(Confirmed())
            shipped = await receive(Shipped | ShipmentRefused, timeout="90s")
            if isinstance(shipped, ShipmentRefused):
                raise Abort(shipped.reason)
            return shipped.parcel
    except (Refused, Abort, CallFailed, TimeoutError, BaseExceptionGroup) as why:
        await publish(Cancelled(reason=type(why).__name__))
        return type(why).__name__


@workflow(starts_on=OrderPlaced)
async def race(order: OrderPlaced) -> list[str]:
    loop = asyncio.get_running_loop()
    seen = [now().isoformat()]
    for turn in range(4):
        tasks: list[asyncio.Task[Any]] = [
            loop.create_task(receive(Shipped, where=lambda event: event.parcel != "x", timeout="20s", default=None)),
            loop.create_task(call(Reserve(), timeout="35s")),
            loop.create_task(note("in a race")),
            loop.create_task(asyncio.sleep(25, "slept")),
            loop.create_task(child(inner, order, on_close=("wait", "cancel", "abandon")[turn % 3])),
        ]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        seen += [f"{task.get_name()}: {task.exception() or task.result()}" for task in done]
        for task in pending:
            try:
                seen.append(str(await task))
            except (asyncio.CancelledError, CallFailed) as error:
                seen.append(type(error).__name__)
    return seen


@workflow(starts_on=OrderPlaced)
async def pipeline(order: OrderPlaced) -> list[str]:
    queue, lock, seen = asyncio.Queue[str](2), asyncio.Lock(), list[str]()

    async def produce() -> None:
        for n in range(4):
            async with lock:
                got = await receive(Shipped, timeout="15s", default=None)
            await queue.put(f"{n} {got.parcel if got else 'nothing'}")

    async def consume(name: str) -> None:
        while True:
            item = await queue.get()
            try:
                seen.append(f"{name} {item} {await asyncio.shield(note(item))}")
            except CallFailed:
                seen.append("failed")
            queue.task_done()

    consumers = [asyncio.get_running_loop().create_task(consume(name)) for name in ("one", "two")]
    await asyncio.gather(produce(), produce())
    await queue.join()
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    for one in asyncio.as_completed([note(f"end {n}") for n in range(3)]):
        try:
            seen.append(await one)
        except CallFailed:
            seen.append("failed")
    return seen


def act(run: Driver, chance: random.Random) -> None:
    """Let one thing happen, or several in one unit."""
    answered = {fact.body.step for fact in run.history if isinstance(fact.body, Handled)}
    calls = [ask for ask in run.asked if isinstance(ask, AskCall | AskUndo) and ask.step not in answered]
    steps = [ask for ask in run.owed if isinstance(ask, AskStep)]
    kids = [ask for ask in run.asked if isinstance(ask, AskChild)]
    match chance.randrange(12):
        case 0 | 1 | 2 if calls:
            ask = chance.choice(calls)
            right = Charged() if isinstance(ask.command, Charge) else Reserved(bin="b")
            undo = ask.step.endswith("/undo") or ask.step.startswith("undo ")
            run.answer(ask.step, None if undo else chance.choice([*[right] * 15, OutOfStock(), None]))
        case 3 if (
            chance.random() < 0.1
            and calls
            and not calls[0].step.endswith("/undo")
            and not calls[0].step.startswith("undo ")
        ):
            run.fail(calls[0].step)
        case 4 | 5 if steps:
            run.stepped(chance.choice(steps).step, "noted")
        case 6 if chance.random() < 0.1 and steps:
            run.step_failed(chance.choice(steps).step)
        case 7 if kids:
            run.child_ended(chance.choice(kids).step, "inner", chance.choice([None, "cancelled"]))
        case 8 | 9:
            several = [chance.choice([Shipped(parcel=chance.choice("xyz")), ShipmentRefused()]) for _ in range(2)]
            if "ShipmentRefused" not in run.definition.receives:
                several = [one for one in several if isinstance(one, Shipped)] or [Shipped()]
            run.turns([(run.received(one), one) for one in several])
        case 10 if chance.random() < 0.1:
            run.cancel()
        case _:
            run.advance(chance.choice([0.5, 0.5, 2, 7, 21]))
    if chance.random() < 0.1 and run.live.outcome is None:
        run.evict()


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_interleaving_is_replayed_as_it_was_lived(first: int) -> None:
    flows: list[Workflow[Any, Any]] = [shop, race, pipeline]
    ends = 0
    for seed in range(first, first + CHUNK):
        chance = random.Random(seed)
        run = Driver(chance.choice(flows), OrderPlaced(total=seed), began=chance.random() < 0.6)
        for _ in range(TURNS_MAX):
            if run.live.outcome is not None:
                break
            act(run, chance)
        assert not isinstance(run.live.outcome, Raised), (seed, run.live.outcome)
        assert not [ask for ask in run.owed if isinstance(ask, AskCancelChild) and ask.step not in run.steps]
        ends += isinstance(run.live.outcome, Ended)
        run.live.close()

    assert ends > 0
