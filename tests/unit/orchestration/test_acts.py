"""Acts: what they ask for, what they come back with, and by which name they are known."""

import asyncio
import warnings

import pytest

from partita.errors import CallFailed, CallTimeout, DefinitionError, Refused
from partita.orchestration.acts import call, child, now, publish, receive, uuid
from partita.orchestration.asks import AskCall, AskCancelChild, AskChild, AskPublish, AskStep
from partita.orchestration.run import Ended
from partita.orchestration.step import step
from partita.orchestration.workflow import workflow
from partita.retry import Retry
from tests.unit.orchestration.driver import START, US, Driver
from tests.unit.orchestration.words import (
    Charge,
    Charged,
    Confirmed,
    Count,
    OrderPlaced,
    OutOfStock,
    Reserve,
    Reserved,
    Shipped,
)


@step
def double(n: int) -> int:
    return 2 * n


@step(name="pair up", timeout="3s", retry=Retry(attempts=2))
async def pair(n: int, *, other: int = 0) -> tuple[int, int]:
    return n, other


async def test_a_workflow_commands_one_thing_after_another() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> int:
        reserved = await call(Reserve(sku="a"), expect=Reserved)
        charged = await call(Charge(pence=order.total), expect=Charged)
        return charged.pence + len(reserved.bin)

    run = Driver(flow, OrderPlaced(total=5))
    run.answer("Reserve#1", Reserved(bin="abc"))
    run.answer("Charge#1", Charged(pence=5))

    assert run.value == 8
    assert run.asked == [
        AskCall("Reserve#1", Reserve(sku="a")),
        AskCall("Charge#1", Charge(pence=5)),
    ]


async def test_an_answer_that_is_no_event_is_read_as_the_command_declares() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> tuple[int, object]:
        return await call(Count()), await call(Count())

    run = Driver(flow)
    run.answer("Count#1", 4)
    run.answer("Count#2", None)

    assert run.value == (4, None)


async def test_another_answer_than_the_expected_one_is_a_refusal() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            await call(Reserve(), expect=Reserved)
        except Refused as refused:
            return f"{type(refused.answer).__name__}: {refused}"
        return "reserved"

    run = Driver(flow)
    run.answer("Reserve#1", OutOfStock(reason="sold out"))

    assert run.value == "OutOfStock: sold out"


async def test_a_noop_where_something_is_expected_is_a_refusal() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            await call(Reserve(), expect=Reserved)
        except Refused as refused:
            return f"{refused.answer}"
        return "reserved"

    run = Driver(flow)
    run.answer("Reserve#1", None)

    assert run.value == "None"


async def test_a_failed_call_says_what_was_raised_and_how_often() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> tuple[str, str, int]:
        try:
            await call(Reserve())
        except CallFailed as failure:
            return failure.kind, failure.text, failure.attempts
        return "", "", 0

    run = Driver(flow)
    run.fail("Reserve#1", "ConnectionError", "no route", attempts=8)

    assert run.value == ("ConnectionError", "no route", 8)


async def test_a_discarded_call_fails() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            await call(Reserve())
        except CallFailed as failure:
            return f"{failure.kind}: {failure}"
        return ""

    run = Driver(flow)
    run.discard("Reserve#1", "by hand")

    assert run.value == "Discarded: by hand"


async def test_a_call_without_an_answer_in_time_has_an_unknown_outcome() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            await call(Reserve(), timeout="30s")
        except TimeoutError as late:
            return str(late)
        return "in time"

    run = Driver(flow)
    assert run.live.open().wakes == START + 30 * US
    run.advance(30)

    assert run.value == "Reserve had no answer in time: its outcome is unknown"


async def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> Reserved | OutOfStock | None:
        try:
            await call(Reserve(), timeout="30s")
        except CallTimeout:
            return await call(Reserve())
        return None

    run = Driver(flow)
    run.advance(31)
    run.answer("Reserve#1", Reserved(bin="late"))
    run.answer("Reserve#2", Reserved(bin="new"))

    assert run.value == Reserved(bin="new")


async def test_an_answer_is_late_when_its_limit_had_passed_before_it_came() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            await call(Reserve(), timeout="30s")
        except CallTimeout:
            return "late"
        return "in time"

    run = Driver(flow)
    run.now += 31 * US  # the engine was down, or the timer's own turn was still to come
    run.answer("Reserve#1", Reserved())

    assert run.value == "late"
    assert run.live.last_step is None


async def test_limits_that_are_not_reached_are_swept_out() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        for n in range(500):
            async with asyncio.timeout(3_600 + n):
                await asyncio.sleep(0)
        await receive(Shipped)

    run = Driver(flow)

    assert len(run.live._loop._timers) < 100
    assert run.live.open().wakes is None


async def test_a_limit_that_is_not_reached_leaves_nothing_behind() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        async with asyncio.timeout(60):
            await call(Reserve(), timeout="30s")
        await receive(Shipped)

    run = Driver(flow)
    run.answer("Reserve#1", Reserved())

    assert run.live.open().wakes is None
    assert "fired" not in run.kinds


async def test_an_event_is_published_without_waiting_for_anybody() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await publish(Confirmed())
        await publish(Confirmed(), after="2m")

    run = Driver(flow)

    assert run.value is None
    assert run.asked == [
        AskPublish("Confirmed#1", Confirmed(), None),
        AskPublish("Confirmed#2", Confirmed(), 120 * US),
    ]


async def test_a_step_comes_back_as_its_annotation_says() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> tuple[int, object]:
        return await double(4), await pair(1, other=2)

    run = Driver(flow)
    run.stepped("double#1", 8)
    ask = run.asked[1]
    run.stepped("pair up#1", (1, 2))

    assert run.value == (8, (1, 2))
    assert isinstance(ask, AskStep)
    assert (ask.name, ask.args, ask.kwargs, ask.timeout_us, ask.retry) == (
        "pair up",
        (1,),
        {"other": 2},
        3 * US,
        Retry(attempts=2),
    )


async def test_a_step_that_fails_for_good_is_a_failed_call() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> list[str]:
        seen: list[str] = []
        for _ in range(2):
            try:
                await double(1)
            except TimeoutError:
                seen.append("late")
            except CallFailed as failure:
                seen.append(f"{failure.kind}: {failure.text} ({failure.attempts})")
        return seen

    run = Driver(flow)
    run.step_failed("double#1", "ValueError", "odd")
    run.step_failed("double#2", "TimeoutError")

    assert run.value == ["ValueError: odd (3)", "late"]


async def test_outside_of_a_run_a_step_is_a_plain_function() -> None:
    assert await double(2) == 4
    assert await pair(1) == (1, 0)


async def test_a_child_returns_what_its_annotation_says() -> None:
    @workflow(name="inner")
    async def inner(order: OrderPlaced) -> tuple[int, int]:
        return 1, 2

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> tuple[int, int]:
        return await child(inner, order, on_close="abandon")

    run = Driver(flow)
    run.child_ended("inner#1", (1, 2))

    assert run.value == (1, 2)
    assert run.asked == [AskChild("inner#1", inner, OrderPlaced(), "abandon")]


async def test_a_child_that_was_cancelled_is_a_failed_call() -> None:
    @workflow
    async def inner(order: OrderPlaced) -> None:
        pass

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        try:
            await child(inner, order)
        except CallFailed as failure:
            return failure.kind
        return ""

    run = Driver(flow)
    run.child_ended("inner#1", error="cancelled")

    assert run.value == "cancelled"


@pytest.mark.parametrize(
    ("on_close", "asks", "waits"), [("wait", 1, True), ("cancel", 1, False), ("abandon", 0, False)]
)
async def test_whether_a_cancellation_reaches_a_child_is_decided_by_on_close(
    on_close: str, asks: int, waits: bool
) -> None:
    @workflow
    async def inner(order: OrderPlaced) -> None:
        pass

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await child(inner, order, on_close=on_close)  # type: ignore[arg-type]

    run = Driver(flow)
    run.cancel()

    assert run.asked[1:] == [AskCancelChild("inner#1")] * asks
    assert (run.live.outcome is None) is waits
    if waits:
        run.cancel()
        run.child_ended("inner#1", error="cancelled")
    assert run.live.outcome == Ended("cancelled")


async def test_time_is_the_time_of_the_fact_and_never_goes_back() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time(), now().timestamp()]
        for _ in range(2):
            await receive(Shipped)
            seen += [loop.time(), now().timestamp()]
        return seen

    run = Driver(flow)
    run.now += 7 * US
    run.receive(Shipped())
    run.now -= 3 * US
    run.receive(Shipped())

    start = START / US
    assert run.value == [start, start, start + 7, start + 7, start + 7, start + 7]


async def test_a_uuid_is_new_each_time_and_the_same_on_replay() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> tuple[str, str]:
        first = uuid()
        await receive(Shipped)
        return first, uuid()

    run = Driver(flow)
    run.receive(Shipped())

    first, second = run.value
    assert first != second
    assert (len(first), first[14], first[19] in "89ab") == (36, "8", True)


async def test_a_sleep_is_due_to_the_microsecond() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await asyncio.sleep(14 * 86_400)
        async with asyncio.timeout(0.123457):
            await receive(Shipped)

    run = Driver(flow)
    (sleep,) = run.live.open().sleeps
    assert (sleep.step, sleep.name, sleep.due) == ("sleep#1", "sleep", START + 14 * 86_400 * US)
    run.advance(14 * 86_400)
    assert run.live.open().wakes == run.now + 123_457


async def test_an_act_that_is_never_awaited_is_told_and_does_nothing() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        call(Reserve())  # type: ignore[unused-coroutine]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = Driver(flow)

    assert "act 'Reserve#1' was never awaited" in {str(one.message) for one in caught}
    assert run.asked == []


async def test_an_act_can_be_awaited_once() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        act = publish(Confirmed())
        await act
        try:
            await act
        except RuntimeError as error:
            return str(error).partition("\n")[0]
        return ""

    assert Driver(flow).value == "act 'Confirmed#1' was awaited before"


async def test_outside_of_a_run_an_act_says_how_a_run_is_started() -> None:
    with pytest.raises(DefinitionError, match=r"call was used outside of a workflow's run\nStart the workflow with"):
        call(Reserve())  # type: ignore[unused-coroutine]


@pytest.mark.parametrize("act", [lambda: call(OrderPlaced()), lambda: publish(Reserve()), lambda: receive(int)])
async def test_an_act_refuses_what_is_no_message_of_its_kind(act: object) -> None:
    @workflow(starts_on=OrderPlaced, receives=())
    async def flow(order: OrderPlaced) -> None:
        await act()  # type: ignore[operator]

    error = Driver(flow).error
    assert isinstance(error, DefinitionError)
    assert "takes" in str(error)


# Identity.


async def test_a_name_is_counted_within_its_scope() -> None:
    async def ship(n: int) -> None:
        await double(n)
        await double(n)

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await double(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(ship(1))
            group.create_task(ship(2))
            group.create_task(double(3))

    run = Driver(flow)
    run.make_steps()

    inside = [f"ship#{n}/double#{m}" for n in (1, 2) for m in (1, 2)]
    assert sorted(run.steps) == ["double#1", "double#2", *inside]


async def test_tasks_sleeps_and_waits_do_not_move_the_steps_of_their_name() -> None:
    @step(name="sleep")
    def rest() -> None: ...

    @step(name="receive")
    def take() -> None: ...

    async def double_up() -> None:
        await asyncio.sleep(0.1)

    double_up.__qualname__ = "double"

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await asyncio.sleep(1)
        await receive(Shipped, timeout="1s", default=None)
        await asyncio.get_running_loop().create_task(double_up())
        await asyncio.gather(rest(), take(), double(1))

    run = Driver(flow)
    run.advance(3)

    assert run.steps == ["sleep#1", "receive#1", "double#1"]


async def test_a_key_tells_apart_what_is_called_in_a_loop() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await asyncio.gather(*(call(Reserve(sku=sku), key=sku) for sku in ("b", "a")))

    run = Driver(flow)

    assert run.steps == ["Reserve[b]", "Reserve[a]"]


async def test_a_key_is_used_once_in_a_scope() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await call(Reserve(), key="a")
        await call(Reserve(), key="a")

    run = Driver(flow)
    run.answer("Reserve[a]")

    assert "step 'Reserve[a]' was asked for twice" in str(run.error)


async def test_the_order_of_awaiting_does_not_matter() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> tuple[object, object]:
        first, second = call(Reserve(sku="a")), call(Reserve(sku="b"))
        late = await second
        return await first, late

    run = Driver(flow)
    assert [ask.command.sku for ask in run.asked if isinstance(ask, AskCall)] == ["b"]  # type: ignore[attr-defined]
    run.answer("Reserve#2", Reserved(bin="b"))
    run.answer("Reserve#1", Reserved(bin="a"))

    assert run.value == (Reserved(bin="a"), Reserved(bin="b"))


async def test_a_completion_that_comes_before_its_step_is_asked_for_waits_for_it() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> str:
        await receive(Shipped)
        return (await call(Reserve(), expect=Reserved)).bin

    run = Driver(flow)
    run.answer("Reserve#1", Reserved(bin="early"))
    assert run.live.outcome is None
    run.receive(Shipped())

    assert run.value == "early"
