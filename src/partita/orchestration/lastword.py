"""The last word on a run whose code holds the engine: it is stopped in the store, before the process ends."""

from __future__ import annotations

from collections.abc import Callable

from partita.clock import Clock
from partita.orchestration.endings import write_incident
from partita.orchestration.pulse import TurnOverdue
from partita.orchestration.roster import Roster
from partita.store.port import Store
from partita.transports.outbox import Draft


def stop_frozen(roster: Roster, store: Store, clock: Clock, run: str) -> Callable[[], bool]:
    """Write that a run stopped, for the next start; called from another thread than the one that is held.

    Returns what tells whether that is durable. A run whose start is not durable is none yet: its message is still owed.
    """
    cell = roster.find(run)
    if cell is None or cell.new:
        return lambda: True
    draft = Draft()
    write_incident(draft, cell.row, TurnOverdue(), step=None, at=clock.now_us())
    draft.unit.expects[run] = (cell.run_n, cell.row.epoch)
    draft.unit.label = f"last word of {run}"
    store.submit(draft.unit)

    def is_durable() -> bool:
        row = store.work.find_run(run)
        return row is None or row.status != "open"

    return is_durable
