"""The write-ahead log at start: acknowledged commits that lie behind a broken frame, where SQLite would drop them.

SQLite's recovery stops at the first frame whose running checksum fails, and says nothing. With `synchronous=FULL` one
transaction at the end at most can be torn without having been acknowledged. Every other commit of the same salt behind
the place where recovery stopped is one that somebody was told of.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import apsw

from partita.store.sqlite.connection import select

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
MAGIC = (0x377F0682, 0x377F0683)

Pair = tuple[int, int]
"""Two words: a salt, or a checksum."""
_WORD = 0xFFFFFFFF

_VALID_FRAMES = "pragma wal_checkpoint(noop)"
"""Folds nothing back; says how many frames of the log SQLite takes for good."""


def log_path(path: Path) -> Path:
    """The log beside a store."""
    return path.with_name(f"{path.name}-wal")


def count_lost(connection: apsw.Connection, path: Path) -> int:
    """How many acknowledged commits of the store at `path` its log holds and recovery dropped.

    The log is read before SQLite is asked: a commit that another process makes meanwhile is not taken for lost. One
    flipped bit hides no commit: not where it makes a frame look like one of another log, nor where it takes a commit's
    end away.
    """
    log = log_path(path)
    if not log.exists():
        return 0
    with log.open("rb") as file:
        head = _read_head(file)
        frames = list(_read_frames(file, head)) if head is not None else []
        if head is None or not frames:
            return 0
        valid = int(select(connection, _VALID_FRAMES)[0][1])
        # A log that was begun anew has a salt of its own: what lies behind its end is of the one before, home already.
        salt = head.salt if head.whole else frames[min(max(valid - 1, 0), len(frames) - 1)].salt
        behind = [frame for frame in frames[max(valid, 0) :] if _is_near(frame.salt, salt)]
        commits = sum(1 for frame in behind if frame.size)
        if commits == 1:  # the torn end that nobody was told of, or the only one whose end is still to be seen
            commits += sum(1 for frame in behind if not frame.size and _lost_its_end(file, frame, head))
    return max(0, commits - 1)


class _Head(NamedTuple):
    """The log's own head."""

    page: int
    """Bytes of a page."""
    salt: Pair
    sums: Pair
    big_endian: bool
    """In which order the words are that are summed up."""
    whole: bool


class _Frame(NamedTuple):
    """The head of one frame, and the checksum that it goes on from."""

    at: int
    number: int
    size: int
    """Of the database, in pages, where the frame ends a commit; otherwise 0."""
    salt: Pair
    sums: Pair
    before: Pair


def _read_head(file: BinaryIO) -> _Head | None:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    magic, _version, page, _turn, salt1, salt2, sum1, sum2 = _HEADER.unpack(head)
    big_endian = magic == MAGIC[1]
    whole = magic in MAGIC and _checksum(head[:24], (0, 0), big_endian=big_endian) == (sum1, sum2)
    # A broken head may say anything; our pages have this size.
    return _Head(page if whole else 4096, (salt1, salt2), (sum1, sum2), big_endian, whole)


def _read_frames(file: BinaryIO, head: _Head) -> Iterator[_Frame]:
    """Heads only, one read each."""
    at, before = _HEADER.size, head.sums
    while len(raw := file.read(_FRAME.size)) == _FRAME.size:
        number, size, salt1, salt2, sum1, sum2 = _FRAME.unpack(raw)
        yield _Frame(at, number, size, (salt1, salt2), (sum1, sum2), before)
        at, before = at + _FRAME.size + head.page, (sum1, sum2)
        file.seek(at)


def _is_near(one: Pair, other: Pair) -> bool:
    """Whether they differ by one bit at most: another log's salt differs by about sixteen."""
    return (one[0] ^ other[0]).bit_count() + (one[1] ^ other[1]).bit_count() <= 1


def _lost_its_end(file: BinaryIO, frame: _Frame, head: _Head) -> bool:
    """Whether the frame's checksum says that it ended a commit, by one bit that is gone.

    The sum is linear, so what a bit adds is what the lowest one adds, shifted.
    """
    file.seek(frame.at + _FRAME.size)
    page = file.read(head.page)
    none, one = (
        _checksum(struct.pack(">II", frame.number, size) + page, frame.before, big_endian=head.big_endian)
        for size in (0, 1)
    )
    steps = [(with_one - without) & _WORD for with_one, without in zip(one, none, strict=True)]
    missing = [(said - without) & _WORD for said, without in zip(frame.sums, none, strict=True)]
    return any(missing) and any([step << bit & _WORD for step in steps] == missing for bit in range(32))


def _checksum(body: bytes, before: Pair, *, big_endian: bool) -> Pair:
    """SQLite's running checksum; words lie in the order that the magic number names."""
    first, second = before
    body = body[: len(body) // 8 * 8]
    words = struct.unpack(f"{'>' if big_endian else '<'}{len(body) // 4}I", body)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _WORD
        second = (second + other + first) & _WORD
    return first, second
