"""The hands that make local steps: quick ones share a task, slow ones hold nobody up, each leaves nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, cast

import pytest

from partita.clock import Alarms
from partita.limits import LIMITS
from partita.orchestration.asks import AskStep
from partita.orchestration.cells import Cell
from partita.orchestration.steps import StepRunner
from partita.retry import Retry
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
        self.errors: list[str] = []
        self.cell = cast("Cell", self)  # the runner looks at nothing but `running`
        self.running: set[str] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine))

    async def in_thread(self, act: Callable[[], Any]) -> Any:
        return act()

    def begin(self, *steps: Callable[[], Awaitable[Any]], returns: object = Any) -> None:
        for number, fn in enumerate(steps):
            self.running.add(f"step#{number}")
            ask = AskStep(f"step#{number}", "step", fn, (), {}, retry=Retry(attempts=1), returns=returns)
            self.runner.begin(self.cell, ask, self.stepped)

    def stepped(self, cell: Cell, body: Body, *, record_only: bool = False) -> None:
        assert isinstance(body, Stepped)
        if body.error is None:
            self.values.append(bytes(body.value))
        else:
            self.errors.append(f"{body.error}: {body.text}")

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


LATE = "TimeoutError: step step took longer than 50 ms (limits.attempt_s). Give it a timeout=, or let it end sooner."


async def test_a_step_that_never_returns_fails_and_the_others_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "attempt_s", 0.05)

    async def never() -> None:
        await asyncio.Event().wait()

    async def takes_its_time() -> int:
        await asyncio.sleep(0.03)
        return 2

    async def quick() -> int:
        return 1

    bench.begin(never, takes_its_time, quick, never)
    assert sorted(await bench.ended()) == [b"1", b"2"]
    assert bench.errors == [LATE] * 2

    bench.begin(never)
    await bench.ended()
    assert bench.errors == [LATE] * 3


async def test_a_step_that_will_not_be_ended_still_has_its_say(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "attempt_s", 0.01)

    async def goes_on() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "went on"

    bench.begin(goes_on)

    assert await bench.ended() == [b'"went on"']


@pytest.mark.parametrize(
    ("value", "returns", "says"),
    [
        ("seven", int, "step step returned str, and its annotation says int: Expected `int`, got `str`"),
        (None, int, "step step returned NoneType, and its annotation says int: Expected `int`, got `null`"),
        (1, type(None), "step step returned int, and its annotation says NoneType: Expected `null`, got `int`"),
        ([1, "a"], list[int], "step step returned list, and its annotation says list[int]: Expected `int`, got `str`"),
    ],
)
async def test_a_value_that_the_annotation_does_not_allow_is_not_kept(
    bench: Bench, value: Any, returns: object, says: str
) -> None:
    async def wrong() -> Any:
        return value

    bench.begin(wrong, returns=returns)

    assert await bench.ended() == []
    assert bench.errors[0].startswith(f"MessageError: {says}")
    assert bench.errors[0].endswith("Mend the function, or its annotation.")


@pytest.mark.parametrize(
    ("value", "returns"), [(7, int), (None, type(None)), (1, float), ((1, 2), list[int]), ("x", Any), ({1}, set[int])]
)
async def test_a_value_that_it_allows_is_kept(bench: Bench, value: Any, returns: object) -> None:
    async def right() -> Any:
        return value

    bench.begin(right, returns=returns)
    assert len(await bench.ended()) == 1
    assert bench.errors == []
