"""kill -9 of real processes on real files, at every point and in every form: they go on where they were."""

import random  # noqa: TID251 - a seeded dice that chooses which pass of a point is the last
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import killable, points
from tests.crash.report import Summary
from tests.crash.victim import Nursery, Victim, opened_nursery, points_of

pytestmark = pytest.mark.crash
SOON_S = 10.0
"""After the last kill, every case is at its end by then."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with opened_nursery() as nursery:
        yield nursery


@pytest.mark.parametrize("form", list(killable.FORMS))
def test_a_shop_that_is_killed_at_every_point_goes_on_where_it_was(
    form: str, tmp_path: Path, nursery: Nursery, summary: Summary
) -> None:
    kill_everywhere(Victim(nursery, tmp_path, form), summary, seed=len(form), passes=3, by_time=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("form", list(killable.FORMS))
def test_hundreds_of_kills_leave_nothing_undone_or_done_twice(
    form: str, seed: int, tmp_path: Path, nursery: Nursery, summary: Summary
) -> None:
    kill_everywhere(Victim(nursery, tmp_path, form), summary, seed=seed, passes=12, by_time=5)


def test_an_answer_before_its_commit_is_found(tmp_path: Path, nursery: Nursery) -> None:
    victim = Victim(nursery, tmp_path, "choreography", plant="answer before commit")
    assert victim.kill_at(points.ANSWERED, 1)

    assert any("was acknowledged, and is not there" in sentence for sentence in wrong_of(victim))


def test_an_effect_under_a_fresh_key_for_each_attempt_is_found(tmp_path: Path, nursery: Nursery) -> None:
    victim = Victim(nursery, tmp_path, "choreography", plant="a fresh key for each attempt")
    assert victim.kill_at(points.EFFECT, 1)

    assert any("was done under 2 keys" in sentence for sentence in victim.end())


def kill_everywhere(victim: Victim, summary: Summary, *, seed: int, passes: int, by_time: int) -> None:
    """Kill it at each of its points, at one of the first passes, in any order; then now and then; then let it end."""
    dice = random.Random(seed)
    first, *others = points_of(victim.form)
    assert victim.kill_at(first, dice.randint(1, 2)), "a file is brought to its format once"
    for point in dice.sample(others, len(others)):
        reach(victim, point, dice.randint(1, passes))
    for _ in range(by_time):
        victim.kill_after(dice.random() / 5)
    wrong = victim.end()
    summary.add_kills(victim.form, victim.tallies)

    assert wrong_of(victim) == []
    assert wrong == []
    assert victim.last_s < SOON_S


def reach(victim: Victim, point: str, nth: int) -> None:
    """Kill it at a point that it may pass less often than that; recovery needs something to recover."""
    while not victim.kill_at(point, max(nth, 1)):
        assert nth > 0, f"{point} is never passed"
        nth //= 2
        assert victim.kill_at(points.EFFECT, 1)


def wrong_of(victim: Victim) -> list[str]:
    return [sentence for tally in victim.tallies.values() for sentence in tally.wrong]
