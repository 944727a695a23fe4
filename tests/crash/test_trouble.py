"""A disk that fails or is full, too few files, too little memory, a process that stands still: nothing taken is lost.

Whatever the machine does to it, a life goes on, or ends with an error that says what to do; the next one, on a machine
that is well again, brings every case to its end.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from partita.clock import US, SystemClock
from tests.crash import killable, points
from tests.crash.checks import check_always
from tests.crash.report import Summary
from tests.crash.victim import KILLED, Nursery, Victim, opened_nursery

pytestmark = pytest.mark.crash
FORMS = list(killable.FORMS)
FAILURE, UNKNOWN = 70, 75
STILL_S = 1.5
"""Longer than a charge may take, than any retry waits, and than every timer of the shop."""

WHEN = {
    "a read fails": [3, 40],
    "a write fails": [2, 9, 60, 150],
    "a sync fails": [1, 4, 12],
    "no sync works any more": [6],
    "the disk is full": [30, 90],
    "no file grows beyond so many kB": [200, 330],
    "so many files more": [2, 5, 8, 10, 12],
    "so many MB of memory more": [1, 8, 20, 60],
}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with opened_nursery() as nursery:
        yield nursery


@pytest.mark.parametrize("trouble", list(WHEN))
@pytest.mark.parametrize("form", FORMS)
def test_trouble_with_the_machine_loses_nothing(
    form: str, trouble: str, tmp_path: Path, nursery: Nursery, summary: Summary
) -> None:
    meet(Victim(nursery, tmp_path, form), trouble, WHEN[trouble], summary)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", list(WHEN))
@pytest.mark.parametrize("form", FORMS)
def test_trouble_at_any_moment_loses_nothing(
    form: str, trouble: str, tmp_path: Path, nursery: Nursery, summary: Summary
) -> None:
    meet(Victim(nursery, tmp_path, form), trouble, list(range(1, 200, 19)), summary)


@pytest.mark.parametrize("form", FORMS)
def test_a_process_that_stood_still_goes_on_and_does_nothing_twice(
    form: str, tmp_path: Path, nursery: Nursery, summary: Summary
) -> None:
    victim = Victim(nursery, tmp_path, form, orders=3)
    process = nursery.begin(victim.life())
    await_that((tmp_path / killable.LEDGER).exists)
    os.kill(process, signal.SIGSTOP)
    with opened_nursery() as other:
        other.begin(victim.life())
        assert other.end() == FAILURE, "the lock is held by whoever stands still"
        assert f"held by process {process}" in victim.complaint()
    Event().wait(STILL_S)
    os.kill(process, signal.SIGCONT)

    assert nursery.end() == 0, victim.complaint()
    assert victim.end() == []
    summary.count("processes that stood still", Counter({"ended well": 1}))


def meet(victim: Victim, trouble: str, when: list[int], summary: Summary) -> None:
    """Live under a trouble, again and again; then without it, to the end."""
    found: Counter[str] = Counter()
    assert victim.kill_at(points.EFFECT, 1), "there is something to recover, each time"
    for number in when:
        ended = victim.live_under(trouble, number)
        assert ended in {0, FAILURE, UNKNOWN, KILLED}, victim.complaint()
        if ended == FAILURE:
            assert_it_says_what_to_do(victim.complaint())
        found[{0: "went on", KILLED: "stood still"}.get(ended, "ended with what to do")] += 1
        assert check_always(victim.books()) == []
    assert victim.end() == []
    summary.count(trouble, found)


def assert_it_says_what_to_do(complaint: str) -> None:
    said = complaint.rstrip().splitlines()
    assert any(line.startswith(REMEDIES) for line in said), complaint


REMEDIES = ("Start again", "Make room", "Run `partita doctor`", "Check that", "Run it again")


def await_that(holds: Callable[[], bool], most_s: float = 20.0) -> None:
    clock = SystemClock()
    end = clock.now_us() + int(most_s * US)
    while not holds():
        assert clock.now_us() < end, "it never came to that"
        Event().wait(0.002)
