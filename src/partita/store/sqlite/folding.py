"""Folding at write: each case that a transaction touches is folded once, in that transaction."""

from __future__ import annotations

from typing import Any

import apsw

from partita.messages.envelope import partition_of
from partita.store.facts import Fact
from partita.store.port import CaseRow, Projection
from partita.store.sqlite.codec import CODEC_JSON, pack, unpack
from partita.store.sqlite.connection import Rows, select
from partita.store.sqlite.migrate import find_meta, set_meta
from partita.store.sqlite.names import split_case
from partita.store.sqlite.recent import Recent
from partita.store.sqlite.trail import TrailRows

STATES_REMEMBERED = 4_000
NEVER_FOLDED = -1
FOLD_ANEW = -2
UNSAID = -1
"""The rank of a case of which nothing has been said yet."""
RESTING = 5
"""The rank of `waiting`, of design 9's order of verdicts: such a case may lie there for long; its state is packed."""

_SELECT = "select id, fold, codec, state, rank, stuck, since, deadline from cases where case_key = ? and case_type = ?"
_LAST_ID = "select coalesce(max(id), 0) from cases"
_INSERT = (
    "insert into cases (rank, stuck, since, deadline, at, fold, seq, codec, state, id, case_type, case_key, partition)"
    " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE = (
    "update cases set rank = ?, stuck = ?, since = ?, deadline = ?, at = ?, fold = ?, seq = ?, codec = ?, state = ?"
    " where id = ?"
)
_UPDATE_UNLISTED = "update cases set at = ?, fold = ?, seq = ?, codec = ?, state = ? where id = ?"
_FOLDED = "folded"
"""In `meta`: the version of the projection that every case was last seen to be folded by."""
_STALE = "select case_type || ':' || case_key from cases where fold <> ? and rank >= 0 limit ?"


class FoldedCase:
    """What the writer knows of a case: its number, its state, and the facts of this transaction."""

    __slots__ = ("case", "facts", "fold", "id", "key", "listed", "state", "stored", "type")

    def __init__(self, case: str, case_type: str, key: str, id: int) -> None:
        self.case = case
        self.type = case_type
        self.key = key
        self.id = id
        self.stored = False
        self.fold = NEVER_FOLDED
        self.state: bytes | None = None
        self.listed: tuple[int, bool, int, int | None] | None = None
        """rank, stuck, since, deadline: the columns with indexes"""
        self.facts: list[Fact] = []


class Folder:
    """Finds the cases that facts name, and writes their rows."""

    def __init__(self, connection: apsw.Connection, cursor: apsw.Cursor, projection: Projection) -> None:
        self._connection = connection
        self._cursor = cursor
        self._rows = TrailRows(Rows(connection))
        self._projection = projection
        self._recent: Recent[str, FoldedCase] = Recent(STATES_REMEMBERED)
        self._named: dict[str, FoldedCase] = {}
        """Those that this transaction has named, however many it names: each is one object until it is written."""
        self._touched: dict[str, FoldedCase] = {}
        self._last_id: int = select(cursor, _LAST_ID)[0][0]
        if find_meta(connection, _FOLDED) not in {None, str(projection.version)}:
            set_meta(connection, _FOLDED, "")  # what this version folds will be stale to that one

    def get(self, case: str) -> FoldedCase:
        """The case under this name, with a number of its own from now on. Raises StoreError where it has no type."""
        found = self._named.get(case)
        if found is None:
            found = self._recent.find(case)
            if found is None:
                found = self._load(case)
                self._recent.put(case, found)
            self._named[case] = found
        return found

    def touch(self, folded: FoldedCase) -> None:
        """This transaction writes the case's row, also where no fact comes with it."""
        self._touched[folded.case] = folded

    def touch_anew(self, case: str) -> None:
        """This transaction folds the case from all its facts."""
        folded = self.get(case)
        if folded.stored and folded.fold != NEVER_FOLDED:
            folded.fold = FOLD_ANEW
            self._touched[case] = folded

    def add(self, folded: FoldedCase, fact: Fact) -> None:
        """A fact of this transaction is about the case."""
        if not folded.facts:
            self._touched[folded.case] = folded
        folded.facts.append(fact)

    def store(self) -> None:
        """Fold and write every case touched. The trail's rows have been written."""
        new: list[tuple[Any, ...]] = []
        moved: list[tuple[Any, ...]] = []
        unlisted: list[tuple[Any, ...]] = []
        for folded in self._touched.values():
            row = self._fold(folded)
            listed = (row.rank, row.stuck, row.since, row.deadline)
            told = (row.at, row.fold, row.seq, *_store_state(row), folded.id)
            if not folded.stored:
                new.append((*listed, *told, folded.type, folded.key, partition_of(folded.case)))
            elif listed != folded.listed:
                moved.append((*listed, *told))
            else:
                unlisted.append(told)
            folded.stored = True
            folded.listed, folded.fold, folded.state = listed, row.fold, row.state
            folded.facts = []
        # Three statements, since each index costs as much as the row: most facts leave some of them as they are.
        for sql, rows in ((_INSERT, new), (_UPDATE, moved), (_UPDATE_UNLISTED, unlisted)):
            if rows:
                self._cursor.executemany(sql, rows)
        self._named.clear()
        self._touched.clear()

    def list_stale(self, limit: int) -> list[str]:
        """Cases folded by another version of the projection. It is a long look: `meta` says when there are none."""
        version = self._projection.version
        if find_meta(self._connection, _FOLDED) == str(version):
            return []
        stale = [case for (case,) in select(self._cursor, _STALE, (version, limit))]
        if not stale:
            set_meta(self._connection, _FOLDED, str(version))
        return stale

    def forget(self) -> None:
        """The transaction failed: nothing held here is sure any more."""
        self._recent.clear()
        self._named.clear()
        self._touched.clear()

    def _fold(self, folded: FoldedCase) -> CaseRow:
        if not folded.stored or folded.fold == self._projection.version:
            if folded.facts:
                return self._projection.fold(folded.case, folded.state, folded.facts)
            if not folded.stored:  # named by a run, and nothing is said of it: no reader shows it
                return CaseRow(folded.case, UNSAID, False, None, 0, None, NEVER_FOLDED, 0, b"")
        return self._projection.fold(folded.case, None, self._rows.list_case(folded.id))

    def _load(self, case: str) -> FoldedCase:
        case_type, key = split_case(case)
        rows = select(self._cursor, _SELECT, (key, case_type))
        if not rows:
            self._last_id += 1
            return FoldedCase(case, case_type, key, self._last_id)
        number, fold, codec, state, rank, stuck, since, deadline = rows[0]
        folded = FoldedCase(case, case_type, key, number)
        folded.stored, folded.fold, folded.state = True, fold, unpack(codec, state)
        folded.listed = (rank, bool(stuck), since, deadline)
        return folded


def _store_state(row: CaseRow) -> tuple[int, bytes]:
    return pack(row.state) if row.rank == RESTING else (CODEC_JSON, row.state)
