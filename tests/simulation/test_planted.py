"""The simulation is tested by bugs planted in the core: a proof that cannot fail is worth nothing."""

import pytest

from partita.testing.simulation import simulate
from tests.simulation.planted import PLANTED, RARE, Plant

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found_within_200_seeds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert find(200) is not None


@pytest.mark.slow
@pytest.mark.parametrize("plant", RARE, ids=lambda plant: plant.__name__)
def test_a_rare_planted_bug_is_found_within_10000_seeds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert find(10_000) is not None


def find(seeds: int) -> int | None:
    """The first seed that something is wrong with."""
    return next((seed for seed in range(1, seeds + 1) if simulate(seed).wrong), None)
