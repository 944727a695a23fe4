"""The topology: which groups handle which messages and what may come of it, as plain data.

What was published is judged by the topology it was fanned out under, also by a reader that has none of the code.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from typing import Literal

import msgspec

from partita.messages.message import Ends, MessageKind


class MessageEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message type."""

    name: str
    version: int = 1
    kind: MessageKind = "event"
    case_type: str | None = None
    case_field: str | None = None
    fields: tuple[str, ...] = ()
    """Names of the fields that it must have, the case's first."""
    ends: Ends | None = None
    external: str | None = None
    """Who sends it from outside; commands that nobody in the app sends have "outside" here."""
    answers: tuple[str, ...] = ()
    """Event types that a command may be answered with; answers that are events are published."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The policy in force on one edge, times in microseconds."""

    attempts: int = 5
    first_us: int = 200_000
    factor: float = 2.0
    most_us: int = 60_000_000
    then: Literal["fail", "hold"] = "fail"
    timeout_us: int | None = None
    concurrency: int | None = None


class Edge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One group handles one message type: by which function, and what may come of it."""

    type: str
    handler: str
    """Module and name of the function."""
    service: str
    form: Literal["handler", "reaction", "workflow"] = "handler"
    """A handler of the service; a reaction of a wiring; a workflow that starts on it or receives it."""
    wiring: str | None = None
    outcomes: tuple[str, ...] = ()
    """Message types that it may emit."""
    awaits: bool = False
    """Whether it may answer with a choreographed wait."""
    within_us: int | None = None
    observer: bool = False
    hold: bool = False
    """Whether its dead letter goes on blocking the case for this group."""
    policy: Policy = Policy()


class GroupEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named consumer group and its edges, by message type."""

    name: str
    service: str
    edges: tuple[Edge, ...] = ()

    def find_edge(self, message_type: str) -> Edge | None:
        """The edge for a message type, or None."""
        return next((edge for edge in self.edges if edge.type == message_type), None)


class WorkflowEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One workflow: what starts it, and what its source says it calls, publishes and receives."""

    name: str
    group: str
    code: str = ""
    """Fingerprint of its source, or the version it names."""
    starts_on: str | None = None
    takes: str | None = None
    """What a run is given, where that is a message and its publication starts none: by hand, or by a parent."""
    children: tuple[str, ...] = ()
    """Workflows that its runs may start."""
    receives: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    undoes: tuple[str, ...] = ()
    within_us: int | None = None


class Topology(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """The whole app as data. `version` is the number the store gave it; 0 before it is stored."""

    app: str
    version: int = 0
    messages: tuple[MessageEntry, ...] = ()
    groups: tuple[GroupEntry, ...] = ()
    workflows: tuple[WorkflowEntry, ...] = ()

    @cached_property
    def message_by_name(self) -> dict[str, MessageEntry]:
        """Message types by wire name."""
        return {message.name: message for message in self.messages}

    @cached_property
    def group_by_name(self) -> dict[str, GroupEntry]:
        """Groups by name."""
        return {group.name: group for group in self.groups}

    @cached_property
    def owing(self) -> dict[str, tuple[str, ...]]:
        """Which groups owe a handling of a message type, in declared order."""
        found: dict[str, list[str]] = {}
        for group in self.groups:
            for edge in group.edges:
                found.setdefault(edge.type, []).append(group.name)
        return {name: tuple(groups) for name, groups in found.items()}

    def find_edge(self, group: str, message_type: str) -> Edge | None:
        """The edge of a group for a message type, or None."""
        found = self.group_by_name.get(group)
        return found.find_edge(message_type) if found else None

    def digest(self) -> str:
        """Tells one topology from another, whatever number the store gave it."""
        raw = msgspec.json.encode(msgspec.structs.replace(self, version=0))
        return blake2b(raw, digest_size=16).hexdigest()
