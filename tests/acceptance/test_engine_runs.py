"""Runs on a real store: calls that fail, children, cancelling, stopping and going on, and local steps over restarts."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from partita import (
    App,
    CallFailed,
    CallTimeout,
    Refused,
    Rejected,
    Retry,
    Service,
    call,
    child,
    publish,
    receive,
    saga,
    step,
    workflow,
)
from partita.store.facts import (
    CancelAsked,
    Dead,
    Discarded,
    DuplicateStart,
    Handled,
    Incident,
    NoRun,
    Retrying,
    Returned,
    Started,
    Waiting,
)
from tests.acceptance.engine import (
    CASE,
    Attempts,
    Broken,
    Cancelled,
    Count,
    Declined,
    Noted,
    Paid,
    Pay,
    Placed,
    Refund,
    Shipped,
    ask,
    kinds,
    owed,
    said,
    until,
    until_said,
)

QUICK = Retry(attempts=3, first="1ms", most="2ms")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def paying(gate: Attempts, **options: Any) -> Service:
    """A service that answers Pay when its gate lets it."""
    cards = Service("cards", **options)

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        gate.make()
        return Paid(order_id=command.order_id, pence=gate.made)

    return cards


@workflow(starts_on=Placed)
async def pay_once(order: Placed) -> str:
    try:
        paid = await call(Pay(order_id=order.order_id), expect=Paid)
    except CallFailed as failed:
        return f"{failed.kind} after {failed.attempts}: {failed.text}"
    return f"paid at attempt {paid.pence}"


# Calls.


async def test_a_call_is_answered_after_retries(store: Path) -> None:
    app = App("shop", services=[paying(Attempts(2), retry=QUICK)], workflows=[pay_once])
    async with app.run(store) as client:
        run = await client.start(pay_once, Placed())
        assert await run.result(timeout="5s") == "paid at attempt 3"


async def test_a_call_whose_retries_are_spent_fails_in_the_workflow(store: Path) -> None:
    app = App("shop", services=[paying(Attempts(9), retry=QUICK)], workflows=[pay_once])
    async with app.run(store) as client:
        run = await client.start(pay_once, Placed())
        assert await run.result(timeout="5s") == "Broken after 3: not yet"
        assert owed(client) == []
        assert said(client, Dead) == [], "its caller knows: nobody has to look after it"


async def test_a_call_has_a_retry_policy_of_its_own(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def impatient(order: Placed) -> int:
        try:
            await call(Pay(), retry=Retry(attempts=2, first="1ms"))
        except CallFailed as failed:
            return failed.attempts
        return 0

    app = App("shop", services=[paying(Attempts(9), retry=Retry(attempts=5, first="1h"))], workflows=[impatient])
    async with app.run(store) as client:
        run = await client.start(impatient, Placed())
        assert await run.result(timeout="5s") == 2


async def test_the_policy_of_a_call_outlives_the_engine(store: Path) -> None:
    gate = Attempts(9)

    @workflow(starts_on=Placed)
    async def patient(order: Placed) -> int:
        try:
            await call(Pay(), retry=Retry(attempts=2, first="50ms", factor=1))
        except CallFailed as failed:
            return failed.attempts
        return 0

    app = App("shop", services=[paying(gate, retry=Retry(attempts=5, first="1h"))], workflows=[patient])
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Retrying)
    async with app.run(store) as client:
        returned = await until_said(client, Returned)

    assert (bytes(returned.value), gate.made) == (b"2", 2)


async def test_what_is_final_for_a_call_is_not_tried_again(store: Path) -> None:
    gate = Attempts(9)

    @workflow(starts_on=Placed)
    async def strict(order: Placed) -> int:
        try:
            await call(Pay(), retry=Retry(attempts=5, first="1ms", final=(Broken,)))
        except CallFailed as failed:
            return failed.attempts
        return 0

    app = App("shop", services=[paying(gate)], workflows=[strict])
    async with app.run(store) as client:
        run = await client.start(strict, Placed())
        assert await run.result(timeout="5s") == 1


async def test_a_refusal_is_an_answer_and_is_never_tried_again(store: Path) -> None:
    cards = Service("cards")

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        return Declined(reason="no money")

    @workflow(starts_on=Placed)
    async def expect(order: Placed) -> str:
        try:
            await call(Pay(), expect=Paid)
        except Refused as refused:
            return f"{type(refused.answer).__name__}: {refused}"
        return ""

    async with App("shop", services=[cards], workflows=[expect]).run(store) as client:
        run = await client.start(expect, Placed())
        assert await run.result(timeout="5s") == "Declined: no money"
        assert [body.attempt for body in said(client, Handled)] == [1]


async def test_no_answer_in_time_leaves_the_outcome_unknown(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def hurried(order: Placed) -> str:
        try:
            await call(Pay(), timeout="20ms")
        except CallTimeout as late:
            return type(late).__name__
        return ""

    app = App("shop", services=[paying(Attempts(9), retry=Retry(first="1h"))], workflows=[hurried])
    async with app.run(store) as client:
        run = await client.start(hurried, Placed())
        assert await run.result(timeout="5s") == "CallTimeout"
        assert [row.type for row in owed(client)] == ["Pay"], "the command stays owed"


# Calls that are held open.


HOLD = Retry(attempts=2, first="1ms", then="hold")


async def test_a_held_call_fails_its_case_and_goes_on_when_it_is_redriven(store: Path) -> None:
    app = App("shop", services=[paying(Attempts(2), retry=HOLD)], workflows=[pay_once])
    async with app.run(store) as client:
        run = await client.start(pay_once, Placed())
        dead = await until_said(client, Dead)
        assert (dead.held, dead.attempts) == (True, 2)
        where = await client.where(CASE)
        assert (where.verdict, where.at) == ("failed", "Pay")
        assert client.look.list_dead()[0].held

        await ask(client, "redrive", case=CASE)
        assert await run.result(timeout="5s") == "paid at attempt 3"


async def test_a_held_call_outlives_the_engine(store: Path) -> None:
    app = App("shop", services=[paying(Attempts(2), retry=HOLD)], workflows=[pay_once])
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Dead)
    async with app.run(store) as client:
        assert (await client.where(CASE)).verdict == "failed"
        await ask(client, "redrive", case=CASE)
        returned = await until_said(client, Returned)

    assert bytes(returned.value) == b'"paid at attempt 3"'


async def test_a_held_call_that_is_discarded_fails_in_the_workflow(store: Path) -> None:
    app = App("shop", services=[paying(Attempts(9), retry=HOLD)], workflows=[pay_once])
    async with app.run(store) as client:
        run = await client.start(pay_once, Placed())
        await until_said(client, Dead)
        await ask(client, "discard", case=CASE, by="ann", reason="paid by cheque")

        assert await run.result(timeout="5s") == "Discarded after 1: paid by cheque"
        assert owed(client) == []
        assert said(client, Discarded)[0].by == "ann"


async def test_a_saga_undoes_on_a_failed_call(store: Path) -> None:
    undone: list[str] = []
    cards = paying(Attempts(0))

    @cards.handles(Refund)
    async def refund(command: Refund) -> None:
        undone.append(command.order_id)

    stock = Service("stock", retry=Retry(attempts=1))

    @stock.handles(Count)
    async def count(command: Count) -> int:
        raise Broken("the shelf fell over")

    @workflow(starts_on=Placed)
    async def careful(order: Placed) -> str:
        try:
            async with saga():
                await call(Pay(), expect=Paid, undo=Refund())
                await call(Count())
        except CallFailed as failed:
            await publish(Cancelled(reason=failed.text))
            return failed.kind
        return "done"

    async with App("shop", services=[cards, stock], workflows=[careful]).run(store) as client:
        run = await client.start(careful, Placed())
        assert await run.result(timeout="5s") == "Broken"
        assert undone == ["1"]
        assert (await client.where(CASE)).verdict == "compensated"


# A saga that undoes a call without an answer.


@workflow(starts_on=Placed)
async def impatient(order: Placed) -> str:
    try:
        async with saga():
            await call(Pay(), expect=Paid, undo=Refund(), timeout="30ms")
    except TimeoutError:
        return "gave up"
    return "paid"


def undoing(seen: list[str], pay_for: Callable[[], Awaitable[None]], retry: Retry) -> Service:
    """A service that notes what it does, and charges as it is told."""
    cards = Service("cards", retry=retry)

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        await pay_for()
        seen.append("pay")
        return Paid()

    @cards.handles(Refund)
    async def refund(command: Refund) -> None:
        seen.append("refund")

    return cards


async def test_the_undo_of_a_call_that_is_being_handled_comes_behind_it(store: Path) -> None:
    seen: list[str] = []
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()

    app = App("shop", services=[undoing(seen, wait, QUICK)], workflows=[impatient])
    async with app.run(store) as client:
        run = await client.start(impatient, Placed())
        await until(lambda: "published Refund" in kinds(client), "the undo is sent")
        assert seen == []
        go_on.set()
        assert await run.result(timeout="5s") == "gave up"
        (paid,) = [body for body in said(client, Handled) if body.type == "Pay"]
        assert "barred Pay" in kinds(client)

    assert seen == ["pay", "refund"]
    assert paid.late


async def test_the_undo_of_a_call_between_two_attempts_ends_them(store: Path) -> None:
    seen: list[str] = []
    gate = Attempts(9)

    async def fail() -> None:
        gate.make()

    app = App("shop", services=[undoing(seen, fail, Retry(first="1h"))], workflows=[impatient])
    async with app.run(store) as client:
        run = await client.start(impatient, Placed())
        assert await run.result(timeout="5s") == "gave up"
        assert (gate.made, seen, owed(client)) == (1, ["refund"], [])
        assert [(body.type, body.by) for body in said(client, Discarded)] == [("Pay", "saga")]


async def test_the_undo_of_a_held_call_ends_the_incident(store: Path) -> None:
    seen: list[str] = []
    gate = Attempts(9)

    async def fail() -> None:
        gate.make()

    app = App("shop", services=[undoing(seen, fail, Retry(attempts=1, then="hold"))], workflows=[impatient])
    async with app.run(store) as client:
        run = await client.start(impatient, Placed())
        await until_said(client, Dead)
        assert await run.result(timeout="5s") == "gave up"
        assert (gate.made, seen, owed(client)) == (1, ["refund"], [])
        assert client.look.list_dead() == []


# Starting.


async def test_a_second_start_of_a_case_is_rejected(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def wait(order: Placed) -> None:
        await receive(Shipped)

    async with App("shop", workflows=[wait]).run(store) as client:
        first = await client.start(wait, Placed())
        with pytest.raises(Rejected, match=f"case {CASE} has run {first.id}"):
            await client.start(wait, Placed())
        await client.emit(Placed())
        duplicate = await until_said(client, DuplicateStart)
        assert duplicate.run == first.id
        assert len(said(client, Started)) == 1


async def test_two_starts_at_once_make_one_run_that_goes_on(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def make(order: Placed) -> int:
        return await slowly()

    async with App("shop", workflows=[make]).run(store) as client:
        starts = [client.start(make, Placed()) for _ in range(3)]
        runs = await asyncio.gather(*starts, return_exceptions=True)
        started = [run for run in runs if not isinstance(run, BaseException)]
        refused = [str(run).partition("\n")[0] for run in runs if isinstance(run, Rejected)]
        assert refused == [f"workflow make was not started: case {CASE} has run make/{CASE}/1"] * 2
        assert await started[0].result(timeout="5s") == 7


async def test_a_start_and_an_event_at_once_make_one_run_that_goes_on(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def make(order: Placed) -> int:
        return await slowly()

    async with App("shop", workflows=[make]).run(store) as client:
        await asyncio.gather(client.emit(Placed()), client.start(make, Placed()), return_exceptions=True)
        await until_said(client, Returned)
        assert len(said(client, Started)) == 1
        assert owed(client) == []


async def test_a_workflow_may_start_again_after_its_end(store: Path) -> None:
    @workflow(starts_on=Placed, restart="after-end")
    async def wait(order: Placed) -> str:
        return (await receive(Noted)).text

    async with App("shop", workflows=[wait]).run(store) as client:
        first = await client.start(wait, Placed())
        await client.emit(Placed())
        await until_said(client, DuplicateStart)
        await client.emit(Noted(text="one"))
        assert await first.result(timeout="5s") == "one"

        second = await client.start(wait, Placed())
        await client.emit(Noted(text="two"))
        assert await second.result(timeout="5s") == "two"
    assert (first.id, second.id) == (f"wait/{CASE}/1", f"wait/{CASE}/2")


async def test_a_message_that_finds_no_run_is_a_fact(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def wait(order: Placed) -> None:
        await receive(Noted)

    async with App("shop", workflows=[wait]).run(store) as client:
        await client.emit(Noted())
        early = await until_said(client, NoRun)
        await client.emit(Placed())
        await client.emit(Noted())
        await until_said(client, Returned)
        await client.emit(Noted())
        late = await until_said(client, NoRun, count=2)

    assert (early.reason, late.reason) == ("no run was started", "its run has ended")
    assert (early.type, early.workflow) == ("Noted", "wait")


async def test_what_comes_early_is_kept_until_it_is_asked_for(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def collect(order: Placed) -> str:
        await receive(Paid)
        return " ".join([(await receive(Noted)).text for _ in range(3)])

    app = App("shop", workflows=[collect])
    async with app.run(store) as client:
        await client.emit(Placed())
        for text in ("a", "b", "c"):
            await client.emit(Noted(text=text))
        await until(lambda: not owed(client), "all taken")
    async with app.run(store) as client:
        await client.emit(Paid())
        returned = await until_said(client, Returned)

    assert bytes(returned.value) == b'"a b c"'


# Children.


@step
async def slowly() -> int:
    await asyncio.sleep(0.005)
    return 7


@workflow
async def count_notes(order: Placed) -> str:
    try:
        return (await receive(Noted)).text
    finally:
        await publish(Shipped(order_id=order.order_id))


async def test_a_child_returns_to_its_parent(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def parent(order: Placed) -> str:
        return await child(count_notes, Placed(order_id="2"))

    app = App("shop", workflows=[parent, count_notes])
    async with app.run(store) as client:
        run = await client.start(parent, Placed())
        await until_said(client, Started, case="order:2")
        await client.emit(Noted(order_id="2", text="hello"))
        assert await run.result(timeout="5s") == "hello"
        (started,) = said(client, Started, "order:2")

    assert (started.parent, started.on_close) == (run.id, "wait")


async def test_a_child_outlives_the_engine(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def parent(order: Placed) -> str:
        return await child(count_notes, Placed(order_id="2"))

    app = App("shop", workflows=[parent, count_notes])
    async with app.run(store) as client:
        await client.start(parent, Placed())
        await until_said(client, Started, case="order:2")
    async with app.run(store) as client:
        await client.emit(Noted(order_id="2", text="hello"))
        returned = await until_said(client, Returned)

    assert bytes(returned.value) == b'"hello"'


async def test_a_parent_that_is_cancelled_waits_for_its_cancelled_child(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def parent(order: Placed) -> str:
        return await child(count_notes, Placed(order_id="2"))

    async with App("shop", workflows=[parent, count_notes]).run(store) as client:
        run = await client.start(parent, Placed())
        await until_said(client, Started, case="order:2")
        await ask(client, "cancel", case=CASE, by="ann")
        with pytest.raises(CallFailed) as cancelled:
            await run.result(timeout="5s")

        assert cancelled.value.kind == "cancelled"
        assert said(client, Returned, "order:2")[0].how == "cancelled"
        assert "published Shipped" in kinds(client, "order:2"), "the child may clean up"
        mine, childs = said(client, Returned)[0], said(client, Returned, "order:2")[0]
        order = [fact.body for fact in client.engine.world.store.trail.list_facts() if isinstance(fact.body, Returned)]
        assert order == [childs, mine]


async def test_a_child_that_is_to_be_cancelled_keeps_nobody_waiting(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def parent(order: Placed) -> str:
        return await child(count_notes, Placed(order_id="2"), on_close="cancel")

    async with App("shop", workflows=[parent, count_notes]).run(store) as client:
        await client.start(parent, Placed())
        await until_said(client, Started, case="order:2")
        await ask(client, "cancel", case=CASE)
        await until_said(client, Returned)
        assert (await until_said(client, Returned, case="order:2")).how == "cancelled"


async def test_an_abandoned_child_goes_on(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def parent(order: Placed) -> str:
        return await child(count_notes, Placed(order_id="2"), on_close="abandon")

    async with App("shop", workflows=[parent, count_notes]).run(store) as client:
        await client.start(parent, Placed())
        await until_said(client, Started, case="order:2")
        await ask(client, "cancel", case=CASE)
        await until_said(client, Returned)
        await client.emit(Noted(order_id="2", text="alone"))
        ended = await until_said(client, Returned, case="order:2")
        await client.settle()

    assert (ended.how, bytes(ended.value)) == ("returned", b'"alone"')


# Cancelling.


async def test_a_cancelled_run_undoes_and_ends(store: Path) -> None:
    cards = paying(Attempts(0))

    @cards.handles(Refund)
    async def refund(command: Refund) -> None: ...

    @workflow(starts_on=Placed)
    async def careful(order: Placed) -> None:
        async with saga():
            await call(Pay(), undo=Refund())
            await receive(Shipped)

    async with App("shop", services=[cards], workflows=[careful]).run(store) as client:
        run = await client.start(careful, Placed())
        await until(lambda: "waiting" in kinds(client) or "handled Pay" in kinds(client), "it waits")
        reply = await ask(client, "cancel", case=CASE, by="ann", reason="changed my mind")
        with pytest.raises(CallFailed):
            await run.result(timeout="5s")
        assert "published Refund" in kinds(client)
        (asked,) = said(client, CancelAsked)

    assert (reply.count, asked.by, asked.reason) == (1, "ann", "changed my mind")


async def test_a_case_without_an_open_run_can_not_be_cancelled(store: Path) -> None:
    async with App("shop", workflows=[pay_once]).run(store) as client:
        await client.emit(Noted())
        with pytest.raises(Rejected, match=f"case {CASE} has no open run"):
            await ask(client, "cancel", case=CASE)


async def test_what_has_settled_has_been_committed(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def ship(order: Placed) -> None:
        await call(Pay(order_id=order.order_id), expect=Paid)
        await publish(Shipped(order_id=order.order_id))

    async with App("shop", services=[paying(Attempts(0))], workflows=[ship]).run(store) as client:
        for number in range(60):
            await client.emit(Placed(order_id=str(number)))
            await client.settle()
            assert (await client.where(f"order:{number}")).verdict == "done"


async def test_a_run_that_waits_on_itself_is_listed_and_goes_on_with_code_that_does(store: Path) -> None:
    @workflow(starts_on=Placed, name="flow")
    async def hanging(order: Placed) -> None:
        await call(Pay(order_id=order.order_id), expect=Paid)
        await asyncio.Event().wait()

    @workflow(starts_on=Placed, name="flow")
    async def mended(order: Placed) -> None:
        await call(Pay(order_id=order.order_id), expect=Paid)
        await publish(Shipped(order_id=order.order_id))

    cards = paying(Attempts(0))
    async with App("shop", services=[cards], workflows=[hanging]).run(store) as client:
        await client.emit(Placed())
        waiting = await until_said(client, Waiting)
        assert waiting.open.on_itself
    async with App("shop", services=[cards], workflows=[hanging]).run(store) as client:
        await client.emit(Noted())
        await client.settle()
        assert (await client.where(CASE)).verdict == "dead-ended"
        assert [line.case for line in client.look.list_cases(stuck=True)[0]] == [CASE]
        assert len(said(client, Waiting)) == 1, "it says so once, also where it is rebuilt"
    async with App("shop", services=[cards], workflows=[mended]).run(store) as client:
        await client.settle()
        assert (await client.where(CASE)).verdict == "done"


async def test_a_call_that_nobody_handles_is_stuck(store: Path) -> None:
    async with App("shop", workflows=[pay_once]).run(store) as client:
        await client.start(pay_once, Placed())
        await client.settle()
        listed, _more = client.look.list_cases(stuck=True)
        assert [line.case for line in listed] == [CASE]


async def test_a_run_that_stopped_behind_a_receive_does_not_wait_for_what_it_was_given(store: Path) -> None:
    bug = [True]

    @workflow(starts_on=Placed)
    async def hasty(order: Placed) -> str:
        async with asyncio.TaskGroup() as group:
            other = group.create_task(receive(Shipped))
            paid = await receive(Paid)
            if bug:
                raise KeyError("receipt")
            await other
        return str(paid.pence)

    app = App("shop", services=[paying(Attempts(0))], workflows=[hasty])
    async with app.run(store) as client:
        run = await client.start(hasty, Placed())
        await client.emit(Paid(pence=5))
        await until_said(client, Incident)
        stopped, listed = client.look.line(CASE), client.look.show(CASE)
        assert (stopped.verdict, stopped.waiting_for) == ("failed", ("Shipped",))
        assert "Paid" not in {one.name for one in stopped.next}
        assert [item.name for item in listed.open if item.kind == "wait"] == ["Shipped"]

        await client.emit(Shipped())
        await until(lambda: client.look.where(CASE).waiting_for == (), "what came for the stopped run is not awaited")
        bug.clear()
        await ask(client, "retry", case=CASE)
        assert await run.result(timeout="5s") == "5"


async def test_a_case_whose_run_was_cancelled_says_by_whom_and_what_ends_it(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def patient(order: Placed) -> None:
        await receive(Paid)
        if order.note:
            await publish(Cancelled(reason="never"))
        await publish(Shipped())

    app = App("shop", services=[paying(Attempts(0))], workflows=[patient])
    async with app.run(store) as client:
        await client.start(patient, Placed())
        await ask(client, "cancel", case=CASE, by="ada", reason="no stock")
        await until(lambda: client.look.where(CASE).verdict == "dead-ended", "cancelled")
        reasons = client.look.line(CASE).stuck
        leading = client.look.why(CASE, "Shipped").leading
        assert "run of patient was cancelled by ada (no stock)" in reasons[0]
        assert reasons[1].endswith("; say it by hand: partita signal order:1 Cancelled")
        assert leading.sentence == "run patient/order:1/1 was cancelled by ada (no stock) without Shipped"
        assert leading.command == "partita signal order:1 Cancelled"

        await client.emit(Cancelled())
        assert client.look.line(CASE).verdict == "compensated"
        assert client.look.line(CASE).stuck == ()
