"""Health: what a look at a store from outside finds, one finding for each thing that can be wrong, and a full disk."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import msgspec

from partita.errors import StoreError

ROOM_BYTES_MIN = 65_536
"""With less, not even an index of a log can be made: SQLite says of that no more than that something failed."""
_VAGUE = ("disk I/O error", "unable to open database file")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    """file, format, app, lock, disk, pages, chain"""
    well: bool
    said: str
    remedy: str = ""
    """What to do where it is not well."""
    facts: dict[str, int | str | None] = {}
    """The figures behind what is said, by stable names."""


def is_full(error: BaseException, path: Path) -> bool:
    """Whether an error came of it that the disk under `path` has no room."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    said = str(error)
    if said.endswith(_VAGUE) and path.absolute().parent.is_dir():
        return shutil.disk_usage(path.absolute().parent).free < ROOM_BYTES_MIN
    return said.endswith("disk is full")


def stopped(what: str, error: BaseException, path: Path | None = None) -> StoreError:
    """A store that could not go on, and what to do: only a new start can tell what was committed."""
    full = is_full(error, path or Path())
    first = "Make room on the disk, then start again" if full else "Start again"
    said = f"the disk is full ({error})" if full else str(error)
    return StoreError(f"{what} stopped: {said}\n{first}; nothing acknowledged is lost.")


def no_room(path: str | Path, error: BaseException) -> StoreError:
    """A store that can't be opened, since its disk is full."""
    return StoreError(f"store {path}: the disk is full ({error})\nMake room on it, then try again.")
