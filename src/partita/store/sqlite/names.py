"""Names and numbers: sources, kinds, cases and runs stand in the trail as integers that never change their meaning."""

from __future__ import annotations

from typing import Any

from partita.errors import StoreError
from partita.store.sqlite.connection import Rows
from partita.store.sqlite.recent import Recent

_SOURCE = "select name from source where id = ?"
_KIND = "select name from kind where id = ?"
_CASE = "select case_type || ':' || case_key from cases where id = ?"
_RUN = "select name from run_named where id = ?"
_CASE_ID = "select id from cases where case_key = ? and case_type = ?"
_RUN_ID = (
    "select run.id from cases cross join workflow cross join run"
    " where cases.case_key = ?1 and cases.case_type = ?2 and workflow.name = ?3 and run.case_id = cases.id"
    " and run.workflow = workflow.id and run.number = ?4 and coalesce(run.name, '') = ''"
)
_NAMED_RUN_ID = "select id from run where name = ?"

REMEMBERED = 20_000


def split_case(case: str) -> tuple[str, str]:
    """Type and key of a case's name. Raises StoreError where it has no type."""
    case_type, colon, key = case.partition(":")
    if not (case_type and colon):
        raise StoreError(f"case {case!r} has no type\nA case is written type:key, as in order:12345.")
    return case_type, key


def split_run(run: str) -> tuple[str, str, int] | None:
    """Workflow, case and number of a run's name; None where it is not made up of them."""
    workflow, _, rest = run.partition("/")
    case, _, number = rest.rpartition("/")
    if workflow and case and number.isascii() and number.isdecimal() and str(int(number)) == number:
        return workflow, case, int(number)
    return None


class Names:
    """Looks names up by number, and remembers them. Reads committed rows only, through one connection."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._sources: dict[int, str] = {}
        self._kinds: dict[int, str] = {}
        self._cases: Recent[int, str] = Recent(REMEMBERED)
        self._runs: Recent[int, str] = Recent(REMEMBERED)

    def get_source(self, number: int) -> str:
        """A source's name."""
        found = self._sources.get(number)
        if found is None:
            found = self._sources[number] = self._name(_SOURCE, number)
        return found

    def get_kind(self, number: int) -> str:
        """A kind's name."""
        found = self._kinds.get(number)
        if found is None:
            found = self._kinds[number] = self._name(_KIND, number)
        return found

    def get_case(self, number: int) -> str:
        """A case's name."""
        found = self._cases.find(number)
        if found is None:
            found = self._name(_CASE, number)
            self._cases.put(number, found)
        return found

    def get_run(self, number: int) -> str:
        """A run's name."""
        found = self._runs.find(number)
        if found is None:
            found = self._name(_RUN, number)
            self._runs.put(number, found)
        return found

    def find_case_id(self, case: str) -> int | None:
        """The number of a case, or None for one that was never named."""
        case_type, _, key = case.partition(":")
        rows = self._rows.select(_CASE_ID, key, case_type)
        return rows[0][0] if rows else None

    def find_run_id(self, run: str) -> int | None:
        """The number of a run, or None."""
        parts = split_run(run)
        rows: list[tuple[Any, ...]] = []
        if parts is not None:
            case_type, _, key = parts[1].partition(":")
            rows = self._rows.select(_RUN_ID, key, case_type, parts[0], parts[2])
        rows = rows or self._rows.select(_NAMED_RUN_ID, run)
        return rows[0][0] if rows else None

    def _name(self, sql: str, number: int) -> str:
        rows = self._rows.select(sql, number)
        if not rows:
            raise StoreError(f"number {number} stands in the trail and has no name: {sql}\nRun: partita doctor")
        name: str = rows[0][0]
        return name
