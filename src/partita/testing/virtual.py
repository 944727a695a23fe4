"""Virtual time: a loop that jumps to its next timer, and clocks that tests own.

Nothing here sleeps. On the virtual loop every order follows from the seed: of callbacks that are ready at the same
instant any may run first, and any callback may be the last one before a crash.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from math import ceil
from random import Random  # noqa: TID251 - the one seeded dice that a simulation throws; never a secret
from typing import Any

from typing_extensions import TypeVar, override

from partita.clock import US, uuid7

T = TypeVar("T")

EPOCH_US = 1_767_225_600 * US
"""Where tests begin to count: 2026-01-01T00:00:00Z."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: whoever still waits would wait for ever."""


class Overrun(RuntimeError):
    """More callbacks have run than any test needs: somebody goes round in circles."""


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's own loop without a selector: time stands still while anything is ready, then jumps to the next timer.

    With a dice, callbacks that are ready together run in a seeded order; asyncio promises less than that about
    callbacks of different tasks, and real threads deliver answers in any order.
    """

    # asyncio's own names, which the class above gives and its types do not.
    _ready: deque[Any]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, dice: Random | None = None, *, steps_max: int = 300_000) -> None:
        super().__init__()
        self.now_us = 0
        self.steps_max = steps_max
        self.steps = 0
        """Callbacks run so far."""
        self._dice = dice
        self._interrupt_at = 0
        self._interrupt: Callable[[], None] | None = None

    @override
    def time(self) -> float:
        return self.now_us / US

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, then let everything go. Raises Deadlock."""
        asyncio.set_event_loop(self)
        try:
            return self.run_until_complete(main)
        finally:
            self._cancel_all()
            asyncio.set_event_loop(None)
            self.close()

    def interrupt_in(self, steps: int, act: Callable[[], None]) -> None:
        """Call `act` between two callbacks, after so many more have run; a second call replaces the first."""
        self._interrupt_at, self._interrupt = self.steps + max(steps, 1), act

    def _cancel_all(self) -> None:
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    # What asyncio's loop asks of the class below it.

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)
        if not ready and not self._stopping:
            if not scheduled:
                raise Deadlock("nothing is ready and no timer is set\nSomebody waits for what nobody will do.")
            self.now_us = max(self.now_us, _due_us(scheduled[0]))
        while scheduled and _due_us(scheduled[0]) <= self.now_us:
            ready.append(heapq.heappop(scheduled))
        if self.steps > self.steps_max:
            self.steps = 0  # what is cancelled now may clean up
            raise Overrun(f"{self.steps_max} callbacks have run, and the end is not in sight")
        turn = list(ready)
        ready.clear()
        if self._dice is not None and len(turn) > 1:
            self._dice.shuffle(turn)
        for handle in turn:
            if not handle.cancelled():
                handle._run()
                self._count_step()

    def _count_step(self) -> None:
        self.steps += 1
        if self.steps == self._interrupt_at and self._interrupt is not None:
            act, self._interrupt = self._interrupt, None
            act()

    def _timer_handle_cancelled(self, _handle: object) -> None:
        """Cancelled timers are dropped when they come up."""

    def _process_events(self, _events: list[object]) -> None:
        """Nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""


def _due_us(timer: asyncio.TimerHandle) -> int:
    return ceil(timer.when() * US - 0.5)


class SimClock:
    """The loop's time as a machine's clock, which may be set forward; ids and chance come from the seed."""

    def __init__(self, loop: VirtualLoop, dice: Random) -> None:
        self._loop = loop
        self._dice = dice
        self._ahead_us = 0

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return EPOCH_US + self._loop.now_us + self._ahead_us

    async def sleep(self, seconds: float) -> None:
        """Sleep on the loop: a clock that is set forward meanwhile does not cut it short, as on a machine."""
        await asyncio.sleep(seconds)

    def new_id(self) -> str:
        """A UUIDv7 from the seed."""
        return uuid7(self.now_us() // 1_000, self._dice.getrandbits(74))

    def chance(self) -> float:
        """A number in [0, 1) from the seed."""
        return self._dice.random()

    def set_forward(self, by_us: int) -> None:
        """Set the clock forward; never back, as SystemClock never goes back."""
        self._ahead_us += max(by_us, 0)

    def set_back(self, by_us: int) -> None:
        """Set the clock back: only while no process runs, since none ever sees its clock go back."""
        self._ahead_us -= by_us


class ManualClock:
    """Stands still until it is moved; those who sleep on it are woken when their time has come."""

    def __init__(self, seed: int = 0) -> None:
        self._now_us = EPOCH_US
        self._dice = Random(seed)
        self._count = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None], asyncio.Task[Any] | None]] = []

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return self._now_us

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has been moved so far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        self._count += 1
        due = self._now_us + ceil(seconds * US)
        heapq.heappush(self._sleepers, (due, self._count, woken, asyncio.current_task()))
        await woken

    def new_id(self) -> str:
        """A UUIDv7 from the seed."""
        return uuid7(self._now_us // 1_000, self._dice.getrandbits(74))

    def chance(self) -> float:
        """A number in [0, 1) from the seed."""
        return self._dice.random()

    def sleeping(self) -> dict[asyncio.Task[Any], int]:
        """Which tasks sleep, and until when."""
        return {task: due for due, _, woken, task in self._sleepers if task is not None and not woken.done()}

    def move_to(self, at_us: int) -> None:
        """Move forward to an instant, and wake whoever slept until then."""
        self._now_us = max(self._now_us, at_us)
        while self._sleepers and self._sleepers[0][0] <= self._now_us:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
