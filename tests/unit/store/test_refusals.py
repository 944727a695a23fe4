"""What a store says when it refuses: the first line what and which, the second what to do."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from partita.errors import DefinitionError, StoreError, StoreHeld
from partita.limits import Limits
from partita.store.port import Scope, Unit
from partita.store.sqlite import guard as guard_room
from partita.store.sqlite.codec import CODEC_ERASED, CODEC_PACKED, unpack
from partita.store.sqlite.connection import Rows, open_connection
from partita.store.sqlite.guard import SqlGuard, list_own_tables
from partita.store.sqlite.lock import SOCKET_PATH_BYTES_MAX, hold, lock_path, socket_path
from partita.store.sqlite.migrate import list_migrations, read_format
from partita.store.sqlite.names import Names, split_case
from partita.store.sqlite.store import open_reader
from partita.store.sqlite.watchdog import Watch
from tests.conformance.store_desk import NOW, Counting, SetClock
from tests.unit.store.sqlite_desk import opened

NEWEST = list_migrations()[-1][0]


def said(act: Callable[[], Any], kind: type[Exception] = StoreError) -> str:
    with pytest.raises(kind) as caught:
        act()
    assert type(caught.value) is kind
    return str(caught.value)


def made(path: Path, *sql: str) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    for one in sql:
        connection.execute(one).fetchall()
    return connection


# Opening.


def test_a_store_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "shop.db"

    assert said(lambda: open_connection(path)) == (
        f"store {path}: there is no directory {path.parent}\nMake the directory, or name another."
    )


def test_a_store_that_is_not_there_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    assert said(lambda: open_connection(path, readonly=True)) == (
        f"store {path}: there is no such file\nName an existing store, or start an app on it first."
    )
    assert not path.exists()


@pytest.mark.parametrize("readonly", [True, False])
def test_a_place_that_is_no_file(tmp_path: Path, readonly: bool) -> None:
    first, second = said(lambda: open_connection(tmp_path, readonly=readonly)).split("\n")

    assert first in {
        f"store {tmp_path}: cannot be opened (unable to open database file)",
        f"store {tmp_path}: cannot be opened (disk I/O error)",
    }
    may = "read" if readonly else "written"
    assert second == f"Check that the file and its directory may be {may} by this user, or name another store."


def test_an_empty_file_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.touch()

    assert said(lambda: open_reader(path, clock=SetClock(), projection=Counting())) == (
        f"store {path}: the file is empty\nName an existing store, or start an app on it first."
    )


async def test_a_file_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_connection: apsw.Connection) -> None:
        raise apsw.ReadOnlyError("attempt to write a readonly database")

    monkeypatch.setattr("partita.store.sqlite.store.set_durable", refuse)
    path = tmp_path / "shop.db"
    with pytest.raises(StoreError) as caught:
        async with opened(path):
            pass

    assert str(caught.value) == (
        f"store {path}: cannot be written (attempt to write a readonly database)\n"
        "Check that the file and its directory may be written by this user, or name another store."
    )


# What the file is.


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.write_text("not a database" * 100)
    connection = open_connection(path, readonly=True)

    assert said(lambda: read_format(connection, name="x")) == (
        "store x: not an SQLite file\nName another file; this one is left as it was."
    )


@pytest.mark.parametrize("sql", ["create table theirs (a)", "pragma application_id = 5"])
def test_a_database_of_another_application(tmp_path: Path, sql: str) -> None:
    assert said(lambda: read_format(made(tmp_path / "x.db", sql), name="x")) == (
        "store x: an SQLite database of another application\nName another file; this one is left as it was."
    )


def test_a_database_that_is_locked_up(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    holder = made(path, "create table a (b)", "begin exclusive")
    reader = apsw.Connection(str(path))

    assert said(lambda: read_format(reader, name="x")) == (
        "store x: cannot be read (database is locked)\n"
        "Run `partita doctor`, and check the file's permissions; if it is broken, restore the last backup."
    )
    holder.close()


def test_a_store_that_does_not_say_its_format(tmp_path: Path) -> None:
    mark = "pragma application_id = 0x70617274"
    assert said(lambda: read_format(made(tmp_path / "a.db", mark, "create table x (y)"), name="x")) == (
        "store x: cannot be read (no such table: meta)\n"
        "Run `partita doctor`, and check the file's permissions; if it is broken, restore the last backup."
    )
    connection = made(
        tmp_path / "b.db", mark, "create table meta (key, value)", "insert into meta values ('format', 'x')"
    )
    assert said(lambda: read_format(connection, name="x")).startswith(
        "store x: cannot be read (invalid literal for int"
    )


@pytest.mark.parametrize(("format", "oldest", "readonly"), [(99, 99, True), (99, 1, False), (99, None, True)])
def test_a_store_of_a_newer_version(tmp_path: Path, format: int, oldest: int | None, readonly: bool) -> None:
    path = tmp_path / "x.db"
    made(
        path,
        "pragma application_id = 0x70617274",
        "create table meta (key text primary key, value text)",
        f"insert into meta values ('format', '{format}')",
        *([f"insert into meta values ('format_oldest_readable', '{oldest}')"] if oldest else []),
    ).close()
    connection = open_connection(path, readonly=readonly)

    assert said(lambda: read_format(connection, name="x")) == (
        f"store x: format 99 was written by a newer partita; this one knows formats up to {NEWEST}\n"
        "Install the newer version: pip install --upgrade partita"
    )


def test_a_newer_store_that_this_version_can_read_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    made(
        path,
        "pragma application_id = 0x70617274",
        "create table meta (key text primary key, value text)",
        f"insert into meta values ('format', '99'), ('format_oldest_readable', '{NEWEST}')",
    ).close()

    assert read_format(open_connection(path, readonly=True), name="x") == 99


# Who holds it.


def test_a_store_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    lock = hold(path, now_us=NOW)

    assert said(lambda: hold(path, now_us=NOW), StoreHeld) == (
        f"store {path}: held by process {os.getpid()}\nStop it (kill {os.getpid()}), or send it what you want done."
    )
    lock_path(path).write_text("?")
    assert said(lambda: hold(path, now_us=NOW), StoreHeld) == (
        f"store {path}: held by another process\nStop it, or send it what you want done."
    )
    lock.release()


def test_a_lock_file_that_can_not_be_made(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "shop.db"

    assert said(lambda: hold(path, now_us=NOW)) == (
        f"store {path}: cannot make its lock file (No such file or directory)\n"
        "Check that its directory exists and may be written by this user."
    )


def test_a_private_directory_that_others_can_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    private = tmp_path / f"partita-{os.getuid()}"
    private.mkdir()
    private.chmod(0o710)
    path = tmp_path / ("x" * SOCKET_PATH_BYTES_MAX) / "shop.db"

    assert said(lambda: socket_path(path)) == (
        f"store {path}: {private} is not private\nTake it away, or use a shorter path for the store: the socket"
        " beside it may have 100 bytes."
    )
    private.chmod(0o700)
    assert socket_path(path).parent == private


# Names, bytes, time.


@pytest.mark.parametrize("case", ["12345", ":12345", "", "order"])
def test_a_case_without_a_type(case: str) -> None:
    assert said(lambda: split_case(case)) == (
        f"case {case!r} has no type\nA case is written type:key, as in order:12345."
    )


def test_a_case_s_key_may_have_colons_and_may_be_empty() -> None:
    assert split_case("order:a:b") == ("order", "a:b")
    assert split_case("order:") == ("order", "")


def test_a_number_in_the_trail_that_has_no_name() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("create table source (id, name)").fetchall()
    names = Names(Rows(connection))

    assert said(lambda: names.get_source(7)) == (
        "number 7 stands in the trail and has no name: select name from source where id = ?\nRun: partita doctor"
    )


def test_bytes_that_are_not_what_was_packed() -> None:
    assert said(lambda: unpack(CODEC_PACKED, b"\xff\xff")).startswith("packed bytes are broken (Error -3 ")
    assert said(lambda: unpack(CODEC_PACKED, b"\xff\xff")).endswith(")\nRun `partita doctor`.")


@pytest.mark.parametrize("codec", [CODEC_ERASED, 9])
def test_a_way_of_packing_that_is_not_known(codec: int) -> None:
    assert said(lambda: unpack(codec, b"")) == (
        f"codec {codec} is not known\nInstall the newer version: pip install --upgrade partita"
    )


@pytest.mark.parametrize(("label", "who"), [("handling stock Reserve", "handling stock Reserve"), ("", "a unit")])
def test_work_that_has_held_the_writer_too_long(label: str, who: str) -> None:
    watch = Watch(clock=SetClock(), limits=Limits(writer_interrupt_s=1.5))
    watch.begin(label)
    watch.check()
    watch.overdue = True

    assert said(watch.check) == (
        f"{who}: held the writer for more than 1.5 s and was rolled back\n"
        "Do less in one transaction, use `async def` without tx for the world outside,"
        " or raise limits.writer_interrupt_s."
    )
    watch.begin(label)
    watch.check()


def test_a_watch_s_turn_is_odd_while_a_work_goes_on() -> None:
    watch = Watch(clock=SetClock(), limits=Limits())
    assert (watch.turn, watch.label, watch.overdue, watch.stirred.is_set()) == (0, "", False, False)
    watch.begin("a")
    assert (watch.turn, watch.label, watch.stirred.is_set()) == (1, "a", True)
    watch.end()
    assert watch.turn == 2
    assert isinstance(watch.lock, type(threading.Lock()))


@pytest.mark.parametrize(("took_us", "warned"), [(50_000, False), (50_001, True), (2_000_000, True)])
def test_work_that_takes_longer_than_its_limit_is_told_of(
    took_us: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SetClock()
    watch = Watch(clock=clock, limits=Limits(writer_warn_s=0.05))
    watch.begin("a")
    clock.us += took_us
    watch.end()

    assert ("writer.slow" in caplog.text) is warned


# What a handler's transaction may not do.


async def refused(path: Path, *sql: str) -> str:
    """What the last of these statements is refused with, inside a handler's transaction."""

    def work(_unit: Unit, scope: Scope) -> None:
        for one in sql:
            scope.tx.execute(one)

    async with opened(path) as desk:
        answer = await desk.refuse(Unit(work=work))
    assert isinstance(answer.error, DefinitionError)
    return str(answer.error)


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("commit", "begin, commit and rollback are not for a handler's tx: COMMIT"),
        ("savepoint mine", "savepoints are not for a handler's tx: BEGIN"),
        ("pragma user_version", "pragmas are not for a handler's tx: user_version"),
        ("attach ':memory:' as other", "attached databases are not for a handler's tx: :memory:"),
        ("attach 'a' || 'b' as other", "attached databases are not for a handler's tx: "),
        ("detach main", "attached databases are not for a handler's tx: main"),
    ],
)
async def test_a_handler_can_not_take_over_the_transaction(tmp_path: Path, sql: str, what: str) -> None:
    assert await refused(tmp_path / "shop.db", sql) == (
        f"{what}\nThe handling's transaction is kept when the handler returns, and dropped when it raises."
    )


@pytest.mark.parametrize(
    "sql",
    [
        "insert into trail (seq) values (9)",
        "update meta set value = ''",
        "delete from obligation",
        "drop table trail",
        "alter table trail add column mine",
        "create index mine on trail (at)",
        "create trigger mine after insert on trail begin select 1; end",
    ],
)
async def test_a_handler_can_not_change_our_tables(tmp_path: Path, sql: str) -> None:
    (table,) = {"trail", "meta", "obligation"} & set(sql.replace("(", " ").split())
    assert await refused(tmp_path / "shop.db", sql) == (
        f"table {table} is partita's own: a handler's tx may read it, not change it\n"
        "Keep what the handler knows in a table named after its service, as inventory_stock."
    )


async def test_a_handler_can_not_make_temporary_tables(tmp_path: Path) -> None:
    assert await refused(tmp_path / "shop.db", "create temp table mine (a)") == (
        "temporary tables are not for a handler's tx: they outlive it, and can hide a table of the same name\n"
        "Keep what the handler needs in a table named after its service, or in the handler."
    )


def test_texts_that_have_passed_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_room, "CHECKED_MAX", 2)
    guard = SqlGuard(apsw.Connection(":memory:"), frozenset())
    assert (guard.user, guard.is_checked("a")) == (False, False)
    guard.remember("a")
    guard.remember("b")
    assert guard.is_checked("a")
    guard.remember("c")

    assert [guard.is_checked(sql) for sql in "abc"] == [False, False, True]


def test_our_own_tables_are_those_that_the_migrations_make() -> None:
    own = list_own_tables(
        ["create table trail (\n a)\ncreate view run_named as", "-- create table no\ncreate table b ("]
    )

    assert own == {"trail", "run_named", "b"}


# A transaction that is over.


async def test_a_tx_that_was_kept_for_later_is_refused(tmp_path: Path) -> None:
    kept: list[Scope] = []

    def work(_unit: Unit, scope: Scope) -> None:
        kept.append(scope)

    async with opened(tmp_path / "shop.db") as desk:
        await desk.accept(work=work)
        assert said(lambda: kept[0].tx.execute("select 1"), DefinitionError) == (
            "this tx is over: its handling has ended\nUse a tx inside its handler only."
        )


async def test_a_row_that_is_not_there_is_told_with_its_statement(tmp_path: Path) -> None:
    def work(unit: Unit, scope: Scope) -> None:
        unit.result = [
            said(lambda: scope.tx.get_row("select 1\n  where ? = 2", 1), LookupError),
            scope.tx.find_row("select 1 where 1 = 2"),
            scope.tx.find_row("select 1 as a, 2 as b union select 3, 4"),
            scope.tx.get_row("select 7 as a"),
            scope.tx.list_rows("select 1 as a, 2 as b union select 3, 4"),
            scope.tx.list_rows("select 1 where 1 = 2"),
            scope.now_us(),
        ]

    async with opened(tmp_path / "shop.db") as desk:
        answer = await desk.accept(work=work)

    assert answer.result == [
        "no row: select 1 where ? = 2 with (1,)\nUse find_row where there may be none.",
        None,
        {"a": 1, "b": 2},
        {"a": 7},
        [{"a": 1, "b": 2}, {"a": 3, "b": 4}],
        [],
        NOW,
    ]


async def test_a_statement_says_how_many_rows_it_changed(tmp_path: Path) -> None:
    def work(unit: Unit, scope: Scope) -> None:
        tx = scope.tx
        unit.result = [
            tx.execute("create table shop_a (b)"),
            tx.execute("insert into shop_a values (?), (?), (3)", 1, 2),
            tx.execute("update shop_a set b = 0 where b > 1"),
            tx.execute("select * from shop_a"),
            tx.execute("delete from shop_a where b = 9"),
        ]

    async with opened(tmp_path / "shop.db") as desk:
        assert (await desk.accept(work=work)).result == [0, 3, 2, 0, 0]


async def test_a_text_of_several_statements_is_run_to_its_end(tmp_path: Path) -> None:
    def work(unit: Unit, scope: Scope) -> None:
        scope.tx.execute("create table shop_a (b); select 1; insert into shop_a values (7); select 2")
        unit.result = scope.tx.list_rows("select b from shop_a")

    async with opened(tmp_path / "shop.db") as desk:
        assert (await desk.accept(work=work)).result == [{"b": 7}]


async def test_after_an_error_that_took_the_transaction_with_it_nothing_more_is_done(tmp_path: Path) -> None:
    told: list[str] = []

    def work(_unit: Unit, scope: Scope) -> None:
        scope.tx.execute("create table shop_a (b unique)")
        scope.tx.execute("insert into shop_a values (1)")
        with pytest.raises(apsw.ConstraintError):
            scope.tx.execute("insert or rollback into shop_a values (1)")
        told.append(said(lambda: scope.tx.execute("insert into shop_a values (2)")))

    async with opened(tmp_path / "shop.db") as desk:
        await desk.refuse(Unit(work=work))

    assert told == ["this tx was rolled back by an earlier error\nLet that error leave the handler."] * len(told)
    assert told


async def test_an_attempt_that_took_the_transaction_with_it_raises_what_did_so(tmp_path: Path) -> None:
    def work(_unit: Unit, scope: Scope) -> None:
        scope.tx.execute("create table shop_a (b unique)")
        scope.tx.execute("insert into shop_a values (1)")
        with pytest.raises(apsw.ConstraintError):
            scope.attempt(lambda: (scope.tx.execute("insert or rollback into shop_a values (1)"), True))

    async with opened(tmp_path / "shop.db") as desk:
        assert isinstance((await desk.refuse(Unit(work=work))).error, apsw.ConstraintError)
