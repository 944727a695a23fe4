"""What the README shows runs, in the order in which it is shown, in a folder where nothing else is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from partita.cli.main import run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROGRAM = "\n\n".join(re.findall(r"(?ms)^```python\n(.*?)^```", README))
TYPED = [line.partition("#")[0].strip() for line in re.findall(r"(?m)^\$ (.*)$", README)]
PARTITA = [shlex.split(line.removeprefix(".venv/bin/"))[1:] for line in TYPED if "partita " in line]
MAKE = [shlex.split(line) for line in TYPED + re.findall(r"`(make [^`]+)`", README) if line.startswith("make ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a newcomer has saved the program."""
    here = tmp_path_factory.mktemp("newcomer")
    (here / "small_shop.py").write_text(PROGRAM.partition("asyncio.run(")[0])
    (here / "whole.py").write_text(PROGRAM)
    return here


def type_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=30, check=False)


def test_the_program_runs_and_says_how_the_order_ended(folder: Path) -> None:
    done = type_in(folder, "whole.py")

    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_what_is_typed_beside_the_program_is_accepted(folder: Path) -> None:
    dev = next(words for words in PARTITA if words[0] == "dev")
    emit = next(words for words in PARTITA if words[0] == "emit")
    where = next(words for words in PARTITA if words == ["where", "order:1"])

    with subprocess.Popen([sys.executable, "-m", "partita", *dev], cwd=folder, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline()
        emitted = type_in(folder, "-m", "partita", *emit)
        found = type_in(folder, "-m", "partita", *where)
        engine.terminate()

    assert emitted.returncode == 0, emitted.stderr
    assert "order:1" in found.stdout
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("words", PARTITA, ids=" ".join)
def test_a_command_that_is_shown_exists_with_its_flags(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([words[0], "--help"]) == 0
    said = capsys.readouterr().out

    assert [word for word in words if word.startswith("--") and word not in said] == []


@pytest.mark.parametrize("words", MAKE, ids=" ".join)
def test_a_make_target_that_is_shown_exists_with_its_variables(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    _make, target, *settings = words

    assert re.search(rf"(?m)^{target}:", makefile)
    assert [one for one in settings if f"$({one.partition('=')[0]})" not in makefile] == []


def test_every_page_that_is_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []
