"""Local steps: functions of the users' that a run has made once, outside the turn, retried by their policy.

A step may be made again after a crash; `Delivery.id` stays the same, and is the key to hand to the outside world.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import copy_context
from typing import Any, Protocol

from msgspec import Raw

from partita.clock import Alarms, Clock
from partita.errors import DefinitionError, Final, MessageError, one_line
from partita.limits import LIMITS
from partita.messages.answers import Delivery
from partita.messages.codec import encode_as
from partita.orchestration.asks import AskStep, How
from partita.orchestration.cells import Again, Cell
from partita.orchestration.consequences import message_id
from partita.orchestration.step import how_of
from partita.retry import DEFAULT_RETRY, AttemptLimit, delay_after, is_failure, late
from partita.store.facts import Body, Fact, Retried, Retrying, Stepped


class Stepping(Protocol):
    """Is told what came of an attempt."""

    def __call__(self, cell: Cell, body: Body, *, record_only: bool = False) -> None: ...


FIRST = Again()
Attempt = tuple[Cell, AskStep, Stepping, int]


class StepRunner:
    """Makes local steps, one attempt at a time; between two attempts only an alarm is set."""

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        clock: Clock,
        alarms: Alarms,
    ) -> None:
        self._spawn = spawn
        self._in_thread = in_thread
        self._clock = clock
        self._alarms = alarms
        self.active = 0
        """Attempts being made at this moment."""
        self._waiting: deque[Attempt] = deque()
        self._hand_comes = False
        self._making: dict[asyncio.Task[Any], float] = {}
        """Since when, by the loop's time, each hand is at a step that sets itself no timeout; the oldest first."""
        self._too_late: set[asyncio.Task[Any]] = set()
        self._looks = False

    def begin(self, cell: Cell, ask: AskStep, stepped: Stepping, again: Again = FIRST) -> None:
        """Make a step until it has a value or its attempts are spent; `stepped` is told of each attempt's end."""
        if again.due and again.due > self._clock.now_us():
            self._alarms.set(again.due, lambda: self.begin(cell, ask, stepped, Again(again.failed)))
            return
        if ask.step not in cell.running:
            return  # The run let go of it meanwhile.
        self.active += 1
        self._waiting.append((cell, ask, stepped, again.failed + 1))
        self._call_hand()

    def _call_hand(self) -> None:
        if not self._hand_comes:
            self._hand_comes = True
            self._spawn(self._work())

    async def _work(self) -> None:
        """Make what waits, one after the other; before a step that might wait for the world, another hand is called.

        So steps that end at once share a task, which costs more than they do; and each of the others has its own.
        """
        self._hand_comes = False
        task, clean = asyncio.current_task(), copy_context()
        while self._waiting:
            attempt = self._waiting.popleft()
            if self._waiting:
                self._call_hand()
            assert task is not None
            await self._make(task, *attempt)
            if copy_context() != clean or task.cancelling():
                return  # what a step has left in its context, or of a cancellation, is not for the next one

    async def _make(self, task: asyncio.Task[Any], cell: Cell, ask: AskStep, stepped: Stepping, attempt: int) -> None:
        try:
            how = ask.how or how_of(ask.fn)
            if how.is_async and how.delivery is None and ask.timeout_us is None:
                self._making[task] = task.get_loop().time()
                if not self._looks:
                    self._look_after(LIMITS.attempt_s)
                value = await ask.fn(*ask.args, **ask.kwargs)  # most steps: nothing to look up, nothing to set up
            else:
                value = await self._attempt(cell, ask, how, attempt)
            raw = encode_as(value, ask.returns, f"step {ask.name}")
            body: Body = Stepped(step=ask.step, value=Raw(raw), attempts=attempt)
        except BaseException as raised:  # a step may raise anything
            error = late(None, f"step {ask.name}") if task in self._too_late else raised
            if not is_failure(error):
                raise  # The engine is letting go: the next start makes the step.
            body = self._failed(ask, error, attempt)
        finally:
            self.active -= 1
            self._making.pop(task, None)
            self._too_late.discard(task)
        stepped(cell, body, record_only=isinstance(body, Retrying))
        if isinstance(body, Retrying):
            self.begin(cell, ask, stepped, Again(attempt, body.due))

    def _look_after(self, seconds: float) -> None:
        """One timer for all steps that set themselves none: a timer for each would be a tenth of a step."""
        self._looks = True
        asyncio.get_running_loop().call_later(seconds, self._end_late)

    def _end_late(self) -> None:
        """End what has taken longer than any attempt may, and look again when the next might."""
        self._looks = False
        now, limit_s = asyncio.get_running_loop().time(), LIMITS.attempt_s
        for task, since in self._making.items():
            if task in self._too_late:
                continue
            if now - since < limit_s:
                self._look_after(limit_s - (now - since))
                return
            self._too_late.add(task)
            task.cancel()

    def _failed(self, ask: AskStep, error: BaseException, attempt: int) -> Stepped | Retrying:
        retry = ask.retry or DEFAULT_RETRY
        text, kind = one_line(error, LIMITS.error_text_max), type(error).__name__
        if attempt >= retry.attempts or isinstance(error, (Final, DefinitionError, MessageError, *retry.final)):
            return Stepped(step=ask.step, error=kind, text=text, attempts=attempt)
        try:
            due = self._clock.now_us() + delay_after(error, attempt, retry, self._clock.chance())
        except DefinitionError as wrong:
            return self._failed(ask, wrong, attempt)
        return Retrying(step=ask.step, type=ask.name, attempt=attempt, error=kind, text=text, due=due)

    async def _attempt(self, cell: Cell, ask: AskStep, how: How, attempt: int) -> Any:
        given = dict(ask.kwargs)
        if how.delivery is not None and how.delivery not in given:
            given[how.delivery] = Delivery(message_id(cell, ask.step), cell.row.case, attempt, ())
        async with AttemptLimit(ask.timeout_us, f"step {ask.name}"):
            if how.is_async:
                return await ask.fn(*ask.args, **given)
            return await self._in_thread(lambda: ask.fn(*ask.args, **given))


def read_attempts(history: Sequence[Fact]) -> dict[str, Again]:
    """Where the steps of a run stand that failed and are to be tried again; a retry of the run begins them anew."""
    found: dict[str, Again] = {}
    for fact in history:
        match fact.body:
            case Retrying(step=str(step), attempt=attempt, due=due):
                found[step] = Again(attempt, due)
            case Retried():
                found.clear()
            case _:
                pass
    return found
