"""Bodies that no door takes: what each is, the first words of what has to be said of it, and what the remedy names."""

from dataclasses import dataclass

LARGE = 5 * 1_048_576


@dataclass(frozen=True)
class Bad:
    """One body of a `TripTimed`, which wants `trip_id`, `seats` and `at`."""

    name: str
    raw: bytes
    said: str
    remedy: str
    code: int
    """What a command exits with: 64 for what can't be meant, 65 for what the app does not take."""


def _trip(trip: bytes = b'"1"', seats: bytes = b"2", at: bytes = b'"2026-11-28T12:00:00Z"', more: bytes = b"") -> bytes:
    return b'{"trip_id": %s, "seats": %s, "at": %s%s}' % (trip, seats, at, more)


GOOD = _trip()
BODIES = [
    Bad("malformed JSON", b'{"trip_id": "1", "seats": }', "not JSON", "Mend it", 64),
    Bad("cut off", GOOD[:-3], "not JSON", "Mend it", 64),
    Bad("more behind it", GOOD + b"]", "not JSON", "Mend it", 64),
    Bad("nothing", b"", "", "", 64),
    Bad("no UTF-8", _trip(b'"\xc3\x28"'), "not", "", 64),
    Bad("a byte order mark", b"\xef\xbb\xbf" + GOOD, "not JSON: it begins with a byte order mark", "without one", 64),
    Bad("UTF-16", GOOD.decode().encode("utf-16"), "not JSON: it looks like UTF-16", "in UTF-8", 64),
    Bad("UTF-16 without a mark", GOOD.decode().encode("utf-16-le"), "not JSON: it looks like UTF-16", "in UTF-8", 64),
    Bad("UTF-16 cut off", GOOD.decode().encode("utf-16")[:-1], "not JSON: it looks like UTF-16", "in UTF-8", 64),
    Bad("NaN", _trip(seats=b"NaN"), "not JSON", "NaN", 64),
    Bad("infinity", _trip(seats=b"-Infinity"), "not JSON", "NaN", 64),
    Bad("a number beyond floats", _trip(more=b', "x": 1e400'), "", "", 64),
    Bad("duplicate keys", _trip(more=b', "seats": 3'), "has the key 'seats' twice", "Send each key once", 64),
    Bad("5 MB", _trip(b'"' + b"x" * LARGE + b'"'), "bytes", "limits.payload_bytes_max", 64),
    Bad("NUL", _trip(b'"a\\u0000b"'), "holds a NUL character", "Take it out", 64),
    Bad("half a surrogate pair", _trip(b'"\\ud800"'), "not JSON", "surrogate", 64),
    Bad("5,000 digits", _trip(seats=b"9" * 5_000), "an integer beyond 64 bits", "Send it as text", 64),
    Bad("2^63", _trip(seats=b"9223372036854775808"), "is an integer beyond 64 bits", "Send it as text", 64),
    Bad("deep nesting", _trip(seats=b"[" * 5_000 + b"]" * 5_000), "nesting is 65", "limits.nesting_max", 64),
    Bad("wrong types", _trip(seats=b'"two"'), "Expected `int`, got `str` - at `$.seats`", "what the type declares", 65),
    Bad("a field that is missing", b'{"trip_id": "1"}', "missing required field", "what the type declares", 65),
    Bad("an array", b"[1]", "Expected `object`, got `array`", "what the type declares", 65),
    Bad("null", b"null", "Expected `object`, got `null`", "what the type declares", 65),
    Bad("no key", _trip(b'""'), "can't be the key of a case of type trip", "A key has 1 to 200 bytes", 65),
    Bad("a long key", _trip(b'"' + b"k" * 201 + b'"'), "is 201; the limit is 200", "raise limits.key_bytes_max", 65),
    Bad("a key with a line end", _trip(b'"a\\nb"'), "can't be the key of a case", "no control characters", 65),
    Bad("a naive time", _trip(at=b'"2026-11-28T12:00:00"'), "is a time without a time zone", "Add one", 65),
]
