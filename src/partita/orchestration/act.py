"""Acts: what a workflow awaits, as coroutine objects that take their identity where they are made.

The identity is the scope of whoever makes the act, the act's name, and how often that scope has used the name. So it
does not matter in which task, or in which order, the act is then awaited.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from typing_extensions import override

T_co = TypeVar("T_co", covariant=True)


class Scope:
    """Where names are counted: the run as a whole, or one of its tasks."""

    __slots__ = ("_counts", "path")

    def __init__(self, path: str = "") -> None:
        self.path = path
        """Empty for the run, `ship#1/` for a task."""
        self._counts: dict[str, int] = {}

    def name(self, name: str, key: str | None = None) -> str:
        """The identity of the next act of that name, counted from 1, or told apart by a key."""
        if key is not None:
            return f"{self.path}{name}[{key}]"
        count = self._counts[name] = self._counts.get(name, 0) + 1  # `_count`, without the call: this is a hot path
        return f"{self.path}{name}#{count}"

    def aside(self, name: str) -> str:
        """The name of something that no history records, such as a sleep: it does not move the acts of that name."""
        return f"{self.path}{name}#{self._count(f' {name}')}"

    def inside(self, name: str) -> Scope:
        """The scope of a task that is made here; neither does that."""
        return Scope(f"{self.path}{name}#{self._count(f'{name}/')}/")

    def _count(self, name: str) -> int:
        count = self._counts[name] = self._counts.get(name, 0) + 1
        return count


class Closing(Protocol):
    """What an act knows of the loop it lives on."""

    closing: bool
    """Whether its run is being let go."""


class Act(Coroutine[Any, Any, T_co], Generic[T_co]):
    """One act of a run. Nothing happens before it is awaited, and it can be awaited once."""

    __slots__ = ("__weakref__", "_flow", "_home", "scope", "step")

    def __init__(self, home: Closing, scope: Scope, step: str) -> None:
        self.scope = scope
        self.step = step
        self._home = home
        self._flow: Generator[Any, Any, T_co] | None = None

    @abstractmethod
    def _flows(self) -> Generator[Any, Any, T_co]:
        """Do it: a generator that yields futures, as coroutines do."""

    def _begin(self) -> Generator[Any, Any, T_co]:
        if self._flow is not None:
            raise RuntimeError(f"act {self.step!r} was awaited before\nMake a new one each time, or keep its result.")
        self._flow = flow = self._flows()
        return flow

    @override
    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._begin()

    @override
    def send(self, value: Any, /) -> Any:
        return (self._flow or self._begin()).send(value)

    @override
    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        return (self._flow or self._begin()).throw(error if tb is None else error.with_traceback(tb))

    @override
    def close(self) -> None:
        (self._flow or self._begin()).close()

    def __del__(self) -> None:
        try:
            begun = self._flow is not None
        except AttributeError:  # it was never made: its arguments were refused
            return
        if not begun and not self._home.closing:
            warnings.warn(f"act {self.step!r} was never awaited", RuntimeWarning, stacklevel=2, source=self)
