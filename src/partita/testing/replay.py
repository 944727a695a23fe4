"""Replaying what is recorded: every run's history, run again, must come to where the run is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw
from typing_extensions import override

from partita.errors import PartitaError, one_line
from partita.messages.catalog import Catalog
from partita.messages.codec import encode
from partita.orchestration.asks import AskCancelChild, AskStep
from partita.orchestration.history import gather
from partita.orchestration.run import Ended, LiveRun
from partita.orchestration.workflow import Workflow
from partita.store.facts import NOTHING, Body, Fact, Incident, Open, Retried, Returned, Withdrawn
from partita.store.port import RunRow, TrailReader


def find_replay_fault(
    row: RunRow, trail: TrailReader, catalog: Catalog, workflows: Mapping[str, Workflow[Any, Any]]
) -> str | None:
    """What a run's history comes to differently when it is replayed, in one sentence; None where all is the same."""
    workflow = workflows.get(row.workflow)
    if workflow is None:
        return None
    history = trail.list_history(row.run)
    live = _Watched(workflow, run=row.run, case=row.case, epoch=row.epoch, decode=catalog.decode)
    live.said = {fact.run_n or 0: found for fact in history if (found := getattr(fact.body, "open", None)) is not None}
    try:
        live.replay(history, gather(history, trail, catalog, workflow))
        return live.fault or _difference(row, history, live)
    except PartitaError as error:
        return f"run {row.run} can't be replayed: {one_line(error)}"
    finally:
        live.close()


class _Watched(LiveRun):
    """A replay that compares what it waits for with what the history says of it, after each turn that says so.

    It shows a run that met facts in another order than the one they are numbered in: most such runs end the same, but
    on their way they wait for something else, or until another time.
    """

    said: dict[int, Open]
    """What the run waits for, by the number of the fact that says it."""
    fault: str = ""
    _met: int = 0
    _is_ahead: bool = False
    """What completes an undo is written by the turn that asks for it, and met live by the next one only."""

    @override
    def _meet(self, at: int, body: Body, message: Any, run_n: int | None) -> None:
        self._compare(run_n or 0)
        super()._meet(at, body, message, run_n)
        self._met, self._is_ahead = run_n or 0, isinstance(body, Withdrawn)

    def _compare(self, before: int) -> None:
        """What was said since the last fact that was met, and before this one."""
        told = [n for n in self.said if self._met <= n < before]
        if told and not self._is_ahead and not self.fault and self.open() != self.said[told[-1]]:
            self.fault = (
                f"run {self.run} waits for {self.said[told[-1]]} after its fact {told[-1]}, its replay waits for"
                f" {self.open()} there"
            )


def _difference(row: RunRow, history: Sequence[Fact], live: LiveRun) -> str | None:
    ended = next((fact.body for fact in reversed(history) if isinstance(fact.body, Returned)), None)
    if ended is not None:
        return _ended_otherwise(row, ended, live)
    if is_stopped(history):
        return None
    if live.outcome is not None:
        return f"run {row.run} is open, its replay comes to {live.outcome}"
    recorded = find_open(history)
    if live.open() != recorded:
        return f"run {row.run} waits for {recorded}, its replay waits for {live.open()}"
    unsaid = [ask for ask in live.take() if not isinstance(ask, AskStep | AskCancelChild)]
    if unsaid:
        return f"run {row.run}: its replay asks for what was never recorded: {unsaid[0]}"
    return None


def _ended_otherwise(row: RunRow, ended: Returned, live: LiveRun) -> str | None:
    outcome = live.outcome
    if not isinstance(outcome, Ended) or outcome.how != ended.how:
        return f"run {row.run} has {ended.how}, its replay comes to {outcome}"
    value = NOTHING if outcome.value is None or outcome.how == "again" else Raw(encode(outcome.value))
    if bytes(value) != bytes(ended.value):
        return f"run {row.run} returned {bytes(ended.value)!r}, its replay returns {bytes(value)!r}"
    return None


def find_open(history: Sequence[Fact]) -> Open:
    """What a run's history says that it waits for."""
    return next((found for fact in reversed(history) if (found := getattr(fact.body, "open", None))), Open())


def is_stopped(history: Sequence[Fact]) -> bool:
    """Whether a run stands still with an incident."""
    last = next((fact.body for fact in reversed(history) if isinstance(fact.body, Incident | Retried)), None)
    return isinstance(last, Incident)
