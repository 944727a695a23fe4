"""Every error partita raises, as one tree, branched by who must act.

    PartitaError
    ├── DefinitionError            the programmer: the code is declared in a way that cannot run
    │   ├── NonDeterminism         the code no longer matches what its run recorded
    │   ├── ContractBroken         a handler gave what its annotation forbids
    │   └── NobodyHandles          a workflow calls what no service of its app handles
    ├── Rejected                   the caller: nothing happened; says why and what to do
    │   └── NotFound               nothing is recorded under that name
    ├── Unknown                    the caller: the answer was lost; safe to send again with the same key
    ├── MessageError               the sender: the bytes are not a message we can take
    ├── LimitExceeded              the sender: a size, length, depth or rate went over its limit
    ├── BackendError               the world: wait, then try again
    │   ├── StoreError
    │   │   └── StoreHeld          another process writes this store: ask that one
    │   └── TransportError
    └── ProcessError               an answer that travels through users' code
        ├── Refused                a business answer other than the expected one
        ├── CallFailed             the handler raised and its retries are spent
        │   └── CallTimeout        no answer in time (also a TimeoutError)
        ├── Abort                  a workflow leaves its saga for a business reason
        ├── RetryLater             a handler asks to be tried again later
        └── Final                  a handler asks not to be tried again

The first line of an error says what happened and to which id; the second says what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta


class PartitaError(Exception):
    """Root of the tree. Catch it at the edge of a program, not in the middle."""


class DefinitionError(PartitaError):
    """A message, handler, workflow or app is declared in a way that cannot run."""


class NonDeterminism(DefinitionError):
    """A workflow's code asked for other steps than the ones its run recorded."""

    def __init__(self, *, run: str, step: str, recorded: str, asked: str) -> None:
        super().__init__(
            f"run {run}: step {step!r} was recorded as {recorded}, the code asked for {asked}\n"
            'Guard the change with patched("..."), or finish open runs on the old version.'
        )
        self.run = run
        self.step = step
        self.recorded = recorded
        self.asked = asked


class ContractBroken(DefinitionError):
    """A handler returned something that its return annotation does not allow."""


class NobodyHandles(DefinitionError):
    """A workflow calls a command that no service of its app handles."""

    def __init__(self, why: str, *, command: str) -> None:
        super().__init__(why)
        self.command = command


class Rejected(PartitaError):
    """Nothing happened: `why` says what was wrong, `remedy` what to do about it."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(f"{why}\n{remedy}" if remedy else why)
        self.why = why
        self.remedy = remedy


class NotFound(Rejected):
    """Nothing is recorded under that name."""


class Unknown(PartitaError):
    """The answer was lost: the request may or may not have been taken. Send it again with the same `key`."""

    def __init__(self, text: str, *, key: str | None = None) -> None:
        super().__init__(text)
        self.key = key


class MessageError(PartitaError):
    """The bytes, or the value, are not a message that can be taken."""


class LimitExceeded(MessageError):
    """A size, length, depth or rate went over its limit; names the setting that moves it."""

    def __init__(self, what: str, *, actual: int, limit: int, setting: str) -> None:
        super().__init__(f"{what} is {actual:,}; the limit is {limit:,}\nMake it smaller, or raise {setting}.")
        self.actual = actual
        self.limit = limit
        self.setting = setting


class BackendError(PartitaError):
    """A database or a broker did not answer as it should."""


class StoreError(BackendError):
    """The store could not be opened, read or written."""


class StoreHeld(StoreError):
    """Another process holds the store."""


class TransportError(BackendError):
    """The transport could not carry a message."""


class ProcessError(PartitaError):
    """The part of the tree that travels through users' code."""


class Refused(ProcessError):
    """A business answer other than the one that `expect` named. Never retried; leaves a saga, which undoes."""

    def __init__(self, answer: object) -> None:
        super().__init__(refusal_text(answer))
        self.answer = answer


def refusal_text(answer: object) -> str:
    """Say a refusal in one line: the answer's reason where it has one, otherwise its name."""
    reason = getattr(answer, "reason", None)
    return reason if isinstance(reason, str) and reason else type(answer).__name__


class CallFailed(ProcessError):
    """The handler raised and its retries are spent (`Retry(then="hold")` keeps the call open instead)."""

    def __init__(self, text: str, *, kind: str = "CallFailed", attempts: int = 1) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.attempts = attempts


class CallTimeout(CallFailed, TimeoutError):
    """No answer in time: the outcome is unknown."""

    def __init__(self, text: str, *, kind: str = "CallTimeout", attempts: int = 0) -> None:
        super().__init__(text, kind=kind, attempts=attempts)


class Abort(ProcessError):
    """Raised by a workflow to leave a saga for a business reason."""


class RetryLater(ProcessError):
    """Raised by a handler: try me again, `after` this long if given, otherwise by the policy."""

    def __init__(self, text: str, *, after: str | timedelta | None = None) -> None:
        super().__init__(text)
        self.after = after


class Final(ProcessError):
    """Raised by a handler: don't try me again."""


def plain(text: str) -> str:
    """A text as every store keeps it: NUL and halves of surrogate pairs become escapes."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def one_line(error: BaseException, limit: int = 500) -> str:
    """An error in one line of at most `limit` characters, for a fact or a log; its remedy is a sentence of its own."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - its __str__ may be users' code
        said = f"a {type(error).__name__} that can't be said"
    if isinstance(error, PartitaError):
        said = sentences(*said.splitlines())
    return shortened(plain(" ".join(said.split())), limit)


def sentences(*lines: str) -> str:
    """What is wrong and what to do, one after the other, with a full stop between them where none stands."""
    said = ""
    for line in (line.strip() for line in lines):
        stop = "" if not said or said.endswith((".", ":", ";", ",", "!", "?")) else "."
        said = f"{said}{stop} {line}" if line else said
    return said.strip()


def shortened(text: str, limit: int) -> str:
    """The beginning of a text, marked where something of it is left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shortened_trace(error: BaseException, limit: int) -> str:
    """The innermost frames of an error's traceback, marked where something is left out before them."""
    from traceback import format_exception  # noqa: PLC0415 - only on the way out with an error

    text = plain("".join(format_exception(error, limit=-8)))
    return text if len(text) <= limit else "…" + text[1 - limit :]


def suggest(name: str, known: Sequence[str]) -> str:
    """Name the nearest known word, as the second line of an error, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only on the way out with an error

    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else ""
