"""Lanes: who calls the writer, and how answers come back to the loop that submitted.

The thread lane is for production, the one in `inline` for simulations. Both take units first in, first out, and give a
batch's answers in one callback.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import perf_counter  # noqa: TID251 - how long a commit held the loop: no decision of the engine rests on it
from typing import Any, Protocol

from typing_extensions import TypeVar

from partita.errors import StoreError
from partita.limits import Limits
from partita.store.health import stopped
from partita.store.port import Answer, AsyncScope, Lost, Refusal, Unit, ignore_answer
from partita.store.sqlite.transaction import AsyncScopeOver, WorkScope
from partita.store.sqlite.watchdog import Watchdog
from partita.store.sqlite.writer import Executor, Stopped
from partita.telemetry import Log

T = TypeVar("T")
HERE_MAX = 8
"""Units that the loop decides by itself at the most."""
HERE_S_MAX = 0.005
"""A commit that has held the loop for longer sends the next PATIENCE batches to the thread."""
PATIENCE = 1_000
AsyncWork = Callable[[Unit, AsyncScope], Any]
OnStopped = Callable[[BaseException], None]

log = Log("partita.store")


class Lane(Protocol):
    """Drives one writer."""

    def submit(self, unit: Unit) -> None:
        """Register a unit, in order."""
        ...

    def call(self, act: Callable[[], T]) -> Future[T]:
        """Run something of the store's own between two transactions."""
        ...

    async def close(self) -> bool:
        """Decide everything submitted and answer it; whether nothing was lost."""
        ...

    def abandon(self) -> None:
        """As a crash would: nothing further is decided or answered."""
        ...


class Call:
    """Something of the store's own, to be run by the writer."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.future: Future[Any] = Future()
        self._act = act

    def run(self, stop: Callable[[Stopped], None] | None = None) -> None:
        """Run it. Where nobody knows what became of its transaction, the lane is stopped before anybody hears of it."""
        if not self.future.set_running_or_notify_cancel():
            return  # whoever asked has gone
        try:
            self.future.set_result(self._act())
        except Stopped as found:
            if stop is not None:
                stop(found)
            self.future.set_exception(stopped("the store", found.error))
        except BaseException as error:  # noqa: BLE001 - carried to whoever waits for the future
            self.future.set_exception(error)


class ThreadLane:
    """A thread of its own for the writer, and a dog that watches it.

    What one turn of the loop submits is handed over at its end, all at once: the writer gets a batch, and does not ask
    for the interpreter while the loop still makes more. A small batch that meets an idle writer and a quick disk is
    decided on the loop itself: to wake the other thread and be woken by it takes as long as half a commit.
    """

    def __init__(self, executor: Executor, *, limits: Limits, on_stopped: OnStopped | None) -> None:
        self._executor = executor
        self._limits = limits
        self._on_stopped = on_stopped
        self._inbox: SimpleQueue[list[Unit] | Call | None] = SimpleQueue()
        self._submitted: list[Unit] = []
        self._away = 0
        """Units that the thread has and has not answered."""
        self._last_call: Call | None = None
        self._patience = 0
        """Batches that go to the thread before the loop tries its hand again, after it met a slow commit."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home = threading.get_ident()
        self._stopped: BaseException | None = None
        self._closed = False
        self._held: Unit | Call | None = None
        self._coming: deque[Unit] = deque()
        self._thread = threading.Thread(target=self._run, name="partita-writer", daemon=True)
        self._dog = Watchdog(executor.watch, interrupt=executor.connection.interrupt)
        self._thread.start()
        self._dog.start()

    def submit(self, unit: Unit) -> None:
        """Register a unit; its answer comes to the loop that is running now."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if self._closed:
            self._loop.call_soon(answer_all, [unit], [closed()])
            return
        if threading.get_ident() != self._home:  # a last word, said while the loop is held: it can hand nothing over
            self._away += 1
            self._inbox.put([unit])
            return
        if not self._submitted:
            self._loop.call_soon(self._hand_over)
        self._submitted.append(unit)

    def call(self, act: Callable[[], T]) -> Future[T]:
        """Run something of the store's own between two transactions."""
        if self._closed:
            raise StoreError("the store is closed\nOpen it again.")
        with suppress(RuntimeError):  # before any loop runs, nobody could hear that the store stopped
            self._loop = self._loop or asyncio.get_running_loop()
        self._send()
        call = self._last_call = Call(act)
        self._inbox.put(call)
        return call.future

    async def close(self) -> bool:
        """Decide everything submitted, answer it, then end the thread; whether nothing was lost."""
        loop = asyncio.get_running_loop()
        if not self._closed:
            self._send()
            self._closed = True
            self._inbox.put(None)
        await loop.run_in_executor(None, self._thread.join)
        self._dog.stop()
        return self._stopped is None

    def abandon(self) -> None:
        """As a crash would: the thread ends after the transaction it is in, and answers nobody."""
        self._closed = True
        self._loop = None
        self._submitted.clear()
        self._stopped = StoreError("the store was abandoned")
        self._inbox.put(None)
        self._thread.join()
        self._dog.stop()

    def _hand_over(self) -> None:
        """What has been submitted since the last time goes its way."""
        units = self._submitted
        if self._patience:
            self._patience -= 1
        elif units and self._may_decide_here(units):
            self._submitted = []
            self._decide_here(units)
            return
        self._send()

    def _send(self) -> None:
        if self._submitted:
            self._away += len(self._submitted)
            self._inbox.put(self._submitted)
            self._submitted = []

    def _may_decide_here(self, units: list[Unit]) -> bool:
        """Whether the writer has nothing to do, and these are few and hold no code of users'."""
        call = self._last_call
        return (
            len(units) <= HERE_MAX
            and not self._away
            and (call is None or call.future.done())
            and self._stopped is None
            and all(unit.work is None and unit.work_async is None for unit in units)
        )

    def _decide_here(self, units: list[Unit]) -> None:
        began = perf_counter()
        try:
            answers = self._executor.commit(units)
        except BaseException as error:  # noqa: BLE001 - as on the thread
            self._stop([], error)
            answers = [Lost(self._stopped or error) for _ in units]
        if perf_counter() - began > HERE_S_MAX:
            self._patience = PATIENCE
        answer_all(units, answers)

    def _answer(self, units: Sequence[Unit], answers: Sequence[Answer]) -> None:
        self._away -= len(units)
        answer_all(units, answers)

    # On the writer's thread.

    def _run(self) -> None:
        while (first := self._next()) is not None:
            if isinstance(first, Call):
                first.run(lambda stopped: self._stop([], stopped))
            elif self._stopped is not None:
                self._tell([first], [Lost(self._stopped)])
            elif first.work_async is not None:
                self._decide_alone(first, first.work_async)
            else:
                self._decide(self._gather(first))

    def _next(self) -> Unit | Call | None:
        """What is to be done next; None where nothing is behind."""
        held, self._held = self._held, None
        while held is None and not self._coming:
            item = self._inbox.get()
            if item is None or isinstance(item, Call):
                return item
            self._coming.extend(item)
        return held or self._coming.popleft()

    def _gather(self, first: Unit) -> list[Unit]:
        """All that wait by now and may share a transaction."""
        units, coming, most = [first], self._coming, self._limits.batch_units_max
        while len(units) < most and self._held is None and (coming or self._look()):
            unit = coming.popleft()
            if unit.work_async is not None:
                self._held = unit
            else:
                units.append(unit)
        return units

    def _look(self) -> bool:
        """Take in what has come meanwhile; whether it is units."""
        try:
            item = self._inbox.get_nowait()
        except Empty:
            return False
        if item is None:
            self._inbox.put(None)  # nothing is behind the end
        elif isinstance(item, Call):
            self._held = item
        else:
            self._coming.extend(item)
        return bool(self._coming)

    def _decide(self, units: list[Unit]) -> None:
        try:
            answers = self._executor.commit(units)
        except BaseException as error:  # noqa: BLE001 - this thread has to answer, whatever happened
            self._stop(units, error)
        else:
            self._tell(units, answers)

    def _decide_alone(self, unit: Unit, work: AsyncWork) -> None:
        try:
            scope = self._executor.open_alone(unit)
            if isinstance(scope, Refusal):
                answer: Answer = scope
            else:
                answer = self._executor.close_alone(unit, scope, self._work(unit, work, scope))
        except BaseException as error:  # noqa: BLE001 - as above
            self._stop([unit], error)
        else:
            self._tell([unit], [answer])

    def _work(self, unit: Unit, work: AsyncWork, scope: WorkScope) -> BaseException | None:
        """Let the loop run the coroutine, and execute its statements here until it has ended or its time is up."""
        statements = _Statements()
        loop = self._loop
        assert loop is not None
        try:
            running = asyncio.run_coroutine_threadsafe(_await(work, unit, AsyncScopeOver(scope, statements.post)), loop)
        except RuntimeError as error:  # the loop is closed
            return error
        running.add_done_callback(lambda _done: statements.end())
        if statements.serve(until=lambda: self._executor.watch.overdue, tick_s=self._limits.writer_interrupt_s / 10):
            return CancelledError() if running.cancelled() else running.exception()
        running.cancel()
        return self._executor.watch.error()

    def _stop(self, units: list[Unit], error: BaseException) -> None:
        if isinstance(error, Stopped):
            error = error.error
        self._stopped = error
        log.error("store.stopped", error=error)
        self._tell(units, [Lost(error) for _ in units])
        if self._on_stopped:
            self._post(self._on_stopped, error)

    def _tell(self, units: Sequence[Unit], answers: Sequence[Answer]) -> None:
        self._post(self._answer, units, answers)

    def _post(self, callback: Callable[..., None], *args: Any) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(callback, *args)
            except RuntimeError:  # the loop is closed: nobody is left to hear it
                log.warning("store.unheard")


class _Statements:
    """Statements on their way from a coroutine to the writer that waits for it."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Call | None] = SimpleQueue()
        self._over = False

    def post(self, act: Callable[[], T]) -> Awaitable[T]:
        """Send one over; called on the loop."""
        call = Call(act)
        self._waiting.put(call)
        if self._over:  # nobody serves any more: the writer has given the work up
            call.future.cancel()
        return asyncio.wrap_future(call.future)

    def end(self) -> None:
        """The coroutine has ended."""
        self._waiting.put(None)

    def serve(self, *, until: Callable[[], bool], tick_s: float) -> bool:
        """Execute what comes in until the coroutine has ended; False where `until` came first."""
        while not until():
            try:
                call = self._waiting.get(timeout=tick_s)
            except Empty:
                continue
            if call is None:
                return True
            call.run()
        self._over = True
        while not self._waiting.empty():
            left = self._waiting.get()
            if left is not None:
                left.future.cancel()
        return False


async def _await(work: AsyncWork, unit: Unit, scope: AsyncScope) -> None:
    await work(unit, scope)


def answer_all(units: Sequence[Unit], answers: Sequence[Answer]) -> None:
    """Tell each unit's submitter what became of it."""
    for unit, answer in zip(units, answers, strict=True):
        told = unit.answered
        # What was to be done and who was to hear of it know their unit: left there, each unit would be a circle.
        unit.answered, unit.work, unit.work_async = ignore_answer, None, None
        try:
            told(answer)
        except Exception as error:  # noqa: BLE001 - one that raises must not keep the others from their answers
            log.error(  # noqa: TRY400 - our log carries the error itself
                "answer.raised", error=error, unit=unit.label
            )


def closed() -> Refusal:
    """What a unit is told that comes too late."""
    return Refusal("closed", StoreError("the store is closed\nOpen it again, or submit before it is closed."))
