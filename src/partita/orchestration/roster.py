"""The roster: which runs are in memory, which are to be woken, and which may be let go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from partita.clock import US, Alarms, Clock
from partita.errors import Rejected
from partita.limits import LIMITS
from partita.orchestration.cells import Cell
from partita.orchestration.ledger import Decode
from partita.orchestration.pulse import Pulse
from partita.orchestration.run import LiveRun
from partita.orchestration.workflow import Workflow
from partita.store.port import RunRow, WorkReader

AnyWorkflow = Workflow[Any, Any]


class Roster:
    """The runs of one engine. One that is let go costs an entry among the wakes, if it waits for a time at all."""

    def __init__(
        self,
        workflows: Mapping[str, AnyWorkflow],
        work: WorkReader,
        clock: Clock,
        alarms: Alarms,
        *,
        decode: Decode,
        ring: Callable[[Cell, int], None],
    ) -> None:
        self._workflows = workflows
        self._work = work
        self._clock = clock
        self._alarms = alarms
        self._decode = decode
        self._ring = ring
        self.pulse = Pulse()
        """Of the thread that takes the turns of these runs."""
        self._cells: dict[str, Cell] = {}
        self._wakes: dict[str, int] = {}

    def load(self, rows: list[RunRow], *, unclean: bool) -> list[Cell]:
        """Take up the open runs of a store; those whose workflow is not in the code stay where they are."""
        loaded: list[Cell] = []
        for row in rows:
            workflow = self._workflows.get(row.workflow)
            if row.status == "open" and workflow is not None:
                cell = self._cells[row.run] = Cell(row.run, workflow, row, run_n=row.run_n, unclean=unclean)
                self.set_wake(cell, row.wakes_at)
                loaded.append(cell)
        return loaded

    def find(self, run: str) -> Cell | None:
        """A run in memory."""
        return self._cells.get(run)

    def find_or_load(self, run: str, row: RunRow | None = None) -> Cell | None:
        """A run, from the store where it is not in memory; None where its workflow is not in the code."""
        cell = self._cells.get(run)
        if cell is not None:
            return cell
        row = row or self._work.find_run(run)
        workflow = self._workflows.get(row.workflow) if row is not None else None
        if row is None or workflow is None:
            return None
        cell = self._cells[run] = Cell(run, workflow, row, run_n=row.run_n, status=row.status)
        cell.wakes_at = row.wakes_at
        return cell

    def get(self, run: str, row: RunRow | None = None) -> Cell:
        """The same. Raises Rejected where its workflow is not in the code."""
        cell = self.find_or_load(run, row)
        if cell is None:
            workflow = run.partition("/")[0]
            why = f"run {run} can't move: workflow {workflow} is not in this code"
            raise Rejected(why, "Deploy it again, then ask once more: a run meets what is asked of it in its own code.")
        return cell

    def add(self, workflow: AnyWorkflow, case: str, number: int) -> Cell:
        """A new run, not durable yet."""
        run = f"{workflow.__name__}/{case}/{number}"
        row = RunRow(run, workflow.__name__, case, number, "open", 0, 0, None, None, None, "wait")
        cell = Cell(run, workflow, row, new=True, stale=False)
        cell.live = self.make_live(cell)
        self._cells.setdefault(run, cell)  # Two starts may want to be this run: the one that becomes durable is it.
        if len(self._cells) > LIMITS.runs_cached_max * 1.1:
            self.evict_idle()
        return cell

    def keep(self, cell: Cell) -> None:
        """A new run is durable: it is the one of its name."""
        self._cells[cell.run] = cell

    def next_number(self, workflow: str, case: str) -> int:
        """The number of a case's next run of a workflow."""
        number = max((row.number for row in self._work.list_runs(case, workflow)), default=0) + 1
        while f"{workflow}/{case}/{number}" in self._cells:  # not durable yet
            number += 1
        return number

    def make_live(self, cell: Cell) -> LiveRun:
        """A run's live part, before anything is applied to it."""
        return LiveRun(
            cell.workflow,
            run=cell.run,
            case=cell.row.case,
            epoch=cell.row.epoch,
            decode=self._decode,
            pulse=self.pulse,
        )

    def close(self, cell: Cell) -> None:
        """Let a run's live part go; its history is what it is rebuilt from."""
        if cell.live is not None:
            cell.live.close()
            cell.live = None

    def forget(self, cell: Cell) -> None:
        """Let a run go altogether; another one of its name stays, and is woken when it wants to be."""
        self.close(cell)
        if self._cells.get(cell.run) is cell:
            if not cell.new:  # One that never began has none: it would be that of the run whose name it took.
                self._wakes.pop(cell.run, None)
            del self._cells[cell.run]

    def hand_over(self, cell: Cell, pump: Callable[[Cell], None]) -> None:
        """Forget a run that never began; what came to it meanwhile is for the one of its name that stands."""
        self.forget(cell)
        if not (cell.unanswered or cell.inbox or cell.pending or cell.stale):
            return
        standing = self.find_or_load(cell.run)
        if standing is not None:
            standing.unanswered += cell.unanswered
            standing.pending.extend(cell.pending)
            standing.stale = True
            pump(standing)

    def close_all(self) -> None:
        """Let all go."""
        for cell in self._cells.values():
            self.close(cell)
        self._cells.clear()
        self._wakes.clear()

    def evict_idle(self, *, idle_s: float | None = None, most: int | None = None) -> int:
        """Close the runs that have been idle for so long, and the longest idle ones beyond `most`; returns how many."""
        idle_s = LIMITS.run_idle_s if idle_s is None else idle_s
        most = LIMITS.runs_cached_max if most is None else most
        before = self._clock.now_us() - int(idle_s * US)
        by_age = sorted((cell for cell in self._cells.values() if cell.idle), key=lambda cell: cell.used_at)
        surplus = max(len(self._cells) - most, 0)
        gone = [cell for index, cell in enumerate(by_age) if index < surplus or cell.used_at <= before]
        for cell in gone:
            self.close(cell)
            del self._cells[cell.run]
        return len(gone)

    def count_moving(self) -> int:
        """How many runs have a turn to take, or a unit on its way."""
        # The status of a run that ends is set with its last turn, before that turn's unit is answered.
        return sum(1 for cell in self._cells.values() if cell.unanswered or (cell.status == "open" and cell.moving))

    def set_wake(self, cell: Cell, wakes_at: int | None) -> None:
        """Wake a run at a time, also where it has been let go by then; None for not at all."""
        cell.wakes_at = wakes_at
        if wakes_at is None:
            self._wakes.pop(cell.run, None)
        elif self._wakes.get(cell.run) != wakes_at:
            self._wakes[cell.run] = wakes_at
            self._alarms.set(wakes_at, partial(self._wake, cell.run, wakes_at))

    def _wake(self, run: str, wakes_at: int) -> None:
        if self._wakes.get(run) != wakes_at:
            return
        del self._wakes[run]
        cell = self.find_or_load(run)
        if cell is not None:
            self._ring(cell, wakes_at)
