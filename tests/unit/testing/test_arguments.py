"""What the harness is asked: a proof of nothing is refused, and so is what would be left out in silence."""

import sys

import pytest

from partita.testing import simulate, truth


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], of: object, words: list[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["it", *words])
    with pytest.raises(SystemExit) as ended:
        (simulate if of == "simulate" else truth).main()
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("of", ["simulate", "truth"])
@pytest.mark.parametrize("word", ["--seeds", "--workers"])
@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_proof_of_nothing_is_refused(
    of: str, word: str, number: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capsys, of, [f"{word}={number}"])

    assert said.endswith(f"argument {word}: {number} is not 1 or more")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "nope"], "argument --kind: invalid choice: 'nope'"),
        (["--kind", "bug", "--form", "choreography"], "does not come in that form: nothing would be asked"),
    ],
)
def test_no_row_of_the_table_is_no_table(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(monkeypatch, capsys, "truth", words)


def test_a_seed_is_needed_to_make_it_small(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "name it with --seed" in refused(monkeypatch, capsys, "simulate", ["--shrink"])


@pytest.mark.parametrize("word", ["--seeds", "--first", "--workers"])
def test_one_seed_is_not_many(word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(monkeypatch, capsys, "simulate", ["--seed", "1", word, "2"])

    assert said.endswith(f"--seed is one seed, and {word} is for many: leave one of them out")
