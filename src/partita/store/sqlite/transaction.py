"""A handler's transaction: users' statements inside their unit's savepoint, on the writer, for a short while.

Everything ends with the unit: a `tx` that is kept for later refuses. Where a statement takes the whole transaction down
(an interrupt, `or rollback`), the rest of the work is refused too, or it would be written outside any transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

import apsw
from typing_extensions import TypeVar

from partita.errors import DefinitionError, StoreError
from partita.store.port import AsyncTransaction, Row, Transaction
from partita.store.sqlite.connection import FATAL
from partita.store.sqlite.guard import SqlGuard

T = TypeVar("T")

_MARK = "savepoint work"
_DROP = "rollback to work"
_RELEASE = "release work"
_DROP_UNIT = "rollback to unit"


class Patience(Protocol):
    """Who watches how long the work takes."""

    def check(self) -> None:
        """Raise StoreError where the work has had its time."""
        ...


class Unmarked(Exception):
    """Writes are to be dropped, and there is no savepoint to drop them to: the transaction has to be begun anew."""


class WorkScope:
    """What a unit's work sees of the transaction; also its `tx`."""

    def __init__(
        self, connection: apsw.Connection, guard: SqlGuard, patience: Patience, now_us: int, *, marked: bool
    ) -> None:
        self.torn: apsw.Error | None = None
        """The error that took the whole transaction with it."""
        self._connection = connection
        self._guard = guard
        self._patience = patience
        self._now_us = now_us
        self._open = True
        self._marked = marked
        """The unit has a savepoint of its own."""
        self._fresh = True
        """Nothing was done yet: the unit's own savepoint is as good as one of the work's."""

    @property
    def tx(self) -> Transaction:
        """Users' statements."""
        return self

    def now_us(self) -> int:
        """The writer's time for this unit."""
        return self._now_us

    def attempt(self, act: Callable[[], tuple[Any, bool]]) -> Any:
        """Run `act` in a savepoint; keep its writes if the second of what it returns is True."""
        if self._fresh:
            result, keep = act()  # where it raises, the unit is refused, and nothing of it stays
            if not keep:
                self._drop_all()
            return result
        self.mark()
        try:
            result, keep = act()
        except BaseException:
            self.drop()
            raise
        if keep:
            self._command(_RELEASE)
        else:
            self.drop()
        return result

    def _drop_all(self) -> None:
        if self._fresh:
            return  # there is nothing to drop
        if not self._marked:
            raise Unmarked
        self._command(_DROP_UNIT)

    def mark(self) -> None:
        """Set the savepoint."""
        self._command(_MARK)

    def drop(self) -> None:
        """Undo everything since `mark`."""
        if self._open and self.torn is None:  # otherwise the whole transaction is gone already
            self._connection.execute(_DROP)
            self._connection.execute(_RELEASE)

    def close(self) -> None:
        """The work is over."""
        self._open = False

    def execute(self, sql: str, *args: object) -> int:
        """Run a statement; the number of rows it changed."""
        before = self._connection.total_changes()
        self._run(sql, args, lambda cursor: cursor.fetchall())
        return self._connection.changes() if self._connection.total_changes() != before else 0

    def find_row(self, sql: str, *args: object) -> Row | None:
        """The first row, or None."""
        return self._run(sql, args, _first)

    def get_row(self, sql: str, *args: object) -> Row:
        """The first row. Raises LookupError where there is none."""
        row = self._run(sql, args, _first)
        if row is None:
            raise LookupError(f"no row: {' '.join(sql.split())} with {args!r}\nUse find_row where there may be none.")
        return row

    def list_rows(self, sql: str, *args: object) -> list[Row]:
        """All rows."""
        return self._run(sql, args, _all)

    def _run(self, sql: str, args: tuple[object, ...], read: Callable[[apsw.Cursor], T]) -> T:
        self._check()
        self._fresh = False
        guard = self._guard
        checked = guard.is_checked(sql)
        cursor = self._connection.cursor()
        guard.user = True
        try:
            result = read(cursor.execute(sql, cast("tuple[Any, ...]", args), can_cache=checked))
        except apsw.Error as error:
            if isinstance(error, FATAL) or not self._connection.in_transaction:
                self.torn = error
            self._patience.check()
            raise
        finally:
            guard.user = False
            cursor.close(True)
        if not checked:
            guard.remember(sql)
        return result

    def _check(self) -> None:
        if not self._open:
            raise DefinitionError("this tx is over: its handling has ended\nUse a tx inside its handler only.")
        if self.torn is not None:
            raise StoreError("this tx was rolled back by an earlier error\nLet that error leave the handler.")
        self._patience.check()

    def _command(self, sql: str) -> None:
        self._check()
        self._connection.execute(sql)


class AsyncScopeOver:
    """The same for a coroutine: each statement is carried to the writer by `post`."""

    def __init__(self, scope: WorkScope, post: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._scope = scope
        self._post = post

    @property
    def tx(self) -> AsyncTransaction:
        """Users' statements."""
        return self

    def now_us(self) -> int:
        """The writer's time for this unit."""
        return self._scope.now_us()

    async def mark(self) -> None:
        """Set the savepoint."""
        await self._post(self._scope.mark)

    async def drop(self) -> None:
        """Undo everything since `mark`."""
        await self._post(self._scope.drop)

    async def execute(self, sql: str, *args: object) -> int:
        """Run a statement; the number of rows it changed."""
        changed: int = await self._post(lambda: self._scope.execute(sql, *args))
        return changed

    async def find_row(self, sql: str, *args: object) -> Row | None:
        """The first row, or None."""
        row: Row | None = await self._post(lambda: self._scope.find_row(sql, *args))
        return row

    async def get_row(self, sql: str, *args: object) -> Row:
        """The first row. Raises LookupError where there is none."""
        row: Row = await self._post(lambda: self._scope.get_row(sql, *args))
        return row

    async def list_rows(self, sql: str, *args: object) -> list[Row]:
        """All rows."""
        rows: list[Row] = await self._post(lambda: self._scope.list_rows(sql, *args))
        return rows


def _first(cursor: apsw.Cursor) -> Row | None:
    for row in cursor:
        return dict(zip(_columns(cursor), row, strict=True))
    return None


def _all(cursor: apsw.Cursor) -> list[Row]:
    names: tuple[str, ...] | None = None
    rows: list[Row] = []
    for row in cursor:
        names = names or _columns(cursor)
        rows.append(dict(zip(names, row, strict=True)))
    return rows


def _columns(cursor: apsw.Cursor) -> tuple[str, ...]:
    return tuple(column[0] for column in cursor.get_description())
