"""`python -m partita.testing.simulate`: many seeds with their figures, or one seed with its trace."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from os import cpu_count
from time import perf_counter  # noqa: TID251 - it measures how many seeds a second are simulated

from partita.testing.simulation import Report, simulate

CHUNK = 25


def main() -> int:
    """Run what the command line asks for; 1 where a seed has failed."""
    parser = argparse.ArgumentParser(prog="partita.testing.simulate", description="Simulate the whole system, by seed.")
    parser.add_argument("--seed", type=int, help="one seed: its trace alone")
    parser.add_argument("--seeds", type=int, default=200, help="how many (200)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (1)")
    parser.add_argument("--workers", type=int, default=cpu_count() or 1, help="how many processes")
    asked = parser.parse_args()
    if asked.seed is not None:
        return _show(simulate(asked.seed, trace=True))
    return _run_many(asked.first, asked.seeds, asked.workers)


def _show(report: Report) -> int:
    _print(*report.lines, *(f"WRONG {sentence}" for sentence in report.wrong))
    return 1 if report.wrong else 0


def _run_many(first: int, count: int, workers: int) -> int:
    began = perf_counter()
    chunks = [range(seed, min(seed + CHUNK, first + count)) for seed in range(first, first + count, CHUNK)]
    with ProcessPoolExecutor(max_workers=workers) as pool:
        reports = list(chain.from_iterable(pool.map(_run_chunk, chunks)))
    took = perf_counter() - began
    failed = [report for report in reports if report.wrong]
    for report in failed:
        _print(f"seed {report.seed} ({report.form}): {report.wrong[0]}")
    faults: Counter[str] = sum((report.faults for report in reports), Counter[str]())
    _print(
        f"{count} seeds in {took:.1f} s: {count / took:.1f} seeds/s, {faults.total() / count:.1f} faults,"
        f" {sum(report.facts for report in reports) / count:.0f} facts and"
        f" {sum(report.lives for report in reports) / count:.1f} lives a seed; {len(failed)} failed",
        ", ".join(f"{name} {times}" for name, times in faults.most_common()),
    )
    if failed:
        _print(f"See one: make -s simulate SEED={failed[0].seed}")
    return 1 if failed else 0


def _run_chunk(seeds: range) -> list[Report]:
    return [simulate(seed) for seed in seeds]


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    raise SystemExit(main())
