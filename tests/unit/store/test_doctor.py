"""What the doctor says of a store, finding by finding: well, or what is wrong, with its figures and what mends it."""

import os
import re
import socket
from collections import namedtuple
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from partita.clock import to_rfc3339
from partita.errors import StoreError, one_line
from partita.store.facts import Fact
from partita.store.health import Finding
from partita.store.port import CaseRow, Projection, TrailReader
from partita.store.sqlite import doctor
from partita.store.sqlite.connection import open_connection
from partita.store.sqlite.doctor import examine
from partita.store.sqlite.lock import StoreLock, hold, lock_path
from partita.store.sqlite.migrate import list_migrations
from partita.store.sqlite.wal import log_path
from tests.conformance.store_desk import NOW, Counting, published
from tests.unit.store.sqlite_desk import opened

Usage = namedtuple("Usage", ["total", "used", "free"])
MB = 1 << 20
RESTORE = "Stop the engine, keep a copy of this file, and restore the last backup."
NEWEST = list_migrations()[-1][0]
SQLITE = apsw.sqlite_lib_version()
ERROR = ValueError("no such\nword")


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: Usage(0, 0, {tmp_path: 3 << 30}[place]))


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        for n in range(1, 4):
            await desk.accept(published(message=f"{n:032x}"))
    return path


def found(path: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(path)}


def sizes(path: Path) -> tuple[int, int]:
    log = log_path(path)
    return path.stat().st_size, log.stat().st_size if log.exists() else 0


# The whole.


def test_a_store_that_is_well_is_said_to_be_so(store: Path) -> None:
    size, log = sizes(store)
    assert log == 0

    assert examine(store) == [
        Finding(
            name="file",
            well=True,
            said=f"{store}, {size / 1024:.1f} kB, log 0 B",
            facts={"path": str(store), "size_bytes": size, "log_bytes": 0, "commits_lost": 0},
        ),
        Finding(
            name="format",
            well=True,
            said=f"format {NEWEST} of {NEWEST}, app shop, generation 1, SQLite {SQLITE}",
            facts={
                "format": NEWEST,
                "format_newest": NEWEST,
                "app": "shop",
                "generation": 1,
                "sqlite": SQLITE,
                "journal": "wal",
            },
        ),
        Finding(
            name="lock",
            well=True,
            said="free: no engine is running; closed cleanly",
            facts={"pid": None, "socket": None, "since": None, "clean": 1},
        ),
        Finding(name="disk", well=True, said="3.0 GB free", facts={"free_bytes": 3 << 30}),
        Finding(name="pages", well=True, said="whole"),
        Finding(name="chain", well=True, said="3 facts, unbroken", facts={"facts": 3, "broken_at": None}),
    ]


def test_an_empty_file_is_no_store_yet_and_not_well(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.touch()

    assert [finding.name for finding in examine(path)] == ["file", "format", "lock", "disk"]
    assert found(path)["format"] == Finding(
        name="format",
        well=False,
        said=f"empty: no engine has opened it yet, SQLite {SQLITE}",
        remedy=f"It holds nothing. Start an engine on it: partita dev MODULE:APP --store {path}",
        facts={
            "format": 0,
            "format_newest": NEWEST,
            "app": None,
            "generation": None,
            "sqlite": SQLITE,
            "journal": "delete",
        },
    )
    assert found(path)["lock"].facts["clean"] == 1
    assert found(path)["file"].facts["log_bytes"] == 0


def test_what_is_no_store_is_refused_by_its_name_and_left_as_it_was(tmp_path: Path) -> None:
    missing, letter = tmp_path / "shop.db", tmp_path / "letter.txt"
    letter.write_text("Dear store, " * 500)

    with pytest.raises(StoreError, match=f"store {missing}: there is no such file"):
        examine(missing)
    with pytest.raises(StoreError, match=f"store {letter}: not an SQLite file"):
        examine(letter)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_relative_path_is_shown_whole(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.parent)

    assert found(Path(store.name))["file"].facts["path"] == str(store)
    assert found(Path(store.name))["file"].said.startswith(f"{store}, ")


def test_a_store_without_an_app_says_no_app(store: Path) -> None:
    change(store, "delete from meta where key in ('app', 'generation')")

    assert found(store)["format"].said == f"format {NEWEST} of {NEWEST}, SQLite {SQLITE}"
    assert (found(store)["format"].facts["app"], found(store)["format"].facts["generation"]) == (None, 1)


def change(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql).fetchall()
    connection.close()


# The file.


def test_a_file_that_may_not_be_written_is_not_well(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: (place, mode) != (store, os.W_OK))

    file = found(store)["file"]
    size, _ = sizes(store)
    assert file == Finding(
        name="file",
        well=False,
        said=f"{store}, {size / 1024:.1f} kB, log 0 B, cannot be written",
        remedy="Give this user the right to write the file and its directory.",
        facts=file.facts,
    )
    assert file.facts["size_bytes"] == size


def test_commits_that_a_broken_log_swallows_are_counted_again_until_it_is_sure(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([5, 3, 4, 1])
    monkeypatch.setattr(doctor, "count_lost", lambda _connection, path: next(looks) if path == store else 9)

    file = found(store)["file"]
    size, _ = sizes(store)
    assert file == Finding(
        name="file",
        well=False,
        said=f"{store}, {size / 1024:.1f} kB, log 0 B; 3 acknowledged commits lie behind a broken part of the log",
        remedy=RESTORE,
        facts=file.facts,
    )
    assert file.facts["commits_lost"] == 3


async def test_a_log_that_is_not_folded_back_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        await desk.accept(published())
        size, log = sizes(path)
        monkeypatch.setattr(doctor, "LOG_BYTES_MAX", log)
        assert found(path)["file"].well
        monkeypatch.setattr(doctor, "LOG_BYTES_MAX", log - 1)
        file = found(path)["file"]

    assert file == Finding(
        name="file",
        well=False,
        said=f"{path}, {size / 1024:.1f} kB, log {log / 1024:.1f} kB",
        remedy="Some reader keeps the file open: end it, and the log shrinks at the next checkpoint.",
        facts={"path": str(path), "size_bytes": size, "log_bytes": log, "commits_lost": 0},
    )


# The format.


def test_a_journal_that_somebody_changed_is_not_well(store: Path) -> None:
    change(store, "pragma journal_mode = delete")

    finding = found(store)["format"]
    assert finding == Finding(
        name="format",
        well=False,
        said=f"format {NEWEST} of {NEWEST}, app shop, generation 1, SQLite {SQLITE}, journal mode delete",
        remedy="Another program changed it: the next engine that opens the store sets it to wal again.",
        facts=finding.facts,
    )
    assert finding.facts["journal"] == "delete"


# The lock.


async def test_a_store_that_was_left_in_a_hurry_says_so(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        desk.store.abandon()

    assert found(path)["lock"] == Finding(
        name="lock",
        well=True,
        said="free: no engine is running; the last engine ended without closing it; the next one takes it up",
        facts={"pid": None, "socket": None, "since": None, "clean": 0},
    )


@contextmanager
def held(path: Path, *, listening: bool = True) -> Iterator[StoreLock]:
    lock = hold(path, now_us=NOW)
    with socket.socket(socket.AF_UNIX) as door:
        if listening:
            door.bind(lock.holder.socket)
        yield lock
    lock.release()
    Path(lock.holder.socket).unlink(missing_ok=True)


@pytest.fixture
def near(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store by a path short enough for a socket beside it."""
    monkeypatch.chdir(store.parent)
    monkeypatch.setattr("partita.store.sqlite.lock.SOCKET_PATH_BYTES_MAX", 10_000)
    monkeypatch.setattr("partita.store.sqlite.lock.socket_path", lambda path: Path(f"{path.name}.sock"))
    return store


def test_the_holder_is_named_with_where_it_listens_and_since_when(near: Path) -> None:
    with held(near) as lock:
        finding = found(near)["lock"]

    since, listens = to_rfc3339(NOW), lock.holder.socket
    assert finding == Finding(
        name="lock",
        well=True,
        said=f"held by process {os.getpid()} since {since}, which listens at {listens}",
        facts={"pid": os.getpid(), "socket": listens, "since": since, "clean": 1},
    )


def test_a_holder_that_does_not_listen_is_not_well(near: Path) -> None:
    with held(near, listening=False):
        finding = found(near)["lock"]

    assert finding == Finding(
        name="lock",
        well=False,
        said=f"held by process {os.getpid()}, no socket",
        remedy=f"It may be starting. Otherwise end it (kill {os.getpid()}) and start it again: nothing is lost.",
        facts=finding.facts,
    )
    assert finding.facts["pid"] == os.getpid()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610])
def test_a_lock_that_others_may_read_is_not_well(near: Path, mode: int) -> None:
    with held(near) as lock:
        lock_path(near).chmod(mode)
        finding = found(near)["lock"]

    assert finding == Finding(
        name="lock",
        well=False,
        said=f"held by process {os.getpid()} since {to_rfc3339(NOW)}, which listens at {lock.holder.socket};"
        " others may read it",
        remedy=f"chmod 600 {lock_path(near)}",
        facts=finding.facts,
    )
    assert finding.facts["socket"] == lock.holder.socket


# The disk.


def test_a_disk_without_room_is_not_well(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    least = 200 * MB
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _place: Usage(0, 0, least))
    assert found(store)["disk"] == Finding(name="disk", well=True, said="200.0 MB free", facts={"free_bytes": least})

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _place: Usage(0, 0, least - MB))
    assert found(store)["disk"] == Finding(
        name="disk",
        well=False,
        said="199.0 MB free",
        remedy="Make room: an engine that can't write stops.",
        facts={"free_bytes": least - MB},
    )


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 kB"),
        (1_536, "1.5 kB"),
        (MB - 1, "1024.0 kB"),
        (MB, "1.0 MB"),
        (1 << 30, "1.0 GB"),
        (5 << 29, "2.5 GB"),
    ],
)
def test_sizes_are_said_in_the_unit_that_fits(count: int, said: str) -> None:
    assert doctor._say_bytes(count) == said


# The trail.


def test_a_fact_that_was_changed_is_named(store: Path) -> None:
    change(store, "update trail set at = at + 1 where seq = 2")

    assert found(store)["chain"] == Finding(
        name="chain",
        well=False,
        said="broken at fact 2: somebody changed the trail",
        remedy=RESTORE,
        facts={"facts": 3, "broken_at": 2},
    )
    assert found(store)["pages"].well


def test_facts_are_counted_in_thousands(store: Path) -> None:
    change(store, "update trail set seq = 1234567 where seq = 3")

    assert found(store)["chain"].facts["facts"] == 1_234_567
    assert found(store)["chain"].said == "1,234,567 facts, unbroken"


def test_an_empty_trail_is_unbroken(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    open_connection(path).close()
    connection = apsw.Connection(str(path))
    for _number, sql in list_migrations():
        connection.execute(sql).fetchall()
    connection.execute("pragma application_id = 0x70617274").fetchall()
    connection.execute("insert into meta values ('format', ?)", (str(NEWEST),))
    connection.close()

    assert found(path)["chain"].said == "0 facts, unbroken"


def test_a_page_that_is_broken_is_not_well(store: Path) -> None:
    with store.open("r+b") as file:
        file.seek(4 * 4096)
        file.write(b"\xff" * 8 * 4096)

    pages = found(store)["pages"]
    assert not pages.well
    assert pages.remedy == RESTORE
    assert pages.said != "whole"


def test_every_page_that_is_wrong_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def execute(self, sql: str) -> list[tuple[str]]:
            if sql == "begin":
                return []
            assert sql == "pragma integrity_check(5)"
            return [("ok",), ("page 3 is broken",), ("page 4 is broken",)]

    monkeypatch.setattr(doctor, "Rows", lambda _connection: Counted())
    monkeypatch.setattr(doctor, "find_break", lambda _rows, _names, *, from_seq: None if from_seq == 1 else 7)

    class Counted:
        def select(self, _sql: str) -> list[tuple[int]]:
            return [(12,)]

    pages, chain = doctor._contents(Wrong(), None)  # type: ignore[arg-type]
    assert pages == Finding(name="pages", well=False, said="page 3 is broken; page 4 is broken", remedy=RESTORE)
    assert chain == Finding(name="chain", well=True, said="12 facts, unbroken", facts={"facts": 12, "broken_at": None})


def test_a_trail_that_can_not_be_read_is_told_as_broken_pages() -> None:
    class Unreadable:
        def execute(self, _sql: str) -> None:
            raise apsw.CorruptError("database disk image is malformed")

    (pages,) = doctor._contents(Unreadable(), None)  # type: ignore[arg-type]
    assert pages == Finding(
        name="pages", well=False, said="they can't be read: database disk image is malformed", remedy=RESTORE
    )


# The tables.


@pytest.fixture
async def begun(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        await desk.start_run()
    return path


def tables(path: Path, projection: Projection) -> Finding:
    def projecting(trail: TrailReader) -> Projection:
        assert [fact.kind for fact in trail.list_facts()] == ["started"], "it is given this store's trail"
        return projection

    findings = {finding.name: finding for finding in examine(path, projecting)}
    return findings["tables"]


def test_tables_that_are_as_the_facts_say_are_well(begun: Path) -> None:
    well = Finding(name="tables", well=True, said="as the facts say", facts={"differences": 0})

    assert tables(begun, Counting()) == well
    assert tables(begun, Counting(version=2)) == well, "rows of another version are folded anew"


@pytest.mark.parametrize(("count", "more"), [(1, ""), (3, ""), (4, "; and 1 more"), (5, "; and 2 more")])
def test_differences_are_told_up_to_three_and_the_rest_are_counted(begun: Path, count: int, more: str) -> None:
    for number in range(count):
        change(begun, f"insert into grp values ('card{number}', 'paused', 1, 'x')")

    finding = tables(begun, Counting())
    assert (finding.well, finding.remedy, finding.facts) == (False, RESTORE, {"differences": count})
    assert finding.said.endswith(more)
    told = finding.said.removesuffix(more).split("; ")
    assert len(told) == min(count, 3)
    for one in told:
        assert re.fullmatch(r"group card\d: the row is GroupRow\(.*\), and the facts come to None", one)


def test_tables_that_can_not_be_read_are_told_with_the_error(begun: Path) -> None:
    class Broken(Counting):
        def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
            raise ERROR

    finding = tables(begun, Broken())
    assert (finding.well, finding.remedy) == (False, RESTORE)
    assert finding.said == f"they can't be read: ValueError: {one_line(ERROR)}"
