"""A full disk: whatever it is that fails on it, it is named, and what to do is to make room."""

import errno
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from partita.cli.failures import explain
from partita.errors import StoreError
from partita.store.health import is_full, stopped
from partita.store.sqlite.lock import hold


class Usage(NamedTuple):
    free: int


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "free", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1 << 30, True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1 << 30, True),
        (OSError(errno.EACCES, "Permission denied"), 0, False),
        (apsw.FullError("database or disk is full"), 1 << 30, True),
        (apsw.IOError("disk I/O error"), 0, True),
        (apsw.IOError("disk I/O error"), 1 << 30, False),
        (apsw.CantOpenError("unable to open database file"), 4_096, True),
        (apsw.CorruptError("database disk image is malformed"), 0, False),
    ],
)
def test_what_fails_for_want_of_room_is_told_from_what_fails_otherwise(
    error: Exception, free: int, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(free))

    assert is_full(error, tmp_path / "shop.db") is said


def test_a_store_whose_lock_finds_no_room_says_so_and_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.db"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match=r"shop.db: the disk is full .*\nMake room on it, then try again."):
            hold(path, now_us=0)

    hold(path, now_us=0).release()


def test_an_engine_that_stopped_of_it_asks_for_room_before_it_is_started_again() -> None:
    error = stopped("store shop.db", apsw.FullError("database or disk is full"))

    assert str(error) == (
        "store shop.db stopped: the disk is full (database or disk is full)\n"
        "Make room on the disk, then start again; nothing acknowledged is lost."
    )
    assert str(stopped("store shop.db", apsw.BusyError("locked"))).endswith(
        "\nStart again; nothing acknowledged is lost."
    )


def test_a_command_that_finds_no_room_says_so() -> None:
    failure = explain(OSError(errno.ENOSPC, "No space left on device"))

    assert (failure.what, failure.remedy) == (
        "the disk is full ([Errno 28] No space left on device)",
        "Make room on it, then try again.",
    )
