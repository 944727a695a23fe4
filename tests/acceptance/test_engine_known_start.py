"""A start that is known meets a run that is out of memory, just as something comes to it: nothing of that is lost."""

import asyncio
from pathlib import Path
from typing import Annotated

import pytest

from partita import App, Case, Client, Command, Event, Service, call, workflow
from partita.runtime.running import EngineClient

OrderId = Annotated[str, Case("order")]


class Placed(Event, external="the customer"):
    order_id: OrderId


class Charged(Event, ends="done"):
    order_id: OrderId


class Charge(Command[Charged]):
    order_id: OrderId


card = Service("card")
gates: dict[str, asyncio.Event] = {}
begun: dict[str, asyncio.Event] = {}


@card.handles(Charge)
async def charge(command: Charge) -> Charged:
    begun[command.order_id].set()
    await gates[command.order_id].wait()
    return Charged(order_id=command.order_id)


@workflow(starts_on=Placed)
async def pay(order: Placed) -> None:
    await call(Charge(order_id=order.order_id))


@workflow(starts_on=Placed)
async def rest(order: Placed) -> None:
    await asyncio.sleep(0.05)


async def place(client: Client, order_id: str) -> None:
    await client.emit(Placed(order_id=order_id), key=f"key-{order_id}")


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_an_answer_that_meets_a_known_start_comes_to_the_run_that_stands(tmp_path: Path, turns: int) -> None:
    gates["1"], begun["1"] = asyncio.Event(), asyncio.Event()
    async with App("pay", services=[card], workflows=[pay]).run(tmp_path / "a.db") as client, asyncio.timeout(10):
        assert isinstance(client, EngineClient)
        await place(client, "1")
        await begun["1"].wait()
        while not client.engine.executor.roster.evict_idle(idle_s=0.0):
            await asyncio.sleep(0.001)
        async with asyncio.TaskGroup() as group:
            group.create_task(place(client, "1"))
            for _ in range(turns):
                await asyncio.sleep(0)
            gates["1"].set()
        while client.look.where("order:1").verdict != "done":
            await asyncio.sleep(0.005)


async def test_a_timer_that_meets_a_known_start_rings_for_the_run_that_stands(tmp_path: Path) -> None:
    async with App("rest", workflows=[rest]).run(tmp_path / "a.db") as client, asyncio.timeout(10):
        assert isinstance(client, EngineClient)
        await place(client, "1")
        while client.look.where("order:1").verdict != "done":
            client.engine.executor.roster.evict_idle(idle_s=0.0)
            await place(client, "1")
