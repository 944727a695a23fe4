"""A small run of the whole system in which every commit in turn fails before, fails after, or loses its answer.

The n-th commit of the run meets its fate, for n from 1 until the run ends by itself; then everything is checked.
"""

import logging
from collections import Counter
from collections.abc import Iterator

import pytest
from typing_extensions import override

from partita.testing import system
from partita.testing.chaos import Chaos
from partita.testing.customers import Customers
from partita.testing.forms import FORMS
from partita.testing.life import CommitRates, Life
from partita.testing.outside import Plan, Rates
from partita.testing.people import People
from partita.testing.simulation import Report, Simulation
from partita.testing.subject import Subject
from partita.testing.wire import WireRates
from tests.crash.report import Summary

pytestmark = pytest.mark.crash
FATES = {
    "lost_before": "it fails, and the store says that it does not know",
    "lost_after": "it stands, and the store says that it does not know",
    "crash_before": "the process dies before it",
    "crash_after": "the process dies before it has answered",
}
PLANS = {"o1": Plan(), "o2": Plan(large=True, refused=True), "o3": Plan(declined=True, gift=True)}
IN_TEST, IN_FULL = 7, 1
"""Of so many commits in turn, one is tried."""


class Counted(Life):
    """A life whose n-th commit, counted over all lives of a run, meets its fate."""

    left = 0
    fate = ""

    @override
    def at_commit(self, units: int) -> str:
        Counted.left -= 1
        if Counted.left:
            return "pass"
        self.committing = True
        self.setting.note(self.fate, f"commit of {units} units")
        self.committing = False
        if self.fate.startswith("crash"):
            self.setting.loop.call_soon(self.die, "killed at a commit")
        return self.fate


class SmallRun(Simulation):
    """Three orders, a manager, evictions; nothing fails but what is asked for."""

    def __init__(self, form: str) -> None:
        super().__init__(1)
        self.subject = Subject(form, FORMS[form], (), frozenset(), [Customers(PLANS)], PLANS)
        setting = self._setting
        setting.app = FORMS[form]
        setting.wire, setting.commits = WireRates(), CommitRates()
        setting.thread_s = setting.disk_s = 0.0
        self.system.lost_replies = self.system.others = self.system.deploys = self.system.retires = 0.0
        self.system.set_back = 0.0
        self.system.outside.rates = Rates()
        self.system.outside.plans = PLANS
        self.people = People(self.system, self.subject.parties)
        self.chaos = Chaos(self.system, {"evict": 1.0}, every_s=1.0)


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(system, "Life", Counted)
    yield
    logging.getLogger("partita").setLevel(logging.NOTSET)


@pytest.mark.parametrize("form", list(FORMS))
def test_any_commit_may_fail_and_nothing_is_lost(form: str, summary: Summary) -> None:
    fail_in_turn(form, summary, every=IN_TEST)


@pytest.mark.slow
@pytest.mark.parametrize("form", list(FORMS))
def test_every_commit_in_turn_fails_and_nothing_is_lost(form: str, summary: Summary) -> None:
    fail_in_turn(form, summary, every=IN_FULL)


def fail_in_turn(form: str, summary: Summary, *, every: int) -> None:
    for index, fate in enumerate(FATES):
        number, found = 1 + index % every, Counter[str]()
        while (report := run_with(form, fate, number)).faults[fate]:
            assert report.wrong == [], f"{form}: commit {number} {fate}"
            found["commits failed"] += 1
            number += every
        assert report.wrong == [], f"{form}, undisturbed"
        assert found["commits failed"] * every > 30, "it ended before anything had happened"
        summary.count(f"{fate}: {FATES[fate]}", found)


def run_with(form: str, fate: str, number: int) -> Report:
    Counted.left, Counted.fate = number, fate
    return SmallRun(form).run()


def test_a_store_that_takes_a_failed_commit_for_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: everything is rolled back, and everybody is told that it is taken."""
    monkeypatch.setattr(Counted, "at_commit", _drop_in_silence)
    assert any(run_with("choreography", "lost_before", number).wrong for number in range(1, 60, 6))


def _drop_in_silence(self: Counted, units: int) -> str:
    Counted.left -= 1
    if not Counted.left:
        executor = self.store._executor
        executor.connection.execute("rollback")
        executor.connection.execute("begin immediate")
        self.setting.note(self.fate, f"commit of {units} units")
    return "pass"
