"""Children: a cancellation, or the end, of a run reaches the runs that it has started."""

from __future__ import annotations

from typing import Protocol

from partita.store.facts import CancelAsked
from partita.store.port import Store


class Cancel(Protocol):
    """Asks a run to cancel."""

    def __call__(self, run: str, *, by: str) -> None: ...


class Children:
    """The children of all runs, as the rows of open runs name their parents."""

    def __init__(self, store: Store, cancel: Cancel) -> None:
        self._store = store
        self._cancel = cancel

    def cancel(self, parent: str, step: str) -> None:
        """Pass a cancellation on to the child that a step started, once."""
        for row in self._store.work.list_open_runs():
            # A replay asks again until the child has ended: a second cancellation would break into its clean-up.
            if row.parent == parent and row.parent_step == step and not self._was_asked(row.run, by=parent):
                self._cancel(row.run, by=parent)

    def cancel_all(self, parent: str) -> None:
        """The parent has ended: cancel those that are to end with it."""
        for row in self._store.work.list_open_runs():
            if row.parent == parent and row.on_close == "cancel":
                self._cancel(row.run, by=parent)

    def _was_asked(self, run: str, *, by: str) -> bool:
        history = self._store.trail.list_history(run)
        return any(isinstance(fact.body, CancelAsked) and fact.body.by == by for fact in history)
