"""The state of one case: what is open, what has died, and how it last came to an end.

It is folded from facts and stored beside them as JSON, decoded and encoded once a batch: small and array-like, and
mutable while a batch is folded. Nothing in it cannot be had again from the facts.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from partita.messages.message import Ends
from partita.store.body import Open, OpenWait

Stage = Literal["open", "delayed", "retrying", "dead", "held"]
RunStatus = Literal["open", "stopped"]
QUARANTINE = "quarantine"
"""The group that owes what can't be handled."""


class Owed(msgspec.Struct, array_like=True, gc=False):
    """A group owes a handling of a message. Its key in the case holds the message's id (`message_of`)."""

    group: str
    type: str
    since: int
    """When it was published."""
    stage: Stage = "open"
    command: bool = False
    observer: bool = False
    """Counts for nothing."""
    limit: int | None = None
    """When its `within` ends."""
    due: int = 0
    """Of a delayed message, or of the next attempt."""
    attempt: int = 0
    """Attempts that failed."""
    run: str | None = None
    """The run that waits for the answer."""
    step: str | None = None
    moved: int = 0
    """When it reached its stage."""


class RunState(msgspec.Struct, array_like=True):
    """A run that has not ended."""

    workflow: str
    since: int
    status: RunStatus = "open"
    n: int | None = None
    """The last run_n folded, by which a gap in the trail is seen."""
    within: int | None = None
    parent: str | None = None
    open: Open | None = None
    moved: int = 0
    """When it last took a fact."""
    stopped_at: int = 0
    failed_step: str | None = None
    children: dict[str, str] = {}
    """The child runs that it waits for, by step."""
    given: tuple[str, ...] = ()
    """Types of what it was handed in its last turn, where that was discarded, and since it stopped."""
    given_at: int = 0
    cancelled_by: str = ""
    """Who asked it to cancel, and why."""

    @property
    def awaited(self) -> tuple[OpenWait, ...]:
        """The waits that nothing has ended: what came for a stopped run stands in its history for a retry."""
        if self.open is None or not self.given or self.status != "stopped":
            return self.open.waits if self.open is not None else ()
        left, waits = list(self.given), list[OpenWait]()
        for wait in self.open.waits:
            came = next((name for name in left if name in wait.types), None)
            if came is None:
                waits.append(wait)
            else:
                left.remove(came)
        return tuple(waits)


class CaseWait(msgspec.Struct, array_like=True):
    """A handler's answer that keeps the case open until one of these events is published for it."""

    types: tuple[str, ...]
    since: int
    until: int | None = None
    who: str | None = None
    group: str = ""


class Asked(msgspec.Struct, array_like=True, gc=False):
    """A request taken while no engine ran."""

    op: str
    type: str
    since: int


class Ended(msgspec.Struct, array_like=True, gc=False):
    """The latest event that ends the case."""

    verdict: Ends
    type: str
    at: int
    seq: int


class Latest(msgspec.Struct, array_like=True, gc=False):
    """The latest event of the case."""

    type: str
    at: int
    seq: int
    alone: bool = False
    """No group owed it anything, or only observers did."""


class Over(msgspec.Struct, array_like=True, gc=False):
    """How the latest run ended."""

    workflow: str
    how: Literal["returned", "cancelled", "failed"]
    at: int
    by: str = ""
    """Of a cancelled one: who asked for it, and why."""


class Refused(msgspec.Struct, array_like=True, gc=False):
    """The latest request that an engine turned down."""

    op: str
    type: str
    why: str
    at: int


class CaseState(msgspec.Struct, array_like=True):
    """What a case's facts so far come to."""

    case: str
    owed: dict[str, Owed] = {}
    """By message and group (`owed_key`), in the order they were opened."""
    runs: dict[str, RunState] = {}
    """Those that have not ended."""
    waits: list[CaseWait] = []
    asked: dict[str, Asked] = {}
    ended: Ended | None = None
    latest: Latest | None = None
    over: Over | None = None
    gap: str | None = None
    """What is missing in the trail, where something is."""
    seq: int = 0
    """The last fact folded."""
    at: int = 0
    """When it was said."""
    home: int = 0
    """How many facts were its own; the others only touched it."""
    refused: Refused | None = None
    """The latest request that was turned down, until the case goes on."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CaseState).decode


def owed_key(message: str, group: str) -> str:
    """Where a group's obligation for a message stands in `CaseState.owed`."""
    return f"{message} {group}"


def message_of(key: str, owed: Owed) -> str:
    """The message's id, from its key."""
    return key[: -len(owed.group) - 1]


def encode_state(state: CaseState) -> bytes:
    """As it is stored."""
    return _encode(state)


def decode_state(raw: bytes) -> CaseState:
    """From what is stored; a new object each time."""
    return _decode(raw)
