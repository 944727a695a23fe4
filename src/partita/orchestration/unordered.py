"""Where asyncio loses the order of what it is given, and how that order is found again.

Both places put objects that hash by their address into a set: `as_completed` its coroutines, and whoever waits for
several `gather`s the futures that gather makes. An address differs from one replay to the next.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import tasks
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Any

from partita.errors import DefinitionError

_LEVELS_MAX = 6
_tasks: Any = tasks
_ENSURING: frozenset[CodeType] = frozenset(
    getattr(tasks, name).__code__ for name in ("ensure_future", "_ensure_future") if hasattr(tasks, name)
)
_completing: Any = asyncio.as_completed
_iterating: Any = getattr(tasks, "_AsCompletedIterator", None)
_COMPLETING: frozenset[CodeType] = frozenset(
    {_completing.__code__} if _iterating is None else {_completing.__code__, _iterating.__init__.__code__}
)


def hash_by_birth(future: Any) -> int:
    """A future's hash: on a run's loop its place among the futures that were ever hashed, elsewhere its address."""
    # Lazily: few futures are ever put into a set, and those that are, are hashed in the order the code names them.
    known: int | None = getattr(future, "partita_digest", None)
    if known is not None:
        return known
    next_digest: Callable[[], int] | None = getattr(future.get_loop(), "next_digest", None)
    digest = object.__hash__(future) if next_digest is None else next_digest()
    future.partita_digest = digest
    return digest


def order_gathering() -> None:
    """Let the futures that `gather` makes hash by birth on a run's loop; on other loops nothing changes."""
    _tasks._GatheringFuture.__hash__ = hash_by_birth  # noqa: SLF001 - gather has no other door


def find_siblings(coro: object) -> list[Any] | None:
    """All the coroutines that `as_completed` was given with this one, in their order; None where it was not.

    Raises DefinitionError where they have none: in a set, or in an iterator, which is used up by now.
    """
    caller = sys._getframe(2)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - whoever called create_task
    if caller.f_code not in _ENSURING:
        return None
    frame = _climb(caller, lambda code: code in _COMPLETING)
    if frame is None:
        return None
    local = frame.f_locals
    given: Any = local["fs"] if "fs" in local else local["aws"]
    if not issubclass(type(given), Sequence):
        raise DefinitionError(
            f"as_completed was given a {type(given).__name__} of coroutines, and would run them in any order\n"
            "Give it a list: asyncio.as_completed([...])."
        )
    siblings = [one for one in given if asyncio.iscoroutine(one)]
    return siblings if any(one is coro for one in siblings) else None


def _climb(frame: FrameType | None, wanted: Callable[[CodeType], bool]) -> FrameType | None:
    for _ in range(_LEVELS_MAX):
        if frame is None or wanted(frame.f_code):
            return frame
        frame = frame.f_back
    return None
