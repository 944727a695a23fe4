"""Ends: how a run, a step or a child ended, for whoever asks why by its own name."""

from __future__ import annotations

import shlex

from partita.messages.envelope import case_of_run
from partita.monitor.leaves import Asking, WhyNode, end_by_hand
from partita.monitor.ledger import RunTrail
from partita.monitor.story import say_attempts, say_error
from partita.store import facts
from partita.store.facts import Fact


def explain_end(asking: Asking, run: RunTrail, ended: Fact) -> WhyNode:
    """How a run ended."""
    how = ended.body.how if isinstance(ended.body, facts.Returned) else "returned"
    if how == "returned":
        sentence = f"run {run.run} returned at {asking.when(ended.at)}"
        return asking.leaf("produced", run.workflow, sentence, evidence=[ended])
    asked = run.cancel_asked
    was, by = ("was ", run.cancelled_by) if how == "cancelled" else ("", "")
    sentence = f"run {run.run} {was}{how}{by} at {asking.when(ended.at)}"
    command = end_by_hand(asking.state, asking.topology)
    return asking.leaf("took_other_branch", run.workflow, sentence, command=command, evidence=[asked, ended])


def explain_step_end(asking: Asking, name: str) -> WhyNode | None:
    """How a step that nobody waits for ended, or a child; None where nothing was said of it."""
    said = asking.ledger.steps.get(name, [])
    if not said:
        return None
    last, body = said[-1], said[-1].body
    if isinstance(body, facts.Stepped) and body.error is not None:
        sentence = f"step {name} failed after {say_attempts(body.attempts)}: {say_error(body.error, body.text)}"
        return asking.leaf("step_failed", name, sentence, evidence=[last])
    if isinstance(body, facts.Stepped):
        return asking.leaf("produced", name, f"step {name} was done at {asking.when(last.at)}", evidence=[last])
    if isinstance(body, facts.Retrying):
        said_last = say_error(body.error, body.text).removesuffix(".")
        sentence = f"attempt {body.attempt} at step {name} failed: {said_last}; its run waits for it no more"
        return asking.leaf("step_failed", name, sentence, evidence=[last])
    if isinstance(body, facts.ChildStarted | facts.ChildEnded):
        return _about_child(asking, name, last, body)
    return None


def _about_child(asking: Asking, name: str, last: Fact, body: facts.ChildStarted | facts.ChildEnded) -> WhyNode:
    """A child that its parent does not wait for, or not any more."""
    when, command = asking.when(last.at), f"partita show {shlex.quote(case_of_run(body.child))}"
    if isinstance(body, facts.ChildEnded) and body.error is None:
        return asking.leaf("produced", name, f"child {body.child} returned at {when}", command=command, evidence=[last])
    sentence = f"child {body.child} was started at {when}, and nobody waits for it"
    if isinstance(body, facts.ChildEnded):
        sentence = f"child {body.child} {'was ' if body.error == 'cancelled' else ''}{body.error} at {when}"
    return asking.leaf("took_other_branch", name, sentence, command=command, evidence=[last])


def explain_given(asking: Asking, name: str) -> WhyNode | None:
    """The newest run that was started with a message which nobody published."""
    for run in reversed(asking.ledger.runs.values()):
        body = run.started.body
        if isinstance(body, facts.Started) and body.message is None and body.type == name:
            sentence = f"{name} was given to run {run.run} at {asking.when(run.started.at)}"
            return asking.leaf("produced", name, sentence, evidence=[run.started])
    return None
