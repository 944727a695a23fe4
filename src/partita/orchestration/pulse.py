"""The pulse of the thread that runs workflows: whose code is running now, for whoever watches from outside.

A drain costs two additions; nobody reads a clock for it. What is watched may be told to stop by an exception that is
raised inside of it, at any of its instructions, so every end here can be gone through twice.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from typing_extensions import override


class TurnOverdue(BaseException):  # an `except Exception` in a loop without end must not meet it
    """Raised inside a workflow's code that does not come to rest; its run stops as an incident."""

    @override
    def __str__(self) -> str:
        return (
            "workflow code has held the engine longer than limits.turn_interrupt_s. "
            "Wait with asyncio.sleep(), and compute in a @step."
        )


def _nothing() -> None:
    """Nobody watches."""


class Pulse:
    """One engine's: `beats` is odd while a run's code is running."""

    __slots__ = ("asleep", "beats", "call_off", "lock", "overdue", "run", "wake")

    def __init__(self) -> None:
        self.beats = 0
        self.run = ""
        self.overdue = False
        """Whoever watches has raised TurnOverdue, or is about to."""
        self.asleep = False
        self.lock = Lock()
        self.wake: Callable[[], None] = _nothing
        self.call_off: Callable[[], None] = _nothing
        """Takes back a TurnOverdue that has not arrived yet."""

    def begin(self, run: str) -> None:
        """A run's code begins to run."""
        self.run = run
        self.beats += 1
        if self.asleep:
            self.wake()

    def end(self) -> bool:
        """It has come to rest; whether it was told to stop. Only after this is nothing raised any more."""
        self.beats += self.beats & 1
        if not self.overdue:
            return False
        with self.lock:
            self.call_off()
            self.overdue = False
        return True
