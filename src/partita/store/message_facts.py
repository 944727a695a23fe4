"""What a message goes through, from its publishing to the last handling of it."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
from msgspec import Raw

from partita.messages.message import Ends
from partita.store.body import NOTHING, Body, Open


class Published(Body, frozen=True, kw_only=True):
    """An event was published, or a command sent; opens an obligation for each group in `owes`."""

    kind: ClassVar[str] = "published"
    id: str
    type: str
    version: int = 1
    command: bool = False
    data: Raw = Raw(b"{}")
    case: str | None = None
    """The home case: only it orders and owes."""
    owes: tuple[str, ...] = ()
    ends: Ends | None = None
    external: str | None = None
    correlation: str = ""
    source: str = ""
    due: int | None = None
    """A delayed one enters its keys' order at this time."""
    step: str | None = None
    """The step of the run in the head that sent it; None where no run did."""
    undo_of: str | None = None
    """The message whose effect this command undoes."""
    by: str | None = None
    """The service, workflow or person that published it."""
    retry: str | None = None
    """Of a call with a retry policy of its own: that policy, JSON."""
    open: Open | None = None


class Handled(Body, frozen=True, kw_only=True):
    """A group is done with a message: the obligation is closed. For a call, the answer or the failure that ends it."""

    kind: ClassVar[str] = "handled"
    message: str
    group: str
    type: str
    attempt: int = 1
    outcome: Literal["ok", "noop", "failed"] = "ok"
    """failed: the retries of a call are spent and its caller is told."""
    reason: str = ""
    """Of a noop; or what the error of a failure says."""
    error: str = ""
    """The failure's exception type."""
    answer_type: str | None = None
    """Message type of the answer, where it is an event."""
    answer_version: int = 1
    answer: Raw = NOTHING
    """The answer, for a caller."""
    emitted: tuple[str, ...] = ()
    """Ids of what the handling published."""
    waits: tuple[ChoreographedWait, ...] = ()
    step: str | None = None
    """The caller's step: with the run in the head, this fact is that step's completion."""
    case: str | None = None
    """The message's home case."""
    late: bool = False
    """Nobody was waiting any more."""
    rolled_back: bool = False
    via: str | None = None
    """Of a command handled in the unit of a reaction: the group whose receipt covers it."""


class ChoreographedWait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The case stays open until one of these events is published for it, or is overdue."""

    types: tuple[str, ...]
    until: int | None = None
    who: str | None = None


class Retrying(Body, frozen=True, kw_only=True):
    """An attempt failed; the next one is due at `due`. Of a handling (message, group), or of a run's local step."""

    kind: ClassVar[str] = "retrying"
    message: str = ""
    group: str = ""
    type: str = ""
    case: str | None = None
    step: str | None = None
    attempt: int = 1
    error: str = ""
    text: str = ""
    due: int = 0


class Claimed(Body, frozen=True, kw_only=True):
    """After an unclean start: what was open is about to be tried again, for the `count`-th such time."""

    kind: ClassVar[str] = "claimed"
    message: str = ""
    group: str = ""
    type: str = ""
    case: str | None = None
    step: str | None = None
    count: int = 1


class Dead(Body, frozen=True, kw_only=True):
    """The attempts are spent. The obligation stays, as a dead letter (or, `held`, as a call that is held open)."""

    kind: ClassVar[str] = "dead"
    message: str
    group: str
    type: str
    case: str | None = None
    attempts: int = 1
    error: str = ""
    text: str = ""
    trace: str = ""
    held: bool = False
    command: str | None = None
    """The command whose handling failed in a reaction's unit."""


class Redriven(Body, frozen=True, kw_only=True):
    """A dead or held handling is owed again, at the tail of its key's order, with attempts from 0."""

    kind: ClassVar[str] = "redriven"
    message: str
    group: str
    type: str = ""
    case: str | None = None
    by: str = ""


class Discarded(Body, frozen=True, kw_only=True):
    """A dead or held handling, or a quarantined message, was given up by somebody; the obligation is closed."""

    kind: ClassVar[str] = "discarded"
    message: str
    group: str
    type: str = ""
    case: str | None = None
    by: str = ""
    reason: str = ""
    step: str | None = None
    """The caller's step that is failed by it."""


class Withdrawn(Body, frozen=True, kw_only=True):
    """No attempt of a call's command had begun when its saga unwound: it never will; the obligation is closed."""

    kind: ClassVar[str] = "withdrawn"
    message: str
    group: str
    type: str
    case: str | None = None
    step: str | None = None


class Barred(Body, frozen=True, kw_only=True):
    """An attempt of a call's command had begun when its saga unwound: no further one will; its undo follows it."""

    kind: ClassVar[str] = "barred"
    message: str
    group: str
    type: str
    case: str | None = None
    step: str | None = None


class Quarantined(Body, frozen=True, kw_only=True):
    """Bytes came in that can't be handled; kept, and owed to the group `quarantine`, until redriven or discarded."""

    kind: ClassVar[str] = "quarantined"
    id: str
    type: str = ""
    case: str | None = None
    reason: str
    raw: str
    """The bytes as they came, base64."""


class Duplicate(Body, frozen=True, kw_only=True):
    """A message came in again under an id that is known; nothing is owed for it."""

    kind: ClassVar[str] = "duplicate"
    message: str
    type: str = ""
    case: str | None = None
