"""A process of the engine's own: what is set once where nobody else's code has a say in it."""

from __future__ import annotations

import gc
import os
import sys
import threading

HANDLER_THREADS = "partita-handler"
"""How the threads are named that run plain handlers and steps."""
_LEAVE_S = 0.5
YOUNG_MAX = 20_000
"""Objects made and not yet dropped before the collector of circles looks at the young ones."""


def own_process() -> None:
    """Let the collector of circles look seldom, and never at what the imports have made.

    A run in flight is some thirty objects that go without it; looking at them every 700 new ones costs a sixth of a
    step. For processes that we start (`partita dev`): a program that embeds an app decides this for itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 10, 10)


def still_working() -> bool:
    """Whether a thread is still at a handler or a step that nobody waits for any more; idle ones end meanwhile."""
    for thread in threading.enumerate():
        if thread.name.startswith(HANDLER_THREADS):
            thread.join(_LEAVE_S)
            if thread.is_alive():
                return True
    return False


def leave(code: int) -> None:
    """End the process, with such threads: what they were making is open in the store, for the next start to take up."""
    sys.stdout.flush()
    sys.stderr.flush()
    if still_working():
        os._exit(code)
    sys.exit(code)
