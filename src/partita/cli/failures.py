"""Failures: what went wrong, as an exit code, as two lines for a person, and as JSON for a program."""

from __future__ import annotations

import os
from enum import IntEnum
from pathlib import Path
from typing import Literal, cast

import msgspec

from partita.errors import (
    BackendError,
    CallFailed,
    DefinitionError,
    MessageError,
    NotFound,
    PartitaError,
    Rejected,
    Unknown,
    plain,
)
from partita.runtime.look import Ambiguous
from partita.store.health import is_full


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    """Or found."""
    NOT_FOUND = 1
    BAD = 2
    """Found, and the verdict is bad."""
    USAGE = 64
    """The command line can't be meant."""
    REJECTED = 65
    """Nothing happened."""
    FAILURE = 70
    """The store, the engine or a handler could not."""
    UNKNOWN = 75
    """Send it again with the same key."""
    INTERRUPTED = 130


class Usage(Rejected):
    """The command line can't be meant as it stands."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What a program is told of a failure, under `error`."""

    kind: Literal["not_found", "usage", "rejected", "failure", "unknown", "interrupted"]
    exit: int
    what: str
    remedy: str = ""
    key: str | None = None
    """Of unknown: the key to send it again with. Of a failure: the key under which the request was accepted before."""


_CODES: tuple[tuple[type[BaseException], Exit], ...] = (
    (Usage, Exit.USAGE),
    (Ambiguous, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (Rejected, Exit.REJECTED),
    (Unknown, Exit.UNKNOWN),
    (MessageError, Exit.REJECTED),
    (DefinitionError, Exit.FAILURE),
    (BackendError, Exit.FAILURE),
    (CallFailed, Exit.FAILURE),
    (KeyboardInterrupt, Exit.INTERRUPTED),
)
_KINDS: dict[Exit, Literal["not_found", "usage", "rejected", "failure", "unknown", "interrupted"]] = {
    Exit.NOT_FOUND: "not_found",
    Exit.USAGE: "usage",
    Exit.REJECTED: "rejected",
    Exit.UNKNOWN: "unknown",
    Exit.INTERRUPTED: "interrupted",
}


def explain(error: BaseException) -> Failure:
    """What an exception comes to."""
    error = first_of(error)
    code = next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILURE)
    what, _, remedy = str(error).partition("\n")
    if isinstance(error, KeyboardInterrupt):
        what = "interrupted"
    elif isinstance(error, OSError) and is_full(error, Path()):
        what, remedy = f"the disk is full ({what})", "Make room on it, then try again."
    elif not isinstance(error, PartitaError):
        what = f"{type(error).__name__}: {what}"
        remedy = remedy or "Run it again with PARTITA_DEBUG=1 to see where; `partita doctor` looks at the store."
    key = error.key if isinstance(error, Unknown) else None
    return Failure(kind=_KINDS.get(code, "failure"), exit=code, what=plain(what), remedy=plain(remedy), key=key)


def first_of(error: BaseException) -> BaseException:
    """The first failure of a group: what stopped the others."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def is_debugging() -> bool:
    """Whether the traceback is wanted."""
    return bool(os.environ.get("PARTITA_DEBUG"))
