"""Cells: what the executor keeps of a run between two turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from partita.orchestration.run import LiveRun
from partita.orchestration.workflow import Workflow
from partita.store.facts import Body, Open
from partita.store.port import Answer, Recorded, Refusal, RunRow
from partita.transports.outbox import Draft


@dataclass(frozen=True, slots=True)
class Again:
    """Where a step stood when its run was rebuilt: how many attempts had failed, and when the next is due."""

    failed: int = 0
    due: int = 0


class Pending(msgspec.Struct, eq=False):
    """A fact that a run's next turn is to write."""

    body: Body
    message: Any = None
    record_only: bool = False
    """It is written into the history, but the workflow does not meet it."""
    before: Draft | None = None
    """What the unit begins with: the publish that starts the run."""
    beside: Callable[[Draft], None] | None = None
    """Further writes of the same unit."""
    told: Callable[[Answer], None] | None = None
    """Hears of the unit's answer, whatever it is."""
    settled: Callable[[Refusal | None], None] | None = None
    again: Callable[[], None] | None = None
    """What to do where the run ended before it could be written."""

    def write(self, draft: Draft, row: RunRow, at: int | None) -> None:
        """Write it, and what comes with it, into the unit of the turn that takes it in."""
        if self.before is not None:
            draft.take(self.before, at=at)
        draft.say(self.body, case=row.case, run=row.run, at=at)
        if self.beside is not None:
            self.beside(draft)


@dataclass(slots=True, eq=False)
class Cell:
    """One run in memory: its live part, and what waits for its next turn."""

    run: str
    workflow: Workflow[Any, Any]
    row: RunRow
    live: LiveRun | None = None
    run_n: int = 0
    """The last fact of the run that is durable."""
    status: str = "open"
    new: bool = False
    """Its first unit is not durable yet."""
    stale: bool = True
    """Something may have to be done: the next turn rebuilds it from its history."""
    unclean: bool = False
    """An earlier process died with it: its open steps are claimed before they are tried again."""
    inbox: deque[tuple[Recorded, Body, Any]] = field(default_factory=deque[tuple[Recorded, Body, Any]])
    """Facts that are durable and not applied yet."""
    pending: deque[Pending] = field(default_factory=deque[Pending])
    unanswered: int = 0
    """Units on their way that name this run."""
    running: set[str] = field(default_factory=set[str])
    """Local steps being made, or waiting for their next attempt."""
    attempts: dict[str, Again] = field(default_factory=dict[str, Again])
    """Where steps stood when the run was rebuilt."""
    open: Open | None = None
    """What the history says it waits for."""
    wakes_at: int | None = None
    used_at: int = 0
    refusals: int = 0
    """Turns refused in a row."""

    @property
    def moving(self) -> bool:
        """Whether a turn of it is to be taken, or is on its way."""
        return bool(self.unanswered or self.inbox or self.pending or self.stale)

    @property
    def idle(self) -> bool:
        """Whether it could be evicted."""
        return not (self.new or self.moving or self.running)
