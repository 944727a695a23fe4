"""Suggested commands: as they can be typed in this shell, meaning the store and the app that were meant.

The rooms below name a command bare, `partita signal CASE TYPE`: they don't know how this program was called. Whatever
is printed passes here once, whether it stands alone or in a sentence of an error.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from partita.cli.output import clean
from partita.errors import PartitaError
from partita.runtime.settings import find_settings

_LOOKS = {"show", "ps", "flow", "where", "why", "next", "doctor"}
_LISTS = (["dead", "list"], ["dead", "show"], ["group", "list"])
_BEGINS = re.compile(r"(?:^|(?<=: )|(?P<ticked>(?<=`)))(?=partita [a-z])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mends:
    """What is added to a command, so that it means this store and can be carried out now."""

    looking: str = ""
    acting: str = ""
    dev: str = "partita dev"

    def complete(self, command: str) -> str:
        """A command as it is to be typed here."""
        words, flags = command.split(), self.acting
        if words[1:2] == ["dev"]:
            flags = ""
            if words[2:] in ([], ["MODULE:APP"]):
                command = self.dev
        elif words[1:2] in (["demo"], ["version"]) or {"--help", "--store", "--run"} & set(words):
            flags = ""
        elif (words[1:2] and words[1] in _LOOKS) or words[1:3] in _LISTS:
            flags = self.looking
        return as_typed(clean(command) + flags)

    def complete_in(self, text: str) -> str:
        """A text with every command in it as it is to be typed here: what follows a colon, or stands in backticks."""
        said, end = "", 0
        for found in _BEGINS.finditer(text):
            if found.start() < end:
                continue  # it stands inside of another one
            begin, before = found.start(), end
            end = _end_of(text, begin, ticked=found["ticked"] is not None)
            said += text[before:begin] + self.complete(text[begin:end])
        return said + text[end:]


def meant_by(words: Sequence[str]) -> Mends:
    """What the commands in an error need, after the command line that it came of: its store, its app, its `--run`."""
    store, app = _value_of("--store", words), _value_of("--app", words)
    place = words[1] if words[:1] == ["dev"] and len(words) > 1 and not words[1].startswith("-") else app
    try:
        place = find_settings(store=store, app=place).app
    except (PartitaError, OSError):
        place = None  # what is wrong with the settings is what the error says
    flags = say_flags(store=store, app=app)
    dev = f"partita dev {shlex.quote(place) if place else 'MODULE:APP'}{say_flags(store=store)}"
    return Mends(looking=flags, acting=f"{flags} --run" if "--run" in words else flags, dev=dev)


def say_flags(*, store: str | None = None, app: str | None = None) -> str:
    """Flags as they are typed, each with a space before it; nothing for what was not given."""
    named = (("--store", store), ("--app", app))
    return "".join(f" {flag} {shlex.quote(value)}" for flag, value in named if value)


def as_typed(command: str) -> str:
    """A command as it can be typed in this shell: by the path of this program, where its name alone finds none."""
    program = Path(sys.argv[0])
    if not command.startswith("partita ") or program.name != "partita" or shutil.which("partita"):
        return command
    found = Path(os.path.relpath(program)) if program.is_relative_to(Path.cwd()) else program
    return f"{found}{command.removeprefix('partita')}"


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def _end_of(text: str, begin: int, *, ticked: bool) -> int:
    """Where the command ends that begins there: at the tick, the line or the semicolon that no quotes hold."""
    quote = ""
    for index in range(begin, len(text)):
        char = text[index]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "\n;" or (ticked and char == "`"):
            return index
    return len(text)
