"""Intake: what comes to a workflow's group starts a run, is appended to the open ones, or is a fact saying why neither.

Each message is taken in one unit with the closing of its obligation, so none is taken twice and none is lost between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from msgspec import Raw
from msgspec.structs import replace

from partita.messages.codec import encode
from partita.messages.envelope import body_digest
from partita.messages.message import is_message, type_of
from partita.orchestration.cells import Cell, Pending
from partita.orchestration.roster import Roster
from partita.orchestration.workflow import Workflow
from partita.store.facts import Body, DuplicateStart, NoRun, Received, Started
from partita.store.port import Accepted, Answer, Lost, Recorded, Refusal, RunRow, Store, Write
from partita.store.work import CLOSE_OBLIGATION, KNOW_MESSAGE, OPEN_OBLIGATION
from partita.transports.outbox import Draft
from partita.transports.port import Owed

AnyWorkflow = Workflow[Any, Any]
Settled = Callable[[Refusal | None], None]
Told = Callable[[str | None, str], None]


class Runs(Protocol):
    """What intake needs of the executor."""

    @property
    def roster(self) -> Roster: ...
    def started(self, workflow: AnyWorkflow, message: str, *, correlation: str) -> Started: ...
    def add_run(self, draft: Draft, cell: Cell) -> None: ...
    def named(self, run: str, recorded: Recorded | None, body: Body | None) -> None: ...
    def pump(self, cell: Cell) -> None: ...


class Intake:
    """Takes messages for workflow groups."""

    def __init__(self, store: Store, workflows: Mapping[str, AnyWorkflow], runs: Runs) -> None:
        self._store = store
        self._by_group = {workflow.group: workflow for workflow in workflows.values()}
        self._runs = runs

    def consume(self, owed: Owed, message: Any, settled: Settled) -> None:
        """Take a message for a workflow's group: start a run, append it to the open ones, or say why neither."""
        workflow = self._by_group[owed.group]
        case = owed.envelope.case
        if case is None:
            self._without_run(owed, workflow, settled, "the message names no case")
            return
        rows = self._store.work.list_runs(case, workflow.__name__)
        standing = [row for row in rows if row.status != "ended"]
        starts = owed.envelope.type == workflow.starts_on
        if starts and not standing and (not rows or workflow.restart == "after-end"):
            self._start(owed, message, workflow, len(rows) + 1, settled)
        elif standing and (not starts or owed.envelope.type in workflow.receives):
            self._append(owed, message, standing, settled)
        elif starts:
            self._duplicate(owed, workflow, (standing or rows)[-1].run, settled)
        else:
            self._without_run(owed, workflow, settled, "its run has ended" if rows else "no run was started")

    def start(self, workflow: AnyWorkflow, message: Any, case: str, *, message_id: str, told: Told) -> None:
        """Start a run from outside; `told(run, why)` says its id, or None and why it was not started."""
        rows = self._store.work.list_runs(case, workflow.__name__)
        if rows and not (workflow.restart == "after-end" and all(row.status == "ended" for row in rows)):
            told(None, f"case {case} has run {rows[-1].run}")
            return
        found = type_of(message) if is_message(message) else None
        data = encode(message)
        cell = self._runs.roster.add(workflow, case, len(rows) + 1)
        body = self._runs.started(workflow, message_id, correlation=message_id)
        body = replace(body, message=None, data=Raw(data))
        if found is not None:
            body = replace(body, type=found.name, version=found.version)

        def beside(draft: Draft) -> None:
            self._runs.add_run(draft, cell)
            draft.write(KNOW_MESSAGE, message_id, body_digest(data), must="known message", fact=0)

        def settled(refused: Refusal | None) -> None:
            if refused is None:
                told(cell.run, "")
            else:
                told(None, f"case {case} has run {cell.run}" if refused.why == "known run" else refused.why)

        cell.pending.append(Pending(body, message, beside=beside, settled=settled))
        self._runs.pump(cell)

    def start_along(self, publishing: Draft, message: Any, told: Callable[[Answer], None]) -> bool:
        """Start a run in the unit of the very publish that starts it; whether that can be.

        It can where the case has, as far as memory knows, no run of the workflow. Where that is wrong, the unit is
        refused with "known run", and the publish has to go its own way, through the group's lane.
        """
        found = self._find_start(publishing)
        if found is None:
            return False
        index, owed, workflow = found
        cell = self._runs.roster.add(workflow, str(owed.envelope.case), 1)
        body = self._runs.started(workflow, owed.envelope.id, correlation=owed.envelope.correlation)
        before = Draft()
        before.take(publishing)
        del before.owed[index]
        before.unit.writes = [one for one in before.unit.writes if not _opens(one, owed)]
        pending = Pending(
            replace(body, type=owed.envelope.type),
            message,
            before=before,
            beside=lambda draft: self._runs.add_run(draft, cell),
            told=told,
        )
        cell.pending.append(pending)
        self._runs.pump(cell)
        return True

    def _find_start(self, publishing: Draft) -> tuple[int, Owed, AnyWorkflow] | None:
        for index, (_, owed) in enumerate(publishing.owed):
            workflow, case = self._by_group.get(owed.group), owed.envelope.case
            if workflow is None or case is None or workflow.starts_on != owed.envelope.type or owed.state != "open":
                continue
            if self._runs.roster.find(f"{workflow.__name__}/{case}/1") is None:
                return index, owed, workflow
        return None

    def _start(self, owed: Owed, message: Any, workflow: AnyWorkflow, number: int, settled: Settled) -> None:
        cell = self._runs.roster.add(workflow, str(owed.envelope.case), number)
        body = self._runs.started(workflow, owed.envelope.id, correlation=owed.envelope.correlation)
        body = replace(body, type=owed.envelope.type)

        def beside(draft: Draft) -> None:
            self._runs.add_run(draft, cell)
            close(draft, owed)

        again = partial(self.consume, owed, message, settled)
        cell.pending.append(Pending(body, message, beside=beside, settled=settled, again=again))
        self._runs.pump(cell)

    def _append(self, owed: Owed, message: Any, rows: list[RunRow], settled: Settled) -> None:
        body = Received(
            message=owed.envelope.id,
            type=owed.envelope.type,
            version=owed.envelope.version,
            group=owed.group,
            case=owed.envelope.case,
        )
        again = partial(self.consume, owed, message, settled)
        if len(rows) == 1 and rows[0].status == "open":
            cell = self._runs.roster.get(rows[0].run, rows[0])
            cell.pending.append(
                Pending(body, message, beside=lambda draft: close(draft, owed), settled=settled, again=again)
            )
            self._runs.pump(cell)
            return
        cells = [self._runs.roster.get(row.run, row) for row in rows]
        draft = Draft()
        close(draft, owed)
        for cell in cells:
            draft.say(body, case=cell.row.case, run=cell.run, causes=owed.envelope.causes)
            cell.unanswered += 1

        def answered(answer: Answer) -> None:
            for index, cell in enumerate(cells):
                self._runs.named(cell.run, answer.recorded[index] if isinstance(answer, Accepted) else None, body)
                cell.stale = cell.stale or isinstance(answer, Accepted)
            if not isinstance(answer, Lost):
                settled(answer if isinstance(answer, Refusal) else None)

        draft.unit.answered = answered
        self._store.submit(draft.unit)

    def _duplicate(self, owed: Owed, workflow: AnyWorkflow, run: str, settled: Settled) -> None:
        body = DuplicateStart(
            message=owed.envelope.id,
            group=owed.group,
            type=owed.envelope.type,
            workflow=workflow.__name__,
            run=run,
            case=owed.envelope.case,
        )
        self._only_say(owed, body, settled)

    def _without_run(self, owed: Owed, workflow: AnyWorkflow, settled: Settled, reason: str) -> None:
        body = NoRun(
            message=owed.envelope.id,
            group=owed.group,
            type=owed.envelope.type,
            workflow=workflow.__name__,
            case=owed.envelope.case,
            reason=reason,
        )
        self._only_say(owed, body, settled)

    def _only_say(self, owed: Owed, body: Body, settled: Settled) -> None:
        draft = Draft()
        close(draft, owed)
        draft.say(body, case=owed.envelope.case, causes=owed.envelope.causes)
        draft.unit.answered = lambda answer: None if isinstance(answer, Lost) else settled(refused(answer))
        self._store.submit(draft.unit)


def _opens(write: Write, owed: Owed) -> bool:
    return write.op == OPEN_OBLIGATION and write.params[:2] == owed.key


def close(draft: Draft, owed: Owed) -> None:
    """Close what a workflow's group owes, in the unit that takes the message."""
    draft.write(CLOSE_OBLIGATION, owed.envelope.id, owed.group, must="closed")


def refused(answer: Answer) -> Refusal | None:
    """The refusal, if the answer is one."""
    return answer if isinstance(answer, Refusal) else None
