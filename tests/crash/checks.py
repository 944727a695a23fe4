"""What must hold of a shop that was killed, whatever was done to it: by its ledger, its store, and its own tables.

Each check yields sentences about what is wrong. The ledger and the acknowledgements are the world's: no store wrote
them.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import msgspec

from partita.clock import SystemClock
from partita.limits import LIMITS
from partita.monitor.cases import Where
from partita.runtime.backends import read
from partita.runtime.look import Look
from partita.store.facts import Fact, Handled, Published
from partita.testing import checkers
from tests.crash import killable


class Line(msgspec.Struct, frozen=True):
    """One request to the world outside."""

    kind: str
    case: str
    key: str


@dataclass(frozen=True, slots=True)
class Books:
    """All that is known of one shop."""

    form: str
    orders: int
    lines: list[Line]
    acknowledged: set[str]
    facts: list[Fact]
    verdicts: dict[str, str]
    free: int | None
    """Of the stock; None where its tables were never made."""
    held: set[str]
    wrong: list[str] = field(default_factory=list[str])
    """What the checkers of the trail say, at any moment."""
    unfit: list[str] = field(default_factory=list[str])
    """What replay says, of runs whose turn is not over as well."""

    @property
    def duplicates(self) -> int:
        """Raw requests beyond the first under a key."""
        return len(self.lines) - len({(line.kind, line.key) for line in self.lines})

    def effects(self) -> dict[tuple[str, str], set[str]]:
        """The keys under which each kind of thing was done for each case."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for line in self.lines:
            found[line.kind, line.case].add(line.key)
        return found


def open_books(form: str, folder: Path, orders: int) -> Books:
    """Read everything of a shop that nobody holds."""
    ledger, acknowledged = folder / killable.LEDGER, folder / killable.ACKNOWLEDGED
    store = folder / killable.STORE
    lines = (
        [msgspec.json.decode(line, type=Line) for line in ledger.read_bytes().splitlines()] if ledger.exists() else []
    )
    names = set(acknowledged.read_text().splitlines()) if acknowledged.exists() else set[str]()
    free, held = read_stock(store)
    books = Books(form, orders, lines, names, [], {}, free, held)
    if has_store(store):
        read_trail(books, store)
    return books


def has_store(store: Path) -> bool:
    """Whether the shop lived long enough to make its store."""
    if not store.exists():
        return False
    with closing(apsw.Connection(os.fspath(store), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return bool(connection.pragma("application_id"))


def read_trail(books: Books, store: Path) -> None:
    """Read the facts and hold them against the store's own tables."""
    clock, app = SystemClock(), killable.FORMS[books.form]
    with closing(read(store, clock=clock)) as reader:
        books.facts.extend(checkers.read_all(reader.trail))
        facts = books.facts
        owed, runs = checkers.Obligations(facts), checkers.list_runs(facts, reader.work)
        books.wrong.extend(
            [
                *checkers.check_numbers(facts, reader.trail),
                *checkers.check_obligations(owed, reader.work),
                *checkers.check_order(facts, app.declared.topology),
                *checkers.check_times(facts, owed),
                *checkers.check_claims(facts, LIMITS.claims_max),
                *checkers.check_cases(facts, reader.trail, reader.cases, reader.work),
            ]
        )
        books.unfit.extend(checkers.check_runs(runs, reader.trail, app.declared.catalog, app.declared.workflows))
        look = Look(reader.trail, reader.work, reader.cases, clock=clock, is_running=lambda: False)
        for number in range(1, books.orders + 1):
            found: Where | None = look.find_where(f"order:{number}")
            books.verdicts[str(number)] = found.verdict if found else ""


def read_stock(store: Path) -> tuple[int | None, set[str]]:
    """What is free, and what is held for whom."""
    if not has_store(store):
        return None, set()
    with closing(apsw.Connection(os.fspath(store), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        made = connection.execute("select 1 from sqlite_schema where name = 'stock_held'").fetchall()
        rows: list[tuple[Any, ...]] = connection.execute("select free from stock_free").fetchall() if made else []
        held = connection.execute("select order_id from stock_held").fetchall() if made else []
        return (rows[0][0] if rows else None), {str(order) for (order,) in held}


def check_always(books: Books) -> list[str]:
    """What holds after every kill, before anybody has started it again."""
    return [sentence for check in ALWAYS for sentence in check(books)]


def check_ended(books: Books) -> list[str]:
    """What holds when every order has come to its end."""
    return [*check_always(books), *(sentence for check in AT_THE_END for sentence in check(books))]


def check_trail(books: Books) -> Iterator[str]:
    """No gap, no broken chain, no table that says something else than the facts."""
    yield from books.wrong


def check_acknowledged(books: Books) -> Iterator[str]:
    """What a customer was told is taken is there, once."""
    placed = Counter(str(fact.case) for fact in books.facts if isinstance(fact.body, Published) and is_placed(fact))
    for key in books.acknowledged:
        if placed[f"order:{key.partition('-')[2]}"] < 1:
            yield f"{key} was acknowledged, and is not there"
    for case, times in placed.items():
        if times > 1:
            yield f"{case} was placed {times} times"


def is_placed(fact: Fact) -> bool:
    """Whether this is an order as it came in."""
    return isinstance(fact.body, Published) and fact.body.type == "Placed"


def check_second_effects(books: Books) -> Iterator[str]:
    """The same request may reach the world twice; another one for the same thing may not."""
    for (kind, case), keys in books.effects().items():
        if len(keys) > 1:
            yield f"{kind} of {case} was done under {len(keys)} keys"


def check_stock(books: Books) -> Iterator[str]:
    """What is free and what is held is what there was."""
    if books.free is not None and books.free + len(books.held) != killable.STOCK:
        yield f"{books.free} are free and {len(books.held)} held, of {killable.STOCK}"


def check_runs(books: Books) -> Iterator[str]:
    """Every run replays to where it is."""
    yield from books.unfit


def check_outcomes(books: Books) -> Iterator[str]:
    """Done: charged, sent, held. Compensated: nothing sent or held, and what was charged is refunded."""
    effects = books.effects()
    failed = {
        fact.body.case for fact in books.facts if isinstance(fact.body, Handled) and fact.body.outcome == "failed"
    }
    for number in map(str, range(1, books.orders + 1)):
        case, verdict = f"order:{number}", books.verdicts.get(number, "")
        done = {kind for kind in ("charge", "refund", "parcel") if (kind, case) in effects}
        if verdict == "done" and (done != {"charge", "parcel"} or number not in books.held):
            yield f"{case} is done, and outside there is {sorted(done)}, held: {number in books.held}"
        elif verdict == "compensated" and (done not in ({"charge", "refund"}, set()) or number in books.held):
            yield f"{case} is compensated, and outside there is {sorted(done)}, held: {number in books.held}"
        elif verdict not in {"done", "compensated"}:
            yield f"{case} is {verdict or 'nowhere'}, and should have come to its end"
        elif (verdict == "compensated") != killable.is_refused(number) and case not in failed:
            yield f"{case} is {verdict}, and nothing says why"


ALWAYS: list[Callable[[Books], Iterator[str]]] = [check_trail, check_acknowledged, check_second_effects, check_stock]
AT_THE_END: list[Callable[[Books], Iterator[str]]] = [check_runs, check_outcomes]
