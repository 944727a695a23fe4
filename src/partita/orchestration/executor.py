"""The executor: runs, turn by turn.

A turn begins only when no unit that names its run is unanswered. It applies what has come, writes that and what the
workflow then asked for as one unit, and begins the effects when that unit is durable. A unit that is refused evicts the
run; its history is the truth, and replay rebuilds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from partita.clock import Alarms, Clock
from partita.errors import DefinitionError, Rejected
from partita.limits import LIMITS
from partita.messages.envelope import case_of_run
from partita.orchestration.asks import AskStep
from partita.orchestration.cells import Cell, Pending
from partita.orchestration.children import Children
from partita.orchestration.consequences import Calls, Consequences, Effects
from partita.orchestration.endings import check_history, encode_result, write_incident, write_next_run
from partita.orchestration.history import gather
from partita.orchestration.intake import Intake
from partita.orchestration.retrying import say_retried, write_retried
from partita.orchestration.roster import Roster
from partita.orchestration.run import Ended, LiveRun, Raised
from partita.orchestration.steps import FIRST, StepRunner, read_attempts
from partita.orchestration.workflow import Workflow
from partita.store.facts import (
    NOTHING,
    Body,
    CancelAsked,
    ChildEnded,
    Claimed,
    Fact,
    Fired,
    Incident,
    Open,
    Received,
    Returned,
    Started,
    Stepped,
    Waiting,
)
from partita.store.port import Accepted, Answer, Lost, Recorded, Refusal, RunRow, Store
from partita.store.work import ADD_RUN, MOVE_RUN
from partita.telemetry import Log
from partita.transports.outbox import Book, Draft
from partita.transports.port import Owed

log = Log(__name__)
AnyWorkflow = Workflow[Any, Any]
Settled = Callable[[Refusal | None], None]
NOTHING_OPEN = Open()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the executor needs from outside: nothing here reads a clock, starts a thread or opens a file by itself."""

    store: Store
    send: Callable[[Owed], None]
    clock: Clock
    alarms: Alarms
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    calls: Calls


class Executor:
    """Keeps the runs of one engine: starts them, feeds them, writes their turns, evicts and rebuilds them."""

    def __init__(self, book: Book, around: Surroundings, workflows: Mapping[str, AnyWorkflow]) -> None:
        self._book = book
        self._around = around
        self._workflows = workflows
        self.roster = Roster(
            workflows, around.store.work, around.clock, around.alarms, decode=book.catalog.decode, ring=self._ring
        )
        self._children = Children(around.store, self.cancel, workflows)
        self._steps = StepRunner(around.spawn, around.in_thread, around.clock, around.alarms)
        self._ended: dict[str, list[Callable[[Body], None]]] = {}
        self._stopped = False
        self.intake = Intake(around.store, workflows, self)

    # What comes in.

    def naming(self, run: str) -> None:
        """A unit that names this run is on its way: no turn of it begins before the answer."""
        cell = self.roster.find_or_load(run)
        if cell is not None:
            cell.unanswered += 1

    def named(self, run: str, recorded: Recorded | None, body: Body | None) -> None:
        """That unit was answered."""
        cell = self.roster.find_or_load(run)
        if cell is None:
            return
        cell.unanswered -= 1
        if recorded is not None and recorded.run_n is not None and body is not None:
            cell.run_n = recorded.run_n
            if cell.live is not None:
                cell.inbox.append((recorded, body, None))
            else:
                cell.stale = True
        self.pump(cell)

    def cancel(self, run: str, *, by: str, reason: str = "", settled: Settled | None = None) -> None:
        """Ask a run to cancel: its workflow meets it as asyncio's cancellation."""
        cell = self.roster.get(run)
        cell.pending.append(Pending(CancelAsked(by=by, reason=reason), settled=settled))
        self.pump(cell)

    def retry(self, run: str, *, by: str, settled: Settled) -> str:
        """Let a stopped run go on; returns what is made anew. Raises Rejected where it is not stopped."""
        row = self._around.store.work.find_run(run)
        if row is None or row.status != "stopped" or row.workflow not in self._workflows:
            raise Rejected(f"run {run} is not stopped", "Nothing has to be retried; `partita show` has its story.")
        history = self._around.store.trail.list_history(run)
        draft = Draft()
        index, owed = write_retried(draft, self._book, history, row, by)

        def answered(answer: Answer) -> None:
            if isinstance(answer, Accepted):
                cell = self.roster.get(run)
                cell.status, cell.stale, cell.row = "open", True, replace(row, status="open")
                cell.run_n = answer.recorded[index].run_n or cell.run_n
                for one in owed:
                    one.position = answer.recorded[index].seq
                    self._around.send(one)
                self._children.take_up([cell], [cell.row])
                self.pump(cell)
            if not isinstance(answer, Lost):
                settled(answer if isinstance(answer, Refusal) else None)

        draft.unit.answered = answered
        self._around.store.submit(draft.unit)
        return say_retried(history)

    def on_end(self, run: str, told: Callable[[Body], None]) -> None:
        """Be told when a run ends or stops, in this process only."""
        self._ended.setdefault(run, []).append(told)

    # The life of the whole.

    def load(self, rows: list[RunRow], *, unclean: bool) -> list[Cell]:
        """Take up the open runs of a store at start; none of them moves before it is pumped."""
        return self._children.take_up(self.roster.load(rows, unclean=unclean), rows)

    def rebuild(self, history: list[Fact]) -> LiveRun:
        """A run as its history says it is, beside the one that lives here: for checks. Raises NonDeterminism.

        Close it when done.
        """
        body = history[0].body
        assert isinstance(body, Started)
        workflow = self._workflows[body.workflow]
        live = LiveRun(workflow, run=str(history[0].run), case=str(history[0].case), decode=self._book.catalog.decode)
        live.replay(history, gather(history, self._around.store.trail, self._book.catalog, workflow))
        return live

    def stop(self) -> None:
        """Begin no further turn and close every run; no `finally` of a workflow runs afterwards."""
        self._stopped = True
        self.roster.close_all()

    def count_busy(self) -> int:
        """How many runs have a turn to take, a unit on its way, or a local step being made."""
        return self.roster.count_moving() + self._steps.active

    def started(self, workflow: AnyWorkflow, message: str, *, correlation: str) -> Started:
        within = None if workflow.within_us is None else self._around.clock.now_us() + workflow.within_us
        return Started(
            workflow=workflow.__name__, message=message, correlation=correlation, code=workflow.code, within=within
        )

    def add_run(self, draft: Draft, cell: Cell) -> None:
        row = cell.row
        draft.write(ADD_RUN, row.run, row.workflow, row.case, row.number, None, None, row.on_close, must="known run")

    # A turn.

    def pump(self, cell: Cell | None) -> None:
        if cell is None or self._stopped or cell.unanswered or not (cell.inbox or cell.pending or cell.stale):
            return
        at = cell.used_at = self._around.clock.now_us()
        if cell.status != "open":
            self._flush_stopped(cell)
            return
        draft = Draft()
        try:
            live, unclean_claims = self._applied(cell, draft, at)
        except Exception as error:  # noqa: BLE001 - users' code, and code that no longer fits its history
            self._stop_run(cell, draft, error, at)
            return
        outcome = live.outcome
        if isinstance(outcome, Raised):
            self._stop_run(cell, draft, outcome.error, at)
            return
        try:
            effects = self._consequences(cell, live, draft, at, unclean_claims)
            if outcome is None:
                self._say_open(cell, live, draft, at)
            else:
                self._end_run(cell, draft, outcome, at)
        except Exception as error:  # noqa: BLE001 - what users' code asked for may not be a message that can be stored
            self._stop_run(cell, draft, error, at)
            return
        self._submit(cell, draft, effects)

    def _applied(self, cell: Cell, draft: Draft, at: int) -> tuple[LiveRun, list[Fact]]:
        """Bring the run up to date: rebuilt if need be, then what is durable, then what this turn writes."""
        check_history(cell.run, cell.run_n)
        history: list[Fact] = []
        live = cell.live
        if live is None or cell.stale:
            history = self._rebuild(cell)
            live = cell.live
        assert live is not None
        while cell.inbox:
            recorded, body, message = cell.inbox.popleft()
            live.apply(recorded.at, body, message)
        taken: list[Pending] = []
        draft.unit.result = taken
        while cell.pending and live.outcome is None:
            pending = cell.pending.popleft()
            taken.append(pending)
            pending.write(draft, cell.row, at)
            if not pending.record_only:
                live.apply(at, pending.body, pending.message)
        return live, [fact for fact in history if isinstance(fact.body, Claimed)] if history else history

    def _rebuild(self, cell: Cell) -> list[Fact]:
        self.roster.close(cell)
        history = self._around.store.trail.list_history(cell.run)
        cell.run_n = history[-1].run_n or 0
        live = cell.live = self.roster.make_live(cell)
        cell.stale = False
        cell.inbox.clear()
        cell.attempts = read_attempts(history)
        cell.open = next((found for fact in reversed(history) if (found := getattr(fact.body, "open", None))), None)
        live.replay(history, gather(history, self._around.store.trail, self._book.catalog, cell.workflow))
        return history

    def _consequences(self, cell: Cell, live: LiveRun, draft: Draft, at: int, claims: list[Fact]) -> Effects:
        effects, writer = Effects(), None
        for ask in live.take():
            if isinstance(ask, AskStep):  # the most frequent ask by far, and the one that writes nothing
                if ask.step not in cell.running:
                    effects.steps.append(ask)
                continue
            if writer is None:
                number = self.roster.next_number
                writer = Consequences(
                    self._book, cell, draft, at, live.correlation, self._around.calls, number, effects
                )
            writer.write(ask)
        if cell.unclean:
            self._claim_steps(cell, draft, effects, at, claims)
            cell.unclean = False
        return effects

    def _claim_steps(self, cell: Cell, draft: Draft, effects: Effects, at: int, claims: list[Fact]) -> None:
        """Count the attempts at local steps that were open when a process died, before they are made again."""
        for ask in list(effects.steps):
            count = 1 + sum(1 for fact in claims if isinstance(fact.body, Claimed) and fact.body.step == ask.step)
            if count > LIMITS.claims_max:
                effects.steps.remove(ask)
                text = f"the process ended {LIMITS.claims_max} times while this step was open"
                cell.pending.append(Pending(Stepped(step=ask.step, error="ProcessDied", text=text, attempts=count - 1)))
            else:
                draft.say(Claimed(step=ask.step, count=count), case=cell.row.case, run=cell.run, at=at)

    def _say_open(self, cell: Cell, live: LiveRun, draft: Draft, at: int) -> None:
        """Say what the run now waits for: in the last fact of the unit, or in one of its own where that changed."""
        now_open = live.open()
        if now_open.wakes != cell.wakes_at:
            draft.write(MOVE_RUN, "open", now_open.wakes, cell.run)
        if now_open == (cell.open or NOTHING_OPEN):
            return
        cell.open = now_open
        for fact in reversed(draft.unit.facts):
            if fact.run == cell.run and "open" in fact.body.__struct_fields__:
                fact.body = replace(fact.body, open=now_open)
                return
            if fact.run == cell.run:
                break
        draft.say(Waiting(open=now_open), case=cell.row.case, run=cell.run, at=at)

    def _end_run(self, cell: Cell, draft: Draft, outcome: Ended, at: int) -> None:
        again = outcome.how == "again"
        value = NOTHING if outcome.value is None or again else encode_result(cell.workflow, outcome.value)
        draft.say(Returned(value=value, how=outcome.how), case=cell.row.case, run=cell.run, at=at)
        draft.write(MOVE_RUN, "ended", None, cell.run)
        cell.status = "ended"
        row = cell.row
        if again:
            self._continue_as_new(cell, draft, outcome.value, at)
        elif row.parent is not None and row.parent_step is not None:
            error = None if outcome.how == "returned" else outcome.how
            ended = ChildEnded(step=row.parent_step, child=cell.run, value=value, error=error)
            draft.say(ended, case=case_of_run(row.parent), run=row.parent)
            self.naming(row.parent)

    def _continue_as_new(self, cell: Cell, draft: Draft, message: Any, at: int) -> None:
        """Start the next run of the same workflow and case in the unit that ends this one; it inherits the parent."""
        row = cell.row
        number = self.roster.next_number(row.workflow, row.case)
        next_row = replace(row, run=f"{row.workflow}/{row.case}/{number}", number=number)
        body = self.started(cell.workflow, "", correlation=cell.live.correlation if cell.live else "")
        write_next_run(draft, next_row, body, message, at=at)

    def _stop_run(self, cell: Cell, draft: Draft, error: BaseException, at: int) -> None:
        """An exception left the workflow: its turn is discarded but for what came in, and the run stops where it is."""
        taken: list[Pending] = draft.unit.result or []
        kept = Draft()
        for pending in taken:
            pending.write(kept, cell.row, at)
        kept.unit.result = taken
        write_incident(kept, cell.row, error, step=cell.live.last_step if cell.live is not None else None, at=at)
        cell.status = "stopped"
        log.error("run.stopped", error=error, run=cell.run)
        self._submit(cell, kept, Effects())

    def _flush_stopped(self, cell: Cell) -> None:
        """A run that stopped or ended meets nothing; what comes is written into its history, or answered anew."""
        cell.stale = False
        cell.inbox.clear()
        waiting, cell.pending = list(cell.pending), type(cell.pending)()
        if cell.status == "ended":
            for pending in waiting:
                if pending.again is not None:
                    pending.again()
                elif pending.settled is not None:
                    pending.settled(None)
            return
        if not waiting:
            return
        draft = Draft()
        for pending in waiting:
            pending.write(draft, cell.row, None)
        draft.unit.result = waiting
        self._submit(cell, draft, Effects())

    # The unit of a turn, and its answer.

    def _submit(self, cell: Cell, draft: Draft, effects: Effects) -> None:
        if not draft.unit.facts and not draft.unit.writes:
            self._begin(cell, draft, effects, None)
            if cell.pending:  # a step that was claimed too often ended in this turn
                self.pump(cell)
            return
        if not cell.new:
            draft.unit.expects[cell.run] = (cell.run_n, cell.row.epoch)
        draft.unit.label = cell.run
        draft.unit.answered = partial(self._answered, cell, draft, effects)
        cell.unanswered += 1
        self._around.store.submit(draft.unit)

    def _answered(self, cell: Cell, draft: Draft, effects: Effects, answer: Answer) -> None:
        cell.unanswered -= 1
        taken: list[Pending] = draft.unit.result or []
        for pending in taken:
            if pending.told is not None:
                pending.told(answer)
        if isinstance(answer, Accepted):
            if cell.new:
                self.roster.keep(cell)
                cell.new = False
            cell.refusals = 0
            self._begin(cell, draft, effects, answer)
            for pending in taken:
                if pending.settled is not None:
                    pending.settled(None)
            self._after(cell, draft, answer)
            self.pump(cell)
        elif isinstance(answer, Refusal):
            self._refused(cell, draft, effects, taken, answer)

    def _begin(self, cell: Cell, draft: Draft, effects: Effects, answer: Accepted | None) -> None:
        """What a durable turn sets going."""
        if answer is not None:
            self._stand(cell, draft, effects, answer)
        if cell.status == "open" and cell.live is not None:
            wakes = cell.live.open().wakes if cell.open is None else cell.open.wakes
            if wakes is not None or cell.wakes_at is not None:
                self.roster.set_wake(cell, wakes)
        for ask in effects.steps:
            cell.running.add(ask.step)
            self._steps.begin(cell, ask, self._stepped, cell.attempts.pop(ask.step, FIRST))
        for step in effects.cancelled:
            self._children.cancel(cell.run, step)

    def _stand(self, cell: Cell, draft: Draft, effects: Effects, answer: Accepted) -> None:
        """The turn's facts stand: the run is as far as they say, and what they owe is sent."""
        for index, fact in enumerate(draft.unit.facts):
            if fact.run == cell.run:
                cell.run_n = answer.recorded[index].run_n or cell.run_n
        for index in effects.withdrawn:
            cell.inbox.append((answer.recorded[index], draft.unit.facts[index].body, None))
        for message, group in effects.closed:
            self._around.calls.drop(message, group)
        for owed in draft.relayed(answer):
            self._around.send(owed)

    def _after(self, cell: Cell, draft: Draft, answer: Accepted) -> None:
        """Tell the parent, and whoever waits, of an end."""
        for index, fact in enumerate(draft.unit.facts):
            body = fact.body
            if isinstance(body, Stepped):
                continue  # of most turns, all there is
            if isinstance(body, Started) and fact.run not in {None, cell.run}:
                self.pump(self.roster.find_or_load(str(fact.run)))
            elif isinstance(body, ChildEnded) and fact.run is not None:
                self.named(fact.run, answer.recorded[index], body)
            elif isinstance(body, Returned | Incident) and fact.run == cell.run:
                self.roster.set_wake(cell, None)
                for told in self._ended.pop(cell.run, ()):
                    told(body)
        if cell.status == "ended":
            self._children.end(cell)
            if not cell.pending and not cell.unanswered:  # the end of a child of its may be on its way
                self.roster.forget(cell)

    def _refused(self, cell: Cell, draft: Draft, effects: Effects, taken: list[Pending], answer: Refusal) -> None:
        """Nothing of the turn happened: forget the run as it was imagined; its history is what it is rebuilt from."""
        if not cell.new:  # one that never began was asked for twice, and whoever asked is told
            log.warning("turn.refused", run=cell.run, why=answer.why, error=answer.error)
        self._lift(draft, effects)
        self.roster.close(cell)
        if cell.new:
            self._never_began(cell, taken, answer)
            return
        row = self._around.store.work.find_run(cell.run)
        cell.run_n = row.run_n if row is not None else cell.run_n
        cell.status, cell.open, cell.stale = row.status if row is not None else "ended", None, True
        cell.refusals += 1
        for pending in reversed(taken):
            if pending.again is None:
                cell.pending.appendleft(pending)
        for pending in taken:
            if pending.again is not None:
                self._redo(pending)
        if cell.refusals > 2 * LIMITS.claims_max:
            # Not even its incident can be written: it stands as its history says, until the next start looks again.
            log.error("run.left_alone", error=answer.error, run=cell.run, why=answer.why)
            cell.stale = False
        elif cell.refusals > LIMITS.claims_max:
            error = DefinitionError(f"its turn is refused again and again: {answer.why}")
            self._stop_run(cell, Draft(), error, self._around.clock.now_us())
        else:
            self.pump(cell)

    def _lift(self, draft: Draft, effects: Effects) -> None:
        """Take back what was said to others in view of a turn that did not happen."""
        for message, group in effects.barred:
            self._around.calls.lift(message, group)
        for fact in draft.unit.facts:
            if isinstance(fact.body, ChildEnded) and fact.run is not None:
                self.named(fact.run, None, None)

    def _never_began(self, cell: Cell, taken: list[Pending], answer: Refusal) -> None:
        """The unit that was to start a run was refused: another one stands in its place, or its message is taken."""
        self.roster.hand_over(cell, self.pump)
        for pending in taken:
            if pending.again is not None and answer.why == "known run":
                pending.again()
            elif pending.settled is not None:
                pending.settled(answer)

    def _redo(self, pending: Pending) -> None:
        body = pending.body
        open_still = isinstance(body, Received) and self._around.store.work.find_obligation(body.message, body.group)
        if open_still and pending.again is not None:
            pending.again()
        elif pending.settled is not None:
            pending.settled(Refusal("closed"))

    # Small things.

    def _stepped(self, cell: Cell, body: Body, *, record_only: bool = False) -> None:
        """A local step ended, or is to be tried again."""
        if isinstance(body, Stepped):
            cell.running.discard(body.step)
        found = self.roster.find(cell.run)
        if found is None or self._stopped:
            return
        found.pending.append(Pending(body, record_only=record_only))
        self.pump(found)

    def _ring(self, cell: Cell, due: int) -> None:
        if not self._stopped:
            cell.pending.append(Pending(Fired(due=due)))
            self.pump(cell)
