"""Handlings on a real store: retries and their ends, order, groups that pause, limits, the start and stop of it all."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from partita import (
    App,
    Delivery,
    Final,
    NotFound,
    Retry,
    RetryLater,
    Service,
    Transaction,
    call,
    publish,
    saga,
    workflow,
)
from partita.clock import SystemClock
from partita.errors import DefinitionError, StoreError
from partita.limits import LIMITS
from partita.runtime import engine
from partita.store.facts import Dead, Handled, Published, Redriven, Retrying
from tests.acceptance.engine import (
    CASE,
    Attempts,
    Broken,
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
    until_handled,
    until_said,
)

QUICK = Retry(attempts=3, first="1ms", most="2ms")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


# Retries.


async def test_a_handler_is_tried_again_until_it_succeeds_under_one_id(store: Path) -> None:
    seen: list[tuple[str, int]] = []
    gate = Attempts(2)
    mail = Service("mail", retry=QUICK)

    @mail.on(Placed)
    async def send(event: Placed, delivery: Delivery) -> None:
        seen.append((delivery.id, delivery.attempt))
        gate.make()

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Placed())
        handled = await until_said(client, Handled)
        failed = said(client, Retrying)

    assert [attempt for _id, attempt in seen] == [1, 2, 3]
    assert len({key for key, _attempt in seen}) == 1
    assert (handled.attempt, handled.outcome) == (3, "ok")
    assert [(body.attempt, body.error, body.text) for body in failed] == [
        (1, "Broken", "not yet"),
        (2, "Broken", "not yet"),
    ]


async def test_the_wait_between_attempts_grows(store: Path) -> None:
    began: list[int] = []
    gate, clock = Attempts(2), SystemClock()
    mail = Service("mail", retry=Retry(attempts=3, first="20ms", factor=3))

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        began.append(clock.now_us())
        gate.make()

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Handled)
        first, second = said(client, Retrying)

    # Less a jitter of up to a quarter; from above only the machine's load is a limit.
    assert first.due - began[0] >= 15_000
    assert second.due - began[1] >= 45_000
    assert began[1] >= first.due
    assert began[2] >= second.due


async def test_retry_later_has_a_delay_of_its_own(store: Path) -> None:
    began: list[int] = []
    gate, clock = Attempts(1, lambda: RetryLater("the gateway is busy", after="40ms")), SystemClock()
    mail = Service("mail", retry=Retry(attempts=3, first="1h"))

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        began.append(clock.now_us())
        gate.make()

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Placed())
        handled = await until_said(client, Handled)
        (later,) = said(client, Retrying)

    assert (handled.attempt, later.error, later.text) == (2, "RetryLater", "the gateway is busy")
    assert later.due - began[0] >= 40_000
    assert began[1] >= later.due


async def test_retry_later_after_what_is_no_duration_is_a_dead_letter_that_says_so(store: Path) -> None:
    mail = Service("mail", retry=QUICK)

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        raise RetryLater("busy", after="soon")

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)

    assert (dead.attempts, dead.text[:24]) == (1, "'soon' is not a duration")


@pytest.mark.parametrize("error", [Final("never"), ZeroDivisionError("never")])
async def test_a_final_error_is_not_tried_again(store: Path, error: Exception) -> None:
    gate = Attempts(9, lambda: error)
    mail = Service("mail", retry=Retry(attempts=5, first="1ms", final=(ArithmeticError,)))

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        gate.make()

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)

    assert (gate.made, dead.attempts, dead.error, dead.text) == (1, 1, type(error).__name__, "never")


async def test_a_plain_handler_and_one_on_the_writer_are_retried_alike(store: Path) -> None:
    plain, writing = Attempts(1), Attempts(1)
    mail, stock = Service("mail", retry=QUICK), Service("stock", retry=QUICK)

    @mail.on(Placed)
    def send(event: Placed) -> None:
        plain.make()

    @stock.on(Placed)
    def book(event: Placed, tx: Transaction) -> None:
        writing.make()

    async with App("shop", services=[mail, stock]).run(store) as client:
        await client.emit(Placed())
        await until_handled(client, "mail", "stock")
        handled = {body.group: body.attempt for body in said(client, Handled)}

    assert handled == {"mail": 2, "stock": 2}


async def test_a_handler_that_raises_a_cancellation_of_its_own_is_tried_again(store: Path) -> None:
    gate = Attempts(1, asyncio.CancelledError)  # type: ignore[arg-type]
    mail = Service("mail", retry=QUICK)

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        gate.make()

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Placed())
        handled = await until_said(client, Handled)

    assert handled.attempt == 2


async def test_an_async_handler_that_takes_too_long_has_failed_its_attempt(store: Path) -> None:
    gate = Attempts(1)
    mail = Service("mail", retry=QUICK, timeout="20ms")

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        try:
            gate.make()
        except Broken:
            await asyncio.Event().wait()

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Placed())
        handled = await until_said(client, Handled)
        (failed,) = said(client, Retrying)

    assert (failed.error, handled.attempt) == ("TimeoutError", 2)


# Dead letters.


async def test_a_dead_letter_fails_its_case_until_it_is_redriven(store: Path) -> None:
    gate = Attempts(3)
    mail = Service("mail", retry=QUICK)

    @mail.on(Placed)
    async def send(event: Placed, delivery: Delivery) -> Shipped:
        gate.make()
        return Shipped()

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)
        assert (dead.attempts, dead.error, dead.held) == (3, "Broken", False)
        assert "Broken: not yet" in dead.trace
        assert (await client.where(CASE)).verdict == "failed"

        reply = await ask(client, "redrive", case=CASE, by="ann")
        handled = await until_said(client, Handled)
        assert (await client.where(CASE)).verdict == "done"

    assert reply.count == 1
    assert handled.attempt == 1, "attempts count from 0 again"


async def test_a_discarded_dead_letter_no_longer_fails_its_case(store: Path) -> None:
    mail, ends = Service("mail", retry=Retry(attempts=1)), Service("ends")

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        raise Broken("for good")

    @ends.on(Placed)
    async def end(event: Placed) -> Shipped:
        return Shipped()

    async with App("shop", services=[mail, ends]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Dead)
        await until_handled(client, "ends")
        assert (await client.where(CASE)).verdict == "failed"

        await ask(client, "discard", message=said(client, Dead)[0].message, by="ann", reason="not needed")
        assert (await client.where(CASE)).verdict == "done"
        assert owed(client) == []


async def test_a_dead_letter_lets_its_case_go_on(store: Path) -> None:
    handled: list[str] = []
    mail = Service("mail", retry=Retry(attempts=1))

    @mail.on(Noted)
    async def send(event: Noted) -> None:
        if event.text == "bad":
            raise Broken("for good")
        handled.append(event.text)

    async with App("shop", services=[mail]).run(store) as client:
        for text in ("bad", "good"):
            await client.emit(Noted(text=text))
        await until_said(client, Handled)
        assert handled == ["good"]


async def test_a_redriven_message_enters_behind_what_waits(store: Path) -> None:
    handled: list[str] = []
    gate = Attempts(1)
    mail = Service("mail", retry=Retry(attempts=1))

    @mail.on(Noted)
    async def send(event: Noted) -> None:
        if event.text == "bad":
            gate.make()
        handled.append(event.text)

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Noted(text="bad"))
        await until_said(client, Dead)
        await ask(client, "pause", group="mail")
        for text in ("second", "third"):
            await client.emit(Noted(text=text))
        await ask(client, "redrive", case=CASE)
        assert said(client, Redriven)[0].group == "mail"
        await ask(client, "resume", group="mail")
        await until_said(client, Handled, count=3)

    assert handled == ["second", "third", "bad"]


async def test_a_dead_letter_with_hold_blocks_its_case_and_no_other(store: Path) -> None:
    handled: list[str] = []
    gate = Attempts(1)
    mail = Service("mail", retry=Retry(attempts=1))

    @mail.on(Noted, hold=True)
    async def send(event: Noted) -> None:
        if event.text == "bad":
            gate.make()
        handled.append(f"{event.order_id} {event.text}")

    app = App("shop", services=[mail])
    async with app.run(store) as client:
        await client.emit(Noted(text="bad"))
        await until_said(client, Dead)
        await client.emit(Noted(text="good"))
        await client.emit(Noted(order_id="2", text="good"))
        await until_said(client, Handled, case="order:2")
        assert handled == ["2 good"]

    async with app.run(store) as client:
        await client.emit(Noted(order_id="2", text="again"))
        await until_said(client, Handled, count=2, case="order:2")
        assert handled == ["2 good", "2 again"], "the block outlives the engine"

        await ask(client, "redrive", case=CASE)
        await until_said(client, Handled, count=2)
        assert sorted(handled[2:]) == ["1 bad", "1 good"]


async def test_a_discarded_dead_letter_with_hold_lets_its_case_go_on(store: Path) -> None:
    handled: list[str] = []
    mail = Service("mail", retry=Retry(attempts=1))

    @mail.on(Noted, hold=True)
    async def send(event: Noted) -> None:
        if event.text == "bad":
            raise Broken("for good")
        handled.append(event.text)

    async with App("shop", services=[mail]).run(store) as client:
        for text in ("bad", "good"):
            await client.emit(Noted(text=text))
        await until_said(client, Dead)
        await ask(client, "discard", case=CASE)
        await until_said(client, Handled)

    assert handled == ["good"]


async def test_a_dead_observer_counts_for_nothing(store: Path) -> None:
    watching, ends = Service("watching", retry=Retry(attempts=1)), Service("ends")

    @watching.on(Placed, observer=True)
    async def look(event: Placed) -> None:
        raise Broken("for good")

    @ends.on(Placed)
    async def end(event: Placed) -> Shipped:
        return Shipped()

    async with App("shop", services=[watching, ends]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Dead)
        await until_handled(client, "ends")
        where = await client.where(CASE)
        assert (where.verdict, where.at) == ("done", "Shipped")
        assert [line.observer for line in client.look.list_dead()] == [True]


# Order.


async def test_messages_of_a_case_are_handled_in_order_whatever_fails(store: Path) -> None:
    handled: list[str] = []
    gate = Attempts(2)
    mail = Service("mail", retry=Retry(attempts=5, first="5ms"))

    @mail.on(Noted)
    async def send(event: Noted) -> None:
        if event.text == "1":
            gate.make()
        handled.append(event.text)

    async with App("shop", services=[mail]).run(store) as client:
        for number in range(6):
            await client.emit(Noted(text=str(number)))
        await until_said(client, Handled, count=6)

    assert handled == ["0", "1", "2", "3", "4", "5"]


async def test_a_case_that_retries_keeps_no_other_waiting(store: Path) -> None:
    mail = Service("mail", retry=Retry(attempts=5, first="1h"))

    @mail.on(Noted)
    async def send(event: Noted) -> None:
        if event.order_id == "1":
            raise Broken("not yet")

    async with App("shop", services=[mail]).run(store) as client:
        await client.emit(Noted(order_id="1"))
        await until_said(client, Retrying)
        await client.emit(Noted(order_id="2"))
        await until_said(client, Handled, case="order:2")
        assert (await client.where(CASE)).verdict == "running"


async def test_no_more_run_at_once_than_the_limit_says_and_all_run(store: Path) -> None:
    now = most = 0
    cards = Service("cards", concurrency=2)

    @cards.on(Placed)
    async def charge(event: Placed) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1

    cases = [f"order:{number}" for number in range(9)]
    async with App("shop", services=[cards]).run(store) as client:
        for case in cases:
            await client.emit(Placed(order_id=case.partition(":")[2]))
        for case in cases:
            await until_said(client, Handled, case=case)

    assert most == 2


async def test_a_call_that_is_withdrawn_leaves_its_place_to_the_next(store: Path) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    cards = Service("cards", concurrency=1)

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        if command.order_id == "first":
            entered.set()
            await go_on.wait()
        return Paid(order_id=command.order_id)

    @cards.handles(Refund)
    async def refund(command: Refund) -> None: ...

    @workflow(starts_on=Placed)
    async def impatient(order: Placed) -> str:
        try:
            async with saga():
                await call(Pay(order_id=order.order_id), undo=Refund(order_id=order.order_id), timeout="1ms")
        except TimeoutError:
            pass
        return "gave up"

    async with App("shop", services=[cards], workflows=[impatient]).run(store) as client:
        await client.send(Pay(order_id="first"))
        await entered.wait()
        run = await client.start(impatient, Placed(order_id="second"))
        await client.send(Pay(order_id="third"))
        assert await run.result(timeout="5s") == "gave up"
        go_on.set()
        await until_said(client, Handled, case="order:third")
        assert "withdrawn Pay" in kinds(client, "order:second")


# Groups.


async def test_a_paused_group_handles_nothing_until_it_is_resumed(store: Path) -> None:
    mail, stock = Service("mail"), Service("stock")

    @mail.on(Placed)
    async def send(event: Placed) -> None: ...

    @stock.on(Placed)
    async def book(event: Placed) -> None: ...

    app = App("shop", services=[mail, stock])
    async with app.run(store) as client:
        await ask(client, "pause", group="mail", by="ann")
        await client.emit(Placed())
        await until_handled(client, "stock")
        assert [row.group for row in owed(client)] == ["mail"]
        line = next(line for line in client.look.list_groups() if line.name == "mail")
        assert (line.state, line.owing, line.by) == ("paused", 1, "ann")

    async with app.run(store) as client:
        await client.settle()
        assert [row.group for row in owed(client)] == ["mail"], "a pause outlives the engine"

        await ask(client, "resume", group="mail")
        await until_handled(client, "mail")


async def test_a_group_that_nobody_has_can_not_be_paused(store: Path) -> None:
    async with App("shop", services=[Service("mail")]).run(store) as client:
        with pytest.raises(NotFound, match="no group 'mial'"):
            await ask(client, "pause", group="mial")


async def test_a_group_that_comes_later_owes_nothing_of_what_was_before(store: Path) -> None:
    handled: list[str] = []
    mail, late = Service("mail"), Service("late")

    @mail.on(Noted)
    async def send(event: Noted) -> None: ...

    @late.on(Noted)
    async def look(event: Noted) -> None:
        handled.append(event.text)

    async with App("shop", services=[mail]).run(store) as client:
        await ask(client, "pause", group="mail")
        await client.emit(Noted(text="before"))

    async with App("shop", services=[mail, late]).run(store) as client:
        await client.emit(Noted(text="after"))
        await until_handled(client, "late")
        await ask(client, "resume", group="mail")
        await until_said(client, Handled, count=3)
        assert [body.owes for body in said(client, Published)] == [("mail",), ("mail", "late")]

    assert handled == ["after"]


# Time.


async def test_a_delayed_event_is_handled_when_it_is_due_and_not_before(store: Path) -> None:
    handled: list[str] = []
    mail = Service("mail")

    @mail.on(Noted)
    async def send(event: Noted) -> None:
        handled.append(event.text)

    @workflow(starts_on=Placed)
    async def remind(order: Placed) -> None:
        await publish(Noted(text="later"), after="60ms")
        await publish(Noted(text="now"))

    async with App("shop", services=[mail], workflows=[remind]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Handled)
        assert (await client.where(CASE)).verdict == "waiting"
        await until_said(client, Handled, count=2)
        facts = client.engine.world.store.trail.list_case_facts(CASE)

    assert handled == ["now", "later"]
    later = next(fact.body for fact in facts if isinstance(fact.body, Published) and b"later" in bytes(fact.body.data))
    done = next(fact.at for fact in facts if isinstance(fact.body, Handled) and fact.body.message == later.id)
    assert later.due is not None
    assert done >= later.due


async def test_a_delayed_event_outlives_the_engine(store: Path) -> None:
    handled: list[str] = []
    mail = Service("mail")

    @mail.on(Noted)
    async def send(event: Noted) -> None:
        handled.append(event.text)

    @workflow(starts_on=Placed)
    async def remind(order: Placed) -> None:
        await publish(Noted(text="later"), after="100ms")

    app = App("shop", services=[mail], workflows=[remind])
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Published, count=2)
        assert handled == []

    async with app.run(store) as client:
        await until_said(client, Handled)

    assert handled == ["later"]


async def test_a_delayed_event_that_retries_blocks_its_case_after_a_new_start_too(store: Path) -> None:
    handled: list[str] = []
    mail = Service("mail", retry=Retry(attempts=9, first="1h"))

    @mail.on(Noted)
    async def send(event: Noted) -> None:
        if event.text == "later":
            raise Broken("not yet")
        handled.append(event.text)

    @workflow(starts_on=Placed)
    async def remind(order: Placed) -> None:
        await publish(Noted(text="later"), after="1ms")

    app = App("shop", services=[mail], workflows=[remind])
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Retrying)

    async with app.run(store) as client:
        await client.emit(Noted(text="behind it"))
        await client.emit(Noted(order_id="2", text="beside it"))
        await until_said(client, Handled, case="order:2")

    assert handled == ["beside it"]


# The start and the stop.


async def test_a_clean_stop_lets_what_is_being_handled_end(store: Path) -> None:
    entered = asyncio.Event()
    mail = Service("mail")

    @mail.on(Placed)
    async def send(event: Placed) -> Shipped:
        entered.set()
        await asyncio.sleep(0.05)
        return Shipped()

    app = App("shop", services=[mail])
    async with app.run(store) as client:
        await client.emit(Placed())
        await entered.wait()

    async with app.client(store) as reader:
        assert (await reader.where(CASE)).verdict == "done"


async def test_a_clean_stop_does_not_wait_for_those_who_wait_for_a_place(store: Path) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    cards = Service("cards", concurrency=1)

    @cards.on(Placed)
    async def charge(event: Placed) -> None:
        entered.set()
        await go_on.wait()

    app = App("shop", services=[cards])
    began = asyncio.get_running_loop().time()
    async with app.run(store) as client:
        for number in range(5):
            await client.emit(Placed(order_id=str(number)))
        await entered.wait()
        go_on.set()
    assert asyncio.get_running_loop().time() - began < 5

    async with app.run(store) as client:
        for number in range(5):
            await until_said(client, Handled, case=f"order:{number}")


async def test_what_does_not_end_in_time_is_cut_off_and_claimed_the_next_time(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LIMITS", replace(LIMITS, drain_s=0.02))
    entered, open_gate = asyncio.Event(), False
    mail = Service("mail")

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        entered.set()
        if not open_gate:
            await asyncio.Event().wait()

    app = App("shop", services=[mail])
    async with app.run(store) as client:
        await client.emit(Placed())
        await entered.wait()

    open_gate = True
    async with app.run(store) as client:
        assert not client.engine.world.clean
        handled = await until_said(client, Handled)
        assert "claimed Placed" in kinds(client)

    assert handled.attempt == 1


async def test_an_attempt_of_a_clean_stop_is_no_claim(store: Path) -> None:
    mail = Service("mail", retry=Retry(attempts=9, first="1h"))

    @mail.on(Placed)
    async def send(event: Placed) -> None:
        raise Broken("not yet")

    app = App("shop", services=[mail])
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Retrying)

    async with app.run(store) as client:
        assert client.engine.world.clean
        (row,) = owed(client)
        assert (row.attempts, row.claims) == (1, 0)


async def test_a_store_is_run_once_at_a_time(store: Path) -> None:
    app = App("shop", services=[Service("mail")])
    async with app.run(store):
        with pytest.raises(StoreError) as refused:
            async with app.run(store):
                pass

    why, remedy = str(refused.value).split("\n")
    assert why.startswith(f"store {store}: held by process ")
    assert remedy.startswith("Stop it (kill ")


async def test_an_error_of_the_block_leaves_it_as_it_is(store: Path) -> None:
    app = App("shop", services=[Service("mail")])

    with pytest.raises(NotFound, match="no case 'order:1'"):
        async with app.run(store) as client:
            await client.where(CASE)

    async with app.run(store) as client:
        assert client.engine.world.clean, "the store was let go of cleanly all the same"


async def test_services_make_their_tables_whenever_the_store_is_taken(store: Path) -> None:
    stock = Service(
        "stock",
        tables="""
            create table if not exists stock_seen (order_id text primary key, note text default ';');
            create table if not exists stock_log (order_id text);
            create trigger if not exists stock_noted after insert on stock_seen begin
                insert into stock_log values (new.order_id); end;
        """,
    )
    found: list[str] = []

    @stock.on(Placed)
    def look(event: Placed, tx: Transaction) -> None:
        tx.execute("insert into stock_seen (order_id) values (?)", event.order_id)
        found.extend(row["order_id"] for row in tx.list_rows("select order_id from stock_log"))

    app = App("shop", services=[stock])
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Handled)
    async with app.run(store) as client:
        await client.emit(Placed(order_id="2"))
        await until_said(client, Handled, case="order:2")

    assert found == ["1", "1", "2"]


async def test_tables_that_can_not_be_made_are_refused_by_the_services_name(store: Path) -> None:
    app = App("shop", services=[Service("stock", tables="create tabel stock_seen (id)")])

    with pytest.raises(DefinitionError, match=r"service stock: its tables can't be made: .*\nUse .create"):
        async with app.run(store):
            pass
