"""Endings: what is written when a run stops where it is, or goes on as a new one."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from partita.errors import LimitExceeded, NobodyHandles, one_line, shortened_trace
from partita.limits import LIMITS
from partita.messages.codec import encode, encode_as
from partita.messages.message import is_message, type_of
from partita.orchestration.workflow import Workflow
from partita.store.facts import Incident, Started
from partita.store.port import RunRow
from partita.store.work import ADD_RUN, MOVE_RUN
from partita.transports.outbox import Draft


def write_incident(draft: Draft, row: RunRow, error: BaseException, *, step: str | None, at: int) -> None:
    """Write that a run stopped, with the error that left its workflow and what mends it."""
    mend = f"Raise {error.setting}, or mend the code" if isinstance(error, LimitExceeded) else "Mend the code"
    body = Incident(
        error=type(error).__name__,
        text=one_line(error, LIMITS.error_text_max),
        trace=shortened_trace(error, 4 * LIMITS.error_text_max),
        step=step,
        remedy=f"{mend}, then: partita retry {row.case}",
        unhandled=error.command if isinstance(error, NobodyHandles) else None,
    )
    draft.say(body, case=row.case, run=row.run, at=at)
    draft.write(MOVE_RUN, "stopped", None, row.run)


def check_history(run: str, count: int) -> None:
    """Raise LimitExceeded where a run has no fact left to write: each has to be replayed at every start."""
    if count >= LIMITS.history_facts_max:
        LIMITS.check(f"run {run}: facts in its history, with the next", count + 1, "history_facts_max")


def encode_result(workflow: Workflow[Any, Any], value: Any) -> Raw:
    """What a run returned, as it is kept. Raises MessageError where its annotation could not read that again."""
    return Raw(encode_as(value, workflow.returns, f"workflow {workflow.name}"))


def write_next_run(draft: Draft, row: RunRow, body: Started, message: Any, *, at: int) -> None:
    """Write the start of a run whose input stands in its own fact: a child, or a run that continues as new."""
    draft.write(
        ADD_RUN,
        row.run,
        row.workflow,
        row.case,
        row.number,
        row.parent,
        row.parent_step,
        row.on_close,
        must="known run",
    )
    found = type_of(message) if is_message(message) else None
    body = replace(
        body,
        message=None,
        type=found.name if found is not None else None,
        version=found.version if found is not None else 1,
        data=Raw(encode(message)),
        parent=row.parent,
        parent_step=row.parent_step,
        on_close=row.on_close,
    )
    draft.say(body, case=row.case, run=row.run, at=at)
