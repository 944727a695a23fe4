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
    frames = _list_frames(log) if log.exists() else []
    if not frames:
        return 0
    valid = int(select(connection, _VALID_FRAMES)[0][1])
    salt = frames[min(max(valid - 1, 0), len(frames) - 1)][1]
    commits = sum(1 for commit, salt_of in frames[max(valid, 0) :] if commit and salt_of == salt)
    return max(0, commits - 1)  # one may be the torn end that nobody was told of


def _list_frames(log: Path) -> list[tuple[bool, tuple[int, int]]]:
    """Of each frame, whether it ends a commit, and its salt: the heads only, one read each."""
    frames: list[tuple[bool, tuple[int, int]]] = []
    with log.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return frames
        magic, _version, page, *_rest = _HEADER.unpack(head)
        if magic not in MAGIC or not 512 <= page <= 65536:
            page = 4096  # a broken header: our pages have this size
        at = _HEADER.size
        while len(raw := file.read(_FRAME.size)) == _FRAME.size:
            number, size_after_commit, salt1, salt2, _sum1, _sum2 = _FRAME.unpack(raw)
            frames.append((bool(number and size_after_commit), (salt1, salt2)))
            at += _FRAME.size + page
            file.seek(at)
    return frames
