"""CloudEvents 1.0 in structured JSON: how an envelope looks on the wire, and how one is read from anybody's bytes.

Our own attributes travel as extensions: `correlationid`, `causationid` (`message/group#attempt`, percent-encoded,
a space between two), `partitionkey`, `sequence`, `dataversion`, `partitakind`, `partitaalso` (cases, a space between
two). Foreign events lack them, and may be plain JSON objects with `type` and `data`. The body stays the bytes that it
was: whether it is fit to read is for `codec.check_raw` and the catalog to say, so that a message with a bad body still
has an id to be quarantined under.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from partita.clock import from_datetime, to_rfc3339
from partita.errors import MessageError
from partita.limits import LIMITS
from partita.messages.codec import refuse_depth
from partita.messages.envelope import Cause, Envelope, derive_id
from partita.messages.exact import INT_MAX
from partita.messages.message import MessageKind, holds_control, is_case

_NAMELESS = "/"
"""The source of an envelope that names none: CloudEvents wants one."""
_ABSENT = msgspec.Raw()
_LATEST_US = 253_402_300_799_999_999
_JSON_TYPE = re.compile(r"(?i)[a-z]+/([^;\s]+\+)?json\s*(;|$)")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")
_CAUSE = re.compile(r"([^/]*)/([^#]*)#([0-9]{1,9})")
_MAJOR = re.compile(r"([1-9][0-9]{0,8})(\.[0-9]+)*")
_REMEDY = "Send CloudEvents 1.0 in structured JSON, or a JSON object with `type` and `data`."


class _Wire(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The JSON object. What only others fill, or fill in ways of their own, is read as anything."""

    specversion: str | None = None
    id: str | int | None = None
    source: str | None = None
    type: str | None = None
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataversion: Any = None
    correlationid: str | int | None = None
    causationid: str | int | None = None
    partitionkey: Any = None
    sequence: Any = None
    partitakind: MessageKind | None = None
    partitaalso: str | None = None
    data: msgspec.Raw = _ABSENT
    encoded: str | None = msgspec.field(name="data_base64", default=None)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Wire).decode


def to_cloudevent(envelope: Envelope) -> bytes:
    """An envelope as a CloudEvents JSON object. A body that is not JSON, as in quarantine, travels as `data_base64`."""
    plain = _is_json(envelope.data)
    return _encode(
        _Wire(
            specversion="1.0",
            id=envelope.id,
            source=envelope.source or _NAMELESS,
            type=envelope.type,
            subject=envelope.case,
            time=to_rfc3339(envelope.at),
            datacontenttype="application/json",
            dataversion=envelope.version,
            correlationid=envelope.correlation or None,
            causationid=" ".join(map(_write_cause, envelope.causes)) or None,
            partitionkey=envelope.case,
            # CloudEvents orders sequences as text, so all have the same length.
            sequence=f"{envelope.sequence:019}" if envelope.sequence else None,
            partitakind=envelope.kind,
            partitaalso=" ".join(quote(case, safe=":") for case in envelope.also) or None,
            data=msgspec.Raw(envelope.data) if plain else _ABSENT,
            encoded=None if plain else b64encode(envelope.data).decode(),
        )
    )


def from_cloudevent(raw: bytes, *, now_us: int, new_id: Callable[[], str]) -> Envelope:
    """An envelope from our bytes or anybody's; the body is not judged.

    `now_us` stands in for a missing time, `new_id` for the id that a plain JSON object may lack. A foreign id is unique
    only within its source, so unless it is a UUID the envelope's id is `source#id`. A foreign subject that is no case
    (`type:key`) names none. Raises MessageError, LimitExceeded.
    """
    wire = _read(raw)
    _check_shape(wire)
    own = wire.partitakind is not None
    source = "" if wire.source in {None, _NAMELESS} else _text(wire, "source")
    return Envelope(
        id=_id(wire, source, new_id),
        type=_text(wire, "type", limit=LIMITS.name_bytes_max),
        kind=wire.partitakind or "event",
        version=_version(wire.dataversion),
        source=source,
        at=_time(wire, now_us),
        case=_case(wire, own=own),
        also=_also(wire),
        correlation="" if wire.correlationid is None else _text(wire, "correlationid", limit=LIMITS.name_bytes_max),
        causes=_causes(wire, own=own),
        sequence=_sequence(wire.sequence),
        data=_body(wire),
    )


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return False
    return data.strip() == data  # space around it would be lost


def _read(raw: bytes) -> _Wire:
    LIMITS.check("event: size in bytes", len(raw), "request_bytes_max")
    try:
        wire = _decode(raw)
        # What comes out as it went in has no attribute twice; what others wrote is looked at again, slowly.
        if _encode(wire) != raw:
            _refuse_twins(raw)
    except RecursionError as error:
        refuse_depth(raw, error)
    except ValueError as error:  # msgspec's and json's errors are among them
        raise MessageError(f"not an event: {error}\n{_REMEDY}") from error
    return wire


def _refuse_twins(raw: bytes) -> None:
    outermost: list[tuple[str, object]] = []

    def keep(pairs: list[tuple[str, object]]) -> None:
        outermost[:] = pairs

    json.loads(raw.decode(errors="replace"), object_pairs_hook=keep, parse_int=str)
    names = [name for name, _value in outermost]
    if len(set(names)) < len(names):
        twin = next(name for name in names if names.count(name) > 1)
        raise MessageError(f"not an event: it has {twin!r} twice\nSend each attribute once.")


def _check_shape(wire: _Wire) -> None:
    if wire.specversion is None:
        if wire.type is None or not bytes(wire.data):
            raise MessageError(f"not an event: it has no specversion, and not both of type and data\n{_REMEDY}")
        return
    if wire.specversion != "1.0":
        raise MessageError(f"{_name(wire)}: CloudEvents {wire.specversion!r:.20} is not read here\nSend version 1.0.")
    for attribute in ("id", "source", "type"):
        if getattr(wire, attribute) is None:
            raise MessageError(f"{_name(wire)}: it has no {attribute}\nCloudEvents 1.0 requires id, source and type.")


def _name(wire: _Wire) -> str:
    return "event" if wire.id is None else f"event {wire.id!r:.60}"


def _text(wire: _Wire, attribute: str, *, limit: int | None = None) -> str:
    text = str(getattr(wire, attribute))
    if not text or holds_control(text):
        flaw = "holds a control character" if text else "is empty"
        raise MessageError(f"{_name(wire)}: its {attribute} {flaw}\nSend plain text that is not empty.")
    if limit is not None and len(text.encode()) > limit:
        LIMITS.check(f"{_name(wire)}: length of its {attribute}", len(text.encode()), "name_bytes_max")
    return text


def _id(wire: _Wire, source: str, new_id: Callable[[], str]) -> str:
    if wire.id is None:
        return new_id()
    text = _text(wire, "id", limit=LIMITS.name_bytes_max)
    if wire.partitakind is not None or not source or _UUID.fullmatch(text):
        return text
    whole = f"{source}#{text}"
    return whole if len(whole.encode()) <= LIMITS.name_bytes_max else derive_id("cloudevent", source, text)


def _version(written: object) -> int:
    found = _MAJOR.fullmatch(written if isinstance(written, str) else f"{written}")
    return int(found[1]) if found else 1


def _sequence(written: object) -> int:
    text = written if isinstance(written, str) else f"{written}"
    number = int(text) if len(text) <= 19 and text.isascii() and text.isdigit() else 0
    return number if number <= INT_MAX else 0


def _time(wire: _Wire, now_us: int) -> int:
    if wire.time is None:
        return now_us
    try:
        at = from_datetime(msgspec.convert(wire.time, datetime))
    except ValueError as error:  # msgspec's is among them
        why = "has no time zone" if "time zone" in str(error) else "is not RFC 3339"
        raise MessageError(
            f"{_name(wire)}: its time {wire.time!r:.40} {why}\nSend it as 2026-01-31T12:00:00Z."
        ) from error
    if not 0 <= at <= _LATEST_US:
        raise MessageError(f"{_name(wire)}: its time {wire.time!r} is out of range\nSend one from 1970 to 9999.")
    return at


def _case(wire: _Wire, *, own: bool) -> str | None:
    subject = wire.subject
    if subject is None or (is_case(subject) and (own or "://" not in subject)):
        return subject
    if own:
        raise MessageError(f"{_name(wire)}: its subject {subject!r:.60} is no case\nSend it as type:key.")
    return None


def _also(wire: _Wire) -> tuple[str, ...]:
    cases = tuple(map(unquote, (wire.partitaalso or "").split()))
    for case in cases:
        if not is_case(case):
            raise MessageError(f"{_name(wire)}: its partitaalso has {case!r:.60}, which is no case\nSend type:key.")
    return cases


def _write_cause(cause: Cause) -> str:
    return f"{quote(cause.message, safe=':')}/{quote(cause.group, safe=':')}#{cause.attempt}"


def _causes(wire: _Wire, *, own: bool) -> tuple[Cause, ...]:
    if wire.causationid is None:
        return ()
    text = _text(wire, "causationid")
    if not own:  # one id, of whatever form
        return (Cause(text, "", 0),)
    return tuple(_read_cause(wire, part) for part in text.split(" "))


def _read_cause(wire: _Wire, part: str) -> Cause:
    found = _CAUSE.fullmatch(part)
    message, group = (unquote(found[1]), unquote(found[2])) if found else ("", "")
    if found is None or holds_control(message + group):
        raise MessageError(
            f"{_name(wire)}: its causationid has {part!r:.60}\nSend message/group#attempt, each part percent-encoded."
        )
    return Cause(message, group, int(found[3]))


def _body(wire: _Wire) -> bytes:
    data = bytes(wire.data)
    if wire.datacontenttype is not None and not _JSON_TYPE.match(wire.datacontenttype) and (data or wire.encoded):
        raise MessageError(
            f"{_name(wire)}: its data is {wire.datacontenttype!r:.60}\nSend JSON, as datacontenttype application/json."
        )
    if wire.encoded is None:
        return data or b"{}"
    if data:
        raise MessageError(f"{_name(wire)}: it has both data and data_base64\nSend one of them.")
    try:
        return b64decode(wire.encoded, validate=True)
    except ValueError as error:
        raise MessageError(f"{_name(wire)}: its data_base64 is not base64: {error}\nSend RFC 4648 base64.") from error
