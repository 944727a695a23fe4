"""What the spine does in a second, beside the raw ceiling of the same machine in the same run; prints JSON.

    python benchmarks/run.py [--quick] [NAME ...]

Every figure is the median of `repeats` runs on fresh SQLite files in a temporary folder, `synchronous=FULL`, one
process. Ratios to `raw_*` travel between machines; the figures themselves do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import apsw
from standing import parked_disk_b, parked_memory_b, recovery_s

from partita import App, Case, Command, Event, Service, Transaction, call, receive, step, workflow
from partita.runtime.process import own_process

ThingId = Annotated[str, Case("thing")]


class Begun(Event, external="the bench"):
    thing_id: ThingId
    text: str = "x" * 100


class Poked(Event, external="the bench"):
    thing_id: ThingId


class Noted(Event):
    thing_id: ThingId


class Note(Command[Noted]):
    thing_id: ThingId
    n: int


notes = Service("notes", tables="create table if not exists notes_seen (thing text, n integer)")


@notes.handles(Note)
def note(command: Note, tx: Transaction) -> Noted:
    tx.execute("insert into notes_seen values (?, ?)", command.thing_id, command.n)
    return Noted(thing_id=command.thing_id)


@step
async def work(n: int) -> dict[str, str]:
    return {"value": "v" * 180, "n": str(n)}


@workflow(starts_on=Begun)
async def ten_steps(begun: Begun) -> None:
    for n in range(10):
        await work(n)


@workflow(starts_on=Begun)
async def ten_calls(begun: Begun) -> None:
    for n in range(10):
        await call(Note(thing_id=begun.thing_id, n=n))


@workflow(starts_on=Begun)
async def wait_for_poke(begun: Begun) -> None:
    await receive(Poked)


steps_app = App("bench", services=[], workflows=[ten_steps])
calls_app = App("bench", services=[notes], workflows=[ten_calls])
signals_app = App("bench", services=[], workflows=[wait_for_poke])
notes_app = App("bench", services=[notes])


async def durable_steps_s(folder: Path, runs: int) -> float:
    """Local steps made durable per second: runs of ten sequential steps, 500 in flight, 200-byte results."""
    async with steps_app.run(folder / "steps.db") as client:
        took = await _ended(client, runs, 500)
    return runs * 10 / took


async def calls_s(folder: Path, runs: int) -> float:
    """Calls of a handler that writes one row, per second: runs of ten sequential calls, 500 in flight."""
    async with calls_app.run(folder / "calls.db") as client:
        took = await _ended(client, runs, 500)
    return runs * 10 / took


async def _ended(client: object, runs: int, most: int) -> float:
    gate = asyncio.Semaphore(most)
    began = time.perf_counter()

    async def one(n: int) -> None:
        async with gate:
            ended = asyncio.get_running_loop().create_future()
            client.engine.executor.on_end(f"{_only(client)}/thing:{n}/1", ended.set_result)
            await client.emit(Begun(thing_id=str(n)))
            await ended

    async with asyncio.TaskGroup() as group:
        for n in range(runs):
            group.create_task(one(n))
    return time.perf_counter() - began


def _only(client: object) -> str:
    return next(iter(client.engine.declared.workflows))


async def handlings_s(folder: Path, count: int) -> float:
    """Commands handled per second: inbox, one row of the handler's own, outbox; sent beforehand, all waiting."""
    async with notes_app.run(folder / "notes.db") as client:
        client.engine.dispatch.lanes.pause("notes")
        async with asyncio.TaskGroup() as group:
            for n in range(count):
                group.create_task(client.send(Note(thing_id=str(n), n=n)))
        began = time.perf_counter()
        client.engine.dispatch.lanes.resume("notes")
        while len(client.engine.dispatch.lanes):  # noqa: ASYNC110 - a measurement must not hook into what it measures
            await asyncio.sleep(0.001)
        return count / (time.perf_counter() - began)


async def run10_p50_ms(folder: Path, count: int) -> float:
    """From emit to the end of a run of ten sequential local steps, one at a time."""
    took = []
    async with steps_app.run(folder / "run10.db") as client:
        for n in range(count):
            ended = asyncio.get_running_loop().create_future()
            client.engine.executor.on_end(f"ten_steps/thing:{n}/1", ended.set_result)
            began = time.perf_counter()
            await client.emit(Begun(thing_id=str(n)))
            await ended
            took.append((time.perf_counter() - began) * 1_000)
    return statistics.median(took)


async def signal_p50_ms(folder: Path, count: int) -> float:
    """From a signal to the end of the run that waited for it."""
    took = []
    async with signals_app.run(folder / "signal.db") as client:
        for n in range(count):
            await client.emit(Begun(thing_id=str(n)))
        await client.settle()
        for n in range(count):
            ended = asyncio.get_running_loop().create_future()
            client.engine.executor.on_end(f"wait_for_poke/thing:{n}/1", ended.set_result)
            began = time.perf_counter()
            await client.emit(Poked(thing_id=str(n)))
            await ended
            took.append((time.perf_counter() - began) * 1_000)
    return statistics.median(took)


async def replay_facts_s(folder: Path, runs: int) -> float:
    """Facts replayed per second: every run evicted, then rebuilt from its history."""
    async with steps_app.run(folder / "replay.db") as client:
        await _ended(client, runs, 500)
        trail = client.engine.world.store.trail
        histories = [trail.list_history(f"ten_steps/thing:{n}/1") for n in range(runs)]
        began = time.perf_counter()
        facts = 0
        for history in histories:
            facts += len(history)
            client.engine.executor.rebuild(history)
        return facts / (time.perf_counter() - began)


def _raw(folder: Path, batch: int, seconds: float = 0.5) -> float:
    connection = apsw.Connection(str(folder / f"raw{batch}.db"))
    connection.execute("pragma journal_mode=wal").fetchall()
    connection.execute("pragma synchronous=full")
    connection.execute("create table row (id integer primary key, body blob)")
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        with connection:
            connection.executemany("insert into row (body) values (?)", [(b"x" * 200,)] * batch)
        count += batch
    return count / (time.perf_counter() - began)


async def commit_p50_ms(folder: Path, count: int) -> float:
    """One one-row FULL transaction, apsw alone: the median."""
    connection = apsw.Connection(str(folder / "commit.db"))
    connection.execute("pragma journal_mode=wal").fetchall()
    connection.execute("pragma synchronous=full")
    connection.execute("create table row (id integer primary key, body blob)")
    cursor, took = connection.cursor(), []
    for _ in range(count):
        began = time.perf_counter()
        cursor.execute("begin immediate")
        cursor.execute("insert into row (body) values (?)", (b"x" * 200,))
        cursor.execute("commit")
        took.append((time.perf_counter() - began) * 1_000)
    return statistics.median(took)


async def raw_commits_s(folder: Path, _count: int) -> float:
    """One-row FULL commits per second, apsw alone."""
    return _raw(folder, 1)


async def raw_rows_s(folder: Path, _count: int) -> float:
    """Rows per second in FULL commits of 100, apsw alone."""
    return _raw(folder, 100)


async def import_ms(_folder: Path, count: int) -> float:
    """`import partita` in a fresh interpreter, less the interpreter's own start."""

    def timed(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - began) * 1_000

    return statistics.median(timed("import partita") for _ in range(count)) - statistics.median(
        timed("pass") for _ in range(count)
    )


BENCHES: dict[str, tuple[Callable[[Path, int], Awaitable[float]], int]] = {
    "raw_commits_s": (raw_commits_s, 1),
    "raw_rows_s": (raw_rows_s, 1),
    "commit_p50_ms": (commit_p50_ms, 1_000),
    "durable_steps_s": (durable_steps_s, 2_000),
    "calls_s": (calls_s, 500),
    "handlings_s": (handlings_s, 10_000),
    "run10_p50_ms": (run10_p50_ms, 100),
    "signal_p50_ms": (signal_p50_ms, 300),
    "replay_facts_s": (replay_facts_s, 1_000),
    "parked_memory_b": (parked_memory_b, 10_000),
    "parked_disk_b": (parked_disk_b, 5_000),
    "recovery_10k_s": (recovery_s, 10_000),
    "import_ms": (import_ms, 7),
}


def measure(name: str, *, repeats: int, scale: float) -> dict[str, float]:
    """One figure: the median of `repeats` runs, and their spread."""
    bench, count = BENCHES[name]
    figures = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            figures.append(asyncio.run(bench(Path(folder), max(int(count * scale), 5))))
    return {
        "median": round(statistics.median(figures), 3),
        "least": round(min(figures), 3),
        "most": round(max(figures), 3),
    }


def ratios(of: dict[str, float]) -> dict[str, dict[str, float]]:
    """What travels between machines: figures in units of the same run's raw ceilings, and the floor under calls."""
    found: dict[str, float] = {}
    if of.keys() >= {"run10_p50_ms", "commit_p50_ms"}:
        found["run10_in_commits"] = of["run10_p50_ms"] / of["commit_p50_ms"]
    if of.keys() >= {"durable_steps_s", "raw_rows_s"}:
        found["raw_rows_per_step"] = of["raw_rows_s"] / of["durable_steps_s"]
    if of.keys() >= {"durable_steps_s", "handlings_s"}:
        # A call is a handling and a turn, one behind the other.
        found["calls_floor_s"] = 1 / (1 / of["durable_steps_s"] + 1 / of["handlings_s"])
    return {name: {"median": round(value, 2)} for name, value in found.items()}


def main() -> None:
    """Print all figures, or those named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, once")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    own_process()  # as `partita dev` does
    repeats, scale = (1, 0.1) if given.quick else (given.repeats, 1.0)
    figures = {name: measure(name, repeats=repeats, scale=scale) for name in given.names or BENCHES}
    figures |= ratios({name: figure["median"] for name, figure in figures.items()})
    machine = {"python": platform.python_version(), "sqlite": apsw.sqlite_lib_version(), "repeats": repeats}
    print(json.dumps({"machine": machine, "figures": figures}, indent=2))


if __name__ == "__main__":
    main()
