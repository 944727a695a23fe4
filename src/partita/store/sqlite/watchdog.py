"""How long a handler may hold the one writer: a warning, then its SQL is interrupted, then the process ends.

The dog counts ticks while the same work goes on; it sleeps without a timer while there is none. The last step ends the
process because a thread that computes cannot be stopped, and everybody else's work waits behind it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from partita.clock import Clock
from partita.dying import Held, die, log_stacks
from partita.errors import StoreError
from partita.limits import Limits
from partita.telemetry import Log

TICKS_TO_INTERRUPT = 10
IDLE_TICKS = 20

log = Log("partita.store")


class Watch:
    """One writer's work: who has it, since when, and whether its time is up."""

    def __init__(self, *, clock: Clock, limits: Limits) -> None:
        self.limits = limits
        self.label = ""
        self.turn = 0
        """Counts works; odd while one goes on."""
        self.overdue = False
        self.lock = threading.Lock()
        self.stirred = threading.Event()
        self._clock = clock
        self._began = 0

    def begin(self, label: str) -> None:
        """A work begins."""
        self.label, self.overdue, self._began = label, False, self._clock.now_us()
        self.turn += 1
        if not self.stirred.is_set():
            self.stirred.set()

    def end(self) -> None:
        """It has ended: from here on no interrupt is meant for it."""
        with self.lock:
            self.turn += 1
        took_s = (self._clock.now_us() - self._began) / 1e6
        if took_s > self.limits.writer_warn_s:
            log.warning("writer.slow", unit=self.label, took_ms=round(took_s * 1e3), limit="limits.writer_warn_s")

    def check(self) -> None:
        """Raise StoreError where the work has had its time."""
        if self.overdue:
            raise self.error()

    def error(self) -> StoreError:
        """Why the work is refused."""
        return StoreError(
            f"{self.label or 'a unit'}: held the writer for more than {self.limits.writer_interrupt_s:g} s"
            " and was rolled back\n"
            "Do less in one transaction, use `async def` without tx for the world outside,"
            " or raise limits.writer_interrupt_s."
        )


class Watchdog:
    """A thread that watches one writer thread."""

    def __init__(self, watch: Watch, *, interrupt: Callable[[], None]) -> None:
        self._watch = watch
        self._interrupt = interrupt
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="partita-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._ended.set()
        self._watch.stirred.set()
        self._thread.join()

    def _run(self) -> None:
        limits = self._watch.limits
        tick_s = limits.writer_interrupt_s / TICKS_TO_INTERRUPT
        seen, same, idle = 0, 0, 0
        while not self._ended.is_set():
            self._watch.stirred.wait()
            self._ended.wait(tick_s)
            turn = self._watch.turn
            same = same + 1 if turn == seen and turn % 2 else 0
            idle = 0 if turn != seen or turn % 2 else idle + 1
            seen = turn
            if idle > IDLE_TICKS:
                self._watch.stirred.clear()
                idle = 0
            elif same >= TICKS_TO_INTERRUPT:
                self._act(turn, same * tick_s)

    def _act(self, turn: int, held_s: float) -> None:
        watch = self._watch
        with watch.lock:
            if watch.turn != turn:
                return
            watch.overdue = True
            self._interrupt()
        if held_s >= watch.limits.writer_dead_s:
            self._die(held_s)

    def _die(self, held_s: float) -> None:
        label = self._watch.label
        log_stacks(log, "writer.dead", unit=label, held_s=round(held_s, 1))
        die(Held(_whose(label), held_s, "limits.writer_dead_s"))


def _whose(label: str) -> str:
    """Whose work it is, as a person says it."""
    words = label.split()
    return f"the handler of {words[2]} in {words[1]}" if words[:1] == ["handling"] and len(words) > 2 else label
