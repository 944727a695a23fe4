"""The loop of one run: asyncio's own tasks and futures, in an order that is the same on every replay.

Callbacks run first in, first out; timers by due time, then by age; tasks and futures hash by their place of birth, so
that the sets in which asyncio keeps them are walked in one order. Time is the time of the fact being applied. What
would reach outside the run raises.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import futures, tasks
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from math import floor, isfinite
from typing import Any, NoReturn, TypeVarTuple

from typing_extensions import override

from partita.clock import US
from partita.errors import DefinitionError, LimitExceeded
from partita.limits import LIMITS
from partita.orchestration import guard
from partita.orchestration.act import Act, Scope
from partita.orchestration.generators import AnyGenerator, attend, open_of
from partita.orchestration.pulse import Pulse, TurnOverdue
from partita.orchestration.unordered import find_siblings, hash_by_birth, order_gathering

Callback = Callable[..., object]
Ts = TypeVarTuple("Ts")

_futures: Any = futures
_tasks: Any = tasks
_events: Any = asyncio
_current_task: Any = _tasks.current_task if sys.version_info >= (3, 12) else _tasks._current_tasks.get  # noqa: SLF001 - before 3.12, `current_task` is Python
_WAKE_SLEEPER = _futures._set_result_unless_cancelled  # noqa: SLF001 - what asyncio.sleep hands to call_later
_KEPT_MIN = 64  # finished tasks and cancelled timers are swept out when they are this many, and half of all
_CLOSES_MAX = 100
_unclosed: set[RunLoop] = set()  # collected as garbage, a run's coroutines would end inside of whichever run is on then

order_gathering()


class RunFuture(asyncio.Future[Any]):
    """A future that hashes by its place of birth."""

    @override
    def __hash__(self) -> int:
        return hash_by_birth(self)


class RunTask(asyncio.Task[Any]):
    """A task that hashes by its place of birth, and has a scope in which names are counted."""

    def __init__(self, coro: Any, *, loop: RunLoop, scope: Scope, **options: Any) -> None:
        self.scope = scope
        self._digest = loop.next_digest()
        super().__init__(coro, loop=loop, **options)

    def let_go(self) -> None:
        """Close its coroutine, and be destroyed before it is done without a word: it is meant."""
        self._log_destroy_pending = False
        coro: Any = self.get_coro()
        _close(coro.close)
        waiter: asyncio.Future[Any] | None = getattr(self, "_fut_waiter", None)
        if waiter is not None:
            waiter.cancel()  # so that they no longer hold each other

    @override
    def __hash__(self) -> int:
        return self._digest


class Handle(asyncio.Handle):
    """A callback on its way; asyncio's own handle asks the loop for its debug mode each time."""

    __slots__ = ()
    # Of asyncio's debug mode; said once, here, not for each callback.
    _repr = None
    _source_traceback = None

    def __init__(self, callback: Callback, args: tuple[Any, ...], loop: RunLoop, context: Context | None) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._cancelled = False


class Timer(asyncio.TimerHandle):
    """A callback that is due at an instant, in microseconds."""

    __slots__ = ("age", "due", "since", "step")

    def __init__(self, due: int, callback: Callback, args: tuple[Any, ...], loop: RunLoop, context: Context) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = due / US
        self._scheduled = True
        self.due = due
        self.since = loop.now_us
        self.age = loop.next_age()
        self.step: str | None = None
        """Of a sleep."""


class RunLoop(asyncio.AbstractEventLoop):
    """One run's loop. It runs nothing by itself: between `enter` and `leave`, `drain` runs what is ready."""

    def __init__(self, run: str, epoch: int = 0) -> None:
        self.run = run
        self.now_us = 0
        self.root = Scope()
        self.context = Context()
        self.failure: BaseException | None = None
        """What a callback raised that belongs to no task."""
        self.closing = False
        self.pulse = Pulse()
        """Of the thread that drains it."""
        self._seed = int.from_bytes(blake2b(f"{run}/{epoch}".encode(), digest_size=7).digest(), "big")
        self._births = 0
        self._ages = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, Timer]] = []
        self._timers_gone = 0
        self._sleeps: dict[int, Timer] = {}
        self._kept: list[RunTask] = []
        self._kept_max = _KEPT_MIN
        self._generators: list[AnyGenerator] = []
        self._generators_max = _KEPT_MIN
        self._siblings: dict[int, asyncio.Task[Any]] = {}
        self._outer: tuple[Any, ...] = ()
        _unclosed.add(self)

    # Being entered, and run.

    def enter(self) -> None:
        """Make this the running loop of the thread, also inside a callback of another loop."""
        outer = _events._get_running_loop()  # noqa: SLF001 - asyncio's door for loops
        task = None if outer is None else _current_task(outer)
        if task is not None:
            _tasks._leave_task(outer, task)  # noqa: SLF001 - since 3.14 a thread, not a loop, has a current task
        attend()
        self._outer = (outer, task, guard.watch(self.run), self._outer)
        _events._set_running_loop(self)  # noqa: SLF001 - the same door

    def leave(self) -> None:
        """Give the thread back to the loop that it was taken from."""
        outer, task, watched, self._outer = self._outer
        _events._set_running_loop(outer)  # noqa: SLF001 - the same door
        if task is not None:
            _tasks._enter_task(outer, task)  # noqa: SLF001 - see enter
        guard.release(watched)

    def drain(self) -> None:
        """Run what is ready, and what is due by now, until nothing is, or whoever watches has had enough of it."""
        pulse = self.pulse
        try:
            pulse.begin(self.run)
            try:
                self._run_ready()
            finally:
                if pulse.end():
                    self._stop_overdue()
        except TurnOverdue:  # it came between two callbacks, or while this was ending: end once more
            pulse.end()
            self._stop_overdue()

    def _stop_overdue(self) -> None:
        self.failure = self.failure or TurnOverdue()
        self._ready.clear()

    def _run_ready(self) -> None:
        ready, left = self._ready, LIMITS.turn_callbacks_max
        while ready or self._collect_due():
            handle: Any = ready.popleft()
            if handle._cancelled:  # noqa: SLF001 - a hot path: the method costs as much as the callback
                continue
            left -= 1
            if left < 0:
                self._overrun()
                return
            try:
                handle._context.run(handle._callback, *handle._args)  # noqa: SLF001 - Handle._run would look it all up again
            except TurnOverdue:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001 - users' code: its run stops, the engine does not
                self.failure = self.failure or error

    def move_to(self, at_us: int) -> bool:
        """Move the clock to an instant, never back. Returns whether a timer is due."""
        if at_us > self.now_us:  # noqa: PLR1730 - max() costs three times as much, for each fact
            self.now_us = at_us
        if not self._timers:
            return False
        due = self.next_due()
        return due is not None and due <= self.now_us

    def _overrun(self) -> None:
        limit = LIMITS.turn_callbacks_max
        self.failure = LimitExceeded(
            f"run {self.run}: callbacks in one turn", actual=limit + 1, limit=limit, setting="limits.turn_callbacks_max"
        )
        self._ready.clear()

    def _refuse_timer(self, delay_s: float) -> NoReturn:
        limit = LIMITS.timer_s_max
        actual = int(delay_s) if isfinite(delay_s) else 2**63
        raise LimitExceeded(
            f"run {self.run}: seconds until a timer", actual=actual, limit=limit, setting="limits.timer_s_max"
        )

    # What is kept: births, tasks, generators.

    def next_digest(self) -> int:
        """The hash of the next object that is born here: spread over all integers, and the same on every replay."""
        self._births += 1
        return hash((self._seed, self._births))

    def next_age(self) -> int:
        """A number that rises with each timer."""
        self._ages += 1
        return self._ages

    def scope(self) -> Scope:
        """The scope of the task that is running, or of the run."""
        task: Any = _current_task(self)
        return self.root if task is None else getattr(task, "scope", self.root)

    def live_tasks(self) -> list[RunTask]:
        """Tasks that are not done, oldest first."""
        return [task for task in self._kept if not task.done()]

    def find_unseen_error(self) -> BaseException | None:
        """What a task raised that nobody has asked for."""
        for task in self._kept:
            if task.done() and getattr(task, "_log_traceback", False):
                return task.exception()
        return None

    def open_generators(self) -> list[AnyGenerator]:
        """Async generators that are not exhausted, oldest first."""
        return open_of(self._generators)

    def _keep_task(self, task: RunTask) -> None:
        kept = self._kept
        kept.append(task)
        if len(kept) > self._kept_max:
            # A task that failed unseen stays, since no run may end over it.
            kept[:] = [one for one in kept if not one.done() or getattr(one, "_log_traceback", False)]
            self._kept_max = max(_KEPT_MIN, 2 * len(kept))

    def keep_generator(self, generator: AnyGenerator) -> None:
        """Until the run ends: the garbage collector would finalise it at another time on each replay."""
        kept = self._generators
        kept.append(generator)
        if len(kept) > self._generators_max:
            kept[:] = self.open_generators()
            self._generators_max = max(_KEPT_MIN, 2 * len(kept))

    # What asyncio asks of a loop.

    @override
    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    @override
    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if not delay <= LIMITS.timer_s_max:
            self._refuse_timer(delay)
        return self.call_at_us(self.now_us + round(delay * US), callback, *args, context=context)

    @override
    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if not when - self.now_us / US <= LIMITS.timer_s_max:
            self._refuse_timer(when - self.now_us / US)
        whole = floor(when)
        return self.call_at_us(whole * US + round((when - whole) * US), callback, *args, context=context)

    def call_at_us(self, due: int, callback: Callback, *args: Any, context: Context | None = None) -> Timer:
        """The same for an instant in microseconds."""
        self._refuse_when_closing()
        timer = Timer(due, callback, args, self, copy_context() if context is None else context)
        if callback is _WAKE_SLEEPER:
            timer.step = self.scope().aside("sleep")
            self._sleeps[timer.age] = timer
        heappush(self._timers, (due, timer.age, timer))
        return timer

    @override
    def time(self) -> float:
        return self.now_us / US

    @override
    def create_future(self) -> asyncio.Future[Any]:
        self._refuse_when_closing()
        return RunFuture(loop=self)

    @override
    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        if self.closing:
            coro.close()
            self._refuse_when_closing()
        found = self._siblings.pop(id(coro), None)
        if found is not None:
            return found
        siblings = find_siblings(coro)
        if siblings is None:
            return self.start_task(coro, **options)
        for one in siblings:
            self._siblings[id(one)] = self.start_task(one)
        return self._siblings.pop(id(coro))

    def start_task(self, coro: Any, *, scope: Scope | None = None, **options: Any) -> RunTask:
        """Make a task with a scope of its own; an act stays in the scope where it was made."""
        if scope is None:
            name = getattr(coro, "__qualname__", type(coro).__qualname__).rpartition(".")[2]
            scope = coro.scope if isinstance(coro, Act) else self.scope().inside(name)
        if options.get("name") is None:
            options["name"] = coro.step if isinstance(coro, Act) else scope.path.rstrip("/") or self.run
        task = RunTask(coro, loop=self, scope=scope, **options)
        self._keep_task(task)
        return task

    @override
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # What asyncio says while it collects garbage comes at any time; `find_unseen_error` finds the same in time.
        if not any(words in str(context.get("message")) for words in ("never retrieved", "was destroyed")):
            self.failure = self.failure or context.get("exception")

    @override
    def is_running(self) -> bool:
        return bool(self._outer)

    @override
    def is_closed(self) -> bool:
        return self.closing

    @override
    def get_debug(self) -> bool:
        return False

    @override
    def get_task_factory(self) -> None:
        return None

    # Timers.

    def next_due(self) -> int | None:
        """When the earliest timer is due."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
            self._timers_gone -= 1
        return timers[0][0] if timers else None

    def sleeps(self) -> list[Timer]:
        """Timers that a sleeping task waits for, oldest first."""
        return list(self._sleeps.values())

    def _timer_handle_cancelled(self, timer: Timer) -> None:
        # TimerHandle.cancel says so, also of a timer that has fired: counting those sweeps a little early.
        self._sleeps.pop(timer.age, None)
        self._timers_gone += 1
        if self._timers_gone > _KEPT_MIN and 2 * self._timers_gone > len(self._timers):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapify(self._timers)
            self._timers_gone = 0

    def _collect_due(self) -> bool:
        if not self._timers:
            return False
        while (due := self.next_due()) is not None and due <= self.now_us:
            timer = heappop(self._timers)[2]
            self._sleeps.pop(timer.age, None)
            self._ready.append(timer)
        return bool(self._ready)

    # The end.

    def close_watched(self) -> None:
        """`close_all`, in the run's context: a `finally` that does not come to rest is told to stop, like a turn."""
        pulse = self.pulse
        try:
            pulse.begin(self.run)
            try:
                self.context.run(self.close_all)
            finally:
                pulse.end()
        except TurnOverdue:
            pulse.end()
            self.context.run(self.close_all)

    def close_all(self) -> None:
        """Close every coroutine, youngest first: their `finally` runs here and now, up to where it would wait."""
        self.closing = True
        for task in reversed(self.live_tasks()):
            task.let_go()
        for generator in reversed(self.open_generators()):
            closing: Any = generator.aclose()
            _close(partial(closing.send, None))
            _close(closing.close)
        self._ready.clear()
        self._timers.clear()
        self._sleeps.clear()
        self._kept.clear()
        self.open_generators()
        self._generators.clear()
        self.context = Context()  # the old one holds the run
        _unclosed.discard(self)

    def _refuse_when_closing(self) -> None:
        if self.closing:
            raise GeneratorExit


def make_loop(run: str, epoch: int) -> RunLoop:
    """A loop for a run."""
    made: Any = RunLoop  # what it has no method for, it refuses: see below
    loop: RunLoop = made(run, epoch)
    return loop


def _close(close: Callable[[], object]) -> None:
    for _ in range(_CLOSES_MAX):
        try:
            close()
        except RuntimeError as error:
            if "ignored GeneratorExit" in str(error):
                continue  # it waits for something in its `finally`: out of there as well
        except BaseException:  # noqa: BLE001, S110 - a `finally` of the users' may raise anything; the run is gone
            pass
        return


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refused(self: RunLoop, *_args: object, **_options: object) -> NoReturn:
        raise DefinitionError(
            f"run {self.run}: workflow code used the loop's {name}()\n"
            "Do it in a @step: a workflow is run again from its history."
        )

    return refused


for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in RunLoop.__dict__:
        setattr(RunLoop, _name, _refusal(_name))
