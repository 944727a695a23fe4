"""Async generators of runs, told from those of the loop around them: Python has one pair of hooks for a thread.

To set the hooks for each turn and back costs as much as the turn's own code, since each setting is audited. So they are
set once, in front of those of the loop around, and pass on what is not a run's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

AnyGenerator = AsyncGenerator[Any, Any]
Hook = Callable[[AnyGenerator], None] | None

_events: Any = asyncio
_kept: set[int] = set()
"""Ids of the generators that a run keeps, or was let go with."""


class _First:
    """Called with each generator that begins: a run keeps its own."""

    def __init__(self, outer: Hook) -> None:
        self.outer = outer

    def __call__(self, generator: AnyGenerator) -> None:
        keep: Hook = getattr(_events._get_running_loop(), "keep_generator", None)  # noqa: SLF001 - asyncio's door for loops
        if keep is not None:
            _kept.add(id(generator))
            keep(generator)
            return
        _kept.discard(id(generator))  # an id is given again
        if self.outer is not None:
            self.outer(generator)


class _Last:
    """Called with each generator that is destroyed before its end: a run has closed its own as far as that can be."""

    def __init__(self, outer: Hook) -> None:
        self.outer = outer

    def __call__(self, generator: AnyGenerator) -> None:
        if id(generator) in _kept:
            _kept.discard(id(generator))
        elif self.outer is not None:
            self.outer(generator)


def attend() -> None:
    """Stand in front of this thread's hooks; whoever runs a loop sets its own first, and takes ours away at its end."""
    hooks: Any = sys.get_asyncgen_hooks()
    if type(hooks.firstiter) is not _First:
        sys.set_asyncgen_hooks(_First(hooks.firstiter), _Last(hooks.finalizer))


def open_of(generators: Iterable[AnyGenerator]) -> list[AnyGenerator]:
    """Those that are not exhausted, in their order; the others are known no longer."""
    found: list[AnyGenerator] = []
    for generator in generators:
        if getattr(generator, "ag_frame", None) is None:
            _kept.discard(id(generator))
        else:
            found.append(generator)
    return found
