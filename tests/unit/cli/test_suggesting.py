"""Suggested commands: as they can be typed where they are read, alone or in a sentence."""

from pathlib import Path

import pytest

from partita.cli.suggesting import Mends, as_typed, meant_by

MENDS = Mends(looking=" --store a.db", acting=" --store a.db --run", dev="partita dev shop:app --store a.db")


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PARTITA_STORE", "PARTITA_APP"):
        monkeypatch.delenv(name, raising=False)


def test_what_mends_is_completed_so_that_it_works_where_it_is_read() -> None:
    mends = Mends(looking=" --store a.db", acting=" --store a.db --run", dev="partita dev shop:app")

    assert mends.complete("partita group resume shipping") == "partita group resume shipping --store a.db --run"
    assert mends.complete("partita dead redrive m1/billing") == "partita dead redrive m1/billing --store a.db --run"
    assert mends.complete("partita show order:1") == "partita show order:1 --store a.db"
    assert mends.complete("partita dead list") == "partita dead list --store a.db"
    assert mends.complete("partita dev") == "partita dev shop:app"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            """Send it: partita signal order:1 Ship '{"note": "a; b"}'""",
            """Send it: partita signal order:1 Ship '{"note": "a; b"}' --store a.db --run""",
        ),
        (
            "Mend the code, then: partita retry order:1; then cancel it.",
            "Mend the code, then: partita retry order:1 --store a.db --run; then cancel it.",
        ),
        ("`partita dead list` has them.", "`partita dead list --store a.db` has them."),
        ("`partita dev MODULE:APP` makes one.", "`partita dev shop:app --store a.db` makes one."),
        ("It is: partita dev x:y --store b.db", "It is: partita dev x:y --store b.db"),
        ("What it has: partita flow --declared", "What it has: partita flow --declared --store a.db"),
        ("See: partita emit --help", "See: partita emit --help"),
        ("Use the partita command or Client.", "Use the partita command or Client."),
        ("", ""),
    ],
)
def test_a_command_in_a_sentence_is_completed_too(text: str, said: str) -> None:
    assert MENDS.complete_in(text) == said


def test_what_is_said_twice_is_completed_once() -> None:
    once = MENDS.complete_in("Look at it: partita show order:1")

    assert MENDS.complete_in(once) == once


@pytest.mark.parametrize("words", [["--store", "po/a b.db"], ["--store=po/a b.db"]])
def test_an_errors_commands_mean_the_store_of_the_command_that_failed(words: list[str]) -> None:
    mends = meant_by(["emit", "Ship", "{}", *words, "--app", "shop:app", "--run"])

    assert mends.complete("partita ps") == "partita ps --store 'po/a b.db' --app shop:app"
    assert mends.complete("partita retry a:1") == "partita retry a:1 --store 'po/a b.db' --app shop:app --run"
    assert mends.complete("partita dev MODULE:APP") == "partita dev shop:app --store 'po/a b.db'"


def test_dev_names_its_app_without_a_flag() -> None:
    assert meant_by(["dev", "shop:app"]).complete("partita dev MODULE:APP") == "partita dev shop:app"


def test_a_command_has_the_path_of_this_program_where_its_name_alone_finds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv" / "bin" / "partita"), "ps"])
    monkeypatch.setenv("PATH", "")

    assert as_typed("partita ps --limit 2") == ".venv/bin/partita ps --limit 2"
    assert Mends().complete_in("List them with: partita ps") == "List them with: .venv/bin/partita ps"
