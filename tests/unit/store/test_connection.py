"""How a database is opened: what an answered commit survives, and who shares one that is in memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from partita.errors import StoreError
from partita.store.sqlite.connection import forget_memory, is_memory, open_connection, select, set_durable


@pytest.fixture
def memory() -> Iterator[list[str]]:
    names = ["memory:one", "memory:two"]
    yield names
    for name in names:
        forget_memory(name)


def write(place: str | Path, text: str) -> None:
    connection = open_connection(place)
    connection.execute("create table if not exists note (text)")
    connection.execute("insert into note values (?)", (text,))
    connection.close()


def read(place: str | Path) -> list[str]:
    connection = open_connection(place)
    try:
        return [text for (text,) in select(connection, "select text from note where text > ?", ("",))]
    finally:
        connection.close()


def test_a_name_in_memory_is_one_database_until_it_is_forgotten(memory: list[str]) -> None:
    one, two = memory
    write(one, "a")
    write(two, "b")
    write(one, "c")

    assert (read(one), read(two)) == (["a", "c"], ["b"])
    forget_memory(one)
    forget_memory(one)
    with pytest.raises(apsw.SQLError, match="no such table"):
        read(one)
    assert read(two) == ["b"]


def test_only_a_word_names_a_database_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_memory("memory:one")
    assert not is_memory("a/memory:one")
    assert not is_memory(Path("memory:one"))

    monkeypatch.chdir(tmp_path)
    write(Path("memory:one"), "a")
    assert (tmp_path / "memory:one").exists()


def test_a_file_that_is_opened_to_be_read_is_not_written(tmp_path: Path) -> None:
    write(tmp_path / "a.db", "a")

    connection = open_connection(str(tmp_path / "a.db"), readonly=True)
    with pytest.raises(apsw.ReadOnlyError):
        connection.execute("insert into note values ('b')")
    connection.close()
    assert read(tmp_path / "a.db") == ["a"]


def test_an_answered_commit_survives_a_loss_of_power(tmp_path: Path) -> None:
    connection = open_connection(tmp_path / "a.db")
    set_durable(connection)

    said = {
        name: connection.pragma(name)
        for name in (
            "journal_mode",
            "synchronous",
            "mmap_size",
            "wal_autocheckpoint",
            "cache_size",
            "journal_size_limit",
        )
    }
    connection.close()
    assert said == {
        "journal_mode": "wal",
        "synchronous": 2,
        "mmap_size": 0,
        "wal_autocheckpoint": 1_000,
        "cache_size": -16_000,
        "journal_size_limit": 64 << 20,
    }


def test_one_who_meets_a_lock_waits_for_a_while(tmp_path: Path) -> None:
    """An engine must not stop because a backup or another program holds the file for some seconds."""
    connection = open_connection(tmp_path / "a.db")

    assert connection.pragma("busy_timeout") == 30_000
    connection.close()


# Where nothing may be written.


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a log of its own, in a folder that is said to be closed to this user."""
    path = tmp_path / "a.db"
    connection = open_connection(path)
    set_durable(connection)
    connection.execute("create table note (text)")
    connection.execute("insert into note values ('a')")
    connection.close()
    monkeypatch.setattr(os, "access", lambda place, mode: (place, mode) != (tmp_path, os.W_OK))
    return path


def look(path: Path) -> tuple[list[str], set[str]]:
    """What is read there, and which files there are meanwhile."""
    connection = open_connection(path, readonly=True)
    try:
        found = [text for (text,) in select(connection, "select text from note")]
        return found, {one.name for one in path.parent.iterdir()}
    finally:
        connection.close()


def test_a_file_where_nothing_may_be_written_is_read_as_it_stands(sealed: Path) -> None:
    assert look(sealed) == (["a"], {"a.db"})
    sealed.with_name("a.db-wal").touch()
    sealed.with_name("a.db-journal").touch()
    assert look(sealed) == (["a"], {"a.db", "a.db-wal", "a.db-journal"}), "a log in which nothing is left is none"


@pytest.mark.parametrize("log", ["a.db-wal", "a.db-journal"])
def test_a_file_whose_last_commits_are_in_a_log_that_can_not_be_read_is_refused(sealed: Path, log: str) -> None:
    sealed.with_name(log).write_text("commits")

    with pytest.raises(StoreError) as refused:
        look(sealed)
    assert str(refused.value) == (
        f"store {sealed}: its last commits are in a log beside it, and {sealed.parent} may not be written\n"
        "Copy a.db and a.db-wal to a folder that may be written, and name the store there."
    )


def test_a_file_that_somebody_else_is_writing_is_read_with_its_log(sealed: Path) -> None:
    writer = open_connection(sealed)
    writer.execute("insert into note values ('b')")

    assert look(sealed)[0] == ["a", "b"]
    writer.close()
