"""Dying: how a process ends that users' code holds up. Its stacks are logged, its last word is said, and it is gone."""

from __future__ import annotations

import faulthandler
import os
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from partita.telemetry import Log

EXIT_DEAD = 70


@dataclass(frozen=True, slots=True)
class Held:
    """Whose code held the process, for how long, and which setting says how long it may."""

    who: str
    held_s: float
    setting: str
    run: str = ""
    """The run whose code it was: it is stopped in the store."""


LastWord = Callable[[Held], int]
"""Says what whoever waits for this process has to know; gives the exit code. Called on a watchdog's thread."""

_last_words: list[LastWord] = []
_ending = threading.Lock()


@contextmanager
def last_word(say: LastWord) -> Generator[None]:
    """Have this said, instead of the stacks, if the process dies while the block runs."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def log_stacks(log: Log, event: str, **facts: str | float) -> None:
    """Log where every thread is; not where somebody has a last word and does not ask for more (PARTITA_DEBUG)."""
    if _last_words and not os.environ.get("PARTITA_DEBUG"):
        return
    with tempfile.TemporaryFile("w+") as stacks:
        faulthandler.dump_traceback(stacks, all_threads=True)
        stacks.seek(0)
        log.error(event, error=None, **facts, stacks="\n" + stacks.read())


def die(held: Held) -> None:
    """End the process at once: a thread that computes can't be stopped in any other way."""
    with _ending:  # two watchdogs may come to it together: one of them speaks
        code = EXIT_DEAD
        try:
            for say in _last_words[-1:]:
                code = say(held)
        finally:
            os._exit(code)
