"""The story: each fact of a case as one line that a support person can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from partita.clock import to_datetime
from partita.monitor.verdict import step_name
from partita.retry import say_duration
from partita.store import facts
from partita.store.facts import Fact, Open


class StoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line: at this time, this one did this with that."""

    seq: int
    at: datetime
    who: str
    what: str
    which: str
    note: str = ""


class Told(NamedTuple):
    """What a fact says, before it is a line."""

    who: str
    what: str
    which: str
    note: str = ""


def tell_all(trail: Sequence[Fact], case: str) -> Iterator[StoryLine]:
    """The story of a case, from all of its facts."""
    answers = {
        message
        for fact in trail
        if isinstance(fact.body, facts.Handled) and fact.body.step is not None
        for message in fact.body.emitted
    }
    for fact in trail:
        heard = isinstance(fact.body, facts.Published) and fact.body.id in answers
        yield tell(fact, case, heard=heard)


def tell(fact: Fact, case: str, *, heard: bool = False) -> StoryLine:
    """A fact as a line of the story of `case`; a fact of another case says which. `heard`: it answered a run's call."""
    say = _SAY.get(type(fact.body))
    told = say(fact, fact.body) if say else Told("", fact.kind, "")
    home = getattr(fact.body, "case", None) or fact.case
    unheard = isinstance(fact.body, facts.Published) and not (fact.body.owes or fact.body.ends or heard)
    notes = [told.note, "no group handles it" if unheard else "", f"of {home}" if home not in {None, case} else ""]
    return StoryLine(
        seq=fact.seq,
        at=to_datetime(fact.at),
        who=told.who or _speaker(fact),
        what=told.what,
        which=told.which,
        note=_joined(notes),
    )


def _speaker(fact: Fact) -> str:
    return fact.run.partition("/")[0] if fact.run else "partita"


def _published(fact: Fact, body: facts.Published) -> Told:
    notes = [
        "undoes an earlier command" if body.undo_of else "",
        f"due in {say_duration(max(body.due - fact.at, 0))}" if body.due is not None else "",
        f"ends the case: {body.ends}" if body.ends else "",
    ]
    who = body.external if body.external and not fact.run and not fact.causes else body.by
    return Told(who or body.source, "sent" if body.command else "published", body.type, _joined(notes))


def _handled(_fact: Fact, body: facts.Handled) -> Told:
    what = {"ok": "handled", "noop": "did nothing about", "failed": "failed for good"}[body.outcome]
    waits = [f"waits for {' or '.join(wait.types)}{f' from {wait.who}' if wait.who else ''}" for wait in body.waits]
    failed = f"after {say_attempts(body.attempt)}: {say_failure(body)}" if body.outcome == "failed" else ""
    notes = [
        f"answer: {body.answer_type}" if body.answer_type else "",
        failed or body.reason,
        *waits,
        f"attempt {body.attempt}" if body.attempt > 1 and not failed else "",
        "its writes were rolled back" if body.rolled_back else "",
        "late: nobody waited any more" if body.late else "",
        f"within {body.via}'s reaction" if body.via else "",
    ]
    return Told(body.group, what, body.type, _joined(notes))


def say_failure(body: facts.Handled) -> str:
    """What the last attempt of a call that failed raised."""
    return say_error(body.error or "", body.reason.removeprefix(f"{body.error}: "))


def say_error(kind: str, text: str) -> str:
    """An exception, by its name and by what it says."""
    return f"{kind}: {text}" if kind and text else kind or text


def say_attempts(count: int) -> str:
    """How many attempts."""
    return "1 attempt" if count == 1 else f"{count} attempts"


def _joined(notes: Sequence[str]) -> str:
    """Notes in one line; a sentence among them loses its full stop to what follows."""
    said = [note for note in notes if note]
    return "; ".join([*(note.removesuffix(".") for note in said[:-1]), *said[-1:]])


def _retrying(fact: Fact, body: facts.Retrying) -> Told:
    wait = say_duration(max(body.due - fact.at, 0))
    note = _joined([f"attempt {body.attempt} failed: {say_error(body.error, body.text)}", f"next in {wait}"])
    return Told(body.group, "retries", body.type or step_name(body.step or ""), note)


def _dead(_fact: Fact, body: facts.Dead) -> Told:
    command = f"handling its {body.command}: " if body.command else ""
    note = f"after {say_attempts(body.attempts)}: {command}{say_error(body.error, body.text)}"
    return Told(body.group, "holds the call" if body.held else "gave up", body.type, note)


def _stepped(_fact: Fact, body: facts.Stepped) -> Told:
    if body.error is not None:
        failed = f"after {say_attempts(body.attempts)}: {say_error(body.error, body.text)}"
        return Told("", "failed at step", step_name(body.step), _joined([failed, _open(body.open)]))
    return Told("", "did step", step_name(body.step), _open(body.open))


def _open(opened: Open | None) -> str:
    if opened is None:
        return ""
    parts = [
        *(f"waits for {' or '.join(wait.types)}" for wait in opened.waits),
        *(f"sleeps at {sleep.name}" for sleep in opened.sleeps),
    ]
    return ", ".join(parts)


def _waiting(body: facts.Waiting) -> Told:
    said = _open(body.open)
    steps = ", ".join(step.name for step in body.open.steps)
    return Told("", "waits", said.removeprefix("waits for ") or steps or ("on itself" if body.open.on_itself else ""))


def _returned(body: facts.Returned) -> Told:
    what = {
        "returned": "returned",
        "cancelled": "was cancelled",
        "again": "goes on as a new run",
        "failed": "failed",
    }[body.how]
    return Told("", what, "", body.text)


def _incident(body: facts.Incident) -> Told:
    return Told("", "stopped", step_name(body.step or ""), say_error(body.error, body.text))


def _by(body: Any) -> str:
    return str(body.by) or "an operator"


_Say = Callable[[Fact, Any], Told]
_SAY: dict[type[facts.Body], _Say] = {
    facts.Published: _published,
    facts.Handled: _handled,
    facts.Retrying: _retrying,
    facts.Claimed: lambda _, b: Told(
        b.group, "tries again", b.type or step_name(b.step or ""), f"after an unclean stop, time {b.count}"
    ),
    facts.Dead: _dead,
    facts.Redriven: lambda _, b: Told(_by(b), "redrove", b.type, f"for {b.group}"),
    facts.Discarded: lambda _, b: Told(_by(b), "discarded", b.type, f"for {b.group}; {b.reason}".rstrip("; ")),
    facts.Withdrawn: lambda _, b: Told("", "withdrew", b.type, "before its first attempt"),
    facts.Barred: lambda _, b: Told("", "barred", b.type, "no further attempt; its undo follows"),
    facts.Quarantined: lambda _, b: Told("", "quarantined", b.type or b.id, b.reason),
    facts.Duplicate: lambda _, b: Told("", "came again", b.type or b.message, "known; nothing is owed for it"),
    facts.Started: lambda _, b: Told(b.workflow, "started", b.workflow, f"on {b.type}" if b.type else ""),
    facts.Stepped: _stepped,
    facts.Received: lambda _, b: Told("", "received", b.type),
    facts.Fired: lambda _, b: Told("", "timer fired", "", _open(b.open)),
    facts.Waiting: lambda _, b: _waiting(b),
    facts.Patched: lambda _, b: Told("", "goes the new way", b.change),
    facts.ChildStarted: lambda _, b: Told("", "started child", b.workflow, b.child),
    facts.ChildEnded: lambda _, b: Told(
        "", "child failed" if b.error else "child ended", b.child, say_error(b.error or "", b.text)
    ),
    facts.CancelAsked: lambda _, b: Told(_by(b), "asked to cancel", "", b.reason),
    facts.Returned: lambda _, b: _returned(b),
    facts.Incident: lambda _, b: _incident(b),
    facts.Retried: lambda _, b: Told(_by(b), "retried", ""),
    facts.NoRun: lambda _, b: Told(b.workflow, "has no open run for", b.type, b.reason),
    facts.DuplicateStart: lambda _, b: Told(b.workflow, "has a run already", b.type, b.run),
    facts.GroupPaused: lambda _, b: Told(_by(b), "paused group", b.group),
    facts.GroupResumed: lambda _, b: Told(_by(b), "resumed group", b.group),
    facts.GroupRetired: lambda _, b: Told(_by(b), "retired group", b.group, f"{b.closed} obligations given up"),
    facts.Requested: lambda _, b: Told(
        b.by or "somebody", f"asked to {b.op}", b.type, "no engine is running: owed to the next one"
    ),
    facts.Answered: lambda _, b: Told(
        "", "turned down" if b.outcome == "rejected" else "carried out", f"{b.op} {b.type}".strip(), b.why
    ),
    facts.Opened: lambda _, b: Told(b.app, "opened the store", b.version, "" if b.clean else "after an unclean stop"),
    facts.Closed: lambda _, b: Told("", "closed the store", ""),
    facts.Unread: lambda f, b: Told("", f"said something unknown: {b.name or f.kind}", ""),
}
