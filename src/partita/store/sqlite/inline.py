"""The inline lane: the writer in callbacks of the loop, for simulations: every order in it follows from the loop's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from typing_extensions import TypeVar

from partita.errors import StoreError
from partita.limits import Limits
from partita.store.port import Answer, Lost, Refusal, Unit
from partita.store.sqlite.lanes import AsyncWork, Call, OnStopped, answer_all, closed
from partita.store.sqlite.transaction import AsyncScopeOver
from partita.store.sqlite.writer import Executor, Stopped
from partita.telemetry import Log

T = TypeVar("T")

log = Log("partita.store")


class InlineLane:
    """The writer as callbacks of the submitting loop: one turn commits, the next one answers."""

    def __init__(self, executor: Executor, *, limits: Limits, on_stopped: OnStopped | None) -> None:
        self._executor = executor
        self._limits = limits
        self._on_stopped = on_stopped
        self._waiting: deque[Unit] = deque()
        self._stopped: BaseException | None = None
        self._silent = False
        self._closed = False
        self._turning = False
        """A turn is under way or has been asked for."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._working: asyncio.Task[None] | None = None

    def submit(self, unit: Unit) -> None:
        """Register a unit; it is decided in a later callback of the running loop."""
        loop = asyncio.get_running_loop()
        if self._silent:
            return
        if self._closed:
            loop.call_soon(answer_all, [unit], [closed()])
            return
        self._waiting.append(unit)
        self._ask_turn(loop)

    def call(self, act: Callable[[], T]) -> Future[T]:
        """Run it now: no transaction is open between two callbacks, but for asynchronous work."""
        if self._working is not None:
            raise StoreError("the store is busy with asynchronous work\nTry again when it has been answered.")
        call = Call(act)
        call.run(lambda stopped: self._stop(asyncio.get_running_loop(), [], stopped))
        return call.future

    async def close(self) -> bool:
        """Decide everything submitted, answer it; whether nothing was lost."""
        self._closed = True
        await self._idle.wait()
        return self._stopped is None and not self._silent

    def abandon(self) -> None:
        """As a crash would: nothing further is decided or answered."""
        self._silent = self._closed = True
        self._waiting.clear()
        self._idle.set()
        if self._working is not None:
            self._working.cancel()

    def _ask_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turning:
            self._turning = True
            self._idle.clear()
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._silent:
            return
        units = self._gather()
        if self._stopped is not None:
            self._tell(loop, units, [Lost(self._stopped) for _ in units])
        elif units and units[0].work_async is not None:
            self._working = loop.create_task(self._decide_alone(loop, units[0], units[0].work_async))
        else:
            self._decide(loop, units)

    def _gather(self) -> list[Unit]:
        waiting = self._waiting
        units: list[Unit] = []
        while waiting and len(units) < self._limits.batch_units_max:
            if waiting[0].work_async is not None:
                return units or [waiting.popleft()]
            units.append(waiting.popleft())
        return units

    def _decide(self, loop: asyncio.AbstractEventLoop, units: list[Unit]) -> None:
        try:
            answers = self._executor.commit(units)
        except Exception as error:  # noqa: BLE001 - everybody is answered, whatever happened
            self._stop(loop, units, error)
        else:
            self._tell(loop, units, answers)

    async def _decide_alone(self, loop: asyncio.AbstractEventLoop, unit: Unit, work: AsyncWork) -> None:
        try:
            scope = self._executor.open_alone(unit)
            if isinstance(scope, Refusal):
                answer: Answer = scope
            else:
                failed: BaseException | None = None
                try:
                    await work(unit, AsyncScopeOver(scope, _at_once))
                except BaseException as error:  # noqa: BLE001 - users' code: whatever it raises refuses this unit only
                    failed = error
                if self._silent:
                    return
                answer = self._executor.close_alone(unit, scope, failed)
        except Exception as error:  # noqa: BLE001 - as above
            self._working = None
            self._stop(loop, [unit], error)
        else:
            self._working = None
            self._tell(loop, [unit], [answer])

    def _stop(self, loop: asyncio.AbstractEventLoop, units: list[Unit], error: BaseException) -> None:
        if isinstance(error, Stopped):
            if error.silent:
                self._silent = self._closed = True
                self._waiting.clear()
                self._idle.set()
                return
            error = error.error
        self._stopped = error
        log.error("store.stopped", error=error)
        if units:
            self._tell(loop, units, [Lost(error) for _ in units])
        if self._on_stopped:
            loop.call_soon(self._on_stopped, error)

    def _tell(self, loop: asyncio.AbstractEventLoop, units: list[Unit], answers: list[Answer]) -> None:
        loop.call_soon(self._answer, loop, units, answers)

    def _answer(self, loop: asyncio.AbstractEventLoop, units: list[Unit], answers: list[Answer]) -> None:
        if self._silent:
            return
        answer_all(units, answers)
        self._turning = False
        if self._waiting:
            self._ask_turn(loop)
        else:
            self._idle.set()


async def _at_once(act: Callable[[], T]) -> T:
    return act()
