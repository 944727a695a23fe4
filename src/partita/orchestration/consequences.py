"""Consequences: what a turn asked for, written into the unit of that turn.

Nothing begins here. What has to happen outside the unit is left as effects, for after its commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, assert_never

import msgspec

from partita.errors import DefinitionError, NobodyHandles
from partita.messages.envelope import derive_id
from partita.messages.message import AnyCommand, Event, is_message, type_of
from partita.orchestration.asks import Ask, AskCall, AskCancelChild, AskChild, AskPatched, AskPublish, AskStep, AskUndo
from partita.orchestration.cells import Cell
from partita.orchestration.endings import write_next_run
from partita.orchestration.workflow import Workflow
from partita.retry import Duration, Retry, duration_us
from partita.store.facts import Barred, ChildStarted, Discarded, Patched, Published, Started, Withdrawn
from partita.store.port import RunRow
from partita.store.work import BAR_OBLIGATION, CLOSE_OBLIGATION, DISCARD_OBLIGATION
from partita.transports.outbox import Book, Caller, Draft, Origin, publish

Standing = Literal["withdrawn", "barred", "closed", "unknown"]


class Calls(Protocol):
    """What a saga has to ask of dispatch, and of the rows, before it undoes a call."""

    def bar(self, message: str, group: str) -> Standing:
        """Let no further attempt of a command begin; see `Dispatch.bar`."""
        ...

    def lift(self, message: str, group: str) -> None:
        """The unit that was to bar it did not happen."""
        ...

    def drop(self, message: str, group: str) -> None:
        """It is closed."""
        ...

    def is_held(self, message: str, group: str) -> bool:
        """Whether the call is held open after its attempts were spent."""
        ...


class Effects(msgspec.Struct, eq=False):
    """What is to begin once the turn's unit is durable."""

    steps: list[AskStep] = []
    # Of most turns there is none of the others: tuples, so that nothing is made for them.
    withdrawn: tuple[int, ...] = ()
    """Facts of the unit that complete an undo: the next turn applies them."""
    closed: tuple[tuple[str, str], ...] = ()
    barred: tuple[tuple[str, str], ...] = ()
    cancelled: tuple[str, ...] = ()


@dataclass(slots=True)
class Consequences:
    """Writes asks into a draft; one for each turn."""

    book: Book
    cell: Cell
    draft: Draft
    at: int
    correlation: str
    calls: Calls
    next_number: Callable[[str, str], int]
    """The number of a case's next run of a workflow."""
    effects: Effects

    def write(self, ask: Ask) -> None:
        """Write one ask."""
        match ask:
            case AskCall():
                undone = None if ask.undo_of is None else self._id(ask.undo_of)
                self._call(ask.step, ask.command, ask.retry, undo_of=undone)
            case AskPublish():
                due = None if ask.after_us is None else self.at + ask.after_us
                self._publish(ask.step, ask.event, due)
            case AskStep():
                self.effects.steps.append(ask)
            case AskChild():
                self._child(ask)
            case AskCancelChild():
                self.effects.cancelled += (ask.step,)
            case AskUndo():
                self._undo(ask)
            case AskPatched():
                self._say(Patched(change=ask.change))
            case _:
                assert_never(ask)

    def _say(self, body: Any, also: tuple[str, ...] = ()) -> int:
        return self.draft.say(body, case=self.cell.row.case, run=self.cell.run, at=self.at, also=also)

    def _id(self, step: str) -> str:
        return message_id(self.cell, step)

    def _origin(self) -> Origin:
        return Origin(self.cell.workflow.__name__, self.correlation, (), self.cell.run, self.cell.row.case)

    def _publish(self, step: str, event: Event, due: int | None) -> None:
        origin = self._origin()
        publish(self.draft, self.book, event, message_id=self._id(step), origin=origin, at=self.at, due=due, step=step)

    def _call(self, step: str, command: AnyCommand, retry: Retry | None, *, undo_of: str | None) -> Published:
        name = type_of(command).name
        if not self.book.topology.owing.get(name):
            raise NobodyHandles(
                f"no service of this app handles {name}, which step {step!r} calls\n"
                f"Add its handler, then: partita retry {self.cell.row.case}",
                command=name,
            )
        caller = Caller(self.cell.run, step, None if retry is None else encode_retry(retry), undo_of)
        return publish(
            self.draft, self.book, command, message_id=self._id(step), origin=self._origin(), at=self.at, caller=caller
        )

    def _undo(self, ask: AskUndo) -> None:
        """Undo an unanswered call: withdraw it if no attempt ever began, otherwise send the undo behind it."""
        found = type_of(ask.called)
        group = next(iter(self.book.topology.owing.get(found.name, ())), "")
        called, case = self._id(ask.call_step), found.case_of(ask.called)
        also = () if case in {None, self.cell.row.case} else (str(case),)
        held = self.calls.is_held(called, group)
        standing: Standing = "unknown" if held else self.calls.bar(called, group)
        if standing != "unknown":
            self.effects.barred += ((called, group),)
        if standing == "withdrawn":
            self.draft.write(CLOSE_OBLIGATION, called, group, must="closed")
            body = Withdrawn(message=called, group=group, type=found.name, case=case, step=ask.call_step)
            self.effects.withdrawn += (self._say(body, also),)
            self.effects.closed += ((called, group),)
            return
        given_up = Discarded(message=called, group=group, type=found.name, case=case, by="saga", reason="undone")
        if held:
            self.draft.write(DISCARD_OBLIGATION, called, group, must="closed")
            self._say(given_up, also)
        elif standing == "barred":
            self.draft.write(BAR_OBLIGATION, called, group, must="closed")
            self._say(Barred(message=called, group=group, type=found.name, case=case, step=ask.call_step), also)
        elif standing == "closed":
            self.draft.write(CLOSE_OBLIGATION, called, group, must="closed")
            self._say(given_up, also)
            self.effects.closed += ((called, group),)
        self._call(ask.step, ask.command, ask.retry, undo_of=called)

    def _child(self, ask: AskChild) -> None:
        workflow: Workflow[Any, Any] = ask.workflow
        message = ask.message
        case = type_of(message).case_of(message) if is_message(message) else self.cell.row.case
        if case is None:
            raise DefinitionError(f"child {workflow.__name__}: its message has no case\nGive it one that names a case.")
        number = self.next_number(workflow.__name__, case)
        child = f"{workflow.__name__}/{case}/{number}"
        also = () if case == self.cell.row.case else (case,)
        self._say(ChildStarted(step=ask.step, child=child, workflow=workflow.__name__), also)
        row = RunRow(child, workflow.__name__, case, number, "open", 0, 0, None, self.cell.run, ask.step, ask.on_close)
        within = None if workflow.within_us is None else self.at + workflow.within_us
        body = Started(workflow=workflow.__name__, correlation=self.correlation, code=workflow.code, within=within)
        write_next_run(self.draft, row, body, message, at=self.at)


def message_id(cell: Cell, step: str) -> str:
    """The id of the message that a run's step sends: derived, so that the same step names the same message."""
    return derive_id(cell.run, str(cell.row.epoch), step)


def encode_retry(retry: Retry) -> str:
    """A call's own retry policy as it is stored with its obligation."""
    plain = {
        "attempts": retry.attempts,
        "first": _say_duration(retry.first),
        "factor": retry.factor,
        "most": _say_duration(retry.most),
        "then": retry.then,
        "final": [f"{cls.__module__}.{cls.__qualname__}" for cls in retry.final],
    }
    return msgspec.json.encode(plain).decode()


def _say_duration(duration: Duration) -> str:
    return f"{duration_us(duration)}us"
