"""The hash chain: each fact's head and body digest, bound to the fact before it of the same source.

A fact that was changed, moved or taken out of the middle breaks the chain at its place; an erased body does not, since
the chain runs over the digest, which takes the body's place.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from partita.errors import StoreError
from partita.store.sqlite.codec import CODEC_ERASED, unpack
from partita.store.sqlite.connection import Rows
from partita.store.sqlite.names import Names

ORIGIN = b""
"""What stands before the first fact of a source."""

PAGE = 1_000

_PAGE = (
    "select seq, source, n, kind, at, case_id, also, run, run_n, causes, code, chain, codec, body"
    " from trail where seq > ? order by seq limit ?"
)
_BEFORE = "select n, chain from trail where source = ? and seq < ? order by seq desc limit 1"

_encode = msgspec.json.Encoder().encode

Head = tuple[str, int, str, int, str | None, str | None, str | None, int | None, str | None, int]
"""source, n, kind, at, case, also, run, run_n, causes, code; `also` and `causes` as they are stored."""


def digest_of(body: bytes) -> bytes:
    """16 bytes that tell one body from another."""
    return blake2b(body, digest_size=16).digest()


def link(previous: bytes, head: Head, digest: bytes) -> bytes:
    """The next link: 16 bytes over the one before, the head, and the body's digest."""
    return blake2b(previous + digest + _encode(head), digest_size=16).digest()


def find_break(facts: Rows, names: Names, *, from_seq: int) -> int | None:
    """The seq of the first fact from there on whose head, body or place in its source does not fit; None if all fit."""
    ends: dict[int, tuple[int, bytes]] = {}
    after = from_seq - 1
    while rows := facts.select(_PAGE, after, PAGE):
        for seq, source, n, kind, at, case_id, also, run, run_n, causes, code, chain, codec, body in rows:
            last_n, last_link = ends.get(source) or _end_before(facts, source, from_seq)
            head = (
                names.get_source(source),
                n,
                names.get_kind(kind),
                at,
                None if case_id is None else names.get_case(case_id),
                also,
                None if run is None else names.get_run(run),
                run_n,
                causes,
                code,
            )
            digest = _digest(codec, body)
            if digest is None or n != last_n + 1 or link(last_link, head, digest) != chain:
                return int(seq)
            ends[source] = n, chain
        after = rows[-1][0]
    return None


def _digest(codec: int, stored: bytes | str) -> bytes | None:
    """The digest of a stored body; None where it can no longer be read, or is not even of the type that was written."""
    if isinstance(stored, str):
        return None
    try:
        return stored if codec == CODEC_ERASED else digest_of(unpack(codec, stored))
    except StoreError:
        return None


def _end_before(facts: Rows, source: int, seq: int) -> tuple[int, bytes]:
    for n, chain in facts.select(_BEFORE, source, seq):
        return n, chain
    return 0, ORIGIN
