"""Dispatch, step by step: what each attempt hands to the store, and what each answer of the store leads to."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from partita import (
    AsyncTransaction,
    Delivery,
    Final,
    Retry,
    RetryLater,
    Service,
    Transaction,
    Waits,
    rollback,
    waits_for,
)
from partita.choreography import dispatch as room
from partita.clock import US
from partita.limits import LIMITS, Limits
from partita.messages.codec import encode
from partita.messages.envelope import derive_id
from partita.store.facts import Claimed, Dead, Handled, Published, Retrying
from partita.store.port import NewFact, Refusal, Write
from tests.unit.choreography.stage import (
    AT,
    LOST,
    ONCE,
    REFUSED,
    TWICE,
    Consumer,
    Failing,
    Page,
    Stage,
    bodies,
    due_in,
    ops,
    paying,
    said,
    stocking,
)
from tests.unit.choreography.words import Approved, CountLines, OutOfStock, Placed, Release, Reserve, Reserved

Make = Callable[..., Stage]


# A handling that succeeds.


async def test_a_handling_closes_its_obligation_and_publishes_what_it_answers_in_one_unit(stages: Make) -> None:
    stage = stages(stocking())
    owed = stage.bring(Reserve(), "inventory", attempts=2)
    assert (owed.state, owed.began, stage.dispatch.lanes.count_busy()) == ("handling", True, 1)
    unit = stage.execute()

    assert unit.label == "handling inventory Reserve m1"
    assert unit.writes[0] == Write("close_obligation", ("m1", "inventory"), "closed", None)
    assert ops(unit) == ["close_obligation", "know_message"]
    handled, published = unit.facts
    assert handled == NewFact(
        Handled(
            message="m1", group="inventory", type="Reserve", attempt=3, case="order:1",
            answer_type="Reserved", answer=handled.body.answer, emitted=(published.body.id,),
        ),
        "order:1", None, owed.envelope.causes, (), AT,
    )  # fmt: skip
    assert bytes(handled.body.answer) == encode(Reserved())
    assert (published.body.type, published.body.by, published.body.correlation) == ("Reserved", "inventory", "c1")
    assert [str(cause) for cause in published.causes] == ["m1/inventory#3"]
    assert (len(stage.dispatch.lanes), stage.dispatch.lanes.count_busy()) == (0, 0)


async def test_a_handler_learns_the_id_the_case_the_attempt_and_the_causes(stages: Make) -> None:
    failing = Failing()
    stage = stages(paying(failing))
    stage.bring(Reserve(), "billing", attempts=1)
    await stage.settle()

    assert failing.made == [Delivery("m1", "order:1", 2, ("m0/web#1",))]


async def test_an_async_handler_runs_before_its_unit(stages: Make) -> None:
    stage = stages(paying())
    stage.bring(Reserve(), "billing")
    assert stage.units == []
    await stage.settle()
    unit = stage.execute()

    assert (unit.work, [fact.at for fact in unit.facts]) == (None, [stage.clock.now_us()] * 2)
    assert said(unit, Handled).answer_type == "Reserved"


async def test_a_plain_handler_without_a_transaction_runs_in_a_thread(stages: Make) -> None:
    service = Service("mail")

    @service.on(Placed)
    def mail(event: Placed) -> None: ...

    stage = stages(service)
    stage.bring(Placed(), "mail")
    await stage.settle()

    unit = stage.execute()
    assert (stage.threads, unit.facts[0].at) == (1, stage.clock.now_us())
    assert said(unit, Handled).answer_type is None


async def test_what_a_handling_publishes_is_sent_once_it_is_durable(stages: Make) -> None:
    service = Service("mail")

    @service.on(Reserved)
    def mail(event: Reserved) -> None: ...

    stage = stages(stocking(), service)
    stage.bring(Reserve(), "inventory")
    unit = stage.units[0]
    stage.execute()

    (sent,) = stage.wire.sent
    assert (sent.group, sent.envelope.type, sent.seq, sent.position) == ("mail", "Reserved", 101, 101)
    assert ops(unit) == ["close_obligation", "know_message", "open_obligation"]


async def test_a_rolled_back_handling_says_so_and_drops_its_own_writes(stages: Make) -> None:
    service = Service("inventory")

    @service.handles(Reserve)
    def reserve(command: Reserve, tx: Transaction) -> Reserved | OutOfStock:
        return rollback(OutOfStock())

    stage = stages(service)
    stage.bring(Reserve(), "inventory")
    body = said(stage.execute(), Handled)

    assert (body.rolled_back, body.answer_type, stage.pages[0].marks) == (True, "OutOfStock", ["dropped"])


async def test_work_that_is_begun_anew_writes_everything_once(stages: Make) -> None:
    """The writer may have to begin its whole transaction again."""
    stage = stages(stocking())
    stage.bring(Reserve(), "inventory")
    unit = stage.units[0]
    assert unit.work is not None
    unit.work(unit, Page())  # type: ignore[arg-type]
    stage.execute()

    assert [body.kind for body in bodies(unit)] == ["handled", "published"]


# An async handler in the store's transaction.


def transacting(answer: Callable[[], Any], **options: Any) -> Service:
    service = Service("inventory")

    @service.handles(Reserve, **options)
    async def reserve(command: Reserve, tx: AsyncTransaction) -> Reserved | OutOfStock:
        await asyncio.sleep(0)
        found: Reserved | OutOfStock = answer()
        return found

    return service


async def test_an_async_handler_with_a_transaction_runs_inside_its_unit(stages: Make) -> None:
    stage = stages(transacting(Reserved))
    stage.bring(Reserve(), "inventory")
    await stage.settle()
    unit = await stage.execute_async()

    assert stage.pages[0].marks == ["marked"]
    assert (said(unit, Handled).rolled_back, [fact.at for fact in unit.facts]) == (False, [AT, AT])


async def test_an_async_handler_that_rolls_back_drops_to_its_mark(stages: Make) -> None:
    stage = stages(transacting(lambda: rollback(OutOfStock())))
    stage.bring(Reserve(), "inventory")
    await stage.settle()
    unit = await stage.execute_async()

    assert stage.pages[0].marks == ["marked", "dropped"]
    assert said(unit, Handled).rolled_back


async def test_an_async_transaction_begun_anew_writes_everything_once(stages: Make) -> None:
    stage = stages(transacting(Reserved))
    stage.bring(Reserve(), "inventory")
    await stage.settle()
    unit = stage.units[0]
    await stage.execute_async()
    stage.units.append(unit)
    unit.answered = lambda _: None
    await stage.execute_async()

    assert [body.kind for body in bodies(unit)] == ["handled", "published"]


@pytest.mark.parametrize("service", [transacting, None], ids=["in its transaction", "before its unit"])
async def test_an_async_handler_is_cut_off_at_its_limit(stages: Make, service: Any) -> None:
    never = Service("billing")

    @never.handles(Reserve, timeout="10ms", retry=ONCE)
    async def reserve(command: Reserve) -> Reserved | OutOfStock:
        await asyncio.Event().wait()
        return Reserved()

    waiting = Service("billing")

    @waiting.handles(Reserve, timeout="10ms", retry=ONCE)
    async def wait(command: Reserve, tx: AsyncTransaction) -> Reserved | OutOfStock:
        await asyncio.Event().wait()
        return Reserved()

    stage = stages(waiting if service else never)
    stage.bring(Reserve(), "billing")
    await stage.settle()
    if service:
        await stage.execute_async()
    else:
        await stage.tasks[0]

    dead = said(stage.execute(), Dead)
    name = "wait" if service else "reserve"
    assert dead.error == "TimeoutError"
    assert dead.text.endswith(f"{name} took longer than its timeout of 10 ms. Raise that, or let it end sooner.")


async def test_a_handler_without_a_limit_of_its_own_has_the_engines(
    stages: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "attempt_s", 0.01)
    service = Service("mail")

    @service.on(Placed, retry=ONCE)
    async def mail(event: Placed) -> None:
        await asyncio.Event().wait()

    stage = stages(service)
    stage.bring(Placed(), "mail")
    await stage.tasks[0]

    dead = said(stage.execute(), Dead)
    assert dead.text.endswith(
        "mail took longer than 10 ms (limits.attempt_s). Give it a timeout=, or let it end sooner."
    )


async def test_a_plain_handler_in_a_thread_is_given_up_at_its_limit(stages: Make) -> None:
    service = Service("mail", timeout="10ms")

    @service.on(Placed, retry=ONCE)
    def mail(event: Placed) -> None: ...

    stage = stages(service)

    async def in_thread(_work: Callable[[], None]) -> None:
        await asyncio.Event().wait()

    stage.dispatch._around = room.Surroundings(
        **{name: getattr(stage.dispatch._around, name) for name in room.Surroundings.__slots__}
        | {"in_thread": in_thread}
    )
    stage.bring(Placed(), "mail")
    await stage.tasks[0]

    assert said(stage.execute(), Dead).error == "TimeoutError"


async def test_a_handling_that_is_let_go_writes_nothing(stages: Make) -> None:
    stage = stages(paying())
    stage.bring(Reserve(), "billing")
    await asyncio.sleep(0)
    stage.tasks[0].cancel()
    await asyncio.wait(stage.tasks)

    assert (stage.tasks[0].cancelled(), stage.submitted) == (True, [])


# An attempt that fails.


async def test_an_attempt_that_fails_is_put_off_and_made_again_when_it_is_due(stages: Make) -> None:
    failing = Failing(OSError("no route"))
    stage = stages(stocking(failing, retry=TWICE))
    owed = stage.bring(Reserve(), "inventory")
    stage.execute()
    (unit,) = stage.units
    due = said(unit, Retrying).due

    assert 7.5 <= due_in(stage, due) <= 10
    assert unit.label == "retry inventory Reserve"
    assert unit.writes == [Write("put_off_obligation", (1, due, "m1", "inventory"), "closed", None)]
    assert unit.facts == [
        NewFact(
            Retrying(
                message="m1", group="inventory", type="Reserve", case="order:1",
                attempt=1, error="OSError", text="no route", due=due,
            ),
            "order:1", None, owed.envelope.causes,
        )
    ]  # fmt: skip
    stage.execute()
    assert (owed.attempts, owed.due_at, owed.state, stage.dispatch.lanes.count_busy()) == (1, due, "open", 0)
    await stage.advance(due - stage.clock.now_us() - 1)
    assert stage.units == []
    await stage.advance(1)
    stage.execute()
    assert [delivery.attempt for delivery in failing.made] == [1, 2]


async def test_the_wait_is_what_the_error_asks_for(stages: Make) -> None:
    stage = stages(stocking(Failing(RetryLater("busy", after="3s")), retry=TWICE))
    stage.bring(Reserve(), "inventory")
    stage.execute()

    assert due_in(stage, said(stage.units[0], Retrying).due) == 3


async def test_a_wait_that_is_no_duration_buries_the_message(stages: Make) -> None:
    stage = stages(stocking(Failing(RetryLater("busy", after="soon")), retry=TWICE))
    stage.bring(Reserve(), "inventory")
    stage.execute()

    assert said(stage.units[0], Dead).error == "DefinitionError"


async def test_spent_attempts_make_a_dead_letter(stages: Make) -> None:
    stage = stages(stocking(Failing(OSError("no route")), retry=ONCE))
    owed = stage.bring(Reserve(), "inventory")
    stage.bring(Reserve(), "inventory", id="m2")
    stage.execute()
    (unit,) = stage.units
    body = said(unit, Dead)

    assert unit.label == "dead letter inventory Reserve"
    assert unit.writes == [Write("kill_obligation", ("dead", 1, "m1", "inventory"), "closed", None)]
    assert unit.facts == [
        NewFact(
            Dead(
                message="m1", group="inventory", type="Reserve", case="order:1",
                attempts=1, error="OSError", text="no route", trace=body.trace,
            ),
            "order:1", None, owed.envelope.causes,
        )
    ]  # fmt: skip
    assert "OSError: no route" in body.trace
    assert "failing.make(delivery)" in body.trace
    stage.execute()
    assert stage.dispatch.lanes.find("m1", "inventory") is None
    assert [unit.label for unit in stage.units] == ["handling inventory Reserve m2"], "it releases its case"


async def test_a_dead_letter_with_hold_blocks_its_case(stages: Make) -> None:
    service = Service("mail")

    @service.on(Placed, hold=True, retry=ONCE)
    def mail(event: Placed, tx: Transaction) -> None:
        raise OSError

    stage = stages(service)
    stage.bring(Placed(), "mail")
    stage.bring(Placed(), "mail", id="m2")
    stage.execute()
    stage.execute()
    assert stage.units == []

    stage.dispatch.lanes.unblock(("mail", "order:1"), "m1")
    assert len(stage.units) == 1


@pytest.mark.parametrize("error", [Final("no"), TypeError("x")])
async def test_a_final_error_is_not_tried_again(stages: Make, error: Exception) -> None:
    stage = stages(stocking(Failing(error), retry=Retry(attempts=5, final=(TypeError,))))
    stage.bring(Reserve(), "inventory")
    stage.execute()

    assert said(stage.units[0], Dead).attempts == 1


async def test_a_message_that_can_not_be_read_is_not_tried_again(stages: Make) -> None:
    stage = stages(stocking())
    stage.bring(Reserve(), "inventory", data=b"[]")

    body = said(stage.units[0], Dead)
    assert (body.error, body.text.partition(":")[0]) == ("Final", "it can't be read")


async def test_a_message_of_a_version_that_nobody_knows_here_is_not_tried_again(stages: Make) -> None:
    stage = stages(stocking())
    stage.bring(Reserve(), "inventory", version=9)

    assert said(stage.units[0], Dead).text.startswith("it can't be read: message Reserve has version 9")


# When the unit does not happen.


@pytest.mark.parametrize("failures", [(), (OSError(),)], ids=["handled", "failed"])
@pytest.mark.parametrize("retry", [ONCE, TWICE], ids=["dead", "retrying"])
async def test_an_obligation_that_was_closed_elsewhere_is_forgotten(
    stages: Make, failures: tuple[Exception, ...], retry: Retry
) -> None:
    stage = stages(stocking(Failing(*failures), retry=retry))
    stage.bring(Reserve(), "inventory")
    stage.bring(Reserve(), "inventory", id="m2")
    if failures:
        stage.execute()
    stage.answer(REFUSED)

    assert stage.dispatch.lanes.find("m1", "inventory") is None
    assert [unit.label for unit in stage.units] == ["handling inventory Reserve m2"]


@pytest.mark.parametrize("failures", [(), (OSError(),)], ids=["handled", "failed"])
@pytest.mark.parametrize("retry", [ONCE, TWICE], ids=["dead", "retrying"])
async def test_a_unit_that_is_lost_leaves_everything_to_the_next_start(
    stages: Make, failures: tuple[Exception, ...], retry: Retry
) -> None:
    stage = stages(stocking(Failing(*failures), retry=retry))
    owed = stage.bring(Reserve(), "inventory")
    stage.bring(Reserve(), "inventory", id="m2")
    if failures:
        stage.execute()
    stage.answer(LOST)

    assert stage.dispatch.lanes.find("m1", "inventory") is owed
    assert stage.units == []


# After an unclean end.


async def test_what_was_open_when_a_process_died_is_claimed_before_it_is_tried_again(stages: Make) -> None:
    failing = Failing()
    stage = stages(stocking(failing))
    owed = stage.bring(Reserve(), "inventory", unclean=True, claims=1)
    unit = stage.units[0]

    assert unit.label == "claim inventory Reserve"
    assert unit.writes == [Write("claim_obligation", ("m1", "inventory"), "closed", None)]
    assert unit.facts == [
        NewFact(Claimed(message="m1", group="inventory", type="Reserve", case="order:1", count=2), "order:1")
    ]
    assert (owed.claims, owed.began, owed.unclean) == (2, True, True)
    stage.execute()
    assert (owed.unclean, failing.made) == (False, [])
    stage.execute()
    assert len(failing.made) == 1


async def test_what_has_killed_its_process_five_times_is_not_tried_again(stages: Make) -> None:
    fifth, sixth = stages(stocking()), stages(stocking())
    fifth.bring(Reserve(), "inventory", unclean=True, claims=4)
    sixth.bring(Reserve(), "inventory", unclean=True, claims=5)

    assert said(fifth.units[0], Claimed).count == 5
    body = said(sixth.units[0], Dead)
    assert (body.error, body.text) == ("Final", "the process ended 5 times while Reserve was open")


@pytest.mark.parametrize(("answer", "known"), [(REFUSED, False), (LOST, True)])
async def test_a_claim_that_did_not_happen_tries_nothing(stages: Make, answer: Any, known: bool) -> None:
    failing = Failing()
    stage = stages(stocking(failing))
    owed = stage.bring(Reserve(), "inventory", unclean=True)
    stage.answer(answer)

    assert (stage.units, failing.made, owed.unclean) == ([], [], True)
    assert (stage.dispatch.lanes.find("m1", "inventory") is owed) is known


# Workflows' groups.


async def test_a_workflow_s_group_consumes_what_it_owes(stages: Make) -> None:
    consumer = Consumer()
    stage = stages(stocking(), **{"workflow:fulfil": consumer})
    stage.declared.catalog.add(Placed)
    owed = stage.bring(Placed(), "workflow:fulfil")
    stage.bring(Placed(), "workflow:fulfil", id="m2")
    assert consumer.taken == [(owed, Placed())]
    consumer.settle(None)

    assert stage.dispatch.lanes.find("m1", "workflow:fulfil") is None
    assert [taken.envelope.id for taken, _ in consumer.taken] == ["m1", "m2"]


async def test_what_a_workflow_s_group_can_not_take_is_retried(stages: Make) -> None:
    consumer = Consumer()
    stage = stages(stocking(retry=TWICE), **{"workflow:fulfil": consumer})
    stage.declared.catalog.add(Placed)
    stage.bring(Placed(), "workflow:fulfil")
    consumer.settle(Refusal("broken", OSError("x")))

    assert said(stage.units[0], Retrying).error == "OSError"


async def test_what_a_workflow_s_group_owes_no_more_is_forgotten(stages: Make) -> None:
    consumer = Consumer()
    stage = stages(stocking(), **{"workflow:fulfil": consumer})
    stage.declared.catalog.add(Placed)
    stage.bring(Placed(), "workflow:fulfil")
    consumer.settle(REFUSED)

    assert (len(stage.dispatch.lanes), stage.units) == (0, [])


# Code that is gone, and places.


async def test_what_nobody_handles_stays_owed_and_holds_no_lane(stages: Make) -> None:
    stage = stages(stocking())
    owed = stage.bring(Placed(), "inventory")

    assert (stage.units, owed.state, owed.began) == ([], "open", False)
    assert (len(stage.dispatch.lanes), stage.dispatch.lanes.count_busy()) == (1, 0)


def held_up(concurrency: int | None = None) -> tuple[Service, asyncio.Event]:
    service, gate = Service("billing"), asyncio.Event()

    @service.handles(Reserve, concurrency=concurrency)
    async def reserve(command: Reserve) -> Reserved | OutOfStock:
        await gate.wait()
        return Reserved()

    @service.handles(Release)
    async def release(command: Release) -> None:
        await gate.wait()

    return service, gate


def fill(stage: Stage, message: type[Any], count: int, first: int = 1) -> None:
    for n in range(first, first + count):
        stage.bring(message(order_id=str(n)), "billing", id=f"m{n}")


async def test_no_more_handlings_of_a_kind_run_at_once_than_it_allows(stages: Make) -> None:
    service, gate = held_up(concurrency=2)
    stage = stages(service)
    fill(stage, Reserve, 4)
    assert (len(stage.tasks), stage.dispatch.lanes.count_busy()) == (2, 4)
    fill(stage, Release, 1, first=9)
    assert len(stage.tasks) == 3, "another kind has places of its own"
    gate.set()
    await stage.settle()
    stage.execute()
    assert len(stage.tasks) == 4
    await stage.settle()
    while stage.units:
        stage.execute()
        await stage.settle()

    assert len(stage.tasks) == 5
    assert stage.dispatch._places.taken == 0


async def test_no_more_handlings_run_at_once_than_the_engine_allows(
    stages: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LIMITS", Limits(handlings_at_once_max=3))
    service, gate = held_up()
    stage = stages(service)
    fill(stage, Reserve, 2)
    fill(stage, Release, 2, first=5)
    assert len(stage.tasks) == 3
    gate.set()
    await stage.settle()
    stage.execute()

    assert len(stage.tasks) == 4


async def test_a_place_that_nobody_needs_any_more_goes_to_the_next(stages: Make) -> None:
    service, gate = held_up(concurrency=1)
    stage = stages(service)
    fill(stage, Reserve, 3)
    stage.dispatch.drop("m2", "billing")
    gate.set()
    await stage.settle()
    stage.execute()
    await stage.settle()

    assert [unit.label for unit in stage.units] == ["handling billing Reserve m3"]


async def test_a_handling_that_is_put_off_gives_its_place_back(stages: Make) -> None:
    service = paying(Failing(OSError()), retry=TWICE, concurrency=1)
    stage = stages(service)
    fill(stage, Reserve, 2)
    await stage.settle()
    assert len(stage.tasks) == 1
    stage.execute()

    assert len(stage.tasks) == 2


async def test_handlings_on_the_writer_need_no_place(stages: Make) -> None:
    stage = stages(stocking(concurrency=1))
    for n in range(1, 4):
        stage.bring(Reserve(order_id=str(n)), "inventory", id=f"m{n}")

    assert (len(stage.units), stage.dispatch._places.taken) == (3, 0)


async def test_after_the_stop_nothing_begins_and_nobody_waits_for_a_place(stages: Make) -> None:
    service, gate = held_up(concurrency=1)
    stage = stages(service)
    fill(stage, Reserve, 3)
    stage.dispatch.stop()
    assert stage.dispatch.lanes.count_busy() == 1
    gate.set()
    await stage.settle()
    stage.execute()

    assert (len(stage.tasks), stage.dispatch.lanes.count_busy()) == (1, 0)


# What a handling may answer.


async def test_values_waits_and_noops_are_said_in_the_fact(stages: Make) -> None:
    service = Service("approvals")

    @service.on(Placed)
    def approve(event: Placed, tx: Transaction) -> Approved | Waits:
        return waits_for(Approved, within="1m", who="a\x00manager")

    @service.handles(CountLines)
    def count(command: CountLines, tx: Transaction) -> int:
        return 7

    stage = stages(service)
    stage.bring(Placed(), "approvals")
    stage.bring(CountLines(), "approvals", id="m2")
    waiting = said(stage.execute(), Handled)
    counted = said(stage.execute(), Handled)

    (wait,) = waiting.waits
    assert (wait.types, wait.until) == (("Approved",), AT + 60 * US)
    assert "\x00" not in wait.who
    assert "manager" in wait.who
    assert (waiting.outcome, waiting.emitted, bytes(waiting.answer)) == ("ok", (), b"")
    assert (bytes(counted.answer), counted.answer_type, counted.emitted) == (b"7", None, ())


async def test_what_a_handler_emits_has_ids_that_follow_from_its_message(stages: Make) -> None:
    service = Service("shop")

    @service.on(Placed)
    def split(event: Placed, tx: Transaction) -> list[Reserved | Approved]:
        return [Reserved(), Approved()]

    stage = stages(service)
    stage.bring(Placed(), "shop")
    unit = stage.execute()

    published = [body.id for body in bodies(unit) if isinstance(body, Published)]
    assert published == [derive_id("m1", "shop", "0"), derive_id("m1", "shop", "1")]
    assert said(unit, Handled).emitted == tuple(published)
    assert bytes(said(unit, Handled).answer) == b"", "an event has nobody who waits for an answer"


@pytest.mark.parametrize("retry", [ONCE, TWICE], ids=["dead", "retrying"])
async def test_a_long_error_is_told_up_to_the_limit(stages: Make, retry: Retry) -> None:
    stage = stages(stocking(Failing(OSError("x" * 3_000)), retry=retry))
    stage.bring(Reserve(), "inventory")
    stage.execute()
    (body,) = bodies(stage.units[0])

    assert isinstance(body, Dead | Retrying)
    assert body.text == "x" * 1_999 + "…"


async def test_handlers_are_handed_their_message_delivery_and_transaction(stages: Make) -> None:
    seen: list[object] = []
    service = Service("inventory")

    @service.handles(Reserve)
    async def reserve(command: Reserve, tx: AsyncTransaction, delivery: Delivery) -> Reserved | OutOfStock:
        seen.extend([command, tx, delivery.id])
        return Reserved()

    @service.handles(Release)
    def release(command: Release, tx: Transaction) -> None:
        seen.extend([command, tx])

    @service.handles(CountLines)
    async def count(command: CountLines) -> int:
        seen.append(command)
        return 1

    stage = stages(service)
    stage.bring(Reserve(), "inventory", id="m1")
    await stage.settle()
    await stage.execute_async()
    stage.bring(Release(), "inventory", id="m2")
    stage.execute()
    stage.bring(CountLines(), "inventory", id="m3")
    await stage.settle()

    assert seen == [Reserve(), stage.pages[0].tx, "m1", Release(), stage.pages[1].tx, CountLines()]
