"""The same programs on asyncio's own loop: what their primitives mean where no partita is around.

Nothing here is partita's but the numbers by which tasks are hashed, so that a set of tasks has the same order in both.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from partita.errors import CallTimeout
from partita.orchestration.unordered import hash_by_birth
from tests.simulation.programs import Node, Walk, describe
from tests.unit.orchestration.words import ShipmentRefused, Shipped

_TIE_S = 1e-9
_CLOSES_MAX = 100


class _Task(asyncio.Task[Any]):
    def __init__(self, coro: Any, *, loop: StockLoop, **options: Any) -> None:
        self._digest = loop.next_digest()
        super().__init__(coro, loop=loop, **options)

    @override
    def __hash__(self) -> int:
        return self._digest


class _Future(asyncio.Future[Any]):
    __hash__ = hash_by_birth  # type: ignore[assignment]


class _NoSelector:
    def select(self, _timeout: float | None) -> list[Any]:
        return []


class StockLoop(asyncio.BaseEventLoop):
    """asyncio's loop as it is, with a clock that the test moves. Timers that are due together fire by age."""

    def __init__(self, next_digest: Callable[[], int]) -> None:
        super().__init__()
        self.next_digest = next_digest
        self.now = 0.0
        self.kept: list[_Task] = []
        self.failure: Any = None
        self._selector = _NoSelector()
        self._clock_resolution = 1e-4
        self._age = 0
        self.set_task_factory(self._make_task)

    def settle(self) -> None:
        """Run until nothing can move."""
        events._set_running_loop(self)
        try:
            while self._ready or self._is_due():
                self._run_once()
        finally:
            events._set_running_loop(None)

    def next_due(self) -> float | None:
        """When the earliest timer is due."""
        return min((timer.when() for timer in self._scheduled if not timer.cancelled()), default=None)

    @override
    def time(self) -> float:
        return self.now

    @override
    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        self._age += 1
        return super().call_at(when + self._age * _TIE_S, callback, *args, context=context)

    @override
    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    @override
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failure = self.failure or context.get("exception")

    def _make_task(self, _loop: Any, coro: Any, **options: Any) -> _Task:
        task = _Task(coro, loop=self, **options)
        self.kept.append(task)
        return task

    def _is_due(self) -> bool:
        due = self.next_due()
        return due is not None and due < self.now + self._clock_resolution

    def _process_events(self, _events: list[Any]) -> None:
        """Nothing comes from outside."""


@dataclass(eq=False)
class _Wait:
    future: asyncio.Future[Any]
    came: Any = None
    wants: Callable[[Any], bool] = bool


class Stock:
    """One program on a stock loop, as a world of its own."""

    def __init__(self, program: Node, next_digest: Callable[[], int]) -> None:
        self.loop = StockLoop(next_digest)
        self.walk = Walk(self)
        self.ended: tuple[str, str] | None = None
        self.open: dict[int, _Wait] = {}
        """Calls, steps and children that somebody waits for."""
        self.receivers: dict[int, _Wait] = {}
        self.buffer: list[tuple[int, Any]] = []
        """Messages that nobody has taken, with their place in the order of coming."""
        self.passed_on: list[int] = []
        """Children that were asked to cancel."""
        self._came = 0
        self._is_ending = False
        self.main = self.loop.create_task(self.walk.run(program))
        self._settle()

    # What happens to it.

    def move_to(self, seconds: float) -> None:
        """Let time pass, at once; what is due fires."""
        self.loop.now = max(self.loop.now, seconds)
        self._settle()

    def complete(self, n: int, came: Any) -> None:
        """A value, or an error, for whoever waits for that leaf."""
        wait = self.open.get(n)
        if wait is not None and wait.came is None:
            wait.came = came
            _wake(wait.future)
        self._settle()

    def receive_message(self, message: Any) -> None:
        """A message came."""
        self._came += 1
        self.loop.call_soon(self._offer, self._came, message)
        self._settle()

    def cancel(self) -> None:
        """The run is cancelled."""
        if not self._is_ending:
            self.main.cancel()
        self._settle()

    def close(self) -> None:
        """Let go of everything: what still runs is cancelled until it is done."""
        self.walk.is_over = True
        for _ in range(_CLOSES_MAX):
            live = [task for task in self.loop.kept if not task.done()]
            if not live:
                break
            for wait in self.open.values():
                wait.came = "gone"
            for task in live:
                task.cancel()
            self.loop.settle()
        for task in self.loop.kept:
            task._log_destroy_pending = task._log_traceback = False
        self.loop.close()

    # Its end, as asyncio.run makes it.

    def _settle(self) -> None:
        if self.ended is not None:
            return
        self.loop.settle()
        while self.ended is None and self._is_over():
            self.loop.settle()

    def _is_over(self) -> bool:
        loop, main = self.loop, self.main
        if loop.failure is not None:
            self.ended = "raised", describe(loop.failure)
        elif not main.done():
            return False
        elif not main.cancelled() and main.exception() is not None:
            self.ended = "raised", describe(main.exception())
        elif not self._is_ending:
            self._is_ending = True
            for task in [task for task in loop.kept if not task.done()]:
                task.cancel()
            return True
        elif all(task.done() for task in loop.kept):
            unseen = next((task.exception() for task in loop.kept if task._log_traceback), None)
            if unseen is not None:
                self.ended = "raised", describe(unseen)
            else:
                self.ended = ("cancelled", "None") if main.cancelled() else ("returned", describe(main.result()))
        return False

    # Being a world.

    async def call(self, n: int, limit_s: float | None) -> Any:
        try:
            came = await self._completed(n, limit_s)
        finally:
            self.open.pop(n, None)
        if came is None:
            raise CallTimeout("late")
        if isinstance(came, Exception):
            raise came
        return came

    async def step(self, n: int) -> Any:
        return await self.call(n, None)

    async def child(self, n: int, on_close: str) -> Any:
        try:
            came = await self._completed(n, None)
        except asyncio.CancelledError:
            if on_close != "abandon" and self.open[n].came is None:
                self.passed_on.append(n)
            while on_close == "wait" and self.open[n].came is None:
                self.open[n].future = self.loop.create_future()
                try:
                    await self.open[n].future
                except asyncio.CancelledError:
                    continue
            raise
        finally:
            self.open.pop(n, None)
        if isinstance(came, Exception):
            raise came
        return came

    async def receive(self, n: int, kind: str, limit_s: float | None, default: bool) -> Any:
        wants = WANTS[kind]
        for letter in self.buffer:
            if wants(letter[1]):
                self.buffer.remove(letter)
                return letter[1]
        wait = self.receivers[n] = _Wait(self.loop.create_future(), wants=wants)
        timer = None if limit_s is None else self.loop.call_later(limit_s, _wake, wait.future)
        try:
            await wait.future
        except asyncio.CancelledError:
            if wait.came is not None:
                self._offer(*wait.came)
            raise
        finally:
            self.receivers.pop(n, None)
            if timer is not None:
                timer.cancel()
        if wait.came is not None:
            return wait.came[1]
        if default:
            return None
        raise TimeoutError("late")

    def in_order(self, coroutines: list[Any]) -> list[Any]:
        return [self.loop.create_task(one) for one in coroutines]

    async def _completed(self, n: int, limit_s: float | None) -> Any:
        wait = self.open[n] = _Wait(self.loop.create_future())
        timer = None if limit_s is None else self.loop.call_later(limit_s, _wake, wait.future)
        try:
            await wait.future
        finally:
            if timer is not None:
                timer.cancel()
        return wait.came

    def _offer(self, place: int, message: Any) -> None:
        for n, wait in list(self.receivers.items()):
            if wait.wants(message):
                del self.receivers[n]
                wait.came = place, message
                _wake(wait.future)
                return
        self.buffer.append((place, message))
        self.buffer.sort(key=lambda letter: letter[0])


WANTS: dict[str, Callable[[Any], bool]] = {
    "x": lambda message: isinstance(message, Shipped) and message.parcel == "x",
    "y": lambda message: isinstance(message, Shipped) and message.parcel == "y",
    "any": lambda message: isinstance(message, Shipped),
    "refused": lambda message: isinstance(message, ShipmentRefused),
    "either": lambda _message: True,
}


def _wake(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
