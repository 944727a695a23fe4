"""The hands that make local steps: quick ones share a task, slow ones hold nobody up, each leaves nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, cast

import pytest

from partita.clock import Alarms
from partita.orchestration.asks import AskStep
from partita.orchestration.cells import Cell
from partita.orchestration.steps import StepRunner
from partita.store.facts import Body, Stepped
from partita.testing.virtual import ManualClock

trace: ContextVar[str] = ContextVar("trace", default="nobody's")


class Bench:
    """A runner, and what it has told."""

    def __init__(self) -> None:
        clock = ManualClock()
        self.runner = StepRunner(self.spawn, self.in_thread, clock, Alarms(clock))
        self.tasks: list[asyncio.Task[None]] = []
        self.values: list[bytes] = []
        self.cell = cast("Cell", self)  # the runner looks at nothing but `running`
        self.running: set[str] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine))

    async def in_thread(self, act: Callable[[], Any]) -> Any:
        return act()

    def begin(self, *steps: Callable[[], Awaitable[Any]]) -> None:
        for number, fn in enumerate(steps):
            self.running.add(f"step#{number}")
            self.runner.begin(self.cell, AskStep(f"step#{number}", "step", fn, (), {}), self.stepped)

    def stepped(self, cell: Cell, body: Body, *, record_only: bool = False) -> None:
        assert isinstance(body, Stepped)
        self.values.append(bytes(body.value))

    async def ended(self) -> list[bytes]:
        while self.runner.active:
            await asyncio.sleep(0)
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.values


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_steps_that_end_at_once_share_a_task(bench: Bench) -> None:
    async def quick() -> int:
        return 1

    bench.begin(*[quick] * 500)

    assert await bench.ended() == [b"1"] * 500
    assert len(bench.tasks) == 2


async def test_a_step_that_waits_holds_nobody_up(bench: Bench) -> None:
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "slow"

    async def quick() -> str:
        gate.set()
        return "quick"

    bench.begin(slow, slow, quick)

    assert await bench.ended() == [b'"quick"', b'"slow"', b'"slow"']


async def test_what_a_step_sets_in_its_context_is_not_the_next_ones(bench: Bench) -> None:
    async def leaves() -> str:
        trace.set("left behind")
        return trace.get()

    async def looks() -> str:
        return trace.get()

    bench.begin(leaves, looks, leaves, looks)

    assert await bench.ended() == [b'"left behind"', b'"nobody\'s"'] * 2


async def test_a_step_that_cancels_itself_fails_alone(bench: Bench) -> None:
    async def gives_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def quick() -> int:
        return 1

    bench.begin(gives_up, quick, quick)

    assert await bench.ended() == [b"1", b"1"]
