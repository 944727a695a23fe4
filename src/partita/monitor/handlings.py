"""Why one group has not made of one message what it could: what stands in the way of the handling, or how it ended."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from partita.clock import US
from partita.limits import LIMITS
from partita.messages.envelope import case_of_run
from partita.monitor.cases import cannot_move, dead_id
from partita.monitor.leaves import Asking, Found, WhyNode, end_by_hand
from partita.monitor.ledger import RunTrail
from partita.monitor.state import CaseWait, Owed, message_of, owed_key
from partita.monitor.story import say_attempts, say_error, say_failure
from partita.monitor.verdict import OpenWaitFor, doomed_waits, say_on_itself
from partita.retry import say_duration
from partita.store import facts
from partita.store.body import OpenStep
from partita.store.facts import Fact


def explain_handling(asking: Asking, published: Fact, group: str, outcome: str) -> Found:
    """Why the handling of a published message by a group has not led to an outcome."""
    body = published.body
    assert isinstance(body, facts.Published)
    owed = asking.state.owed.get(owed_key(body.id, group))
    if owed is not None:
        return explain_owed(asking, body.id, owed, published)
    trail = asking.ledger.handlings.get((body.id, group), [])
    if trail:
        return _explain_closed(asking, published, group, outcome, trail[-1])
    if body.case != asking.case:
        sentence = f"{body.type} belongs to case {body.case}, and so does what {group} makes of it"
        command = f"partita why {shlex.quote(str(body.case))} {outcome}"
        return Found(asking.leaf("other_case", body.type, sentence, command=command, evidence=[published]))
    sentence = f"{group} owes {body.type} nothing: when it was published, {group} did not handle it"
    if group in body.owes:
        sentence = f"{group} was retired before it had handled {body.type}"
        command = asking.signal(body.type, again=True)
        return Found(asking.leaf("group_gone", body.type, sentence, command=command, evidence=[published]))
    command = asking.signal(body.type, again=True)
    return Found(asking.leaf("no_subscriber", body.type, sentence, command=command, evidence=[published]))


def explain_owed(asking: Asking, message: str, owed: Owed, published: Fact | None) -> Found:
    """Why an open obligation is not handled yet."""
    trail = asking.ledger.handlings.get((message, owed.group), [])
    evidence = [published, *trail[-1:]]
    what, group, name = owed.type, owed.group, dead_id(message, owed.group)
    redrive = f"partita dead redrive {shlex.quote(name)}"
    if owed.stage == "dead":
        sentence = f"{group} gave up on {what} after {say_attempts(owed.attempt)}{_last_error(trail)}"
        return Found(asking.leaf("dead", what, sentence, command=redrive, evidence=evidence))
    if owed.stage == "held":
        sentence = f"{group} holds the call {what} open after {say_attempts(owed.attempt)}{_last_error(trail)}"
        return Found(asking.leaf("call_held", what, sentence, command=redrive, evidence=evidence))
    gone = cannot_move(group, what, asking.topology, asking.groups)
    if gone is not None:
        return Found(_not_taken(asking, owed, gone, evidence))
    if owed.due > asking.now and owed.stage == "delayed":
        sentence = f"{what} is delayed until {asking.when(owed.due)}"
        return Found(asking.leaf("timer_pending", what, sentence, evidence=evidence))
    blocker = _blocker(asking, message, owed)
    if blocker is not None:
        return Found(_blocked(asking, owed, blocker, evidence))
    return Found(_moving(asking, message, owed, trail, evidence))


def _not_taken(asking: Asking, owed: Owed, why: str, evidence: list[Fact | None]) -> WhyNode:
    """Its group is paused, or its code is gone."""
    sentence = f"{owed.type} is owed to {owed.group}, which {why}"
    if why.startswith("is paused"):
        command = f"partita group resume {shlex.quote(owed.group)}"
        return asking.leaf("group_paused", owed.type, sentence, command=command, evidence=evidence)
    return asking.leaf("group_gone", owed.type, sentence, command=_retire(owed.group), evidence=evidence)


def _moving(asking: Asking, message: str, owed: Owed, trail: list[Fact], evidence: list[Fact | None]) -> WhyNode:
    """What will be handled if nothing is done about it."""
    what, group = owed.type, owed.group
    if owed.stage == "retrying" and owed.due > asking.now:
        idle = "" if asking.engine_running else "; no engine is running to make it"
        sentence = (
            f"attempt {owed.attempt} of {group} at {what} failed{_last_error(trail).removesuffix('.')}; "
            f"the next is due at {asking.when(owed.due)}{idle}"
        )
        command = "" if asking.engine_running else "partita dev"
        return asking.leaf("retrying_at", what, sentence, command=command, evidence=evidence)
    if not asking.engine_running:
        sentence = f"{what} is owed to {group}, but no engine is running"
        return asking.leaf("engine_not_running", what, sentence, command="partita dev", evidence=evidence)
    if message in asking.outbox:
        sentence = f"{what} is in the outbox, not yet carried to {group}"
        return asking.leaf("in_outbox", what, sentence, command="partita doctor", evidence=evidence)
    edge = asking.chart.edges.get((group, what))
    may_us = int(LIMITS.attempt_s * US) if edge is None or edge.policy.timeout_us is None else edge.policy.timeout_us
    most = "" if group.startswith("workflow:") else f", where one attempt may take {say_duration(may_us)}"
    sentence = f"{what} is in {group}'s hands since {asking.when(owed.moved or owed.since)}{most}"
    return asking.leaf("in_progress", what, sentence, evidence=evidence)


def _blocker(asking: Asking, message: str, owed: Owed) -> tuple[str, Owed] | None:
    """The message of the same group that stands before this one in the case's order."""
    for key, other in asking.state.owed.items():
        if other.group != owed.group:
            continue
        ahead = message_of(key, other)
        if ahead == message:
            return None
        edge = asking.chart.edges.get((other.group, other.type))
        holds = edge is not None and edge.hold
        released = other.stage in {"dead", "held"} and not holds
        if not released and not (other.stage == "delayed" and other.due > asking.now):
            return ahead, other
    return None


def _blocked(asking: Asking, owed: Owed, blocker: tuple[str, Owed], evidence: list[Fact | None]) -> WhyNode:
    ahead, other = blocker
    below = explain_owed(asking, ahead, other, asking.ledger.by_id.get(ahead)).node
    return WhyNode(
        what=owed.type,
        leaf="blocked_by",
        sentence=f"{owed.type} waits its turn: {owed.group} handles this case in order, and {other.type} is before it",
        evidence=tuple(asking.prove(fact) for fact in evidence if fact is not None),
        command=below.command,
        needs=(below,),
    )


def _explain_closed(asking: Asking, published: Fact, group: str, outcome: str, last: Fact) -> Found:
    """How a handling ended without the outcome."""
    name = published.body.type if isinstance(published.body, facts.Published) else ""
    evidence = [published, last]
    match last.body:
        case facts.Handled():
            return _explain_handled(asking, last, last.body, outcome)
        case facts.Discarded(by=by, reason=reason) if by != "saga":
            sentence = f"{name} for {group} was discarded by {by or 'somebody'}{f': {reason}' if reason else ''}"
            return Found(asking.leaf("discarded", name, sentence, evidence=evidence))
        case facts.Withdrawn() | facts.Barred() | facts.Discarded():
            sentence = f"the saga that called {name} unwound, and took the call back"
            return Found(asking.leaf("withdrawn", name, sentence, evidence=evidence))
        case facts.NoRun(workflow=workflow, reason=reason):
            sentence = f"{name} found no open run of {workflow}{f': {reason}' if reason else ''}"
            return Found(asking.leaf("no_run", name, sentence, command=asking.start(workflow), evidence=evidence))
        case facts.DuplicateStart(run=run):
            sentence = f"{name} started nothing: the case has run {run} already"
            return Found(asking.leaf("took_other_branch", name, sentence, evidence=evidence))
        case _:
            sentence = f"{group} has taken {name}, and nothing more was said of it"
            return Found(asking.leaf("in_progress", name, sentence, evidence=evidence))


def _explain_handled(asking: Asking, last: Fact, body: facts.Handled, outcome: str) -> Found:
    name, group = body.type, body.group
    if body.outcome == "noop":
        sentence = f"{group} did nothing about {name}: {body.reason}"
        return Found(asking.leaf("noop", name, sentence, evidence=[last]))
    if body.outcome == "failed":
        sentence = f"the call {name} failed after {say_attempts(body.attempt)}: {say_failure(body)}"
        return Found(asking.leaf("call_failed", name, sentence, evidence=[last]))
    if body.waits:
        return _explain_waits(asking, last, body)
    emitted = [asking.ledger.by_id[message] for message in body.emitted if message in asking.ledger.by_id]
    types = [fact.body.type for fact in emitted if isinstance(fact.body, facts.Published)]
    instead = [body.answer_type] if body.answer_type and body.answer_type not in types else []
    instead += types
    if not instead:
        sentence = f"{group} handled {name} without {outcome}, and gave no reason"
        return Found(asking.leaf("took_other_branch", name, sentence, evidence=[last]))
    sentence = f"{group} answered {name} with {' and '.join(instead)}, not with {outcome}"
    return Found(asking.leaf("took_other_branch", name, sentence, evidence=[last, *emitted]))


def _explain_waits(asking: Asking, last: Fact, body: facts.Handled) -> Found:
    for said in body.waits:
        came = asking.ledger.first_after(last.seq, said.types)
        if came is not None and isinstance(came.body, facts.Published):
            sentence = f"{body.group} waited for {' or '.join(said.types)}; {came.body.type} came"
            return Found(asking.leaf("took_other_branch", body.type, sentence, evidence=[last, came]))
    asked = {said.types for said in body.waits}
    wait = next((wait for wait in asking.state.waits if wait.group == body.group and wait.types in asked), None)
    if wait is None:
        return Found(asking.leaf("took_other_branch", body.type, "its wait is over", evidence=[last]))
    return explain_wait(asking, _as_open(wait), body.group, evidence=[last])


def _as_open(wait: CaseWait) -> OpenWaitFor:
    return OpenWaitFor(wait.types, wait.since, wait.until, wait.who, None)


# Waits and runs.


def explain_wait(asking: Asking, wait: OpenWaitFor, waiter: str, *, evidence: list[Fact | None]) -> Found:
    """An open wait: a leaf where it is for somebody outside or for nothing at all, else a way to what it waits for."""
    names = " or ".join(wait.types)
    party = wait.who or asking.party_for(wait.types)
    until = f", until {asking.when(wait.until)}" if wait.until is not None else ""
    since = f"since {asking.when(wait.since)}"
    command = asking.signal_for(wait.types)
    if wait.run is not None and _is_over(asking, wait.until):
        sentence = f"{waiter} waited for {names} {since}{until}, but no engine is running to tell it that time is over"
        what = wait.types[0]
        return Found(asking.leaf("engine_not_running", what, sentence, command="partita dev", evidence=evidence))
    if party is not None:
        sentence = f"{waiter} waits for {names} from {party} {since}{until}"
        return Found(asking.leaf("waiting_for", wait.types[0], sentence, command=command, evidence=evidence))
    if any(doomed == wait or doomed.types == wait.types for doomed in doomed_waits(asking.state, asking.chart)):
        sentence = f"{waiter} waits for {names} {since}{until}, and nothing open can bring it about"
        leaf = asking.leaf("doomed_wait", wait.types[0], sentence, command=command, evidence=evidence)
        return Found(leaf, wait.types)
    sentence = f"{waiter} waits for {names} {since}{until}"
    proof = tuple(asking.prove(fact) for fact in evidence if fact is not None)
    return Found(WhyNode(what=wait.types[0], sentence=sentence, evidence=proof), wait.types)


def _is_over(asking: Asking, until: int | None) -> bool:
    """Whether a run's time is over, and nobody is there to tell it."""
    return until is not None and until <= asking.now and not asking.engine_running


def explain_run(asking: Asking, run: RunTrail, outcome: str) -> Iterator[Found]:
    """What an open, stopped or ended run of a workflow stands at, one node for each thing it waits for."""
    if run.ended is not None:
        yield _explain_ended(asking, run, run.ended, outcome)
    elif run.incident is not None or _row_status(asking, run) == "stopped":
        yield _explain_stopped(asking, run, run.incident)
    elif run.workflow not in asking.chart.workflows:
        # No command moves it, not even to its cancellation: that, too, its own code would have to meet.
        sentence = f"run {run.run} can't move: workflow {run.workflow} is not in this code; deploy it again"
        yield Found(asking.leaf("group_gone", run.workflow, sentence, evidence=[run.started]))
    else:
        found = list(_open_acts(asking, run))
        yield from found or [_explain_idle(asking, run)]


def _row_status(asking: Asking, run: RunTrail) -> str | None:
    return next((row.status for row in asking.runs if row.run == run.run), None)


def _explain_stopped(asking: Asking, run: RunTrail, incident: Fact | None) -> Found:
    sentence = f"run {run.run} is stopped"
    if incident is not None and isinstance(incident.body, facts.Incident):
        body = incident.body
        after = f" after step {body.step}" if body.step else ""
        sentence = f"run {run.run} stopped{after}: {say_error(body.error, body.text)}"
    command = f"partita retry {shlex.quote(asking.case)}"
    if incident is not None and isinstance(incident.body, facts.Incident) and incident.body.unhandled:
        called = incident.body.unhandled
        handled = any(name == called for _, name in asking.chart.edges)
        now = "this code does: let the run go on" if handled else "no service of this code does either"
        sentence = f"run {run.run} stopped at the call {called}, which nobody handled; {now}"
        return Found(asking.leaf("nobody_handles", called, sentence, command=command, evidence=[incident]))
    return Found(asking.leaf("run_failed_at", run.workflow, sentence, command=command, evidence=[incident]))


def _explain_idle(asking: Asking, run: RunTrail) -> Found:
    """An open run that waits for nothing that it has named."""
    last = run.facts[-1]
    state = asking.state.runs.get(run.run)
    if state is not None and state.open is not None and state.open.on_itself:
        sentence = f"{say_on_itself(run.run)}: deploy code that goes on, or cancel it"
        command = f"partita cancel {shlex.quote(asking.case)}"
        return Found(asking.leaf("waits_on_itself", run.workflow, sentence, command=command, evidence=[last]))
    wakes = state.open.wakes if state is not None and state.open is not None else None
    if wakes is not None and wakes > asking.now:
        sentence = f"run {run.run} sleeps until {asking.when(wakes)}"
        return Found(asking.leaf("timer_pending", run.workflow, sentence, evidence=[last]))
    if not asking.engine_running:
        sentence = f"run {run.run} can move, but no engine is running"
        return Found(asking.leaf("engine_not_running", run.workflow, sentence, command="partita dev", evidence=[last]))
    return Found(asking.leaf("in_progress", run.workflow, f"run {run.run} is about to move", evidence=[last]))


def _open_acts(asking: Asking, run: RunTrail) -> Iterator[Found]:
    for key, owed in asking.state.owed.items():
        if owed.run == run.run:
            message = message_of(key, owed)
            yield explain_owed(asking, message, owed, asking.ledger.by_id.get(message))
    state = asking.state.runs.get(run.run)
    if state is None or state.open is None:
        return
    last = run.facts[-1]
    for wait in state.open.waits:
        open_wait = OpenWaitFor(wait.types, wait.since, wait.until, None, run.run)
        yield explain_wait(asking, open_wait, f"run {run.run}", evidence=[last])
    for sleep in state.open.sleeps:
        yield Found(explain_sleep(asking, sleep, run.run, evidence=[last]))
    for step in state.open.steps:
        yield explain_step(asking, step, run.run)


def explain_sleep(asking: Asking, sleep: OpenStep, run: str, *, evidence: list[Fact | None]) -> WhyNode:
    """A timer of a run: still running, or over without anybody there to tell the run."""
    until = f" until {asking.when(sleep.due)}" if sleep.due is not None else ""
    if _is_over(asking, sleep.due):
        sentence = f"run {run} slept{until}, but no engine is running to wake it"
        return asking.leaf("engine_not_running", sleep.name, sentence, command="partita dev", evidence=evidence)
    return asking.leaf("timer_pending", sleep.name, f"run {run} sleeps{until}", evidence=evidence)


def explain_step(asking: Asking, step: OpenStep, run: str) -> Found:
    """A local step, child, or call into another case that a run waits for."""
    name, trail = step.name, asking.ledger.runs.get(run)
    last = trail.last_of(step.step) if trail is not None else None
    body = last.body if last is not None else None
    if isinstance(body, facts.Retrying) and body.due > asking.now:
        sentence = (
            f"attempt {body.attempt} at step {name} failed: {say_error(body.error, body.text).removesuffix('.')}; "
            f"the next is due at {asking.when(body.due)}"
        )
        return Found(asking.leaf("retrying_at", name, sentence, evidence=[last]))
    if isinstance(body, facts.ChildStarted):
        sentence = f"run {run} waits for its child {body.child}"
        command = f"partita show {shlex.quote(case_of_run(body.child))}"
        return Found(asking.leaf("in_progress", name, sentence, command=command, evidence=[last]), child=body.child)
    if isinstance(body, facts.Published) and (inside := asking.of_case(str(body.case))) is not None:
        for key, owed in inside.state.owed.items():
            if message_of(key, owed) == body.id:
                return explain_owed(inside, body.id, owed, last)
    if not asking.engine_running:
        sentence = f"step {name} of run {run} is open, but no engine is running"
        return Found(asking.leaf("engine_not_running", name, sentence, command="partita dev", evidence=[last]))
    sentence = f"step {name} of run {run} is being made since {asking.when(step.since)}"
    return Found(asking.leaf("in_progress", name, sentence, evidence=[last]))


def _explain_ended(asking: Asking, run: RunTrail, ended: Fact, outcome: str) -> Found:
    how = ended.body.how if isinstance(ended.body, facts.Returned) else "returned"
    event, answer = asking.ledger.last_event_by(run.run), asking.ledger.last_answer_to(run.run)
    late = run.timed_out if answer is None or (run.timed_out and run.timed_out[0].seq > answer.seq) else None
    was, by, command = "", "", ""
    if how == "cancelled":
        was, by, command = "was ", run.cancelled_by, end_by_hand(asking.state, asking.topology)
    sentence = f"run {run.run} {was}{how}{by} without {outcome}"
    if answer is not None and isinstance(answer.body, facts.Handled):
        body = answer.body
        failed = body.outcome == "failed"
        got = f"failed: {say_failure(body).removesuffix('.')}" if failed else f"was answered with {body.answer_type}"
        if late is None and (body.answer_type or failed):
            sentence += f", after {body.type} {got}"
    if late is not None:
        sentence += f", after {' or '.join(late[1].types)} did not come in time"
    if event is not None and isinstance(event.body, facts.Published):
        sentence += f"; its last event was {event.body.type}"
    proof = [late[0] if late is not None else answer, event, ended]
    return Found(asking.leaf("took_other_branch", run.workflow, sentence, command=command, evidence=proof))


def _last_error(trail: list[Fact]) -> str:
    for fact in reversed(trail):
        if isinstance(fact.body, facts.Dead | facts.Retrying):
            command = getattr(fact.body, "command", None)
            return f"{f' of its {command}' if command else ''}: {say_error(fact.body.error, fact.body.text)}"
    return ""


def _retire(group: str) -> str:
    return f"partita group retire {shlex.quote(group)}"
