"""What users' SQL may do."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from partita.errors import DefinitionError, StoreError
from partita.store.port import Scope, Unit
from partita.store.sqlite.migrate import list_migrations
from partita.store.sqlite.operations import STATEMENTS
from tests.conformance.store_desk import Desk, make_notes, notes, published
from tests.unit.store.sqlite_desk import opened


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path / "a.db") as desk:
        await desk.accept(work=lambda _unit, scope: make_notes(scope))
        yield desk


async def run(desk: Desk, *statements: str) -> BaseException | None:
    """What became of a unit whose work runs these statements."""

    def act(_unit: Unit, scope: Scope) -> None:
        for sql in statements:
            scope.tx.execute(sql)

    return getattr(await desk.decide(Unit(work=act)), "error", None)


@pytest.mark.parametrize(
    "sql",
    [
        "delete from trail",
        "DELETE FROM main.TRAIL",
        "update meta set value = '2'",
        "insert into request values ('x', 1)",
        "drop table trail",
        "alter table run add column x",
        "create index mine on trail (n)",
        "create trigger mine after insert on trail begin delete from shop_note; end",
        "with x as (select 1) delete from cases",
        "insert into shop_note values (1); delete from trail",
        "replace into grp values ('a', 'b', 1, 'c')",
    ],
)
async def test_partitas_own_tables_are_read_and_not_changed(desk: Desk, sql: str) -> None:
    await desk.accept(published())

    error = await run(desk, sql)

    assert isinstance(error, DefinitionError)
    assert "is partita's own" in str(error)
    assert len(desk.trail.list_facts()) == 1


async def test_a_users_trigger_cannot_change_what_the_user_may_not(desk: Desk) -> None:
    error = await run(
        desk,
        "create trigger mine after insert on shop_note begin delete from trail; end",
        "insert into shop_note values ('x')",
    )

    assert "trail is partita's own" in str(error)


@pytest.mark.parametrize("sql", sorted(STATEMENTS.values()))
async def test_a_text_that_is_one_of_our_own_gives_nobody_our_rights(desk: Desk, sql: str) -> None:
    def act(_unit: Unit, scope: Scope) -> None:
        scope.tx.execute(sql, *([1] * sql.count("?")))

    assert isinstance((await desk.refuse(Unit(work=act))).error, DefinitionError | apsw.BindingsError)


@pytest.mark.parametrize(
    "sql",
    [
        "begin",
        "commit",
        "rollback",
        "end",
        "savepoint mine",
        "release work",
        "rollback to unit",
        "pragma journal_mode = delete",
        "pragma synchronous = off",
        "select * from pragma_table_info('shop_note')",
        "attach ':memory:' as other",
        "detach main",
        "create temp table trail (seq)",
        "create temp view cases as select 1",
        "create table temp.shop_x (a)",
    ],
)
async def test_the_transaction_and_the_connection_are_not_the_users(desk: Desk, sql: str) -> None:
    error = await run(desk, "insert into shop_note values ('x')", sql)

    assert isinstance(error, DefinitionError)
    assert str(error).count("\n") == 1, "what happened, and what to do"
    assert await notes(desk) == []


async def test_a_users_tables_are_the_users(desk: Desk) -> None:
    error = await run(
        desk,
        "create table shop_a (x integer primary key, y)",
        "create index shop_a_y on shop_a (y)",
        "create view shop_b as select * from shop_a",
        "create trigger shop_t after insert on shop_a begin insert into shop_note values (new.y); end",
        "insert into shop_a (y) values ('told'); insert into shop_a (y) values ('twice')",
        "alter table shop_a add column z default 1",
        "select count(*) from trail join cases on cases.id = trail.case_id",
        "drop view shop_b",
    )

    assert error is None
    assert await notes(desk) == ["told", "twice"]


async def test_a_statement_that_rolls_all_back_refuses_its_unit_and_nobody_else(desk: Desk) -> None:
    await run(desk, "create table shop_one (x unique)")
    first = desk.submit(Unit(facts=[published()]))

    error = await run(
        desk, "insert into shop_one values (1)", "insert or rollback into shop_one values (1)", "delete from shop_note"
    )

    await desk.accept(published())
    assert isinstance(error, apsw.ConstraintError)
    assert (await first).recorded[0].seq == 1  # type: ignore[union-attr]
    assert [fact.seq for fact in desk.trail.list_facts()] == [1, 2]
    assert await run(desk, "insert into shop_one values (1)") is None


async def test_a_handler_that_goes_on_after_its_transaction_is_gone_writes_nothing_more(desk: Desk) -> None:
    await run(desk, "create table shop_one (x unique)")

    def act(_unit: Unit, scope: Scope) -> None:
        scope.tx.execute("insert into shop_one values (1)")
        with pytest.raises(apsw.ConstraintError):
            scope.tx.execute("insert or rollback into shop_one values (1)")
        with pytest.raises(StoreError, match="rolled back by an earlier error"):
            scope.tx.execute("insert into shop_note values ('outside any transaction')")

    refusal = await desk.refuse(Unit(work=act))

    assert isinstance(refusal.error, apsw.ConstraintError)
    assert await notes(desk) == []


async def test_what_is_partitas_own_is_what_the_migrations_make(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "a.db"))
    try:
        names = {
            name for (name,) in connection.execute("select name from sqlite_schema where type in ('table', 'view')")
        }
    finally:
        connection.close()
    made = {word for _number, sql in list_migrations() for word in sql.replace("(", " ").split()}

    assert names - made == {"shop_note"} & names
