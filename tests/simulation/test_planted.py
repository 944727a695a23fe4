"""The simulation is tested by bugs planted in the core: a proof that cannot fail is worth nothing."""

import pytest

from partita.testing.simulation import simulate
from tests.simulation.planted import PLANTED, RARE, Plant

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found_within_200_seeds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert find(PLANTED[plant], 200) is not None


@pytest.mark.slow
@pytest.mark.parametrize("plant", RARE, ids=lambda plant: plant.__name__)
def test_a_rare_planted_bug_is_found_within_10000_seeds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert find(RARE[plant], 10_000) is not None


def find(words: str, seeds: int) -> int | None:
    """The first seed of which a checker says so."""
    for seed in range(1, seeds + 1):
        if any(words in sentence for sentence in simulate(seed).wrong):
            return seed
    return None
