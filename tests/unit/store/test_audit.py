"""The audit: quiet where every row is what the facts come to, and one sentence for each row that is not."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace
from typing_extensions import override

from partita.messages.envelope import body_digest
from partita.store import audit as auditing
from partita.store import work
from partita.store.audit import Shelves, audit, closed_by
from partita.store.body import Open
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
    NewFact,
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
    Stepped,
    Waiting,
    Withdrawn,
)
from partita.store.port import CaseRow, ObligationRow, TrailReader, Write
from partita.store.sqlite.connection import forget_memory
from tests.conformance.store_desk import MESSAGE, NOW, RUN, Counting, Desk
from tests.unit.store.sqlite_desk import opened

DATA = b'{"sku":1}'
OTHER = "f" * 32
KEY: dict[str, Any] = {"message": MESSAGE, "group": "inventory", "type": "OrderPlaced"}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with opened("memory:audit") as desk:
        yield desk
    forget_memory("memory:audit")


def look(desk: Desk, **readers: Any) -> list[str]:
    found: dict[str, Any] = {"trail": desk.trail, "work": desk.work, "cases": desk.cases} | readers
    return list(audit(Shelves(**found), Counting()))


def say(body: Any, *, case: str | None = "order:1", run: str | None = None, **more: Any) -> NewFact:
    return NewFact(body, case=None if run else case, run=run, **more)


def place(*owes: str, message: str = MESSAGE, run: str | None = None, **more: Any) -> NewFact:
    body = {"type": "OrderPlaced", "case": "order:1", "data": Raw(DATA)} | more
    return say(Published(id=message, owes=owes, **body), run=run)


def know(message: str = MESSAGE, fact: int = 0) -> Write:
    return Write(work.KNOW_MESSAGE, (message, body_digest(DATA)), None, fact)


def owe(group: str = "inventory", message: str = MESSAGE, fact: int = 0, **more: Any) -> Write:
    row = {"type": "OrderPlaced", "state": "open", "due": 0, "caller": None, "step": None, "retry": None} | more
    rest = (row["type"], "order:1", row["state"], row["due"], row["caller"], row["step"], row["retry"])
    return Write(work.OPEN_OBLIGATION, (message, group, *rest), None, fact)


def on(op: str, *before: Any, group: str = "inventory", fact: int | None = None) -> Write:
    return Write(op, (*before, MESSAGE, group), None, fact)


def add(run: str = RUN, *parent: str | None) -> Write:
    workflow, case, number = run.split("/")
    return Write(work.ADD_RUN, (run, workflow, case, int(number), *(parent or (None, None, "wait"))))


def move(status: str, wakes_at: int | None, run: str = RUN) -> Write:
    return Write(work.MOVE_RUN, (status, wakes_at, run))


def quarantined() -> tuple[NewFact, list[Write]]:
    body = Quarantined(id=MESSAGE, type="Odd", case="order:1", reason="no JSON", raw="eA==")
    return say(body), [owe("quarantine", type="Odd", state="dead")]


@dataclass
class Life:
    """What was so before; what is said then, with what is written for it; which row differs where it is not."""

    name: str
    said: Sequence[NewFact]
    writes: Sequence[Write]
    differs: str
    before: Sequence[tuple[Sequence[NewFact], Sequence[Write]]] = ()


Before = tuple[Sequence[NewFact], Sequence[Write]]
PLACED: Before = [place("inventory")], [know(), owe()]
DEAD: Before = [say(Dead(**KEY, attempts=3))], [on(work.KILL_OBLIGATION, "dead", 3)]
HELD: Before = [say(Dead(**KEY, attempts=3, held=True))], [on(work.KILL_OBLIGATION, "held", 3)]
BUSY: Before = (
    [say(Retrying(**KEY, attempt=2, due=NOW + 9)), say(Claimed(**KEY, count=1))],
    [on(work.PUT_OFF_OBLIGATION, 2, NOW + 9), on(work.CLAIM_OBLIGATION)],
)
RUNNING: Before = [say(Started(workflow="fulfil"), run=RUN)], [add()]
WAITING: Before = [say(Waiting(open=Open(wakes=NOW + 5)), run=RUN)], [move("open", NOW + 5)]
STOPPED: Before = [say(Incident(error="E", text="e"), run=RUN)], [move("stopped", None)]
OWED = f"obligation inventory of {MESSAGE}: "
ROW = f"run {RUN}: "

LIVES = [
    Life("owed by two", [place("inventory", "billing")], [know(), owe(), owe("billing")], OWED),
    Life("delayed", [place("inventory", due=NOW + 5)], [know(), owe(state="delayed", due=NOW + 5)], OWED),
    Life(
        "a run's call, with its caller and its policy",
        [place("inventory", run=RUN, command=True, step="reserve#1", retry="{}")],
        [know(), owe(caller=RUN, step="reserve#1", retry="{}")],
        OWED,
        [RUNNING],
    ),
    Life(
        "a run's event, for which nobody waits",
        [place("inventory", run=RUN, step="publish#1", retry="{}")],
        [know(), owe()],
        OWED,
        [RUNNING],
    ),
    Life(
        "a run's command that is no step of it",
        [place("inventory", run=RUN, command=True, retry="{}")],
        [know(), owe()],
        OWED,
        [RUNNING],
    ),
    Life("a command of no run", [place("inventory", command=True, step="s", retry="{}")], [know(), owe()], OWED),
    Life(
        "an attempt failed",
        [say(Retrying(**KEY, attempt=2, due=NOW + 9))],
        [on(work.PUT_OFF_OBLIGATION, 2, NOW + 9)],
        OWED,
        [PLACED],
    ),
    Life(
        "an attempt of a delayed one failed",
        [say(Retrying(**KEY, attempt=1, due=NOW + 9))],
        [on(work.PUT_OFF_OBLIGATION, 1, NOW + 9)],
        OWED,
        [([place("inventory", due=NOW + 5)], [know(), owe(state="delayed", due=NOW + 5)])],
    ),
    Life("claimed", [say(Claimed(**KEY, count=1))], [on(work.CLAIM_OBLIGATION)], OWED, [PLACED]),
    Life("barred", [say(Barred(**KEY))], [on(work.BAR_OBLIGATION)], OWED, [PLACED]),
    Life("dead", *DEAD, OWED, [PLACED]),
    Life("held", *HELD, OWED, [PLACED]),
    Life(
        "redriven",
        [say(Redriven(message=MESSAGE, group="inventory"))],
        [on(work.REOPEN_OBLIGATION, fact=0)],
        OWED,
        [PLACED, BUSY, DEAD],
    ),
    Life("handled", [say(Handled(**KEY))], [on(work.CLOSE_OBLIGATION)], OWED, [PLACED]),
    Life("withdrawn", [say(Withdrawn(**KEY))], [on(work.CLOSE_OBLIGATION)], OWED, [PLACED]),
    Life("discarded", [say(Discarded(**KEY))], [on(work.DISCARD_OBLIGATION)], OWED, [PLACED, DEAD]),
    Life("received", [say(Received(**KEY), run=RUN)], [on(work.CLOSE_OBLIGATION)], OWED, [RUNNING, PLACED]),
    Life("no run", [say(NoRun(**KEY, workflow="fulfil"))], [on(work.CLOSE_OBLIGATION)], OWED, [PLACED]),
    Life(
        "a second start",
        [say(DuplicateStart(**KEY, workflow="fulfil", run=RUN))],
        [on(work.CLOSE_OBLIGATION)],
        OWED,
        [PLACED],
    ),
    Life(
        "a message that starts a run",
        [say(Started(workflow="fulfil", message=MESSAGE), run=RUN)],
        [add(), on(work.CLOSE_OBLIGATION, group="workflow:fulfil")],
        f"obligation workflow:fulfil of {MESSAGE}: ",
        [([place("workflow:fulfil")], [know(), owe("workflow:fulfil")])],
    ),
    Life("quarantined", [quarantined()[0]], quarantined()[1], f"obligation quarantine of {MESSAGE}: "),
    Life(
        "let out of quarantine",
        [say(Redriven(message=MESSAGE, group="quarantine"))],
        [on(work.DISCARD_OBLIGATION, group="quarantine")],
        f"obligation quarantine of {MESSAGE}: ",
        [([quarantined()[0]], quarantined()[1])],
    ),
    Life(
        "a run that was told of a failure goes on, and its call is owed anew",
        [say(Retried(voids=(3,)), run=RUN)],
        [
            Write(
                work.RENEW_OBLIGATION, (MESSAGE, "inventory", "OrderPlaced", "order:1", RUN, "r#1", "{}", 2), None, 0
            ),
            Write(work.RESUME_RUN, (RUN,)),
        ],
        OWED,
        [
            RUNNING,
            (
                [place("inventory", run=RUN, command=True, step="r#1", retry="{}")],
                [know(), owe(caller=RUN, step="r#1", retry="{}")],
            ),
            ([say(Handled(**KEY, outcome="failed", step="r#1"), run=RUN)], [on(work.CLOSE_OBLIGATION)]),
            STOPPED,
        ],
    ),
    Life(
        "paused",
        [say(GroupPaused(group="card", by="me"), case=None)],
        [Write(work.SET_GROUP, ("card", "paused", NOW, "me"))],
        "group card: ",
    ),
    Life(
        "retired",
        [say(GroupRetired(group="card", by="me"), case=None)],
        [Write(work.SET_GROUP, ("card", "retired", NOW, "me"))],
        "group card: ",
    ),
    Life(
        "resumed",
        [say(GroupResumed(group="card"), case=None)],
        [Write(work.CLEAR_GROUP, ("card",))],
        "group card: ",
        [
            (
                [say(GroupPaused(group="card", by="me"), case=None)],
                [Write(work.SET_GROUP, ("card", "paused", NOW, "me"))],
            )
        ],
    ),
    Life(
        "asked for",
        [say(Requested(request=Raw(b"{}"), id="r1", op="start"), case=None)],
        [Write(work.OWE_REQUEST, ("r1",), None, 0)],
        "request r1: ",
    ),
    Life(
        "answered",
        [say(Answered(id="r1"), case=None)],
        [Write(work.CLOSE_REQUEST, ("r1",))],
        "request r1: ",
        [
            (
                [say(Requested(request=Raw(b"{}"), id="r1", op="start"), case=None)],
                [Write(work.OWE_REQUEST, ("r1",), None, 0)],
            )
        ],
    ),
    Life("a run that waits", *WAITING, ROW, [RUNNING]),
    Life(
        "a run that waits no more",
        [say(Stepped(step="s#1", open=Open()), run=RUN)],
        [move("open", None)],
        ROW,
        [RUNNING, WAITING],
    ),
    Life("a run that ended", [say(Returned(), run=RUN)], [move("ended", None)], ROW, [RUNNING, WAITING]),
    Life("a run that stopped", *STOPPED, ROW, [RUNNING, WAITING]),
    Life("a run that goes on", [say(Retried(), run=RUN)], [Write(work.RESUME_RUN, (RUN,))], ROW, [RUNNING, STOPPED]),
]
CALLED: Before = (
    [place("inventory", run=RUN, command=True, step="r#1", due=NOW + 5)],
    [know(), owe(caller=RUN, step="r#1", state="delayed", due=NOW + 5)],
)
FAILED: Before = [say(Handled(**KEY, outcome="failed", step="r#1"), run=RUN)], [on(work.CLOSE_OBLIGATION)]
RENEWED: Before = (
    [say(Retried(voids=(3,)), run=RUN)],
    [
        Write(work.RENEW_OBLIGATION, (MESSAGE, "inventory", "OrderPlaced", "order:1", RUN, "r#1", None, 2), None, 0),
        Write(work.RESUME_RUN, (RUN,)),
    ],
)
QUIET = [
    Life("a delayed call that is owed anew, at once", *RENEWED, "", [RUNNING, CALLED, FAILED, STOPPED]),
    Life("a call that was owed anew and is handled", *FAILED, "", [RUNNING, CALLED, FAILED, STOPPED, RENEWED]),
    Life(
        "a completion that is void, of a message nobody knows",
        [say(Retried(voids=(3,)), run=RUN)],
        [Write(work.RESUME_RUN, (RUN,))],
        "",
        [RUNNING, ([place(run=RUN), say(Handled(**KEY, via="x"), run=RUN)], []), STOPPED],
    ),
    Life("a group goes on that was not paused", [say(GroupResumed(group="card"), case=None)], [], ""),
    Life("an answer to what was not asked here", [say(Answered(id="r1"), case=None)], [], ""),
    Life(
        "a child",
        [say(Started(workflow="ship", parent=RUN, parent_step="ship#1", on_close="abandon"), run="ship/parcel:1/12")],
        [add("ship/parcel:1/12", RUN, "ship#1", "abandon")],
        "",
    ),
    Life(
        "a step that says nothing of what its run waits for",
        [say(Stepped(step="s#1"), run=RUN)],
        [],
        "",
        [RUNNING, WAITING],
    ),
    Life(
        "a step's retry and claim, which owe nothing",
        [say(Retrying(step="s#1"), run=RUN), say(Claimed(step="s#1"), run=RUN)],
        [],
        "",
        [RUNNING, PLACED],
    ),
    Life("a message that was published and handled in one unit", [place(), say(Handled(**KEY, via="billing"))], [], ""),
    Life(
        "what became of an obligation that is closed",
        [say(Dead(**KEY))],
        [],
        "",
        [PLACED, ([say(Handled(**KEY))], [on(work.CLOSE_OBLIGATION)])],
    ),
    Life(
        "void completions that were no handlings",
        [say(Retried(voids=(2,)), run=RUN)],
        [Write(work.RESUME_RUN, (RUN,))],
        "",
        [RUNNING, ([say(Stepped(step="s#1"), run=RUN)], []), STOPPED],
    ),
    Life(
        "a retry that voids nothing",
        [say(Retried(), run=RUN)],
        [Write(work.RESUME_RUN, (RUN,))],
        "",
        [RUNNING, PLACED, ([say(Handled(**KEY), run=RUN)], [on(work.CLOSE_OBLIGATION)]), STOPPED],
    ),
]


async def live(desk: Desk, *steps: Before) -> None:
    for said, writes in steps:
        await desk.accept(*said, writes=writes)


@pytest.mark.parametrize("life", [*LIVES, *QUIET], ids=lambda life: life.name)
async def test_rows_that_follow_from_their_facts_are_well(desk: Desk, life: Life) -> None:
    await live(desk, *life.before)
    await live(desk, (life.said, life.writes))

    assert look(desk) == []


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.name)
async def test_a_row_that_did_not_follow_is_named(desk: Desk, life: Life) -> None:
    await live(desk, *life.before)
    assert look(desk) == []
    kept = [write for write in life.writes if write.op in {work.KNOW_MESSAGE, work.ADD_RUN, work.RESUME_RUN}]
    await live(desk, (life.said, kept if len(kept) < len(life.writes) else []))

    assert any(one.startswith(life.differs) for one in look(desk)), look(desk)


async def test_a_difference_shows_both_sides(desk: Desk) -> None:
    await live(desk, ([place("inventory")], [know()]), ([], [Write(work.SET_GROUP, ("card", "paused", NOW, "me"))]))

    row = ObligationRow(MESSAGE, "inventory", "OrderPlaced", "order:1", 1, 1, "open", 0, 0, 0, None, None, 0, 0, None)
    assert look(desk) == [
        f"obligation inventory of {MESSAGE}: the row is None, and the facts come to {row}",
        f"group card: the row is {desk.work.list_groups()[0]}, and the facts come to None",
    ]


async def test_a_run_that_no_fact_began_is_named(desk: Desk) -> None:
    await live(desk, ([say(Stepped(step="s#1"), run=RUN)], [add()]))

    (said,) = look(desk)
    assert said.startswith(f"open run {RUN}: the row is RunRow(")


async def test_a_run_without_a_row_is_named(desk: Desk) -> None:
    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return {"find_run": lambda _run: None}.get(name) or getattr(desk.work, name)

    await live(desk, RUNNING)

    (said,) = look(desk, work=Forgetful())
    assert said.startswith(f"run {RUN}: the row is None, and the facts come to RunRow(")


# Messages.


async def test_a_message_that_is_not_known_is_named(desk: Desk) -> None:
    await live(desk, ([place(), place(message=OTHER)], [know(OTHER, 1)]))

    assert look(desk) == [f"message {MESSAGE} was published, and is not known"]


async def test_a_message_handled_later_has_to_be_known(desk: Desk) -> None:
    await live(desk, ([place()], []), ([say(Handled(**KEY))], []))

    assert look(desk) == [f"message {MESSAGE} was published, and is not known"]


async def test_a_message_known_with_another_body_is_named(desk: Desk) -> None:
    await live(desk, ([place(data=Raw(b"{}"))], [know()]))

    assert look(desk) == [f"message {MESSAGE} is known as another than fact 1"]


async def test_a_message_known_by_another_fact_is_named(desk: Desk) -> None:
    await live(desk, ([place(), place(message=OTHER)], [know(), know(OTHER)]))

    assert look(desk) == [f"message {OTHER} is known as another than fact 2"]


# Cases.


class Lying:
    """A trail that lists other facts of a case than there are."""

    def __init__(self, trail: TrailReader, lie: Any) -> None:
        self._trail, self._lie = trail, lie

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trail, name)

    def list_case_facts(self, case: str) -> list[Fact]:
        found: list[Fact] = self._lie(case, self._trail.list_case_facts(case))
        return found


async def test_a_fact_counts_once_for_each_case_that_it_names(desk: Desk) -> None:
    await live(desk, ([say(Stepped(step="s"), also=("order:1", "parcel:1")), say(Stepped(step="s"), case=None)], []))

    assert look(desk) == []


async def test_a_case_that_lists_too_few_facts_is_named(desk: Desk) -> None:
    await live(desk, ([place(), place()], [know()]), ([say(Stepped(step="s"), case="order:2")], []))

    lying = Lying(desk.trail, lambda case, facts: facts[:1])
    assert [one for one in look(desk, trail=lying) if one.startswith("case")] == [
        "case order:1 lists 1 facts, and 2 name it"
    ]


async def test_a_case_that_lists_the_facts_of_another_is_named(desk: Desk) -> None:
    await live(desk, ([say(Stepped(step="s")), say(Stepped(step="s"), case="order:2")], []))

    other = desk.trail.list_case_facts("order:2")
    lying = Lying(desk.trail, lambda case, facts: other)
    assert look(desk, trail=lying) == ["case order:1 lists 1 facts, and 1 name it"]


class Folded:
    """Cases that are kept, but for what is said otherwise."""

    def __init__(self, desk: Desk, rows: dict[str, CaseRow | None], *, listed: bool = True) -> None:
        self._desk, self._rows, self._listed = desk, rows, listed

    def find_case(self, case: str) -> CaseRow | None:
        return self._rows[case] if case in self._rows else self._desk.cases.find_case(case)

    def list_cases(self, *, cursor: str | None, limit: int) -> tuple[list[CaseRow], str | None]:
        rows, cursor = self._desk.cases.list_cases(cursor=cursor, limit=limit)
        more = [row for row in self._rows.values() if row is not None] if cursor is None else []
        return [row for row in rows if row.case not in self._rows] + (more if self._listed else []), cursor


async def test_a_case_that_is_not_as_its_facts_fold_is_named(desk: Desk) -> None:
    await live(desk, ([say(Stepped(step="s")), say(Stepped(step="s"), case="order:2")], []))
    said = ["case order:1 is not stored as its facts fold"]
    row = desk.cases.find_case("order:1")
    assert row is not None
    another = CaseRow("order:1", 4, stuck=True, at="stepped", since=NOW, deadline=None, fold=1, seq=1, state=row.state)

    assert look(desk, cases=Folded(desk, {"order:1": None})) == said
    assert look(desk, cases=Folded(desk, {"order:1": row}, listed=False)) == said
    assert look(desk, cases=Folded(desk, {"order:1": another})) == said
    assert look(desk, cases=Folded(desk, {"order:1": row})) == []


async def test_a_case_of_which_no_fact_speaks_is_named(desk: Desk) -> None:
    row = CaseRow("order:9", 4, stuck=False, at=None, since=0, deadline=None, fold=1, seq=0, state=b"")

    class Speechless(Counting):
        @override
        def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
            return super().fold(case, state, facts) if facts else replace(row, rank=7)

    folded: Any = Folded(desk, {"order:9": row})
    (said,) = audit(Shelves(desk.trail, desk.work, folded), Speechless())
    assert said == "case order:9 is not stored as its facts fold"


# Pages.


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_a_store_is_read_to_its_end_page_by_page(desk: Desk, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(auditing, "PAGE", page)
    await live(desk, *(([say(Stepped(step="s"), case=f"order:{n}")], []) for n in range(5)))
    assert look(desk) == []

    await live(desk, ([place()], []))
    assert look(desk) == [f"message {MESSAGE} was published, and is not known"]


def test_what_closes_nothing_closes_nothing() -> None:
    def fact(body: Any) -> Fact:
        return Fact(seq=1, source="s/1", n=1, kind=body.kind, at=NOW, body=body)

    assert closed_by(fact(Published(id=MESSAGE, type="OrderPlaced"))) is None
    assert closed_by(fact(Started(workflow="fulfil"))) is None
    assert closed_by(fact(Redriven(message=MESSAGE, group="inventory"))) is None
    assert closed_by(fact(Redriven(message=MESSAGE, group="quarantine"))) == (MESSAGE, "quarantine")
