"""A store in a folder where nothing may be written: read as it stands, or refused with what to do."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.store_desk import published
from tests.unit.store.sqlite_desk import opened

LOOK = """
import os, sys
from pathlib import Path
from partita.clock import SystemClock
from partita.errors import StoreError
from partita.runtime import backends
from partita.store.sqlite import doctor, lock, migrate, store

migrate.list_migrations()
if os.geteuid() == 0:  # nobody keeps root from writing
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
path = Path(sys.argv[1])
assert not os.access(path.parent, os.W_OK)
try:
    reader = backends.read(path, clock=SystemClock())
    print(len(reader.trail.list_facts()), "facts")
    print(*(f"{one.name} {one.well}" for one in doctor.examine(path)))
except StoreError as error:
    print(error)
"""
"""Imports first: nobody may read where Python lies."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own belong to its user."""
    path = Path(tempfile.mkdtemp(prefix="read only?#%"))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def look(path: Path) -> str:
    """What somebody sees who may write nothing beside the store."""
    for one in path.parent.iterdir():
        one.chmod(0o444)
    path.parent.chmod(0o555)
    words = [sys.executable, "-c", LOOK, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def leave(folder: Path, place: Path, *suffixes: str) -> Path:
    """A store with one fact, made elsewhere; copied with these files of it while it is open, or when it is closed."""

    async def write() -> None:
        async with opened(place / "shop.db") as desk:
            await desk.accept(published())
            for suffix in suffixes:
                shutil.copy(place / f"shop.db{suffix}", folder)

    asyncio.run(write())
    if not suffixes:
        shutil.copy(place / "shop.db", folder)
    return folder / "shop.db"


def test_a_store_that_was_closed_is_read_where_nothing_may_be_written(folder: Path, tmp_path: Path) -> None:
    facts, findings = look(leave(folder, tmp_path)).splitlines()

    assert facts == "1 facts"
    assert findings == "file False format True lock True disk True pages True chain True"
    assert [one.name for one in folder.iterdir()] == ["shop.db"]


def test_an_open_store_is_read_by_the_index_of_its_log(folder: Path, tmp_path: Path) -> None:
    facts, findings = look(leave(folder, tmp_path, "", "-wal", "-shm")).splitlines()

    assert facts == "1 facts"
    assert findings == "file False format True lock True disk True pages True chain True"


def test_a_log_without_an_index_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    first, second = look(leave(folder, tmp_path, "", "-wal")).splitlines()

    assert first == f"store {folder}/shop.db: its last commits are in a log beside it, and {folder} may not be written"
    assert second == "Copy shop.db and shop.db-wal to a folder that may be written, and name the store there."
