"""Finding: what is near a name that is none, and where a mistake in an app stands."""

import sys
from pathlib import Path

import pytest

from partita.cli.opening import load, near_case
from partita.errors import Rejected
from partita.runtime.settings import Settings

CASES = ["order:1234", "order:a b", "return:77", "trip:12345"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("order:1235", "Did you mean order:1234?"),
        ("order:a-b", "Did you mean 'order:a b'?"),
        ("order:-x", ""),
        ("ordr:1234", "Did you mean order:1234?"),
        ("1235", "Did you mean 12345?"),
        ("nothing", ""),
    ],
)
def test_the_nearest_case_is_one_that_is_near_and_as_it_is_typed(name: str, said: str) -> None:
    assert near_case(name, CASES) == said


def test_a_mistake_is_told_by_the_users_line_not_by_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    module = f"waits_{tmp_path.name}"
    path = tmp_path / f"{module}.py"
    path.write_text(
        "import json\nfrom partita import App, Case, Event, receive, workflow\nfrom typing import Annotated\n"
        "class A(Event):\n    i: Annotated[str, Case('x')]\n"
        "@workflow(starts_on=A)\nasync def w(e: A) -> None:\n    await receive(int)\n"
        "app = App('a', workflows=[w])\n"
    )

    with pytest.raises(Rejected) as error:
        load(Settings(tmp_path / "a.db", f"{module}:app", "", "", tmp_path))

    assert error.value.why.endswith(f"({path}, line 9)")
