"""Rules of the house that no other tool checks: a broken one fails with the file, the line and the remedy."""

import ast
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "partita"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SHOWN = SOURCES + sorted((ROOT / "examples").rglob("*.py"))
FRONT_DOORS = {"__init__.py", "testing/__init__.py"}

FILE_LINES_MAX = 500
TEST_FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 50

LONGER: dict[str, tuple[int, str]] = {}
"""Measured hot paths that may be longer: `room/file.py:function` to its lines, and the figure that earns them."""

SAY_INSTEAD = {
    "base": "what its children are",
    "bus": "transport",
    "common": "what its users share",
    "helper": "what it does",
    "impl": "what is special about it",
    "info": "what it knows",
    "job": "step, handling or run",
    "manager": "what it does for whom",
    "util": "what it does",
}
"""Words that name nothing, or that belong to others; `data` is left out, since CloudEvents owns it."""

ELSEWHERE = {"base", "bases", "info"}
"""Whole names that Python gave: the bases of a class, a level of a log."""

STALE_OPENINGS = re.compile(r"(?i)^(this (module|file|package|class)|contains|provides|module (for|containing))\b")
UNFINISHED = re.compile(r"\b(T[O]DO|F[I]XME|X[X]X)\b")
WAIVED = re.compile(r"#\s*(?:noqa|type: ignore|pyright: ignore)\b(?P<rest>.*)")
CODE_AS_DATA = {"dill", "marshal", "pickle", "shelve"}
MAP_LINE = re.compile(r"(?m)^\s*[-*|]\s*`([\w/]+\.py)`\W*(\w.*)$")

Function = ast.FunctionDef | ast.AsyncFunctionDef
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_says_in_its_first_sentence_what_it_is_for(path: Path) -> None:
    opening = (ast.get_docstring(parsed(path)) or "").partition("\n")[0]

    assert opening.endswith((".", "?")), f"{path}:1: open with one sentence that says what this room is for"
    assert not STALE_OPENINGS.match(opening), f"{path}:1: say what it is for, not that it is a file"


@each_source
def test_a_room_is_small(path: Path) -> None:
    lines = path.read_text().count("\n")

    assert lines <= FILE_LINES_MAX, f"{path}: {lines} lines; split it along a noun"


@each_source
def test_a_function_is_small(path: Path) -> None:
    for function in functions(parsed(path)):
        lines = length(function)
        allowed, _figure = LONGER.get(f"{path.relative_to(PACKAGE)}:{function.name}", (FUNCTION_LINES_MAX, ""))

        assert lines <= allowed, f"{path}:{function.lineno}: {function.name} has {lines} lines and does too much"


def test_what_may_be_longer_is_longer_and_has_a_figure() -> None:
    long = {
        f"{path.relative_to(PACKAGE)}:{function.name}"
        for path in SOURCES
        for function in functions(parsed(path))
        if length(function) > FUNCTION_LINES_MAX
    }

    assert set(LONGER) <= long, "take what has become short out of LONGER"
    assert all(re.search(r"\d", figure) for _lines, figure in LONGER.values()), "LONGER wants a measured figure"


def test_a_test_file_can_be_read_in_one_sitting() -> None:
    long = [path for path in (ROOT / "tests").rglob("*.py") if path.read_text().count("\n") > TEST_FILE_LINES_MAX]

    assert not long, f"more than {TEST_FILE_LINES_MAX} lines: split along a noun"


@each_source
def test_names_say_something(path: Path) -> None:
    places = [(path.stem, 1), *names_given(parsed(path))]
    for name, line in places:
        for word in [] if name.lower() in ELSEWHERE else words(name):
            instead = SAY_INSTEAD.get(word) or SAY_INSTEAD.get(word.removesuffix("s"))
            assert not instead, f"{path}:{line}: `{name}`: not `{word}` but {instead}"


@each_source
def test_stored_bytes_are_never_run(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Import(names=names):
                modules = {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module)):
                modules = {module.partition(".")[0]}
            case ast.Call(func=ast.Name(id="eval" | "exec")):
                pytest.fail(f"{path}:{node.lineno}: data, not code: no eval, no exec")
            case _:
                continue
        assert not modules & CODE_AS_DATA, f"{path}:{node.lineno}: data, not code: JSON through messages.codec"


@each_source
def test_an_exception_to_a_rule_names_the_rule_and_the_reason(path: Path) -> None:
    for number, line in enumerate(path.read_text().split("\n"), 1):
        if waived := WAIVED.search(line):
            assert re.match(r"(: |\[)[\w, -]+\]? +(-|#) \w", waived["rest"]), (
                f"{path}:{number}: `# noqa: RULE - why it does not hold here`"
            )


@each_source
def test_an_inner_front_door_holds_a_sentence_only(path: Path) -> None:
    if path.name != "__init__.py" or str(path.relative_to(PACKAGE)) in FRONT_DOORS:
        return

    assert len(parsed(path).body) == 1, f"{path}: a docstring and nothing else, or rooms begin to import in circles"


def test_the_map_shows_every_room_once() -> None:
    chart = ROOT / "docs" / "architecture.md"
    drawn = Counter(name for name, _line in MAP_LINE.findall(chart.read_text() if chart.exists() else ""))
    built = {str(path.relative_to(PACKAGE)) for path in SOURCES if not path.name.startswith("__")}

    assert built - set(drawn) == set(), "in docs/architecture.md, add: - `room/file.py`: what it is for"
    assert set(drawn) - built == set(), "take these out of docs/architecture.md"
    assert [name for name, times in drawn.items() if times > 1] == [], "drawn twice in docs/architecture.md"


def test_nothing_names_a_place_on_one_machine() -> None:
    here = {
        f"{place}/" for place in (Path.home(), Path("/", *ROOT.parts[1:2])) if place not in {Path("/"), Path("/tmp")}
    }
    found = [f"{path}:{line}" for path, line, text in written_lines() if any(place in text for place in here)]

    assert not found, f"a path of this machine: {found}"


def test_nothing_is_left_for_later_in_the_text() -> None:
    found = [f"{path}:{line}" for path, line, text in written_lines() if UNFINISHED.search(text)]

    assert not found, f"do it now, or open an issue: {found}"


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def functions(tree: ast.Module) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines of the body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def words(name: str) -> list[str]:
    """`_JobStore_max` -> job, store, max."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def names_given(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that this file gives to something, and its line; names that others gave are theirs."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno


def written_lines() -> Iterator[tuple[Path, int, str]]:
    """Each line of each text that git keeps or would keep."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    listing = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            for number, line in enumerate(content.decode(errors="replace").split("\n"), 1):
                yield path.relative_to(ROOT), number, line


def test_a_mutant_that_nobody_could_notice_is_of_a_line_that_stands_and_has_its_reason() -> None:
    listed = tomllib.loads((ROOT / "scripts" / "equivalent-mutants.toml").read_text())["mutant"]
    for one in listed:
        lines = [line.strip() for line in (PACKAGE / one["file"]).read_text().splitlines()]
        lines += [" ".join(two) for two in pairwise(lines)]  # a mutant may be of a statement of two lines

        assert one["before"] in lines, (
            f"{one['file']} has no line {one['before']!r} any more: take its mutant off the list"
        )
        assert one["before"] != one["after"]
        assert one["why"], f"{one['file']}: {one['before']!r}: say why nobody could notice"
