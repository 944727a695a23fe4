"""Which files are a store, and which are left alone."""

from pathlib import Path

import apsw
import pytest

from partita.errors import StoreError
from partita.store.sqlite.connection import APPLICATION_ID
from partita.store.sqlite.migrate import find_meta, list_migrations, read_format
from partita.store.sqlite.store import open_reader, open_store
from tests.conformance.store_desk import NOW, Counting, SetClock, published
from tests.unit.store.sqlite_desk import opened


def attempt(path: Path) -> str:
    """What is said to one who opens it."""
    with pytest.raises(StoreError) as refused:
        open_store(path, clock=SetClock(), projection=Counting())
    said = str(refused.value)
    assert said.count("\n") == 1, "what happened, and what to do"
    assert f"store {path}: " in said or "meta says" in said
    return said


def make(path: Path, sql: str) -> bytes:
    connection = apsw.Connection(str(path))
    connection.execute(sql).fetchall()
    connection.close()
    return path.read_bytes()


def age(path: Path, key: str, value: str) -> None:
    make(path, f"update meta set value = '{value}' where key = '{key}'")


async def test_a_new_store_says_what_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "shop.db"):
        pass

    connection = apsw.Connection(str(tmp_path / "shop.db"), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("journal_mode") == "wal"
    assert find_meta(connection, "app") == "shop"
    assert find_meta(connection, "generation") == "1"
    assert find_meta(connection, "format") == str(list_migrations()[-1][0])
    assert find_meta(connection, "clean") == "1"
    assert str(find_meta(connection, "source")).startswith("shop-")
    connection.close()


@pytest.mark.parametrize(("app", "called"), [("shop", "shop"), ("", "store")])
def test_a_new_store_has_a_name_of_its_own_and_says_when_it_was_made(tmp_path: Path, app: str, called: str) -> None:
    path, clock = tmp_path / "new.db", SetClock()
    clock.new_id = lambda: "0123456789abcdef" * 2  # type: ignore[method-assign]
    store = open_store(path, clock=clock, projection=Counting(), app=app)
    assert store.clean, "nobody has left it in a hurry"
    assert (store.app, store.generation, store.source) == (app, 1, f"{called}-89abcdef/1")
    store.abandon()

    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    kept = dict(connection.execute("select key, value from meta"))
    connection.close()
    newest = str(list_migrations()[-1][0])
    assert kept == {
        "app": app,
        "source": f"{called}-89abcdef",
        "generation": "1",
        "clean": "0",
        "created_at": str(NOW),
        "format": newest,
        "format_oldest_readable": "1",
    }


@pytest.mark.parametrize(
    ("change", "generation"),
    [
        ("update meta set value = '12' where key = 'generation'", 12),
        ("delete from meta where key = 'generation'", 1),
    ],
)
async def test_a_store_says_which_life_it_is_in(tmp_path: Path, change: str, generation: int) -> None:
    path = tmp_path / "shop.db"
    async with opened(path):
        pass
    make(path, change)

    reader = open_reader(path, clock=SetClock(), projection=Counting())
    assert reader.generation == generation
    reader.close()


@pytest.mark.parametrize("said", ["x", "1.5", "\u0663"])
async def test_a_life_that_is_no_number_is_refused(tmp_path: Path, said: str) -> None:
    path = tmp_path / "shop.db"
    async with opened(path):
        pass
    age(path, "generation", said)

    assert attempt(path) == (
        f"meta says generation {said!r}, which is no number\n"
        "Run `partita doctor`, and check the file's permissions; if it is broken, restore the last backup."
    )


async def test_two_stores_of_one_app_number_their_facts_apart(tmp_path: Path) -> None:
    clock = SetClock()
    async with opened(tmp_path / "a.db", clock=clock) as a, opened(tmp_path / "b.db", clock=clock) as b:
        await a.accept(published())
        await b.accept(published())

        assert a.trail.list_facts()[0].source != b.trail.list_facts()[0].source


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "shop.db").touch()

    async with opened(tmp_path / "shop.db") as desk:
        await desk.accept(published())


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear store, " * 500)
    before = path.read_bytes()

    assert "not an SQLite file" in attempt(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_somebody_else_is_refused_and_left_as_it_was(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "theirs.db"
    before = make(path, f"pragma journal_mode={mode}; create table meta (key, value)")

    assert "of another application" in attempt(path)
    assert path.read_bytes() == before


def test_a_database_with_another_mark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    make(path, "pragma application_id = 7")

    assert "of another application" in attempt(path)


async def test_a_newer_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path):
        pass
    age(path, "format", "99")

    assert "pip install --upgrade partita" in attempt(path)
    age(path, "format", "1")
    async with opened(path):
        pass


async def test_a_newer_format_is_read_where_it_says_that_it_can_be(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        await desk.accept(published())
    age(path, "format", "99")

    reader = open_reader(path, clock=SetClock(), projection=Counting())
    assert len(reader.trail.list_facts()) == 1
    reader.close()
    age(path, "format_oldest_readable", "99")
    with pytest.raises(StoreError, match=f"store {path}: format 99 was written by a newer partita"):
        open_reader(path, clock=SetClock(), projection=Counting())


def test_a_place_that_cannot_be_written_is_refused_with_a_remedy(tmp_path: Path) -> None:
    assert "there is no directory" in attempt(tmp_path / "nowhere" / "shop.db")
    assert "cannot make its lock file" in attempt(Path("/proc/shop.db"))
    (tmp_path / "folder.db").mkdir()
    assert "that is a directory" in attempt(tmp_path / "folder.db")


def test_a_missing_store_is_not_made_by_reading_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        open_reader(tmp_path / "shop.db", clock=SetClock(), projection=Counting())

    assert list(tmp_path.iterdir()) == []


async def test_a_reader_sees_what_the_writer_commits_and_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        reader = open_reader(path, clock=SetClock(), projection=Counting())
        await desk.accept(published())
        assert [fact.kind for fact in reader.trail.list_facts()] == ["published"]
        assert (reader.app, reader.generation) == ("shop", 1)
        reader.close()


def test_migrations_are_numbered_without_a_gap_and_say_why() -> None:
    migrations = list_migrations()

    assert [number for number, _sql in migrations] == list(range(1, len(migrations) + 1))
    assert all(sql.startswith("-- ") for _number, sql in migrations)


def test_an_empty_database_has_no_format_yet(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "new.db"))

    assert read_format(connection, name="new.db") == 0
    connection.close()
