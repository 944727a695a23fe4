"""Runs that stand: what a parked one costs in memory and on disk, and how soon ten thousand move again after kill -9.

python benchmarks/standing.py hold FOLDER RUNS    (started by `recovery_10k_s`, and killed by it)
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Annotated

from partita import App, Case, Event, receive, step, workflow

ThingId = Annotated[str, Case("thing")]
IN_FLIGHT = 500


class Parked(Event, external="the bench"):
    thing_id: ThingId


class Released(Event, external="the bench"):
    thing_id: ThingId


class Begun(Event, external="the bench"):
    thing_id: ThingId


made = 0
"""Steps made in this process."""
held = asyncio.Event()


@step
async def work(n: int) -> int:
    global made  # noqa: PLW0603 - counted where it happens
    if n == 5 and "hold" in sys.argv:
        made += 1
        await held.wait()
    return n


@step
async def moved(n: int) -> int:
    global made  # noqa: PLW0603 - counted where it happens
    made += 1
    return n


@workflow(starts_on=Parked)
async def park(parked: Parked) -> None:
    await receive(Released, timeout="5d")


@workflow(starts_on=Begun)
async def walk(begun: Begun) -> None:
    for n in range(1, 6):
        await work(n)
    await moved(6)


parking = App("parking", services=[], workflows=[park])
walking = App("walking", services=[], workflows=[walk])


async def _start_all(client: object, make: type[Event], numbers: range) -> None:
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(n: int) -> None:
        async with gate:
            await client.emit(make(thing_id=str(n)))

    async with asyncio.TaskGroup() as group:
        for n in numbers:
            group.create_task(one(n))


async def parked_memory_b(folder: Path, runs: int) -> float:
    """Bytes that Python holds for one more evicted run that waits for an event and a timer; the caches are full."""
    async with parking.run(folder / "parked.db") as client:
        tracemalloc.start()  # from the beginning: what the caches let go later has to be known
        await _park(client, range(runs))
        before = tracemalloc.get_traced_memory()[0]
        await _park(client, range(runs, 2 * runs))
        memory = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    return memory / runs


async def parked_disk_b(folder: Path, runs: int) -> float:
    """Bytes by which each of them makes the closed store's file grow."""
    path = folder / "parked.db"
    sizes = []
    for numbers in (range(runs), range(runs, 2 * runs)):
        async with parking.run(path) as client:
            await _park(client, numbers)
        sizes.append(path.stat().st_size)
    return (sizes[1] - sizes[0]) / runs


async def _park(client: object, numbers: range) -> None:
    await _start_all(client, Parked, numbers)
    await client.settle()
    client.engine.executor.roster.evict_idle(idle_s=0.0)
    gc.collect()


async def recovery_s(folder: Path, runs: int) -> float:
    """From the start of an engine on a killed one's store until each of its runs has made its next step."""
    global made  # noqa: PLW0603 - counted where it happens
    child = subprocess.Popen(  # noqa: ASYNC220 - nothing else happens meanwhile
        [sys.executable, __file__, "hold", os.fspath(folder), str(runs)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        line = await asyncio.get_running_loop().run_in_executor(None, child.stdout.readline)
        assert line == "held\n", line
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    made = 0
    began = time.perf_counter()
    async with walking.run(folder / "walking.db") as client:
        while made < runs:  # noqa: ASYNC110 - a measurement must not hook into what it measures
            await asyncio.sleep(0.005)
        took = time.perf_counter() - began
        await client.settle()
    return took


async def hold(folder: Path, runs: int) -> None:
    """Bring every run to its fifth step, say so, and wait to be killed."""
    async with walking.run(folder / "walking.db") as client:
        await _start_all(client, Begun, range(runs))
        while made < runs:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        print("held", flush=True)
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[2]), int(sys.argv[3])))
