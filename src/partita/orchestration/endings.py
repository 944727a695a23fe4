"""Endings: what is written when a run stops where it is, or goes on as a new one."""

from __future__ import annotations

import traceback
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from partita.errors import one_line, plain
from partita.limits import LIMITS
from partita.messages.codec import encode
from partita.messages.message import is_message, type_of
from partita.store.facts import Incident, Started
from partita.store.port import RunRow
from partita.store.work import ADD_RUN, MOVE_RUN
from partita.transports.outbox import Draft


def write_incident(draft: Draft, row: RunRow, error: BaseException, *, step: str | None, at: int) -> None:
    """Write that a run stopped, with the error that left its workflow and what mends it."""
    trace = plain("".join(traceback.format_exception(error, limit=-8)))[-4 * LIMITS.error_text_max :]
    body = Incident(
        error=type(error).__name__,
        text=one_line(error, LIMITS.error_text_max),
        trace=trace,
        step=step,
        remedy=f"Mend the code, then: partita retry {row.case}",
    )
    draft.say(body, case=row.case, run=row.run, at=at)
    draft.write(MOVE_RUN, "stopped", None, row.run)


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
