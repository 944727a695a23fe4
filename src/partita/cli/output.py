"""Output: results go to standard output, everything else to standard error; what a pipe gets is plain."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple, TextIO

import msgspec

from partita.cli.failures import Failure


class Span(NamedTuple):
    """A piece of a line, and what it means: the screen decides how that looks."""

    text: str
    style: str = ""
    """good, bad, waiting, strong, dim, or nothing."""


Line = tuple[Span, ...]

_LOOKS = {"good": "green", "bad": "bold red", "waiting": "yellow", "strong": "bold", "dim": "dim"}


def plain(line: Line) -> str:
    """A line without its styles."""
    return "".join(span.text for span in line).rstrip()


def print_lines(lines: Iterable[Line], *, to: TextIO | None = None) -> None:
    """Print lines, styled where a person reads them and NO_COLOR is not set."""
    stream = to or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        for line in lines:
            print(plain(line), file=stream)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in lines:
        console.print(Text.assemble(*((span.text, _LOOKS.get(span.style, "")) for span in line)))


def print_json(value: object) -> None:
    """Print one JSON document on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_note(text: str) -> None:
    """Say something that is no result."""
    print_lines([(Span(text, "dim"),)], to=sys.stderr)


def print_failure(failure: Failure, *, as_json: bool) -> None:
    """Say what went wrong and what to do about it, on standard error."""
    if as_json:
        sys.stderr.write(msgspec.json.encode({"error": failure}).decode() + "\n")
        return
    lines: list[Line] = [(Span("error: ", "bad"), Span(clean(failure.what, keep_lines=True)))]
    if failure.remedy:
        lines.append((Span(clean(failure.remedy, keep_lines=True)),))
    if failure.kind == "unknown" and failure.key is not None:
        lines.append((Span(f"Send it again with the same key: --key {failure.key}"),))
    print_lines(lines, to=sys.stderr)


def clean(text: str, *, keep_lines: bool = False) -> str:
    """A text from a store or a wire, without what could move a terminal's cursor or forge a line."""
    if text.isprintable():
        return text
    kept = "\n\t" if keep_lines else ""
    spaced = text if keep_lines else " ".join(text.split())
    return "".join(char if char.isprintable() or char in kept else "\N{REPLACEMENT CHARACTER}" for char in spaced)


def columns(rows: Iterable[Line], *, indent: int = 0, gap: int = 2) -> list[Line]:
    """Rows laid out under one another, each cell as wide as the widest of its column; the last is left as it is."""
    table = list(rows)
    count = max((len(row) for row in table), default=0)
    widths = [max((len(row[n].text) for row in table if n < len(row) - 1), default=0) for n in range(count)]
    space = Span(" " * indent)
    laid: list[Line] = []
    for row in table:
        cells = [Span(cell.text.ljust(widths[n] + gap), cell.style) for n, cell in enumerate(row[:-1])]
        laid.append((space, *cells, *row[-1:]))
    return laid
