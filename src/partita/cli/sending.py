"""Sending: start, emit, signal, retry, cancel. What a request says is checked here; an engine decides."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from msgspec import Raw

from partita.cli.failures import Exit, Usage
from partita.cli.looking import CaseName
from partita.cli.opening import Outcome, no_store, open_store, prepare, resolve, send, topology_of
from partita.cli.options import SENDING, Sending, by_whom, check_name, read_json
from partita.cli.output import print_json, print_lines
from partita.cli.render import When, where_lines
from partita.clock import SystemClock
from partita.errors import DefinitionError, MessageError, Rejected, suggest
from partita.messages.topology import MessageEntry, Topology
from partita.monitor.cases import Where
from partita.retry import duration_us
from partita.runtime.access import Access, open_access
from partita.runtime.backends import find_holder
from partita.runtime.requests import Request, check_named_case

Json = Annotated[str, Parameter(name="JSON", allow_leading_hyphen=True, help="The message; - reads it, @file too.")]
Reason = Annotated[str, Parameter(help="Why, for the story.", show_default=False)]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What every request answers with `--json`."""

    status: str
    key: str
    op: str
    case: str | None
    run: str | None
    id: str | None
    """Of the message that was published or sent."""
    count: int
    queued: bool
    """No engine ran: it is owed to the next one."""
    note: str
    answer_type: str | None
    answer: Raw | None
    where: Where | None
    """Where the case is after `--run`."""


async def start(
    workflow: Annotated[str, Parameter(name="WORKFLOW", help="Its name.")],
    message: Json,
    /,
    *,
    case: Annotated[str, Parameter(help="The case, where the message names none: type:key.", show_default=False)] = "",
    options: Sending = SENDING,
) -> int:
    """Start a run of a workflow."""
    options.settings()  # the operator's limits are in force before anything is measured by them
    check_name("the workflow's name", workflow)
    request = Request(op="start", key=options.request_key(), workflow=workflow, case=case, by=by_whom())
    try:
        check_named_case(request)
    except (Rejected, MessageError) as error:
        what, _, remedy = str(error).partition("\n")
        raise Usage(f"--case {what}", remedy) from error
    request = msgspec.structs.replace(request, data=Raw(read_json(message)))
    return await _send_new(request, options)


async def emit(
    type: Annotated[str, Parameter(name="TYPE", help="The event's type.")],
    message: Json,
    /,
    *,
    options: Sending = SENDING,
) -> int:
    """Publish an event that happened outside."""
    options.settings()
    check_name("the event's type", type)
    data = Raw(read_json(message))
    return await _send_new(Request(op="emit", key=options.request_key(), type=type, by=by_whom(), data=data), options)


async def signal(
    case: CaseName,
    type: Annotated[str, Parameter(name="TYPE", help="An event, or a command, of that case's type.")],
    message: Json = "{}",
    /,
    *,
    timeout: Annotated[str, Parameter(help="How long to wait for a command's answer.")] = "30s",
    options: Sending = SENDING,
) -> int:
    """Publish an event for a case, or send it a command and print the answer. The case's field is filled in."""
    options.settings()
    check_name("the message's type", type)
    key, body, wait_us = options.request_key(), read_json(message), _duration(timeout)
    async with open_store(options) as access:
        prepare(access, options)
        name = resolve(access, case)
        found = _message_type(topology_of(access), type, name)
        request = Request(
            op="emit" if found.kind == "event" else "call",
            key=key,
            type=found.name,
            version=found.version,
            data=Raw(fill_case(body, found, name)),
            by=by_whom(),
            timeout_us=wait_us if found.kind == "command" else None,
        )
        return tell(request, await send(access, request, options), options)


async def retry(case: CaseName, /, *, options: Sending = SENDING) -> int:
    """Let a case go on: its stopped runs, its dead letters, its held calls."""
    return await send_for_case(case, Request(op="retry", key=options.request_key(), by=by_whom()), options)


async def cancel(
    case: CaseName,
    /,
    *,
    reason: Reason = "",
    options: Sending = SENDING,
) -> int:
    """Ask the open runs of a case to cancel; their sagas undo."""
    request = Request(op="cancel", key=options.request_key(), reason=reason, by=by_whom())
    return await send_for_case(case, request, options)


async def send_for_case(case: str, request: Request, options: Sending) -> int:
    """Put a request about an existing case, and say what came of it."""
    async with open_store(options) as access:
        prepare(access, options)
        request = msgspec.structs.replace(request, case=resolve(access, case))
        return tell(request, await send(access, request, options), options)


async def _send_new(request: Request, options: Sending) -> int:
    """Put a request that may be the first of its case, and of its store, if an app is there to say what fits."""
    settings = options.settings()
    is_made = settings.store.is_file() or find_holder(settings.store) is not None  # by an engine that is starting
    if not is_made and not (options.run and settings.app is not None):
        # What is left at a place that was mistyped is left for nobody.
        raise no_store(settings, run=settings.app is not None)
    async with open_access(settings.store) as access:
        prepare(access, options)
        version = _version(access, request) if settings.store.is_file() or access.app is not None else 1
        request = msgspec.structs.replace(request, version=version)
        return tell(request, await send(access, request, options), options)


def _version(access: Access, request: Request) -> int:
    """What is typed by hand is meant in the newest version."""
    topology = topology_of(access)
    starts_on = next((one.starts_on for one in topology.workflows if one.name == request.workflow), None)
    found = topology.message_by_name.get(request.type or starts_on or "")
    return found.version if found is not None else 1


def tell(request: Request, outcome: Outcome, options: Sending) -> int:
    """Print what came of a request."""
    from partita.cli.causes import has_answer, reply_lines

    reply = outcome.reply
    if options.json:
        print_json(
            Told(
                status=reply.status,
                key=request.key,
                op=request.op,
                case=reply.case or request.case or None,
                run=reply.run or None,
                id=reply.id or None,
                count=reply.count,
                queued=reply.queued,
                note=reply.note,
                answer_type=reply.answer_type or None,
                answer=reply.answer if has_answer(reply) else None,
                where=outcome.where,
            )
        )
        return Exit.OK
    print_lines(reply_lines(request, reply))
    if outcome.where is not None:
        print_lines(where_lines(outcome.where, When(SystemClock().now_us())))
    return Exit.OK


def _message_type(topology: Topology, type: str, case: str) -> MessageEntry:
    found = topology.message_by_name.get(type)
    case_type = case.partition(":")[0]
    if found is None:
        fitting = [one.name for one in topology.messages if one.case_type == case_type and one.kind != "query"]
        near = suggest(type, [one.name for one in topology.messages])
        remedy = near or (f"It could be one of {', '.join(fitting[:20])}." if fitting else "See: partita flow")
        raise Rejected(f"no message type {type!r} in app {topology.app!r}", remedy)
    if found.kind == "query":
        raise Rejected(f"{found.name} is a query", "Only events and commands are signalled.")
    if found.case_type != case_type:
        raise Rejected(f"{found.name} belongs to cases of type {found.case_type}, not to {case}", "See: partita flow")
    return found


def fill_case(body: bytes, found: MessageEntry, case: str) -> bytes:
    """A message's body with the field that names its case. Raises Usage for what is no object or names another case."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise Usage(
            f"{found.name} is an object, not {body[:40].decode(errors='replace')}", "Write it as '{...}'."
        ) from error
    key = case.partition(":")[2]
    name = found.case_field
    if name is None:
        return body
    given = fields.get(name)
    if given is not None and str(given) != key:
        raise Usage(f"{name} is {given!r} in the message, and the case is {case}", f"Leave {name} out.")
    return body if given is not None else msgspec.json.encode({name: key, **fields})


def _duration(text: str) -> int:
    try:
        return duration_us(text)
    except DefinitionError as error:
        wrong, _, remedy = str(error).partition("\n")
        raise Usage(f"--timeout: {wrong}", remedy) from error
