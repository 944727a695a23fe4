"""The holder of a store: one process writes, and says in the lock file who it is and where it listens.

The lock is the kernel's (flock) and goes with the process, however it ends; the file's text is for people and for other
processes that have something to ask.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from partita.errors import StoreError, StoreHeld
from partita.store.health import is_full, no_room

SOCKET_PATH_BYTES_MAX = 100
"""The kernel takes 107; a socket's path is shown in errors and wants some room."""


ASKED_MAX = 5
ASKED_S = 0.01


class Holder(msgspec.Struct, frozen=True):
    """What the lock file says."""

    pid: int
    socket: str
    since: int
    """Microseconds since 1970."""


class StoreLock:
    """The lock on one store, held until `release`."""

    def __init__(self, path: Path, descriptor: int, holder: Holder) -> None:
        self.path = path
        self.holder = holder
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the store go. The file stays: taking it away would let two processes lock two files of one name."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def hold(path: Path, *, now_us: int) -> StoreLock:
    """Take the lock of the store at `path`. Raises StoreError, naming the holder, where it is taken."""
    place = lock_path(path)
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if is_full(error, path):
            raise no_room(path, error) from error
        raise StoreError(
            f"store {path}: cannot make its lock file ({error.strerror})\n"
            "Check that its directory exists and may be written by this user."
        ) from error
    try:
        _lock(descriptor)
    except OSError as error:
        os.close(descriptor)
        holder = _read(place)
        who = f"process {holder.pid}" if holder else "another process"
        remedy = f"Stop it (kill {holder.pid})" if holder else "Stop it"
        raise StoreHeld(f"store {path}: held by {who}\n{remedy}, or send it what you want done.") from error
    holder = Holder(pid=os.getpid(), socket=str(socket_path(path)), since=now_us)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(holder), 0)
    except OSError as error:
        os.close(descriptor)
        if is_full(error, path):
            raise no_room(path, error) from error
        raise
    return StoreLock(place, descriptor, holder)


def find_holder(path: Path) -> Holder | None:
    """Who holds the store at `path`, or None. Keeps nobody from taking the lock."""
    place = lock_path(path)
    if _read(place) is None:  # nobody has it, or not yet
        return None
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(place)
    else:
        return None  # what it says is of one that was killed
    finally:
        os.close(descriptor)


def lock_path(path: Path) -> Path:
    """The lock file beside a store."""
    return path.with_name(f"{path.name}.lock")


def socket_path(path: Path) -> Path:
    """The socket beside a store; where its path would be too long, in a private directory under the temp directory.

    Raises StoreError where somebody else could get into that directory.
    """
    beside = path.absolute().with_name(f"{path.name}.sock")
    if len(os.fsencode(beside)) <= SOCKET_PATH_BYTES_MAX:
        return beside
    name = blake2b(os.fsencode(beside), digest_size=8).hexdigest()
    private = Path(tempfile.gettempdir()) / f"partita-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.stat(follow_symlinks=False)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StoreError(
            f"store {path}: {private} is not private\nTake it away, or use a shorter path for the store: the socket"
            f" beside it may have {SOCKET_PATH_BYTES_MAX} bytes."
        )
    return private / f"{name}.sock"


def _lock(descriptor: int) -> None:
    """Take the lock; somebody who is only asking who holds it has it for an instant."""
    for _ in range(ASKED_MAX):
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        threading.Event().wait(ASKED_S)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _read(place: Path) -> Holder | None:
    try:
        return msgspec.json.decode(place.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
