"""What the store does in a second, beside what SQLite itself does on the same machine in the same minute; prints JSON.

    python benchmarks/store.py [--seconds 2] [--profile]

`units` has 500 units in flight, each with one fact, one write and a fold of its case; `cpu_us` is the CPU time of the
whole process per unit, which a busy neighbour changes less than the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
from msgspec import Raw

from partita.clock import SystemClock
from partita.store import work
from partita.store.facts import Fact, Handled, NewFact, Open, OpenWait, Published, Started, Stepped, Waiting
from partita.store.port import Accepted, Answer, CaseRow, Scope, Unit, Write
from partita.store.sqlite.store import SqliteStore, open_store

IN_FLIGHT = 500
CASES = 500


class Count:
    """The cheapest projection there is: how many facts a case has."""

    version = 1

    def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
        last = facts[-1]
        return CaseRow(case, 4, False, last.kind, last.at, None, 1, last.seq, b"%d" % (int(state or 0) + len(facts)))


def raw_commits(folder: Path, seconds: float) -> float:
    """One-row transactions a second."""
    connection = _raw(folder / "one.db")
    done, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        connection.execute("insert into t (body) values (?)", ("x" * 200,))
        done += 1
    return done / seconds


def raw_rows(folder: Path, seconds: float) -> float:
    """Rows a second in transactions of 100."""
    connection = _raw(folder / "many.db")
    rows = [("x" * 200,)] * 100
    done, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        with connection:
            connection.executemany("insert into t (body) values (?)", rows)
        done += len(rows)
    return done / seconds


def _raw(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    for pragma in ("journal_mode=wal", "synchronous=full"):
        connection.execute(f"pragma {pragma}").fetchall()
    connection.execute("create table t (id integer primary key, body text)")
    return connection


async def units(store: SqliteStore, seconds: float, make: Callable[[int], Unit]) -> dict[str, float]:
    """Units a second with IN_FLIGHT of them unanswered, and the process's CPU time for each."""
    done, refused, until = 0, 0, time.perf_counter() + seconds
    all_answered = asyncio.Event()
    flying = 0

    def answered(answer: Answer) -> None:
        nonlocal done, refused, flying
        done += 1
        refused += not isinstance(answer, Accepted)
        flying -= 1
        if time.perf_counter() < until:
            send()
        elif not flying:
            all_answered.set()

    def send() -> None:
        nonlocal flying
        unit = make(done + flying)
        unit.answered = answered
        flying += 1
        store.submit(unit)

    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(IN_FLIGHT):
        send()
    await all_answered.wait()
    took = time.perf_counter() - began
    assert not refused, f"{refused} units refused"
    return {"per_s": round(done / took), "cpu_us": round((time.process_time() - cpu) / done * 1e6, 1)}


def a_step(number: int) -> Unit:
    run = f"fulfil/order:{number % CASES}/1"
    return Unit(
        facts=[NewFact(Stepped(step="fulfil/reserve_stock#1", value=Raw(b'"' + b"v" * 200 + b'"')), run=run)],
        writes=[Write(work.MOVE_RUN, ("open", number, run))],
    )


def a_publish(number: int) -> Unit:
    message = f"{number:032x}"
    return Unit(
        facts=[NewFact(Published(id=message, type="OrderPlaced"), case=f"order:{number % CASES}")],
        writes=[Write(work.KNOW_MESSAGE, (message, b"x" * 16), "known", 0)],
    )


def a_handling(number: int) -> Unit:
    def write(unit: Unit, scope: Scope) -> None:
        scope.tx.execute("insert into bench_row values (?, ?)", number, "x" * 40)
        unit.facts.append(NewFact(Handled(message="m", group="g", type="T"), case=f"order:{number % CASES}"))

    message = f"{number:032x}"
    return Unit(work=write, writes=[Write(work.KNOW_MESSAGE, (message, b"x" * 16, number), "known")], label="bench")


def a_start(number: int) -> Unit:
    case = f"order:{number}"
    run = f"fulfil/{case}/1"
    message = f"{number:032x}"
    wait = OpenWait(step="fulfil/OrderShipped#1", types=("OrderShipped",), since=1795225540549416)
    return Unit(
        facts=[
            NewFact(
                Published(id=message, type="OrderPlaced", correlation=message, data=Raw(b'{"order_id":"%d"}' % number)),
                case=case,
            ),
            NewFact(Started(workflow="fulfil", message=message, type="OrderPlaced", code="3f2a9c1d"), run=run),
            NewFact(Waiting(open=Open(waits=(wait,))), run=run),
        ],
        writes=[
            Write(work.ADD_RUN, (run, "fulfil", case, 1, None, None, "wait")),
            Write(work.KNOW_MESSAGE, (message, b"x" * 16), "known", 0),
        ],
    )


async def through_the_store(folder: Path, seconds: float) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, make in (("step", a_step), ("publish", a_publish), ("handling", a_handling), ("start", a_start)):
        path = folder / f"{name}.db"
        store = open_store(path, clock=SystemClock(), projection=Count(), app="bench")
        if make is a_step:
            await _accept(store, *(a_start(number) for number in range(CASES)))
        if make is a_handling:
            await _accept(store, Unit(work=_make_table))
        figures = await units(store, seconds, make)
        count = _last_seq(path)
        await store.close()
        found[f"units_{name}"] = figures | {"bytes_per_fact": round(path.stat().st_size / count)}
    return found


async def _accept(store: SqliteStore, *these: Unit) -> None:
    last: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    these[-1].answered = last.set_result
    for unit in these:
        store.submit(unit)
    assert isinstance(await last, Accepted)


def _make_table(_unit: Unit, scope: Scope) -> None:
    scope.tx.execute("create table bench_row (n integer primary key, body text)")


def _last_seq(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.execute("select max(seq) from trail").get)
    finally:
        connection.close()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seconds", type=float, default=2.0)
    words.add_argument("--profile", action="store_true", help="profile the writer's thread instead")
    chosen = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.profile:
            profile()
            return
        found: dict[str, object] = {
            "raw_commits_per_s": round(raw_commits(folder, chosen.seconds)),
            "raw_rows_per_s": round(raw_rows(folder, chosen.seconds)),
        }
        found |= asyncio.run(through_the_store(folder, chosen.seconds))
        print(json.dumps(found, indent=2))


def profile() -> None:
    """The writer alone, in one thread, on batches of IN_FLIGHT."""

    async def run() -> None:
        store = open_store("memory:profile", clock=SystemClock(), projection=Count(), app="bench")
        commit = store._executor.commit
        commit([a_start(number) for number in range(CASES)])
        batches = [[a_step(number) for number in range(IN_FLIGHT)] for _ in range(60)]
        began = time.process_time()
        for batch in batches[:30]:
            commit(batch)
        print(f"{(time.process_time() - began) / 30 / IN_FLIGHT * 1e6:.1f} us of CPU a unit")
        with cProfile.Profile() as seen:
            for batch in batches[30:]:
                commit(batch)
        pstats.Stats(seen).sort_stats("tottime").print_stats(18)

    asyncio.run(run())


if __name__ == "__main__":
    main()
