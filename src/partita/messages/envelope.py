"""The envelope: what travels around a message's body, and how ids follow from what caused them.

Ids are derived wherever the sender is known (a run and its step, a handled message and its group), so that the same act
tried again names the same message: the id is the idempotency key.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
from typing_extensions import override

from partita.messages.message import MessageKind


class Cause(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One attempt that caused something: message id, group, number of the attempt (from 1)."""

    message: str
    group: str
    attempt: int

    @override
    def __str__(self) -> str:
        return f"{self.message}/{self.group}#{self.attempt}"


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message as it is carried: CloudEvents' context attributes under our names, and the body as JSON bytes."""

    id: str
    type: str
    kind: MessageKind = "event"
    version: int = 1
    source: str = ""
    at: int
    """Microseconds since 1970, when it was published."""
    case: str | None = None
    """The home case, `type:key`: CloudEvents' `subject`."""
    also: tuple[str, ...] = ()
    correlation: str = ""
    causes: tuple[Cause, ...] = ()
    sequence: int = 0
    """The place in the order of its source: the trail's n."""
    data: bytes = b"{}"


def derive_id(*parts: str) -> str:
    """32 hex digits that follow from the parts (BLAKE2b over the parts, each behind its length)."""
    said = b""
    for part in parts:
        raw = part.encode()
        said += len(raw).to_bytes(4, "big") + raw
    return blake2b(said, digest_size=16).hexdigest()


def body_digest(data: bytes) -> bytes:
    """16 bytes that tell one body from another (BLAKE2b)."""
    return blake2b(data, digest_size=16).digest()


def partition_of(case: str) -> int:
    """The partition of a home case: BLAKE2b modulo 4096, recorded from the first day."""
    return int.from_bytes(blake2b(case.encode(), digest_size=8).digest(), "big") % 4096


def case_of_run(run: str) -> str:
    """The case in a run's id, `workflow/case/number`."""
    return run[run.index("/") + 1 : run.rindex("/")]
