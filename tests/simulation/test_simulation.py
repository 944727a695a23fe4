"""Seeded simulations of the whole system: whatever goes wrong on the way, every checker agrees with the end."""

import os
import subprocess
import sys

import pytest

from partita.testing.simulation import Report, simulate

pytestmark = pytest.mark.simulation
CHUNK = 25
CHUNKS = 16
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


def test_a_seed_meets_many_faults_and_all_forms_are_met() -> None:
    reports = [simulate(seed) for seed in range(1, 31)]

    assert {report.form for report in reports} == {"choreography", "orchestration", "hybrid"}
    assert sum(report.faults.total() for report in reports) / len(reports) >= 20
    assert max(report.lives for report in reports) > 3


def test_the_trace_of_a_seed_is_the_same_in_every_process() -> None:
    traces = [print_trace(seed=7, hash_seed=hash_seed) for hash_seed in (1, 2)]

    assert traces[0] == traces[1]
    assert "published Placed" in traces[0]


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
    return f"seed {report.seed} ({report.form})\n{wrong}\n\nmake -s simulate SEED={report.seed}\n\n" + "\n".join(lines)
