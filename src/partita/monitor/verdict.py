"""The verdict: what the state of a case comes to at a given time.

blind > failed > dead-ended > overdue > running > waiting > compensated > done: where several apply, the left one wins,
and the oldest open item of that kind says where the case is. Deadlines are compared here, at read time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from partita.clock import US
from partita.messages.envelope import case_of_run
from partita.messages.topology import Topology
from partita.monitor.chart import Chart, case_type_of, chart_of
from partita.monitor.state import CaseState, Over, Owed, Refused, RunState
from partita.store.facts import Open

Verdict = Literal["blind", "failed", "dead-ended", "overdue", "running", "waiting", "compensated", "done"]
VERDICTS: tuple[Verdict, ...] = (
    "blind",
    "failed",
    "dead-ended",
    "overdue",
    "running",
    "waiting",
    "compensated",
    "done",
)
"""Worst first: the place in it is a verdict's rank."""
RANK: dict[Verdict, int] = {verdict: rank for rank, verdict in enumerate(VERDICTS)}
BAD = frozenset(VERDICTS[:4])
TIMER_GRACE_US = 5 * US
"""A run's own timer may be this late before it is overdue: the engine that fires it may be busy, or just starting."""


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """What may come next, and on what grounds."""

    name: str
    basis: Literal["owed", "wait", "observed"]
    share: float | None = None


class Weighed(msgspec.Struct, frozen=True, gc=False):
    """The part of a judgement that is stored with each batch. Times in microseconds."""

    rank: int
    at: str | None
    since: int
    deadline: int | None
    """The earliest limit of what is open."""
    overdue_at: int | None
    """When the verdict turns overdue if nothing happens."""


class OpenWaitFor(NamedTuple):
    """One open wait of a case, of a run or of a handler's answer."""

    types: tuple[str, ...]
    since: int
    until: int | None
    who: str | None
    run: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """Where a case stands at a time. Times in microseconds."""

    verdict: Verdict
    at: str | None
    since: int
    waiting_for: tuple[str, ...]
    deadline: int | None
    overdue_at: int | None
    next: tuple[Next, ...]
    doomed: tuple[OpenWaitFor, ...]
    """Waits that nothing open can bring about."""
    explanation: str
    """Why it is blind or dead-ended; empty otherwise."""

    @property
    def rank(self) -> int:
        """The verdict's rank, worst first."""
        return RANK[self.verdict]


def judge(state: CaseState, topology: Topology, now: int) -> Judged:
    """The verdict on a case at `now`, and all that follows from it."""
    chart = chart_of(topology)
    weighed = weigh(state, chart, now)
    verdict = VERDICTS[weighed.rank]
    return Judged(
        verdict=verdict,
        at=weighed.at,
        since=weighed.since,
        waiting_for=tuple(sorted({name for wait in open_waits(state) for name in wait.types})),
        deadline=weighed.deadline,
        overdue_at=weighed.overdue_at,
        next=tuple(list_next(state, chart)),
        doomed=tuple(doomed_waits(state, chart)),
        explanation=_explain(state, chart, verdict),
    )


def weigh(state: CaseState, chart: Chart, now: int) -> Weighed:
    """The verdict alone, in one walk over what is open: it is taken once for each case of each batch."""
    walk = _Walk(now)
    for owed in state.owed.values():
        if not owed.observer:
            _weigh_owed(walk, owed)
    for run_id, run in state.runs.items():
        _weigh_run(walk, state.case, run_id, run)
    for wait in state.waits:
        name = wait.types[0] if wait.types else wait.group
        walk.find(_WAITING, wait.since, name)
        if wait.until is not None:
            walk.limit(wait.until, wait.since, name)
    for asked in state.asked.values():
        walk.find(_RUNNING, asked.since, asked.type or asked.op)
    if state.gap is not None:
        walk.find(_BLIND, state.at, state.latest.type if state.latest else None)
    if walk.rank == _QUIET:
        return _weigh_quiet(state, chart)
    return Weighed(walk.rank, walk.at, walk.since, walk.deadline, walk.overdue_at)


_BLIND, _FAILED, _DEAD_ENDED, _OVERDUE, _RUNNING, _WAITING, _, _ = range(8)
_QUIET = 8


class _Walk:
    """The worst kind of open item met so far, and the oldest of that kind."""

    __slots__ = ("at", "callers", "deadline", "now", "overdue_at", "rank", "since")

    def __init__(self, now: int) -> None:
        self.now = now
        self.rank = _QUIET
        self.since = 0
        self.at: str | None = None
        self.deadline: int | None = None
        self.overdue_at: int | None = None
        self.callers: set[str] | None = None

    def find(self, rank: int, since: int, at: str | None) -> None:
        if rank < self.rank or (rank == self.rank and since < self.since):
            self.rank, self.since, self.at = rank, since, at

    def is_calling(self, run: str) -> bool:
        """Whether something owed is a run's call."""
        return self.callers is not None and run in self.callers

    def limit(self, deadline: int, since: int, at: str, *, grace: int = 0) -> None:
        overdue_at = deadline + grace
        if self.deadline is None or deadline < self.deadline:
            self.deadline = deadline
        if self.overdue_at is None or overdue_at < self.overdue_at:
            self.overdue_at = overdue_at
        if overdue_at <= self.now:
            self.find(_OVERDUE, since, at)


def _weigh_owed(walk: _Walk, owed: Owed) -> None:
    if owed.run is not None:
        if walk.callers is None:
            walk.callers = set()
        walk.callers.add(owed.run)
    if owed.stage == "dead" or owed.stage == "held":  # noqa: PLR1714 - cheaper than a set, for each item of each batch
        walk.find(_FAILED, owed.moved, owed.type)
        return
    if owed.limit is not None:
        walk.limit(owed.limit, owed.since, owed.type)
    later = owed.stage == "delayed" and owed.due > walk.now
    walk.find(_WAITING if later else _RUNNING, owed.since, owed.type)


def _weigh_run(walk: _Walk, case: str, run_id: str, run: RunState) -> None:
    if run.status == "stopped":
        walk.find(_FAILED, run.stopped_at, step_name(run.failed_step) if run.failed_step else run.workflow)
        return
    if run.within is not None:
        walk.limit(run.within, run.since, run.workflow)
    opened = run.open
    if opened is None:
        if not walk.is_calling(run_id):
            walk.find(_RUNNING, run.moved, run.workflow)
        return
    if opened.on_itself:
        walk.find(_DEAD_ENDED, run.moved, run.workflow)
        return
    _weigh_open(walk, case, run, opened)
    if opened.wakes is not None:
        walk.limit(opened.wakes, run.moved, run.workflow, grace=TIMER_GRACE_US)
    if not (opened.steps or opened.waits or opened.sleeps or walk.is_calling(run_id)):
        walk.find(_RUNNING if opened.wakes is None else _WAITING, run.moved, run.workflow)


def _weigh_open(walk: _Walk, case: str, run: RunState, opened: Open) -> None:
    for step in opened.steps:
        child = run.children.get(step.step) if run.children else None
        if child is None:
            walk.find(_RUNNING, step.since, step.name)
        elif case_of_run(child) != case:  # One of this case weighs for itself: it works, waits or has stopped.
            walk.find(_WAITING, step.since, step.name)
    for wait in opened.waits:
        name = wait.types[0] if wait.types else run.workflow
        walk.find(_WAITING, wait.since, name)
        if wait.until is not None:
            walk.limit(wait.until, wait.since, name, grace=TIMER_GRACE_US)
    for sleep in opened.sleeps:
        walk.find(_WAITING, sleep.since, sleep.name)
        if sleep.due is not None:
            walk.limit(sleep.due, sleep.since, sleep.name, grace=TIMER_GRACE_US)


def _weigh_quiet(state: CaseState, chart: Chart) -> Weighed:
    """Nothing is open: the case has come to an end, or nothing can move it any more."""
    latest, over, ended = state.latest, state.over, state.ended
    if ended is not None:
        return Weighed(RANK[ended.verdict], ended.type, ended.at, None, None)
    if latest is not None:
        at, since = latest.type, latest.at
    elif over is not None:
        at, since = over.workflow, over.at
    else:
        at, since = None, state.at
    verdict: Verdict = "dead-ended"
    if state.home == 0:
        verdict = "done"  # Other cases' messages touched it; nothing was ever its own to be done.
    elif over is not None and case_type_of(state.case) not in chart.ends:
        verdict = "done" if over.how == "returned" else "compensated" if over.how == "cancelled" else "failed"
    return Weighed(RANK[verdict], at, since, None, None)


def _explain(state: CaseState, chart: Chart, verdict: Verdict) -> str:
    if verdict == "blind":
        return f"part of its trail is missing: {state.gap}"
    if verdict != "dead-ended":
        return ""
    for run in runs_on_themselves(state):
        return say_on_itself(run)
    refused = state.refused
    if refused is not None and state.latest is None and state.over is None:
        return say_refused(refused)
    ends = chart.ends.get(case_type_of(state.case))
    last = f"; {say_refused(refused).removesuffix('.')}" if refused is not None else ""
    if state.latest is not None:
        # What a run's call was answered with was heard, though no group owed it anything.
        unheard = ", which no group handles" if state.latest.alone and state.over is None else ""
        last = f"; its latest event is {state.latest.type}{unheard}{last}"
    if not ends:
        return f"nothing is owed, timed, awaited or running, and no end is declared{last}"
    run = f"; {say_over(state.over)}" if state.over is not None else ""
    return (
        f"nothing is owed, timed, awaited or running, and none of its ends ({', '.join(ends)}) was reached{last}{run}"
    )


def runs_on_themselves(state: CaseState) -> Iterator[str]:
    """The runs that nothing can move but their own code, or somebody who cancels them."""
    for run_id, run in state.runs.items():
        if run.status == "open" and run.open is not None and run.open.on_itself:
            yield run_id


def say_on_itself(run: str) -> str:
    """What is to be said of such a run."""
    return f"run {run} waits for what only its own code could bring about; nothing it asked for is open"


def say_over(over: Over) -> str:
    """How the latest run ended."""
    was, by = ("was ", f" by {over.by}" if over.by else "") if over.how == "cancelled" else ("", "")
    return f"run of {over.workflow} {was}{over.how}{by}"


def say_refused(refused: Refused) -> str:
    """A request that an engine turned down, and why."""
    return f"the request to {f'{refused.op} {refused.type}'.strip()} was turned down: {refused.why}"


def step_name(step: str) -> str:
    """The name in a step's identity, `scope path/name#occurrence`."""
    name = step.rpartition("#")[0] or step
    return name.rpartition("/")[2]


# Waits, and what can still end them.


def open_waits(state: CaseState) -> Iterator[OpenWaitFor]:
    """Every open wait of a case: of its runs, then of its handlers' answers."""
    for run_id, run in state.runs.items():
        for wait in run.awaited:
            yield OpenWaitFor(wait.types, wait.since, wait.until, None, run_id)
    for said in state.waits:
        yield OpenWaitFor(said.types, said.since, said.until, said.who, None)


def doomed_waits(state: CaseState, chart: Chart) -> Iterator[OpenWaitFor]:
    """Waits for types that come neither from outside nor, through declared contracts, from anything open."""
    for wait in open_waits(state):
        if not _can_come(wait, state, chart):
            yield wait


def _can_come(wait: OpenWaitFor, state: CaseState, chart: Chart) -> bool:
    types = wait.types
    if wait.who is not None or chart.may_come(types, case_type_of(state.case)):
        return True
    for owed in state.owed.values():
        if chart.leads_to(types, owed.group, owed.type):
            return True
    if state.asked and not chart.reach(asked.type for asked in state.asked.values()).isdisjoint(types):
        return True
    for run_id, run in state.runs.items():
        if _can_move(run_id, run, state, chart) and chart.moves_to(types, run.workflow):
            return True
    # A handler's wait that a person ends, or that comes from outside, may lead on to this one.
    known = [name for other in state.waits for name in other.types if other.who is not None or name in chart.parties]
    return not chart.reach(known).isdisjoint(types)


def _can_move(run_id: str, run: RunState, state: CaseState, chart: Chart) -> bool:
    """Whether something can move a run, other than a message that comes neither from outside nor from anything open."""
    opened = run.open
    if opened is not None and opened.on_itself:
        return False
    if opened is None or opened.steps or opened.sleeps or not opened.waits or run.awaited != opened.waits:
        return True
    if any(owed.run == run_id for owed in state.owed.values()):
        return True
    return any(not chart.parties.keys().isdisjoint(wait.types) for wait in opened.waits)


def is_stuck(state: CaseState, weighed: Weighed, chart: Chart) -> bool:
    """Whether a case can't be expected to go on by itself, as far as its own facts tell."""
    if weighed.rank < _RUNNING:
        return True
    if not state.waits and not _a_run_waits(state):
        return False
    return any(True for _ in doomed_waits(state, chart))


def _a_run_waits(state: CaseState) -> bool:
    for run in state.runs.values():  # noqa: SIM110 - a generator costs as much as the rest of a small fold
        if run.open is not None and run.open.waits:
            return True
    return False


def list_next(state: CaseState, chart: Chart) -> Iterator[Next]:
    """What may come next: contract outcomes of what is owed, oldest first, then what is awaited."""
    seen: set[str] = set()
    items = [owed for owed in state.owed.values() if not owed.observer and owed.stage not in {"dead", "held"}]
    for owed in sorted(items, key=lambda item: item.since):
        yield from _unseen(chart.outcomes(owed.group, owed.type), "owed", seen)
    for wait in open_waits(state):
        yield from _unseen(wait.types, "wait", seen)


def _unseen(names: Iterable[str], basis: Literal["owed", "wait"], seen: set[str]) -> Iterator[Next]:
    for name in names:
        if name not in seen:
            seen.add(name)
            yield Next(name=name, basis=basis)
