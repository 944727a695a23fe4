"""Answers: what a completion means to the code that waited for it."""

from __future__ import annotations

from typing import Any

from partita.errors import CallFailed, CallTimeout
from partita.messages.codec import decode
from partita.messages.message import AnyCommand, describe
from partita.orchestration.ledger import Decode
from partita.store.facts import Body, ChildEnded, Discarded, Handled, Stepped


def read_answer(decode_message: Decode, called: AnyCommand, body: Body) -> Any:
    """What a command was answered with; None where its handler had nothing to do. Raises CallFailed where it failed."""
    name = describe(type(called)).name
    match body:
        case Handled(outcome="failed"):
            text = body.reason.removeprefix(f"{body.error}: ") or body.error or f"{name} failed"
            raise CallFailed(text, kind=body.error or "CallFailed", attempts=body.attempt)
        case Discarded():
            raise CallFailed(body.reason or f"{name} was discarded by {body.by or 'somebody'}", kind="Discarded")
        case Handled(outcome="ok") if raw := bytes(body.answer):
            if body.answer_type is not None:
                return decode_message(body.answer_type, body.answer_version, raw)
            return decode(raw, describe(type(called)).answer)
        case _:
            return None


def read_value(body: Body, as_type: object) -> Any:
    """What a local step returned, read as its annotation says. Raises CallFailed, or CallTimeout, where it failed."""
    assert isinstance(body, Stepped)
    if body.error is None:
        return decode(raw, as_type) if (raw := bytes(body.value)) else None
    failure = CallTimeout if body.error in {"TimeoutError", "CallTimeout"} else CallFailed
    raise failure(body.text or body.error, kind=body.error, attempts=body.attempts)


def read_end(body: Body, as_type: object) -> Any:
    """What a child returned. Raises CallFailed where it was cancelled, or failed."""
    assert isinstance(body, ChildEnded)
    if body.error is None:
        return decode(raw, as_type) if (raw := bytes(body.value)) else None
    raise CallFailed(body.text or f"child {body.child} ended: {body.error}", kind=body.error)
