"""What is fuzzed: each target takes any bytes, and raises AssertionError where a law of its door does not hold.

The same targets serve hypothesis in `make test`, and atheris, guided by coverage, in `make fuzz`.
"""

import asyncio
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from partita.cli import main
from partita.errors import DefinitionError, MessageError
from partita.limits import LIMITS
from partita.messages import cloudevents, codec, message
from partita.messages.topology import Topology
from partita.monitor.state import CaseState
from partita.retry import US, duration_us
from partita.runtime import door
from partita.runtime.requests import Reply, Request
from partita.store import facts
from partita.store.sqlite import trail

EXITS = {0, 1, 2, 64, 65, 70, 75}
Target = Callable[[bytes], None]


# JSON as everyone reads it.


def fuzz_codec(data: bytes) -> None:
    """What is taken is read alike by Python's own reader, and by the book."""
    try:
        codec.check_raw(data)
    except MessageError as error:
        assert_two_lines(error)
        return
    tree = json.loads(data.decode(), object_pairs_hook=_no_twins, parse_constant=_no_constant)
    _walk(tree, 0)
    again = codec.encode(codec.decode(data, Any))
    codec.check_raw(again)
    assert _same(json.loads(again), tree), "it is another value after a round"


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), "a key stands there twice"
    return found


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def _walk(value: Any, depth: int) -> None:
    if isinstance(value, dict | list):
        assert depth < LIMITS.nesting_max, "too deep"
        for item in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            _walk(item, depth + 1)
    elif isinstance(value, str):
        assert "\0" not in value, "NUL"
        value.encode()
    elif isinstance(value, int):
        assert -(2**63) <= value < 2**63, "an integer beyond 64 bits"
    elif isinstance(value, float):
        assert isfinite(value), "no finite number"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other)


# Envelopes of anybody.


def fuzz_envelope(data: bytes) -> None:
    """What is taken for an event comes back the same after a journey, and names nothing that no store keeps."""
    try:
        found = cloudevents.from_cloudevent(data, now_us=US, new_id=lambda: "new")
    except MessageError as error:
        assert_two_lines(error)
        return
    for text in (found.id, found.type, found.source, found.correlation, found.case or "", *found.also):
        assert not message.holds_control(text), f"{text!r} holds control characters"
    assert found.id, "it has no id"
    assert found.case is None or message.is_case(found.case)
    again = cloudevents.from_cloudevent(cloudevents.to_cloudevent(found), now_us=2 * US, new_id=lambda: "newer")
    assert again == found


# Facts as they lie on the disk.


def fuzz_fact(data: bytes) -> None:
    """Whatever lies there is read as something, shown, and folded; only broken packing is an error, and it says so."""
    if not data:
        return
    kinds = sorted(facts.KINDS)
    kind = kinds[data[0] % len(kinds)]
    raw = data[1:]
    body = trail._body(kind, 0, raw)
    if isinstance(body, facts.Unread):
        msgspec.json.decode(body.raw)  # it is shown in JSON, whatever it was
    fact = facts.Fact(seq=1, source="s", n=1, kind=kind, at=US, case="order:1", run="w/order:1/1", body=body)
    from partita.monitor import fold

    state = fold.fold(CaseState("order:1"), fact, Topology(app="shop"))
    fold.row_of(state, fold.chart_of(Topology(app="shop")))


# Names and durations.


def fuzz_case(data: bytes) -> None:
    """A case is a type and a key; what `is_case` takes, `case_name` makes, and nothing else."""
    text = data.decode("utf-8", "surrogateescape")
    case_type, separator, key = text.partition(":")
    try:
        made = message.case_name("order", key)
    except MessageError as error:
        assert_two_lines(error)
        made = ""
    assert bool(made) == message.is_case(f"order:{key}")
    if message.is_case(text):
        assert separator
        assert key
        assert case_type.isascii()
        assert case_type == case_type.lower()
        assert len(key.encode()) <= LIMITS.key_bytes_max
        assert not any(ord(letter) < 32 for letter in text)
        assert json.loads(json.dumps(text)) == text


_UNITS = {"us": 1, "ms": 1_000, "s": US, "m": 60 * US, "h": 3_600 * US, "d": 86_400 * US, "w": 604_800 * US}


def fuzz_duration(data: bytes) -> None:
    """A duration is refused, or comes to what its parts add up to."""
    text = data.decode("utf-8", "replace")
    try:
        found = duration_us(text)
    except DefinitionError as error:
        assert_two_lines(error)
        return
    assert 0 <= found <= LIMITS.timer_s_max * US
    total, number = Decimal(0), ""
    rest = text.replace(" ", "")
    while rest:
        unit = next((unit for unit in ("us", "ms", "s", "m", "h", "d", "w") if rest.startswith(unit)), "")
        if unit:
            total, number, rest = total + Decimal(number) * _UNITS[unit], "", rest[len(unit) :]
        else:
            number, rest = number + rest[0], rest[1:]
    assert abs(total - found) <= 1 + total / 10**12, (text, found, total)


# The socket.


def fuzz_door(data: bytes) -> None:
    """Each line gets one reply that can be read, and the door stands open for the next."""
    asyncio.run(_visit(data))


async def _visit(data: bytes) -> None:
    taken = 0

    async def take(request: Request) -> Reply:
        nonlocal taken
        taken += 1
        return Reply(status="accepted", key=request.key)

    reader, writer = asyncio.StreamReader(limit=1_000), _Written()
    reader.feed_data(data)
    reader.feed_data(b'\n{"op":"ping","key":"last"}\n')
    reader.feed_eof()
    await door._serve(reader, writer, take)  # type: ignore[arg-type]
    replies = [msgspec.json.decode(line, type=Reply) for line in bytes(writer.written).splitlines()]
    assert len(replies) == data.count(b"\n") + 2
    assert replies[-1] == Reply(status="accepted", key="last")
    assert sum(reply.status == "accepted" for reply in replies) == taken


class _Written:
    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None: ...


# The command line.


WORDS = [
    *("where", "show", "why", "next", "ps", "flow", "start", "emit", "signal", "retry", "cancel", "dead", "group"),
    *("doctor", "version", "list", "redrive", "discard", "pause", "resume", "retire", "--json", "--store", "--app"),
    *("--key", "--run", "--case", "--limit", "--cursor", "--stuck", "--waiting", "--failed", "--timeout", "--reason"),
    *("--format", "--help", "--declared", "-", "--", "@", "@none", "{}", "[]", "null", "order:1", "order:", ":", "1"),
    *(
        "0",
        "-1",
        "partita.db",
        "no.db",
        "\0",
        "\udcff",
        "x:y",
        "5s",
        "text",
        "mermaid",
        "--version",
        "-h",
        "dev",
        "no:app",
    ),
    *("", '{"order_id": "1"}'),
]


def fuzz_command_line(data: bytes) -> None:
    """Any words end with a documented code and never with a traceback; an error is two lines."""
    words = [WORDS[byte % len(WORDS)] if byte < 224 else data[at : at + byte - 220].decode("utf-8", "surrogateescape")
             for at, byte in enumerate(data[:12])]  # fmt: skip
    run_words(words)


def run_words(words: list[str]) -> int:
    """Run one command line in a folder with a store. Raises AssertionError where its end is none that is documented."""
    if words[:1] == ["demo"]:
        return 0  # it runs the whole shop
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"), io.StringIO()
    before, typed = Path.cwd(), sys.stdin
    os.chdir(_folder())
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"{}"))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run(words)
    finally:
        os.chdir(before)
        sys.stdin = typed
    said = err.getvalue()
    assert int(code) in EXITS, (words, code)
    assert "Traceback" not in said, (words, said)
    assert "PARTITA_DEBUG" not in said, f"{words}: an error that nobody thought of: {said}"
    assert code < 64 or "--json" in words or len(said.strip().splitlines()) >= 2, (words, code, said)
    return int(code)


@cache
def _folder() -> Path:
    """A folder with an empty store of ours."""
    from partita.clock import SystemClock
    from partita.runtime.backends import Shelf, take

    folder = Path(tempfile.mkdtemp(prefix="partita-fuzz-"))

    async def make() -> None:
        store = take(folder / "partita.db", clock=SystemClock(), shelf=Shelf(), app="shop")
        store.register_topology(Topology(app="shop"))
        await store.close()

    asyncio.run(make())
    return folder


def assert_two_lines(error: Exception) -> None:
    first, _, second = str(error).partition("\n")
    assert first, "what is wrong"
    assert second, f"{first!r}: what to do"


TARGETS: dict[str, Target] = {
    "codec": fuzz_codec,
    "envelope": fuzz_envelope,
    "fact": fuzz_fact,
    "case": fuzz_case,
    "duration": fuzz_duration,
    "door": fuzz_door,
    "command_line": fuzz_command_line,
}
