"""What the tests of a store share: a clock that stands still, a projection that counts, a desk to hand units in at."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Protocol

from msgspec import Raw

from partita.messages.topology import Topology
from partita.store import work
from partita.store.body import Body
from partita.store.facts import Fact, NewFact, Published, Started, Stepped
from partita.store.port import (
    Accepted,
    Answer,
    CaseReader,
    CaseRow,
    Refusal,
    Scope,
    TrailReader,
    Unit,
    WorkReader,
    Write,
)

NOW = 1_790_000_000_000_000
RUN = "fulfil/order:1/1"
MESSAGE = "0123456789abcdef0123456789abcdef"
DIGEST = b"0123456789abcdef"


class Whispered(Body, frozen=True, kw_only=True):
    """A fact of a release that is newer than this one."""

    kind: ClassVar[str] = "whispered"
    text: str


class SetClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.us = NOW
        self._ids = itertools.count(1)

    def now_us(self) -> int:
        return self.us

    async def sleep(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)

    def new_id(self) -> str:
        return f"{next(self._ids):032x}"

    def chance(self) -> float:
        return 0.5


class Counting:
    """Folds a case to the kinds of its facts, with the version's mark; its rank is in its key, as in `order:3-x`."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.folds: list[tuple[str, int]] = []
        self.told: list[tuple[str, Fact]] = []

    def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
        self.folds.append((case, len(facts)))
        self.told.extend((case, fact) for fact in facts)
        before = b"" if state is None else state
        kinds = [*before.decode().split(), *(fact.kind + "+" * (self.version - 1) for fact in facts)]
        key = case.partition(":")[2]
        return CaseRow(
            case,
            rank=int(key[0]) if key[:1].isdigit() else 4,
            stuck=key.endswith("-stuck"),
            at=facts[-1].kind,
            since=facts[-1].at,
            deadline=NOW + 60 if key.endswith("-due") else None,
            fold=self.version,
            seq=facts[-1].seq,
            state=" ".join(kinds).encode(),
        )


class OpenStore(Protocol):
    """The port, and what the composition root asks of a store beside it."""

    trail: TrailReader
    work: WorkReader
    cases: CaseReader
    clean: bool

    def submit(self, unit: Unit) -> None: ...
    async def close(self) -> None: ...
    def abandon(self) -> None: ...
    def register_topology(self, topology: Topology) -> Topology: ...
    async def refold(self, cases: Sequence[str] | None = None) -> int: ...


class Desk:
    """Hands units in, and waits for what is decided."""

    def __init__(self, store: OpenStore) -> None:
        self.take(store)

    def take(self, store: OpenStore) -> None:
        self.store = store
        self.trail, self.work, self.cases = store.trail, store.work, store.cases

    def submit(self, unit: Unit) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        unit.answered = answer.set_result
        self.store.submit(unit)
        return answer

    async def decide(self, unit: Unit) -> Answer:
        async with asyncio.timeout(10):
            return await self.submit(unit)

    async def accept(self, *facts: NewFact, writes: Sequence[Write] = (), **more: Any) -> Accepted:
        answer = await self.decide(Unit(facts=list(facts), writes=list(writes), **more))
        assert isinstance(answer, Accepted), answer
        return answer

    async def refuse(self, unit: Unit) -> Refusal:
        answer = await self.decide(unit)
        assert isinstance(answer, Refusal), answer
        return answer

    async def start_run(self, run: str = RUN) -> Accepted:
        return await self.accept(NewFact(Started(workflow="fulfil"), run=run), writes=[add_run(run)])


def published(case: str | None = "order:1", message: str = MESSAGE, **more: Any) -> NewFact:
    return NewFact(Published(id=message, type="OrderPlaced"), case=case, **more)


def stepped(run: str = RUN, **more: Any) -> NewFact:
    return NewFact(Stepped(step="fulfil/reserve#1", value=Raw(b'"done"')), run=run, **more)


def add_run(run: str = RUN, must: str | None = None) -> Write:
    case = run.split("/")[1]
    return Write(work.ADD_RUN, (run, "fulfil", case, int(run.split("/")[2]), None, None, "wait"), must)


def know(message: str = MESSAGE, must: str | None = "known") -> Write:
    return Write(work.KNOW_MESSAGE, (message, DIGEST), must, 0)


def owe(message: str = MESSAGE, group: str = "inventory", state: str = "open") -> Write:
    params = (message, group, "OrderPlaced", "order:1", state, 0, None, None, None)
    return Write(work.OPEN_OBLIGATION, params, None, 0)


def on(op: str, *before: Any, must: str | None = "not there") -> Write:
    return Write(op, (*before, MESSAGE, "inventory"), must)


async def together(desk: Desk, *units: Unit) -> list[Answer]:
    """Units submitted in one go, so that they may share a transaction."""
    answers: list[Awaitable[Answer]] = [desk.submit(unit) for unit in units]
    async with asyncio.timeout(10):
        return list(await asyncio.gather(*answers))


def make_notes(scope: Scope) -> None:
    scope.tx.execute("create table if not exists shop_note (text)")


def note(text: str) -> Callable[[Unit, Scope], None]:
    def act(_unit: Unit, scope: Scope) -> None:
        scope.tx.execute("insert into shop_note values (?)", text)

    return act


async def notes(desk: Desk) -> list[str]:
    def act(unit: Unit, scope: Scope) -> None:
        unit.result = [row["text"] for row in scope.tx.list_rows("select text from shop_note order by rowid")]

    answer = await desk.accept(work=act)
    found: list[str] = answer.result
    return found
