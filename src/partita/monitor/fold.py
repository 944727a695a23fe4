"""Folding: one more fact, and what a case has open, dead and behind it after that.

Facts come in the order of the trail, each once. An obligation opens in its message's home case only; everything that
closes one names (message, group), so it does not matter in which unit or under which run it was said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from partita.messages.topology import Topology
from partita.monitor.chart import Chart, chart_of
from partita.monitor.state import (
    QUARANTINE,
    Asked,
    CaseState,
    CaseWait,
    Ended,
    Latest,
    Over,
    Owed,
    Refused,
    RunState,
    decode_state,
    encode_state,
    owed_key,
)
from partita.monitor.verdict import is_stuck, weigh
from partita.store import facts
from partita.store.facts import Fact
from partita.store.port import CaseRow

Topologies = Callable[[int], Topology]
"""The topology that has a version."""
KEPT_MAX = 1_000
"""States kept by a projection: about 1 KB each."""
FOLD_VERSION = 3
"""Raised when the same facts would fold to another state: stored rows are then stale."""


def fold(state: CaseState, fact: Fact, topology: Topology) -> CaseState:
    """The state after one more fact; `state` itself is left as it was."""
    folded = decode_state(encode_state(state))
    apply(folded, fact, chart_of(topology))
    return folded


def recompute(case: str, trail: Iterable[Fact], topology: Topologies) -> CaseState:
    """The state of a case from all its facts: what the stored one must equal."""
    state = CaseState(case)
    for fact in trail:
        apply(state, fact, chart_of(topology(fact.code)))
    return state


class CaseProjection:
    """Folds a batch of facts into a case's row, for the store's writer.

    The states folded last are kept, so that the next batch of a busy case need not decode what this one encoded. One is
    taken out while it is folded, and used only for the very bytes that it was encoded to: a batch that was rolled back
    is decoded anew.
    """

    version = FOLD_VERSION

    def __init__(self, topology: Topologies) -> None:
        self._topology = topology
        self._code = -1
        self._chart = chart_of(Topology(app=""))
        self._kept: dict[str, tuple[bytes, CaseState]] = {}

    def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
        """The row of a case after these further facts."""
        kept = self._kept.pop(case, None)
        if state is None:
            folded = CaseState(case)
        elif kept is not None and kept[0] == state:
            folded = kept[1]
        else:
            folded = decode_state(state)
        for fact in facts:
            if fact.code != self._code:
                self._chart = chart_of(self._topology(fact.code))
                self._code = fact.code
            apply(folded, fact, self._chart)
        row = row_of(folded, self._chart)
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[case] = (row.state, folded)
        return row


def row_of(state: CaseState, chart: Chart) -> CaseRow:
    """A state as it is stored, listed and looked up; judged as of its last fact."""
    weighed = weigh(state, chart, state.at)
    return CaseRow(
        state.case,
        weighed.rank,
        is_stuck(state, weighed, chart),
        weighed.at,
        weighed.since,
        weighed.overdue_at,
        FOLD_VERSION,
        state.seq,
        encode_state(state),
    )


def apply(state: CaseState, fact: Fact, chart: Chart) -> None:
    """Fold one fact into a state, in place."""
    state.seq = fact.seq
    if fact.at > state.at:  # noqa: PLR1730 - max() costs three times as much, for each fact
        state.at = fact.at
    run_id = fact.run
    if fact.case == state.case:
        state.home += 1
        if run_id is not None and (run := state.runs.get(run_id)) is not None:
            _move(state, run, fact)
    act = _ACTS.get(type(fact.body))
    if act is not None:
        act(state, fact, fact.body, chart)
    if run_id is not None:  # What it waits for rides in the last fact of a turn, whatever that fact says.
        opened: facts.Open | None = getattr(fact.body, "open", None)
        if opened is not None and (run := state.runs.get(run_id)) is not None:
            run.open = opened
            if run.children:
                run.children = {one.step: run.children[one.step] for one in opened.steps if one.step in run.children}
            if run.given:
                run.given = ()


def _move(state: CaseState, run: RunState, fact: Fact) -> None:
    run.moved = fact.at
    if fact.run_n is None:
        return
    if run.n is not None and fact.run_n > run.n + 1 and state.gap is None:
        state.gap = f"run {fact.run}: facts {run.n + 1} to {fact.run_n - 1} are missing"
    run.n = fact.run_n


# What a message goes through.


def _published(state: CaseState, fact: Fact, body: facts.Published, chart: Chart) -> None:
    if body.case != state.case:
        if state.home == 0 and not body.command:  # Until it has an event of its own, it is known by what touched it.
            state.latest = Latest(body.type, fact.at, fact.seq, not body.owes)
        return
    if fact.case != state.case:
        state.home += 1
    alone = True
    for group in body.owes:
        owed = state.owed[f"{body.id} {group}"] = _owed(group, fact, body, chart)
        alone = alone and owed.observer
    if not body.command:
        _happened(state, fact, body, alone=alone)


def _owed(group: str, fact: Fact, body: facts.Published, chart: Chart) -> Owed:
    owed = Owed(group, body.type, fact.at)
    if body.due is not None:
        owed.stage, owed.due = "delayed", body.due
    if body.command:
        owed.command = True
        if body.step is not None:
            owed.run, owed.step = fact.run, body.step
    edge = chart.edges.get((group, body.type))
    if edge is not None:
        owed.observer = edge.observer
        if edge.within_us is not None:
            owed.limit = (fact.at if body.due is None else body.due) + edge.within_us
    return owed


def _happened(state: CaseState, fact: Fact, body: facts.Published, *, alone: bool) -> None:
    # The latest is the one that was said last, whatever its time: clocks are set back, the trail's order is not.
    state.latest = Latest(body.type, fact.at, fact.seq, alone)
    state.refused = None
    if body.ends is not None:
        state.ended = Ended(body.ends, body.type, fact.at, fact.seq)
    if state.waits:
        state.waits = [wait for wait in state.waits if body.type not in wait.types]


def _handled(state: CaseState, fact: Fact, body: facts.Handled, chart: Chart) -> None:
    state.owed.pop(f"{body.message} {body.group}", None)
    if body.step is not None and fact.run is not None:
        _forget_step(state, fact.run, body.step)
    if state.waits and body.outcome != "failed":  # What died before its group waited for it may be handled after that.
        state.waits = [wait for wait in state.waits if wait.group != body.group or body.type not in wait.types]
    if body.waits and body.case == state.case:
        for wait in body.waits:
            state.waits.append(CaseWait(wait.types, fact.at, wait.until, wait.who, body.group))


def _retrying(state: CaseState, fact: Fact, body: facts.Retrying, chart: Chart) -> None:
    owed = _owed_again(state, fact, body, chart) if body.message else None
    if owed is not None:
        owed.stage, owed.attempt, owed.due, owed.moved = "retrying", body.attempt, body.due, fact.at


def _dead(state: CaseState, fact: Fact, body: facts.Dead, chart: Chart) -> None:
    owed = _owed_again(state, fact, body, chart)
    if owed is not None:
        owed.stage = "held" if body.held else "dead"
        owed.attempt, owed.moved = body.attempts, fact.at


def _redriven(state: CaseState, fact: Fact, body: facts.Redriven, chart: Chart) -> None:
    if body.group == QUARANTINE:
        state.owed.pop(owed_key(body.message, QUARANTINE), None)
        return
    owed = _owed_again(state, fact, body, chart)
    if owed is not None:
        owed.stage, owed.attempt, owed.due, owed.moved = "open", 0, 0, fact.at
        edge = chart.edges.get((owed.group, owed.type))
        if edge is not None and edge.within_us is not None:
            owed.limit = fact.at + edge.within_us
        key = owed_key(body.message, body.group)
        state.owed[key] = state.owed.pop(key)  # It enters its key's order again at the tail.


def _owed_again(
    state: CaseState, fact: Fact, body: facts.Retrying | facts.Dead | facts.Redriven, chart: Chart
) -> Owed | None:
    """The obligation that a fact speaks of; opened anew, in its home case, where it had been closed."""
    key = owed_key(body.message, body.group)
    owed = state.owed.get(key)
    if owed is None and body.case == state.case:
        edge = chart.edges.get((body.group, body.type))
        owed = state.owed[key] = Owed(body.group, body.type, fact.at, run=fact.run)
        message = chart.topology.message_by_name.get(body.type)
        owed.command = message is not None and message.kind == "command"
        owed.observer = edge is not None and edge.observer
    return owed


def _closed(
    state: CaseState,
    fact: Fact,
    body: facts.Discarded | facts.Withdrawn | facts.NoRun | facts.DuplicateStart,
    chart: Chart,
) -> None:
    state.owed.pop(owed_key(body.message, body.group), None)


def _quarantined(state: CaseState, fact: Fact, body: facts.Quarantined, chart: Chart) -> None:
    if body.case == state.case:
        owed = Owed(QUARANTINE, body.type, fact.at, "dead", moved=fact.at)
        state.owed[owed_key(body.id, QUARANTINE)] = owed


def _retired(state: CaseState, fact: Fact, body: facts.GroupRetired, chart: Chart) -> None:
    state.owed = {key: owed for key, owed in state.owed.items() if owed.group != body.group}


# What a run goes through: told in its own case only.


def _started(state: CaseState, fact: Fact, body: facts.Started, chart: Chart) -> None:
    if fact.run is None or fact.case != state.case:
        return
    state.runs[fact.run] = RunState(
        body.workflow, fact.at, n=fact.run_n, within=body.within, parent=body.parent, moved=fact.at
    )
    if body.message is not None:
        state.owed.pop(owed_key(body.message, chart.group_of(body.workflow)), None)


def _received(state: CaseState, fact: Fact, body: facts.Received, chart: Chart) -> None:
    state.owed.pop(owed_key(body.message, body.group), None)
    run = state.runs.get(fact.run or "")
    if run is not None and run.open is not None and run.open.waits:
        same_turn = run.status == "stopped" or run.given_at == fact.at
        run.given = (*run.given, body.type) if same_turn else (body.type,)
        run.given_at = fact.at


def _stepped(state: CaseState, fact: Fact, body: facts.Stepped, chart: Chart) -> None:
    if body.open is None and fact.run is not None:
        _forget_step(state, fact.run, body.step)


def _child_started(state: CaseState, fact: Fact, body: facts.ChildStarted, chart: Chart) -> None:
    run = state.runs.get(fact.run or "")
    if run is not None:
        run.children[body.step] = body.child


def _child_ended(state: CaseState, fact: Fact, body: facts.ChildEnded, chart: Chart) -> None:
    if fact.run is not None:
        _forget_step(state, fact.run, body.step)


def _forget_step(state: CaseState, run_id: str, step: str) -> None:
    """A step that a run waited for has ended; what else it waits for, its next turn says."""
    run = state.runs.get(run_id)
    if run is None or run.open is None or not run.open.steps:
        return
    left = tuple(opened for opened in run.open.steps if opened.step != step)
    if len(left) != len(run.open.steps):
        run.open = facts.Open(waits=run.open.waits, steps=left, sleeps=run.open.sleeps, wakes=run.open.wakes)


def _cancel_asked(state: CaseState, fact: Fact, body: facts.CancelAsked, chart: Chart) -> None:
    run = state.runs.get(fact.run or "")
    if run is not None:
        run.cancelled_by = body.asked_by


def _returned(state: CaseState, fact: Fact, body: facts.Returned, chart: Chart) -> None:
    run = state.runs.pop(fact.run or "", None)
    if run is not None and body.how != "again":
        state.over = Over(run.workflow, body.how, fact.at, run.cancelled_by if body.how == "cancelled" else "")
        state.refused = None


def _incident(state: CaseState, fact: Fact, body: facts.Incident, chart: Chart) -> None:
    run = state.runs.get(fact.run or "")
    if run is not None:
        run.status, run.stopped_at, run.failed_step = "stopped", fact.at, body.step
        if run.given and run.given_at != fact.at:  # What an earlier turn was handed, that turn has dealt with.
            run.given = ()


def _resumed(state: CaseState, fact: Fact, body: facts.Retried, chart: Chart) -> None:
    run = state.runs.get(fact.run or "")
    if run is not None:
        run.status, run.stopped_at, run.failed_step, run.given = "open", 0, None, ()


# What the operator and the engine do.


def _requested(state: CaseState, fact: Fact, body: facts.Requested, chart: Chart) -> None:
    if fact.case == state.case:
        state.asked[body.id] = Asked(body.op, body.type, fact.at)


def _answered(state: CaseState, fact: Fact, body: facts.Answered, chart: Chart) -> None:
    asked = state.asked.pop(body.id, None)
    if body.outcome == "rejected" and fact.case == state.case:
        state.refused = Refused(body.op, body.type or (asked.type if asked is not None else ""), body.why, fact.at)


_ACTS: dict[type[facts.Body], Callable[[CaseState, Fact, Any, Chart], None]] = {
    facts.Published: _published,
    facts.Handled: _handled,
    facts.Retrying: _retrying,
    facts.Dead: _dead,
    facts.Redriven: _redriven,
    facts.Discarded: _closed,
    facts.Withdrawn: _closed,
    facts.NoRun: _closed,
    facts.DuplicateStart: _closed,
    facts.Quarantined: _quarantined,
    facts.GroupRetired: _retired,
    facts.Started: _started,
    facts.Received: _received,
    facts.Stepped: _stepped,
    facts.ChildStarted: _child_started,
    facts.ChildEnded: _child_ended,
    facts.CancelAsked: _cancel_asked,
    facts.Returned: _returned,
    facts.Incident: _incident,
    facts.Retried: _resumed,
    facts.Requested: _requested,
    facts.Answered: _answered,
}
