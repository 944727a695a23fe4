"""How long a handler may hold the writer."""

import asyncio
import logging
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from partita.clock import SystemClock
from partita.errors import StoreError
from partita.limits import LIMITS
from partita.store.port import Accepted, AsyncScope, Refusal, Scope, Unit
from tests.conformance.store_desk import make_notes, note, notes, published, together
from tests.unit.store.sqlite_desk import IMPATIENT, opened

ENDLESS = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n"
ENDLESS_WRITE = "insert into shop_note with recursive n (i) as (select 1 union all select i + 1 from n) select i from n"


@pytest.mark.parametrize("sql", [ENDLESS, ENDLESS_WRITE])
async def test_sql_that_does_not_end_is_interrupted_and_refuses_only_its_unit(tmp_path: Path, sql: str) -> None:
    async with opened(tmp_path / "a.db", limits=IMPATIENT) as desk:
        await desk.accept(work=lambda _unit, scope: make_notes(scope))

        def act(_unit: Unit, scope: Scope) -> None:
            scope.tx.execute("insert into shop_note values ('mine')")
            scope.tx.execute(sql)

        before, refused, after = await together(
            desk, Unit(work=note("before")), Unit(work=act, label="handling shop Count"), Unit(work=note("after"))
        )

        assert isinstance(before, Accepted)
        assert isinstance(after, Accepted)
        assert isinstance(refused, Refusal)
        assert isinstance(refused.error, StoreError)
        assert "handling shop Count: held the writer for more than 0.2 s" in str(refused.error)
        assert "limits.writer_interrupt_s" in str(refused.error)
        assert await notes(desk) == ["before", "after"]


async def test_a_handler_that_goes_on_after_its_interrupt_writes_nothing_more(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", limits=IMPATIENT) as desk:
        await desk.accept(work=lambda _unit, scope: make_notes(scope))
        later: list[BaseException] = []

        def act(_unit: Unit, scope: Scope) -> None:
            for sql in (ENDLESS_WRITE, "insert into shop_note values ('outside any transaction')"):
                try:
                    scope.tx.execute(sql)
                except Exception as error:  # noqa: BLE001 - it wants to go on
                    later.append(error)

        refusal = await desk.refuse(Unit(work=act))

        assert refusal.why == "raised"
        assert len(later) == 2
        assert await notes(desk) == []


async def test_python_that_takes_too_long_is_refused_when_it_ends(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", limits=IMPATIENT) as desk:
        refusal = await desk.refuse(Unit(work=lambda _unit, _scope: threading.Event().wait(0.6), facts=[published()]))

        assert "held the writer" in str(refusal.error)
        assert desk.trail.list_facts() == []


async def test_async_work_that_takes_too_long_is_cancelled_and_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", limits=IMPATIENT) as desk:
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def act(_unit: Unit, _scope: AsyncScope) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.set_result("cancelled")
                raise

        refusal = await desk.refuse(Unit(work_async=act, label="handling shop Wait"))
        await desk.accept(published())

        assert await ended == "cancelled"
        assert "handling shop Wait: held the writer" in str(refusal.error)


async def test_async_work_that_will_not_be_cancelled_can_do_no_more_harm(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", limits=IMPATIENT) as desk:
        await desk.accept(work=lambda _unit, scope: make_notes(scope))
        ended: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

        async def act(_unit: Unit, scope: AsyncScope) -> None:
            said: list[str] = []
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                for attempt in (scope.mark(), scope.tx.execute("insert into shop_note values ('late')")):
                    try:
                        await attempt
                    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever stops it
                        said.append(type(error).__name__)
            ended.set_result(said)

        await desk.refuse(Unit(work_async=act))
        await desk.accept(published())

        assert len(await ended) == 2
        assert await notes(desk) == []


async def test_work_that_takes_a_while_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path / "a.db", limits=IMPATIENT, clock=SystemClock()) as desk:
        with caplog.at_level(logging.WARNING):
            await desk.accept(work=lambda _unit, _scope: threading.Event().wait(0.03), label="handling shop Slow")

    assert "writer.slow unit=handling shop Slow" in caplog.text


@pytest.mark.crash
def test_python_that_never_ends_ends_the_process_with_its_stack(tmp_path: Path) -> None:
    script = f"""
        import asyncio
        from dataclasses import replace
        from pathlib import Path
        from partita.limits import LIMITS
        from partita.store.port import Unit
        from tests.unit.store.sqlite_desk import opened

        def never_ends(unit, scope):
            while True:
                pass

        async def main():
            limits = replace(LIMITS, writer_interrupt_s=0.1, writer_dead_s=0.4)
            async with opened(Path({str(tmp_path / "a.db")!r}), limits=limits) as desk:
                await desk.decide(Unit(work=never_ends, label="handling shop Spin"))

        asyncio.run(main())
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=20, check=False
    )

    assert ended.returncode == 70
    assert "writer.dead unit=handling shop Spin" in ended.stderr
    assert "never_ends" in ended.stderr


async def test_a_long_pause_between_two_works_is_nobodys_fault(tmp_path: Path) -> None:
    limits = replace(LIMITS, writer_interrupt_s=0.02)
    async with opened(tmp_path / "a.db", limits=limits) as desk:
        for _ in range(3):
            await desk.accept(work=lambda _unit, scope: make_notes(scope))
            await asyncio.sleep(0.1)
