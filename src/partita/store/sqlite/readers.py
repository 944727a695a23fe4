"""The readers: facts, work tables and folded cases over one connection, each call one short read transaction."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from partita.clock import Clock
from partita.messages.topology import Topology
from partita.store.facts import Fact
from partita.store.port import CaseRow, GroupRow, MessageRow, ObligationRow, Projection, RequestRow, RunRow
from partita.store.sqlite.chain import find_break
from partita.store.sqlite.codec import unpack
from partita.store.sqlite.connection import Rows
from partita.store.sqlite.names import Names
from partita.store.sqlite.operations import message_key
from partita.store.sqlite.runs import ON_CLOSE, STATUSES
from partita.store.sqlite.trail import TrailRows

_MESSAGE = "select seq, digest from message where id = ?"
_TOPOLOGY = "select body from topology where version = ?"
# A store that an earlier version wrote does not say which is in force: there it is the newest.
_TOPOLOGY_IN_FORCE = (
    "select body from topology order by version ="
    " (select cast(value as integer) from meta where key = 'topology') desc, version desc limit 1"
)

_OBLIGATIONS = (
    'select message, grp, type, "case", seq, position, state, attempts, claims, due_at, caller, step, barred, late,'
    " retry from obligation "
)
_ALL_OBLIGATIONS = _OBLIGATIONS + "order by position"
_OBLIGATIONS_OF_CASE = _OBLIGATIONS + 'where "case" = ? order by position'
_OBLIGATION = _OBLIGATIONS + "where message = ? and grp = ?"

_RUNS = (
    'select name, workflow, "case", number, status, epoch, run_n, wakes_at, parent, parent_step, on_close'
    " from run_named "
)
_OPEN_RUNS = _RUNS + "where status = 0 order by id"
_RUN = _RUNS + "where id = ?"
_RUNS_OF_CASE = _RUNS + "where case_id = ?1 and (?2 is null or workflow = ?2) order by number, id"
_GROUPS = "select name, state, since, by from grp order by name"
_REQUESTS = "select id, seq from request order by seq"

_CASES = (
    "select case_type || ':' || case_key as name, rank, stuck, at, since, deadline, fold, seq, codec, state from cases "
)
_CASE = _CASES + "where case_key = ? and case_type = ? and rank >= 0"
_MATCHING = "select case_type || ':' || case_key from cases where case_key = ? and rank >= 0 order by case_type limit ?"
_COUNT = "select rank, count(*) from cases where rank >= 0 group by rank"
_AFTER = "where (rank, since, case_type || ':' || case_key) > (?, ?, ?) "
_STUCK = "and id in (select id from cases where stuck union all select id from cases where deadline < ?) "
_WORST_FIRST = "order by rank, since, name limit ?"


class SqliteTrail:
    """Reads facts."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._facts = TrailRows(rows)

    def list_history(self, run: str) -> list[Fact]:
        """All facts of a run, by run_n."""
        run_id = self._facts.names.find_run_id(run)
        return [] if run_id is None else self._facts.list_history(run_id)

    def list_case_facts(self, case: str, *, after_seq: int = 0, limit: int = 100_000) -> list[Fact]:
        """Facts of a case, its own and those that touch it, by seq."""
        case_id = self._facts.names.find_case_id(case)
        return [] if case_id is None else self._facts.list_case(case_id, after_seq=after_seq, limit=limit)

    def find_fact(self, seq: int) -> Fact | None:
        """One fact, or None."""
        return self._facts.find_fact(seq)

    def list_facts(self, *, after_seq: int = 0, limit: int = 1_000) -> list[Fact]:
        """Facts by seq."""
        return self._facts.list_facts(after_seq=after_seq, limit=limit)

    def find_message(self, message_id: str) -> MessageRow | None:
        """What is known of a message, or None."""
        rows = self._rows.select(_MESSAGE, message_key(message_id))
        return MessageRow(message_id, *rows[0]) if rows else None

    def find_topology(self, version: int | None = None) -> Topology | None:
        """A stored topology; without a version, the one in force."""
        rows = self._rows.select(_TOPOLOGY_IN_FORCE) if version is None else self._rows.select(_TOPOLOGY, version)
        return msgspec.json.decode(rows[0][0], type=Topology) if rows else None

    def check_chain(self, *, from_seq: int = 1) -> int | None:
        """The seq of the first fact that does not fit the chain; None where all fit."""
        return find_break(self._rows, self._facts.names, from_seq=from_seq)


class SqliteWork:
    """Reads the work tables."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._names = Names(rows)

    def list_obligations(self, *, case: str | None = None) -> list[ObligationRow]:
        """What is owed, of one case or of all, by position."""
        found = self._rows.select(_ALL_OBLIGATIONS) if case is None else self._rows.select(_OBLIGATIONS_OF_CASE, case)
        return [ObligationRow(*row) for row in found]

    def find_obligation(self, message: str, group: str) -> ObligationRow | None:
        """What a group owes a message, or None."""
        found = self._rows.select(_OBLIGATION, message, group)
        return ObligationRow(*found[0]) if found else None

    def list_open_runs(self) -> list[RunRow]:
        """Runs that go on, oldest first."""
        return [_run_row(row) for row in self._rows.select(_OPEN_RUNS)]

    def list_runs(self, case: str, workflow: str | None = None) -> list[RunRow]:
        """Runs of a case, by number."""
        case_id = self._names.find_case_id(case)
        return [_run_row(row) for row in self._rows.select(_RUNS_OF_CASE, case_id, workflow)]

    def find_run(self, run: str) -> RunRow | None:
        """A run, or None."""
        found = self._rows.select(_RUN, self._names.find_run_id(run))
        return _run_row(found[0]) if found else None

    def list_groups(self) -> list[GroupRow]:
        """Groups that somebody paused or retired."""
        return [GroupRow(*row) for row in self._rows.select(_GROUPS)]

    def list_requests(self) -> list[RequestRow]:
        """Requests that are owed, oldest first."""
        return [RequestRow(*row) for row in self._rows.select(_REQUESTS)]


class SqliteCases:
    """Reads the folded cases. One that another version of the projection has folded is folded anew, and not written."""

    def __init__(self, rows: Rows, *, clock: Clock, projection: Projection) -> None:
        self._rows = rows
        self._clock = clock
        self._projection = projection
        self._facts = TrailRows(rows)

    def find_case(self, case: str) -> CaseRow | None:
        """A case, or None."""
        case_type, _, key = case.partition(":")
        rows = self._rows.select(_CASE, key, case_type)
        return self._fresh(rows[0]) if rows else None

    def list_cases(
        self, *, ranks: Sequence[int] | None = None, stuck: bool = False, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[CaseRow], str | None]:
        """Cases worst first, and the cursor of the next page. Raises ValueError for a cursor that is none of ours."""
        sql = _CASES + _AFTER
        params: list[int | str] = list(_decode_cursor(cursor))
        if ranks is not None:
            sql += f"and rank in ({', '.join('?' * len(ranks))}) "
            params.extend(ranks)
        if stuck:
            sql += _STUCK
            params.append(self._clock.now_us())
        rows = self._rows.select(sql + _WORST_FIRST, *params, limit + 1)
        cases = [self._fresh(row) for row in rows[:limit]]
        if len(rows) <= limit or not cases:
            return cases, None
        case, rank, _stuck, _at, since = rows[limit - 1][:5]
        return cases, msgspec.json.encode((rank, since, case)).decode()

    def list_matching(self, key: str, limit: int = 10) -> list[str]:
        """Names of cases of any type whose key is `key`."""
        return [str(row[0]) for row in self._rows.select(_MATCHING, key, limit)]

    def count_cases(self) -> dict[int, int]:
        """How many cases have each rank."""
        return dict(self._rows.select(_COUNT))

    def _fresh(self, row: tuple[Any, ...]) -> CaseRow:
        case, rank, stuck, at, since, deadline, fold, seq, codec, state = row
        if fold != self._projection.version:
            case_id = self._facts.names.find_case_id(case)
            facts = [] if case_id is None else self._facts.list_case(case_id)
            if facts:
                return self._projection.fold(case, None, facts)
        return CaseRow(case, rank, bool(stuck), at, since, deadline, fold, seq, unpack(codec, state))


def _run_row(row: tuple[Any, ...]) -> RunRow:
    columns: list[Any] = list(row)
    columns[4], columns[10] = STATUSES[columns[4]], ON_CLOSE[columns[10]]
    return RunRow(*columns)


def _decode_cursor(cursor: str | None) -> tuple[int, int, str]:
    if cursor is None:
        return -1, sys.maxsize, ""  # behind every case of which nothing has been said
    try:
        return msgspec.json.decode(cursor, type=tuple[int, int, str])
    except msgspec.DecodeError as error:
        raise ValueError(f"cursor {cursor!r} is not one of ours\nTake it from the page before.") from error
