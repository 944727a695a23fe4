"""What docs/commands.md promises exists: each command has its section, and its examples use words that we know."""

import re
import shlex
from pathlib import Path

import pytest

from partita.cli.main import run

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
EXAMPLES = re.findall(r"(?m)^\$ partita (.*)$", PAGE)
COMMANDS = re.findall(r"(?m)^### (\w+)", PAGE)


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run([*words, "--help"]) == 0
    return capsys.readouterr().out


def test_every_command_has_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"(?m)^│ (\w+)  ", help_of([], capsys))

    assert sorted(shown) == sorted(COMMANDS)


def test_every_command_has_an_example() -> None:
    assert {example.split()[0] for example in EXAMPLES} == set(COMMANDS)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_uses_flags_that_its_command_has(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(example)
    said = help_of(words[: 2 if words[0] in {"dead", "group"} else 1], capsys)

    assert [word for word in words if word.startswith("--") and word not in said] == []
