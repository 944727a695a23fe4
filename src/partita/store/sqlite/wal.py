"""The write-ahead log at start: acknowledged commits that lie behind a broken frame, where SQLite would drop them.

SQLite's recovery stops at the first frame whose running checksum fails, and says nothing. With `synchronous=FULL` one
transaction at the end at most can be torn without having been acknowledged. Every other commit of the same salt behind
the place where recovery stopped is one that somebody was told of.
"""

from __future__ import annotations

import struct
from pathlib import Path

import apsw

from partita.store.sqlite.connection import select

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
MAGIC = (0x377F0682, 0x377F0683)

Salt = tuple[int, int]

_VALID_FRAMES = "pragma wal_checkpoint(noop)"
"""Folds nothing back; says how many frames of the log SQLite takes for good."""


def log_path(path: Path) -> Path:
    """The log beside a store."""
    return path.with_name(f"{path.name}-wal")


def count_lost(connection: apsw.Connection, path: Path) -> int:
    """How many acknowledged commits of the store at `path` its log holds and recovery dropped.

    The log is read before SQLite is asked: a commit that another process makes meanwhile is not taken for lost.
    """
    log = log_path(path)
    salt, frames = _list_frames(log) if log.exists() else (None, [])
    if not frames:
        return 0
    valid = int(select(connection, _VALID_FRAMES)[0][1])
    # A log that was begun anew has a salt of its own: what lies behind its end is of the one before, and home already.
    salt = salt or frames[min(max(valid - 1, 0), len(frames) - 1)][1]
    commits = sum(1 for commit, salt_of in frames[max(valid, 0) :] if commit and salt_of == salt)
    return max(0, commits - 1)  # one may be the torn end that nobody was told of


def _list_frames(log: Path) -> tuple[Salt | None, list[tuple[bool, Salt]]]:
    """The salt that a whole head of the log says, and of each frame whether it ends a commit, and its salt.

    Heads only, one read each.
    """
    frames: list[tuple[bool, Salt]] = []
    with log.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return None, frames
        magic, _version, page, _turn, *salt, sum1, sum2 = _HEADER.unpack(head)
        whole = magic in MAGIC and _checksum(head[:24], big_endian=magic == MAGIC[1]) == (sum1, sum2)
        if not whole:
            page = 4096  # a broken head may say anything; our pages have this size
        at = _HEADER.size
        while len(raw := file.read(_FRAME.size)) == _FRAME.size:
            number, size_after_commit, salt1, salt2, _sum1, _sum2 = _FRAME.unpack(raw)
            frames.append((bool(number and size_after_commit), (salt1, salt2)))
            at += _FRAME.size + page
            file.seek(at)
    return (salt[0], salt[1]) if whole else None, frames


def _checksum(head: bytes, *, big_endian: bool) -> tuple[int, int]:
    """SQLite's checksum of a log's head; its words lie in the order that the magic number names."""
    first = second = 0
    words = struct.unpack(f"{'>' if big_endian else '<'}6I", head)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
