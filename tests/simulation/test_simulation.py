"""Seeded simulations of the whole system: whatever goes wrong on the way, every checker agrees with the end."""

import os
import subprocess
import sys

import pytest

from partita.testing.simulate import Sum
from partita.testing.simulation import Report, simulate

pytestmark = pytest.mark.simulation
CHUNK = 50
CHUNKS = 40
FORMS = {"choreography", "orchestration", "hybrid", "webs", "webs with workflows"}
FAULTS = {
    "crash_after", "crash_before", "death", "delay", "deploy", "double", "drop", "evict", "evict later", "leap",
    "left request", "look", "lost reply", "lost_after", "lost_before", "pause", "restart", "retire", "rubbish",
    "set back", "stall", "trouble",
}  # fmt: skip
"""Every kind of thing that can go wrong."""
LINES_SHOWN = 80


@pytest.mark.parametrize("first", range(1, 1 + CHUNK * CHUNKS, CHUNK))
def test_every_checker_agrees_with_the_end_of_every_seed(first: int) -> None:
    for seed in range(first, first + CHUNK):
        report = simulate(seed)
        assert not report.wrong, explain(report)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100_000, 110_000, 500))
def test_every_checker_agrees_with_the_end_of_ten_thousand_more(first: int) -> None:
    for seed in range(first, first + 500):
        report = simulate(seed)
        assert not report.wrong, explain(report)


def test_a_seed_meets_many_faults_and_every_fault_and_form_is_met() -> None:
    total = Sum()
    for seed in range(1, 201):
        total.add(simulate(seed))

    assert total.faults.total() / total.seeds >= 20
    assert total.faults.keys() == FAULTS
    assert total.forms.keys() == FORMS
    assert total.lives / total.seeds > 3
    assert len(total.covered.steps) > 1_000


def test_the_trace_of_a_seed_is_the_same_in_every_process() -> None:
    shop, webs = ([print_trace(seed=seed, hash_seed=hash_seed) for hash_seed in (1, 2)] for seed in (7, 8))

    assert shop[0] == shop[1]
    assert "published Placed" in shop[0]
    assert webs[0] == webs[1]
    assert "published Begun" in webs[0]


def test_a_trace_changes_nothing() -> None:
    plain, traced = simulate(11), simulate(11, trace=True)

    assert (plain.facts, plain.lives, plain.faults) == (traced.facts, traced.lives, traced.faults)


def print_trace(*, seed: int, hash_seed: int) -> str:
    command = [sys.executable, "-m", "partita.testing.simulate", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def explain(report: Report) -> str:
    """The seed, what is wrong, and the end of a trace that a person can read."""
    lines = simulate(report.seed, trace=True).lines[-LINES_SHOWN:]
    wrong = "\n".join(report.wrong)
    return (
        f"seed {report.seed} ({report.form})\n{wrong}\n\nmake -s simulate SEED={report.seed} ARGS=--shrink\n\n"
        + "\n".join(lines)
    )
