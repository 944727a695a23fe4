"""The store port: units of work go in, answers come back, readers look.

A unit commits whole or not at all. Each is accepted (durable), refused (nothing of it happened, and why) or lost
(unknown: the store stops and has to be reopened). Units are executed first in, first out; answers come back in that
order, on the loop that submitted. A refused unit refuses nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
from typing_extensions import override

from partita.messages.topology import Topology
from partita.store.facts import Fact, NewFact


class Write(msgspec.Struct, frozen=True, gc=False):
    """One write to a work table: an operation from `store.work`, its parameters, and what must hold.

    Where `fact` is given, the seq of the unit's fact with that index follows the parameters. Where `must` is given, the
    operation has to touch a row, otherwise the unit is refused with that word.
    """

    op: str
    params: tuple[Any, ...]
    must: str | None = None
    fact: int | None = None


class Row(Protocol):
    """A row of a user's table, by column name."""

    def __getitem__(self, key: str, /) -> Any: ...


class Transaction(Protocol):
    """The embedded store's own transaction, for plain `def` handlers.

    `execute` returns the number of rows changed. `get_row` raises LookupError where there is none. Everything is kept
    or dropped with the handling it belongs to.
    """

    def execute(self, sql: str, *args: object) -> int: ...
    def find_row(self, sql: str, *args: object) -> Row | None: ...
    def get_row(self, sql: str, *args: object) -> Row: ...
    def list_rows(self, sql: str, *args: object) -> list[Row]: ...


class AsyncTransaction(Protocol):
    """The same for `async def` handlers: exclusive, so keep it short."""

    async def execute(self, sql: str, *args: object) -> int: ...
    async def find_row(self, sql: str, *args: object) -> Row | None: ...
    async def get_row(self, sql: str, *args: object) -> Row: ...
    async def list_rows(self, sql: str, *args: object) -> list[Row]: ...


class Scope(Protocol):
    """A unit's transaction, as the code inside it sees it: users' statements, and a savepoint to drop them."""

    @property
    def tx(self) -> Transaction: ...

    def now_us(self) -> int:
        """The writer's time for this unit."""
        ...

    def attempt(self, act: Callable[[], tuple[Any, bool]]) -> Any:
        """Run `act` in a savepoint; keep its writes if the second of what it returns is True. Exceptions drop them."""
        ...


class AsyncScope(Protocol):
    """The same for a unit whose work is `async def`: the writer waits for it, exclusively."""

    @property
    def tx(self) -> AsyncTransaction: ...

    def now_us(self) -> int: ...

    async def mark(self) -> None:
        """Set the savepoint."""
        ...

    async def drop(self) -> None:
        """Undo everything since `mark`."""
        ...


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """What the writer gave a fact."""

    seq: int
    at: int
    run_n: int | None


class Accepted(msgspec.Struct, eq=False):
    """The unit is durable."""

    recorded: list[Recorded]
    """One for each fact of the unit, in order."""
    result: Any = None
    """What the unit's work left in `Unit.result`."""


@dataclass(slots=True)
class Refusal:
    """Nothing of the unit happened: the guard that did not hold, or the exception that its work raised."""

    why: str
    error: BaseException | None = None


@dataclass(slots=True)
class Lost:
    """The commit's outcome is unknown: the store has stopped; reopen it and look."""

    error: BaseException


Answer = Accepted | Refusal | Lost


def ignore_answer(_answer: Answer) -> None:
    """For a unit whose answer changes nothing."""


class Unit(msgspec.Struct, eq=False):
    """What one turn or one handling decides: facts and writes, together or not at all.

    `work` runs on the writer, inside the unit's savepoint, before the facts and writes are executed, and may add to
    them; it may run again where the whole transaction has to be begun anew. `work_async` is the same for a coroutine
    function that the submitting loop runs while the writer waits. `expects` names runs and the run_n that each must
    still have, and its epoch; a unit whose expectation fails is refused with "moved".
    """

    # Structs, not dataclasses: they are made for each step, and cost a third. Each gets lists of its own.
    facts: list[NewFact] = []
    writes: list[Write] = []
    expects: dict[str, tuple[int, int]] = {}
    """run -> (run_n, epoch)"""
    work: Callable[[Unit, Scope], None] | None = None
    work_async: Callable[[Unit, AsyncScope], Any] | None = None
    answered: Callable[[Answer], None] = ignore_answer
    result: Any = None
    label: str = ""
    """Who this is, for a log: `handling inventory ReserveStock`."""


class Projection(Protocol):
    """Folds facts into case rows, inside the transaction that writes the facts. Pure; must not raise."""

    version: int

    def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
        """The row of a case after these further facts. `state` is the row's state so far, None for a new case."""
        ...


class CaseRow(msgspec.Struct, frozen=True, gc=False):
    """A case as it is listed and looked up. Times in microseconds; `state` is the projection's own."""

    case: str
    rank: int
    """Of the verdict, worst first, as of the last fact."""
    stuck: bool
    at: str | None
    since: int
    deadline: int | None
    """When its verdict turns overdue if nothing happens."""
    fold: int
    """The projection's version."""
    seq: int
    """The last fact folded."""
    state: bytes


class ObligationRow(msgspec.Struct, frozen=True):
    """A group owes a handling of a message."""

    message: str
    group: str
    type: str
    case: str | None
    seq: int
    """The published fact."""
    position: int
    """Its place in the order of (group, case)."""
    state: str
    """open, delayed, dead, held"""
    attempts: int
    """Failed ones so far."""
    claims: int
    due_at: int
    """Of a retry or a delayed one; 0 for at once."""
    caller: str | None
    """The run that waits for the answer."""
    step: str | None
    barred: int
    """No further attempt begins."""
    late: int
    """Redriven."""
    retry: str | None
    """The call's own retry policy, JSON, where it has one."""


class RunRow(msgspec.Struct, frozen=True):
    """A run of a workflow."""

    run: str
    workflow: str
    case: str
    number: int
    status: str
    """open, stopped (an incident), ended"""
    epoch: int
    run_n: int
    """The last of its facts."""
    wakes_at: int | None
    parent: str | None
    parent_step: str | None
    on_close: str


class MessageRow(msgspec.Struct, frozen=True):
    """A message that this store has taken: where its fact is, and what its body was."""

    id: str
    seq: int
    digest: bytes


class GroupRow(msgspec.Struct, frozen=True):
    """A group that somebody paused or retired."""

    name: str
    state: str
    """paused, retired"""
    since: int
    by: str


class RequestRow(msgspec.Struct, frozen=True):
    """A request owed to the next engine."""

    id: str
    seq: int


class TrailReader(Protocol):
    """Reads facts. Each call is one short read transaction."""

    def list_history(self, run: str) -> list[Fact]:
        """All facts of a run, by run_n."""
        ...

    def list_case_facts(self, case: str, *, after_seq: int = 0, limit: int = 100_000) -> list[Fact]:
        """Facts of a case, its own and those that touch it, by seq."""
        ...

    def find_fact(self, seq: int) -> Fact | None: ...
    def list_facts(self, *, after_seq: int = 0, limit: int = 1_000) -> list[Fact]: ...
    def find_message(self, message_id: str) -> MessageRow | None: ...
    def find_topology(self, version: int | None = None) -> Topology | None:
        """A stored topology; without a version the one in force, which is the one registered last."""
        ...

    def check_chain(self, *, from_seq: int = 1) -> int | None:
        """The seq of the first fact whose head, body or place does not fit the chain; None where all fit."""
        ...


class WorkReader(Protocol):
    """Reads the work tables."""

    def list_obligations(self, *, case: str | None = None) -> list[ObligationRow]:
        """What is owed, of one case or of all, by position."""
        ...

    def find_obligation(self, message: str, group: str) -> ObligationRow | None: ...
    def list_open_runs(self) -> list[RunRow]: ...
    def list_runs(self, case: str, workflow: str | None = None) -> list[RunRow]:
        """Runs of a case, by number."""
        ...

    def find_run(self, run: str) -> RunRow | None: ...
    def list_groups(self) -> list[GroupRow]: ...
    def list_requests(self) -> list[RequestRow]: ...


class CaseReader(Protocol):
    """Reads the folded cases."""

    def find_case(self, case: str) -> CaseRow | None: ...
    def list_cases(
        self, *, ranks: Sequence[int] | None = None, stuck: bool = False, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[CaseRow], str | None]:
        """Cases worst first (rank, then since, then name), and the cursor of the next page.

        `stuck` keeps those marked stuck and those whose deadline has passed by the reader's clock.
        """
        ...

    def list_matching(self, key: str, limit: int = 10) -> list[str]:
        """Names of cases of any type whose key is `key`."""
        ...

    def count_cases(self) -> dict[int, int]:
        """How many cases have each rank."""
        ...


class Store(Protocol):
    """One open store: its single writer, and readers for this process."""

    @property
    def trail(self) -> TrailReader: ...
    @property
    def work(self) -> WorkReader: ...
    @property
    def cases(self) -> CaseReader: ...

    def submit(self, unit: Unit) -> None:
        """Register a unit, at once and in order; its `answered` is called on this loop once it is decided."""
        ...

    async def close(self) -> None:
        """Decide everything submitted, then let go."""
        ...


class Reader(Protocol):
    """A store that somebody else may be writing."""

    @property
    def trail(self) -> TrailReader: ...
    @property
    def work(self) -> WorkReader: ...
    @property
    def cases(self) -> CaseReader: ...

    def close(self) -> None: ...


class OwnedStore(Store, Protocol):
    """A store that this process holds."""

    clean: bool
    """Whether the holder before this one had closed it."""
    app: str
    """The app that made it; empty where none was known."""

    @property
    def socket(self) -> Path:
        """Where the holder is to listen for other processes."""
        ...

    def register_topology(self, topology: Topology) -> Topology:
        """The topology under its number in this store; facts submitted from now on are written under it."""
        ...

    async def refold(self, cases: Sequence[str] | None = None, *, limit: int = 500) -> int:
        """Write cases folded anew: those given, or up to `limit` that another projection folded; returns how many."""
        ...

    @override
    async def close(self, *, clean: bool = True) -> None:
        """Decide everything submitted, then let go; `clean=False` leaves the mark of an earlier crash as it was."""
        ...
