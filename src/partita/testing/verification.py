"""The end of a simulation: the store is opened once more, and everything in it is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from partita.limits import LIMITS
from partita.monitor.fold import CaseProjection
from partita.runtime.backends import Shelf
from partita.runtime.look import Look
from partita.runtime.requests import Request, message_id_of
from partita.store.facts import Fact
from partita.store.port import Answer, Scope, Unit
from partita.store.sqlite.store import SqliteStore, open_store
from partita.testing import business, checkers
from partita.testing.business import Books, Rows
from partita.testing.customers import Customers
from partita.testing.outside import Outside
from partita.testing.people import People
from partita.testing.replay import find_open
from partita.testing.subject import Subject
from partita.testing.trace import Trace
from partita.testing.virtual import SimClock


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where to look."""

    subject: Subject
    place: str
    clock: SimClock
    outside: Outside
    people: People
    trace: Trace


async def verify(evidence: Evidence) -> int:
    """Check everything; what is wrong goes to the trace. Returns how many facts there are."""
    shelf = Shelf()
    projection = CaseProjection(shelf.get)
    store = open_store(evidence.place, clock=evidence.clock, projection=projection, app=evidence.subject.app.name)
    shelf.trail = store.trail
    evidence.trace.catch_up(store.trail)
    try:
        facts = checkers.read_all(store.trail)
        rows = await _read_tables(store, evidence.subject.tables)
        for sentence in _check_all(evidence, store, facts, rows):
            evidence.trace.blame(sentence)
        evidence.trace.look_back(facts)
    finally:
        await store.close()
    return len(facts)


def _check_all(evidence: Evidence, store: SqliteStore, facts: list[Fact], rows: Rows) -> Iterator[str]:
    trail, work, declared = store.trail, store.work, evidence.subject.app.declared
    owed = checkers.Obligations(facts)
    runs = checkers.list_runs(facts, work)
    yield from checkers.check_numbers(facts, trail)
    yield from checkers.check_obligations(owed, work)
    yield from checkers.check_order(facts, declared.topology)
    yield from checkers.check_times(facts, owed)
    yield from checkers.check_late(facts)
    yield from checkers.check_cancelled(facts, evidence.people.cancelled)
    yield from checkers.check_children(runs, trail)
    yield from checkers.check_claims(facts, LIMITS.claims_max)
    yield from checkers.check_cases(facts, trail, store.cases, work)
    yield from checkers.check_runs(runs, trail, declared.catalog, declared.workflows)
    yield from _check_nothing_stranded(evidence, store, facts)
    books = _books(evidence, store, facts, rows)
    for look_at in (business.check_requests, business.check_effects, business.check_asked):
        yield from look_at(books)
    yield from evidence.subject.check(books)


def _check_nothing_stranded(evidence: Evidence, store: SqliteStore, facts: list[Fact]) -> Iterator[str]:
    """After everything was mended and all time has passed, nothing is open but a wait that has a name."""
    for row in store.work.list_obligations():
        yield f"{row.group} still owes {row.type} of {row.case} ({row.state}, {row.attempts} attempts)"
    for run in checkers.list_runs(facts, store.work):
        if run.status != "ended" and not find_open(store.trail.list_history(run.run)).waits:
            yield f"run {run.run} is {run.status} and waits for nothing that has a name"
    for request in store.work.list_requests():
        yield f"request {request.id} is still owed"


def _books(evidence: Evidence, store: SqliteStore, facts: list[Fact], rows: Rows) -> Books:
    look = Look(store.trail, store.work, store.cases, clock=evidence.clock, is_running=lambda: False)
    people, subject = evidence.people, evidence.subject
    customers = next((party for party in subject.parties if isinstance(party, Customers)), None)
    return Books(
        form=subject.form,
        facts=facts,
        outside=evidence.outside,
        rows=rows,
        placed=customers.placed if customers else {},
        asked={key: (message_id_of(Request(op="emit", key=key)), asked) for key, asked in people.asked.items()},
        notes=customers.notes if customers else {},
        verdicts={case: where.verdict for case in subject.cases() if (where := look.find_where(case)) is not None},
    )


async def _read_tables(store: SqliteStore, columns: Mapping[str, Sequence[str]]) -> Rows:
    """The services' own tables, read as a handler would."""
    found: Rows = {}

    def work(_unit: Unit, scope: Scope) -> None:
        made = {row["name"] for row in scope.tx.list_rows("select name from sqlite_schema where type = 'table'")}
        for table, names in columns.items():
            rows: list[Any] = []
            if table in made:
                rows = scope.tx.list_rows(f"select * from {table}")  # noqa: S608 - one of ours
            found[table] = [{name: row[name] for name in names} for row in rows]

    read: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    store.submit(Unit(work=work, answered=read.set_result, label="reading the tables"))
    await read
    return found
