"""Workflows: durable functions, and what their source says about them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, NoReturn, overload

from typing_extensions import TypeVar, get_type_hints, override

from partita.errors import DefinitionError
from partita.messages.message import AnyCommand, Event, describe, is_message_class
from partita.orchestration.check import Finding, check_source
from partita.orchestration.source import Reading, fingerprint, read_source
from partita.retry import Duration, optional_us

A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)
M = TypeVar("M", bound=Event | AnyCommand)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True, default=None)
Restart = Literal["never", "after-end"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


class Again(BaseException):
    """Leaves a workflow that goes on as a new run, with this message. No error, and no `except Exception` meets it."""

    def __init__(self, message: Any) -> None:
        super().__init__("again() leaves the workflow")
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowOptions:
    """What was said at the declaration."""

    starts_on: type[Any] | None = None
    receives: tuple[type[Any], ...] | None = None
    restart: Restart = "never"
    name: str | None = None
    within: Duration | None = None
    version: str | None = None


class Workflow(Generic[A_contra, R_co]):
    """What @workflow makes of the function. What its source says is read when it is first asked for."""

    def __init__(self, fn: Callable[[Any], Coroutine[Any, Any, Any]], options: WorkflowOptions) -> None:
        self.fn = fn
        self.name = options.name or fn.__name__
        if not _NAME.fullmatch(self.name) or len(self.name) > 100:
            raise DefinitionError(
                f"workflow {self.name!r} is not a name\nUse up to 100 letters, digits, '_', '.' and '-'."
            )
        self.takes, self.returns = _read_annotations(fn, self.name, options.starts_on)
        self.restart: Restart = options.restart
        self.within_us = optional_us(options.within)
        self.group = f"workflow:{self.name}"
        self.starts_on = None if options.starts_on is None else describe(options.starts_on).name
        """The message type that starts it."""
        self._options = options
        self.__name__ = self.name
        self.__qualname__ = fn.__qualname__
        self.__module__ = fn.__module__
        self.__doc__ = fn.__doc__

    @override
    def __repr__(self) -> str:
        return f"<workflow {self.name}>"

    async def __call__(self, message: A_contra, /) -> R_co:
        """Run its code as part of the workflow that calls it; to start it on its own, use App.run or TestApp."""
        value: R_co = await self.fn(message)
        return value

    def again(self, message: A_contra, /) -> NoReturn:
        """Continue as new: end this run, and start the next one with this message and an empty history."""
        raise Again(message)

    @cached_property
    def receives(self) -> tuple[str, ...]:
        """Message types that it waits for: declared, or read from its source. Raises DefinitionError where neither."""
        return _names(self.reading.receives)

    @cached_property
    def calls(self) -> tuple[str, ...]:
        """Command types that its source calls."""
        return _names(self.reading.calls)

    @cached_property
    def undoes(self) -> tuple[str, ...]:
        """Command types that its source names as undos."""
        return _names(self.reading.undoes)

    @cached_property
    def publishes(self) -> tuple[str, ...]:
        """Event types that its source publishes."""
        return _names(self.reading.publishes)

    @property
    def children(self) -> tuple[str, ...]:
        """Workflows that its source starts as children."""
        return self.reading.children

    @cached_property
    def messages(self) -> tuple[type[Any], ...]:
        """Every message class that it is known to deal with."""
        found = self.reading
        starts = (self.takes,) if is_message_class(self.takes) else ()
        return tuple(dict.fromkeys((*starts, *found.receives, *found.calls, *found.undoes, *found.publishes)))

    @cached_property
    def code(self) -> str:
        """The version it was declared with, or a fingerprint of its source."""
        return self._options.version or fingerprint(self.fn)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What in its source no replay can repeat; nothing where there is no source to read."""
        try:
            return tuple(check_source(self.fn))
        except (OSError, SyntaxError):
            return ()

    @cached_property
    def reading(self) -> Reading:
        """What its source says, as classes."""
        return read_source(self.fn, self.name, self._options.receives)


@overload
def workflow(fn: Callable[[A], Coroutine[Any, Any, R]], /) -> Workflow[A, R]: ...
@overload
def workflow(
    *,
    starts_on: type[M],
    receives: tuple[type[Event], ...] | None = None,
    restart: Restart = "never",
    name: str | None = None,
    within: Duration | None = None,
    version: str | None = None,
) -> Callable[[Callable[[M], Coroutine[Any, Any, R]]], Workflow[M, R]]: ...
@overload
def workflow(
    *,
    receives: tuple[type[Event], ...] | None = None,
    restart: Restart = "never",
    name: str | None = None,
    within: Duration | None = None,
    version: str | None = None,
) -> Callable[[Callable[[A], Coroutine[Any, Any, R]]], Workflow[A, R]]: ...
def workflow(fn: Any = None, /, **options: Any) -> Any:
    """Make an async function of one argument a workflow.

    `starts_on` is the message type that starts it: the type of its argument. One run for each case, unless
    `restart="after-end"`. `receives` names what it waits for, where its source does not. `within` is a limit that only
    the monitor judges by. `version` names the code, instead of a fingerprint of the source. Raises DefinitionError
    where annotations are missing or do not fit.
    """
    made = WorkflowOptions(**options)

    def decorate(fn: Any) -> Workflow[Any, Any]:
        return Workflow(fn, made)

    return decorate if fn is None else decorate(fn)


def _read_annotations(fn: Any, name: str, starts_on: type[Any] | None) -> tuple[Any, Any]:
    """What a workflow takes and returns."""
    if not inspect.iscoroutinefunction(fn):
        raise DefinitionError(f"workflow {name} is no async function\nWrite: async def {name}(message: ...) -> ...")
    parameters = list(inspect.signature(fn).parameters.values())
    if len(parameters) != 1 or parameters[0].kind not in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }:
        raise DefinitionError(f"workflow {name} takes {len(parameters)} arguments\nGive it one: what it starts with.")
    try:
        hints = get_type_hints(fn, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise DefinitionError(
            f"workflow {name}: its annotations name a type that can't be found: {error}\n"
            "Import it, or declare it above the workflow."
        ) from error
    missing = next((what for what in (parameters[0].name, "return") if what not in hints), None)
    if missing is not None:
        raise DefinitionError(f"workflow {name}: {missing!r} has no annotation\nSay what it takes and returns.")
    takes = hints[parameters[0].name]
    if starts_on is not None and takes is not starts_on:
        raise DefinitionError(
            f"workflow {name} starts on {starts_on.__name__} and takes {getattr(takes, '__name__', takes)}\n"
            "Let both be the same message type."
        )
    if starts_on is not None and not is_message_class(starts_on):
        raise DefinitionError(f"workflow {name}: {starts_on!r} is no message\nDerive it from Event or Command.")
    return takes, hints["return"]


def _names(classes: tuple[type[Any], ...]) -> tuple[str, ...]:
    return tuple(describe(cls).name for cls in classes)
