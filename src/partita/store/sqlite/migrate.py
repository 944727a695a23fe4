"""Formats: what a file has to be to be a store of ours, and the numbered steps from one format to the next."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import apsw

from partita.clock import Clock
from partita.errors import StoreError
from partita.store.health import is_full, no_room
from partita.store.sqlite.connection import APPLICATION_ID, open_connection

READABLE_FROM = 1
"""The oldest format whose readers understand what this version writes."""

UPGRADE = "Install the newer version: pip install --upgrade partita"
IF_BROKEN = "Run `partita doctor`, and check the file's permissions; if it is broken, restore the last backup."

_SELECT_META = "select value from meta where key = ?"
_SET_META = "insert into meta (key, value) values (?, ?) on conflict (key) do update set value = excluded.value"
_COUNT_TABLES = "select count(*) from sqlite_schema where type = 'table' and name not like 'sqlite_%'"


def migrate(connection: apsw.Connection, *, name: str, app: str, clock: Clock) -> None:
    """Bring a file to the newest format, a transaction for each step. Raises StoreError, the file untouched."""
    found = read_format(connection, name=name)
    for number, sql in list_migrations():
        if number > found:
            with connection:
                connection.execute(sql).fetchall()  # apsw stops at a row that nobody fetches
                if number == 1:
                    _write_birth(connection, app=app, clock=clock)
                connection.execute(_SET_META, ("format", str(number)))
                connection.execute(_SET_META, ("format_oldest_readable", str(READABLE_FROM)))


def read_format(connection: apsw.Connection, *, name: str) -> int:
    """The format of a file, 0 where it is empty. Raises StoreError for a newer one and for what is no store."""
    try:
        mark = connection.pragma("application_id")
        tables = connection.execute(_COUNT_TABLES).get
    except apsw.NotADBError as error:
        raise StoreError(f"store {name}: not an SQLite file\nName another file; this one is left as it was.") from error
    except apsw.Error as error:
        raise _unreadable(name, error) from error
    if mark == 0 and tables == 0:
        return 0
    if mark != APPLICATION_ID:
        raise StoreError(
            f"store {name}: an SQLite database of another application\nName another file; this one is left as it was."
        )
    try:
        return _refuse_newer(connection, name=name)
    except (apsw.Error, ValueError) as error:
        raise _unreadable(name, error) from error


def refuse_others(path: Path) -> None:
    """Refuse what is no store of ours, or no longer one, before anything is made beside it: a lock, a log, its index.

    What has a log beside it is looked at later: it can be read with that alone.
    """
    if path.is_dir():
        raise StoreError(f"store {path}: that is a directory\nName a file in it.")
    beside = [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-journal")]
    if not path.is_file() or any(one.exists() and one.stat().st_size for one in beside):
        return
    connection = open_connection(path, readonly=True, sealed=True)
    try:
        read_format(connection, name=str(path))
    finally:
        connection.close()


def _unreadable(name: str, error: Exception) -> StoreError:
    if is_full(error, Path(name)):
        return no_room(name, error)
    return StoreError(f"store {name}: cannot be read ({error})\n{IF_BROKEN}")


def _refuse_newer(connection: apsw.Connection, *, name: str) -> int:
    found = int(find_meta(connection, "format") or 0)
    oldest = int(find_meta(connection, "format_oldest_readable") or found)
    newest = list_migrations()[-1][0]
    limit = oldest if connection.readonly("main") else found
    if limit > newest:
        raise StoreError(
            f"store {name}: format {found} was written by a newer partita; this one knows formats up to {newest}\n"
            f"{UPGRADE}"
        )
    return found


@cache
def list_migrations() -> list[tuple[int, str]]:
    """Number and SQL of each step, in order."""
    folder = files("partita.store.sqlite").joinpath("migrations")
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name.partition("_")[0]), entry.read_text(encoding="utf-8")) for entry in found)


def find_meta(connection: apsw.Connection, key: str) -> str | None:
    """A value of `meta`, or None."""
    value = connection.execute(_SELECT_META, (key,)).get
    return None if value is None else str(value)


def read_generation(connection: apsw.Connection) -> int:
    """Which life of the file this is. Raises StoreError where `meta` says what is no number."""
    said = find_meta(connection, "generation") or "1"
    if not (said.isascii() and said.isdecimal()):
        raise StoreError(f"meta says generation {said!r}, which is no number\n{IF_BROKEN}")
    return int(said)


def set_meta(connection: apsw.Connection, key: str, value: str) -> None:
    """Set a value of `meta`."""
    connection.execute(_SET_META, (key, value))


def _write_birth(connection: apsw.Connection, *, app: str, clock: Clock) -> None:
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    # The name of its source has chance in it: two stores of one app never number the same fact.
    source = f"{app or 'store'}-{clock.new_id()[-8:]}"
    for key, value in (
        ("app", app),
        ("source", source),
        ("generation", "1"),
        ("clean", "1"),
        ("created_at", str(clock.now_us())),
    ):
        connection.execute(_SET_META, (key, value))
