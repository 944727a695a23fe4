"""Who decides a unit: the writer's thread, in batches, or the loop itself where the writer has nothing to do."""

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from partita.store import work
from partita.store.facts import Fact
from partita.store.port import Accepted, CaseRow, Refusal, Scope, Unit, Write
from partita.store.sqlite import lanes
from tests.conformance.store_desk import RUN, Counting, add_run, know, owe, published, stepped, together
from tests.unit.store.sqlite_desk import opened

MANY = lanes.HERE_MAX + 1


class Watching(Counting):
    """Notes in which thread it folds: that is where the transaction is."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
        self.threads.append(threading.current_thread().name)
        return super().fold(case, state, facts)


def nothing(_unit: Unit, _scope: Scope) -> None:
    """Work of users'."""


async def test_a_unit_that_meets_an_idle_writer_is_decided_on_the_loop(tmp_path: Path) -> None:
    seen = Watching()
    async with opened(tmp_path / "shop.db", projection=seen) as desk:
        await desk.accept(published())

    assert seen.threads == [threading.main_thread().name]


async def test_many_units_go_to_the_writer_in_one_batch(tmp_path: Path) -> None:
    seen = Watching()
    async with opened(tmp_path / "shop.db", projection=seen) as desk:
        await together(desk, *(Unit(facts=[published()]) for _ in range(MANY)))

    assert seen.threads == ["partita-writer"]
    assert seen.folds == [("order:1", MANY)]


async def test_a_unit_with_code_of_users_goes_to_the_writer(tmp_path: Path) -> None:
    seen = Watching()
    async with opened(tmp_path / "shop.db", projection=seen) as desk:
        await desk.decide(Unit(facts=[published()], work=nothing))

    assert seen.threads == ["partita-writer"]


async def test_what_comes_while_the_writer_works_waits_behind_it(tmp_path: Path) -> None:
    begun, free = threading.Event(), threading.Event()

    def hold(_unit: Unit, _scope: Scope) -> None:
        begun.set()
        free.wait(5)

    async with opened(tmp_path / "shop.db") as desk:
        first = desk.submit(Unit(facts=[published()], work=hold))
        desk.store._lane._hand_over()
        begun.wait(5)
        second = desk.submit(Unit(facts=[published()]))
        desk.store._lane._hand_over()
        third = desk.store.refold([])
        free.set()
        answers = [await first, await second]
        await third

    assert [answer.recorded[0].seq for answer in answers if isinstance(answer, Accepted)] == [1, 2]


async def test_a_slow_commit_sends_the_next_ones_to_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "HERE_S_MAX", -1.0)
    monkeypatch.setattr(lanes, "PATIENCE", 2)
    seen = Watching()
    async with opened(tmp_path / "shop.db", projection=seen) as desk:
        for _ in range(4):
            await desk.accept(published())

    here, away = threading.main_thread().name, "partita-writer"
    assert seen.threads == [here, away, away, here]


# Savepoints.


class Handlers:
    """Units that write a row each; some of them fail."""

    def __init__(self) -> None:
        self.calls = [0] * 4

    def unit(self, number: int, *, fails: bool = False, keeps: bool = True) -> Unit:
        def act(scope: Scope) -> tuple[None, bool]:
            self.calls[number] += 1
            scope.tx.execute("insert into shop_row values (?)", number)
            if fails:
                raise ValueError("no")
            return None, keeps

        return Unit(facts=[published(f"order:{number}")], work=lambda _unit, scope: scope.attempt(lambda: act(scope)))


def make_table(_unit: Unit, scope: Scope) -> None:
    scope.tx.execute("create table shop_row (n integer)")


def read_rows(into: list[int]) -> Unit:
    def read(_unit: Unit, scope: Scope) -> None:
        into[:] = [row["n"] for row in scope.tx.list_rows("select n from shop_row order by n")]

    return Unit(work=read)


async def test_one_that_fails_takes_nobody_with_it(tmp_path: Path) -> None:
    shop, rows = Handlers(), list[int]()
    async with opened(tmp_path / "shop.db") as desk:
        await desk.decide(Unit(work=make_table))
        answers = await together(desk, shop.unit(0), shop.unit(1, fails=True), shop.unit(2))
        await desk.decide(read_rows(rows))

    assert [type(answer) for answer in answers] == [Accepted, Refusal, Accepted]
    assert rows == [0, 2]


async def test_after_one_has_failed_the_next_failure_begins_nothing_anew(tmp_path: Path) -> None:
    first, second = Handlers(), Handlers()
    async with opened(tmp_path / "shop.db") as desk:
        await desk.decide(Unit(work=make_table))
        await together(desk, first.unit(0), first.unit(1, fails=True))
        await together(desk, second.unit(0), second.unit(1, fails=True))

    assert first.calls[:2] == [2, 1]
    assert second.calls[:2] == [1, 1]


async def test_writes_that_are_dropped_leave_the_unit_and_the_others(tmp_path: Path) -> None:
    shop, rows = Handlers(), list[int]()
    async with opened(tmp_path / "shop.db") as desk:
        await desk.decide(Unit(work=make_table))
        answers = await together(desk, shop.unit(0), shop.unit(1, keeps=False), shop.unit(2))
        await together(desk, shop.unit(3, keeps=False))
        await desk.decide(read_rows(rows))

    assert [type(answer) for answer in answers] == [Accepted] * 3
    assert rows == [0, 2]


LATE = Write(work.CLOSE_REQUEST, ("r9",), "no such request")
FIRST = Write(work.MOVE_RUN, ("open", 7, RUN))


@pytest.mark.parametrize(
    "refused",
    [
        Unit(expects={RUN: (7, 0)}),
        Unit(facts=[stepped("fulfil/order:9/1")]),
        Unit(writes=[LATE]),
        Unit(writes=[know(must=None), LATE]),
        Unit(facts=[published()], writes=[owe(), LATE]),
        Unit(writes=[add_run("ship/order:1/1"), LATE]),
        Unit(facts=[stepped()], writes=[FIRST, LATE]),
    ],
    ids=["moved", "no run", "first write", "message", "obligation", "run", "run moved"],
)
async def test_a_guard_that_does_not_hold_begins_nothing_anew(tmp_path: Path, refused: Unit) -> None:
    calls: list[str] = []
    unit = msgspec.structs.replace(refused, facts=[*refused.facts], writes=[*refused.writes])
    async with opened(tmp_path / "shop.db") as desk:
        await desk.start_run()
        answers = await together(
            desk, Unit(work=lambda _unit, _scope: calls.append("one")), unit, Unit(facts=[stepped()])
        )

    assert [type(answer) for answer in answers] == [Accepted, Refusal, Accepted]
    assert calls == ["one"], "work of others is not run again"
