"""Facts: everything that is ever said, as a head that is never erased and a body of one kind.

Every room writes and reads these kinds; nothing else is history. A kind that this version does not know is kept, shown,
and folded as nothing (`Unread`).
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from partita.messages.envelope import Cause
from partita.store.body import NOTHING, Body, Open, OpenStep, OpenWait, Unread
from partita.store.message_facts import (
    Barred,
    ChoreographedWait,
    Claimed,
    Dead,
    Discarded,
    Duplicate,
    Handled,
    Published,
    Quarantined,
    Redriven,
    Retrying,
    Withdrawn,
)
from partita.store.operator_facts import Answered, Closed, GroupPaused, GroupResumed, GroupRetired, Opened, Requested
from partita.store.run_facts import (
    CancelAsked,
    ChildEnded,
    ChildStarted,
    DuplicateStart,
    Fired,
    Incident,
    NoRun,
    Patched,
    Received,
    Retried,
    Returned,
    Started,
    Stepped,
    Waiting,
)

__all__ = [
    "KINDS",
    "NOTHING",
    "Answered",
    "Barred",
    "Body",
    "CancelAsked",
    "ChildEnded",
    "ChildStarted",
    "ChoreographedWait",
    "Claimed",
    "Closed",
    "Dead",
    "Discarded",
    "Duplicate",
    "DuplicateStart",
    "Fact",
    "Fired",
    "GroupPaused",
    "GroupResumed",
    "GroupRetired",
    "Handled",
    "Incident",
    "NewFact",
    "NoRun",
    "Open",
    "OpenStep",
    "OpenWait",
    "Opened",
    "Patched",
    "Published",
    "Quarantined",
    "Received",
    "Redriven",
    "Requested",
    "Retried",
    "Retrying",
    "Returned",
    "Started",
    "Stepped",
    "Unread",
    "Waiting",
    "Withdrawn",
    "decode_body",
    "encode_body",
]

KINDS: dict[str, type[Body]] = {cls.kind: cls for cls in Body.__subclasses__()}
_decoders: dict[str, msgspec.json.Decoder[Body]] = {name: msgspec.json.Decoder(cls) for name, cls in KINDS.items()}
encode_body = msgspec.json.Encoder().encode


def decode_body(kind: str, raw: bytes) -> Body:
    """A body from its stored bytes; `Unread` for a kind or shape that this version does not know."""
    decoder = _decoders.get(kind)
    if decoder is not None:
        try:
            return decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    return Unread(raw=_shown(raw), name=kind)


def _shown(raw: bytes) -> Raw:
    """Bytes as JSON, also where they are none any more: a story is told around such a hole."""
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Raw(msgspec.json.encode(raw.decode(errors="backslashreplace")))
    return Raw(raw)


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One entry of the trail. `(source, n)` is its identity; `run_n` counts the facts of a run from 1."""

    seq: int
    source: str
    n: int
    kind: str
    at: int
    case: str | None = None
    also: tuple[str, ...] = ()
    """Further cases that it touches."""
    run: str | None = None
    run_n: int | None = None
    causes: tuple[Cause, ...] = ()
    code: int = 0
    """The topology version of the code that wrote it."""
    body: Body


class NewFact(msgspec.Struct, gc=False):
    """A fact on its way to the writer, which gives it seq, n, run_n, and the time where `at` is None."""

    body: Body
    case: str | None = None
    run: str | None = None
    causes: tuple[Cause, ...] = ()
    also: tuple[str, ...] = ()
    at: int | None = None
