"""Local steps: functions that a run has made once, outside its turn, and whose value it keeps."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ParamSpec, Protocol, TypeVar, get_type_hints, overload
from weakref import WeakKeyDictionary

from typing_extensions import override

from partita.errors import DefinitionError
from partita.messages.answers import Delivery
from partita.orchestration.act import Act
from partita.orchestration.answers import read_value
from partita.orchestration.asks import AskStep, How
from partita.orchestration.here import find_ledger
from partita.orchestration.ledger import Ledger
from partita.retry import Duration, Retry, optional_us
from partita.store.facts import OpenStep

P = ParamSpec("P")
R = TypeVar("R")


class StepDecorator(Protocol):
    """What `step(...)` gives: it makes an awaited step of an async or of a plain function."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


@overload
def step(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def step(fn: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def step(*, name: str | None = None, timeout: Duration | None = None, retry: Retry | None = None) -> StepDecorator: ...
def step(
    fn: Any = None, /, *, name: str | None = None, timeout: Duration | None = None, retry: Retry | None = None
) -> Any:
    """Make a function a step of workflows: `@step`, `@step(timeout="10s", retry=...)`, or `step(fn)(argument)`.

    In a workflow its value is recorded, and comes back read as the return annotation says; `timeout` limits each
    attempt, `retry` says how often it is tried, and CallFailed is raised when that is spent. Called anywhere else it
    just runs, and a plain function is awaited all the same.
    """
    limit_us = optional_us(timeout)

    def decorate(fn: Any) -> Any:
        if not callable(fn):
            raise DefinitionError(f"step takes a function, not {fn!r}\nWrite step(fn)(argument).")
        made = LocalStep(fn, name or str(getattr(fn, "__name__", type(fn).__name__)), limit_us, retry)

        @functools.wraps(fn)
        def stepping(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
            ledger = find_ledger()
            return _run_here(fn, args, kwargs) if ledger is None else StepAct(ledger, made, args, kwargs)

        stepping.partita_step = made  # type: ignore[attr-defined] # for whoever reads a workflow's source
        return stepping

    return decorate if fn is None else decorate(fn)


@dataclass(frozen=True)
class LocalStep:
    """A function as a step."""

    fn: Callable[..., Any]
    name: str
    limit_us: int | None
    retry: Retry | None

    @cached_property
    def returns(self) -> object:
        """What its value is read as."""
        found = _returns.get(self.fn)
        if found is None:
            found = _returns[self.fn] = _read_returns(self.fn)
        return found

    @cached_property
    def how(self) -> How:
        """How it is called."""
        found = _hows.get(self.fn)
        if found is None:
            found = _hows[self.fn] = how_of(self.fn)
        return found


class StepAct(Act[Any]):
    """One local step of a run."""

    __slots__ = ("_args", "_kwargs", "_ledger", "_made", "_returns")

    def __init__(self, ledger: Ledger, made: LocalStep, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._ledger = ledger
        self._made = made
        self._args = args
        self._kwargs = kwargs
        self._returns = made.returns
        scope = ledger.loop.scope()
        super().__init__(ledger.loop, scope, scope.name(made.name))

    @override
    def _flows(self) -> Generator[Any, Any, Any]:
        ledger, made, step = self._ledger, self._made, self.step
        shown = OpenStep(step=step, name=made.name, since=ledger.loop.now_us)
        ask = AskStep(
            step, made.name, made.fn, self._args, self._kwargs, made.limit_us, made.retry, made.how, self._returns
        )
        slot = ledger.ask(ask, shown)
        finished = False
        try:
            yield from slot.wait()
            finished = True
        finally:
            if not finished:
                ledger.give_up(slot)
        return read_value(slot.came, self._returns)


# step(fn)(...) makes a new step each time.
_returns: WeakKeyDictionary[Callable[..., Any], object] = WeakKeyDictionary()
_hows: WeakKeyDictionary[Callable[..., Any], How] = WeakKeyDictionary()


def how_of(fn: Callable[..., Any]) -> How:
    """How a step's function is called."""
    try:
        hints = get_type_hints(fn)
    except (NameError, TypeError):
        hints = {}
    delivery = next((name for name, hint in hints.items() if hint is Delivery and name != "return"), None)
    return How(inspect.iscoroutinefunction(fn), delivery)


def _read_returns(fn: Callable[..., Any]) -> object:
    if not inspect.isroutine(fn):
        return Any  # a partial, or an object that can be called
    try:
        return get_type_hints(fn, include_extras=True).get("return", Any)
    except (NameError, AttributeError) as error:
        raise DefinitionError(
            f"step {getattr(fn, '__name__', fn)!r}: its annotations name a type that can't be found: {error}\n"
            "Import it where the step is declared."
        ) from error


async def _run_here(fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    value = fn(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value
