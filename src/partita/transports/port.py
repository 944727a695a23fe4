"""The transport port: what is owed goes in, and comes out where its group is handled.

A transport never holds the only copy: what it loses is sent again from the store, what it doubles is told apart by the
open obligation. So it may drop, double, delay and reorder; it may not alter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from partita.messages.envelope import Envelope


@dataclass(slots=True, eq=False)
class Owed:
    """One handling that a group owes: the message, and how far it has come. Mirrors an obligation row."""

    envelope: Envelope
    group: str
    seq: int = 0
    """The published fact; 0 until it is durable."""
    position: int = 0
    state: str = "open"
    attempts: int = 0
    claims: int = 0
    due_at: int = 0
    caller: str | None = None
    step: str | None = None
    retry: str | None = None
    barred: bool = False
    late: bool = False
    began: bool = False
    """An attempt began in this process, or may have begun in an earlier one."""
    unclean: bool = False
    """It was open when an earlier process died: the next attempt is claimed first."""

    key: tuple[str, str] = field(init=False)
    """What an obligation is known by: message id and group."""
    lane: tuple[str, str] = field(init=False)
    """What it is kept in order with: its group and case; without a case, only itself."""

    def __post_init__(self) -> None:
        self.key = (self.envelope.id, self.group)
        self.lane = (self.group, self.envelope.case or f"\0{self.envelope.id}")


class Transport(Protocol):
    """Carries what is owed to the group that owes it, and takes what foreign producers send."""

    def send(self, owed: Owed) -> None:
        """Hand over one owed handling. Called after its unit is durable, in commit order of its source."""
        ...

    def subscribe(self, receive: Callable[[Owed], None], take_foreign: Callable[[bytes], None]) -> None:
        """Name the one who receives: owed handlings, and raw bytes that foreign producers put on the wire."""
        ...

    def put(self, raw: bytes) -> None:
        """Put raw bytes on the wire as a foreign producer would; they are not durable before they are taken."""
        ...
