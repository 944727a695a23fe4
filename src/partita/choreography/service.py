"""Services and wirings: where handlers are declared, and what was declared.

A service is a named participant: its handlers of commands, and the reactions that hold in every form. A wiring is a
detachable set of further reactions, for one form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, Literal, ParamSpec, cast, overload

from typing_extensions import TypeForm, TypeVar

from partita.choreography.contract import Contract, read_contract
from partita.errors import DefinitionError
from partita.messages.answers import Noop, Waits
from partita.messages.message import AnyCommand, Command, Event, MessageKind
from partita.retry import Duration, Retry, duration_us, optional_us

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=AnyCommand)
C_co = TypeVar("C_co", covariant=True, bound=AnyCommand)
EV = TypeVar("EV", bound=Event)
Emitted = Event | AnyCommand | Noop | Waits | None
OUT = TypeVar("OUT", bound=Emitted | Iterable[Event | AnyCommand])

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was said at the declaration of one handler."""

    form: Literal["handler", "reaction"] = "handler"
    wiring: str | None = None
    group: str | None = None
    within_us: int | None = None
    retry: Retry | None = None
    timeout_us: int | None = None
    concurrency: int | None = None
    observer: bool = False
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Handler:
    """One function of a service for one or several message types, with the group it works for."""

    service: Service
    contract: Contract
    options: Options

    @property
    def group(self) -> str:
        """Its own group if it names one; a wiring's reaction works for `service/wiring`, the rest for the service."""
        if self.options.group is not None:
            return self.options.group
        if self.options.wiring is not None:
            return f"{self.service.name}/{self.options.wiring.replace(' ', '-')}"
        return self.service.name


class HandlesDecorator(Generic[C_co]):
    """What `@service.handles(Command)` is: it checks the function against the command's answer and keeps it."""

    def __init__(self, service: Service, command: type[Any], options: Options) -> None:
        self._service = service
        self._command = command
        self._options = options

    @overload
    def __call__(
        self: HandlesDecorator[Command[R]], fn: Callable[Concatenate[C_co, P], Coroutine[Any, Any, R | Noop]], /
    ) -> Callable[Concatenate[C_co, P], Coroutine[Any, Any, R | Noop]]: ...
    @overload
    def __call__(
        self: HandlesDecorator[Command[R]], fn: Callable[Concatenate[C_co, P], R | Noop], /
    ) -> Callable[Concatenate[C_co, P], R | Noop]: ...
    def __call__(self, fn: Any, /) -> Any:
        """Keep the function as it is: it stays callable in a unit test."""
        declare(
            self._service.handlers, Handler(self._service, read_contract(fn, self._command), self._options), "command"
        )
        return fn


class OnDecorator(Generic[EV]):
    """What `@service.on(Event)` and `@wiring.on(Event, service=...)` are."""

    def __init__(self, kept: list[Handler], service: Service, event: object, options: Options) -> None:
        self._kept = kept
        self._service = service
        self._event = event
        self._options = options

    @overload
    def __call__(
        self, fn: Callable[Concatenate[EV, P], Coroutine[Any, Any, OUT]], /
    ) -> Callable[Concatenate[EV, P], Coroutine[Any, Any, OUT]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[EV, P], OUT], /) -> Callable[Concatenate[EV, P], OUT]: ...
    def __call__(self, fn: Any, /) -> Any:
        """Keep the function as it is: it stays callable in a unit test."""
        declare(self._kept, Handler(self._service, read_contract(fn, self._event), self._options), "event")
        return fn


def declare(kept: list[Handler], handler: Handler, wanted: MessageKind) -> None:
    """Check a handler and keep it. Raises DefinitionError where it takes what is not wanted here, or stands twice."""
    kinds = {found.kind for found in handler.contract.messages}
    if kinds != {wanted}:
        raise DefinitionError(
            f"handler {handler.contract.name}: {' | '.join(sorted(kinds))} where {wanted}s are expected\n"
            "Commands are handled with @service.handles, events with @service.on."
        )
    names = {found.name for found in handler.contract.messages}
    for other in kept:
        clash = names & {found.name for found in other.contract.messages}
        if clash and other.group == handler.group:
            raise DefinitionError(
                f"{clash.pop()} has two handlers in group {handler.group}: "
                f"{other.contract.name} and {handler.contract.name}\n"
                'Give one a group of its own: group="...".'
            )
    kept.append(handler)


class Service:
    """A named participant: a set of handlers, owned by one team.

    `tables` is SQL that makes its own tables in the store's file, run whenever an engine takes the store: write
    `create table if not exists`, and begin the names with the service's. `retry`, `timeout` (a limit of execution) and
    `concurrency` hold for every handler that says nothing else.
    """

    def __init__(
        self,
        name: str,
        *,
        tables: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        concurrency: int | None = None,
    ) -> None:
        _check_name("service", name)
        self.name = name
        self.tables = tables
        self.retry = retry
        self.timeout_us = optional_us(timeout)
        self.concurrency = _checked_concurrency(concurrency)
        self.handlers: list[Handler] = []

    def handles(
        self,
        command: type[C],
        /,
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        concurrency: int | None = None,
    ) -> HandlesDecorator[C]:
        """Register the one handler of a command. Its return annotation equals the command's answer."""
        options = Options(retry=retry, timeout_us=optional_us(timeout), concurrency=_checked_concurrency(concurrency))
        return HandlesDecorator[C](self, command, options)

    def on(
        self,
        event: TypeForm[EV],
        /,
        *,
        within: Duration | None = None,
        retry: Retry | None = None,
        group: str | None = None,
        observer: bool = False,
        hold: bool = False,
    ) -> OnDecorator[EV]:
        """React to an event in every form.

        `within` is a limit that only the monitor judges by; `observer=True` counts for nothing in a case's verdict;
        `hold=True` keeps a dead letter in the way of its case's later messages.
        """
        if group is not None:
            _check_name("group", group)
        options = Options(
            within_us=None if within is None else duration_us(within),
            retry=retry,
            group=group,
            observer=observer,
            hold=hold,
        )
        return cast("OnDecorator[EV]", OnDecorator[Any](self.handlers, self, event, options))


class Wiring:
    """A detachable set of reactions: which service answers which event with which of its commands or events."""

    def __init__(self, name: str) -> None:
        _check_name("wiring", name.replace(" ", "-"))
        self.name = name
        self.handlers: list[Handler] = []

    def on(self, event: TypeForm[EV], /, *, service: Service, within: Duration | None = None) -> OnDecorator[EV]:
        """Let a service react to an event, in the apps that use this wiring."""
        options = Options(form="reaction", wiring=self.name, within_us=optional_us(within))
        return cast("OnDecorator[EV]", OnDecorator[Any](self.handlers, service, event, options))


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise DefinitionError(f"{what} name {name!r} is not a name\nUse up to 100 letters, digits, '_', '.' and '-'.")


def _checked_concurrency(concurrency: int | None) -> int | None:
    if concurrency is not None and concurrency < 1:
        raise DefinitionError(f"concurrency {concurrency} lets nothing run\nGive 1 or more, or leave it out.")
    return concurrency
