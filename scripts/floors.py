"""Branch coverage of the whole and of each room, as `coverage run` has found it; fails where one is below its floor."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import coverage
from rooms import ROOMS, SOURCES

FLOOR = 95.0
COUNTED = ("num_statements", "missing_lines", "num_branches", "missing_branches")


def main() -> int:
    """Print a row for each room; 1 where one is below the floor."""
    found = measured()
    rooms = {name: room.files() for name, room in ROOMS.items()} | {"all of it": sorted(SOURCES.rglob("*.py"))}
    below = False
    print(f"{'room':<12}{'lines':>8}{'missed':>8}{'branches':>10}{'missed':>8}{'covered':>10}")
    for name, files in rooms.items():
        seen = sum((found.get(path, Counter()) for path in files), Counter[str]())
        lines, missed, branches, untaken = (seen[key] for key in COUNTED)
        covered = 100 - 100 * (missed + untaken) / (lines + branches)
        print(f"{name:<12}{lines:>8}{missed:>8}{branches:>10}{untaken:>8}{covered:>9.1f}%")
        below = below or covered < FLOOR
    return int(below)


def measured() -> dict[Path, Counter[str]]:
    """What coverage counted in each file."""
    data = coverage.Coverage()
    data.load()
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "coverage.json"
        data.json_report(outfile=str(report))
        files = json.loads(report.read_text())["files"]
    return {
        Path(name).resolve(): Counter({key: file["summary"][key] for key in COUNTED}) for name, file in files.items()
    }


if __name__ == "__main__":
    sys.exit(main())
