"""The audit: what the work tables and cases say, worked out anew from the facts and compared.

The trail is bound by its chain; the tables beside it are not. Whoever reads a store from beginning to end can tell
whether each of their rows is what the facts come to. Each difference is one sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace
from typing_extensions import TypeVar

from partita.messages.envelope import body_digest, case_of_run
from partita.store.facts import (
    Answered,
    Barred,
    Claimed,
    Dead,
    Discarded,
    DuplicateStart,
    Fact,
    GroupPaused,
    GroupResumed,
    GroupRetired,
    Handled,
    Incident,
    NoRun,
    Published,
    Quarantined,
    Received,
    Redriven,
    Requested,
    Retried,
    Retrying,
    Returned,
    Started,
    Withdrawn,
)
from partita.store.port import (
    CaseReader,
    GroupRow,
    ObligationRow,
    Projection,
    RequestRow,
    RunRow,
    TrailReader,
    WorkReader,
)

PAGE = 5_000
QUARANTINE = "quarantine"

Key = tuple[str, str]
"""Message and group."""


class Shelves(NamedTuple):
    """The readers of a store in which nothing changes meanwhile."""

    trail: TrailReader
    work: WorkReader
    cases: CaseReader


def audit(store: Shelves, projection: Projection) -> Iterator[str]:
    """Yield a sentence for each row that is not what the facts come to, and for each that is missing."""
    expected = _Expected(store.trail)
    after = 0
    while page := store.trail.list_facts(after_seq=after, limit=PAGE):
        for fact in page:
            expected.read(fact)
        after = page[-1].seq
    yield from expected.wrong
    for message in expected.forgotten:
        yield f"message {message} was published, and is not known"
    work = store.work
    runs = {name: row for name in expected.runs if (row := work.find_run(name)) is not None}
    owed = expected.owed.values()
    yield from _compare("obligation", _by_name(owed), _by_name(work.list_obligations()))
    yield from _compare("run", expected.runs, runs)
    yield from _compare("open run", expected.open_runs(), {row.run: row for row in work.list_open_runs()})
    yield from _compare("group", expected.groups, {row.name: row for row in work.list_groups()})
    yield from _compare("request", expected.requests, {row.id: row for row in work.list_requests()})
    yield from _check_cases(store, projection, expected.touched)


R = TypeVar("R")


def _by_name(rows: Iterable[ObligationRow]) -> dict[str, ObligationRow]:
    return {f"{row.group} of {row.message}": row for row in rows}


def _compare(what: str, by_facts: dict[str, R], by_rows: dict[str, R]) -> Iterator[str]:
    for name in by_facts.keys() | by_rows.keys():
        fact, row = by_facts.get(name), by_rows.get(name)
        if fact != row:
            yield f"{what} {name}: the row is {row}, and the facts come to {fact}"


def _check_cases(store: Shelves, projection: Projection, touched: Counter[str]) -> Iterator[str]:
    listed: set[str] = set()
    cursor: str | None = None
    while True:
        rows, cursor = store.cases.list_cases(cursor=cursor, limit=PAGE)
        listed.update(row.case for row in rows)
        if cursor is None:
            break
    for case in touched.keys() | listed:
        facts, row = store.trail.list_case_facts(case), store.cases.find_case(case)
        if len(facts) != touched[case] or any(case not in (fact.case, *fact.also) for fact in facts):
            yield f"case {case} lists {len(facts)} facts, and {touched[case]} name it"
        elif case not in listed or row is None or row != projection.fold(case, None, facts):
            yield f"case {case} is not stored as its facts fold"


class _Expected:
    """What the rows should be, fact by fact."""

    def __init__(self, trail: TrailReader) -> None:
        self._trail = trail
        self.owed: dict[Key, ObligationRow] = {}
        self.runs: dict[str, RunRow] = {}
        self.groups: dict[str, GroupRow] = {}
        self.requests: dict[str, RequestRow] = {}
        self.touched: Counter[str] = Counter()
        """How many facts name each case."""
        self.forgotten: set[str] = set()
        """Messages without a row: those whose whole life is in one unit need none."""
        self.wrong: list[str] = []

    def open_runs(self) -> dict[str, RunRow]:
        """Those that go on."""
        return {name: row for name, row in self.runs.items() if row.status == "open"}

    def read(self, fact: Fact) -> None:
        """Take one more fact."""
        self.touched.update({case for case in (fact.case, *fact.also) if case is not None})
        closes = closed_by(fact)
        if closes is not None:
            self.owed.pop(closes, None)
        self._read_obligation(fact)
        self._read_group(fact)
        if fact.run is not None:
            self._read_run(fact, fact.run)

    def _read_obligation(self, fact: Fact) -> None:
        match fact.body:
            case Published():
                self._read_published(fact, fact.body)
            case Quarantined(id=message, type=name, case=case):
                kept = Published(id=message, type=name, case=case)
                self.owed[message, QUARANTINE] = replace(_owed_by(fact, kept, QUARANTINE), state="dead")
            case Retrying(message=message, group=group, attempt=attempt, due=due) if message:
                self._change((message, group), attempts=attempt, due_at=due, state="open")
            case Claimed(message=message, group=group, count=count) if message:
                self._change((message, group), claims=count)
            case Barred(message=message, group=group):
                self._change((message, group), barred=1)
            case Dead(message=message, group=group, attempts=attempts, held=held):
                self._change((message, group), state="held" if held else "dead", attempts=attempts)
            case Redriven(message=message, group=group):
                again = {"state": "open", "attempts": 0, "claims": 0, "due_at": 0, "late": 1, "position": fact.seq}
                self._change((message, group), **again)
            case Retried(voids=voids):
                self._renew(fact, voids)
            case Handled(message=message, via=str()):
                self.forgotten.discard(message)
            case _:
                pass

    def _change(self, key: Key, **changes: object) -> None:
        row = self.owed.get(key)
        if row is not None:
            self.owed[key] = replace(row, **changes)

    def _read_published(self, fact: Fact, body: Published) -> None:
        known = self._trail.find_message(body.id)
        if known is None:
            self.forgotten.add(body.id)
        elif known.seq != fact.seq or known.digest != body_digest(bytes(body.data)):
            self.wrong.append(f"message {body.id} is known as another than fact {fact.seq}")
        for group in body.owes:
            self.owed[body.id, group] = _owed_by(fact, body, group)

    def _renew(self, fact: Fact, voids: tuple[int, ...]) -> None:
        for one in self._trail.list_history(str(fact.run)):
            if one.run_n not in voids or not isinstance(one.body, Handled | Discarded):
                continue
            known = self._trail.find_message(one.body.message)
            published = None if known is None else self._trail.find_fact(known.seq)
            if published is not None and isinstance(published.body, Published):
                row = _owed_by(published, published.body, one.body.group)
                key = one.body.message, one.body.group
                self.owed[key] = replace(row, position=fact.seq, state="open", due_at=0)

    def _read_group(self, fact: Fact) -> None:
        match fact.body:
            case GroupPaused(group=group, by=by):
                self.groups[group] = GroupRow(group, "paused", fact.at, by)
            case GroupRetired(group=group, by=by):
                self.groups[group] = GroupRow(group, "retired", fact.at, by)
            case GroupResumed(group=group):
                self.groups.pop(group, None)
            case Requested(id=key):
                self.requests[key] = RequestRow(key, fact.seq)
            case Answered(id=key):
                self.requests.pop(key, None)
            case _:
                pass

    def _read_run(self, fact: Fact, run: str) -> None:
        body = fact.body
        if isinstance(body, Started):
            number = int(run.rpartition("/")[2])
            parent = (body.parent, body.parent_step, body.on_close)
            self.runs[run] = RunRow(run, body.workflow, case_of_run(run), number, "open", 0, 0, None, *parent)
        row = self.runs.get(run)
        if row is None:
            return
        status, wakes_at = row.status, row.wakes_at
        if isinstance(body, Returned | Incident):
            status, wakes_at = ("ended" if isinstance(body, Returned) else "stopped"), None
        elif isinstance(body, Retried):
            status = "open"
        elif (now_open := getattr(body, "open", None)) is not None:
            wakes_at = now_open.wakes
        self.runs[run] = replace(row, run_n=fact.run_n or 0, status=status, wakes_at=wakes_at)


def closed_by(fact: Fact) -> Key | None:
    """The obligation that a fact closes, if it does."""
    match fact.body:
        case Handled(message=message, group=group) | Withdrawn(message=message, group=group):
            return message, group
        case Discarded(message=message, group=group) | Received(message=message, group=group):
            return message, group
        case NoRun(message=message, group=group) | DuplicateStart(message=message, group=group):
            return message, group
        case Started(message=str(message), workflow=workflow):
            return message, f"workflow:{workflow}"
        case Redriven(message=message, group="quarantine"):
            return message, QUARANTINE
        case _:
            return None


def _owed_by(fact: Fact, body: Published, group: str) -> ObligationRow:
    state, due = ("open", 0) if body.due is None else ("delayed", body.due)
    called = fact.run is not None and body.command and body.step is not None
    return ObligationRow(
        message=body.id,
        group=group,
        type=body.type,
        case=body.case,
        seq=fact.seq,
        position=fact.seq,
        state=state,
        attempts=0,
        claims=0,
        due_at=due,
        caller=fact.run if called else None,
        step=body.step if called else None,
        barred=0,
        late=0,
        retry=body.retry if called else None,
    )
