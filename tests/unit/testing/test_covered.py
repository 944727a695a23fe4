"""What was covered is counted about right, and the same in whatever order it is added."""

from random import Random  # noqa: TID251 - seeded: the same every time

import pytest

from partita.testing.covered import Covered


@pytest.mark.parametrize("count", [0, 10, 1_000, 50_000, 400_000])
def test_situations_are_counted_within_three_per_cent(count: int) -> None:
    dice, covered = Random(1), Covered()
    covered.add(frozenset(), frozenset(dice.getrandbits(64) for _ in range(count)))

    assert covered.count_situations() == pytest.approx(count, rel=0.03)


def test_what_is_added_twice_counts_once() -> None:
    dice, covered, other = Random(2), Covered(), Covered()
    some = frozenset(dice.getrandbits(64) for _ in range(5_000))
    for one in (covered, other):
        one.add(frozenset({("drop", "", "published")}), some)
    before = covered.count_situations()

    covered.merge(other)

    assert covered.count_situations() == before
    assert covered.steps == {("drop", "", "published")}
