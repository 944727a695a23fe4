"""Strict JSON for users' values: quick on the way through, exact where something looks odd.

Python's JSON, msgspec, SQLite and PostgreSQL differ on NaN, duplicate keys, lone surrogates, NUL and long integers, so
none of them passes. Most leave a sign in the bytes that is cheap to look for: `null` may have been NaN, a run of 19
digits may be an integer beyond 64 bits, 65 brackets may be too deep. Only a value that shows a sign, or whose type may
hold what leaves none, is walked.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from contextlib import suppress
from typing import Any, Final, NoReturn

import msgspec

from partita.errors import DefinitionError, LimitExceeded, MessageError, one_line
from partita.limits import LIMITS
from partita.messages.exact import check_value, hides, settled

_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_NUL = b"\\u0000"
_BACKSLASH = ord("\\")

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder().decode
_decoders: dict[object, msgspec.json.Decoder[Any]] = {}
_TREES: Final = (dict, list)


def encode(value: object) -> bytes:
    """A value as JSON, the same bytes in every process.

    Takes what msgspec takes: structs, dataclasses, enums, aware datetimes, dicts, lists, tuples, sets (written sorted),
    text, numbers, None; `msgspec.Raw` is taken at its word. Raises MessageError for what would be read differently
    elsewhere, LimitExceeded for size and nesting.
    """
    try:
        raw = _to_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        _refuse_value(value, error)
    _check_size(raw, type(value).__name__)
    if _is_plain(value, raw):
        return raw
    odd = hides(type(value)) or _looks_odd(raw) or (b"null" in raw and not _is_all_none(value, raw))
    if odd and check_value(value):
        return _to_json(settled(value))
    return raw


def encode_as(value: object, as_type: object, what: str) -> bytes:
    """A value as JSON that will be read back as this annotation. Raises MessageError where that will not go."""
    raw, found = encode(value), type(value)
    if as_type is not Any and as_type != found:
        try:
            decode(raw, as_type)
        except MessageError as error:
            expected = type_name(as_type)
            said = str(error).partition("\n")[0].removeprefix(f"{expected}: ")
            raise MessageError(
                f"{what} returned {found.__name__}, and its annotation says {expected}: {said}\n"
                "Mend the function, or its annotation."
            ) from error
    return raw


def decode(raw: bytes, as_type: object) -> Any:
    """Bytes that we have written ourselves, read into an annotation. Raises MessageError where they do not fit it."""
    try:
        decoder = _decoders[as_type]
    except (KeyError, TypeError):  # new, or unhashable, as an Annotated may be
        decoder = _decoder_for(as_type)
    try:
        return decoder.decode(raw)
    except RecursionError as error:
        refuse_depth(raw, error)
    except msgspec.ValidationError as error:
        raise MessageError(
            f"{type_name(as_type)}: {error}\nSend what the type declares, or raise its version and upcast older ones."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(type_name(as_type), raw, error) from error
    except Exception as error:  # a type's __post_init__ is users' code, and judges what was sent
        raise MessageError(
            f"{type_name(as_type)}: refused by its own check: {type(error).__name__}: {one_line(error)}\n"
            "Send other values."
        ) from error


def decode_strict(raw: bytes, as_type: object) -> Any:
    """Foreign bytes, read into an annotation: `check_raw`, `decode`, and no time without a time zone."""
    check_raw(raw)
    value: object = decode(raw, as_type)
    if hides(type(value)):
        check_value(value)
    return value


def check_raw(raw: bytes) -> None:
    """Refuse foreign bytes that are not JSON as everyone reads it, whatever type they are meant for.

    Raises MessageError for invalid UTF-8 or JSON, duplicate keys, NaN, NUL, lone surrogates and integers beyond 64
    bits; LimitExceeded for size and nesting.
    """
    _check_size(raw, "body")
    try:
        tree = _from_json(raw)
    except RecursionError as error:
        refuse_depth(raw, error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json("body", raw, error) from error
    if _looks_odd(raw):
        check_value(tree, what="body")
    # What comes out as it went in has no key twice; other spacing and other escapes are looked at again, slowly.
    if _to_json(tree) != raw:
        json.loads(raw.decode(), object_pairs_hook=_refuse_twins)


def check_readable(as_type: object) -> None:
    """Raise DefinitionError where an annotation can't be read from JSON: at import, not at the first message."""
    _decoder_for(as_type)


def refuse_depth(raw: bytes, error: RecursionError) -> NoReturn:
    """Say how deep the JSON is that a reader gave up on: LimitExceeded, or the error itself where it is not deep."""
    depth = 0
    quoted = escaped = False
    for char in raw:
        if quoted:
            quoted = escaped or char != ord('"')
            escaped = char == ord("\\") and not escaped
        elif char == ord('"'):
            quoted = True
        else:
            depth += (char in b"[{") - (char in b"]}")
            if depth > LIMITS.nesting_max:
                limit = LIMITS.nesting_max
                raise LimitExceeded("nesting", actual=depth, limit=limit, setting="limits.nesting_max") from error
    raise error


def type_name(as_type: object) -> str:
    """An annotation in words, for an error."""
    return as_type.__name__ if isinstance(as_type, type) else str(as_type)


def _is_plain(value: object, raw: bytes) -> bool:
    """Whether a dict or list comes back from its JSON as it was: then it holds nothing that JSON could not say.

    A NaN, a naive time, a set, a key that is no text come back as something else, and are looked for one by one.
    """
    return type(value) in _TREES and not _looks_odd(raw) and bool(_from_json(raw) == value)


def _looks_odd(raw: bytes) -> bool:
    return (
        (_BACKSLASH in raw and _NUL in raw)  # looking for one byte costs a tenth of looking for six
        or _LONG_NUMBER in raw.translate(_ZEROS)
        or raw.count(b"{") + raw.count(b"[") > LIMITS.nesting_max
    )  # fmt: skip


def _is_all_none(value: object, raw: bytes) -> bool:
    """Whether each `null` is a field of the struct that is None, as in most messages; otherwise one may be a NaN."""
    return (
        isinstance(value, msgspec.Struct)
        and not value.__struct_config__.omit_defaults
        and msgspec.structs.astuple(value).count(None) == raw.count(b"null")
    )


def _check_size(raw: bytes, what: str) -> None:
    if len(raw) > LIMITS.payload_bytes_max:
        LIMITS.check(f"{what}: size in bytes", len(raw), "payload_bytes_max")


def _decoder_for(as_type: object) -> msgspec.json.Decoder[Any]:
    try:
        decoder = msgspec.json.Decoder(Any if as_type is object else as_type)
    except (TypeError, NameError, ValueError) as error:
        raise DefinitionError(
            f"{type_name(as_type)} can't be read from JSON: {error}\n"
            "Use JSON's own types, datetime, Enum, dataclasses or structs; structs in a union each need a tag."
        ) from error
    with suppress(TypeError):  # unhashable
        _decoders[as_type] = decoder
    return decoder


def _refuse_value(value: object, error: Exception) -> NoReturn:
    if not isinstance(error, TypeError):
        check_value(value)  # says where it stands
    raise MessageError(
        f"{type(value).__name__}: {error}\n"
        "Use text, numbers, None, aware datetimes, enums, lists, dicts with text keys, dataclasses or structs."
    ) from error


def _not_json(what: str, raw: bytes, error: Exception) -> MessageError:
    if raw.startswith(BOM_UTF8):
        return MessageError(
            f"{what}: not JSON: it begins with a byte order mark (BOM)\nSend JSON in UTF-8 without one."
        )
    if (encoding := json.detect_encoding(raw)[:6]) != "utf-8":
        return MessageError(f"{what}: not JSON: it looks like {encoding.upper()}\nSend JSON in UTF-8, without a BOM.")
    if "out of range" in str(error):
        return MessageError(
            f"{what}: a number in it is an integer beyond 64 bits, or no finite float\nSend it as text."
        )
    try:
        raw.decode()
    except UnicodeDecodeError as flaw:
        wrong = raw[flaw.start : flaw.end].hex(" ")
        return MessageError(f"{what}: not JSON: not UTF-8 at byte {flaw.start + 1} ({wrong})\nSend JSON in UTF-8.")
    return MessageError(
        f"{what}: not JSON: {error}\nSend JSON in UTF-8, without NaN, Infinity or half surrogate pairs."
    )


def _refuse_twins(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _value in pairs:
        if key in seen:
            raise MessageError(
                f"body: an object has the key {key!r:.60} twice\n"
                "Send each key once: readers differ on which of the two counts."
            )
        seen.add(key)
