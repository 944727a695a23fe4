"""Local steps: functions of the users' that a run has made once, outside the turn, retried by their policy.

A step may be made again after a crash; `Delivery.id` stays the same, and is the key to hand to the outside world.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, get_type_hints

from msgspec import Raw

from partita.clock import US, Alarms, Clock
from partita.errors import DefinitionError, Final, MessageError, one_line
from partita.limits import LIMITS
from partita.messages.answers import Delivery
from partita.messages.codec import encode
from partita.orchestration.asks import AskStep
from partita.orchestration.cells import Again, Cell
from partita.orchestration.consequences import message_id
from partita.retry import DEFAULT_RETRY, delay_after, is_failure
from partita.store.facts import Body, Fact, Retried, Retrying, Stepped


class Stepping(Protocol):
    """Is told what came of an attempt."""

    def __call__(self, cell: Cell, body: Body, *, record_only: bool = False) -> None: ...


FIRST = Again()


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

    def begin(self, cell: Cell, ask: AskStep, stepped: Stepping, again: Again = FIRST) -> None:
        """Make a step until it has a value or its attempts are spent; `stepped` is told of each attempt's end."""
        if again.due > self._clock.now_us():
            self._alarms.set(again.due, lambda: self.begin(cell, ask, stepped, Again(again.failed)))
            return
        if ask.step not in cell.running:
            return  # The run let go of it meanwhile.
        self.active += 1
        self._spawn(self._make(cell, ask, stepped, again.failed + 1))

    async def _make(self, cell: Cell, ask: AskStep, stepped: Stepping, attempt: int) -> None:
        try:
            value = await self._attempt(cell, ask, attempt)
            body: Body = Stepped(step=ask.step, value=Raw(encode(value)), attempts=attempt)
        except BaseException as error:  # a step may raise anything
            if not is_failure(error):
                raise  # The engine is letting go: the next start makes the step.
            body = self._failed(ask, error, attempt)
        finally:
            self.active -= 1
        stepped(cell, body, record_only=isinstance(body, Retrying))
        if isinstance(body, Retrying):
            self.begin(cell, ask, stepped, Again(attempt, body.due))

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

    async def _attempt(self, cell: Cell, ask: AskStep, attempt: int) -> Any:
        given = dict(ask.kwargs)
        wanted = wants_delivery(ask.fn)
        if wanted is not None and wanted not in given:
            given[wanted] = Delivery(message_id(cell, ask.step), cell.row.case, attempt, ())
        limit_s = None if ask.timeout_us is None else ask.timeout_us / US
        async with asyncio.timeout(limit_s):
            if inspect.iscoroutinefunction(ask.fn):
                return await ask.fn(*ask.args, **given)
            return await self._in_thread(lambda: ask.fn(*ask.args, **given))


_wanted: dict[object, str | None] = {}


def wants_delivery(fn: Callable[..., Any]) -> str | None:
    """The parameter of a step's function that asks for its delivery."""
    if fn not in _wanted:
        try:
            hints = get_type_hints(fn)
        except (NameError, TypeError):
            hints = {}
        _wanted[fn] = next((name for name, hint in hints.items() if hint is Delivery and name != "return"), None)
    return _wanted[fn]


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
