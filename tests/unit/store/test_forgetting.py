"""What the writer keeps in memory may be forgotten at any time: it is read anew, and goes on where it was."""

from collections.abc import AsyncIterator, Sequence

import pytest

from partita.store import work
from partita.store.audit import Shelves, audit
from partita.store.facts import Fact, NewFact, Started
from partita.store.port import Accepted, CaseRow, Refusal, Unit, Write
from partita.store.sqlite.connection import forget_memory
from tests.conformance.store_desk import Counting, Desk, add_run, published, stepped, together
from tests.unit.store.sqlite_desk import opened

RUNS = [f"fulfil/order:{number}/1" for number in range(5)]


@pytest.fixture(params=[12, 10_000])
async def desk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr("partita.store.sqlite.runs.HEADS_REMEMBERED", request.param)
    monkeypatch.setattr("partita.store.sqlite.folding.STATES_REMEMBERED", request.param)
    monkeypatch.setattr("partita.store.sqlite.names.REMEMBERED", request.param)
    forget_memory("memory:forgetting")
    async with opened("memory:forgetting") as desk:
        await desk.accept(writes=[add_run(f"crowd/crowd:{number}/1") for number in range(30)])
        yield desk
        assert desk.trail.check_chain() is None
        wrong = audit(Shelves(desk.trail, desk.work, desk.cases), Counting())
        assert [one for one in wrong if one.startswith("case")] == []


def started(run: str) -> NewFact:
    return NewFact(Started(workflow="fulfil"), run=run)


async def crowd(desk: Desk) -> None:
    """So many others come that those of before are forgotten, where few are remembered."""
    for number in range(30):
        await desk.accept(stepped(f"crowd/crowd:{number}/1"))


async def start(desk: Desk, runs: Sequence[str] = RUNS) -> None:
    await desk.accept(*map(started, runs), writes=[add_run(run) for run in runs])


def listed(desk: Desk) -> list[str]:
    return [row.case for row in desk.cases.list_cases()[0] if not row.case.startswith("crowd:")]


def heads(desk: Desk) -> list[tuple[int, int, str, int | None]]:
    rows = [desk.work.find_run(run) for run in RUNS]
    return [(row.run_n, row.epoch, row.status, row.wakes_at) for row in rows if row]


async def test_many_runs_are_counted_on_within_a_unit_and_after_it(desk: Desk) -> None:
    await start(desk)
    await crowd(desk)
    await desk.accept(*(stepped(run) for run in RUNS), *(stepped(run) for run in RUNS))
    await desk.accept(*(stepped(run) for run in reversed(RUNS)), expects=dict.fromkeys(RUNS, (3, 0)))
    await crowd(desk)

    assert heads(desk) == [(4, 0, "open", None)] * 5
    for run in RUNS:
        assert [fact.run_n for fact in desk.trail.list_history(run)] == [1, 2, 3, 4]


async def test_what_is_done_to_many_runs_is_read_as_it_was_done(desk: Desk) -> None:
    await start(desk)
    await crowd(desk)
    writes = [Write(work.MOVE_RUN, ("stopped", None, RUNS[0]))]
    writes += [Write(work.MOVE_RUN, ("open", 70 + number, run)) for number, run in enumerate(RUNS[1:], 1)]
    await desk.accept(writes=writes)
    await crowd(desk)
    assert heads(desk) == [(1, 0, "stopped", None), *((1, 0, "open", 70 + number) for number in range(1, 5))]

    await desk.accept(
        *(stepped(run) for run in RUNS),
        writes=[
            Write(work.RESUME_RUN, (RUNS[0],), "not stopped"),
            *(Write(work.MOVE_RUN, ("open", None, run)) for run in RUNS),
        ],
    )
    await crowd(desk)
    assert [row.run for row in desk.work.list_open_runs() if row.run in RUNS] == RUNS
    assert heads(desk) == [(2, 0, "open", None)] * 5
    refused = await desk.refuse(Unit(writes=[Write(work.RESUME_RUN, (RUNS[0],), "not stopped")]))
    assert refused.why == "not stopped"


async def test_epochs_of_many_runs_are_kept(desk: Desk) -> None:
    await desk.accept(writes=[add_run(run) for run in RUNS])
    await crowd(desk)
    await desk.accept(writes=[Write(work.RAISE_EPOCH, (run,)) for run in [*RUNS, *RUNS[:2]]])

    assert [row[1] for row in heads(desk)] == [2, 2, 1, 1, 1]
    await desk.accept(expects={run: (0, epoch) for run, epoch in zip(RUNS, (2, 2, 1, 1, 1), strict=True)})
    await crowd(desk)
    await desk.accept(*map(started, RUNS))


async def test_a_refused_unit_leaves_every_run_as_it_was(desk: Desk) -> None:
    await start(desk, RUNS[:4])
    await crowd(desk)
    late = Write(work.CLOSE_REQUEST, ("r9",), "no such request")
    writes = [*(Write(work.MOVE_RUN, ("stopped", 7, run)) for run in RUNS[:4]), add_run(RUNS[4]), late]
    answers = await together(
        desk,
        Unit(facts=[stepped(run) for run in RUNS[:2]]),
        Unit(facts=[stepped(run) for run in RUNS], writes=writes),
        Unit(facts=[stepped(run) for run in RUNS[1:3]]),
    )

    assert [type(answer) for answer in answers] == [Accepted, Refusal, Accepted]
    assert heads(desk) == [(2, 0, "open", None), (3, 0, "open", None), (2, 0, "open", None), (1, 0, "open", None)]
    assert (await desk.refuse(Unit(facts=[stepped(RUNS[4])]))).why == "no such run"
    await start(desk, RUNS[4:])
    await crowd(desk)
    assert [fact.run_n for fact in desk.trail.list_history(RUNS[4])] == [1]


async def test_one_transaction_may_touch_more_than_is_remembered(desk: Desk) -> None:
    units = [Unit(facts=[stepped(f"crowd/crowd:{number}/1")]) for _ in range(3) for number in range(30)]
    answers = await together(desk, *units)

    assert [answer.recorded[0].run_n for answer in answers if isinstance(answer, Accepted)] == [
        number for number in (1, 2, 3) for _ in range(30)
    ]


async def test_a_run_that_was_refused_is_made_by_a_later_unit_of_the_same_transaction(desk: Desk) -> None:
    late = Write(work.CLOSE_REQUEST, ("r9",), "no such request")
    answers = await together(
        desk,
        Unit(facts=[started(RUNS[0]), stepped(RUNS[2])], writes=[add_run(RUNS[0])]),
        Unit(writes=[add_run(RUNS[0]), late]),
        Unit(facts=[started(RUNS[0])], writes=[add_run(RUNS[0]), add_run(RUNS[1]), late]),
        Unit(facts=[started(RUNS[0]), stepped(RUNS[0])], writes=[add_run(RUNS[0], must="exists")]),
        Unit(facts=[stepped(RUNS[0])], writes=[add_run(RUNS[0], must="exists"), late]),
        Unit(facts=[stepped(RUNS[1])]),
    )
    await crowd(desk)

    assert [answer.why if isinstance(answer, Refusal) else len(answer.recorded) for answer in answers] == [
        "no such run",
        "no such request",
        "no such request",
        2,
        "exists",
        "no such run",
    ]
    assert heads(desk) == [(2, 0, "open", None)]
    assert [fact.run_n for fact in desk.trail.list_history(RUNS[0])] == [1, 2]


async def test_many_cases_are_folded_on_from_where_they_were(desk: Desk) -> None:
    cases = ["order:1", "order:3-stuck", "order:5", "order:5-due", "parcel:5"]
    for _ in range(3):
        await desk.accept(*(published(case) for case in cases), *(published(case, also=("order:9",)) for case in cases))
        await crowd(desk)

    for case in cases:
        row = desk.cases.find_case(case)
        assert row is not None
        assert row.state.split() == [b"published"] * 6
    row = desk.cases.find_case("order:9")
    assert row is not None
    assert row.state.split() == [b"published"] * 15
    assert [row.case for row in desk.cases.list_cases(stuck=True)[0]] == ["order:3-stuck"]


async def test_cases_named_by_runs_before_anything_is_said_keep_their_names(desk: Desk) -> None:
    await desk.accept(writes=[add_run(run) for run in RUNS])
    await crowd(desk)
    assert listed(desk) == []
    await desk.store.refold(["order:1", "order:9"])
    assert listed(desk) == []

    await desk.accept(*(published(f"order:{number}") for number in (3, 1)))
    await crowd(desk)
    await start(desk, ["ship/order:3/1"])
    assert listed(desk) == ["order:1", "order:3"]
    assert [fact.kind for fact in desk.trail.list_case_facts("order:3")] == ["published", "started"]
    assert desk.trail.list_case_facts("order:2") == []
    assert [row.run for row in desk.work.list_runs("order:3")] == [RUNS[3], "ship/order:3/1"]


async def test_what_is_listed_of_a_case_follows_its_last_fact() -> None:
    """Some columns have indexes and are written only where they changed."""

    class Fickle(Counting):
        def fold(self, case: str, state: bytes | None, facts: Sequence[Fact]) -> CaseRow:
            row = super().fold(case, state, facts)
            count = len(row.state.split())
            return CaseRow(
                case,
                rank=(5, 5, 3, 3, 3, 5)[count - 1],
                stuck=count in {3, 4},
                at=f"fact {count}",
                since=count // 2,
                deadline=(None, 7, 7, 7, 8, None)[count - 1],
                fold=1,
                seq=facts[-1].seq,
                state=row.state,
            )

    rows = []
    forget_memory("memory:forgetting")
    async with opened("memory:forgetting", projection=Fickle()) as desk:
        for _ in range(6):
            await desk.accept(published())
            rows.append(desk.cases.find_case("order:1"))
            assert desk.cases.list_cases()[0] == rows[-1:]
    forget_memory("memory:forgetting")

    assert [(row.rank, row.stuck, row.since, row.deadline, row.at) for row in rows if row] == [
        (5, False, 0, None, "fact 1"),
        (5, False, 1, 7, "fact 2"),
        (3, True, 1, 7, "fact 3"),
        (3, True, 2, 7, "fact 4"),
        (3, False, 2, 8, "fact 5"),
        (5, False, 3, None, "fact 6"),
    ]
