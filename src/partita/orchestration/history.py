"""Histories: the messages that a run's facts refer to, and which of its failures may be made anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from partita.errors import StoreError
from partita.messages.catalog import Catalog
from partita.messages.codec import decode
from partita.orchestration.workflow import Workflow
from partita.store.facts import (
    Barred,
    ChildEnded,
    ChildStarted,
    Discarded,
    Fact,
    Handled,
    Incident,
    Patched,
    Published,
    Received,
    Retried,
    Started,
    Stepped,
    Withdrawn,
)
from partita.store.port import TrailReader

_RECORDS = (Published, ChildStarted, Patched, Barred, Withdrawn, Stepped)


def gather(
    history: Sequence[Fact], trail: TrailReader, catalog: Catalog, workflow: Workflow[Any, Any]
) -> dict[str, Any]:
    """The decoded messages that a history refers to, by message id; the input of a direct start by the run's id."""
    found: dict[str, Any] = {}
    for fact in history:
        body = fact.body
        if type(body) is Stepped:
            continue  # of most histories, nearly all there is
        if isinstance(body, Started) and body.message is None:
            data = bytes(body.data or b"null")
            found[fact.run or ""] = (
                catalog.decode(body.type, body.version, data) if body.type is not None else decode(data, workflow.takes)
            )
        elif isinstance(body, Started | Received) and body.message is not None:
            found[body.message] = _message(body.message, trail, catalog)
    return found


def _message(message_id: str, trail: TrailReader, catalog: Catalog) -> Any:
    row = trail.find_message(message_id)
    fact = trail.find_fact(row.seq) if row is not None else None
    if fact is None or not isinstance(fact.body, Published):
        raise StoreError(f"message {message_id} is not in the trail\nRun: partita doctor")
    return catalog.decode(fact.body.type, fact.body.version, bytes(fact.body.data))


def called_type(published: Fact) -> str:
    """The type of the command that a fact says was sent."""
    return published.body.type if isinstance(published.body, Published) else ""


def voidable(history: Sequence[Fact]) -> tuple[list[Fact], list[Fact]]:
    """The failed completions that a retry makes anew, and the calls that are to be owed again for it.

    Only the last completion before the incident counts, and only if the run recorded nothing after it: what a saga has
    undone is over. The end of a child is never made anew: nobody would start that child again, nor end it.
    """
    stopped = max((i for i, fact in enumerate(history) if isinstance(fact.body, Incident)), default=None)
    if stopped is None:
        return [], []
    since = max((i for i, fact in enumerate(history[:stopped]) if isinstance(fact.body, Retried)), default=-1)
    for fact in reversed(history[since + 1 : stopped]):
        if isinstance(fact.body, Handled) and fact.body.late:
            continue  # nobody waits for it any more: its saga has undone what it was to do
        if _failed(fact):
            sent = [one for one in history if isinstance(one.body, Published) and one.body.step == _step(fact)]
            return [fact], sent if isinstance(fact.body, Handled | Discarded) else []
        if isinstance(fact.body, (*_RECORDS, Handled, ChildEnded)):
            break
    return [], []


def _failed(fact: Fact) -> bool:
    match fact.body:
        case Handled(outcome="failed", step=str()) | Discarded(step=str()):
            return True
        case Stepped(error=str()):
            return True
        case _:
            return False


def _step(fact: Fact) -> str | None:
    return getattr(fact.body, "step", None)
