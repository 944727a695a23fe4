"""Virtual time: it jumps, it never goes back, and it says so when nobody could go on."""

import asyncio
from random import Random  # noqa: TID251 - the dice that the loop is given

import pytest

from partita.clock import US
from partita.testing.virtual import EPOCH_US, Deadlock, ManualClock, Overrun, SimClock, VirtualLoop


def test_a_sleep_of_a_year_is_over_at_once() -> None:
    loop = VirtualLoop()
    loop.run(asyncio.sleep(365 * 86_400))

    assert loop.now_us == 365 * 86_400 * US


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def main() -> None:
        await asyncio.gather(*(sleep(seconds) for seconds in (3.5, 0.000001, 2.0)))

    VirtualLoop().run(main())

    assert woken == [0.000001, 2.0, 3.5]


def test_a_wait_that_nobody_ends_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        VirtualLoop().run(main())


def test_going_round_in_circles_is_an_error() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Overrun):
        VirtualLoop(steps_max=1_000).run(main())


def test_a_timeout_is_virtual_as_well() -> None:
    async def main() -> bool:
        try:
            async with asyncio.timeout(60):
                await asyncio.sleep(61)
        except TimeoutError:
            return True
        return False

    assert VirtualLoop().run(main())


@pytest.mark.parametrize("seed", range(3))
def test_a_dice_shuffles_what_is_ready_together_the_same_way_each_time(seed: int) -> None:
    async def order() -> list[int]:
        ran: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(8):
            loop.call_soon(ran.append, number)
        await asyncio.sleep(1)
        return ran

    first, second = (VirtualLoop(Random(seed)).run(order()) for _ in range(2))

    assert first == second
    assert sorted(first) == list(range(8))
    assert VirtualLoop().run(order()) == list(range(8))


def test_an_interrupt_comes_between_two_callbacks() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        said: list[str] = []
        loop.interrupt_in(3, lambda: said.append("now"))
        for number in range(6):
            await asyncio.sleep(0)
            said.append(str(number))
        return said

    loop = VirtualLoop()
    said = loop.run(main(loop))

    assert 0 < said.index("now") < len(said) - 1


async def _tell(clock: SimClock, loop: VirtualLoop) -> list[int]:
    told = [clock.now_us()]
    await clock.sleep(1.5)
    told.append(clock.now_us())
    clock.set_forward(-5)
    told.append(clock.now_us())
    clock.set_forward(3_600 * US)
    told.append(clock.now_us())
    return told


def test_the_simulated_clock_goes_forward_only() -> None:
    loop = VirtualLoop()
    told = loop.run(_tell(SimClock(loop, Random(1)), loop))

    assert [at - EPOCH_US for at in told] == [0, 1_500_000, 1_500_000, 1_500_000 + 3_600 * US]


def test_ids_follow_from_the_seed_and_sort_by_time() -> None:
    ids = []
    for _ in range(2):
        clock = ManualClock(seed=5)
        first = clock.new_id()
        clock.move_to(clock.now_us() + US)
        ids.append((first, clock.new_id()))

    assert ids[0] == ids[1]
    assert ids[0][0] < ids[0][1]


async def test_who_sleeps_on_a_manual_clock_wakes_when_it_is_moved_so_far() -> None:
    clock, woken = ManualClock(), list[float]()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (2.0, 1.0, 3.0):
            group.create_task(sleep(seconds))
        await asyncio.sleep(0)
        assert len(clock.sleeping()) == 3

        clock.move_to(clock.now_us() + 2 * US)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert woken == [1.0, 2.0]

        clock.move_to(clock.now_us() + US)
    assert woken == [1.0, 2.0, 3.0]


async def test_a_sleep_of_no_time_yields() -> None:
    await ManualClock().sleep(0)
