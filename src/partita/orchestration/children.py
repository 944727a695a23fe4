"""Children: a cancellation, or the end, of a run reaches the runs that it has started.

Each child is asked once: a second cancellation would break into its clean-up. What a run asks of its children comes
after the commit of its turn, so an engine may die in between. One that goes on asks again when it is rebuilt; for one
that has ended, the next start finds the children that it left.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Protocol

from partita.orchestration.cells import Cell, Pending
from partita.store.facts import CancelAsked
from partita.store.port import RunRow, Store
from partita.transports.outbox import Draft


class Cancel(Protocol):
    """Asks a run to cancel."""

    def __call__(self, run: str, *, by: str) -> None: ...


class Children:
    """The children of all runs, as the rows of open runs name their parents."""

    def __init__(self, store: Store, cancel: Cancel, workflows: Container[str]) -> None:
        self._store = store
        self._cancel = cancel
        self._workflows = workflows
        self._asked: set[str] = set()
        """Children asked by this process, until they end."""

    def take_up(self, cells: list[Cell], rows: Sequence[RunRow]) -> list[Cell]:
        """At a start or a retry: let runs whose parents have ended meet what these did not come to ask of them."""
        loaded = {cell.run: cell for cell in cells}
        for row in rows:
            if row.on_close != "cancel" or row.parent is None or self._was_asked(row):
                continue
            parent = self._store.work.find_run(row.parent)
            if parent is None or parent.status != "ended":
                continue
            if row.run in loaded:  # none of them moves yet
                loaded[row.run].pending.append(Pending(CancelAsked(by=row.parent)))
            else:
                self.ask(row)
        return cells

    def ask(self, row: RunRow) -> None:
        """Ask a child to cancel, unless its parent has asked before."""
        if self._was_asked(row):
            return
        self._asked.add(row.run)
        if row.workflow in self._workflows:
            self._cancel(row.run, by=str(row.parent))
            return
        draft = Draft()  # Its workflow is not in this app: the run meets it when it is loaded by one that has it.
        draft.say(CancelAsked(by=str(row.parent)), case=row.case, run=row.run)
        self._store.submit(draft.unit)

    def cancel(self, parent: str, step: str) -> None:
        """Pass a cancellation on to the child that a step started, once."""
        for row in self._store.work.list_open_runs():
            if row.parent == parent and row.parent_step == step:
                self.ask(row)

    def end(self, cell: Cell) -> None:
        """A run has ended: cancel those that are to end with it."""
        self._asked.discard(cell.run)
        if cell.live is None or not cell.live.has_children:
            return
        for row in self._store.work.list_open_runs():
            if row.parent == cell.run and row.on_close == "cancel":
                self.ask(row)

    def _was_asked(self, row: RunRow) -> bool:
        if row.run in self._asked:
            return True
        history = self._store.trail.list_history(row.run)
        return any(isinstance(fact.body, CancelAsked) and fact.body.by == row.parent for fact in history)
