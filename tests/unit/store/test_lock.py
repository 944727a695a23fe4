"""Who holds a store."""

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from partita.errors import StoreError
from partita.store.sqlite.lock import SOCKET_PATH_BYTES_MAX, find_holder, hold, lock_path, socket_path
from tests.conformance.store_desk import NOW
from tests.unit.store.sqlite_desk import opened

HOLD = """
import sys
from pathlib import Path
from partita.store.sqlite.lock import hold
lock = hold(Path(sys.argv[1]), now_us=5)
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time_holds_a_store_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"held by process {holder.pid}\nStop it"):
            hold(path, now_us=NOW)
        found = find_holder(path)
        assert found is not None
        assert (found.pid, found.socket, found.since) == (holder.pid, str(socket_path(path)), 5)
    finally:
        holder.kill()
        holder.communicate()

    assert find_holder(path) is None, "the kernel lets go of what a dead process held"
    hold(path, now_us=NOW).release()


def test_a_store_is_held_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    assert find_holder(path) is None
    lock = hold(path, now_us=NOW)
    found = find_holder(path)
    assert found == lock.holder
    assert found.pid == os.getpid()

    lock.release()
    lock.release()

    assert find_holder(path) is None
    assert lock_path(path).read_bytes() == b""


def test_a_lock_file_is_its_owners_only(tmp_path: Path) -> None:
    lock = hold(tmp_path / "shop.db", now_us=NOW)

    assert lock.path.stat().st_mode & 0o777 == 0o600
    lock.release()


def test_asking_who_holds_a_store_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    lock_path(path).write_text('{"pid":1,"socket":"","since":1}')  # of one that was killed
    for _ in range(100):
        assert find_holder(path) is None
        hold(path, now_us=NOW).release()
        lock_path(path).write_text('{"pid":1,"socket":"","since":1}')


def test_a_store_is_taken_as_soon_as_one_who_was_only_asking_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partita.store.sqlite.lock.ASKED_MAX", 1_000)
    path = tmp_path / "shop.db"
    lock_path(path).touch()
    asking = lock_path(path).open()
    fcntl.flock(asking, fcntl.LOCK_SH)
    gone = threading.Timer(0.03, asking.close)
    gone.start()

    hold(path, now_us=NOW).release()

    gone.join()


async def test_a_store_says_since_when_it_is_held(tmp_path: Path) -> None:
    async with opened(tmp_path / "shop.db"):
        holder = find_holder(tmp_path / "shop.db")

    assert holder is not None
    assert (holder.pid, holder.since) == (os.getpid(), NOW)


async def test_a_store_that_could_not_be_opened_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    path.write_text("not a database" * 100)

    with pytest.raises(StoreError):
        async with opened(path):
            pass

    hold(path, now_us=NOW).release()


def test_the_socket_is_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert socket_path(Path("/srv/shop.db")) == Path("/srv/shop.db.sock")
    assert socket_path(Path("shop.db")).is_absolute()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temp directory of the test's own whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def test_a_private_directory_that_is_not_private_is_refused(tmp_path: Path, short: Path) -> None:
    (short / f"partita-{os.getuid()}").mkdir(mode=0o777)
    (short / f"partita-{os.getuid()}").chmod(0o777)

    with pytest.raises(StoreError, match="is not private\n"):
        socket_path(tmp_path / ("x" * SOCKET_PATH_BYTES_MAX) / "shop.db")


@pytest.mark.usefixtures("short")
def test_a_long_path_has_its_socket_in_a_private_directory(tmp_path: Path) -> None:
    long = tmp_path / ("x" * SOCKET_PATH_BYTES_MAX) / "shop.db"

    first, second = socket_path(long), socket_path(long.with_name("other.db"))

    assert len(os.fsencode(first)) <= SOCKET_PATH_BYTES_MAX
    assert first != second
    assert first.parent.stat().st_mode & 0o777 == 0o700
