"""Asks: what a turn of a run wants from the world. Nothing of it begins before the turn's unit is durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from partita.messages.message import AnyCommand, Event
from partita.orchestration.workflow import Workflow
from partita.retry import Retry

OnClose = Literal["wait", "cancel", "abandon"]


@dataclass(frozen=True, slots=True)
class AskCall:
    """Send a command; the handling of it, recorded with `step`, is the completion. An undo comes with `then="hold"`."""

    step: str
    command: AnyCommand
    retry: Retry | None = None
    undo_of: str | None = None
    """The step whose call this command undoes."""
    until: int | None = None
    """When the workflow stops waiting for the answer."""


@dataclass(frozen=True, slots=True)
class AskPublish:
    """Publish an event; for the workflow that is all."""

    step: str
    event: Event
    after_us: int | None = None


class How(NamedTuple):
    """How a step's function is called."""

    is_async: bool
    delivery: str | None
    """The parameter that asks for its delivery."""


class AskStep(msgspec.Struct, gc=False):
    """Run a local function; `stepped` is the completion. A replay asks again for one that has none."""

    step: str
    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    timeout_us: int | None = None
    retry: Retry | None = None
    how: How | None = None
    returns: object = Any
    """What its value is read as."""


@dataclass(frozen=True, slots=True)
class AskChild:
    """Start a child run; `child ended` is the completion."""

    step: str
    workflow: Workflow[Any, Any]
    message: Any
    on_close: OnClose = "wait"


@dataclass(frozen=True, slots=True)
class AskCancelChild:
    """Pass a cancellation on to the child that this step started. A replay asks again while the child has not ended."""

    step: str


@dataclass(frozen=True, slots=True)
class AskUndo:
    """Undo a call that has no answer: withdraw it if no attempt of it ever began, otherwise bar it and send `command`.

    `withdrawn` with `call_step`, or the handling recorded with `step`, is the completion.
    """

    step: str
    call_step: str
    called: AnyCommand
    command: AnyCommand
    retry: Retry


@dataclass(frozen=True, slots=True)
class AskPatched:
    """Record that the run goes the new way at this change."""

    change: str


Ask = AskCall | AskPublish | AskStep | AskChild | AskCancelChild | AskUndo | AskPatched
