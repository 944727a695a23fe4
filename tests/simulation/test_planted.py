"""The simulation is tested by bugs planted in the core: a proof that cannot fail is worth nothing."""

import pytest

from tests.simulation.planted import PLANTED, Plant, find

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found_within_2000_seeds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert find(PLANTED[plant], 2_000) is not None
