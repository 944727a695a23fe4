"""Retrying: a stopped run goes on, its last failure made anew where nothing was recorded after it."""

from __future__ import annotations

from collections.abc import Sequence

from partita.orchestration.history import called_type, voidable
from partita.store.facts import Fact, Retried
from partita.store.port import RunRow
from partita.store.work import RENEW_OBLIGATION, RESUME_RUN
from partita.transports.outbox import Book, Draft, owed_from
from partita.transports.port import Owed


def write_retried(draft: Draft, book: Book, history: Sequence[Fact], row: RunRow, by: str) -> tuple[int, list[Owed]]:
    """Write that a stopped run goes on; returns the fact's index, and the calls that are owed again by it."""
    voids, renewed = voidable(history)
    draft.write(RESUME_RUN, row.run, must="not stopped")
    index = draft.say(Retried(voids=tuple(fact.run_n or 0 for fact in voids), by=by), case=row.case, run=row.run)
    return index, [_renew(draft, book, published, index) for published in renewed]


def say_retried(history: Sequence[Fact]) -> str:
    """What a retry makes anew, for a person."""
    voids, _ = voidable(history)
    if voids:
        return "its last failure is made anew"
    return "it is replayed with the code as it is now; what its saga has undone is over"


def _renew(draft: Draft, book: Book, published: Fact, index: int) -> Owed:
    """Owe a failed call again, under the same message id."""
    group = next(iter(book.topology.owing.get(called_type(published), ())), "")
    owed = owed_from(published, group)
    envelope = owed.envelope
    draft.write(
        RENEW_OBLIGATION,
        envelope.id,
        owed.group,
        envelope.type,
        envelope.case,
        owed.caller,
        owed.step,
        owed.retry,
        published.seq,
        must="known obligation",
        fact=index,
    )
    return owed
