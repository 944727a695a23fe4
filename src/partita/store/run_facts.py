"""What a run goes through, from its start to its end; the head of each fact names the run."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Raw

from partita.store.body import NOTHING, Body, Open


class Started(Body, frozen=True, kw_only=True):
    """A run began. Its input is the message in the trail under `message`, or, for a child or a direct start, `data`."""

    kind: ClassVar[str] = "started"
    workflow: str
    message: str | None = None
    type: str | None = None
    """Message type of the input, where it is a message."""
    version: int = 1
    """Of that type, where the input stands here."""
    data: Raw = NOTHING
    correlation: str = ""
    code: str = ""
    parent: str | None = None
    parent_step: str | None = None
    on_close: Literal["wait", "cancel", "abandon"] = "wait"
    within: int | None = None
    """The instant the workflow's `within` ends, for the monitor."""
    seed: str = ""
    epoch: int = 0
    open: Open | None = None


class Stepped(Body, frozen=True, kw_only=True):
    """A local step ended: its value, or the error after the last attempt."""

    kind: ClassVar[str] = "stepped"
    step: str
    value: Raw = NOTHING
    error: str | None = None
    text: str = ""
    attempts: int = 1
    open: Open | None = None


class Received(Body, frozen=True, kw_only=True):
    """A message was appended to a run; it is buffered until the run asks for its type."""

    kind: ClassVar[str] = "received"
    message: str
    type: str
    version: int = 1
    group: str
    data: Raw = NOTHING
    """Only where the message's own fact is not in this trail."""
    case: str | None = None
    open: Open | None = None


class Fired(Body, frozen=True, kw_only=True):
    """A timer of the run was due: the run's clock moves to the head's time."""

    kind: ClassVar[str] = "fired"
    due: int
    open: Open | None = None


class Waiting(Body, frozen=True, kw_only=True):
    """What a run waits for changed, in a turn that left no other fact to say it."""

    kind: ClassVar[str] = "waiting"
    open: Open


class Patched(Body, frozen=True, kw_only=True):
    """A run met `patched(change)`: it goes the new way, now and on every replay."""

    kind: ClassVar[str] = "patched"
    change: str
    open: Open | None = None


class ChildStarted(Body, frozen=True, kw_only=True):
    """A run started a child run."""

    kind: ClassVar[str] = "child started"
    step: str
    child: str
    workflow: str
    open: Open | None = None


class ChildEnded(Body, frozen=True, kw_only=True):
    """A child that a run waits for ended: that step's completion."""

    kind: ClassVar[str] = "child ended"
    step: str
    child: str
    value: Raw = NOTHING
    error: str | None = None
    text: str = ""


class CancelAsked(Body, frozen=True, kw_only=True):
    """Somebody asked a run to cancel: the run meets it as asyncio's cancellation."""

    kind: ClassVar[str] = "cancel asked"
    by: str = ""
    reason: str = ""
    open: Open | None = None

    @property
    def asked_by(self) -> str:
        """Who asked, and why."""
        return f"{self.by or 'somebody'}{f' ({self.reason})' if self.reason else ''}"


class Returned(Body, frozen=True, kw_only=True):
    """A run ended: with a value, cancelled, or by continuing as new."""

    kind: ClassVar[str] = "returned"
    value: Raw = NOTHING
    how: Literal["returned", "cancelled", "again", "failed"] = "returned"
    text: str = ""


class Incident(Body, frozen=True, kw_only=True):
    """A run stopped where it is: an exception left its workflow, or its code no longer fits its history. Resumable."""

    kind: ClassVar[str] = "incident"
    error: str
    text: str
    trace: str = ""
    step: str | None = None
    """The last completion before it."""
    remedy: str = ""
    unhandled: str | None = None
    """The command that it called and no service handles, where that is why."""


class Retried(Body, frozen=True, kw_only=True):
    """A stopped run goes on; the completions in `voids` (their run_n) count as never having happened."""

    kind: ClassVar[str] = "retried"
    voids: tuple[int, ...] = ()
    by: str = ""


class NoRun(Body, frozen=True, kw_only=True):
    """A message for a workflow found no open run of its case."""

    kind: ClassVar[str] = "no run"
    message: str
    group: str
    type: str
    workflow: str
    case: str | None = None
    reason: str = ""


class DuplicateStart(Body, frozen=True, kw_only=True):
    """A workflow was asked to start for a case that has a run of it."""

    kind: ClassVar[str] = "duplicate start"
    message: str
    group: str = ""
    type: str = ""
    workflow: str
    run: str
    case: str | None = None
