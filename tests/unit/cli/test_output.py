import io
import json

import pytest

from partita.cli.failures import Failure
from partita.cli.output import Span, clean, columns, plain, print_failure, print_lines

RED = (Span("failed", "bad"), Span(" at ChargeCard"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_terminal_gets_colour() -> None:
    print_lines([RED], to=(terminal := Terminal()))

    assert "\x1b[" in terminal.getvalue()
    assert "failed" in terminal.getvalue()


def test_a_pipe_gets_none() -> None:
    print_lines([RED], to=(pipe := io.StringIO()))

    assert pipe.getvalue() == "failed at ChargeCard\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_none_gets_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    print_lines([RED], to=(terminal := Terminal()))

    assert terminal.getvalue() == "failed at ChargeCard\n"


def test_a_long_line_is_neither_cut_nor_broken() -> None:
    print_lines([(Span("x" * 500),)], to=(terminal := Terminal()))

    assert "x" * 500 in terminal.getvalue()


def test_what_looks_like_markup_is_text() -> None:
    print_lines([(Span("[bold]kept[/bold] :smile:"),)], to=(terminal := Terminal()))

    assert terminal.getvalue() == "[bold]kept[/bold] :smile:\n"


def test_what_moves_a_cursor_or_forges_a_line_does_not_get_through() -> None:
    assert clean("a\x1b[2Jb\rc") == "a\N{REPLACEMENT CHARACTER}[2Jb c"
    assert clean("one\ntwo") == "one two"
    assert clean("one\n\x07two", keep_lines=True) == "one\n\N{REPLACEMENT CHARACTER}two"
    assert clean("café, naïve") == "café, naïve"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = columns([(Span("a"), Span("first")), (Span("long"), Span("second"))], indent=2)

    assert [plain(row) for row in rows] == ["  a     first", "  long  second"]


def test_a_failure_says_what_and_then_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(kind="unknown", exit=75, what="the engine went away", remedy="Look at it.", key="k7")
    print_failure(failure, as_json=False)

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: the engine went away",
        "Look at it.",
        "Send it again with the same key: --key k7",
    ]


def test_a_failure_in_json_has_the_same_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_failure(Failure(kind="usage", exit=64, what="what?", remedy="this"), as_json=True)

    assert json.loads(capsys.readouterr().err) == {
        "error": {"kind": "usage", "exit": 64, "what": "what?", "remedy": "this", "key": None}
    }
