"""Sagas: what was done is undone, latest first, when the business says no.

An undo stands on the list before its call is dispatched, so there is no instant in which the call may have happened
and nobody would undo it. At eviction a saga does nothing: its list is rebuilt by replay.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Protocol, cast

from partita.errors import Abort, CallFailed, DefinitionError, PartitaError, Refused
from partita.messages.message import AnyCommand, Command, MessageType, describe
from partita.orchestration.answers import read_answer
from partita.orchestration.asks import AskCall, AskUndo
from partita.orchestration.here import get_ledger
from partita.orchestration.ledger import Ledger, Slot
from partita.retry import DEFAULT_RETRY, Retry
from partita.store.facts import Handled, OpenStep

UNWINDING = (Refused, Abort, CallFailed, TimeoutError, asyncio.CancelledError)
Standing = Literal["unanswered", "answered", "dropped"]


class Undo(Protocol):
    """What `async with saga() as undo` gives: puts a command on the list by hand."""

    def __call__(self, command: AnyCommand, /) -> None: ...


@dataclass(slots=True, eq=False)
class Undoing:
    """One line of a saga's list."""

    step: str
    command: AnyCommand
    retry: Retry
    called: AnyCommand | None = None
    """The command whose call it undoes; None for one put there by hand."""
    call_step: str | None = None
    slot: Slot | None = None
    """Where that call's answer comes, also after the workflow has stopped waiting for it."""
    was_left: bool = False
    """Whether the workflow has stopped waiting."""
    expect: type[Any] | None = None

    def standing(self, ledger: Ledger) -> Standing:
        """How its call stands now."""
        if self.called is None:
            return "answered"
        if self.slot is None or self.slot.came is None:
            return "unanswered"
        try:
            answer = read_answer(ledger.decode, self.called, self.slot.came)
        except CallFailed:
            return "unanswered"
        return "answered" if self.expect is None or isinstance(answer, self.expect) else "dropped"


class saga:  # noqa: N801 - users read it as a word: `async with saga()`
    """Undoes what its calls did on Refused, Abort, CallFailed, TimeoutError and cancellation.

    Any other exception is a bug: it passes, the undos stay pending, and the run stops where it is. A group of
    exceptions counts as a bug if one of them is. `parallel` sends all undos at once, `retry` is their policy; an undo
    whose attempts are spent is held open, as an incident. A saga inside a saga that ends well leaves its list to the
    outer one.
    """

    def __init__(self, *, parallel: bool = False, retry: Retry | None = None) -> None:
        self._parallel = parallel
        self._retry = replace(retry or DEFAULT_RETRY, then="hold")
        self._list: list[Undoing] = []
        self._outer: saga | None = None
        self._ledger: Ledger | None = None
        self._is_open = False

    async def __aenter__(self) -> Undo:
        self._ledger = get_ledger("saga")
        self._outer = find_saga()
        self._is_open = True
        _innermost.set(self)
        return self._by_hand

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _innermost.set(self._outer)
        ledger = self._ledger
        assert ledger is not None
        if error is None or not unwinds(error):
            self._hand_over(ledger)
            return
        cancelled = await self._unwind(ledger)
        self._is_open = False
        if cancelled is not None and not isinstance(error, asyncio.CancelledError):
            raise cancelled

    def register(self, call: AskCall, undo: AnyCommand, slot: Slot, expect: type[Any] | None) -> Undoing:
        """Put a call's undo on the list; `slot` is where the call's answer comes."""
        line = Undoing(f"{call.step}/undo", undo, self._retry, call.command, call.step, slot, expect=expect)
        self._list.append(line)
        return line

    @property
    def is_open(self) -> bool:
        """Whether undos can be put on its list."""
        return self._is_open

    @property
    def outer(self) -> saga | None:
        """The saga around it."""
        return self._outer

    def _by_hand(self, command: AnyCommand, /) -> None:
        ledger = self._ledger
        if ledger is None or not self._is_open:
            raise DefinitionError(f"undo {type(command).__name__}: its saga is over\nCall it inside of `async with`.")
        step = ledger.loop.scope().name(f"undo {check_command(command, 'undo').name}")
        self._list.append(Undoing(step, command, self._retry))

    def _hand_over(self, ledger: Ledger) -> None:
        """The saga is over without undoing: what it did belongs to the saga around it, if there is one."""
        self._is_open = False
        if self._outer is not None and self._outer.is_open:
            self._outer._list += self._list  # noqa: SLF001 - one saga hands over to another
            return
        for line in self._list:
            if line.slot is not None and line.was_left:
                ledger.give_up(line.slot)

    async def _unwind(self, ledger: Ledger) -> asyncio.CancelledError | None:
        """Undo everything; returns a cancellation that came meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        sent: list[Slot] = []
        while self._list:
            slot = _send(ledger, self._list.pop())
            if slot is None:
                continue
            sent.append(slot)
            if self._parallel and self._list:
                continue
            for one in sent:
                cancelled = await _settled(one) or cancelled
            sent.clear()
        for one in sent:
            cancelled = await _settled(one) or cancelled
        return cancelled


_innermost: ContextVar[saga | None] = ContextVar("partita_saga", default=None)


def find_saga() -> saga | None:
    """The innermost saga that is open where this is called; tasks find the one they were made in."""
    found = _innermost.get()
    while found is not None and not found.is_open:
        found = found.outer
    return found


def get_saga(call: AskCall) -> saga:
    """The same. Raises DefinitionError where there is none."""
    found = find_saga()
    if found is None:
        raise DefinitionError(
            f"step {call.step!r}: undo= was given outside of a saga\nPut the call into `async with saga():`."
        )
    return found


def unwinds(error: BaseException) -> bool:
    """Whether an exception lets a saga undo, rather than being a bug."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(unwinds(one) for one in group.exceptions)
    return isinstance(error, UNWINDING)


def check_command(command: object, what: str) -> MessageType:
    """What a command declares. Raises DefinitionError for anything else."""
    cls: type[object] = type(command)
    if not isinstance(command, Command):
        raise DefinitionError(f"{what} takes a command, not {type(command).__name__}\nDerive it from Command.")
    return describe(cls)


def _send(ledger: Ledger, line: Undoing) -> Slot | None:
    """Ask for one undo, in the way that its call's standing allows."""
    standing = line.standing(ledger)
    if line.slot is not None and line.slot.came is None:
        ledger.give_up(line.slot)
        line.slot.fail(CallFailed("its saga was undone", kind="Undone", attempts=0))  # a task may still wait for it
    if standing == "dropped":
        return None
    found = describe(type(line.command))
    name, case = found.name, found.case_of(line.command)
    shown = None if case == ledger.case else OpenStep(step=line.step, name=name, since=ledger.loop.now_us)
    if standing == "answered" or line.called is None or line.call_step is None:
        return ledger.ask(AskCall(line.step, line.command, line.retry, line.call_step), shown)
    return ledger.ask(AskUndo(line.step, line.call_step, line.called, line.command, line.retry), shown)


async def _settled(slot: Slot) -> asyncio.CancelledError | None:
    """Wait until an undo is over, whatever cancels this task meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while slot.came is None:
        try:
            await slot
        except asyncio.CancelledError as error:
            cancelled = error
    if isinstance(slot.came, Handled) and slot.came.outcome == "failed":
        raise PartitaError(
            f"step {slot.step!r}: the undo failed: {slot.came.reason or slot.came.error}\n"
            "Mend its handler, then retry the run."
        )
    return cancelled
