"""A failing seed is made small: what is left of it still fails with the same sentence."""

import pytest

from partita.testing.fate import Mask
from partita.testing.shrink import minimise, shape, shrink
from partita.testing.simulation import simulate
from tests.simulation.planted import dead_letter_holds_nothing, no_inbox

pytestmark = pytest.mark.simulation


LONG = 100
"""Facts of a seed that is worth making small."""


def find_failing(first: int, words: str) -> int:
    for seed in range(first, first + 200):
        report = simulate(seed)
        if report.facts > LONG and any(words in line for line in report.wrong[:1]):
            return seed
    raise AssertionError(f"no long seed fails with {words!r}")


@pytest.mark.parametrize(
    ("plant", "words"), [(no_inbox, "does not owe"), (dead_letter_holds_nothing, "took what it owed")]
)
def test_a_planted_bug_shrinks_to_a_short_trace_that_still_shows_it(
    plant: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)  # type: ignore[operator]
    seed = find_failing(1, words)
    whole = simulate(seed, trace=True)

    found = shrink(seed, runs_max=300)

    assert found is not None
    assert shape(found.report.wrong[0]) == shape(whole.wrong[0])
    assert len(found.kept) <= len(whole.struck) / 3
    assert len(found.report.lines) <= len(whole.lines) / 2


def test_a_seed_that_does_not_fail_is_not_made_small() -> None:
    assert shrink(3) is None


def test_a_mask_of_all_that_happened_changes_nothing() -> None:
    whole = simulate(8, trace=True)

    masked = simulate(8, trace=True, mask=Mask(frozenset(whole.struck)))

    assert masked.lines == whole.lines


def test_without_anything_that_may_happen_nothing_happens() -> None:
    report = simulate(8, mask=Mask(frozenset()))

    assert not report.struck
    assert not report.wrong


def test_what_is_not_needed_is_left_out() -> None:
    def fails(names: object) -> bool:
        return {"b", "g"} <= set(names)  # type: ignore[call-overload]

    assert minimise(list("abcdefgh"), fails) == ["b", "g"]
