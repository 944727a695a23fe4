"""A handler's contract: what its signature says it takes, needs and may emit, read once at import.

The return annotation is the contract. A handler without one, or one that contradicts its command's answer, is refused
where it is declared.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeGuard, get_args, get_origin

from partita.errors import ContractBroken, DefinitionError, MessageError
from partita.limits import LIMITS
from partita.messages.answers import Delivery, Noop, Waits
from partita.messages.codec import decode, encode
from partita.messages.message import Command, Event, MessageType, describe, is_message_class
from partita.store.port import AsyncTransaction, Transaction

_MANY = {
    list, tuple, set, frozenset, collections.abc.Iterable, collections.abc.Sequence, collections.abc.Collection,
    collections.abc.Set, collections.abc.Iterator, collections.abc.Generator,
}  # fmt: skip
_TRANSACTIONS: dict[object, bool] = {Transaction: False, AsyncTransaction: True}
"""Whether each is for async handlers."""
AnyHandler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Contract:
    """What one handler function takes and may answer."""

    fn: AnyHandler
    name: str
    messages: tuple[MessageType, ...]
    outcomes: tuple[MessageType, ...]
    values: tuple[object, ...]
    """Answers that are no messages: they go to the caller only."""
    may_be_silent: bool
    """`-> None`, or nothing but noops: emitting nothing breaks no contract."""
    may_be_many: bool
    """`-> list[X]` and its like: what is returned is taken apart."""
    may_wait: bool
    is_async: bool
    tx: str | None
    """The parameter that wants a transaction."""
    delivery: str | None

    @property
    def on_writer(self) -> bool:
        """Whether it runs on the store's writer, in its unit's savepoint."""
        return self.tx is not None and not self.is_async

    def check(self, answer: object) -> list[Any]:
        """What was emitted, as a list of messages, noops, waits and values. Raises ContractBroken for anything else.

        Raises LimitExceeded for too many.
        """
        items: list[Any] = list(self._taken_apart(answer)) if self.may_be_many and _is_many(answer) else [answer]
        if not items or (len(items) == 1 and items[0] is None):
            if self.may_be_silent or not items:
                return []
            raise ContractBroken(
                f"handler {self.name} returned nothing, but its contract is {self.say()}\n"
                'Return one of these, or noop("why nothing happened").'
            )
        for item in items:
            self._check_one(item)
        return items

    def _taken_apart(self, answer: Iterable[Any]) -> Iterable[Any]:
        """A generator may be without end, so it is counted while it is taken apart."""
        for count, item in enumerate(answer, 1):
            LIMITS.check(f"handler {self.name}: what it emits at once", count, "emitted_max")
            yield item

    def _check_one(self, item: object) -> None:
        if isinstance(item, Noop):
            return
        if isinstance(item, Waits) and self.may_wait:
            return
        kind: type[object] = type(item)
        for outcome in self.outcomes:
            if kind is outcome.cls:
                return
        if self.values and not isinstance(item, Event | Command | Waits) and self._is_value(item):
            return
        raise ContractBroken(
            f"handler {self.name} returned {kind.__name__}, but its contract is {self.say()}\n"
            "Return what the annotation says, or widen the annotation (and the command's answer)."
        )

    def _is_value(self, item: object) -> bool:
        try:
            decode(encode(item), typing.Union[self.values])  # noqa: UP007 - the members are known at run time only
        except MessageError:
            return False
        return True

    def say(self) -> str:
        """What it may emit or answer, as it was annotated."""
        return (
            " | ".join([outcome.name for outcome in self.outcomes] + [_say_type(value) for value in self.values])
            or "None"
        )


def read_contract(fn: AnyHandler, registered: object) -> Contract:
    """Read a handler's signature. Raises DefinitionError where it is missing, unequal or unresolvable."""
    name = f"{fn.__module__}.{fn.__qualname__}"
    hints = _hints(fn)
    parameters = list(inspect.signature(fn).parameters.values())
    if not parameters:
        raise DefinitionError(f"handler {name} takes no message\nIts first parameter is the message.")
    first, *others = parameters
    for needed in ("return", first.name):
        if needed not in hints:
            raise DefinitionError(
                f"handler {name} has no {'return annotation' if needed == 'return' else f'annotation on {needed}'}\n"
                "It is the contract: say what it may emit, or None."
            )
    wanted = set(_flat(registered))
    if set(_flat(hints[first.name])) != wanted:
        raise DefinitionError(
            f"handler {name} takes {_say_type(hints[first.name])}, registered for {_say_type(registered)}\n"
            "Make the annotation of its first parameter and the registration equal."
        )
    if inspect.isasyncgenfunction(fn):
        raise DefinitionError(f"handler {name} is an async generator\nReturn a list of what it emits.")
    is_async = inspect.iscoroutinefunction(fn)
    injected = _injected(name, others, hints, is_async=is_async)
    parts = list(_flat(hints["return"]))
    flat = [one for part in parts for one in _members(part)]
    outcomes = tuple(describe(part) for part in flat if is_message_class(part))
    contract = Contract(
        fn=fn,
        name=name,
        messages=tuple(describe(message) for message in _flat(registered)),
        outcomes=outcomes,
        values=tuple(
            part for part in flat if not is_message_class(part) and part not in {Noop, Waits, type(None), None}
        ),
        may_be_silent=type(None) in flat or None in flat or not [p for p in flat if p is not Noop],
        may_be_many=any(_holds_messages(part) for part in parts),
        may_wait=Waits in flat,
        is_async=is_async,
        tx=injected[0],
        delivery=injected[1],
    )
    _check_answer(contract)
    return contract


def _check_answer(contract: Contract) -> None:
    command = next((message for message in contract.messages if message.kind == "command"), None)
    if command is None:
        if contract.values:
            raise DefinitionError(
                f"handler {contract.name} returns {contract.say()}, and nobody asks: it reacts to an event\n"
                "Let it emit messages, noop(...), waits_for(...), or None."
            )
        return
    if command.answer is Any:
        return
    expected = {part for part in _flat(command.answer) if part not in {None, type(None)}}
    given = {outcome.cls for outcome in contract.outcomes} | set(contract.values)
    if expected != given:
        raise DefinitionError(
            f"handler {contract.name} returns {contract.say()}, but {command.name} is answered with "
            f"{' | '.join(sorted(_say_type(part) for part in expected)) or 'None'}\n"
            "The contract stands on the command: make both equal (noop(...) is always allowed)."
        )


def _hints(fn: AnyHandler) -> dict[str, Any]:
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise DefinitionError(
            f"handler {fn.__module__}.{fn.__qualname__}: {error}\nImport the type where the handler is declared."
        ) from error


def _injected(
    name: str, parameters: list[inspect.Parameter], hints: dict[str, Any], *, is_async: bool
) -> tuple[str | None, str | None]:
    tx: str | None = None
    delivery: str | None = None
    for parameter in parameters:
        hint = hints.get(parameter.name)
        if hint is Delivery:
            delivery = parameter.name
        elif hint in _TRANSACTIONS:
            _check_colour(name, _TRANSACTIONS[hint], is_async=is_async)
            tx = parameter.name
        elif parameter.default is inspect.Parameter.empty and parameter.kind not in {
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        }:
            raise DefinitionError(
                f"handler {name}: nothing can be given for parameter {parameter.name!r}\n"
                "A handler may ask for tx: Transaction, tx: AsyncTransaction and delivery: Delivery."
            )
    return tx, delivery


def _check_colour(name: str, wants_async: bool, *, is_async: bool) -> None:
    if wants_async != is_async:
        raise DefinitionError(
            f"handler {name} is {'async def' if is_async else 'def'}: its tx is of the other colour\n"
            "Plain functions take tx: Transaction, async ones tx: AsyncTransaction."
        )


def message_types(annotation: object, what: str) -> tuple[MessageType, ...]:
    """The message types that a union names. Raises DefinitionError where a part is none."""
    found = list(_flat(annotation))
    wrong = [part for part in found if not is_message_class(part)]
    if wrong or not found:
        raise DefinitionError(f"{what}: {_say_type(annotation)} is no message type\nDerive it from Event or Command.")
    return tuple(describe(part) for part in found)


def _flat(annotation: object) -> Iterable[Any]:
    """The members of a union; of anything else, itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _flat(get_args(annotation)[0])
    elif origin in {typing.Union, types.UnionType}:
        for part in get_args(annotation):
            yield from _flat(part)
    else:
        yield annotation


def _members(part: object) -> Iterable[Any]:
    """Of `list[X]`, `tuple[X, Y]` and their like, X and Y - where they are messages; of anything else, itself."""
    if not _holds_messages(part):
        yield part
        return
    # A generator's further arguments are what it is sent and what it returns.
    arguments = get_args(part)[:1] if get_origin(part) is collections.abc.Generator else get_args(part)
    for inner in arguments:
        if inner is not Ellipsis:
            yield from _flat(inner)


def _holds_messages(part: object) -> bool:
    return get_origin(part) in _MANY and any(is_message_class(one) for arg in get_args(part) for one in _flat(arg))


def _is_many(answer: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(answer, Iterable) and not isinstance(answer, str | bytes | dict | Event | Command)


def _say_type(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
