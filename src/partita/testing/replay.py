"""Replaying what is recorded: every run's history, run again, must come to where the run is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw

from partita.errors import PartitaError, one_line
from partita.messages.catalog import Catalog
from partita.messages.codec import encode
from partita.orchestration.asks import AskCancelChild, AskStep
from partita.orchestration.history import gather
from partita.orchestration.run import Ended, LiveRun
from partita.orchestration.workflow import Workflow
from partita.store.facts import NOTHING, Fact, Incident, Open, Retried, Returned
from partita.store.port import RunRow, TrailReader


def find_replay_fault(
    row: RunRow, trail: TrailReader, catalog: Catalog, workflows: Mapping[str, Workflow[Any, Any]]
) -> str | None:
    """What a run's history comes to differently when it is replayed, in one sentence; None where all is the same."""
    workflow = workflows.get(row.workflow)
    if workflow is None:
        return None
    history = trail.list_history(row.run)
    live = LiveRun(workflow, run=row.run, case=row.case, epoch=row.epoch, decode=catalog.decode)
    try:
        live.replay(history, gather(history, trail, catalog, workflow))
        return _difference(row, history, live)
    except PartitaError as error:
        return f"run {row.run} can't be replayed: {one_line(error)}"
    finally:
        live.close()


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
