"""Acknowledged commits that a broken log would swallow."""

import random  # noqa: TID251 - a seeded dice that chooses where to hit
import struct
from pathlib import Path

import apsw
import pytest

from partita.clock import SystemClock
from partita.errors import StoreError
from partita.store.sqlite.doctor import examine
from partita.store.sqlite.store import open_store
from partita.store.sqlite.wal import count_lost, log_path
from tests.conformance.store_desk import Counting, published
from tests.unit.store.sqlite_desk import opened

COMMITS = 20


def log_of(folder: Path, most: int = 6_000) -> tuple[bytes, bytes]:
    """The file and the log of a database with COMMITS commits, of so many bytes at most, never folded back."""
    path = folder / "whole.db"
    connection = apsw.Connection(str(path))
    for pragma in ("journal_mode=wal", "synchronous=full", "wal_autocheckpoint=0"):
        connection.execute(f"pragma {pragma}").fetchall()
    dice = random.Random(7)
    connection.execute("create table t (body)")
    for _ in range(COMMITS - 1):
        connection.execute("insert into t values (?)", ("x" * dice.randrange(10, most),))
    file, log = path.read_bytes(), log_path(path).read_bytes()
    connection.close()
    return file, log


def look(folder: Path, file: bytes, log: bytes) -> tuple[int, int]:
    """How many of the commits SQLite has left, and how many are counted as lost."""
    path = folder / "broken.db"
    path.write_bytes(file)
    log_path(path).write_bytes(log)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        made = connection.execute("select count(*) from sqlite_schema").get
        left = 1 + int(str(connection.execute("select count(*) from t").get)) if made else 0
        return left, count_lost(connection, path)
    finally:
        connection.close()


def test_every_flipped_bit_that_loses_more_than_the_last_commit_is_seen(tmp_path: Path) -> None:
    file, log = log_of(tmp_path)
    dice = random.Random(1)
    for _ in range(150):
        broken = bytearray(log)
        broken[dice.randrange(len(log))] ^= 1 << dice.randrange(8)
        left, lost = look(tmp_path, file, bytes(broken))
        assert lost == max(0, COMMITS - left - 1)


@pytest.mark.parametrize("most", [6_000, 11], ids=["growing", "of two pages, which one bit can take away"])
def test_every_flipped_bit_in_the_head_of_a_frame_is_seen_also_where_one_commit_lies_behind_it(
    tmp_path: Path, most: int
) -> None:
    file, log = log_of(tmp_path, most)
    heads = range(32, len(log), 24 + 4096)
    ends = [at for at in heads if any(log[at + 4 : at + 8])]
    for head in heads[heads.index(ends[-4]) : heads.index(ends[-2]) + 1]:
        for bit in range(24 * 8):
            broken = bytearray(log)
            broken[head + bit // 8] ^= 1 << bit % 8
            left, lost = look(tmp_path, file, bytes(broken))
            assert bool(lost) == (left < COMMITS - 1), (head, bit)


def test_a_flipped_bit_in_the_head_of_the_log_loses_all_and_is_seen(tmp_path: Path) -> None:
    file, log = log_of(tmp_path)
    for at in range(32):
        broken = bytearray(log)
        broken[at] ^= 1
        left, lost = look(tmp_path, file, bytes(broken))
        assert lost == max(0, COMMITS - left - 1)


def test_a_log_torn_by_a_power_cut_is_no_loss(tmp_path: Path) -> None:
    file, log = log_of(tmp_path)
    dice = random.Random(2)
    for _ in range(150):
        _left, lost = look(tmp_path, file, log[: dice.randrange(len(log))])
        assert lost == 0


def begun_anew(folder: Path) -> tuple[bytes, bytes, bytes]:
    """A file, its log before it was folded back, and the log that was begun in its place with one commit."""
    path = folder / "whole.db"
    connection = apsw.Connection(str(path))
    for pragma in ("journal_mode=wal", "synchronous=full", "wal_autocheckpoint=0"):
        connection.execute(f"pragma {pragma}").fetchall()
    connection.execute("create table t (body)")
    for _ in range(COMMITS):
        connection.execute("insert into t values (?)", ("x" * 3_000,))
    connection.execute("pragma wal_checkpoint(restart)").fetchall()
    old = log_path(path).read_bytes()
    connection.execute("insert into t values ('new')")
    file, new = path.read_bytes(), log_path(path).read_bytes()
    connection.close()
    assert len(new) == len(old)
    return file, old, new


def test_a_log_begun_anew_and_torn_is_no_loss(tmp_path: Path) -> None:
    """What lies behind its end are commits of the log before it, and they are home."""
    file, old, new = begun_anew(tmp_path)

    _left, lost = look(tmp_path, file, new[:32] + old[32:])
    assert lost == 0


def test_a_log_that_a_machine_of_another_byte_order_began_anew_is_no_loss(tmp_path: Path) -> None:
    file, old, new = begun_anew(tmp_path)
    first = second = 0
    words = (0x377F0683, *struct.unpack(">5I", new[4:24]))
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) % 2**32
        second = (second + other + first) % 2**32

    _left, lost = look(tmp_path, file, struct.pack(">8I", *words, first, second) + old[32:])
    assert lost == 0


async def test_a_store_that_lost_commits_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with opened(path) as desk:
        for _ in range(10):
            await desk.accept(published())
        file, log = path.read_bytes(), bytearray(log_path(path).read_bytes())
    log[len(log) // 2] ^= 1
    path.write_bytes(file)
    log_path(path).write_bytes(log)

    for _ in range(2):
        with pytest.raises(
            StoreError, match=r"acknowledged commits lie behind a broken part of its log.*\nKeep a copy"
        ):
            open_store(path, clock=SystemClock(), projection=Counting())
        assert log_path(path).read_bytes() == log
    finding = next(finding for finding in examine(path) if finding.name == "file")
    assert not finding.well
    assert finding.facts["commits_lost"]


async def test_the_doctor_finds_nothing_at_a_store_that_is_being_written(tmp_path: Path) -> None:
    async with opened(tmp_path / "shop.db", clock=SystemClock()) as desk:
        await desk.accept(*(published() for _ in range(50)))
        findings = {finding.name: finding for finding in examine(tmp_path / "shop.db")}

    assert findings["file"].well
    assert findings["format"].facts["journal"] == "wal"
    assert findings["pages"].well
    assert findings["chain"].facts == {"facts": 50, "broken_at": None}


def test_the_doctor_sees_a_changed_journal_mode(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    open_store(path, clock=SystemClock(), projection=Counting()).abandon()
    connection = apsw.Connection(str(path))
    connection.execute("pragma journal_mode=delete").fetchall()
    connection.close()

    finding = next(finding for finding in examine(path) if finding.name == "format")
    assert not finding.well
    assert "journal mode delete" in finding.said
