"""Mutation score of a room: how many of the small lies told about its code does a test notice?

Each room is mutated by mutmut in a copy of the project below `.mutants/`, with only the tests that reach the changed
function. What mutmut leaves out: decorated functions, module constants, docstrings. Mutants that change nothing anybody
could see are listed in `equivalent-mutants.toml`, each with its reason, and don't count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rooms import ROOMS, Room

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".mutants"
EQUIVALENT = ROOT / "scripts" / "equivalent-mutants.toml"
COPIED = ("src", "tests", "examples", "pyproject.toml")


KILLED = {
    1: "killed",
    3: "killed",
    37: "killed",
    36: "timeout",
    24: "timeout",
    -24: "timeout",
    152: "timeout",
    255: "timeout",
}
SURVIVED = {0: "survived", 5: "untested", 33: "untested"}


@dataclass(slots=True)
class Tally:
    """What came of the mutants of one room."""

    room: str
    ends: Counter[str] = field(default_factory=Counter)
    survivors: list[tuple[str, str]] = field(default_factory=list)
    """Mutants that nobody noticed, with what they changed."""

    @property
    def noticed(self) -> int:
        return sum(count for end, count in self.ends.items() if end not in {"survived", "untested", "equivalent"})

    @property
    def counted(self) -> int:
        return self.ends.total() - self.ends["equivalent"]

    @property
    def score(self) -> float:
        return 100 * self.noticed / self.counted if self.counted else 0.0

    def row(self) -> dict[str, Any]:
        return {
            "room": self.room,
            "mutants": self.ends.total(),
            **{end: self.ends[end] for end in ("killed", "timeout", "crashed", "survived", "untested", "equivalent")},
            "score": round(self.score, 1),
        }


def main() -> int:
    """Mutate the rooms asked for; 1 where one is below the floor."""
    asked = read_arguments()
    tallies = [mutate(room, asked) for room in asked.rooms or ROOMS]
    if asked.json:
        print(json.dumps([tally.row() for tally in tallies], indent=2))
    else:
        show(tallies)
    return int(any(tally.score < asked.floor for tally in tallies))


def read_arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)}; all by default")
    parser.add_argument("--json", action="store_true", help="figures as JSON, without the survivors")
    parser.add_argument("--floor", type=float, default=85.0, help="the score below which this fails")
    parser.add_argument("--again", action="store_true", help="try only what survived last time")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="mutants tried at once")
    parser.add_argument("--only", default="", help="mutants whose name matches: `*lanes*`, or `*5` for a tenth")
    return parser.parse_args()


def mutate(name: str, asked: argparse.Namespace) -> Tally:
    """Mutate one room, and count."""
    place = WORK / name
    if not asked.again:
        shutil.rmtree(place, ignore_errors=True)
    lay_out(place, ROOMS[name])
    names = [asked.only] if asked.only else []
    if asked.again:
        names = [mutant for mutant, code in ends_of(place).items() if code in SURVIVED or code is None]
    command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(asked.at_once), *names]
    with (place / "mutmut.log").open("w") as out:
        done = subprocess.run(command, cwd=place, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"mutmut failed; the end of {place / 'mutmut.log'}:\n{(place / 'mutmut.log').read_text()[-3000:]}")
    return tally(name, place)


def lay_out(place: Path, room: Room) -> None:
    """A copy of the project, and what mutmut is to do with it."""
    for copied in COPIED:
        source, target = ROOT / copied, place / copied
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    left_out = [f"--deselect={test}" for test in room.without]
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/partita/{source}" for source in room.sources],
        "pytest_add_cli_args_test_selection": list(room.tests),
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-o", "faulthandler_timeout=0", *left_out],
        "timeout_multiplier": 2.5,
        "timeout_constant": 5.0,
        "do_not_mutate_patterns": [r"log\.(debug|info|warning|error)\("],
        "also_copy": ["examples"],
        "use_git_change_detection": False,
    }
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
    with (place / "pyproject.toml").open("a") as file:
        file.write("\n[tool.mutmut]\n" + "".join(lines))


def ends_of(place: Path) -> dict[str, int | None]:
    """What each mutant's tests ended with, by the mutant's name."""
    found: dict[str, int | None] = {}
    for meta in sorted((place / "mutants" / "src").rglob("*.meta")):
        found |= json.loads(meta.read_text())["exit_code_by_key"]
    return found


def tally(name: str, place: Path) -> Tally:
    """What came of the mutants in a place."""
    found = Tally(name)
    waived = {(one["file"], one["before"], one["after"]) for one in tomllib.loads(EQUIVALENT.read_text())["mutant"]}
    before = Path.cwd()
    os.chdir(place)
    try:
        for mutant, code in ends_of(place).items():
            if code not in SURVIVED:
                if code is not None:  # with --only, the others are left out
                    found.ends[KILLED.get(code, "crashed")] += 1
                continue
            change = changed(mutant)
            if change in waived:
                found.ends["equivalent"] += 1
            else:
                found.ends[SURVIVED[code]] += 1
                found.survivors.append((mutant, f"{change[0]}\n    - {change[1]}\n    + {change[2]}"))
    finally:
        os.chdir(before)
    return found


def changed(mutant: str) -> tuple[str, str, str]:
    """The file that a mutant is of, and its line before and after."""
    from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant  # noqa: PLC0415 - an extra of its own

    lines = get_diff_for_mutant(mutant, path=find_mutant(mutant).path).splitlines()[2:]
    sides = [" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"]
    module = mutant.removeprefix("partita.").rpartition(".")[0]
    return f"{module.replace('.', '/')}.py", sides[0], sides[1]


def show(tallies: list[Tally]) -> None:
    """Print the survivors, then a row for each room."""
    for one in tallies:
        for mutant, change in one.survivors:
            print(f"{mutant}\n  {change}")
    rows = [one.row() for one in tallies]
    print("".join(f"{column:>11}" for column in rows[0]))
    for row in rows:
        print("".join(f"{value:>11}" for value in row.values()))


if __name__ == "__main__":
    sys.exit(main())
