"""What one handling writes: with its facts, in one transaction, or not at all; and two handlers in one unit."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from partita import (
    App,
    AsyncTransaction,
    CallFailed,
    Delivery,
    Noop,
    Retry,
    Service,
    Transaction,
    Waits,
    Wiring,
    noop,
    rollback,
    waits_for,
)
from partita.runtime.running import EngineClient as LocalClient
from partita.store.facts import Dead, Handled, Published, Retrying
from partita.store.port import Accepted, Answer, Scope, Unit
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
    trail,
    until,
    until_handled,
    until_said,
)

TABLES = "create table if not exists cards_book (order_id text, what text)"
QUICK = Retry(attempts=3, first="1ms", most="2ms")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def book(tx: Transaction, what: str, order_id: str = "1") -> None:
    tx.execute("insert into cards_book values (?, ?)", order_id, what)


async def booked(client: LocalClient, order_id: str = "1") -> list[str]:
    """What stands in the service's own table, read on the writer, between two units."""
    found: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    def work(unit: Unit, scope: Scope) -> None:
        rows = scope.tx.list_rows("select what from cards_book where order_id = ?", order_id)
        unit.result = [row["what"] for row in rows]

    def answered(answer: Answer) -> None:
        assert isinstance(answer, Accepted)
        found.set_result(answer.result)

    client.engine.world.store.submit(Unit(work=work, answered=answered))
    return await found


# A handler with a transaction.


async def test_a_handler_that_raises_after_writing_has_written_nothing(store: Path) -> None:
    gate = Attempts(1)
    cards = Service("cards", tables=TABLES, retry=QUICK)

    @cards.on(Placed)
    def write(event: Placed, tx: Transaction) -> None:
        book(tx, "written")
        gate.make()

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Handled)
        assert await booked(client) == ["written"]
    assert gate.made == 2


async def test_a_handler_that_breaks_its_contract_has_written_and_published_nothing(store: Path) -> None:
    cards = Service("cards", tables=TABLES)

    @cards.on(Placed)
    def write(event: Placed, tx: Transaction) -> list[Paid]:
        book(tx, "written")
        return [Paid(), Declined()]  # type: ignore[list-item]

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)
        assert await booked(client) == []
        assert [body.type for body in said(client, Published)] == ["Placed"]

    assert (dead.error, dead.attempts) == ("ContractBroken", 1), "another attempt would break it again"


async def test_a_handler_that_returns_nothing_against_its_contract_is_a_dead_letter(store: Path) -> None:
    cards = Service("cards")

    @cards.on(Placed)
    async def forget(event: Placed) -> Paid:
        return None  # type: ignore[return-value]

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)

    assert dead.text.startswith("handler tests.acceptance.test_engine_units.")
    assert "returned nothing, but its contract is Paid" in dead.text


async def test_a_caller_is_told_of_a_broken_contract(store: Path) -> None:
    cards = Service("cards")

    @cards.handles(Count)
    def count(command: Count) -> int:
        return "many"  # type: ignore[return-value]

    async with App("shop", services=[cards]).run(store) as client:
        with pytest.raises(CallFailed, match="returned str, but its contract is int") as failed:
            await client.call(Count(), timeout="5s")

    assert failed.value.kind == "ContractBroken"


async def test_an_answer_after_rollback_is_published_and_nothing_written(store: Path) -> None:
    cards = Service("cards", tables=TABLES)

    @cards.handles(Pay)
    def pay(command: Pay, tx: Transaction) -> Paid | Declined:
        book(tx, "reserved")
        return rollback(Declined(reason="no money"))

    async with App("shop", services=[cards]).run(store) as client:
        assert await client.call(Pay(), timeout="5s") == Declined(reason="no money")
        assert await booked(client) == []
        (handled,) = said(client, Handled)
        assert [body.type for body in said(client, Published)] == ["Pay", "Declined"]

    assert (handled.rolled_back, handled.outcome) == (True, "ok")


async def test_an_async_handler_writes_in_the_transaction_of_its_unit(store: Path) -> None:
    gate = Attempts(1)
    cards = Service("cards", tables=TABLES, retry=QUICK)

    @cards.handles(Pay)
    async def pay(command: Pay, tx: AsyncTransaction) -> Paid | Declined:
        await tx.execute("insert into cards_book values (?, 'written')", command.order_id)
        row = await tx.get_row("select count(*) as n from cards_book")
        await asyncio.sleep(0)
        gate.make()
        return Paid(pence=row["n"])

    async with App("shop", services=[cards]).run(store) as client:
        assert await client.call(Pay(), timeout="5s") == Paid(pence=1)
        assert await booked(client) == ["written"]
        assert [body.attempt for body in said(client, Retrying)] == [1]


async def test_an_async_handler_can_roll_back_and_answer(store: Path) -> None:
    cards = Service("cards", tables=TABLES)

    @cards.handles(Pay)
    async def pay(command: Pay, tx: AsyncTransaction) -> Paid | Declined:
        await tx.execute("insert into cards_book values (?, 'reserved')", command.order_id)
        return rollback(Declined())

    async with App("shop", services=[cards]).run(store) as client:
        assert await client.call(Pay(), timeout="5s") == Declined()
        assert await booked(client) == []
        assert said(client, Handled)[0].rolled_back


async def test_nobody_else_writes_while_an_async_handler_has_its_transaction(store: Path) -> None:
    seen: list[str] = []
    entered = asyncio.Event()
    cards = Service("cards", tables=TABLES)

    @cards.handles(Pay)
    async def pay(command: Pay, tx: AsyncTransaction) -> Paid | Declined:
        seen.append("pay begins")
        entered.set()
        for number in range(20):
            await tx.execute("insert into cards_book values ('1', ?)", str(number))
            await asyncio.sleep(0.001)
        seen.append("pay ends")
        return Paid()

    @cards.on(Noted)
    def note(event: Noted, tx: Transaction) -> None:
        seen.append(f"note meets {tx.get_row('select count(*) as n from cards_book')['n']}")

    async with App("shop", services=[cards]).run(store) as client:
        await client.send(Pay())
        await entered.wait()
        await client.emit(Noted(order_id="2"))
        await until_said(client, Handled, case="order:2")

    assert seen == ["pay begins", "pay ends", "note meets 20"]


async def test_an_async_transaction_that_takes_too_long_is_a_failed_attempt(store: Path) -> None:
    gate = Attempts(1)
    cards = Service("cards", tables=TABLES, timeout="20ms", retry=QUICK)

    @cards.handles(Pay)
    async def pay(command: Pay, tx: AsyncTransaction) -> Paid | Declined:
        await tx.execute("insert into cards_book values ('1', 'written')")
        try:
            gate.make()
        except Broken:
            await asyncio.sleep(0.5)
        return Paid()

    async with App("shop", services=[cards]).run(store) as client:
        assert await client.call(Pay(), timeout="5s") == Paid()
        assert await booked(client) == ["written"]
        assert [body.error for body in said(client, Retrying)] == ["TimeoutError"]


async def test_a_handler_can_not_touch_partitas_own_tables(store: Path) -> None:
    cards = Service("cards", retry=QUICK)

    @cards.on(Placed)
    def meddle(event: Placed, tx: Transaction) -> None:
        tx.execute("delete from obligation")

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)

    assert (dead.error, dead.attempts) == ("DefinitionError", 1)


async def test_a_plain_handler_without_a_transaction_runs_beside_the_loop(store: Path) -> None:
    threads: list[str] = []
    cards = Service("cards")

    @cards.handles(Count)
    def count(command: Count) -> int:
        threads.append(threading.current_thread().name)
        return 3

    async with App("shop", services=[cards]).run(store) as client:
        assert await client.call(Count(), timeout="5s") == 3

    assert threads[0].startswith("partita-handler")


# Answers that are no messages, or say that nothing happened.


async def test_a_noop_says_why_and_publishes_nothing(store: Path) -> None:
    cards = Service("cards")

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined | Noop:
        return noop("it was paid before")

    async with App("shop", services=[cards]).run(store) as client:
        assert await client.call(Pay(), timeout="5s") is None
        (handled,) = said(client, Handled)
        assert [body.type for body in said(client, Published)] == ["Pay"]

    assert (handled.outcome, handled.reason, handled.emitted) == ("noop", "it was paid before", ())


async def test_an_answer_that_is_no_event_goes_to_the_caller_only(store: Path) -> None:
    cards = Service("cards")

    @cards.handles(Count)
    async def count(command: Count) -> int:
        return 42

    async with App("shop", services=[cards]).run(store) as client:
        assert await client.call(Count(), timeout="5s") == 42
        assert [body.type for body in said(client, Published)] == ["Count"]


async def test_an_answer_that_is_an_event_is_published_too(store: Path) -> None:
    cards, mail = Service("cards"), Service("mail")

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        return Paid(pence=5)

    @mail.on(Paid)
    async def send(event: Paid) -> None: ...

    async with App("shop", services=[cards, mail]).run(store) as client:
        assert await client.call(Pay(), timeout="5s") == Paid(pence=5)
        await until_handled(client, "mail")


async def test_a_handler_may_publish_many(store: Path) -> None:
    cards = Service("cards")

    @cards.on(Placed)
    def split(event: Placed) -> list[Noted]:
        return [Noted(text=text) for text in event.note]

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed(note="abc"))
        handled = await until_said(client, Handled)
        emitted = [body for body in said(client, Published) if body.type == "Noted"]

    assert tuple(body.id for body in emitted) == handled.emitted
    assert len(set(handled.emitted)) == 3


async def test_a_choreographed_wait_is_over_when_its_event_comes(store: Path) -> None:
    desk = Service("desk")

    @desk.on(Placed)
    async def decide(event: Placed) -> Paid | Waits:
        return waits_for(Paid | Declined, within="7d", who="a clerk")

    @desk.on(Paid)
    async def ship(event: Paid) -> Shipped:
        return Shipped()

    async with App("shop", services=[desk]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Handled)
        where = await client.where(CASE)
        assert (where.verdict, where.waiting_for) == ("waiting", ("Declined", "Paid"))
        assert where.deadline is not None
        assert (where.deadline - where.since).days == 7

        await client.emit(Paid())
        await until_said(client, Handled, count=2)
        where = await client.where(CASE)
        assert (where.verdict, where.waiting_for, where.deadline) == ("done", (), None)


# Two handlers in one unit.


def paying(gate: Callable[[], None] = lambda: None, **options: Retry) -> tuple[App, Service, Wiring]:
    """A reaction and its own service's handler, both plain and on the store's own file."""
    cards, wiring = Service("cards", tables=TABLES), Wiring("by events")

    @cards.handles(Pay, retry=options.get("command"))
    def pay(command: Pay, tx: Transaction) -> Paid | Declined:
        book(tx, "paid", command.order_id)
        gate()
        return Paid(order_id=command.order_id)

    @wiring.on(Placed, service=cards)
    def pay_when_placed(event: Placed, tx: Transaction) -> Pay:
        book(tx, "placed", event.order_id)
        return Pay(order_id=event.order_id)

    return App("shop", services=[cards], wiring=[wiring]), cards, wiring


async def test_a_reaction_and_its_own_services_handler_are_one_unit(store: Path) -> None:
    app, _cards, _wiring = paying()
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Published, count=3)
        facts = trail(client)
        assert await booked(client) == ["placed", "paid"]
        assert owed(client) == []

    assert [fact.kind for fact in facts] == ["published", "handled", "published", "handled", "published"]
    event, command = (fact.body for fact in facts if isinstance(fact.body, Handled))
    assert isinstance(event, Handled)
    assert isinstance(command, Handled)
    assert (event.group, event.type, event.via) == ("cards/by-events", "Placed", None)
    assert (command.group, command.type, command.via) == ("cards", "Pay", "cards/by-events")
    sent = next(fact.body for fact in facts if isinstance(fact.body, Published) and fact.body.type == "Pay")
    assert isinstance(sent, Published)
    assert event.emitted == (sent.id,)
    assert command.message == sent.id
    assert {fact.at for fact in facts[1:]} == {facts[1].at}, "one unit, one time"


async def test_the_commands_policy_governs_a_unit_of_two_and_nothing_of_a_failed_attempt_stays(store: Path) -> None:
    gate = Attempts(2)
    app, _cards, _wiring = paying(gate.make, command=QUICK)
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Published, count=3)
        assert await booked(client) == ["placed", "paid"]
        retries = said(client, Retrying)

    assert gate.made == 3
    assert [(body.group, body.type) for body in retries] == [("cards/by-events", "Placed")] * 2


async def test_the_dead_letter_of_a_unit_of_two_is_the_events_and_names_the_command(store: Path) -> None:
    gate = Attempts(2)
    app, _cards, _wiring = paying(gate.make, command=Retry(attempts=2, first="1ms"))
    async with app.run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)
        assert (dead.type, dead.group, dead.command, dead.attempts) == ("Placed", "cards/by-events", "Pay", 2)
        assert await booked(client) == []

        await ask(client, "redrive", case=CASE)
        await until_said(client, Published, count=3)
        assert await booked(client) == ["placed", "paid"]


async def test_a_redriven_event_gives_its_command_the_same_id(store: Path) -> None:
    ids: set[str] = set()
    gate = Attempts(1)
    cards, wiring = Service("cards", retry=Retry(attempts=1)), Wiring("by events")

    @cards.handles(Count)
    def count(command: Count, delivery: Delivery) -> int:
        ids.add(delivery.id)
        gate.make()
        return 1

    @wiring.on(Placed, service=cards)
    def count_when_placed(event: Placed) -> Count:
        return Count()

    async with App("shop", services=[cards], wiring=[wiring]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Dead)
        await ask(client, "redrive", case=CASE)
        await until_handled(client, "cards")

    assert len(ids) == 1


async def test_rollback_of_a_covered_handler_keeps_what_its_reaction_wrote(store: Path) -> None:
    cards, wiring = Service("cards", tables=TABLES), Wiring("by events")

    @cards.handles(Pay)
    def pay(command: Pay, tx: Transaction) -> Paid | Declined:
        book(tx, "reserved")
        return rollback(Declined())

    @wiring.on(Placed, service=cards)
    def pay_when_placed(event: Placed, tx: Transaction) -> Pay:
        book(tx, "placed")
        return Pay()

    async with App("shop", services=[cards], wiring=[wiring]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Published, count=3)
        assert await booked(client) == ["placed"]
        assert [body.rolled_back for body in said(client, Handled)] == [False, True]


async def test_a_command_for_another_case_goes_out_as_a_message(store: Path) -> None:
    cards, wiring = Service("cards"), Wiring("by events")

    @cards.handles(Count)
    def count(command: Count) -> int:
        return 1

    @wiring.on(Placed, service=cards)
    def count_when_placed(event: Placed) -> Count:
        return Count(order_id="2")

    async with App("shop", services=[cards], wiring=[wiring]).run(store) as client:
        await client.emit(Placed())
        await until_handled(client, "cards", case="order:2")
        (handled,) = [body for body in said(client, Handled, "order:2") if body.type == "Count"]

    assert handled.via is None


async def test_a_command_of_an_async_handler_goes_out_as_a_message(store: Path) -> None:
    cards, wiring = Service("cards"), Wiring("by events")

    @cards.handles(Count)
    async def count(command: Count) -> int:
        return 1

    @wiring.on(Placed, service=cards)
    def count_when_placed(event: Placed) -> Count:
        return Count()

    async with App("shop", services=[cards], wiring=[wiring]).run(store) as client:
        await client.emit(Placed())
        await until_handled(client, "cards")
        assert [body.via for body in said(client, Handled)] == [None, None]


async def test_a_command_whose_group_is_paused_waits_for_it(store: Path) -> None:
    app, _cards, _wiring = paying()
    async with app.run(store) as client:
        await ask(client, "pause", group="cards")
        await client.emit(Placed())
        await until_handled(client, "cards/by-events")
        assert [(row.group, row.type) for row in owed(client)] == [("cards", "Pay")]
        assert await booked(client) == ["placed"]

        await ask(client, "resume", group="cards")
        await until_handled(client, "cards")
        assert said(client, Handled)[-1].via is None


async def test_a_command_whose_lane_is_busy_goes_behind_what_is_there(store: Path) -> None:
    seen: list[str] = []
    entered, go_on = asyncio.Event(), asyncio.Event()
    cards, wiring = Service("cards"), Wiring("by events")

    @cards.handles(Refund)
    async def refund(command: Refund) -> None:
        entered.set()
        await go_on.wait()
        seen.append("refund")

    @cards.handles(Count)
    def count(command: Count) -> int:
        seen.append("count")
        return 1

    @wiring.on(Placed, service=cards)
    def count_when_placed(event: Placed) -> Count:
        return Count()

    async with App("shop", services=[cards], wiring=[wiring]).run(store) as client:
        await client.send(Refund())
        await entered.wait()
        await client.emit(Placed())
        await until_handled(client, "cards/by-events")
        assert seen == []

        go_on.set()
        await until_said(client, Handled, count=3)

    assert seen == ["refund", "count"]


async def test_what_comes_for_a_lane_that_a_unit_covers_waits_for_it(store: Path) -> None:
    seen: list[str] = []
    entered, go_on = threading.Event(), threading.Event()
    cards, wiring = Service("cards"), Wiring("by events")

    @cards.handles(Count)
    def count(command: Count) -> int:
        entered.set()
        assert go_on.wait(5)
        seen.append("count")
        return 1

    @cards.handles(Refund)
    async def refund(command: Refund) -> None:
        seen.append("refund")

    @wiring.on(Placed, service=cards)
    def count_when_placed(event: Placed) -> Count:
        return Count()

    async with App("shop", services=[cards], wiring=[wiring]).run(store) as client:
        await client.emit(Placed())
        await until(entered.is_set, "the covered handler runs")
        await client.send(Refund())
        assert seen == []

        go_on.set()
        await until_said(client, Handled, count=3)
        assert "handled Count" in kinds(client)

    assert seen == ["count", "refund"]


async def test_an_event_answered_with_an_event_is_one_handling(store: Path) -> None:
    desk, wiring = Service("desk"), Wiring("by events")

    @wiring.on(Declined, service=desk)
    def cancel(event: Declined) -> Cancelled:
        return Cancelled(reason=event.reason)

    async with App("shop", services=[desk], wiring=[wiring]).run(store) as client:
        await client.emit(Declined())
        await until_said(client, Handled)
        assert (await client.where(CASE)).verdict == "compensated"
        published = [fact for fact in trail(client) if isinstance(fact.body, Published)]

    first, second = published
    assert isinstance(first.body, Published)
    assert isinstance(second.body, Published)
    assert [str(cause) for cause in second.causes] == [f"{first.body.id}/desk/by-events#1"]
    assert second.body.correlation == first.body.id
