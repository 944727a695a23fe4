"""What a store answers where it does not decide: closed, stopped, busy; and what async work sees, in both lanes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from partita.errors import StoreError
from partita.store import work
from partita.store.facts import Raw, Unread
from partita.store.port import AsyncScope, CaseRow, Lost, Refusal, Unit, Write
from partita.store.sqlite.chain import digest_of
from partita.store.sqlite.connection import forget_memory
from partita.store.sqlite.store import SqliteStore, open_reader
from partita.store.sqlite.writer import Stopped
from tests.conformance.store_desk import NOW, RUN, Counting, Desk, SetClock, add_run, published, stepped
from tests.unit.store.sqlite_desk import opened


@pytest.fixture(params=["thread", "inline"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    place: str | Path = tmp_path / "shop.db" if request.param == "thread" else "memory:desk"
    async with opened(place) as made:
        yield made
    forget_memory("memory:desk")


def own(desk: Desk) -> SqliteStore:
    assert isinstance(desk.store, SqliteStore)
    return desk.store


async def test_a_unit_that_comes_after_the_close_is_refused_with_what_to_do(desk: Desk) -> None:
    await desk.store.close()
    answer = await desk.refuse(Unit(facts=[published()]))

    assert (answer.why, str(answer.error)) == (
        "closed",
        "the store is closed\nOpen it again, or submit before it is closed.",
    )


async def test_closing_twice_is_no_harm(desk: Desk) -> None:
    await desk.store.close()
    await desk.store.close()


async def test_what_is_asked_of_a_file_s_store_after_the_close_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "shop.db") as desk:
        await desk.store.close()
        with pytest.raises(StoreError) as caught:
            own(desk)._lane.call(lambda: None)

    assert str(caught.value) == "the store is closed\nOpen it again."


async def test_an_error_of_the_store_s_own_work_comes_to_whoever_asked(desk: Desk) -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await asyncio.wrap_future(own(desk)._lane.call(fail))
    await desk.accept(published())


async def test_nothing_of_the_store_s_own_is_done_beside_async_work() -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def act(_unit: Unit, _scope: AsyncScope) -> None:
        begun.set()
        await gate.wait()

    async with opened("memory:desk") as desk:
        answer = desk.submit(Unit(work_async=act))
        await begun.wait()
        with pytest.raises(StoreError) as caught:
            own(desk)._lane.call(lambda: None)
        gate.set()
        await answer
    forget_memory("memory:desk")

    assert str(caught.value) == "the store is busy with asynchronous work\nTry again when it has been answered."


async def test_async_work_executes_finds_gets_and_lists_with_parameters(desk: Desk) -> None:
    async def act(unit: Unit, scope: AsyncScope) -> None:
        tx = scope.tx
        found: list[Any] = [
            await tx.execute("create table shop_a (b, c)"),
            await tx.execute("insert into shop_a values (?, ?), (?, 4)", 1, 2, 3),
            await tx.find_row("select b, c from shop_a where b = ?", 3),
            await tx.find_row("select b from shop_a where b = ?", 9),
            await tx.get_row("select c from shop_a where b = ?", 1),
            await tx.list_rows("select b, c from shop_a where b > ? order by b", 0),
            scope.now_us(),
        ]
        await scope.mark()
        await tx.execute("delete from shop_a")
        await scope.drop()
        found.append(await tx.list_rows("select b from shop_a order by b"))
        with pytest.raises(LookupError, match="no row: select b from shop_a where b = \\? with \\(9,\\)"):
            await tx.get_row("select b from shop_a where b = ?", 9)
        unit.result = found

    answer = await desk.accept(work_async=act)

    assert answer.result == [
        0,
        2,
        {"b": 3, "c": 4},
        None,
        {"c": 2},
        [{"b": 1, "c": 2}, {"b": 3, "c": 4}],
        NOW,
        [{"b": 1}, {"b": 3}],
    ]


async def test_async_work_that_is_cancelled_by_itself_refuses_its_unit(desk: Desk) -> None:
    async def act(_unit: Unit, scope: AsyncScope) -> None:
        await scope.tx.execute("create table shop_a (b)")
        raise asyncio.CancelledError

    answer = await desk.decide(Unit(work_async=act))

    assert isinstance(answer, Refusal)
    await desk.accept(work_async=make)


async def make(_unit: Unit, scope: AsyncScope) -> None:
    await scope.tx.execute("create table shop_a (b)")


async def test_after_a_store_has_stopped_everybody_is_told_the_same_error(tmp_path: Path) -> None:
    class Full(Exception):
        pass

    async with opened(tmp_path / "shop.db") as desk:
        own(desk)._executor.commit = fail_with(Full("disk"))  # type: ignore[method-assign]
        first = await desk.decide(Unit(facts=[published()]))
        second = await desk.decide(Unit(work=lambda *_: None))

    assert isinstance(first, Lost)
    assert isinstance(second, Lost)
    assert (type(first.error), str(first.error), second.error) == (Full, "disk", first.error)


def fail_with(error: Exception) -> Any:
    def commit(_units: list[Unit]) -> Any:
        raise error

    return commit


# Names with anything in them.


@pytest.mark.parametrize("case", ["order:1", "order:a:b", "order:a/b", "order:", "order:ü'\"%_"])
async def test_a_case_s_key_may_have_anything_in_it(desk: Desk, case: str) -> None:
    run = f"fulfil/{case}/1"
    await desk.accept(
        published(case=case), writes=[Write(work.ADD_RUN, (run, "fulfil", case, 1, None, None, "wait"), "run exists")]
    )
    await desk.accept(stepped(run))

    assert [fact.case for fact in desk.trail.list_case_facts(case)] == [case, case]
    assert [fact.run for fact in desk.trail.list_history(run)] == [run]
    found = desk.work.find_run(run)
    assert found is not None
    assert (found.run, found.case, found.workflow, found.number, found.run_n) == (run, case, "fulfil", 1, 1)
    assert [row.run for row in desk.work.list_runs(case)] == [run]
    assert [row.run for row in desk.work.list_runs(case, "fulfil")] == [run]
    assert desk.work.list_runs(case, "other") == []
    row = desk.cases.find_case(case)
    assert row is not None
    assert row.case == case
    assert desk.cases.list_matching(case.partition(":")[2]) == [case]


async def test_what_nobody_named_is_not_found(desk: Desk) -> None:
    await desk.start_run()

    assert desk.trail.list_history("fulfil/order:9/1") == []
    assert desk.trail.list_history("anything") == []
    assert desk.trail.list_case_facts("order:9") == []
    assert desk.trail.find_message("0" * 32) is None
    assert desk.trail.find_fact(99) is None
    assert desk.trail.find_topology() is None
    assert desk.trail.find_topology(7) is None
    assert desk.work.find_run("fulfil/order:9/1") is None
    assert desk.work.list_runs("order:9") == []
    assert desk.work.find_obligation("m", "g") is None
    assert desk.cases.find_case("order:9") is None
    assert desk.cases.find_case("bare") is None


# Heads of runs.


async def test_an_epoch_grows_by_one_each_time_and_outlives_the_store(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        await desk.start_run()
        for _ in range(3):
            await desk.accept(writes=[Write(work.RAISE_EPOCH, (RUN,), "no run")])
        await desk.accept(stepped(), expects={RUN: (1, 3)})
    async with opened(path) as desk:
        row = desk.work.find_run(RUN)
        assert row is not None
        assert (row.epoch, row.run_n, row.status, row.wakes_at) == (3, 2, "open", None)
        await desk.accept(stepped(), expects={RUN: (2, 3)})
        assert (await desk.refuse(Unit(facts=[stepped()], expects={RUN: (2, 3)}))).why == "moved"


async def test_what_a_refused_unit_did_to_a_run_is_undone(desk: Desk) -> None:
    await desk.start_run()
    changes = [Write(work.RAISE_EPOCH, (RUN,)), Write(work.MOVE_RUN, ("stopped", 77, RUN))]
    await desk.refuse(Unit(facts=[stepped()], writes=[*changes, Write(work.CLOSE_REQUEST, ("r9",), "no such request")]))
    row = desk.work.find_run(RUN)
    assert row is not None
    assert (row.epoch, row.run_n, row.status, row.wakes_at) == (0, 1, "open", None)

    await desk.accept(stepped(), writes=changes, expects={RUN: (1, 0)})
    row = desk.work.find_run(RUN)
    assert row is not None
    assert (row.epoch, row.run_n, row.status, row.wakes_at) == (1, 2, "stopped", 77)
    await desk.refuse(Unit(writes=[Write(work.RESUME_RUN, ("fulfil/order:9/1",), "not stopped")]))
    await desk.accept(writes=[Write(work.RESUME_RUN, (RUN,), "not stopped")])
    await desk.refuse(Unit(writes=[Write(work.RESUME_RUN, (RUN,), "not stopped")]))


async def test_a_reader_outside_judges_by_its_own_clock_and_projection(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    clock = SetClock()
    async with opened(path) as desk:
        await desk.accept(published(case="order:4-due"))
        reader = open_reader(path, clock=clock, projection=Counting(version=2))
        row = reader.cases.find_case("order:4-due")
        assert row is not None
        assert (row.fold, row.state) == (2, b"published+")
        assert reader.cases.list_cases(stuck=True) == ([], None)
        clock.us += 1_000_000
        assert [row.case for row in reader.cases.list_cases(stuck=True)[0]] == ["order:4-due"]
        assert (reader.app, reader.generation) == ("shop", 1)
        reader.close()


# Async work that is refused, and stores that stop under it.


async def test_async_work_whose_expectation_has_moved_is_never_begun(desk: Desk) -> None:
    begun: list[Unit] = []

    async def act(unit: Unit, _scope: AsyncScope) -> None:
        begun.append(unit)

    await desk.start_run()
    answer = await desk.refuse(Unit(work_async=act, expects={RUN: (7, 0)}))

    assert (answer.why, answer.error, begun) == ("moved", None, [])
    await desk.accept(work_async=act, expects={RUN: (1, 0)})


async def test_what_async_work_raises_comes_back_with_the_refusal(desk: Desk) -> None:
    error = KeyError("x")

    async def act(_unit: Unit, _scope: AsyncScope) -> None:
        raise error

    answer = await desk.refuse(Unit(work_async=act))
    assert (answer.why, answer.error) == ("raised", error)


async def test_facts_of_async_work_that_can_not_be_stored_refuse_it(desk: Desk) -> None:
    async def act(unit: Unit, _scope: AsyncScope) -> None:
        unit.facts.append(published(case="typeless"))

    answer = await desk.refuse(Unit(work_async=act))

    assert answer.why == "raised"
    assert str(answer.error).startswith("case 'typeless' has no type")
    await desk.accept(published())


@pytest.fixture(params=["thread", "inline"])
async def stopping(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Desk, list[BaseException]]]:
    stopped: list[BaseException] = []
    place: str | Path = tmp_path / "shop.db" if request.param == "thread" else "memory:desk"
    async with opened(place, on_stopped=stopped.append) as made:
        yield made, stopped
    forget_memory("memory:desk")


async def until_told(stopped: list[BaseException]) -> None:
    async with asyncio.timeout(5):
        while not stopped:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("place", ["open_alone", "close_alone"])
async def test_a_disk_that_fails_around_async_work_stops_the_store(
    stopping: tuple[Desk, list[BaseException]], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, stopped = stopping
    error = apsw.FullError("full")

    def fail(*_: object) -> None:
        raise Stopped(error)

    async def act(_unit: Unit, _scope: AsyncScope) -> None: ...

    monkeypatch.setattr(own(desk)._executor, place, fail)
    answers = [await desk.decide(Unit(work_async=act)), await desk.decide(Unit(facts=[published()]))]
    await until_told(stopped)

    assert answers == [Lost(error), Lost(error)]
    assert stopped == [error]


async def test_a_disk_that_fails_at_the_store_s_own_work_stops_it(stopping: tuple[Desk, list[BaseException]]) -> None:
    desk, stopped = stopping
    error = apsw.FullError("full")

    def fail() -> None:
        raise Stopped(error)

    with pytest.raises(StoreError) as caught:
        await asyncio.wrap_future(own(desk)._lane.call(fail))
    assert str(caught.value) == "the store stopped: full\nStart again; nothing acknowledged is lost."
    await until_told(stopped)
    assert await desk.decide(Unit(facts=[published()])) == Lost(error)
    assert stopped == [error]


def test_a_stop_says_what_stopped_it() -> None:
    stop = Stopped(apsw.FullError("full"))

    assert (str(stop), str(stop.error), stop.silent) == ("full", "full", False)


async def test_only_the_cases_that_are_named_are_folded_anew(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        await desk.accept(published(case="order:5"), published(case="order:6"))
    projection = Counting(version=2)
    async with opened(path, projection=projection) as desk:
        assert await own(desk).refold(["order:6", "order:9"]) == 2
        assert projection.folds == [("order:6", 1)]
        assert await own(desk).refold(limit=5) == 1
        assert await own(desk).refold() == 0


async def test_stale_cases_are_folded_anew_so_many_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        await desk.accept(*(published(case=f"order:{n}") for n in range(5)))
    async with opened(path, projection=Counting(version=2)) as desk:
        assert [await own(desk).refold(limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_runs_that_are_read_anew_are_counted_on_apart(tmp_path: Path) -> None:
    path, runs = tmp_path / "shop.db", [f"fulfil/order:{n}/1" for n in (1, 2)]
    async with opened(path) as desk:
        for run in runs:
            await desk.start_run(run)
    async with opened(path) as desk:
        await desk.accept(*(stepped(run) for run in runs), writes=[Write(work.MOVE_RUN, ("stopped", 5, runs[1]))])
        rows = [desk.work.find_run(run) for run in runs]

    assert [(row.run_n, row.status, row.wakes_at) for row in rows if row] == [(2, "open", None), (2, "stopped", 5)]


# What is read is what was written.


async def test_a_case_s_row_is_read_as_it_was_folded(desk: Desk) -> None:
    recorded = (await desk.accept(published(case="order:3-stuck"), published(case="order:5-due"))).recorded
    stuck, due = (desk.cases.find_case(case) for case in ("order:3-stuck", "order:5-due"))

    assert stuck == CaseRow(
        "order:3-stuck", 3, True, "published", NOW, None, fold=1, seq=recorded[0].seq, state=b"published"
    )
    assert due == CaseRow(
        "order:5-due", 5, False, "published", NOW, NOW + 60, fold=1, seq=recorded[1].seq, state=b"published"
    )
    assert desk.cases.count_cases() == {3: 1, 5: 1}


async def test_runs_of_one_workflow_in_one_unit_and_after_it_are_all_of_it(desk: Desk) -> None:
    runs = [f"fulfil/order:{n}/1" for n in range(1, 5)]
    await desk.accept(writes=[add_run(run) for run in runs[:2]])
    await desk.refuse(Unit(writes=[add_run(runs[2]), add_run(runs[0], must="run exists")]))
    await desk.accept(writes=[add_run(run) for run in runs[2:]])

    assert [(row.run, row.workflow) for row in desk.work.list_open_runs()] == [(run, "fulfil") for run in runs]


async def test_a_body_that_was_erased_is_unread_under_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        await desk.accept(published())
        connection = apsw.Connection(str(path))
        ((body,),) = connection.execute("select body from trail")
        connection.execute("update trail set codec = 2, body = ?", (digest_of(body),))
        connection.close()
        (fact,) = desk.trail.list_facts()

        assert (fact.kind, fact.body) == ("published", Unread(raw=Raw(b"null"), name="published"))
        assert desk.trail.check_chain() is None
