"""What every store has to promise: one suite, run on each backend and each way of driving it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from partita.messages.envelope import Cause
from partita.messages.topology import MessageEntry, Topology
from partita.store import work
from partita.store.facts import NewFact, Published, Started, Unread
from partita.store.port import (
    Accepted,
    Answer,
    AsyncScope,
    Projection,
    Recorded,
    Refusal,
    Scope,
    Unit,
    Write,
)
from tests.conformance.store_desk import (
    DIGEST,
    MESSAGE,
    NOW,
    RUN,
    Counting,
    Desk,
    OpenStore,
    SetClock,
    Whispered,
    add_run,
    know,
    make_notes,
    note,
    notes,
    on,
    owe,
    published,
    stepped,
    together,
)


class StoreSuite:
    """Subclasses say how their store is opened at a place, and at which place."""

    clock: SetClock
    projection: Counting

    @pytest.fixture
    def place(self, tmp_path: Path) -> str | Path:
        raise NotImplementedError

    def open(self, place: str | Path, *, clock: SetClock, projection: Projection) -> OpenStore:
        raise NotImplementedError

    @asynccontextmanager
    async def at(self, place: str | Path, *, version: int = 1) -> AsyncIterator[Desk]:
        self.projection = Counting(version)
        store = self.open(place, clock=self.clock, projection=self.projection)
        try:
            yield Desk(store)
        finally:
            await store.close()

    @pytest.fixture
    async def desk(self, place: str | Path) -> AsyncIterator[Desk]:
        self.clock = SetClock()
        async with self.at(place) as desk:
            yield desk
            assert desk.trail.check_chain() is None, "whatever a test does, the chain holds"

    # Facts.

    async def test_a_fact_is_given_its_place_in_the_trail_its_source_and_its_run(self, desk: Desk) -> None:
        await desk.accept(published())
        started = await desk.start_run()
        both = await desk.accept(stepped(), stepped())

        assert [one.seq for one in started.recorded + both.recorded] == [2, 3, 4]
        assert [one.run_n for one in started.recorded + both.recorded] == [1, 2, 3]
        assert [(fact.n, fact.seq) for fact in desk.trail.list_facts()] == [(1, 1), (2, 2), (3, 3), (4, 4)]
        assert len({fact.source for fact in desk.trail.list_facts()}) == 1

    async def test_a_fact_is_read_as_it_was_said(self, desk: Desk) -> None:
        await desk.start_run()
        body = Published(id=MESSAGE, type="Gänse", data=Raw(b'{"a":[1,"\\u0000"]}'), owes=("inventory",), due=NOW)
        cause = Cause(MESSAGE, "inventory", 2)
        await desk.accept(NewFact(body, run=RUN, causes=(cause,), also=("customer:7", "parcel:ä"), at=NOW - 5))

        fact = desk.trail.find_fact(2)

        assert fact is not None
        assert isinstance(fact.body, Published)
        assert bytes(fact.body.data) == b'{"a":[1,"\\u0000"]}'
        assert (fact.body.type, fact.body.owes, fact.body.due) == ("Gänse", ("inventory",), NOW)
        assert (fact.kind, fact.at, fact.case, fact.run, fact.run_n) == ("published", NOW - 5, "order:1", RUN, 2)
        assert (fact.also, fact.causes, fact.code) == (("customer:7", "parcel:ä"), (cause,), 0)

    async def test_a_history_is_the_facts_of_one_run_in_order(self, desk: Desk) -> None:
        await desk.start_run()
        await desk.start_run("fulfil/order:2/1")
        for _ in range(3):
            await desk.accept(stepped("fulfil/order:2/1"), stepped())

        assert [fact.run_n for fact in desk.trail.list_history(RUN)] == [1, 2, 3, 4]
        assert {fact.run for fact in desk.trail.list_history(RUN)} == {RUN}
        assert desk.trail.list_history("fulfil/order:3/1") == []

    async def test_the_facts_of_a_case_are_its_own_and_those_that_touch_it(self, desk: Desk) -> None:
        await desk.accept(published("order:1"), published("order:2"), published("parcel:1", also=("order:1",)))

        assert [fact.seq for fact in desk.trail.list_case_facts("order:1")] == [1, 3]
        assert [fact.seq for fact in desk.trail.list_case_facts("order:1", after_seq=1)] == [3]
        assert [fact.seq for fact in desk.trail.list_case_facts("order:1", limit=1)] == [1]
        assert desk.trail.list_case_facts("order:3") == []

    async def test_a_fact_that_names_a_run_belongs_to_its_case_and_touches_the_one_it_names(self, desk: Desk) -> None:
        await desk.start_run()
        await desk.accept(stepped(case="payment:9"))

        fact = desk.trail.list_history(RUN)[-1]
        assert (fact.case, fact.also) == ("order:1", ("payment:9",))
        assert desk.trail.list_case_facts("payment:9") == [fact]

    async def test_a_fact_of_no_case_is_in_the_trail_all_the_same(self, desk: Desk) -> None:
        await desk.accept(published(None))

        assert [fact.case for fact in desk.trail.list_facts()] == [None]

    async def test_a_fact_has_the_writers_time_which_never_goes_back(self, desk: Desk) -> None:
        first = await desk.accept(published())
        self.clock.us -= 1_000_000
        second = await desk.accept(published())

        assert [first.recorded[0].at, second.recorded[0].at] == [NOW, NOW]

    async def test_a_time_that_is_given_may_lie_in_the_past_and_not_in_the_future(self, desk: Desk) -> None:
        answer = await desk.accept(published(at=NOW - 10), published(at=NOW + 10), published())

        assert [one.at for one in answer.recorded] == [NOW - 10, NOW, NOW]

    async def test_a_fact_of_an_unknown_kind_is_kept_and_read_as_unread(self, desk: Desk) -> None:
        await desk.accept(NewFact(Whispered(text="psst"), case="order:1"))

        fact = desk.trail.find_fact(1)
        assert fact is not None
        assert fact.kind == "whispered"
        assert isinstance(fact.body, Unread)
        assert (fact.body.name, bytes(fact.body.raw)) == ("whispered", b'{"text":"psst"}')

    async def test_a_case_without_a_type_is_refused(self, desk: Desk) -> None:
        refusal = await desk.refuse(Unit(facts=[published("12345")]))

        assert "type:key" in str(refusal.error)

    # What refuses a unit, and only it.

    async def test_a_guard_that_does_not_hold_refuses_the_unit_with_its_word(self, desk: Desk) -> None:
        await desk.accept(published(), writes=[know()])

        refusal = await desk.refuse(Unit(facts=[published()], writes=[know(must="seen before")]))

        assert (refusal.why, refusal.error) == ("seen before", None)

    async def test_a_refused_unit_leaves_nothing_and_refuses_nobody_else(self, desk: Desk) -> None:
        await desk.start_run()
        other = "f" * 32
        late = [
            know(other, None),
            owe(other),
            replace(on(work.MOVE_RUN), params=("ended", 7, RUN)),
            on("bar_obligation"),
        ]

        answers = await together(
            desk,
            Unit(facts=[stepped()]),
            Unit(facts=[stepped(), published("order:9")], writes=late),
            Unit(facts=[stepped()]),
        )

        assert [type(answer) for answer in answers] == [Accepted, Refusal, Accepted]
        assert [fact.seq for fact in desk.trail.list_history(RUN)] == [1, 2, 3]
        assert [fact.run_n for fact in desk.trail.list_history(RUN)] == [1, 2, 3]
        assert desk.work.list_obligations() == []
        assert desk.trail.find_message(other) is None
        assert desk.cases.find_case("order:9") is None
        run = desk.work.find_run(RUN)
        assert run is not None
        assert (run.status, run.wakes_at, run.run_n) == ("open", None, 3)

    async def test_a_unit_that_makes_a_run_and_is_refused_has_made_none(self, desk: Desk) -> None:
        started = NewFact(Started(workflow="fulfil"), run=RUN)
        refusal = await desk.refuse(Unit(facts=[started], writes=[add_run(), on(work.CLOSE_OBLIGATION)]))
        assert refusal.why == "not there"
        assert (await desk.refuse(Unit(facts=[stepped()]))).why == "no such run"

        again = await desk.start_run()
        assert again.recorded[0].run_n == 1
        assert [case.case for case in desk.cases.list_cases()[0]] == ["order:1"]

    async def test_an_expectation_that_has_moved_refuses_the_unit(self, desk: Desk) -> None:
        await desk.start_run()
        answers = await together(
            desk,
            *(Unit(facts=[stepped()], expects={RUN: (1, 0)}) for _ in range(3)),
            Unit(expects={"no/order:1/1": (0, 0)}),
        )

        assert isinstance(answers[0], Accepted)
        assert [answer.why for answer in answers[1:] if isinstance(answer, Refusal)] == ["moved"] * 3

    async def test_an_epoch_that_has_moved_refuses_the_unit(self, desk: Desk) -> None:
        await desk.start_run()
        await desk.accept(writes=[Write(work.RAISE_EPOCH, (RUN,), "no run")])

        assert (await desk.refuse(Unit(facts=[stepped()], expects={RUN: (1, 0)}))).why == "moved"
        await desk.accept(stepped(), expects={RUN: (1, 1)})

    async def test_a_fact_of_a_run_that_does_not_exist_refuses_the_unit(self, desk: Desk) -> None:
        assert (await desk.refuse(Unit(facts=[published(), stepped()]))).why == "no such run"
        assert desk.trail.list_facts() == []

    async def test_a_value_that_no_column_takes_refuses_only_its_unit(self, desk: Desk) -> None:
        wrong = Unit(facts=[published()], writes=[know(), Write(work.SET_GROUP, ("g", "paused", None, "me"))])

        answers = await together(desk, Unit(facts=[published()]), wrong, Unit(facts=[published()]))

        assert [type(answer) for answer in answers] == [Accepted, Refusal, Accepted]
        assert [fact.seq for fact in desk.trail.list_facts()] == [1, 2]
        assert desk.trail.find_message(MESSAGE) is None

    async def test_units_are_decided_and_answered_in_the_order_they_came(self, desk: Desk) -> None:
        heard: list[int] = []
        last: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        for number in range(2_500):
            unit = Unit(facts=[published(f"order:{number}")])
            unit.answered = lambda _answer, number=number: heard.append(number)
            desk.store.submit(unit)
        desk.store.submit(Unit(answered=last.set_result))
        async with asyncio.timeout(10):
            await last

        assert heard == list(range(2_500))
        cases = [fact.case for fact in desk.trail.list_facts(limit=2_500)]
        assert cases == [f"order:{number}" for number in range(2_500)]
        assert len(desk.trail.list_facts()) == 1_000

    async def test_one_who_raises_at_its_answer_keeps_nobody_from_theirs(self, desk: Desk) -> None:
        def answered(_answer: Answer) -> None:
            raise RuntimeError("cannot bear it")

        desk.store.submit(Unit(facts=[published()], answered=answered))

        await desk.accept(published())

    # Work inside the unit.

    async def test_work_adds_to_its_unit_and_leaves_a_result(self, desk: Desk) -> None:
        def act(unit: Unit, scope: Scope) -> None:
            scope.tx.execute("create table shop_note (text)")
            scope.tx.execute("insert into shop_note values (?), (?)", "a", "b")
            unit.facts.append(published())
            unit.writes.append(know())
            unit.result = [row["text"] for row in scope.tx.list_rows("select text from shop_note order by text")]

        answer = await desk.accept(work=act)

        assert (answer.result, len(answer.recorded)) == (["a", "b"], 1)
        assert desk.trail.find_message(MESSAGE) is not None

    async def test_a_transaction_finds_gets_lists_and_counts(self, desk: Desk) -> None:
        found: list[Any] = []

        def act(_unit: Unit, scope: Scope) -> None:
            tx = scope.tx
            tx.execute("create table shop_item (sku, free)")
            found.append(tx.execute("insert into shop_item values (?, ?), (?, ?)", "a", 1, "b", 2))
            found.append(tx.execute("update shop_item set free = 0 where sku = ?", "none"))
            found.append(tx.execute("select 1"))
            found.append(tx.find_row("select free from shop_item where sku = ?", "none"))
            found.append(tx.get_row("select free as left from shop_item where sku = ?", "b")["left"])
            found.append([row["sku"] for row in tx.list_rows("select * from shop_item order by sku")])
            found.append(scope.now_us())
            with pytest.raises(LookupError, match="no row: select free"):
                tx.get_row("select free from shop_item where sku = ?", "none")

        await desk.accept(work=act)

        assert found == [2, 0, 0, None, 2, ["a", "b"], NOW]

    async def test_work_that_raises_refuses_its_unit_and_drops_its_rows(self, desk: Desk) -> None:
        await desk.accept(work=lambda _unit, scope: make_notes(scope))

        def act(unit: Unit, scope: Scope) -> None:
            unit.facts.append(published())
            scope.tx.execute("insert into shop_note values ('x')")
            raise ValueError("no stock")

        refused, kept = await together(desk, Unit(work=act, facts=[published()]), Unit(work=note("y")))

        assert isinstance(refused, Refusal)
        assert (refused.why, str(refused.error)) == ("raised", "no stock")
        assert isinstance(kept, Accepted)
        assert await notes(desk) == ["y"]
        assert desk.trail.list_facts() == []

    async def test_an_attempt_is_kept_dropped_or_undone_by_what_it_raises(self, desk: Desk) -> None:
        def act(_unit: Unit, scope: Scope) -> None:
            make_notes(scope)

            def write(text: str, keep: bool) -> tuple[str, bool]:
                scope.tx.execute("insert into shop_note values (?)", text)
                return text, keep

            def fail() -> tuple[None, bool]:
                write("raised", True)
                raise ValueError("no stock")

            assert scope.attempt(lambda: write("kept", True)) == "kept"
            assert scope.attempt(lambda: write("dropped", False)) == "dropped"
            with pytest.raises(ValueError, match="no stock"):
                scope.attempt(fail)

        await desk.accept(work=act)

        assert await notes(desk) == ["kept"]

    async def test_work_that_is_async_sees_and_writes_in_its_units_transaction(self, desk: Desk) -> None:
        await desk.accept(work=lambda _unit, scope: make_notes(scope))

        async def act(unit: Unit, scope: AsyncScope) -> None:
            assert await scope.tx.execute("insert into shop_note values (?)", "kept") == 1
            await scope.mark()
            await scope.tx.execute("insert into shop_note values (?)", "dropped")
            await scope.drop()
            assert (await scope.tx.get_row("select count(*) as n from shop_note"))["n"] == 1
            assert await scope.tx.find_row("select 1 where false") is None
            unit.facts.append(published())
            unit.result = [row["text"] for row in await scope.tx.list_rows("select text from shop_note")]

        answer = await desk.accept(work_async=act)

        assert answer.result == ["kept"]
        assert len(answer.recorded) == 1
        assert await notes(desk) == ["kept"]

    async def test_work_that_is_async_keeps_the_writer_to_itself(self, desk: Desk) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        heard: list[str] = []

        async def act(_unit: Unit, _scope: AsyncScope) -> None:
            begun.set()
            await go_on.wait()

        def hear(word: str) -> Callable[[Answer], None]:
            return lambda _answer: heard.append(word)

        desk.store.submit(Unit(facts=[published()], answered=hear("before")))
        desk.store.submit(Unit(work_async=act, answered=hear("async")))
        desk.store.submit(Unit(facts=[published()], answered=hear("after")))
        async with asyncio.timeout(10):
            await begun.wait()
        seen = desk.trail.list_facts()
        go_on.set()
        await desk.accept()

        assert heard == ["before", "async", "after"]
        assert [fact.seq for fact in seen] == [1]

    async def test_work_that_is_async_and_raises_refuses_its_unit_and_drops_its_rows(self, desk: Desk) -> None:
        await desk.accept(work=lambda _unit, scope: make_notes(scope))

        async def act(_unit: Unit, scope: AsyncScope) -> None:
            await scope.tx.execute("insert into shop_note values ('x')")
            raise ValueError("no stock")

        refusal = await desk.refuse(Unit(work_async=act, facts=[published()]))

        assert (refusal.why, str(refusal.error)) == ("raised", "no stock")
        assert await notes(desk) == []
        assert desk.trail.list_facts() == []

    async def test_a_transaction_that_is_kept_for_later_refuses(self, desk: Desk) -> None:
        kept: list[Scope] = []
        await desk.accept(work=lambda _unit, scope: kept.append(scope))

        with pytest.raises(Exception, match="this tx is over"):
            kept[0].tx.execute("select 1")

    # Work tables.

    async def test_a_message_is_known_once_with_its_fact_and_digest(self, desk: Desk) -> None:
        for message in (MESSAGE, "ABCDEF" * 6, "order-7", "A" * 32):
            await desk.accept(published(message=message), writes=[know(message)])
            row = desk.trail.find_message(message)
            assert row is not None
            assert (row.id, row.digest, row.seq) == (message, DIGEST, len(desk.trail.list_facts()))

        assert desk.trail.find_message("a" * 32) is None

    async def test_an_obligation_is_opened_with_the_place_of_its_fact(self, desk: Desk) -> None:
        await desk.accept(published())
        await desk.accept(published(), writes=[owe(), owe(group="billing", state="delayed")])

        rows = desk.work.list_obligations(case="order:1")
        assert [(row.group, row.state, row.seq, row.position) for row in rows] == [
            ("billing", "delayed", 2, 2),
            ("inventory", "open", 2, 2),
        ]
        assert desk.work.list_obligations(case="order:2") == []
        assert desk.work.find_obligation(MESSAGE, "shipping") is None

    @pytest.mark.parametrize(
        ("state", "write", "left"),
        [
            ("open", on(work.CLOSE_OBLIGATION), None),
            ("delayed", on(work.CLOSE_OBLIGATION), None),
            ("open", on(work.PUT_OFF_OBLIGATION, 3, NOW), ("open", 3, 0, NOW, 0, 0)),
            ("open", on(work.CLAIM_OBLIGATION), ("open", 0, 1, 0, 0, 0)),
            ("open", on(work.BAR_OBLIGATION), ("open", 0, 0, 0, 1, 0)),
            ("open", on(work.KILL_OBLIGATION, "dead", 5), ("dead", 5, 0, 0, 0, 0)),
            ("held", replace(on(work.REOPEN_OBLIGATION), fact=0), ("open", 0, 0, 0, 0, 1)),
            ("dead", on(work.DISCARD_OBLIGATION), None),
            ("dead", Write(work.RETIRE_OBLIGATIONS, ("inventory",), "none"), None),
        ],
        ids=lambda value: value.op if isinstance(value, Write) else str(value),
    )
    async def test_an_obligation_moves(
        self, desk: Desk, state: str, write: Write, left: tuple[Any, ...] | None
    ) -> None:
        await desk.accept(published(), writes=[owe(state=state)])
        await desk.accept(published(), writes=[write])

        row = desk.work.find_obligation(MESSAGE, "inventory")
        moved = row and (row.state, row.attempts, row.claims, row.due_at, row.barred, row.late)
        assert moved == left

    @pytest.mark.parametrize(
        ("state", "write"),
        [
            ("dead", on(work.CLOSE_OBLIGATION)),
            ("held", on(work.PUT_OFF_OBLIGATION, 1, 1)),
            ("dead", on(work.CLAIM_OBLIGATION)),
            ("dead", on(work.KILL_OBLIGATION, "dead", 1)),
            ("open", replace(on(work.REOPEN_OBLIGATION), fact=0)),
            ("open", on(work.DISCARD_OBLIGATION)),
        ],
        ids=lambda value: value.op if isinstance(value, Write) else value,
    )
    async def test_an_obligation_moves_from_the_right_state_only(self, desk: Desk, state: str, write: Write) -> None:
        await desk.accept(published(), writes=[owe(state=state)])

        assert (await desk.refuse(Unit(facts=[published()], writes=[write]))).why == "not there"

    async def test_a_redriven_obligation_goes_to_the_end_of_its_order(self, desk: Desk) -> None:
        await desk.accept(published(), writes=[owe(state="dead")])
        await desk.accept(published(), writes=[owe("f" * 32)])
        await desk.accept(published(), writes=[replace(on(work.REOPEN_OBLIGATION), fact=0)])

        rows = desk.work.list_obligations()
        assert [(row.message, row.seq, row.position) for row in rows] == [("f" * 32, 2, 2), (MESSAGE, 1, 3)]

    async def test_a_closed_obligation_is_renewed_at_the_end_of_its_order(self, desk: Desk) -> None:
        await desk.accept(published())
        params = (MESSAGE, "inventory", "OrderPlaced", "order:1", RUN, "reserve#1", None, 1)
        await desk.accept(published(), writes=[Write(work.RENEW_OBLIGATION, params, "owed", 0)])

        row = desk.work.find_obligation(MESSAGE, "inventory")
        assert row is not None
        assert (row.state, row.seq, row.position, row.caller, row.step) == ("open", 1, 2, RUN, "reserve#1")

    async def test_a_run_is_added_moved_resumed_and_listed(self, desk: Desk) -> None:
        await desk.start_run()
        await desk.start_run("fulfil/order:1/2")
        await desk.accept(writes=[Write(work.MOVE_RUN, ("stopped", 77, RUN), "no run")])

        stopped = desk.work.find_run(RUN)
        assert stopped is not None
        assert (stopped.status, stopped.wakes_at, stopped.run_n, stopped.number) == ("stopped", 77, 1, 1)
        assert [row.run for row in desk.work.list_open_runs()] == ["fulfil/order:1/2"]
        assert [row.run for row in desk.work.list_runs("order:1", "fulfil")] == [RUN, "fulfil/order:1/2"]
        assert desk.work.list_runs("order:1", "other") == desk.work.list_runs("order:2") == []
        await desk.accept(writes=[Write(work.RESUME_RUN, (RUN,), "not stopped")])
        assert [row.run for row in desk.work.list_open_runs()] == [RUN, "fulfil/order:1/2"]
        assert (await desk.refuse(Unit(writes=[Write(work.RESUME_RUN, (RUN,), "not stopped")]))).why == "not stopped"

    async def test_a_run_that_exists_is_not_added_again(self, desk: Desk) -> None:
        await desk.start_run()

        assert (await desk.refuse(Unit(writes=[add_run(must="exists")]))).why == "exists"

    async def test_a_case_of_which_nothing_is_said_is_not_shown_until_something_is(self, desk: Desk) -> None:
        await desk.accept(writes=[add_run()])
        assert desk.cases.find_case("order:1") is None
        assert desk.cases.list_cases() == ([], None)
        assert desk.cases.count_cases() == {}
        assert await desk.store.refold() == 0

        await desk.accept(stepped())

        row = desk.cases.find_case("order:1")
        assert row is not None
        assert row.state == b"stepped"

    async def test_a_child_is_a_run_that_knows_its_parent(self, desk: Desk) -> None:
        child = ("ship/parcel:1/1", "ship", "parcel:1", 1, RUN, "ship#1", "abandon")
        await desk.accept(NewFact(Started(workflow="ship"), run=child[0]), writes=[Write(work.ADD_RUN, child)])

        row = desk.work.find_run("ship/parcel:1/1")
        assert row is not None
        assert (row.parent, row.parent_step, row.on_close, row.case) == (RUN, "ship#1", "abandon", "parcel:1")

    @pytest.mark.parametrize("run", ["a/b", "ship/parcel:1/01", "whatever", "ship/order:1/1"])
    async def test_a_run_may_be_called_anything(self, desk: Desk, run: str) -> None:
        params = (run, "ship", "parcel:a/b", 1, None, None, "wait")
        await desk.accept(NewFact(Started(workflow="ship"), run=run), writes=[Write(work.ADD_RUN, params)])

        found = desk.work.find_run(run)
        assert found is not None
        assert (found.run, found.case, found.run_n) == (run, "parcel:a/b", 1)
        assert [fact.run for fact in desk.trail.list_history(run)] == [run]
        assert [row.run for row in desk.work.list_runs("parcel:a/b")] == [run]

    async def test_a_group_is_set_and_cleared(self, desk: Desk) -> None:
        await desk.accept(writes=[Write(work.SET_GROUP, ("inventory", "paused", NOW, "me"))])
        await desk.accept(writes=[Write(work.SET_GROUP, ("inventory", "retired", NOW + 1, "you"))])

        assert [(row.name, row.state, row.since, row.by) for row in desk.work.list_groups()] == [
            ("inventory", "retired", NOW + 1, "you")
        ]
        await desk.accept(writes=[Write(work.CLEAR_GROUP, ("inventory",), "not set")])
        assert desk.work.list_groups() == []

    async def test_a_request_is_owed_until_it_is_closed(self, desk: Desk) -> None:
        await desk.accept(published(), writes=[Write(work.OWE_REQUEST, ("r1",), "owed", 0)])

        assert [(row.id, row.seq) for row in desk.work.list_requests()] == [("r1", 1)]
        await desk.accept(writes=[Write(work.CLOSE_REQUEST, ("r1",), "closed")])
        assert desk.work.list_requests() == []

    # Cases.

    async def test_a_case_is_folded_once_for_all_that_one_batch_says_of_it(self, desk: Desk) -> None:
        await desk.accept(published(), published(), published("order:2"), published("parcel:1", also=("order:1",)))

        assert sorted(self.projection.folds) == [("order:1", 3), ("order:2", 1), ("parcel:1", 1)]

    async def test_a_case_is_folded_from_the_facts_that_are_read(self, desk: Desk) -> None:
        desk.store.register_topology(Topology(app="shop"))
        await desk.start_run()
        body = Published(id=MESSAGE, type="Gänse", data=Raw(b'{"a":1}'), owes=("inventory",))
        more = {"causes": (Cause(MESSAGE, "inventory", 2),), "also": ("customer:7", "order:1", "customer:7")}
        await desk.accept(NewFact(body, run=RUN, case="payment:9", at=NOW - 5, **more), published(also=("parcel:1",)))

        start, note, last = desk.trail.list_facts()
        assert note.code == 1
        assert self.projection.told == [
            ("order:1", start),
            *(("order:1", note), ("order:1", last)),
            *(("customer:7", note), ("payment:9", note), ("parcel:1", last)),
        ]

    async def test_a_case_of_which_nothing_is_said_is_not_folded(self, desk: Desk) -> None:
        await desk.accept(published())
        self.projection.folds.clear()

        await desk.accept(writes=[add_run()])
        assert self.projection.folds == []

    async def test_a_case_is_folded_on_from_where_it_was(self, desk: Desk) -> None:
        await desk.accept(published())
        await desk.start_run()

        row = desk.cases.find_case("order:1")
        assert row is not None
        assert (row.state, row.seq, row.at) == (b"published started", 2, "started")
        assert desk.cases.find_case("order:2") is None

    async def test_cases_are_listed_worst_first_in_pages(self, desk: Desk) -> None:
        for case in ("order:5-b", "order:1", "parcel:5-a", "order:5-a", "order:7"):
            await desk.accept(published(case))
        self.clock.us += 1
        await desk.accept(published("order:1-new"))

        pages, cursor = [], None
        while True:
            page, cursor = desk.cases.list_cases(limit=4, cursor=cursor)
            pages.append([row.case for row in page])
            if cursor is None:
                break
        assert pages == [["order:1", "order:1-new", "order:5-a", "order:5-b"], ["parcel:5-a", "order:7"]]

    async def test_the_last_page_says_that_nothing_comes_after_it(self, desk: Desk) -> None:
        await desk.accept(*(published(f"order:{number}") for number in range(101)))

        page, cursor = desk.cases.list_cases()
        assert len(page) == 100
        rest, end = desk.cases.list_cases(cursor=cursor)
        assert (len(rest), end) == (1, None)
        assert desk.cases.list_cases(limit=101)[1] is None
        assert desk.cases.list_cases(limit=0) == ([], None)

    async def test_cases_are_listed_by_rank_and_where_they_are_stuck(self, desk: Desk) -> None:
        for case in ("order:1", "order:5-stuck", "order:5-due", "order:7"):
            await desk.accept(published(case))

        assert [row.case for row in desk.cases.list_cases(ranks=[1, 7])[0]] == ["order:1", "order:7"]
        assert [row.case for row in desk.cases.list_cases(stuck=True)[0]] == ["order:5-stuck"]
        self.clock.us += 61
        assert [row.case for row in desk.cases.list_cases(stuck=True)[0]] == ["order:5-due", "order:5-stuck"]
        assert desk.cases.count_cases() == {1: 1, 5: 2, 7: 1}

    async def test_cases_are_found_by_their_key_alone(self, desk: Desk) -> None:
        await desk.accept(published("order:7"), published("parcel:7"), published("order:8"))

        assert desk.cases.list_matching("7") == ["order:7", "parcel:7"]
        assert desk.cases.list_matching("7", limit=1) == ["order:7"]
        await desk.accept(*(published(f"t{number:02}:9") for number in range(11)))
        assert desk.cases.list_matching("9") == [f"t{number:02}:9" for number in range(10)]

    async def test_a_cursor_that_is_none_of_ours_is_refused(self, desk: Desk) -> None:
        with pytest.raises(ValueError, match="is not one of ours"):
            desk.cases.list_cases(cursor="7")

    async def test_a_large_state_comes_back_as_it_was(self, desk: Desk) -> None:
        for _ in range(40):
            await desk.accept(published("order:5"))

        row = desk.cases.find_case("order:5")
        assert row is not None
        assert row.state == b" ".join([b"published"] * 40)

    # Topologies.

    async def test_a_topology_has_one_number_and_facts_are_written_under_it(self, desk: Desk) -> None:
        first = desk.store.register_topology(Topology(app="shop"))
        await desk.accept(published())
        second = desk.store.register_topology(Topology(app="shop", messages=(MessageEntry(name="OrderPlaced"),)))
        again = desk.store.register_topology(Topology(app="shop"))

        assert [first.version, second.version, again.version] == [1, 2, 1]
        assert [desk.trail.find_topology(1), desk.trail.find_topology(2)] == [first, second]
        assert desk.trail.find_topology(3) is None
        assert [fact.code for fact in desk.trail.list_facts()] == [1]

    async def test_the_topology_in_force_is_the_one_registered_last_be_it_older(self, desk: Desk) -> None:
        first = desk.store.register_topology(Topology(app="shop"))
        second = desk.store.register_topology(Topology(app="shop", messages=(MessageEntry(name="OrderPlaced"),)))
        deployed = desk.trail.find_topology()
        desk.store.register_topology(Topology(app="shop"))

        assert deployed == second
        assert desk.trail.find_topology() == first, "the deploy was taken back"

    # Opening and closing.

    async def test_a_store_goes_on_where_it_was_closed(self, desk: Desk, place: str | Path) -> None:
        await desk.start_run()
        await desk.store.close()

        async with self.at(place) as again:
            assert again.store.clean
            assert (await again.accept(stepped(), expects={RUN: (1, 0)})).recorded == [Recorded(2, NOW, 2)]
            assert [fact.n for fact in again.trail.list_facts()] == [1, 2]
            assert again.trail.check_chain() is None
            row = again.cases.find_case("order:1")
            assert row is not None
            assert row.state == b"started stepped"
        self.reopen(desk, place)

    async def test_what_was_submitted_before_the_close_is_decided(self, desk: Desk, place: str | Path) -> None:
        answers = [desk.submit(Unit(facts=[published()])) for _ in range(10)]
        await desk.store.close()

        assert all(isinstance(answer.result(), Accepted) for answer in answers)
        late = await desk.refuse(Unit(facts=[published()]))
        assert late.why == "closed"
        self.reopen(desk, place)
        assert len(desk.trail.list_facts()) == 10

    async def test_a_store_that_was_abandoned_is_found_unclean_with_all_it_acknowledged(
        self, desk: Desk, place: str | Path
    ) -> None:
        await desk.start_run()
        desk.store.abandon()

        self.reopen(desk, place)
        assert not desk.store.clean
        assert len(desk.trail.list_history(RUN)) == 1

    async def test_a_case_folded_by_another_version_is_folded_anew_when_read(
        self, desk: Desk, place: str | Path
    ) -> None:
        await desk.accept(published("order:5"))
        await desk.store.close()

        async with self.at(place, version=2) as newer:
            read = newer.cases.find_case("order:5")
            listed, _ = newer.cases.list_cases()
            assert read is not None
            assert [row.fold for row in (read, *listed)] == [2, 2]
            await newer.accept(published("order:5"))
            written = newer.cases.find_case("order:5")
            assert written is not None
            assert (written.fold, written.state) == (2, b"published+ published+")
        self.reopen(desk, place)

    async def test_stale_cases_are_folded_anew_and_written(self, desk: Desk, place: str | Path) -> None:
        await desk.accept(published("order:5"), published("order:6"))
        await desk.store.close()

        async with self.at(place, version=2) as newer:
            assert await newer.store.refold() == 2
            assert await newer.store.refold() == 0
            self.projection.folds.clear()
            assert [row.fold for row in newer.cases.list_cases()[0]] == [2, 2]
            assert self.projection.folds == []
        self.reopen(desk, place)

    async def test_what_an_older_release_folded_in_between_is_stale_again(self, desk: Desk, place: str | Path) -> None:
        await desk.accept(published("order:5"))
        await desk.store.close()
        async with self.at(place, version=2) as newer:
            assert [await newer.store.refold() for _ in range(2)] == [1, 0]
        async with self.at(place, version=1) as older:
            await older.accept(published("order:6"))
        async with self.at(place, version=2) as newer:
            assert [await newer.store.refold() for _ in range(2)] == [1, 0]
        self.reopen(desk, place)

    def reopen(self, desk: Desk, place: str | Path) -> None:
        """Give the fixture an open store to end with."""
        desk.take(self.open(place, clock=self.clock, projection=self.projection))
