"""The heads of runs: number of facts, epoch, status, next waking, held in memory and written once per transaction.

A run's facts are numbered here, so what it says has to be what the transaction will hold: a refused unit's changes are
put back from `undo`, and after a failed transaction everything is forgotten and read anew.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from partita.store import work
from partita.store.sqlite.connection import Rows, select
from partita.store.sqlite.names import Names, split_run
from partita.store.sqlite.recent import Recent

HEADS_REMEMBERED = 20_000
STATUSES: Final = ("open", "stopped", "ended")
ON_CLOSE: Final = ("wait", "cancel", "abandon")
"""A status, and what a parent's end does to a child, by the number that stands for it."""

_HEAD = (
    "select case_type || ':' || case_key, run_n, epoch, status, wakes_at"
    " from run join cases on cases.id = case_id where run.id = ?"
)
_ADD = (
    "insert into run (id, workflow, case_id, number, parent, parent_step, on_close, name)"
    " values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing"
)
_COUNT = "update run set run_n = ?, epoch = ?, wakes_at = ? where id = ?"
_MOVE = "update run set run_n = ?, epoch = ?, wakes_at = ?, status = ? where id = ?"
_LAST_ID = "select coalesce(max(id), 0) from run"
_WORKFLOW_ID = "select id from workflow where name = ?"
_ADD_WORKFLOW = "insert into workflow (name) values (?) on conflict do nothing"

State = tuple[int, int, str, int | None]
"""run_n, epoch, status, wakes_at"""


class RunHead:
    """What the writer knows of a run."""

    __slots__ = ("case", "epoch", "id", "run", "run_n", "status", "stored_status", "wakes_at")

    def __init__(self, run: str, id: int, case: str) -> None:
        self.run = run
        self.id = id
        self.case = case
        self.run_n = 0
        self.epoch = 0
        self.status = "open"
        self.stored_status = "open"
        self.wakes_at: int | None = None


class RunHeads:
    """Finds, changes and stores the heads of runs."""

    def __init__(self, connection: apsw.Connection, cursor: apsw.Cursor) -> None:
        self._connection = connection
        self._cursor = cursor
        self._names = Names(Rows(connection))
        self._recent: Recent[str, RunHead] = Recent(HEADS_REMEMBERED)
        self._changed: dict[str, RunHead] = {}
        self._undo: dict[RunHead, State] = {}
        self._added: list[str] = []
        self._workflows: dict[str, int] = {}
        self._last_id: int = select(cursor, _LAST_ID)[0][0]

    def find(self, run: str) -> RunHead | None:
        """The head of a run, or None where there is no such run."""
        return self._changed.get(run) or self._recent.find(run) or self._load(run)

    def change(self, head: RunHead) -> None:
        """Say that a head is about to change: it will be stored with the transaction, or put back with its unit."""
        if head not in self._undo:
            self._undo[head] = (head.run_n, head.epoch, head.status, head.wakes_at)
        self._changed[head.run] = head

    def add(self, params: tuple[Any, ...], case_id: int) -> bool:
        """Insert a run (the parameters of `add_run`); False where it exists."""
        run, workflow, case, number, parent, parent_step, on_close = params
        self._last_id += 1
        name = None if split_run(run) == (workflow, case, number) else run
        row = (self._last_id, self._get_workflow(workflow), case_id, number, parent, parent_step)
        self._cursor.execute(_ADD, (*row, ON_CLOSE.index(on_close), name))
        if not self._connection.changes():
            return False
        self._recent.put(run, RunHead(run, self._last_id, case))
        self._added.append(run)
        return True

    def apply(self, op: str, params: tuple[Any, ...]) -> bool:
        """Carry an operation out; False where it touches no row."""
        head = self.find(params[-1])
        if head is None or (op == work.RESUME_RUN and head.status != "stopped"):
            return False
        self.change(head)
        if op == work.MOVE_RUN:
            head.status, head.wakes_at = params[0], params[1]
        elif op == work.RESUME_RUN:
            head.status = "open"
        else:
            head.epoch += 1
        return True

    def keep(self) -> None:
        """The unit stands."""
        self._undo.clear()
        self._added.clear()

    def put_back(self) -> None:
        """The unit was refused: its heads are as they were before it."""
        for head, (run_n, epoch, status, wakes_at) in self._undo.items():
            head.run_n, head.epoch, head.status, head.wakes_at = run_n, epoch, status, wakes_at
        for run in self._added:
            self._recent.drop(run)
            self._changed.pop(run, None)
        self._workflows.clear()
        self.keep()

    def store(self) -> None:
        """Write what has changed. A change of status has its own statement: an index over open runs makes it dearer."""
        counted: list[tuple[Any, ...]] = []
        moved: list[tuple[Any, ...]] = []
        for head in self._changed.values():
            if head.status == head.stored_status:
                counted.append((head.run_n, head.epoch, head.wakes_at, head.id))
            else:
                moved.append((head.run_n, head.epoch, head.wakes_at, STATUSES.index(head.status), head.id))
                head.stored_status = head.status
        if counted:
            self._cursor.executemany(_COUNT, counted)
        if moved:
            self._cursor.executemany(_MOVE, moved)
        self._changed.clear()

    def forget(self) -> None:
        """The transaction failed: nothing held here is sure any more."""
        self._recent.clear()
        self._changed.clear()
        self._workflows.clear()
        self.keep()

    def _load(self, run: str) -> RunHead | None:
        run_id = self._names.find_run_id(run)
        if run_id is None:
            return None
        case, run_n, epoch, status, wakes_at = select(self._cursor, _HEAD, (run_id,))[0]
        head = RunHead(run, run_id, case)
        head.run_n, head.epoch, head.wakes_at = run_n, epoch, wakes_at
        head.status = head.stored_status = STATUSES[status]
        self._recent.put(run, head)
        return head

    def _get_workflow(self, name: str) -> int:
        found = self._workflows.get(name)
        if found is not None:
            return found
        rows = select(self._cursor, _WORKFLOW_ID, (name,))
        if not rows:
            self._cursor.execute(_ADD_WORKFLOW, (name,))
            rows = select(self._cursor, _WORKFLOW_ID, (name,))
        number: int = rows[0][0]
        self._workflows[name] = number
        return number
