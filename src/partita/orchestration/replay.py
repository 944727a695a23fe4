"""Replay: what a run's history says it has done, for its code to be held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from partita.messages.message import describe
from partita.orchestration.asks import AskCall, AskChild, AskPublish, AskStep, AskUndo
from partita.store.facts import (
    Barred,
    Body,
    CancelAsked,
    ChildEnded,
    ChildStarted,
    Discarded,
    Fact,
    Fired,
    Handled,
    Incident,
    Patched,
    Published,
    Received,
    Retried,
    Returned,
    Started,
    Stepped,
    Waiting,
    Withdrawn,
)

_MET = frozenset({Started, Stepped, Received, Fired, ChildEnded, CancelAsked})
_MET_BY_STEP = frozenset({Handled, Discarded, Withdrawn})
_CONSEQUENCES = (Published, ChildStarted, Patched, Waiting, Barred, Withdrawn, Returned)


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """What one step did: of which kind, and with which type."""

    kind: str
    type: str | None = None

    @property
    def said(self) -> str:
        """In words, for an error."""
        return self.kind if self.type is None else f"{self.kind} {self.type}"

    def fits(self, ask: AskCall | AskPublish | AskStep | AskChild | AskUndo) -> bool:
        """Whether the code still asks for the same."""
        asked = Recorded.of(ask)
        if asked is self:
            return True
        return asked.kind == self.kind and (self.type is None or asked.type == self.type)

    @classmethod
    def of(cls, ask: AskCall | AskPublish | AskStep | AskChild | AskUndo) -> Recorded:
        """What an ask would be recorded as."""
        match ask:
            case AskCall(command=command) | AskUndo(command=command):
                return cls("call", describe(type(command)).name)
            case AskPublish(event=event):
                return cls("event", describe(type(event)).name)
            case AskStep():
                return _LOCAL_STEP
            case AskChild(workflow=workflow):
                return cls("child", workflow.name)
            case _:
                assert_never(ask)


_LOCAL_STEP = Recorded("local step")  # one for all: it is most of what a history says


@dataclass(slots=True)
class Record:
    """A history, read for replay."""

    applied: list[Fact] = field(default_factory=list[Fact])
    """The facts that a run meets, in order, without those that a retry has voided."""
    steps: dict[str, Recorded] = field(default_factory=dict[str, Recorded])
    ended: set[str] = field(default_factory=set[str])
    """Steps whose child has ended."""
    patches: dict[str, bool] = field(default_factory=dict[str, bool])
    end: int = 0
    """The last run_n whose turn is known to have been committed: what the code did up to it can't be changed."""


def meets(body: Body) -> bool:
    """Whether a run meets a fact; the others only record what it did."""
    kind = type(body)
    return kind in _MET or (kind in _MET_BY_STEP and getattr(body, "step", None) is not None)


def read_record(history: Sequence[Fact]) -> Record:
    """Read a history, in order of run_n. What came after an incident is held back until the run was retried."""
    voided = {run_n for fact in history if isinstance(fact.body, Retried) for run_n in fact.body.voids}
    record = Record()
    held = 0
    for fact in history:
        body, run_n = fact.body, fact.run_n or 0
        if voided and run_n in voided:
            continue
        if isinstance(body, Incident):
            held = held or len(record.applied) + 1
        elif isinstance(body, Retried):
            held = 0
        else:
            _read(record, body, run_n)
            if meets(body):
                record.applied.append(fact)
    if held:
        del record.applied[held - 1 :]
    return record


def _read(record: Record, body: Body, run_n: int) -> None:
    if type(body) is Stepped and body.open is None:
        record.steps[body.step] = _LOCAL_STEP
        return
    if isinstance(body, _CONSEQUENCES):
        # It followed from a fact before it: that turn is over.
        record.end = max(record.end, run_n - 1)
    elif getattr(body, "open", None) is not None:
        record.end = max(record.end, run_n)
    match body:
        case Published(step=str(step), type=name, command=command):
            record.steps[step] = Recorded("call" if command else "event", name)
        case ChildStarted(step=step, workflow=workflow):
            record.steps[step] = Recorded("child", workflow)
        case Stepped(step=step):
            record.steps[step] = _LOCAL_STEP
        case Withdrawn(step=str(step)):
            record.steps[f"{step}/undo"] = Recorded("call")
        case ChildEnded(step=step):
            record.ended.add(step)
        case Patched(change=change):
            record.patches[change] = True
        case _:
            pass
