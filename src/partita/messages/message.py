"""Events and commands: how a user's class becomes a message type, and which case a message belongs to.

A message is a frozen msgspec struct. Exactly one field names its case (`Annotated[str, Case("order")]`); where several
are marked, the class keyword `case=` picks the home case and the others are cases it touches.
"""

from __future__ import annotations

import re
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, dataclass_transform, get_args, get_origin, get_type_hints

import msgspec
from msgspec import StructMeta, field
from typing_extensions import TypeVar

from partita.errors import DefinitionError, MessageError, shortened, suggest
from partita.limits import LIMITS

R_co = TypeVar("R_co", covariant=True, default=None)
Ends = Literal["done", "failed", "compensated"]
MessageKind = Literal["event", "command", "query"]

_CASE_TYPE = re.compile(r"[a-z][a-z0-9_]*")
_WIRE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators and halves of surrogate pairs."""


@dataclass(frozen=True, slots=True)
class Case:
    """Marks the field that names the case: `OrderId = Annotated[str, Case("order")]`.

    `part_of` names the type of the case that this one is a child of: it is told of every message of its child.
    """

    type: str
    part_of: str | None = None

    def __post_init__(self) -> None:
        for name in (self.type, self.part_of):
            if name is not None and not _CASE_TYPE.fullmatch(name):
                raise DefinitionError(f"case type {name!r} is not [a-z][a-z0-9_]*\nUse lower case, as in 'order'.")


@dataclass(frozen=True, slots=True)
class Declared:
    """The class keywords of a message, as written."""

    name: str
    case: str | None
    version: int
    secret: tuple[str, ...]
    ends: Ends | None
    external: str | None


class MessageMeta(StructMeta):
    """Takes the class keywords of messages; what they mean stands in `MessageType`."""

    __partita__: Declared

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        case: str | None = None,
        type: str | None = None,
        version: int = 1,
        secret: tuple[str, ...] = (),
        ends: Ends | None = None,
        external: str | None = None,
        frozen: bool = True,
        kw_only: bool = True,
    ) -> MessageMeta:
        cls = super().__new__(mcls, name, bases, namespace, frozen=frozen, kw_only=kw_only, forbid_unknown_fields=False)
        wire = type or name
        if not _WIRE_NAME.fullmatch(wire) or len(wire.encode()) > LIMITS.name_bytes_max:
            raise DefinitionError(
                f"message type {wire!r} is not a name\nUse letters, digits, '_', '.' and '-', in up to"
                f" {LIMITS.name_bytes_max} bytes (limits.name_bytes_max)."
            )
        if version < 1:
            raise DefinitionError(f"message type {wire}: version {version} is below 1\nVersions count from 1.")
        if ends not in {None, *get_args(Ends)}:
            raise DefinitionError(f"message type {wire}: ends={ends!r}\nUse one of {', '.join(get_args(Ends))}.")
        cls.__partita__ = Declared(wire, case, version, secret, ends, external)
        return cls


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Event(msgspec.Struct, metaclass=MessageMeta, frozen=True, kw_only=True):
    """A fact, past tense, for anyone.

    Class keywords: `case`, `type`, `version`, `secret`, `ends="done"|"failed"|"compensated"`, `external="who"`.
    """


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Command(msgspec.Struct, Generic[R_co], metaclass=MessageMeta, frozen=True, kw_only=True):
    """An order to exactly one service; `Command[A | B]` says what the one who commands gets back."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Query(msgspec.Struct, Generic[R_co], metaclass=MessageMeta, frozen=True, kw_only=True):
    """A read-only question to a run; `Query[str]` says what comes back."""


AnyCommand = Command[Any]
Message = Event | AnyCommand
BASES: tuple[type, ...] = (Event, Command, Query)
_UNDECLARED: frozenset[object] = frozenset(BASES)


@dataclass(frozen=True, slots=True)
class MessageType:
    """What a message class declares, worked out once: names, case fields, answer."""

    cls: type[Any]
    kind: MessageKind
    name: str
    version: int
    case_field: str | None
    case_type: str | None
    also: tuple[tuple[str, str], ...]
    """Further cases it touches: (field, case type)."""
    part_of: str | None
    ends: Ends | None
    external: str | None
    secret: tuple[str, ...]
    answer: object
    """What a command or query is answered with, as an annotation; None where nothing is."""

    def case_of(self, message: object) -> str | None:
        """The home case of a message, `type:key`. Raises MessageError where the key is not one."""
        if self.case_field is None:
            return None
        return case_name(f"{self.case_type}", getattr(message, self.case_field))

    def also_of(self, message: object) -> tuple[str, ...]:
        """The further cases of a message, each once; a field that is None names none."""
        if not self.also:
            return ()
        keys = ((case_type, getattr(message, name)) for name, case_type in self.also)
        found = dict.fromkeys(case_name(case_type, key) for case_type, key in keys if key is not None)
        found.pop(self.case_of(message) or "", None)
        return tuple(found)


_described: dict[type, MessageType] = {}


def describe(cls: type[Any]) -> MessageType:
    """What a message class declares. Raises DefinitionError for what is no message, or names no single case."""
    found = _described.get(cls)
    if found is None:
        found = _described[cls] = _describe(cls)
    return found


def type_of(message: Any) -> MessageType:
    """What the class of a message declares."""
    return describe(message.__class__)


def is_message(value: object) -> bool:
    """Whether a value is an event, a command or a query."""
    return isinstance(value, BASES)


def is_message_class(value: object) -> bool:
    """Whether a class is an event, command or query that somebody declared."""
    return isinstance(value, MessageMeta) and value not in _UNDECLARED


def kind_of(cls: type[Any]) -> MessageKind:
    """Event, command or query."""
    if issubclass(cls, Event):
        return "event"
    return "command" if issubclass(cls, Command) else "query"


def case_name(case_type: str, key: object) -> str:
    """`type:key`, checked. Raises MessageError where the key can be none, LimitExceeded where it is too long."""
    text = key if isinstance(key, str) else str(key)
    of = f"of a case of type {case_type}"
    if key is None or not text or holds_control(text):
        said = None if key is None else shortened(text, 50)
        raise MessageError(
            f"{said!r} can't be the key {of}\nA key has 1 to {LIMITS.key_bytes_max} bytes and no control characters."
        )
    size = len(text.encode())
    if size > LIMITS.key_bytes_max:
        LIMITS.check(f"the size in bytes of the key {shortened(text, 30)!r} {of}", size, "key_bytes_max")
    return f"{case_type}:{text}"


def is_case(text: str) -> bool:
    """Whether a text names a case: `type:key`, within the rules of both."""
    case_type, _, key = text.partition(":")
    fits = _CASE_TYPE.fullmatch(case_type) and key and not holds_control(key)
    return bool(fits) and len(key.encode()) <= LIMITS.key_bytes_max


def holds_control(text: str) -> bool:
    """Whether a text holds a control character, a line separator or half a surrogate pair."""
    # isprintable alone would refuse a no-break space, and whatever this Python's Unicode has not assigned yet.
    return not text.isprintable() and _CONTROL.search(text) is not None


def _describe(cls: type[Any]) -> MessageType:
    if not is_message_class(cls):
        raise DefinitionError(f"{cls!r} is no message\nDerive it from Event or Command.")
    declared: Declared = cls.__partita__
    hints = _hints(cls, declared.name)
    unknown = [name for name in declared.secret if name not in hints]
    if unknown:
        raise DefinitionError(
            f"message {declared.name}: secret={unknown[0]!r} is none of its fields\n"
            f"{suggest(unknown[0], list(hints)) or 'Name fields of this class.'}"
        )
    kind = kind_of(cls)
    marked = [(name, mark) for name, hint in hints.items() if (mark := _case_mark(hint)) is not None]
    home = _home(declared, marked, kind)
    return MessageType(
        cls=cls,
        kind=kind,
        name=declared.name,
        version=declared.version,
        case_field=home[0] if home else None,
        case_type=home[1].type if home else None,
        also=tuple((name, mark.type) for name, mark in marked if home and name != home[0]),
        part_of=home[1].part_of if home else None,
        ends=declared.ends,
        external=declared.external,
        secret=declared.secret,
        answer=_answer(cls, declared.name),
    )


def _hints(cls: type[Any], name: str) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise DefinitionError(
            f"message {name}: it names a type that can't be found: {error}\nImport it where the message is declared."
        ) from error


def _case_mark(hint: object) -> Case | None:
    parts = get_args(hint)
    if get_origin(hint) is Annotated:
        return next((mark for mark in parts[1:] if isinstance(mark, Case)), None) or _case_mark(parts[0])
    if get_origin(hint) in {typing.Union, types.UnionType}:
        return next((mark for part in parts if (mark := _case_mark(part)) is not None), None)
    # `type OrderId = ...` keeps what it stands for in __value__, NewType in __supertype__.
    meant = getattr(hint, "__value__", None) or getattr(hint, "__supertype__", None)
    return _case_mark(meant) if meant is not None else None


def _home(declared: Declared, marked: list[tuple[str, Case]], kind: MessageKind) -> tuple[str, Case] | None:
    if kind == "query":
        return None
    if not marked:
        raise DefinitionError(
            f"{kind} {declared.name} has no field that names its case\n"
            'Mark one: `OrderId = Annotated[str, Case("order")]`, then `order_id: OrderId`.'
        )
    by_type = [item for item in marked if declared.case is None or item[1].type == declared.case]
    by_field = [item for item in marked if item[0] == declared.case]
    for fitting in (by_type, by_field):
        if len(fitting) == 1:
            return fitting[0]
    names = ", ".join(f"{name} ({mark.type})" for name, mark in marked)
    last_field, last = marked[-1]
    word = last.type if [mark.type for _, mark in marked].count(last.type) == 1 else last_field
    raise DefinitionError(
        f"{kind} {declared.name}: which of {names} is its case?\n"
        f'Say it on the class: class {declared.name}(..., case="{word}").'
    )


def _answer(cls: type[Any], name: str) -> object:
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) in {Command, Query}:
            # By way of a class, since that is how Python finds what a quoted name means in the message's module.
            named = type(name, (), {"__annotations__": {"answer": get_args(base)[0]}, "__module__": cls.__module__})
            answer = _hints(named, name)["answer"]
            return None if answer is type(None) else answer
    for parent in cls.__mro__[1:]:
        if is_message_class(parent):
            return _answer(parent, name)
    return None
