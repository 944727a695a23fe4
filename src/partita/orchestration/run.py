"""One run in memory: its loop, its code, what it asked for; brought forward fact by fact, live and on replay alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from partita.errors import NonDeterminism
from partita.messages.codec import decode as decode_value
from partita.orchestration import guard
from partita.orchestration.asks import Ask, AskCancelChild, AskPatched
from partita.orchestration.here import put_ledger
from partita.orchestration.ledger import Decode, Ledger
from partita.orchestration.loop import RunTask, make_loop
from partita.orchestration.pulse import Pulse
from partita.orchestration.replay import Recorded, meets, read_record
from partita.orchestration.workflow import Again, Workflow
from partita.store.facts import (
    Body,
    CancelAsked,
    ChildEnded,
    Discarded,
    Fact,
    Fired,
    Handled,
    Open,
    OpenStep,
    Received,
    Started,
    Stepped,
    Withdrawn,
)

_NOTHING = Open()
_ON_ITSELF = Open(on_itself=True)


@dataclass(frozen=True, slots=True)
class Ended:
    """The workflow returned, was cancelled, or continues as new with `value`."""

    how: Literal["returned", "cancelled", "again"]
    value: Any = None


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception left the workflow, or a task of it that nobody looked at: the run stops where it is."""

    error: BaseException


Outcome = Ended | Raised | None


class Completion(msgspec.Struct, frozen=True, gc=False):
    """What came of a step."""

    step: str
    failed: bool
    run_n: int | None = None
    """Known on replay."""


class LiveRun:
    """One run in memory. Applying a fact runs the code until nothing in it can move; what it asked for is in `take`."""

    def __init__(
        self,
        definition: Workflow[Any, Any],
        *,
        run: str,
        case: str,
        epoch: int = 0,
        decode: Decode,
        pulse: Pulse | None = None,
    ) -> None:
        guard.install()
        self.definition = definition
        self.run = run
        self.correlation = ""
        self.last_completion: Completion | None = None
        self._loop = make_loop(run, epoch)
        if pulse is not None:
            self._loop.pulse = pulse
        self._ledger = Ledger(self._loop, case=case, epoch=epoch, decode=decode, receivable=definition.receives)
        put_ledger(self._ledger)
        self._outcome: Outcome = None
        self._main: RunTask | None = None
        self._is_ending = False

    @property
    def outcome(self) -> Outcome:
        """How the run ended; None while it goes on."""
        return self._outcome

    @property
    def last_step(self) -> str | None:
        """The step of the last completion that was applied."""
        return None if self.last_completion is None else self.last_completion.step

    @property
    def has_children(self) -> bool:
        """Whether it ever asked for a child."""
        return self._ledger.has_children

    def replay(self, history: Sequence[Fact], messages: Mapping[str, Any]) -> None:
        """Bring a new run to where its history ends. `messages`: inputs by message id, or by run id where it has none.

        Raises NonDeterminism where a step that is recorded was asked for as something else, or not at all.
        """
        record = read_record(history)
        ledger = self._ledger
        ledger.recorded, ledger.patches, ledger.ended = record.steps, record.patches, frozenset(record.ended)
        self._loop.enter()
        try:
            for fact in record.applied:
                run_n = fact.run_n or 0
                ledger.before_record_end = run_n <= record.end
                self._meet(fact.at, fact.body, self._find_message(fact.body, messages), run_n)
        finally:
            self._loop.leave()
        ledger.before_record_end = False
        self._check_record()

    def apply(self, at: int, body: Body, message: Any = None) -> None:
        """Apply one fact: the clock moves to `at`, timers that are due fire, then the fact is met."""
        if not meets(body):
            return
        self._loop.enter()
        try:
            self._meet(at, body, message, None)
        finally:
            self._loop.leave()

    def take(self) -> list[Ask]:
        """What was asked for since the last take, in order."""
        return self._ledger.take()

    def open(self) -> Open:
        """What the run waits for now, and when it has to be woken."""
        if self._outcome is not None:
            return _NOTHING
        loop, ledger = self._loop, self._ledger
        waits, steps, wakes = tuple(ledger.open_waits.values()), tuple(ledger.open_steps.values()), loop.next_due()
        if wakes is None:
            if waits or steps:
                return Open(waits=waits, steps=steps)
            return _NOTHING if ledger.expects else _ON_ITSELF
        sleeps = tuple(
            OpenStep(step=str(timer.step), name="sleep", since=timer.since, due=timer.due) for timer in loop.sleeps()
        )
        return Open(waits=waits, steps=steps, sleeps=sleeps, wakes=wakes)

    def close(self) -> None:
        """Let the run go: every coroutine is closed here and now, youngest first, and nothing is asked for any more."""
        if self._loop.closing:
            return
        self._loop.enter()
        try:
            self._loop.close_watched()
        finally:
            self._loop.leave()
        self._main = None
        self._ledger.asks.clear()

    # One fact.

    def _meet(self, at: int, body: Body, message: Any, run_n: int | None) -> None:
        if self._outcome is not None or self._loop.closing:
            return
        due = max(at, body.due) if isinstance(body, Fired) else at
        loop = self._loop
        if loop.move_to(due):
            self._drain()
            if self.outcome is not None:  # The run was over before this fact came: no task of it goes on.
                return
        self._deliver(body, message, run_n)
        self._drain()

    def _deliver(self, body: Body, message: Any, run_n: int | None) -> None:
        match body:
            case Stepped(step=step):
                self._complete(step, body, run_n, failed=body.error is not None)
            case Handled(step=str(step)):
                self._complete(step, body, run_n, failed=body.outcome == "failed")
            case Received():
                self._loop.call_soon(self._ledger.mailbox.put, message, context=self._loop.context)
            case ChildEnded(step=step):
                self._complete(step, body, run_n, failed=body.error is not None)
            case Started():
                self._start(body, message)
            case Discarded(step=str(step)):
                self._complete(step, body, run_n, failed=True)
            case Withdrawn(step=str(step)):
                self._complete(f"{step}/undo", body, run_n, failed=False)
            case CancelAsked() if self._main is not None and not self._is_ending:
                self._main.cancel()
            case _:
                pass

    def _start(self, body: Started, message: Any) -> None:
        if self._main is not None:
            return
        self.correlation = body.correlation
        if message is None and bytes(body.data):
            message = decode_value(bytes(body.data), self.definition.takes)
        loop = self._loop
        self._main = loop.start_task(self.definition.fn(message), scope=loop.root, name=self.run, context=loop.context)

    def _complete(self, step: str, body: Body, run_n: int | None, *, failed: bool) -> None:
        if self._ledger.deliver(step, body):
            self.last_completion = Completion(step, failed, run_n)

    def _find_message(self, body: Body, messages: Mapping[str, Any]) -> Any:
        if isinstance(body, Received):
            return messages[body.message]
        if isinstance(body, Started):
            return messages.get(self.run if body.message is None else body.message)
        return None

    # The end.

    def _drain(self) -> None:
        loop, main = self._loop, self._main
        loop.drain()
        if loop.failure is None and main is not None and not main.done():
            return  # of most turns, all there is to know
        while self._outcome is None and self._is_over():
            loop.drain()

    def _is_over(self) -> bool:
        """Move the end on, once the workflow's own function is done; returns whether there is more to drain."""
        loop, main = self._loop, self._main
        if loop.failure is not None:
            self._outcome = Raised(loop.failure)
        elif main is None or not main.done():
            return False
        elif (error := _error_of(main)) is not None and not isinstance(error, Again):
            self._outcome = Raised(error)
        elif not self._is_ending:
            # As asyncio.run does: what still runs is cancelled, and may clean up.
            self._is_ending = True
            for task in loop.live_tasks():
                task.cancel()
            return True
        elif not loop.live_tasks():
            return self._finish(main)
        return False

    def _finish(self, main: RunTask) -> bool:
        generators = self._loop.open_generators()
        if generators:
            _task = self._loop.start_task(_close_generators(generators), context=self._loop.context)
            return True
        unseen = self._loop.find_unseen_error()
        if unseen is not None:
            self._outcome = Raised(unseen)
        elif main.cancelled():
            self._outcome = Ended("cancelled")
        else:
            error = main.exception()
            self._outcome = (
                Ended("again", error.message) if isinstance(error, Again) else Ended("returned", main.result())
            )
        return False

    # What replay is for.

    def _check_record(self) -> None:
        ledger = self._ledger
        if ledger.mismatch is not None:
            raise ledger.mismatch
        if not ledger.recorded or isinstance(self._outcome, Raised):
            return
        step, recorded = next(iter(ledger.recorded.items()))
        raise NonDeterminism(run=self.run, step=step, recorded=recorded.said, asked=self._say_new(recorded))

    def _say_new(self, recorded: Recorded) -> str:
        """What the code asked for beyond its record: of the same kind, if there is one."""
        new = [ask for ask in self._ledger.asks if not isinstance(ask, AskPatched | AskCancelChild)]
        if not new:
            return "nothing there" if self._outcome is None else "nothing more"
        alike = [ask for ask in new if Recorded.of(ask).kind == recorded.kind]
        return f"step {(alike or new)[0].step!r}"


def _error_of(task: RunTask) -> BaseException | None:
    return None if task.cancelled() else task.exception()


async def _close_generators(generators: list[Any]) -> None:
    for generator in reversed(generators):
        await generator.aclose()
