"""The exact check of a value: refuses what JSON, SQLite and PostgreSQL read differently, and says where it stands.

The codec comes here only when the bytes look odd, or when the value's type may hold what leaves no sign in the bytes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from math import isfinite
from typing import Any

import msgspec
from msgspec import inspect

from partita.errors import LimitExceeded, MessageError
from partita.limits import LIMITS

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_MINUTE = timedelta(minutes=1)


class Flaw(Exception):
    """Something in a value that can't travel; `path` grows from the leaf to the root while it rises."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy
        self.path: list[object] = []

    def to_error(self, what: str) -> MessageError:
        """The error to raise: what it is part of, where it stands, what to do."""
        path = "".join(map(_in_words, reversed(self.path)))
        return MessageError(f"{what}: ${path} {self.why}\n{self.remedy}")


def _in_words(step: object) -> str:
    if isinstance(step, str) and step.isidentifier() and len(step) <= 60:
        return f".{step}"
    if isinstance(step, int) and not INT_MIN <= step <= INT_MAX:
        return "[a long integer]"  # Python refuses to write one of 5,000 digits
    return f"[{step!r:.60}]"


def check_value(value: object, *, what: str | None = None) -> bool:
    """Raise MessageError for what can't travel, LimitExceeded for nesting; return whether the value holds a set."""
    try:
        return _look_into(value, 0)
    except Flaw as flaw:
        raise flaw.to_error(what or type(value).__name__) from flaw


def settled(value: Any) -> Any:
    """A copy whose sets are lists in the order of their JSON; in hash order, bytes would differ between processes."""
    kind: type[object] = value.__class__
    if issubclass(kind, (set, frozenset)):
        return sorted(map(settled, value), key=msgspec.json.encode)
    if issubclass(kind, dict):
        return {key: settled(item) for key, item in value.items()}
    if issubclass(kind, (list, tuple)):
        return [settled(item) for item in value]
    names = _field_names(kind)
    if names is None:
        return value
    twin = copy.copy(value)
    put = msgspec.structs.force_setattr if issubclass(kind, msgspec.Struct) else object.__setattr__
    for name in names:
        put(twin, name, settled(getattr(value, name)))
    return twin


def _look_into(value: object, depth: int) -> bool:
    kind = type(value)
    look = _LEAVES.get(kind)
    if look is not None:
        look(value)
        return False
    if isinstance(value, Enum):
        return _look_into(value.value, depth)
    children = _children(value, kind)
    if children is None:
        return False
    if depth >= LIMITS.nesting_max:
        raise LimitExceeded("nesting", actual=depth + 1, limit=LIMITS.nesting_max, setting="limits.nesting_max")
    sets = issubclass(kind, (set, frozenset))
    for step, item in children:
        look = _LEAVES.get(type(item))  # once more, here, where it saves a call for most
        try:
            if look is not None:
                look(item)
            else:
                sets |= _look_into(item, depth + 1)
        except Flaw as flaw:
            flaw.path.append(step)
            raise
    return sets


def _children(value: Any, kind: type[object]) -> Iterable[tuple[object, object]] | None:
    if issubclass(kind, dict):
        return _entries(value)
    if issubclass(kind, (list, tuple, set, frozenset)):
        return enumerate(value)
    names = _field_names(kind)
    if names is not None:
        return [(name, getattr(value, name)) for name in names]
    return None  # ids and the like: the encoder has taken them, and what it makes of them is ASCII text


def _field_names(kind: type[object]) -> tuple[str, ...] | None:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    return _dataclass_fields(kind) if is_dataclass(kind) else None


@cache
def _dataclass_fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _entries(value: dict[Any, Any]) -> Iterable[tuple[object, object]]:
    for key in value:
        try:
            _look_into(key, 0)
        except Flaw as flaw:
            flaw.path.append(key)
            raise
    if not all(type(key) is str for key in value):
        written: dict[str, None] = msgspec.to_builtins(dict.fromkeys(value), str_keys=True)
        if len(written) < len(value):
            raise Flaw("has keys that are different here and the same in JSON", "Use keys of one type.")
    return value.items()


def _look_at_text(text: str) -> None:
    if "\0" in text:
        raise Flaw("holds a NUL character", "Take it out: PostgreSQL stores no NUL in text.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        remedy = "Read the text with the encoding it was written in, or with errors='replace'."
        raise Flaw("holds half a surrogate pair", remedy) from error


def _look_at_integer(number: int) -> None:
    if not INT_MIN <= number <= INT_MAX:
        raise Flaw("is an integer beyond 64 bits", "Send it as text.")


def _look_at_float(number: float) -> None:
    if not isfinite(number):
        raise Flaw(f"is {number}, which JSON has no number for", "Leave the field out, or send None.")


def _look_at_instant(instant: datetime) -> None:
    offset = instant.utcoffset()
    if offset is None:
        raise Flaw("is a time without a time zone", "Add one: 2026-01-31T12:00:00Z.")
    if offset % _MINUTE:  # would be cut off, and the instant with it: local mean times of old, mostly
        raise Flaw(f"has the offset {offset}, which RFC 3339 can't write", "Convert it: .astimezone(UTC).")


def _pass(_value: object) -> None:
    """Nothing can be wrong with it."""


_LEAVES: dict[type[object], Callable[[Any], None]] = {
    str: _look_at_text,
    int: _look_at_integer,
    float: _look_at_float,
    datetime: _look_at_instant,
    **dict.fromkeys((bool, type(None), bytes, bytearray, date, time, timedelta, Decimal), _pass),
}

_hides: dict[type[object], bool] = {}


def hides(kind: type[object]) -> bool:
    """Whether values of a type may hold what leaves no sign in their JSON: naive times, sets, anything at all."""
    found = _hides.get(kind)
    if found is None:
        try:
            found = _node_hides(inspect.type_info(kind), set())
        except (NameError, TypeError):  # names a type that can't be found, or that msgspec doesn't know
            found = True
        _hides[kind] = found
    return found


def _node_hides(node: inspect.Type, seen: set[type[Any]]) -> bool:
    parts: Iterable[inspect.Type]
    match node:
        case inspect.EnumType():
            values: list[object] = [member.value for member in node.cls]
            return any(hides(type(value)) for value in values)
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
            parts = () if node.cls in seen else [field.type for field in node.fields]
            seen.add(node.cls)
        case inspect.DictType():
            parts = (node.value_type,) if isinstance(node.key_type, _KEYS) else (inspect.AnyType(),)
        case inspect.ListType() | inspect.VarTupleType():
            parts = (node.item_type,)
        case inspect.UnionType():
            parts = node.types
        case inspect.TupleType():
            parts = node.item_types
        case _:
            return not isinstance(node, _SHOWN)
    return any(_node_hides(part, seen) for part in parts)


_KEYS = (inspect.StrType, inspect.IntType, inspect.EnumType, inspect.UUIDType, inspect.LiteralType, inspect.DateType)
_SHOWN = (
    *(inspect.BoolType, inspect.IntType, inspect.FloatType, inspect.StrType, inspect.NoneType, inspect.LiteralType),
    *(inspect.BytesType, inspect.ByteArrayType, inspect.DecimalType, inspect.UUIDType, inspect.RawType),
    *(inspect.DateType, inspect.TimeType, inspect.TimeDeltaType),
)
