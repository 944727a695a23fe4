"""The guard over users' SQL: anything may be done to users' tables, nothing to ours or to the transaction itself.

SQLite asks it while a statement is prepared. So a text is prepared afresh the first time a user brings it: one of our
own that lies in the cache under the same text gives nobody our rights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import apsw

from partita.errors import DefinitionError

CHECKED_MAX = 2_000

_MADE = re.compile(r"(?m)^create (?:table|view) (\w+)")

_WRITES = {
    apsw.SQLITE_INSERT: 0,
    apsw.SQLITE_UPDATE: 0,
    apsw.SQLITE_DELETE: 0,
    apsw.SQLITE_DROP_TABLE: 0,
    apsw.SQLITE_DROP_VIEW: 0,
    apsw.SQLITE_ALTER_TABLE: 1,
    apsw.SQLITE_CREATE_INDEX: 1,
    apsw.SQLITE_DROP_INDEX: 1,
    apsw.SQLITE_CREATE_TRIGGER: 1,
}
"""Which of an action's two names is the table."""

_TEMPORARY = frozenset({"sqlite_temp_master", "sqlite_temp_schema"})

_CONTROL = {
    apsw.SQLITE_TRANSACTION: "begin, commit and rollback",
    apsw.SQLITE_SAVEPOINT: "savepoints",
    apsw.SQLITE_PRAGMA: "pragmas",
    apsw.SQLITE_ATTACH: "attached databases",
    apsw.SQLITE_DETACH: "attached databases",
}


class SqlGuard:
    """Installed on the writer's connection once; strict while `user` is set."""

    def __init__(self, connection: apsw.Connection, own: frozenset[str]) -> None:
        self.user = False
        self._own = own
        self._checked: set[str] = set()
        connection.authorizer = self._authorize

    def is_checked(self, sql: str) -> bool:
        """Whether this text has passed before, so that the cache may serve it."""
        return sql in self._checked

    def remember(self, sql: str) -> None:
        """This text has passed."""
        if len(self._checked) >= CHECKED_MAX:
            self._checked.clear()
        self._checked.add(sql)

    def _authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        if not self.user:
            return apsw.SQLITE_OK
        if action in _CONTROL:
            raise DefinitionError(
                f"{_CONTROL[action]} are not for a handler's tx: {first or second or ''}\n"
                "The handling's transaction is kept when the handler returns, and dropped when it raises."
            )
        if first in _TEMPORARY:
            raise DefinitionError(
                "temporary tables are not for a handler's tx: they outlive it, and can hide a table of the same name\n"
                "Keep what the handler needs in a table named after its service, or in the handler."
            )
        place = _WRITES.get(action)
        if place is not None and (second if place else first) in self._own:
            raise DefinitionError(
                f"table {second if place else first} is partita's own: a handler's tx may read it, not change it\n"
                "Keep what the handler knows in a table named after its service, as inventory_stock."
            )
        return apsw.SQLITE_OK


def list_own_tables(migrations: Iterable[str]) -> frozenset[str]:
    """The names of partita's tables and views: those that the migrations make."""
    return frozenset(name for sql in migrations for name in _MADE.findall(sql))
