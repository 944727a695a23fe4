"""What `import partita` promises: every name it shows, and nothing heavy behind it."""

import json
import subprocess
import sys
import types

import pytest

import partita
import partita.testing

HEAVY = {"apsw", "asyncpg", "cyclopts", "nats", "rich"}


@pytest.mark.parametrize("door", [partita, partita.testing], ids=lambda door: door.__name__)
def test_what_is_shown_is_sorted_and_there(door: types.ModuleType) -> None:
    assert door.__all__ == sorted(set(door.__all__))
    assert [name for name in door.__all__ if not hasattr(door, name)] == []


@pytest.mark.parametrize("door", [partita, partita.testing], ids=lambda door: door.__name__)
def test_nothing_public_is_left_out(door: types.ModuleType) -> None:
    public = {
        name
        for name, value in vars(door).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }

    assert public - set(door.__all__) == set()


def test_the_front_door_loads_neither_a_driver_nor_the_commands() -> None:
    program = "import json, sys, partita; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert HEAVY & set(json.loads(loaded)) == set()
