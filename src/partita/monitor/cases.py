"""Cases as people ask for them: where one stands, its whole story, which ones are stuck, and what a name means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Literal, TypedDict

import msgspec

from partita.clock import to_datetime
from partita.errors import NotFound, Rejected, suggest
from partita.messages.topology import Topology
from partita.monitor.chart import Chart, chart_of
from partita.monitor.leaves import end_by_hand
from partita.monitor.state import QUARANTINE, CaseState, decode_state, message_of
from partita.monitor.story import StoryLine, tell_all
from partita.monitor.verdict import BAD, Judged, Next, Verdict, judge, runs_on_themselves, say_on_itself
from partita.retry import say_duration
from partita.store.facts import Dead, Fact, Quarantined
from partita.store.port import CaseRow, GroupRow, ObligationRow, RunRow


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Where a case stands: the answer to "where is order 12345?"."""

    case: str
    verdict: Verdict
    at: str | None
    since: datetime
    waiting_for: tuple[str, ...]
    deadline: datetime | None
    next: tuple[Next, ...]


class CaseLine(Where, frozen=True, kw_only=True):
    """A case in a list."""

    stuck: tuple[str, ...] = ()
    """Why it can't be expected to go on by itself, one sentence each."""


class OpenItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that keeps a case open."""

    kind: Literal["obligation", "wait", "step", "timer", "run", "request"]
    name: str
    who: str
    """The group that owes it, the run that waits for it, or the person it is expected from."""
    since: datetime
    deadline: datetime | None = None
    stage: str = "open"
    attempt: int = 0
    due: datetime | None = None
    observer: bool = False
    note: str = ""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A handling whose attempts are spent, or bytes that can't be handled."""

    id: str
    """As `partita dead show|redrive|discard` take it."""
    message: str
    group: str
    type: str
    case: str
    since: datetime
    attempts: int
    error: str = ""
    text: str = ""
    held: bool = False
    observer: bool = False


class DoomedWait(msgspec.Struct, frozen=True, kw_only=True):
    """A wait for something that nothing open can bring about."""

    types: tuple[str, ...]
    who: str
    since: datetime
    until: datetime | None


class CaseView(CaseLine, frozen=True, kw_only=True):
    """A case with its whole story, oldest first."""

    explanation: str
    story: tuple[StoryLine, ...]
    open: tuple[OpenItem, ...]
    dead: tuple[DeadLetter, ...]
    doomed: tuple[DoomedWait, ...]


def where(case: CaseState | CaseRow, topology: Topology, now: int) -> Where:
    """Where a case stands at `now`. A row whose fold version is stale has to be refolded first (`recompute`)."""
    state = _state_of(case)
    return Where(**_standing(state, judge(state, topology, now)))


def say_verdict(found: Where) -> str:
    """A verdict with what it is about: `done with OrderShipped`, `waiting for OrderApproved`."""
    if found.verdict == "waiting" and found.waiting_for:
        return f"waiting for {', '.join(found.waiting_for)}"
    preposition = {"done": "with", "compensated": "with", "dead-ended": "after"}.get(found.verdict, "at")
    return f"{found.verdict} {preposition} {found.at}" if found.at else found.verdict


def line(case: CaseState | CaseRow, topology: Topology, *, groups: Sequence[GroupRow] = (), now: int) -> CaseLine:
    """A case as `ps` lists it."""
    state = _state_of(case)
    judged = judge(state, topology, now)
    return CaseLine(**_standing(state, judged), stuck=tuple(_stuck(state, judged, chart_of(topology), groups, now)))


def show(
    case: CaseState | CaseRow, facts: Sequence[Fact], topology: Topology, *, groups: Sequence[GroupRow] = (), now: int
) -> CaseView:
    """A case with its story; `facts` are all of its facts, by seq."""
    state = _state_of(case)
    judged = judge(state, topology, now)
    chart = chart_of(topology)
    return CaseView(
        **_standing(state, judged),
        stuck=tuple(_stuck(state, judged, chart, groups, now)),
        explanation=judged.explanation,
        story=tuple(tell_all(facts, state.case)),
        open=tuple(_open_items(state, chart, groups)),
        dead=tuple(dead_letters(state, facts)),
        doomed=tuple(
            DoomedWait(types=wait.types, who=wait.run or "", since=to_datetime(wait.since), until=_optional(wait.until))
            for wait in judged.doomed
        ),
    )


def dead_letters(state: CaseState, facts: Sequence[Fact]) -> Iterator[DeadLetter]:
    """The dead letters, held calls and quarantined messages of a case, oldest first."""
    said: dict[str, Dead | Quarantined] = {}
    for fact in facts:
        match fact.body:
            case Dead() as body:
                said[f"{body.message} {body.group}"] = body
            case Quarantined() as body:
                said[f"{body.id} {QUARANTINE}"] = body
            case _:
                pass
    for key, owed in state.owed.items():
        if owed.stage not in {"dead", "held"}:
            continue
        found = said.get(key)
        message = message_of(key, owed)
        yield DeadLetter(
            id=dead_id(message, owed.group),
            message=message,
            group=owed.group,
            type=owed.type,
            case=state.case,
            since=to_datetime(owed.moved),
            attempts=owed.attempt,
            error=found.error if isinstance(found, Dead) else "",
            text=found.text if isinstance(found, Dead) else found.reason if found is not None else "",
            held=owed.stage == "held",
            observer=owed.observer,
        )


def dead_id(message: str, group: str) -> str:
    """How a dead letter is named: one message may be dead for one group and handled by another."""
    return f"{message}/{group}"


def parse_dead_id(name: str) -> tuple[str, str | None]:
    """Message and group of a dead letter's name; no group where only a message is named."""
    message, slash, group = name.rpartition("/")
    return (message, group) if slash else (name, None)


# Stuck: what can't be expected to move by itself.


def cannot_move(group: str, message_type: str, topology: Topology, groups: Iterable[GroupRow]) -> str | None:
    """Why a group will not take a message, as a sentence's end; None where it will."""
    if group != QUARANTINE and (group, message_type) not in chart_of(topology).edges:
        return f"has no handler for {message_type} in this code"  # Paused or not: to resume it would not help.
    for row in groups:
        if row.name == group and row.state == "paused":
            return f"is paused{f' by {row.by}' if row.by else ''}"
    return None


def list_unmovable(
    obligations: Iterable[ObligationRow], runs: Iterable[RunRow], topology: Topology, groups: Sequence[GroupRow]
) -> list[str]:
    """Cases with work that can't move by itself, which their own facts do not tell: a group is paused, or code gone."""
    found = {
        owed.case: None
        for owed in obligations
        if owed.case is not None and cannot_move(owed.group, owed.type, topology, groups) is not None
    }
    workflows = chart_of(topology).workflows
    return list(found | {run.case: None for run in runs if run.workflow not in workflows})


def _stuck(state: CaseState, judged: Judged, chart: Chart, groups: Sequence[GroupRow], now: int) -> Iterator[str]:
    """Each sentence once, with how often it holds."""
    for reason, count in Counter(_reasons(state, judged, chart, groups, now)).items():
        yield f"{reason} ({count:,} times)" if count > 1 else reason


def _reasons(state: CaseState, judged: Judged, chart: Chart, groups: Sequence[GroupRow], now: int) -> Iterator[str]:
    if judged.verdict in BAD:
        yield from _bad(state, judged, chart.topology, now)
    for wait in judged.doomed:
        yield f"waits for {' or '.join(wait.types)}, which nothing open can bring about"
    for owed in state.owed.values():
        why = None if owed.stage in {"dead", "held"} else cannot_move(owed.group, owed.type, chart.topology, groups)
        if why is not None and not owed.observer:
            remedy = f"; resume it: partita group resume {owed.group}" if why.startswith("is paused") else ""
            yield f"{owed.type} is owed to {owed.group}, which {why}{remedy}"
    for run_id, run in state.runs.items():
        if run.workflow not in chart.workflows:
            yield f"run {run_id} can't move: workflow {run.workflow} is not in this code; deploy it again"


def _bad(state: CaseState, judged: Judged, topology: Topology, now: int) -> Iterator[str]:
    if judged.verdict == "overdue" and judged.deadline is not None:
        yield f"{judged.at} is overdue by {say_duration(max(now - judged.deadline, 0))}"
    elif judged.explanation:
        yield judged.explanation
    if judged.verdict == "dead-ended" and state.over is not None and state.over.how == "cancelled":
        command = end_by_hand(state, topology)
        yield (
            f"its workflow says no end when it is cancelled; say it by hand: {command}"
            if command
            else (
                "its workflow says no end when it is cancelled, and no event ends such a case as compensated or failed"
            )
        )
    for owed in state.owed.values():
        if owed.observer or owed.stage not in {"dead", "held"}:
            continue
        ended = "is held by" if owed.stage == "held" else "is in" if owed.group == QUARANTINE else "is dead for"
        yield f"{owed.type or 'a message'} {ended} {owed.group}"
    for run_id, run in state.runs.items():
        if run.status == "stopped":
            yield f"run {run_id} is stopped{f' after {run.failed_step}' if run.failed_step else ''}"
    if judged.verdict != "dead-ended":
        yield from map(say_on_itself, runs_on_themselves(state))
    if judged.verdict == "failed" and state.ended is not None and not state.owed and not state.runs:
        yield f"it ended with {state.ended.type}"


# Open items.


def _open_items(state: CaseState, chart: Chart, groups: Sequence[GroupRow]) -> Iterator[OpenItem]:
    for owed in state.owed.values():
        if owed.stage in {"dead", "held"}:
            continue
        why = cannot_move(owed.group, owed.type, chart.topology, groups)
        yield OpenItem(
            kind="obligation",
            name=owed.type,
            who=owed.group,
            since=to_datetime(owed.since),
            deadline=_optional(owed.limit),
            stage=owed.stage,
            attempt=owed.attempt,
            due=to_datetime(owed.due) if owed.due else None,
            observer=owed.observer,
            note=f"{owed.group} {why}" if why else f"run {owed.run} waits for it" if owed.run else "",
        )
    yield from _run_items(state)
    for wait in state.waits:
        yield OpenItem(
            kind="wait",
            name=" or ".join(wait.types),
            who=wait.who or wait.group,
            since=to_datetime(wait.since),
            deadline=_optional(wait.until),
        )
    for asked in state.asked.values():
        yield OpenItem(
            kind="request",
            name=asked.type or asked.op,
            who="the next engine",
            since=to_datetime(asked.since),
            note="no engine has run since",
        )


def _run_items(state: CaseState) -> Iterator[OpenItem]:
    for run_id, run in state.runs.items():
        yield OpenItem(
            kind="run",
            name=run.workflow,
            who=run_id,
            since=to_datetime(run.since),
            deadline=_optional(run.within),
            stage=run.status,
        )
        if run.open is None:
            continue
        for wait in run.awaited:
            yield _run_item("wait", " or ".join(wait.types), run_id, wait.since, wait.until)
        for step in run.open.steps:
            yield _run_item("step", step.name, run_id, step.since, None)
        for sleep in run.open.sleeps:
            yield _run_item("timer", sleep.name, run_id, sleep.since, sleep.due)


def _run_item(
    kind: Literal["wait", "step", "timer"], name: str, run_id: str, since: int, until: int | None
) -> OpenItem:
    return OpenItem(kind=kind, name=name, who=run_id, since=to_datetime(since), deadline=_optional(until))


# Names.


def resolve_case(
    name: str,
    *,
    find: Callable[[str], CaseRow | None],
    list_matching: Callable[[str], list[str]],
    types: Iterable[str] = (),
) -> str:
    """The case that a person means: `type:key`, then a bare key, then `type-key` of a known type.

    Raises NotFound, or Rejected with the candidates where several cases fit.
    """
    if ":" in name and find(name) is not None:
        return name
    found = list_matching(name)
    if not found:
        spelled = [f"{kind}:{name[len(kind) + 1 :]}" for kind in dict.fromkeys(types) if name.startswith(f"{kind}-")]
        found = [case for case in spelled if find(case) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        raise Rejected(f"{name!r} could be {' or '.join(sorted(found))}", "Name the case in full: type:key.")
    known = sorted(set(types))
    kind = name.partition(":")[0]
    hint = suggest(kind, known) if ":" in name and kind not in known else ""
    raise NotFound(f"no case is named {name!r}", hint or "List the cases with: partita ps")


def case_types(topology: Topology) -> list[str]:
    """The case types that an app's messages name."""
    return sorted({message.case_type for message in topology.messages if message.case_type})


def _state_of(case: CaseState | CaseRow) -> CaseState:
    return case if isinstance(case, CaseState) else decode_state(case.state)


class _Standing(TypedDict):
    """The fields of Where, to be given to it and to what is more than it."""

    case: str
    verdict: Verdict
    at: str | None
    since: datetime
    waiting_for: tuple[str, ...]
    deadline: datetime | None
    next: tuple[Next, ...]


def _standing(state: CaseState, judged: Judged) -> _Standing:
    return _Standing(
        case=state.case,
        verdict=judged.verdict,
        at=judged.at,
        since=to_datetime(judged.since),
        waiting_for=judged.waiting_for,
        deadline=_optional(judged.deadline),
        next=judged.next,
    )


def _optional(at: int | None) -> datetime | None:
    return None if at is None else to_datetime(at)
