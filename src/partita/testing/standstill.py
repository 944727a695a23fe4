"""A standstill: an engine that has something in hand, and has said nothing for so long that it never will.

An engine that moves writes facts. One that says it moves while no fact comes has forgotten a turn, lost an answer, or
goes round in circles; which of these, what it has in hand tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from partita.testing.checkers import list_runs, read_all
from partita.testing.life import Life

STANDS_STILL_S = 60.0
"""Longer than any handling, step or commit takes once the faults have stopped."""


@dataclass(slots=True)
class Standstill:
    """Watches whether one life after another says anything."""

    seq: int = 0
    """The last fact seen."""
    since_s: float = 0.0
    """When it was looked for."""

    def find(self, life: Life | None, now_s: float) -> list[str]:
        """What stands still, each in a sentence, where nothing was said for long; looked for once in that time."""
        if now_s - self.since_s < STANDS_STILL_S:
            return []
        self.since_s, before = now_s, self.seq
        if life is None:
            return []
        while facts := life.store.trail.list_facts(after_seq=self.seq, limit=5_000):
            self.seq = facts[-1].seq
        return list(_say_in_hand(life)) if self.seq == before else []


def _say_in_hand(life: Life) -> Iterator[str]:
    """What an engine says that it moves."""
    engine, long = life.engine, f"for {STANDS_STILL_S:.0f} s"
    for run in list_runs(read_all(life.store.trail), life.store.work):
        cell = engine.executor.roster.find(run.run)
        if cell is not None and cell.unanswered:
            yield f"run {run.run} waits {long} for the answers to {cell.unanswered} units that name it"
        elif cell is not None and cell.status == "open" and cell.moving:
            came, todo = len(cell.inbox), len(cell.pending)
            yield f"run {run.run} has {came} facts to apply and {todo} to write, and takes no turn {long}"
    for message, group in sorted(engine.dispatch.lanes.keys()):
        owed = engine.dispatch.lanes.find(message, group)
        if owed is not None and owed.state == "handling":
            yield f"{group} has {owed.envelope.type} of {owed.envelope.case} in hand, and says nothing {long}"
    if engine.desk.in_hand:
        yield f"{engine.desk.in_hand} requests are being decided, and nothing is said {long}"
