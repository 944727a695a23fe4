"""What users' code may do without taking the engine with it: each ends as a fact, and the next message is handled."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from typing_extensions import override

from partita import (
    App,
    CallFailed,
    Noop,
    Retry,
    Service,
    Transaction,
    Waits,
    noop,
    publish,
    receive,
    step,
    waits_for,
    workflow,
)
from partita.runtime.app import LocalClient
from partita.store.facts import Dead, Duplicate, Handled, Incident, Quarantined
from tests.acceptance.engine import (
    CASE,
    Attempts,
    Count,
    Noted,
    Paid,
    Placed,
    all_facts,
    said,
    until,
    until_said,
)

ONCE = Retry(attempts=1)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


class Speechless(Exception):
    @override
    def __str__(self) -> str:
        raise RuntimeError("I can't say")


class Wordless(Exception):
    @override
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307 - that is its flaw


class Foreign(BaseException):
    """As some libraries have them."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "half a surrogate pair": lambda: OSError("no such file: \udcff"),
    "NUL": lambda: ValueError("a\0b"),
    "raises when it is said": Speechless,
    "says no text": Wordless,
    "no Exception": lambda: Foreign("from elsewhere"),
    "a group": lambda: ExceptionGroup("two", [ValueError("one"), OSError("other")]),
    "very long": lambda: ValueError("x" * 1_000_000),
    "cancellation": asyncio.CancelledError,
    "stop iteration": lambda: StopAsyncIteration("over"),
}
each_error = pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)


async def goes_on(client: LocalClient) -> None:
    """The engine handles the next message, of another case."""
    await client.emit(Noted(order_id="next"))
    await until_said(client, Handled, case="order:next")


def hearing(service: Service) -> Service:
    @service.on(Noted)
    async def hear(event: Noted) -> None: ...

    return service


@each_error
async def test_whatever_an_async_handler_raises_is_a_dead_letter(
    store: Path, error: Callable[[], BaseException]
) -> None:
    cards = hearing(Service("cards", retry=ONCE))

    @cards.on(Placed)
    async def fail(event: Placed) -> None:
        raise error()

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)
        await goes_on(client)
        assert (await client.where(CASE)).verdict == "failed"

    assert dead.error == type(error()).__name__
    assert len(dead.text) <= 2_000


@each_error
@pytest.mark.parametrize("writes", [False, True], ids=["in a thread", "on the writer"])
async def test_whatever_a_plain_handler_raises_is_a_dead_letter(
    store: Path, error: Callable[[], BaseException], writes: bool
) -> None:
    cards = hearing(Service("cards", retry=ONCE))
    if writes:

        @cards.on(Placed)
        def fail(event: Placed, tx: Transaction) -> None:
            raise error()

    else:

        @cards.on(Placed)
        def fail_too(event: Placed) -> None:
            raise error()

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)
        await goes_on(client)

    assert dead.error == type(error()).__name__


@each_error
async def test_whatever_a_local_step_raises_is_its_answer(store: Path, error: Callable[[], BaseException]) -> None:
    @step(retry=ONCE)
    async def fail() -> None:
        raise error()

    @workflow(starts_on=Placed)
    async def trying(order: Placed) -> str:
        try:
            await fail()
        except CallFailed as failed:
            return failed.kind
        return ""

    async with App("shop", workflows=[trying]).run(store) as client:
        run = await client.start(trying, Placed())
        assert await run.result(timeout="5s") == type(error()).__name__


@pytest.mark.parametrize("name", [name for name in ERRORS if name not in {"no Exception", "cancellation"}])
async def test_whatever_a_workflow_raises_is_an_incident(
    store: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "partita")  # xdist can't carry a log with half a surrogate pair
    cards = hearing(Service("cards"))

    @workflow(starts_on=Placed)
    async def failing(order: Placed) -> None:
        raise ERRORS[name]()  # noqa: RSE102 - it makes the error

    async with App("shop", services=[cards], workflows=[failing]).run(store) as client:
        await client.emit(Placed())
        incident = await until_said(client, Incident)
        await goes_on(client)

    assert len(incident.text) <= 2_000


# What they return.


async def test_a_reason_is_kept_whatever_it_holds(store: Path) -> None:
    cards = Service("cards")

    @cards.on(Placed)
    async def pass_by(event: Placed) -> Noop:
        return noop("odd: \udcff \0 " + "x" * 10_000)

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        handled = await until_said(client, Handled)

    assert handled.reason.startswith("odd: ")
    assert len(handled.reason) <= 2_000


async def test_a_wait_is_kept_whoever_it_is_for(store: Path) -> None:
    cards = Service("cards")

    @cards.on(Placed)
    async def wait(event: Placed) -> Waits:
        return waits_for(Paid, who="somebody \udcff")

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Handled)
        assert (await client.where(CASE)).verdict == "waiting"


@pytest.mark.parametrize("within", ["soon", "-1d"])
async def test_a_wait_of_no_duration_is_a_dead_letter(store: Path, within: str) -> None:
    cards = Service("cards")

    @cards.on(Placed)
    async def wait(event: Placed) -> Waits:
        return waits_for(Paid, within=within)

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)

    assert (dead.attempts, "is not a duration" in dead.text) == (1, True)


@pytest.mark.parametrize(
    "text", [2**70, "\ud800", "a\0b", "x" * 3_000_000], ids=["long number", "half a pair", "NUL", "too large"]
)
async def test_an_event_that_can_not_travel_is_a_dead_letter_at_once(store: Path, text: object) -> None:
    gate = Attempts(0)
    cards = hearing(Service("cards"))

    @cards.on(Placed)
    async def emit(event: Placed) -> Noted:
        gate.make()
        return Noted(text=text)  # type: ignore[arg-type]

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)
        await goes_on(client)

    assert (gate.made, dead.attempts) == (1, 1), "another attempt would only repeat what it did outside"


async def test_a_value_that_can_not_be_recorded_ends_its_step_at_once(store: Path) -> None:
    gate = Attempts(0)

    @step
    async def make() -> object:
        gate.make()
        return object()

    @workflow(starts_on=Placed)
    async def making(order: Placed) -> int:
        try:
            await make()
        except CallFailed as failed:
            return failed.attempts
        return 0

    async with App("shop", workflows=[making]).run(store) as client:
        run = await client.start(making, Placed())
        assert await run.result(timeout="5s") == 1
    assert gate.made == 1


async def test_a_workflow_that_returns_what_can_not_be_recorded_is_an_incident(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def making(order: Placed) -> object:
        return object()

    async with App("shop", workflows=[making]).run(store) as client:
        await client.emit(Placed())
        incident = await until_said(client, Incident)

    assert incident.error == "MessageError"


async def test_a_workflow_that_publishes_what_can_not_travel_is_an_incident(store: Path) -> None:
    @workflow(starts_on=Placed)
    async def publishing(order: Placed) -> None:
        await publish(Noted(text="a\0b"))
        await receive(Paid)

    async with App("shop", workflows=[publishing]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Incident)


async def test_a_handler_that_computes_for_ever_holds_the_writer_for_a_second_at_most(store: Path) -> None:
    cards = hearing(Service("cards", retry=ONCE))

    @cards.on(Placed)
    def loop(event: Placed, tx: Transaction) -> None:
        tx.list_rows("with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) as n from n")

    async with App("shop", services=[cards]).run(store) as client:
        await client.emit(Placed())
        dead = await until_said(client, Dead)
        await goes_on(client)

    assert "held the writer for more than 1 s" in dead.text


# What comes again, and who asks at once.


async def test_poison_that_comes_again_is_a_duplicate(store: Path) -> None:
    async with App("shop", services=[hearing(Service("cards"))]).run(store) as client:
        for _ in range(2):
            client.engine.world.transport.put(b"\xff")
        await until(lambda: any(isinstance(fact.body, Duplicate) for fact in all_facts(client)), "a duplicate")
        bodies = [fact.body for fact in all_facts(client)]
        (kept,) = [body for body in bodies if isinstance(body, Quarantined)]
        (again,) = [body for body in bodies if isinstance(body, Duplicate)]

    assert again.message == kept.id


async def test_one_caller_who_stops_waiting_keeps_the_other_waiting(store: Path) -> None:
    go_on = asyncio.Event()
    cards = Service("cards")

    @cards.handles(Count)
    async def count(command: Count) -> int:
        await go_on.wait()
        return 7

    async with App("shop", services=[cards]).run(store) as client:

        async def patient() -> int:
            return await client.call(Count(), key="count", timeout="5s")

        async with asyncio.TaskGroup() as group:
            asking = group.create_task(patient())
            with pytest.raises(CallFailed):
                await client.call(Count(), key="count", timeout="10ms")
            go_on.set()
        assert asking.result() == 7
        assert len(said(client, Handled)) == 1
