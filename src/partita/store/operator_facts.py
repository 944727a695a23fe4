"""What operators ask for, and what engines say of themselves."""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Raw

from partita.store.body import Body


class GroupPaused(Body, frozen=True, kw_only=True):
    """Nothing is handed to a group until it is resumed."""

    kind: ClassVar[str] = "group paused"
    group: str
    by: str = ""


class GroupResumed(Body, frozen=True, kw_only=True):
    """A group goes on."""

    kind: ClassVar[str] = "group resumed"
    group: str
    by: str = ""


class GroupRetired(Body, frozen=True, kw_only=True):
    """A group that vanished from the code owes nothing any more; `closed` obligations were given up."""

    kind: ClassVar[str] = "group retired"
    group: str
    closed: int = 0
    by: str = ""


class Requested(Body, frozen=True, kw_only=True):
    """A request was taken while no engine ran: owed to the next one."""

    kind: ClassVar[str] = "requested"
    request: Raw
    id: str
    op: str
    type: str = ""
    by: str = ""


class Answered(Body, frozen=True, kw_only=True):
    """A request that was owed has been carried out, or turned down."""

    kind: ClassVar[str] = "answered"
    id: str
    op: str = ""
    type: str = ""
    """The message type, workflow or group that was asked for."""
    outcome: Literal["accepted", "rejected"] = "accepted"
    why: str = ""


class Opened(Body, frozen=True, kw_only=True):
    """An engine took the store, under this topology; `clean` is whether the one before had closed it."""

    kind: ClassVar[str] = "opened"
    app: str
    version: str
    clean: bool = True


class Closed(Body, frozen=True, kw_only=True):
    """The engine let the store go, with nothing in flight."""

    kind: ClassVar[str] = "closed"
