"""What becomes of units when a commit fails, or its answer is lost."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import msgspec
import pytest

from partita.errors import StoreError
from partita.messages.topology import Topology
from partita.store.facts import Fact
from partita.store.port import Accepted, Answer, AsyncScope, CaseRow, Lost, Refusal, Scope, Unit
from partita.store.sqlite.connection import forget_memory
from partita.store.sqlite.store import SqliteStore
from tests.conformance.store_desk import RUN, Counting, Desk, know, published, stepped, together
from tests.unit.store.sqlite_desk import opened

PLACE = "memory:faults"


class Script:
    """Says for each commit in turn what becomes of it."""

    def __init__(self, *fates: str) -> None:
        self.fates = list(fates)
        self.sizes: list[int] = []

    def at_commit(self, units: int) -> str:
        self.sizes.append(units)
        return self.fates.pop(0) if self.fates else "pass"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    forget_memory(PLACE)


@pytest.mark.parametrize(("fate", "left"), [("lost_before", 1), ("lost_after", 3)])
async def test_after_a_lost_commit_everybody_is_told_so_and_the_store_stops(fate: str, left: int) -> None:
    stopped: list[BaseException] = []
    async with opened(PLACE, faults=Script("pass", fate), on_stopped=stopped.append) as desk:
        await desk.accept(published())
        answers = await together(desk, Unit(facts=[published()]), Unit(facts=[published()]))
        late = await desk.decide(Unit(facts=[published()]))

    assert [type(answer) for answer in [*answers, late]] == [Lost, Lost, Lost]
    assert [str(error) for error in stopped] == [f"simulated fault: {fate}\nOpen the store anew."]
    async with opened(PLACE) as again:
        assert not again.store.clean
        assert len(again.trail.list_facts()) == left
        assert (await again.accept(published())).recorded[0].seq == left + 1
        assert again.trail.check_chain() is None


@pytest.mark.parametrize(("fate", "left"), [("crash_before", 1), ("crash_after", 2)])
async def test_after_a_crash_at_a_commit_nobody_is_told_anything(fate: str, left: int) -> None:
    stopped: list[BaseException] = []
    async with opened(PLACE, faults=Script("pass", fate), on_stopped=stopped.append) as desk:
        await desk.accept(published())
        heard = [desk.submit(Unit(facts=[published()])), desk.submit(Unit(facts=[]))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        heard.append(desk.submit(Unit(facts=[published()])))
        desk.store.abandon()

    assert not any(answer.done() for answer in heard)
    assert stopped == []
    async with opened(PLACE) as again:
        assert len(again.trail.list_facts()) == left


async def test_a_crash_between_commit_and_answer_is_an_abandoned_store() -> None:
    async with opened(PLACE) as desk:
        heard = desk.submit(Unit(facts=[published()]))
        await asyncio.sleep(0)
        desk.store.abandon()

    assert not heard.done()
    async with opened(PLACE) as again:
        assert len(again.trail.list_facts()) == 1


async def test_a_crash_in_the_middle_of_async_work_leaves_nothing_of_it() -> None:
    begun = asyncio.Event()

    async def act(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with opened(PLACE) as desk:
        heard = desk.submit(Unit(facts=[published()], work_async=act))
        await begun.wait()
        desk.store.abandon()

    async with opened(PLACE) as again:
        assert again.trail.list_facts() == []
        await again.accept(published())
    assert not heard.done()


async def test_units_submitted_together_share_a_transaction_up_to_a_limit() -> None:
    script = Script()
    async with opened(PLACE, faults=script) as desk:
        await together(desk, *(Unit() for _ in range(1_500)))

    assert script.sizes == [1_000, 500]


async def test_a_commit_is_told_how_many_units_are_in_it() -> None:
    script = Script()
    async with opened(PLACE, faults=script) as desk:
        desk.store.register_topology(Topology(app="shop"))
        await desk.accept(work_async=empty)
        await together(desk, Unit(), Unit())
        await desk.store.refold()

    assert script.sizes == [0, 1, 2, 0]


def block(desk: Desk, place: Path) -> apsw.Connection:
    """Somebody else writes to the file, for longer than the writer will wait."""
    assert isinstance(desk.store, SqliteStore)
    desk.store._executor.connection.set_busy_timeout(1)
    other = apsw.Connection(str(place))
    other.execute("begin immediate")
    return other


async def empty(_unit: Unit, _scope: AsyncScope) -> None:
    """Asynchronous work."""


@pytest.mark.parametrize("unit", [Unit(facts=[published()]), Unit(work_async=empty), Unit(work=lambda *_: None)])
async def test_a_transaction_that_can_not_begin_stops_the_store_with_its_error(tmp_path: Path, unit: Unit) -> None:
    stopped: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    async with opened(tmp_path / "a.db", on_stopped=stopped.set_result) as desk:
        other = block(desk, tmp_path / "a.db")
        answer = await desk.decide(msgspec.structs.replace(unit, facts=[*unit.facts]))
        other.close()
        late = await desk.decide(Unit(facts=[published()]))
        async with asyncio.timeout(5):
            error = await stopped

    assert isinstance(answer, Lost)
    assert isinstance(answer.error, apsw.BusyError)
    assert late == Lost(answer.error)
    assert error is answer.error


async def test_cases_that_can_not_be_folded_anew_stop_the_store_with_the_error(tmp_path: Path) -> None:
    stopped: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    async with opened(tmp_path / "a.db", on_stopped=stopped.set_result) as desk:
        await desk.accept(published())
        other = block(desk, tmp_path / "a.db")
        with pytest.raises(StoreError, match=r"the store stopped: database is locked\nStart again"):
            await desk.store.refold()
        other.close()
        async with asyncio.timeout(5):
            error = await stopped
        answer = await desk.decide(Unit(facts=[published()]))

    assert isinstance(error, apsw.BusyError)
    assert answer == Lost(error)


async def test_a_disk_that_is_full_after_async_work_stops_the_store_with_its_error(tmp_path: Path) -> None:
    async def act(unit: Unit, _scope: AsyncScope) -> None:
        unit.facts.extend(published(message="x" * 100_000) for _ in range(5))

    async with opened(tmp_path / "a.db") as desk:
        assert isinstance(desk.store, SqliteStore)
        make_full(desk.store)
        answer = await desk.decide(Unit(work_async=act))

    assert isinstance(answer, Lost)
    assert isinstance(answer.error, apsw.FullError)


async def test_a_disk_that_fails_at_the_commit_loses_the_group_and_stops_the_store(tmp_path: Path) -> None:
    stopped: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    async with opened(tmp_path / "a.db", on_stopped=stopped.set_result) as desk:
        await desk.accept(published())
        assert isinstance(desk.store, SqliteStore)
        make_full(desk.store)
        big = [published(message="x" * 100_000) for _ in range(5)]
        answers = await together(desk, Unit(facts=[published()]), Unit(facts=big))
        late = await desk.decide(Unit(facts=[published()]))
        async with asyncio.timeout(5):
            error = await stopped

    assert [type(answer) for answer in [*answers, late]] == [Lost, Lost, Lost]
    assert isinstance(error, apsw.FullError)
    async with opened(tmp_path / "a.db") as again:
        assert not again.store.clean
        assert len(again.trail.list_facts()) == 1
        await again.accept(published())
        assert again.trail.check_chain() is None


async def test_a_full_disk_inside_a_handler_is_not_the_handlers_to_catch(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as desk:
        assert isinstance(desk.store, SqliteStore)
        make_full(desk.store)

        def act(_unit: Unit, scope: Scope) -> None:
            try:
                scope.tx.execute("create table shop_big as select zeroblob(9000000) as b")
            except apsw.FullError:
                return

        answer = await desk.decide(Unit(work=act, facts=[published()]))

    assert isinstance(answer, Lost)


async def test_a_projection_that_raises_refuses_the_unit_it_raised_at(tmp_path: Path) -> None:
    class Fragile(Counting):
        def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
            if case == "order:2":
                raise RuntimeError("cannot fold")
            return super().fold(case, state, facts)

    async with opened(tmp_path / "a.db", projection=Fragile()) as desk:
        await desk.start_run()
        answers: list[Answer] = await together(
            desk, Unit(facts=[stepped()]), Unit(facts=[stepped(), published("order:2")]), Unit(facts=[stepped()])
        )

        assert [type(answer) for answer in answers] == [Accepted, Refusal, Accepted]
        assert isinstance(answers[1], Refusal)
        assert (answers[1].why, str(answers[1].error)) == ("raised", "cannot fold")
        assert [fact.run_n for fact in desk.trail.list_facts()] == [1, 2, 3]
        run = desk.work.find_run(RUN)
        assert run is not None
        assert run.run_n == 3
        assert desk.trail.check_chain() is None


async def test_a_projection_that_raises_refuses_async_work_with_what_it_raised(tmp_path: Path) -> None:
    error = RuntimeError("cannot fold")

    class Fragile(Counting):
        def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
            if case == "order:2":
                raise error
            return super().fold(case, state, facts)

    async with opened(tmp_path / "a.db", projection=Fragile()) as desk:
        answer = await desk.refuse(Unit(work_async=empty, facts=[published("order:2")]))
        await desk.accept(published(), work_async=empty)

        assert (answer.why, answer.error) == ("raised", error)
        assert [fact.case for fact in desk.trail.list_facts()] == ["order:1"]


async def test_each_unit_whose_work_is_run_again_keeps_what_it_was_submitted_with(tmp_path: Path) -> None:
    def act(unit: Unit, _scope: Scope) -> None:
        unit.facts.append(published("order:9"))
        unit.writes.append(know(f"{len(unit.facts):032x}", must=None))

    def tear(_unit: Unit, scope: Scope) -> None:
        scope.tx.execute("create table shop_one (x unique)")
        scope.tx.execute("insert into shop_one values (1)")
        scope.tx.execute("insert or rollback into shop_one values (1)")

    units = [Unit(work=act, facts=[published(f"order:{n}") for n in range(count)]) for count in (3, 1, 2)]
    async with opened("memory:faults") as desk:
        answers = await together(desk, *units, Unit(work=tear))
        cases = [fact.case for fact in desk.trail.list_facts()]

    assert [len(answer.recorded) for answer in answers if isinstance(answer, Accepted)] == [4, 2, 3]
    assert cases == [
        *("order:0", "order:1", "order:2", "order:9"),
        *("order:0", "order:9"),
        *("order:0", "order:1", "order:9"),
    ]


async def test_work_that_is_run_again_adds_to_its_unit_once(tmp_path: Path) -> None:
    """The second unit's breach takes the transaction down, so the first one's work runs twice."""
    runs: list[int] = []

    def act(unit: Unit, scope: Scope) -> None:
        runs.append(len(unit.facts))
        unit.facts.append(published())

    def tear(_unit: Unit, scope: Scope) -> None:
        scope.tx.execute("create table shop_one (x unique)")
        scope.tx.execute("insert into shop_one values (1)")
        scope.tx.execute("insert or rollback into shop_one values (1)")

    async with opened("memory:faults") as desk:
        first, second = await together(desk, Unit(work=act, facts=[published()]), Unit(work=tear))

        assert isinstance(first, Accepted)
        assert isinstance(second, Refusal)
        assert (len(first.recorded), runs) == (2, [1, 1])


def make_full(store: SqliteStore) -> None:
    """Let the file grow no further: every later page is one that does not fit."""
    pages = store._executor.connection.pragma("page_count")
    store._executor.connection.pragma("max_page_count", int(str(pages)) + 2)
