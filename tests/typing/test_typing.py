"""What users write type-checks under mypy and pyright, both strict; each deliberate mistake is found on its line."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from partita import App, Workflow

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MISTAKES = HERE / "mistakes.py"
FILES = [*sorted(HERE.glob("api_*.py")), MISTAKES]
MARK = re.compile(r"# wrong: ([\w, ]+) - \w")


def mypy() -> dict[Path, set[int]]:
    """Where mypy finds something wrong."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", *map(str, FILES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found: dict[Path, set[int]] = {}
    for path, line in re.findall(r"(?m)^(\S+?):(\d+): error:", done.stdout):
        found.setdefault(ROOT / path, set()).add(int(line))
    return found


def pyright() -> dict[Path, set[int]]:
    """Where pyright finds something wrong."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *map(str, FILES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] >= len(FILES), done.stderr
    found: dict[Path, set[int]] = {}
    for one in said["generalDiagnostics"]:
        if one["severity"] == "error":
            found.setdefault(Path(one["file"]), set()).add(one["range"]["start"]["line"] + 1)
    return found


def marked(checker: str) -> set[int]:
    """The lines on which a checker has to find a mistake."""
    lines = MISTAKES.read_text().splitlines()
    return {n for n, line in enumerate(lines, 1) if (mark := MARK.search(line)) and checker in mark[1].split(", ")}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_users_write_checks_and_each_mistake_is_found(checker: Callable[[], dict[Path, set[int]]]) -> None:
    found = checker()

    assert found.pop(MISTAKES, set()) == marked(checker.__name__)
    assert found == {}, "no error in what users write"


def test_every_mistake_is_found_by_somebody() -> None:
    said = [line for line in MISTAKES.read_text().splitlines() if "# wrong" in line]

    assert all(MARK.search(line) for line in said), "# wrong: mypy, pyright - why"
    assert len(said) >= 40


@pytest.mark.parametrize("path", FILES[:-1], ids=lambda path: path.stem)
def test_what_users_write_can_be_declared(path: Path) -> None:
    found = runpy.run_path(str(path))

    assert any(isinstance(value, App | Workflow) for value in found.values())
