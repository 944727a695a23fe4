"""Children: a cancellation, or the end, of a run reaches the runs that it has started."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

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

    def cancel(self, parent: str, step: str) -> None:
        """Pass a cancellation on to the child that a step started, once."""
        for row in self._store.work.list_open_runs():
            # A replay asks again until the child has ended: a second cancellation would break into its clean-up.
            if row.parent == parent and row.parent_step == step and not self._was_asked(row.run, by=parent):
                self._ask(row, by=parent)

    def cancel_all(self, parent: str) -> None:
        """The parent has ended: cancel those that are to end with it."""
        for row in self._store.work.list_open_runs():
            if row.parent == parent and row.on_close == "cancel":
                self._ask(row, by=parent)

    def _ask(self, row: RunRow, *, by: str) -> None:
        if row.workflow in self._workflows:
            self._cancel(row.run, by=by)
            return
        draft = Draft()  # Its workflow is not in this app: the run meets it when it is loaded by one that has it.
        draft.say(CancelAsked(by=by), case=row.case, run=row.run)
        self._store.submit(draft.unit)

    def _was_asked(self, run: str, *, by: str) -> bool:
        history = self._store.trail.list_history(run)
        return any(isinstance(fact.body, CancelAsked) and fact.body.by == by for fact in history)
