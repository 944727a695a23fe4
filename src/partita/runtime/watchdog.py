"""How long users' code may hold the engine's loop: a warning, then its turn is stopped, then the process ends.

A workflow's code that does not come to rest would hold up every other run and handler. It is told to stop by an
exception raised inside of it; its run stops as an incident, and the others go on. Where not even that helps, since it
sits in one long call, or where an `async def` handler computes for ever, the process ends: but first the run is stopped
in the store, or the handling is left open and unclean, to be claimed by the next start. So none of them ends the next
engine, and the one after it, too. What never lets go of Python's own lock (one long call of C code, such as a regular
expression gone wrong) holds this thread up as well: only another process can see that.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import traceback
from collections.abc import Callable, Set

from partita.dying import Held, die, log_stacks
from partita.limits import LIMITS
from partita.orchestration.pulse import Pulse, TurnOverdue
from partita.telemetry import Log

_IDLE_TICKS = 20
_NET_S = 1.0
"""How often the loop is asked whether it still turns, while nothing else is to be watched."""
_LAST_WORD_S = 3.0

log = Log(__name__)
StopRun = Callable[[str], Callable[[], bool]]
"""Stops a run in the store, from another thread than the loop's; gives what tells whether that is durable."""


class LoopDog:
    """A thread that watches one engine's loop. Made on that loop; `stop` before the loop ends."""

    def __init__(self, pulse: Pulse, *, stop_run: StopRun, tasks: Set[asyncio.Task[None]]) -> None:
        self._pulse = pulse
        self._stop_run = stop_run
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._stirred = threading.Event()
        self._ended = threading.Event()
        self._answered = True
        self._interrupted = -1
        """The turn that was told last to stop."""
        self._thread = threading.Thread(target=self._watch, name="partita-loop-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._pulse.wake, self._pulse.call_off = self._wake, self._call_off
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._ended.set()
        self._stirred.set()
        self._thread.join()

    def _wake(self) -> None:
        self._pulse.asleep = False
        self._stirred.set()

    # On its own thread. It counts its own ticks, so that a machine that stood still has not held anybody up.

    def _watch(self) -> None:
        pulse = self._pulse
        seen, held_s, silent_s, idle, warned = -1, 0.0, 0.0, 0, False
        while not self._ended.is_set():
            tick_s = self._wait(idle)
            beats = pulse.beats
            moved, seen = beats != seen, beats
            idle = 0 if moved or beats % 2 else idle + 1
            held_s = 0.0 if moved or not beats % 2 else held_s + tick_s
            silent_s = 0.0 if self._answered else silent_s + tick_s
            self._ask()
            warned = warned and not moved
            if held_s >= LIMITS.turn_dead_s:
                self._die(f"run {pulse.run}", held_s, run=pulse.run)
            elif held_s >= LIMITS.turn_interrupt_s:
                self._interrupt(beats)
            elif held_s >= LIMITS.turn_warn_s and not warned:
                warned = True
                log.warning(
                    "turn.slow", run=pulse.run, held_s=round(held_s, 2), limit="limits.turn_warn_s", at=self._at()
                )
            if silent_s >= LIMITS.turn_dead_s and not beats % 2:
                silent_s = self._judge(silent_s)

    def _wait(self, idle: int) -> float:
        """Wait for the next tick: a short one while runs are moving, otherwise that of the safety net."""
        if idle < _IDLE_TICKS:
            tick_s = min(LIMITS.turn_warn_s, LIMITS.turn_interrupt_s / 2)
            self._ended.wait(tick_s)
            return tick_s
        self._stirred.clear()
        self._pulse.asleep = True
        return _NET_S if not self._stirred.wait(_NET_S) else 0.0

    def _ask(self) -> None:
        if self._answered:
            self._answered = False
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # the loop is closed
                self._ended.set()

    def _answer(self) -> None:
        self._answered = True

    def _interrupt(self, beats: int) -> None:
        pulse = self._pulse
        with pulse.lock:
            # Said before it is looked whether it still runs: whoever comes to rest meanwhile waits for the lock.
            pulse.overdue = True
            if pulse.beats != beats:
                pulse.overdue = False
                return
            run, at = pulse.run, self._at()
            _raise_in(self._watched, TurnOverdue)
        if beats != self._interrupted:  # it may be told many times before it listens
            self._interrupted = beats
            log.error("turn.interrupted", run=run, limit="limits.turn_interrupt_s", at=at)

    def _call_off(self) -> None:
        call_off(self._watched)

    def _judge(self, silent_s: float) -> float:
        """The loop does not turn, and no run's code is running: whose is it?"""
        task = asyncio.current_task(self._loop)
        if task is not None and task in self._tasks:
            self._die(task.get_name(), silent_s)
        log.warning("loop.blocked", held_s=round(silent_s, 1), at=self._at())  # the program's own, around the engine
        return 0.0

    def _at(self) -> str:
        """Where the watched thread is: the innermost frames, in one line."""
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - Python's own door for this
        frames = traceback.extract_stack(frame)[-3:] if frame is not None else ()
        return " < ".join(f"{one.name} ({one.filename}, line {one.lineno})" for one in reversed(frames))

    def _die(self, who: str, held_s: float, *, run: str = "") -> None:
        stopped = self._stop_run(run) if run else None
        log_stacks(log, "loop.dead", who=who, held_s=round(held_s, 1))
        for _ in range(30):
            if stopped is None or stopped():
                break
            self._ended.wait(_LAST_WORD_S / 30)
        group, _, message = who.rpartition(" ")
        said = who if run else f"the handler of {message} in {group}"
        die(Held(said, held_s, "limits.turn_dead_s", run=run))


class _CalledOff(BaseException):
    """Comes in the place of one that is no longer meant, to the one who called it off."""


def call_off(thread: int) -> None:
    """Take back what was to be raised in this very thread, and has not arrived.

    Python's own way, to set none, leaves word that something is on its way: from then on each call looks for it, and
    under a debugger, or where coverage is measured, Python 3.11 looks for ever. So another one takes its place, and is
    waited for.
    """
    try:
        _raise_in(thread, _CalledOff)
        while True:
            pass
    except _CalledOff:
        return


def _raise_in(thread: int, error: type[BaseException]) -> None:
    """Raise an exception inside a thread, at its next instruction, instead of any that is on its way."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
