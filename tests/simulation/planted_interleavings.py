"""Bugs to be planted in a run's loop, its tasks and its mailbox, each of which some interleaving has to find."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from typing_extensions import override

from partita.orchestration import acts, loop
from partita.orchestration.act import Act
from partita.orchestration.ledger import Ledger, Slot
from partita.orchestration.loop import RunLoop, RunTask
from partita.orchestration.mailbox import Letter, Mailbox, Receiver
from partita.orchestration.run import LiveRun
from partita.orchestration.step import StepAct
from partita.store.facts import Fired, Handled

Plant = Callable[[pytest.MonkeyPatch], None]


class _LastInFirstOut(deque[Any]):
    @override
    def popleft(self) -> Any:
        return self.pop()


def last_in_first_out(patch: pytest.MonkeyPatch) -> None:
    init = RunLoop.__init__

    def make(self: RunLoop, *args: Any) -> None:
        init(self, *args)
        self._ready = _LastInFirstOut()

    patch.setattr(RunLoop, "__init__", make)


def youngest_timer_first(patch: pytest.MonkeyPatch) -> None:
    next_age = RunLoop.next_age
    patch.setattr(RunLoop, "next_age", lambda self: -next_age(self))


def tasks_hash_by_address(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RunTask, "__hash__", object.__hash__)


def as_completed_in_any_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "find_siblings", lambda _coro: None)


def cancellation_swallowed_by_an_act(patch: pytest.MonkeyPatch) -> None:
    wait = Slot.wait

    def deaf(slot: Slot) -> Any:
        try:
            yield from wait(slot)
        except asyncio.CancelledError:
            yield from wait(slot)

    patch.setattr(Slot, "wait", deaf)


def cancellation_of_the_run_lost(patch: pytest.MonkeyPatch) -> None:
    cancel = RunTask.cancel

    def deaf(task: RunTask, msg: Any = None) -> bool:
        return False if task.get_name().startswith("walked/") else cancel(task, msg)

    patch.setattr(RunTask, "cancel", deaf, raising=False)


def cancellation_not_passed_to_a_child(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "cancel_child", lambda _ledger, _step: None)


def identity_taken_when_awaited(patch: pytest.MonkeyPatch) -> None:
    init, begin = StepAct.__init__, Act._begin

    def make(self: StepAct, ledger: Any, made: Any, *args: Any) -> None:
        init(self, ledger, made, *args)
        self.scope._counts[made.name] -= 1

    def name(self: Act[Any]) -> Any:
        if isinstance(self, StepAct):
            self.step = self.scope.name(self._made.name)
        return begin(self)

    patch.setattr(StepAct, "__init__", make)
    patch.setattr(Act, "_begin", name)


def message_taken_twice(patch: pytest.MonkeyPatch) -> None:
    take = Mailbox.take

    def copy(mailbox: Mailbox, *how: Any) -> Letter | None:
        letter = take(mailbox, *how)
        if letter is not None:
            mailbox._buffer(letter).appendleft(letter)
        return letter

    patch.setattr(Mailbox, "take", copy)


def youngest_receiver_first(patch: pytest.MonkeyPatch) -> None:
    def push(mailbox: Mailbox, receiver: Receiver) -> None:
        mailbox._receivers = {receiver: None, **mailbox._receivers}

    patch.setattr(Mailbox, "wait", push)


def receiver_stays_after_its_time(patch: pytest.MonkeyPatch) -> None:
    leave = Mailbox.leave

    def linger(mailbox: Mailbox, receiver: Receiver) -> None:
        if receiver.where is not None:
            leave(mailbox, receiver)

    patch.setattr(Mailbox, "leave", linger)


def exception_hidden_from_the_group(patch: pytest.MonkeyPatch) -> None:
    def hide(task: RunTask) -> BaseException | None:
        found = asyncio.Task.exception(task)
        return None if task.get_name().startswith("walk#1") else found

    patch.setattr(RunTask, "exception", hide, raising=False)


def unseen_error_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RunLoop, "find_unseen_error", lambda _loop: None)


def tasks_left_over_at_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RunLoop, "live_tasks", lambda _loop: [])


def limit_of_a_call_forgotten(patch: pytest.MonkeyPatch) -> None:
    wait = acts._wait
    patch.setattr(acts, "_wait", lambda ledger, slot, _until, line: wait(ledger, slot, None, line))


def fact_met_before_what_was_due(patch: pytest.MonkeyPatch) -> None:
    def hasty(live: LiveRun, at: int, body: Any, message: Any, run_n: int | None) -> None:
        if live._loop.closing or live.outcome is not None:
            return
        live._deliver(body, message, run_n)
        live._drain()
        live._loop.move_to(max(at, body.due) if isinstance(body, Fired) else at)
        live._drain()

    patch.setattr(LiveRun, "_meet", hasty)


def fact_met_after_the_end(patch: pytest.MonkeyPatch) -> None:
    def late(live: LiveRun, at: int, body: Any, message: Any, run_n: int | None) -> None:
        if live._loop.closing or live.outcome is not None:
            return
        if live._loop.move_to(max(at, body.due) if isinstance(body, Fired) else at):
            live._drain()
        live._deliver(body, message, run_n)
        live._drain()

    patch.setattr(LiveRun, "_meet", late)


def replay_skips_a_drain(patch: pytest.MonkeyPatch) -> None:
    meet = LiveRun._meet

    def hasty(live: LiveRun, at: int, body: Any, message: Any, run_n: int | None) -> None:
        if run_n is not None and isinstance(body, Handled):
            live._deliver(body, message, run_n)
        else:
            meet(live, at, body, message, run_n)

    patch.setattr(LiveRun, "_meet", hasty)


def replay_does_not_wait_for_the_time(patch: pytest.MonkeyPatch) -> None:
    meet = LiveRun._meet

    def timeless(live: LiveRun, at: int, body: Any, message: Any, run_n: int | None) -> None:
        early = run_n is not None and not isinstance(body, Fired) and live._loop.now_us
        meet(live, early or at, body, message, run_n)

    patch.setattr(LiveRun, "_meet", timeless)


PLANTED: dict[Plant, str] = {
    last_in_first_out: "what was done:",
    youngest_timer_first: "what was done:",
    tasks_hash_by_address: "what was done",
    as_completed_in_any_order: "what was done|on replay",
    cancellation_swallowed_by_an_act: "what was done:",
    cancellation_of_the_run_lost: "what was done:",
    cancellation_not_passed_to_a_child: "cancelled children:",
    identity_taken_when_awaited: "the name of step",
    message_taken_twice: "buffered messages:",
    youngest_receiver_first: "what was done:",
    receiver_stays_after_its_time: "buffered messages:",
    exception_hidden_from_the_group: "what was done:|how it ended:",
    unseen_error_forgotten: "how it ended:",
    tasks_left_over_at_the_end: "what was done:|how it ended:",
    limit_of_a_call_forgotten: "the next timer:",
    fact_met_before_what_was_due: "what was done:",
    fact_met_after_the_end: "what was done:",
    replay_skips_a_drain: "on replay,",
    replay_does_not_wait_for_the_time: "on replay,",
}
"""Each bug, and what the comparison says of it."""
