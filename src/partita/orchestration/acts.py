"""What workflows are written with: call, publish, receive, child, patched, now, uuid.

Each is a plain function. The ones that are awaited return an act, whose identity is taken here and now.
"""

from __future__ import annotations

import asyncio
import types
import typing
from collections.abc import Callable, Coroutine, Generator
from datetime import datetime
from typing import Annotated, Any, TypeVar, get_args, get_origin, overload

from typing_extensions import TypeForm, override

from partita.clock import to_datetime
from partita.errors import CallTimeout, DefinitionError, Refused
from partita.messages.envelope import derive_id
from partita.messages.message import AnyCommand, Command, Event, describe, is_message_class
from partita.orchestration.act import Act
from partita.orchestration.answers import read_answer, read_end
from partita.orchestration.asks import AskCall, AskChild, AskPublish, OnClose
from partita.orchestration.here import get_ledger
from partita.orchestration.ledger import Ledger, Slot
from partita.orchestration.mailbox import Letter, Receiver
from partita.orchestration.saga import Undoing, check_command, get_saga
from partita.orchestration.workflow import Workflow
from partita.retry import Duration, Retry, optional_us
from partita.store.facts import OpenStep, OpenWait

A = TypeVar("A")
D = TypeVar("D")
EV = TypeVar("EV", bound=Event)
R = TypeVar("R")
T = TypeVar("T")
Flow = Generator[Any, Any, Any]

_ABSENT: Any = object()


@overload
def call(
    command: Command[R],
    /,
    *,
    undo: AnyCommand | None = None,
    timeout: Duration | None = None,
    retry: Retry | None = None,
    key: str | None = None,
) -> Coroutine[Any, Any, R]: ...
@overload
def call(
    command: AnyCommand,
    /,
    *,
    expect: type[EV],
    undo: AnyCommand | None = None,
    timeout: Duration | None = None,
    retry: Retry | None = None,
    key: str | None = None,
) -> Coroutine[Any, Any, EV]: ...
def call(
    command: Any,
    /,
    *,
    expect: type[Any] | None = None,
    undo: AnyCommand | None = None,
    timeout: Duration | None = None,
    retry: Retry | None = None,
    key: str | None = None,
) -> Any:
    """Have a command handled by the one group that handles its type, and get its answer.

    `expect` returns that answer and raises Refused for any other. `undo` is put on the list of the saga around it,
    before the command is sent. `timeout` is how long this workflow waits, `retry` how often the handling is tried.
    `key` tells calls of one type apart that are made in a loop. Raises CallFailed when the handling failed for good,
    CallTimeout when there is no answer in time: then the outcome is unknown.
    """
    ledger = get_ledger("call")
    return CallAct(ledger, command, expect=expect, undo=undo, limit_us=optional_us(timeout), retry=retry, key=key)


def publish(event: Event, /, *, after: Duration | None = None) -> Coroutine[Any, Any, None]:
    """Publish an event, `after` some time if given. It is durable with the turn; nobody is waited for."""
    ledger = get_ledger("publish")
    return PublishAct(ledger, event, optional_us(after))


@overload
def receive(
    type: TypeForm[T], /, *, where: Callable[[T], bool] | None = None, timeout: Duration | None = None
) -> Coroutine[Any, Any, T]: ...
@overload
def receive(
    type: TypeForm[T], /, *, where: Callable[[T], bool] | None = None, timeout: Duration, default: D
) -> Coroutine[Any, Any, T | D]: ...
def receive(
    type: Any,
    /,
    *,
    where: Callable[[Any], bool] | None = None,
    timeout: Duration | None = None,
    default: Any = _ABSENT,
) -> Any:
    """Wait for a message of a type, or of one of a union: `receive(OrderShipped | ShipmentRefused)`.

    What came since the run began is kept until it is asked for, and is taken once, oldest first. `where` picks: a
    function of the message alone. When `timeout` is over: `default` if it is given, otherwise TimeoutError.
    """
    ledger = get_ledger("receive")
    return ReceiveAct(ledger, type, where=where, limit_us=optional_us(timeout), default=default)


def child(
    workflow: Workflow[A, R], message: A, /, *, on_close: OnClose = "wait", key: str | None = None
) -> Coroutine[Any, Any, R]:
    """Start a workflow as a child of this run, and get what it returns.

    When the waiting is cancelled, `on_close` decides: "wait" cancels the child and waits for its end, "cancel" cancels
    it and goes on, "abandon" leaves it alone. Raises CallFailed when the child was cancelled or failed.
    """
    ledger = get_ledger("child")
    return ChildAct(ledger, workflow, message, on_close=on_close, key=key)


def patched(change: str, /) -> bool:
    """Whether a changed piece of code goes the new way: yes, but in runs that have passed it by the old one."""
    return get_ledger("patched").patched(change)


def now() -> datetime:
    """The time of the fact that the run is at, UTC. It is the same on replay, and never goes back."""
    return to_datetime(get_ledger("now").loop.now_us)


def uuid() -> str:
    """A UUID (version 8) that is new in this run, and the same on replay."""
    ledger = get_ledger("uuid")
    digits = derive_id(ledger.run, str(ledger.epoch), ledger.loop.scope().aside("uuid"))
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class CallAct(Act[Any]):
    """One call of a command."""

    __slots__ = ("_command", "_expect", "_ledger", "_limit_us", "_retry", "_undo")

    def __init__(
        self,
        ledger: Ledger,
        command: AnyCommand,
        *,
        expect: type[Any] | None,
        undo: AnyCommand | None,
        limit_us: int | None,
        retry: Retry | None,
        key: str | None,
    ) -> None:
        found = check_command(command, "call")
        if undo is not None:
            check_command(undo, "undo=")
        self._ledger = ledger
        self._command = command
        self._expect = expect
        self._undo = undo
        self._limit_us = limit_us
        self._retry = retry
        scope = ledger.loop.scope()
        super().__init__(ledger.loop, scope, ledger.name(scope, found.name, key))

    @override
    def _flows(self) -> Flow:
        ledger, loop, step, command = self._ledger, self._ledger.loop, self.step, self._command
        until = None if self._limit_us is None else loop.now_us + self._limit_us
        ask = AskCall(step, command, self._retry, None, until)
        saga = None if self._undo is None else get_saga(ask)
        found = describe(type(command))
        here = found.case_of(command) == ledger.case
        slot = ledger.ask(ask, None if here else OpenStep(step=step, name=found.name, since=loop.now_us))
        # In the same breath, and so in the unit that sends the command: there is no call without its undo.
        line = None if saga is None or self._undo is None else saga.register(ask, self._undo, slot, self._expect)
        yield from _wait(ledger, slot, until, line)
        if slot.came is None:
            _leave(ledger, slot, line)
            raise CallTimeout(f"{found.name} had no answer in time: its outcome is unknown")
        answer = read_answer(ledger.decode, command, slot.came)
        if self._expect is not None and not isinstance(answer, self._expect):
            raise Refused(answer)
        return answer


class PublishAct(Act[None]):
    """One event published."""

    __slots__ = ("_after_us", "_event", "_ledger")

    def __init__(self, ledger: Ledger, event: Event, after_us: int | None) -> None:
        _check_event(event)
        self._ledger = ledger
        self._event = event
        self._after_us = after_us
        scope = ledger.loop.scope()
        super().__init__(ledger.loop, scope, ledger.name(scope, describe(type(event)).name))

    @override
    def _flows(self) -> Generator[Any, Any, None]:
        self._ledger.say(AskPublish(self.step, self._event, self._after_us))
        yield from ()


class ReceiveAct(Act[Any]):
    """One message waited for."""

    __slots__ = ("_classes", "_default", "_ledger", "_limit_us", "_where")

    def __init__(
        self, ledger: Ledger, type: Any, *, where: Callable[[Any], bool] | None, limit_us: int | None, default: Any
    ) -> None:
        self._ledger = ledger
        self._classes = message_classes(type)
        self._where = where
        self._limit_us = limit_us
        self._default = default
        scope = ledger.loop.scope()
        super().__init__(ledger.loop, scope, scope.aside("receive"))

    @override
    def _flows(self) -> Flow:
        ledger, loop, classes = self._ledger, self._ledger.loop, self._classes
        names = tuple(describe(cls).name for cls in classes)
        self._check_subscribed(names)
        letter = ledger.mailbox.take(classes, self._where)
        if letter is not None:
            return letter.message
        until = None if self._limit_us is None else loop.now_us + self._limit_us
        slot = Slot(loop, self.step)
        receiver = Receiver(classes, self._where, slot.put, slot.fail)
        ledger.mailbox.wait(receiver)
        ledger.open_waits[self.step] = OpenWait(step=self.step, types=names, since=loop.now_us, until=until)
        timer = None if until is None else loop.call_at_us(until, slot.wake)
        try:
            yield from slot.wait()
        except asyncio.CancelledError:
            if slot.came is not None:
                ledger.mailbox.put_back(slot.came)
            raise
        finally:
            ledger.mailbox.leave(receiver)
            ledger.open_waits.pop(self.step, None)
            if timer is not None:
                timer.cancel()
        return self._taken(slot, names)

    def _taken(self, slot: Slot, names: tuple[str, ...]) -> Any:
        if slot.failure is not None:
            raise slot.failure
        if slot.came is not None:
            letter: Letter = slot.came
            return letter.message
        if self._default is _ABSENT:
            raise TimeoutError(f"{' | '.join(names)} did not come in time")
        return self._default

    def _check_subscribed(self, names: tuple[str, ...]) -> None:
        missing = [name for name in names if name not in self._ledger.receivable]
        if missing:
            raise DefinitionError(
                f"run {self._ledger.run}: it waits for {missing[0]}, which its workflow's source does not say\n"
                f"Declare it: @workflow(starts_on=..., receives=({', '.join(names)},))."
            )


class ChildAct(Act[Any]):
    """One child run."""

    __slots__ = ("_ledger", "_message", "_on_close", "_workflow")

    def __init__(
        self, ledger: Ledger, workflow: Workflow[Any, Any], message: Any, *, on_close: OnClose, key: str | None
    ) -> None:
        _check_workflow(workflow)
        self._ledger = ledger
        self._workflow = workflow
        self._message = message
        self._on_close: OnClose = on_close
        scope = ledger.loop.scope()
        super().__init__(ledger.loop, scope, ledger.name(scope, workflow.name, key))

    @override
    def _flows(self) -> Flow:
        ledger, step, workflow = self._ledger, self.step, self._workflow
        ledger.has_children = True
        shown = OpenStep(step=step, name=workflow.name, since=ledger.loop.now_us)
        slot = ledger.ask(AskChild(step, workflow, self._message, self._on_close), shown)
        try:
            yield from slot.wait()
        except asyncio.CancelledError:
            yield from self._cancelled(slot)
            raise
        return read_end(slot.came, workflow.returns)

    def _cancelled(self, slot: Slot) -> Generator[Any, Any, None]:
        if self._on_close == "abandon" or slot.came is not None:
            self._ledger.give_up(slot)
            return
        self._ledger.cancel_child(self.step)
        if self._on_close == "cancel":
            self._ledger.give_up(slot)
            return
        while slot.came is None:
            try:
                yield from slot.wait()
            except asyncio.CancelledError:
                continue  # it is being cancelled already, and raises when the child has ended


def _check_event(event: object) -> None:
    if not isinstance(event, Event):
        raise DefinitionError(
            f"publish takes an event, not {type(event).__name__}\nDerive it from Event; a command is sent with call()."
        )


def _check_workflow(workflow: object) -> None:
    if not isinstance(workflow, Workflow):
        raise DefinitionError(f"child takes a workflow, not {workflow!r}\nMark the function with @workflow.")


def message_classes(annotation: Any) -> tuple[type[Any], ...]:
    """The message classes of a type or a union of types."""
    found = _classes.get(annotation)
    if found is None:
        found = _classes[annotation] = tuple(dict.fromkeys(_flatten(annotation)))
    return found


_classes: dict[Any, tuple[type[Any], ...]] = {}


def _flatten(annotation: Any) -> list[type[Any]]:
    if get_origin(annotation) in {typing.Union, types.UnionType}:
        return [cls for part in get_args(annotation) for cls in _flatten(part)]
    if get_origin(annotation) is Annotated:
        return _flatten(get_args(annotation)[0])
    if not is_message_class(annotation):
        raise DefinitionError(
            f"receive takes message types, not {annotation!r}\nWrite receive(OrderShipped), or a union of events."
        )
    return [annotation]


def _wait(ledger: Ledger, slot: Slot, until: int | None, line: Undoing | None) -> Generator[Any, Any, None]:
    """Wait for a call's answer, until its time is over or somebody cancels the waiting."""
    timer = None if until is None or slot.came is not None else ledger.loop.call_at_us(until, slot.wake)
    try:
        yield from slot.wait()
    except asyncio.CancelledError:
        _leave(ledger, slot, line)
        raise
    finally:
        if timer is not None:
            timer.cancel()
    if slot.failure is not None:
        raise slot.failure


def _leave(ledger: Ledger, slot: Slot, line: Undoing | None) -> None:
    """Stop waiting for a call; its undo, if it has one, still wants to know what comes of it."""
    ledger.give_up(slot, listen=line is not None)
    if line is not None:
        line.was_left = True
