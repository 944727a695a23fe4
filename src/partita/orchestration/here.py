"""The run whose code is running here: each run has a context of its own, and its ledger stands in it."""

from __future__ import annotations

from contextvars import ContextVar

from partita.errors import DefinitionError
from partita.orchestration.ledger import Ledger

# Not asyncio's running loop: on Python 3.11 each look at that is a system call.
_here: ContextVar[Ledger | None] = ContextVar("partita_run", default=None)
find_ledger = _here.get
"""The ledger of the run whose code is running, or None outside of runs."""


def put_ledger(ledger: Ledger) -> None:
    """Let code that runs in the context of a run's loop find that run's ledger."""
    ledger.loop.context.run(_here.set, ledger)


def get_ledger(what: str) -> Ledger:
    """The ledger of the run whose code is running. Raises DefinitionError outside of runs."""
    ledger = _here.get()
    if ledger is None:
        raise DefinitionError(
            f"{what} was used outside of a workflow's run\n"
            "Start the workflow with App.run or TestApp; a @step can be called anywhere."
        )
    return ledger
