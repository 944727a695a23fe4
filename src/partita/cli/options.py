"""Options: what every command may be told, and what is typed at a command as JSON, a key or a case."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from partita.cli.failures import Usage
from partita.cli.suggesting import say_flags
from partita.clock import SystemClock
from partita.errors import MessageError, Rejected
from partita.limits import LIMITS, Limits, put_in_force
from partita.messages.codec import check_raw
from partita.messages.message import holds_control
from partita.runtime.settings import Settings, find_limits, find_settings


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How to answer."""

    json: Annotated[bool, Parameter(negative=(), show_default=False, help="Answer in JSON.")] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Looking(Answering):
    """Which store is meant."""

    store: Annotated[
        str | None, Parameter(help="The store's file [PARTITA_STORE, partita.toml, ./partita.db].", show_default=False)
    ] = None
    app: Annotated[
        str | None, Parameter(help="The app, as module:name [PARTITA_APP, partita.toml].", show_default=False)
    ] = None

    def settings(self) -> Settings:
        """Where the store and the app are, by flag, environment, partita.toml or default."""
        return find(store=self.store, app=self.app)

    def flags(self) -> str:
        """The flags that a suggested command needs to mean the same store and app as this one."""
        return say_flags(store=self.store, app=self.app)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sending(Looking):
    """Under which key a request is sent, and whether to run the app for it here."""

    key: Annotated[
        str | None, Parameter(help="Sent again under the same key, a request has its effect once.", show_default=False)
    ] = None
    run: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Where no engine runs: run the app here until it is idle."),
    ] = False

    def request_key(self) -> str:
        """The key given, checked, or a fresh one."""
        if self.key is None:
            return SystemClock().new_id()
        check_name("--key", self.key)
        return self.key


def find(*, store: str | None, app: str | None, app_as: str = "--app") -> Settings:
    """Where the store and the app are. Puts the operator's limits in force.

    Raises Usage for what names none, or a partita.toml that can't be read.
    """
    for flag, value in (("--store", store), (app_as, app)):
        if value == "":
            raise Usage(f"{flag} is empty", "Leave it out, or name one.")
    try:
        put_in_force(find_limits(Limits()))
        return find_settings(store=store, app=app)
    except Rejected as error:
        raise Usage(error.why, error.remedy) from error


ANSWERING, LOOKING, SENDING = Answering(), Looking(), Sending()
"""What a command is given where nothing of it is said."""


def check_name(what: str, text: str) -> None:
    """Refuse what can be no key, type or group: nothing, control characters, or more than such a name may have."""
    check_text(what, text)
    size, limit = len(text.encode(errors="replace")), LIMITS.name_bytes_max
    if size > limit:
        raise Usage(
            f"{what} has {size:,} bytes; the limit is {limit:,}", "Make it shorter, or raise limits.name_bytes_max."
        )


def check_text(what: str, text: str) -> None:
    """Refuse what can name nothing. What is only looked for may be as long as it likes: its limit was its maker's."""
    if not text or holds_control(text):
        wrong = "holds control characters" if text else "is empty"
        raise Usage(f"{what} {wrong}", "It has one character or more, and no control characters.")


def read_json(text: str, *, what: str = "the message") -> bytes:
    """An argument that is JSON, `-` for what comes on standard input, or `@file`; checked. Raises Usage."""
    raw, source = _read(text, what)
    if len(raw) > LIMITS.payload_bytes_max:
        # No more was read of it than tells that it is too much; an argument was there as a whole.
        size = f"more than {LIMITS.payload_bytes_max:,}" if text == "-" or text.startswith("@") else f"{len(raw):,}"
        raise Usage(
            f"{source} has {size} bytes; the limit is {LIMITS.payload_bytes_max:,}",
            "Make it smaller, or raise limits.payload_bytes_max.",
        )
    if not raw.strip():
        raise Usage(f"{source} is empty", f"Give the message as JSON, in quotes: {_EXAMPLE}")
    try:
        check_raw(raw.strip())
    except MessageError as error:
        wrong, _, remedy = str(error).partition("\n")
        place = _place(raw)
        if place:
            raise Usage(f"{source} is not JSON: {place}", _quoting(text)) from error
        raise Usage(f"{source}: {wrong.removeprefix('body: ')}", remedy) from error
    return raw.strip()


def _read(text: str, what: str) -> tuple[bytes, str]:
    if text == "-":
        return sys.stdin.buffer.read(LIMITS.payload_bytes_max + 1), "standard input"
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape"), what
    path = Path(text[1:])
    try:
        with path.open("rb") as file:
            return file.read(LIMITS.payload_bytes_max + 1), str(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Usage(f"{what}: cannot read {str(path)!r}: {why}", "After @ stands the name of a file.") from error


def _place(raw: bytes) -> str:
    """Where and why Python's own reader gives up on it; nothing where it does not."""
    import json

    if json.detect_encoding(raw) != "utf-8":
        return ""  # the codec names the encoding
    try:
        json.loads(raw)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if b"\n" in raw.strip() else f"column {error.colno}"
        return f"{error.msg[:1].lower()}{error.msg[1:].removesuffix(' at')} at {where}"
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    except (ValueError, RecursionError):
        return ""
    return ""


def _quoting(text: str) -> str:
    if text == "-" or text.startswith("@"):
        return "Mend it, then send it again."
    return f"In a shell, put it in single quotes: {_EXAMPLE}; or give @file, or - for standard input."


_EXAMPLE = """'{"order_id": "12345"}'"""


def by_whom() -> str:
    """Who asks, for the trail."""
    return (os.environ.get("USER") or "cli")[: LIMITS.name_bytes_max]
