"""Requests and replies: what an engine can be asked, in the same words in process, over its socket, and left for later.

Three answers: accepted (durable), rejected (nothing happened; why and what to do), unknown (safe to send again with the
same key).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw

from partita.errors import CallFailed, CallTimeout, NotFound, PartitaError, Rejected, Unknown, shortened
from partita.limits import LIMITS
from partita.messages.envelope import derive_id
from partita.messages.message import case_name, holds_control, is_case
from partita.store.facts import NOTHING

Op = Literal[
    "ping",
    "emit",
    "send",
    "call",
    "start",
    "result",
    "put",
    "cancel",
    "retry",
    "redrive",
    "discard",
    "pause",
    "resume",
    "retire",
]


SEE_FLOW = "What it has stands in: partita flow --declared"
"""The remedy for a name that is like no other."""


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request. `key` makes it safe to send again: same key, same request, one effect."""

    op: Op
    key: str
    type: str = ""
    """Message type, of emit, send and call."""
    version: int = 1
    data: Raw = Raw(b"null")
    workflow: str = ""
    case: str = ""
    run: str = ""
    message: str = ""
    """A dead letter, of redrive and discard."""
    group: str = ""
    by: str = ""
    reason: str = ""
    timeout_us: int | None = None
    raw: str = ""
    """Of put: the bytes on the wire, base64."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a request."""

    status: Literal["accepted", "rejected", "unknown"]
    key: str = ""
    why: str = ""
    remedy: str = ""
    missing: bool = False
    """Rejected because nothing is recorded under that name."""
    id: str = ""
    """The message that was published or sent."""
    case: str = ""
    run: str = ""
    note: str = ""
    """What a person should know: a duplicate, or which command carries it out when no engine runs."""
    queued: bool = False
    """No engine runs: it is written down, and owed to the next one."""
    count: int = 0
    """How many things were done: dead letters redriven, runs retried."""
    answer_type: str = ""
    answer_version: int = 1
    answer: Raw = NOTHING
    failed: str = ""
    """Of call and result: the exception type of a failure that is the answer."""
    text: str = ""
    attempts: int = 0
    pending: bool = False
    """Of call and result: accepted, and no answer within the time allowed."""


def checked(reply: Reply) -> Reply:
    """The reply itself if it was accepted and no failure; otherwise the error that it stands for."""
    if reply.status == "rejected":
        raise (NotFound if reply.missing else Rejected)(reply.why, reply.remedy)
    if reply.status == "unknown":
        raise Unknown(reply.why or "the answer was lost", key=reply.key)
    if reply.failed:
        raise CallFailed(reply.text, kind=reply.failed, attempts=reply.attempts)
    if reply.pending:
        raise CallTimeout(f"no answer in time; the outcome is unknown (key {reply.key})")
    return reply


def rejection(request: Request, error: PartitaError) -> Reply:
    """The reply that says what an error says: nothing happened, why, and what to do."""
    why, _, remedy = str(error).partition("\n")
    return Reply(status="rejected", key=request.key, why=why, remedy=remedy, missing=isinstance(error, NotFound))


def check_request(request: Request) -> None:
    """Raise Rejected, or LimitExceeded, for names and reasons that no store would keep as they are."""
    named = {"key": request.key, "type": request.type, "workflow": request.workflow, "group": request.group}
    if not request.key:
        raise Rejected("the request has no key", "Give it one: a text that is its own, such as an order's number.")
    for what, text in {**named, "by": request.by, "reason": request.reason}.items():
        if not text:
            continue
        if holds_control(text):
            raise Rejected(f"the request's {what} {text!r:.60} holds control characters", "Take them out.")
        if what != "reason":
            LIMITS.check(f"the size in bytes of the request's {what}", len(text.encode()), "name_bytes_max")
    LIMITS.check("the length of the request's reason", len(request.reason), "error_text_max")


def check_named_case(request: Request) -> None:
    """Raise Rejected, or LimitExceeded, where a request names a case in a way that no case is named."""
    if request.case and not is_case(request.case):
        case_type, _, key = request.case.partition(":")
        if not holds_control(key) and is_case(f"{case_type}:1") and key:
            case_name(case_type, key)  # it is too long, and is told by how much
        raise Rejected(f"{shortened(request.case, 80)!r} is no case", "Write it as type:key, as in order:12345.")


def message_id_of(request: Request) -> str:
    """The id of the message that a request publishes: the key where it is one of our ids, otherwise derived from it."""
    if len(request.key) == 32 and all(digit in "0123456789abcdef" for digit in request.key):
        return request.key
    return derive_id("key", request.key)
