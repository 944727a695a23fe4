"""Ten thousand programs of asyncio's primitives: a run, live and rebuilt, makes of them what a plain loop does."""

from collections import Counter

import pytest

from tests.simulation.interleaving import Disagreement, play
from tests.simulation.planted_interleavings import PLANTED, Plant
from tests.simulation.programs import OPS

pytestmark = [
    pytest.mark.simulation,
    # Where a run is let go in the midst of a `finally`, nothing of what that would begin is begun.
    pytest.mark.filterwarnings("ignore:coroutine 'Walk.walk' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SEEDS = 10_000
CHUNK = 500
MET_MIN = 25
"""How often each primitive, each kind of fact and each end is met in every chunk."""
KINDS = ("handled", "stepped", "child ended", "received", "fired", "cancel asked")
ENDS = ("returned", "cancelled", "raised", "open")


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_a_program_does_in_a_run_what_it_does_on_a_plain_loop_and_again_on_replay(first: int) -> None:
    met, ends = Counter[str](), Counter[str]()
    for seed in range(first, first + CHUNK):
        try:
            played = play(seed)
        except Exception as error:
            error.add_note(f"seed {seed}: python -m tests.simulation.interleaving --seed {seed}")
            raise
        met += played.met
        ends[played.end] += 1

    assert {name: met[name] for name in (*OPS, *KINDS) if met[name] < MET_MIN} == {}
    assert {end: ends[end] for end in ENDS if ends[end] < MET_MIN} == {}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_bug_planted_in_a_runs_loop_is_found_within_1000_seeds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    with pytest.raises(Disagreement, match=PLANTED[plant]):
        find(1_000)


def find(seeds: int) -> None:
    for seed in range(1, seeds + 1):
        play(seed)
