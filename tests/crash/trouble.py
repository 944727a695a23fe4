"""What can be wrong with the machine under a life: a disk that fails or is full, too few files, too little memory."""

import resource
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import apsw

from tests.crash import disk

_keeps = ExitStack()
MB = 1 << 20


def _failing(what: str, error: type[apsw.Error], *, for_good: bool = False) -> Callable[[int], None]:
    """The n-th such act on the store's files fails, and where it is for good, each one after it."""

    def begin(nth: int) -> None:
        left = nth

        def meet(act: disk.Act) -> None:
            nonlocal left
            if act.what == what and act.name.startswith("shop.db") and not act.name.endswith("-shm"):
                left -= 1
                if left == 0 or (for_good and left < 0):
                    raise error(f"{what} failed")

        _keeps.enter_context(disk.watched(disk.Disk(meet)))

    return begin


def _limit(what: int, most: int) -> None:
    """Only the soft one: whoever has to say how it ended lifts it."""
    resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def lift() -> None:
    """Nothing is short any more."""
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS):
        most = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most, most))


def _small_files(kilobytes: int) -> None:
    _limit(resource.RLIMIT_FSIZE, kilobytes * 1024)


def _few_files(more: int) -> None:
    used = len(list(Path("/proc/self/fd").iterdir()))
    _limit(resource.RLIMIT_NOFILE, used + more)


def _little_memory(megabytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + megabytes * MB)


TROUBLES: dict[str, Callable[[int], None]] = {
    "a read fails": _failing("read", apsw.IOError),
    "a write fails": _failing("write", apsw.IOError),
    "a sync fails": _failing("sync", apsw.IOError),
    "no sync works any more": _failing("sync", apsw.IOError, for_good=True),
    "the disk is full": _failing("write", apsw.FullError, for_good=True),
    "no file grows beyond so many kB": _small_files,
    "so many files more": _few_files,
    "so many MB of memory more": _little_memory,
}
"""What begins each of them, with a number that says when or how much."""
