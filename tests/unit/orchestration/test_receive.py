"""Receiving: what comes early waits, what is asked for is taken once, whoever asked first is served first."""

import asyncio

import pytest

from partita.errors import DefinitionError
from partita.orchestration.acts import receive
from partita.orchestration.workflow import workflow
from tests.unit.orchestration.driver import US, Driver
from tests.unit.orchestration.words import Charged, OrderPlaced, ShipmentRefused, Shipped


async def test_what_comes_early_is_kept_in_order() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> list[str]:
        await receive(Charged)
        return [(await receive(Shipped)).parcel for _ in range(3)]

    run = Driver(flow)
    for parcel in "abc":
        run.receive(Shipped(parcel=parcel))
    assert run.live.outcome is None
    run.receive(Charged())

    assert run.value == ["a", "b", "c"]


async def test_a_union_takes_whichever_came_first() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> list[object]:
        await receive(Charged)
        return [await receive(Shipped | ShipmentRefused) for _ in range(3)]

    run = Driver(flow)
    for message in (ShipmentRefused(reason="x"), Shipped(parcel="a"), ShipmentRefused(reason="y")):
        run.receive(message)
    run.receive(Charged())

    assert run.value == [ShipmentRefused(reason="x"), Shipped(parcel="a"), ShipmentRefused(reason="y")]


async def test_a_predicate_picks_and_leaves_the_rest() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> list[str]:
        picked = await receive(Shipped, where=lambda event: event.parcel.startswith("P"))
        return [picked.parcel, (await receive(Shipped)).parcel]

    run = Driver(flow)
    run.receive(Shipped(parcel="x"))
    assert run.live.outcome is None
    run.receive(Shipped(parcel="P1"))

    assert run.value == ["P1", "x"]


async def test_a_buffered_message_is_picked_by_a_predicate_too() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> list[object]:
        await receive(Charged)
        return [
            await receive(
                Shipped | ShipmentRefused, where=lambda event: not isinstance(event, Shipped) or event.parcel == "b"
            ),
            await receive(Shipped),
        ]

    run = Driver(flow)
    for message in (Shipped(parcel="a"), Shipped(parcel="b"), ShipmentRefused()):
        run.receive(message)
    run.receive(Charged())

    assert run.value == [Shipped(parcel="b"), Shipped(parcel="a")]


async def test_several_receivers_are_served_in_the_order_they_asked() -> None:
    async def wait(name: str) -> str:
        return f"{name} {(await receive(Shipped)).parcel}"

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> list[str]:
        return await asyncio.gather(wait("first"), wait("second"), wait("third"))

    run = Driver(flow)
    for parcel in "abc":
        run.receive(Shipped(parcel=parcel))

    assert run.value == ["first a", "second b", "third c"]


async def test_a_predicate_that_raises_fails_the_one_who_gave_it() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> object:
        try:
            await receive(Shipped, where=lambda event: bool(1 / len(event.parcel)))
        except ZeroDivisionError:
            return await receive(Shipped)
        return None

    run = Driver(flow)
    run.receive(Shipped(parcel=""))

    assert run.value == Shipped(parcel="")


async def test_when_nothing_comes_in_time_the_default_comes() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> tuple[object, str]:
        late = await receive(Shipped, timeout="5d", default=None)
        try:
            await receive(Shipped | ShipmentRefused, timeout="1h")
        except TimeoutError as error:
            return late, str(error)
        return late, ""

    run = Driver(flow)
    run.advance(5 * 86_400)
    run.advance(3_600)

    assert run.value == (None, "Shipped | ShipmentRefused did not come in time")


async def test_a_run_says_what_it_waits_for_since_when_and_until_when() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await receive(Shipped | ShipmentRefused, timeout="5d")

    run = Driver(flow)
    (wait,) = run.live.open().waits

    assert (wait.step, wait.types, wait.since) == ("receive#1", ("Shipped", "ShipmentRefused"), run.now)
    assert wait.until == run.live.open().wakes == run.now + 5 * 86_400 * US
    run.receive(Shipped())
    assert run.live.open().waits == ()


async def test_a_message_is_not_lost_on_somebody_who_is_cancelled_as_it_comes() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> object:
        waiting: asyncio.Task[object] = asyncio.get_running_loop().create_task(receive(Shipped))

        async def spoil() -> None:
            await receive(Charged)
            waiting.cancel()

        async with asyncio.TaskGroup() as group:
            group.create_task(spoil())
            await asyncio.wait([waiting])
        assert waiting.cancelled()
        return await receive(Shipped)

    run = Driver(flow)
    # Both come in one unit: the second is applied before the run could tell what the first did.
    run.turns([(run.received(Charged()), Charged()), (run.received(Shipped(parcel="a")), Shipped(parcel="a"))])

    assert run.value == Shipped(parcel="a")


async def test_a_message_taken_and_given_back_keeps_its_place() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> list[str]:
        loop = asyncio.get_running_loop()

        def spoil(_event: Shipped) -> bool:
            return not late.cancel()  # between being asked and being served: the late one is cancelled

        picky = loop.create_task(receive(Shipped, where=spoil))
        late = loop.create_task(receive(Shipped))
        await asyncio.wait([late])
        picky.cancel()
        return [(await receive(Shipped)).parcel for _ in range(2)]

    run = Driver(flow)
    for parcel in "ab":
        run.receive(Shipped(parcel=parcel))

    assert run.value == ["a", "b"]


async def test_a_type_that_the_group_does_not_subscribe_to_is_never_waited_for() -> None:
    @workflow(starts_on=OrderPlaced, receives=(Shipped,))
    async def flow(order: OrderPlaced) -> None:
        await receive(Charged)

    error = Driver(flow).error

    assert isinstance(error, DefinitionError)
    assert "it waits for Charged" in str(error)
    assert "receives=(Charged,)" in str(error)


@pytest.mark.parametrize("count", [1, 5])
async def test_what_nobody_asks_for_stays_in_the_buffer(count: int) -> None:
    @workflow(starts_on=OrderPlaced, receives=(Shipped, Charged))
    async def flow(order: OrderPlaced) -> None:
        await receive(Charged)

    run = Driver(flow)
    for _ in range(count):
        run.receive(Shipped())
    run.receive(Charged())

    assert run.value is None
