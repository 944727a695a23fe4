"""The facts of one case, sorted by the questions that *why* asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from partita.monitor.chart import Chart
from partita.monitor.state import CaseState
from partita.monitor.verdict import step_name
from partita.store import facts
from partita.store.body import Open, OpenWait
from partita.store.facts import Fact

_AboutHandling = (
    facts.Handled
    | facts.Retrying
    | facts.Claimed
    | facts.Dead
    | facts.Redriven
    | facts.Discarded
    | facts.Withdrawn
    | facts.Barred
    | facts.Received
    | facts.NoRun
    | facts.DuplicateStart
)
_AboutStep = facts.Stepped | facts.Retrying | facts.ChildStarted | facts.Published


@dataclass(slots=True)
class RunTrail:
    """What a case's facts say of one run."""

    run: str
    workflow: str
    started: Fact
    facts: list[Fact] = field(default_factory=list[Fact])
    ended: Fact | None = None
    incident: Fact | None = None
    opened: Open | None = None
    """What it last said it waits for."""
    timed_out: tuple[Fact, OpenWait] | None = None
    """The last wait of its whose time was over, and the fact that says so."""

    @property
    def parent(self) -> tuple[str, str | None] | None:
        """The run, and its step, whose child it is."""
        body = self.started.body
        parent = body.parent if isinstance(body, facts.Started) else None
        return (parent, body.parent_step) if isinstance(body, facts.Started) and parent is not None else None

    @property
    def cancel_asked(self) -> Fact | None:
        """The last time that somebody asked it to cancel."""
        return next((fact for fact in reversed(self.facts) if isinstance(fact.body, facts.CancelAsked)), None)

    @property
    def cancelled_by(self) -> str:
        """` by ada (the customer called)`: who asked it to cancel, and why; empty where nobody did."""
        body = self.cancel_asked.body if self.cancel_asked is not None else None
        return f" by {body.asked_by}" if isinstance(body, facts.CancelAsked) else ""

    def last_of(self, step: str) -> Fact | None:
        """What was last said of a step of its: of a local step, a child, or a call."""
        said = (fact for fact in reversed(self.facts) if isinstance(fact.body, _AboutStep))
        return next((fact for fact in said if getattr(fact.body, "step", None) == step), None)


class Ledger:
    """Messages by type and id, handlings by (message, group), runs by id."""

    def __init__(self, state: CaseState, trail: Sequence[Fact], chart: Chart) -> None:
        self.state = state
        self.messages: dict[str, list[Fact]] = {}
        """Publications by type, those that only touch the case included."""
        self.by_id: dict[str, Fact] = {}
        self.handlings: dict[tuple[str, str], list[Fact]] = {}
        self.runs: dict[str, RunTrail] = {}
        self.requests: list[Fact] = []
        self.turned_down: dict[str, Fact] = {}
        """What became of requests that an engine refused, by their key."""
        self.quarantined: list[Fact] = []
        self.steps: dict[str, list[Fact]] = {}
        """What was said of local steps and of children, by name."""
        for fact in trail:
            self._take(fact, chart)

    def _take(self, fact: Fact, chart: Chart) -> None:
        body = fact.body
        if isinstance(body, facts.Published):
            self.messages.setdefault(body.type, []).append(fact)
            self.by_id[body.id] = fact
        elif isinstance(body, _AboutHandling):
            self.handlings.setdefault((body.message, body.group), []).append(fact)
        elif isinstance(body, facts.Requested):
            self.requests.append(fact)
        elif isinstance(body, facts.Answered):
            if body.outcome == "rejected":
                self.turned_down[body.id] = fact
        elif isinstance(body, facts.Quarantined):
            self.quarantined.append(fact)
        if fact.run is not None and fact.case == self.state.case:
            self._take_run(fact.run, fact, chart)

    def _take_run(self, run_id: str, fact: Fact, chart: Chart) -> None:
        body = fact.body
        if isinstance(body, facts.Started):
            self.runs[run_id] = RunTrail(run_id, body.workflow, fact)
            if body.message is not None:
                self.handlings.setdefault((body.message, chart.group_of(body.workflow)), []).append(fact)
        run = self.runs.get(run_id)
        if run is None:
            return
        run.facts.append(fact)
        if isinstance(body, facts.Fired) and run.opened is not None:
            over = [wait for wait in run.opened.waits if wait.until is not None and wait.until <= body.due]
            run.timed_out = (fact, over[0]) if over else run.timed_out
        opened: Open | None = getattr(body, "open", None)
        run.opened = run.opened if opened is None else opened
        match body:
            case facts.Returned():
                run.ended = fact
            case facts.Incident():
                run.incident = fact
            case facts.Retried():
                run.incident = None
            case (
                facts.Stepped(step=step)
                | facts.Retrying(step=str(step))
                | facts.ChildStarted(step=step)
                | facts.ChildEnded(step=step)
            ):
                self.steps.setdefault(step_name(step), []).append(fact)
            case _:
                pass

    def published(self, message_type: str) -> list[Fact]:
        """Its publications, oldest first."""
        return self.messages.get(message_type, [])

    def first_after(self, seq: int, types: Sequence[str]) -> Fact | None:
        """The first publication of one of these types after a fact."""
        found = [fact for name in types for fact in self.published(name) if fact.seq > seq]
        return min(found, key=lambda fact: fact.seq, default=None)

    def last_event_by(self, run: str) -> Fact | None:
        """The last event that a run published."""
        for fact in reversed(self.runs[run].facts):
            if isinstance(fact.body, facts.Published) and not fact.body.command:
                return fact
        return None

    def last_answer_to(self, run: str) -> Fact | None:
        """The last answer that a run got, those to its undos left out."""
        for fact in reversed(self.runs[run].facts):
            if isinstance(fact.body, facts.Handled):
                sent = self.by_id.get(fact.body.message)
                if sent is None or not isinstance(sent.body, facts.Published) or sent.body.undo_of is None:
                    return fact
        return None

    def find_going(self, run: str) -> RunTrail | None:
        """A run, or the one that it has continued as; None where it has ended."""
        found = self.runs.get(run)
        if found is None or found.ended is None:
            return found
        same = (one for one in self.runs.values() if one.ended is None and one.parent == found.parent)
        return next(same, None) if found.parent is not None else None

    def runs_of(self, workflow: str) -> list[RunTrail]:
        """The runs of a workflow in this case, oldest first."""
        return [run for run in self.runs.values() if run.workflow == workflow]

    def names(self) -> set[str]:
        """Everything that could be asked for by what has been said."""
        opened = {
            item.name
            for run in self.state.runs.values()
            if run.open is not None
            for item in (*run.open.steps, *run.open.sleeps)
        }
        asked = {fact.body.type for fact in self.requests if isinstance(fact.body, facts.Requested) and fact.body.type}
        raw = {owed.type for owed in self.state.owed.values() if owed.type}
        raw |= {fact.body.type for fact in self.quarantined if isinstance(fact.body, facts.Quarantined)} - {""}
        return set(self.messages) | set(self.steps) | opened | asked | raw
