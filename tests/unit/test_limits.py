"""Limits: who may move them, what moves nothing, and for how long they hold."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from partita.errors import DefinitionError, Rejected
from partita.limits import LIMITS, Limits, in_force
from partita.runtime.settings import find_limits


@pytest.fixture(autouse=True)
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a partita.toml above it."""
    monkeypatch.chdir(tmp_path)


def configure(text: str) -> None:
    Path("partita.toml").write_text(text)


def test_without_anything_the_defaults_hold() -> None:
    assert find_limits(Limits()) == Limits()


@pytest.mark.parametrize("name", asdict(Limits()))
def test_each_limit_can_be_set_in_the_app_in_the_file_and_in_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(getattr(Limits(), name))
    apart = {"writer_dead_s": 100, "turn_dead_s": 100, name: 11}
    said: dict[str, Any] = {key: type(getattr(Limits(), key))(value) for key, value in apart.items()}

    assert getattr(find_limits(Limits(**said)), name) == 11
    configure(f"[limits]\nwriter_dead_s = 200\nturn_dead_s = 200\n{name} = 12\n".replace(f"{name} = 200\n", ""))
    assert getattr(find_limits(Limits(**said)), name) == 12
    monkeypatch.setenv(f"PARTITA_LIMITS_{name.upper()}", "13")
    found = find_limits(Limits(**said))
    assert (getattr(found, name), kind(13)) == (13, 13)
    with in_force(found):
        assert getattr(LIMITS, name) == 13
    assert asdict(LIMITS) == asdict(Limits())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nhistory_fact_max = 1", "limits.history_fact_max is no limit\nDid you mean history_facts_max?"),
        ("[limits]\nhistory_facts_max = '1'", "limits.history_facts_max is '1', not a whole number"),
        ("[limits]\nhistory_facts_max = 1.5", "limits.history_facts_max is 1.5, not a whole number"),
        ("[limits]\nhistory_facts_max = true", "limits.history_facts_max is True, not a whole number"),
        ("[limits]\nrun_idle_s = '1m'", "limits.run_idle_s is '1m', not a number of seconds"),
        ("[limits]\nrun_idle_s = nan", "limits.run_idle_s is nan\nA limit is above 0, and finite."),
        ("[limits]\nrun_idle_s = inf", "limits.run_idle_s is inf\n"),
        ("[limits]\nkey_bytes_max = 0", "limits.key_bytes_max is 0\n"),
        ("[limits]\nnesting_max = 501", "limits.nesting_max is 501\nAt most 500"),
        (
            "[limits]\nwriter_dead_s = 0.5",
            "limits.writer_interrupt_s = 1, limits.writer_dead_s = 0.5: each has to come",
        ),
        ("limits = 3", "limits is 3, not a table\nWrite [limits]"),
    ],
)
def test_what_can_be_no_limit_is_refused_and_named(text: str, said: str) -> None:
    configure(text)

    with pytest.raises(Rejected) as error:
        find_limits(Limits())

    assert said in str(error.value)


def test_an_environment_that_can_be_no_limit_is_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTITA_LIMITS_THREADS_MAX", "many")

    with pytest.raises(Rejected, match=r"^PARTITA_LIMITS_THREADS_MAX: limits.threads_max is 'many'"):
        find_limits(Limits())


def test_two_apps_in_one_process_share_their_limits_or_are_refused() -> None:
    ours, others = Limits(threads_max=3), Limits(threads_max=4)
    with in_force(ours):
        with in_force(replace(ours)):
            assert LIMITS.threads_max == 3
        assert LIMITS.threads_max == 3
        with pytest.raises(DefinitionError, match="under other limits: threads_max\n"), in_force(others):
            pass
    assert LIMITS.threads_max == Limits().threads_max
