"""Checks: what is wrong with a request, as far as the code, the topology and the store tell, before anything is done.

An engine asks its code. Where none runs, a request is held against the code that is loaded, otherwise against the
topology that the last engine wrote: so what the next one would turn down is, as far as can be known, refused at once.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import Any

import msgspec

from partita.clock import Clock
from partita.errors import MessageError, NotFound, Rejected, suggest
from partita.messages.catalog import Catalog
from partita.messages.codec import check_raw, decode
from partita.messages.message import MessageType, case_name, describe, is_message, is_message_class, type_of
from partita.messages.topology import MessageEntry, Topology
from partita.monitor.cases import say_verdict, where
from partita.monitor.chart import chart_of
from partita.orchestration.executor import AnyWorkflow
from partita.runtime.declared import QUARANTINE, Declared
from partita.runtime.requests import SEE_FLOW, Request, check_named_case, message_id_of
from partita.store.port import ObligationRow, RunRow, Store, WorkReader

SHOWN_MAX = 200
"""A message longer than this is left out of the command that would send it."""


def check_left(request: Request, store: Store, topology: Topology, declared: Declared | None, clock: Clock) -> str:
    """Check a request that is to be left for the next engine; returns the case that it is about, where that is known.

    Raises what an engine would answer, Rejected or MessageError; `declared` is the code's, where it is loaded.
    """
    check_raw(bytes(request.data))
    match request.op:
        case "emit" | "send" | "call":
            return _check_message(request, topology, declared)
        case "start":
            return _check_start(request, store, topology, declared)
        case "pause" | "resume" | "retire":
            check_group(request, topology, store.work, is_certain=declared is not None)
            return ""
        case "retry" | "cancel" | "redrive" | "discard":
            return _check_mending(request, store, topology, clock)
        case _:
            return request.case


# Messages.


def unknown_type(request: Request, app: str, known: list[str]) -> Rejected:
    """The app has no message of that name."""
    return Rejected(f"no message type {request.type!r} in app {app!r}", suggest(request.type, known) or SEE_FLOW)


def check_kind(request: Request, found: MessageType | MessageEntry) -> None:
    """Refuse an event that is sent, a command that is published, and a query."""
    if found.kind == "query":
        raise Rejected(f"{found.name} is a query", "Queries are put to a run.")
    if request.op == "emit" and found.kind != "event":
        raise Rejected(f"{found.name} is a command", f"Send it: {_signal(request, found)}")
    if request.op in {"send", "call"} and found.kind != "command":
        raise Rejected(f"{found.name} is an event", f"Publish it: partita emit {found.name} {_as_typed(request)}")


def _signal(request: Request, found: MessageType | MessageEntry) -> str:
    case = "CASE"
    with suppress(MessageError, msgspec.MsgspecError):
        case = shlex.quote(case_name(found.case_type or "", _field(request, found.case_field)))
    return f"partita signal {case} {found.name} {_as_typed(request)}"


def _as_typed(request: Request) -> str:
    text = bytes(request.data).decode(errors="replace")
    return shlex.quote(text) if len(text) <= SHOWN_MAX else "'{...}'"


def _check_message(request: Request, topology: Topology, declared: Declared | None) -> str:
    found = topology.message_by_name.get(request.type)
    if found is None:
        raise unknown_type(request, topology.app, list(topology.message_by_name))
    check_kind(request, found)
    if declared is None:
        return _check_fields(request, found)
    message = declared.catalog.decode_strict(request.type, request.version, bytes(request.data))
    return declared.catalog.get(request.type).case_of(message) or ""


def _check_fields(request: Request, found: MessageEntry) -> str:
    """What can be said of a body without its class; returns its case."""
    body: Any = msgspec.json.decode(bytes(request.data))
    if not isinstance(body, dict):
        given = bytes(request.data)[:40].decode(errors="replace")
        raise MessageError(f"{found.name} is an object, not {given}\nWrite it as '{{...}}'.")
    missing = [name for name in found.fields if name not in body] if request.version == found.version else []
    if missing:
        raise MessageError(
            f"{found.name} has no {', no '.join(missing)}\n"
            f"It has to have {', '.join(found.fields)}; where the code says otherwise, name it: --app module:name."
        )
    key = _field(request, found.case_field)
    if key is None:
        raise MessageError(f"{found.name} has no {found.case_field}\nIt names the case: give it.")
    return case_name(found.case_type or "", key)


def _field(request: Request, name: str | None) -> object:
    """A field of the JSON object that a request brings; None where it brings none."""
    body: Any = msgspec.json.decode(bytes(request.data))
    return msgspec.convert(body, dict[str, Any]).get(name or "") if isinstance(body, dict) else None


# Runs.


def unknown_workflow(request: Request, app: str, known: list[str]) -> Rejected:
    """The app has no workflow of that name."""
    return Rejected(f"no workflow {request.workflow!r} in app {app!r}", suggest(request.workflow, known) or SEE_FLOW)


def read_start(request: Request, workflow: AnyWorkflow, catalog: Catalog) -> tuple[Any, str]:
    """What a workflow is to be started with, and for which case."""
    takes: Any = workflow.takes
    if is_message_class(takes):
        message = catalog.decode_strict(describe(takes).name, request.version, bytes(request.data))
    else:
        check_raw(bytes(request.data))
        message = decode(bytes(request.data), takes)
    own = type_of(message).case_of(message) if is_message(message) else None
    return message, _one_case(request, own)


def _one_case(request: Request, own: str | None) -> str:
    """The case of a start, which the message may name, and the request too."""
    check_named_case(request)
    case = own or request.case
    if not case:
        raise Rejected(f"workflow {request.workflow}: for which case?", "Name it: --case type:key")
    if request.case not in {"", case}:
        raise Rejected(f"its message is of case {case}, not {request.case}", "Leave --case out, or mend the message.")
    return case


def _check_start(request: Request, store: Store, topology: Topology, declared: Declared | None) -> str:
    known = {workflow.name: workflow for workflow in topology.workflows}
    if request.workflow not in known:
        raise unknown_workflow(request, topology.app, list(known))
    workflow = declared.workflows[request.workflow] if declared is not None else None
    if workflow is not None and declared is not None:
        _, case = read_start(request, workflow, declared.catalog)
    else:
        starts_on = topology.message_by_name.get(known[request.workflow].starts_on or "")
        own = _check_fields(request, starts_on) if starts_on is not None else None
        if own is None and not request.case:
            return ""  # what it takes, only its code knows: it may name the case
        case = _one_case(request, own)
    if not _is_left(store, case) and store.trail.find_message(message_id_of(request)) is None:
        _check_runs(request, store.work.list_runs(case, request.workflow), case, workflow)
    return case


def _check_runs(request: Request, rows: list[RunRow], case: str, workflow: AnyWorkflow | None) -> None:
    """Refuse a second run; only the code knows whether one may follow another."""
    may_follow = workflow is None or workflow.restart == "after-end"
    if rows and not (may_follow and all(row.status == "ended" for row in rows)):
        raise not_started(request, case, f"case {case} has run {rows[-1].run}")


def not_started(request: Request, case: str, why: str) -> Rejected:
    """A start that came to nothing."""
    return Rejected(
        f"workflow {request.workflow} was not started: {why}", f"Look at it: partita show {shlex.quote(case)}"
    )


# Groups.


def check_group(request: Request, topology: Topology, work: WorkReader, *, is_certain: bool = True) -> None:
    """Refuse a group that nobody has heard of, and to retire one that is in the code, as far as that is certain."""
    group = request.group
    owing = {row.group for row in work.list_obligations()}
    running = {chart_of(topology).group_of(run.workflow) for run in work.list_open_runs()}
    known = {*topology.group_by_name, *(row.name for row in work.list_groups()), *owing, *running}
    if group not in known:
        raise NotFound(f"no group {group!r}", suggest(group, sorted(known)) or "`partita group list` has them.")
    if request.op != "retire":
        return
    if group == QUARANTINE:
        raise Rejected("quarantine is no group of any code", "Give up what is in it: partita dead discard ID")
    if group in topology.group_by_name:
        remedy = "Take it out of the app first, or pause it."
        if not is_certain:
            remedy = "Take it out of the app first, or pause it; if it is out, name the app: --app module:name."
        raise Rejected(f"group {group} is in the code", remedy)


# Mending.


def _check_mending(request: Request, store: Store, topology: Topology, clock: Clock) -> str:
    if request.case and store.cases.find_case(request.case) is None:
        raise NotFound(f"no case is named {request.case!r}", "List the cases with: partita ps")
    if _is_left(store, request.case):
        return request.case  # what was asked before may change what there is to mend
    match request.op:
        case "retry":
            find_failed(request.case, store, topology, clock)
        case "cancel":
            # What is owed may start a run, before the request is taken.
            if not store.work.list_obligations(case=request.case):
                find_open_runs(request.case, store, topology, clock)
        case _:
            return find_dead(request, store.work)[0].case or request.case
    return request.case


def _is_left(store: Store, case: str) -> bool:
    """Whether something of a case, or of no case, was asked before and is still owed."""
    found = [store.trail.find_fact(row.seq) for row in store.work.list_requests()]
    return any(fact is not None and (not case or fact.case in {case, None}) for fact in found)


def find_dead(request: Request, work: WorkReader) -> list[ObligationRow]:
    """The dead letters and held calls that a request names. Raises NotFound, or Rejected where it could mean others."""
    if not (request.message or request.case):
        raise Rejected("which dead letter?", "Name its id or --case; `partita dead list` has them.")
    rows = [
        row
        for row in work.list_obligations(case=request.case or None)
        if row.state in {"dead", "held"}
        and (not request.message or f"{row.message}/{row.group}".startswith(request.message))
        and (not request.group or row.group == request.group)
    ]
    if not rows:
        why = f"no dead letter {request.message!r}" if request.message else f"case {request.case} has no dead letter"
        raise NotFound(why, "`partita dead list` has those that there are.")
    if request.message and len({row.message for row in rows}) > 1:
        raise Rejected(f"{request.message!r} begins several ids", "Write more of the id.")
    return rows


def find_failed(case: str, store: Store, topology: Topology, clock: Clock) -> tuple[list[RunRow], list[ObligationRow]]:
    """Everything of a case that stands still: stopped runs, and dead letters with held calls."""
    stopped = [row for row in store.work.list_runs(case) if row.status == "stopped"]
    dead = [row for row in store.work.list_obligations(case=case) if row.state in {"dead", "held"}]
    if not stopped and not dead:
        raise _nothing(f"nothing of case {case} has failed", "retry", case, store, topology, clock)
    return stopped, dead


def find_open_runs(case: str, store: Store, topology: Topology, clock: Clock) -> list[RunRow]:
    """The runs of a case that can be asked to cancel."""
    rows = store.work.list_runs(case)
    found = [row for row in rows if row.status == "open"]
    stopped = [row.run for row in rows if row.status == "stopped"]
    if not found and stopped:
        raise Rejected(
            f"run {stopped[0]} is stopped: its code could not meet the cancellation",
            f"Mend the code, then: partita retry {shlex.quote(case)}; then cancel it.",
        )
    if not found:
        raise _nothing(f"case {case} has no open run", "cancel", case, store, topology, clock)
    return found


def _nothing(why: str, act: str, case: str, store: Store, topology: Topology, clock: Clock) -> Rejected:
    """There is nothing to do: where the case is instead."""
    row = store.cases.find_case(case)
    if row is None:
        return NotFound(f"{why}: nobody has heard of it", "List the cases with: partita ps")
    stands = say_verdict(where(row, topology, clock.now_us()))
    return Rejected(f"{why}: it is {stands}", f"There is nothing to {act}. Its story: partita show {shlex.quote(case)}")
