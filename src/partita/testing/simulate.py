"""`python -m partita.testing.simulate`: many seeds with their figures, or one seed: its trace, or the least of it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from time import perf_counter  # noqa: TID251 - it measures how many seeds a second are simulated

from partita.testing.covered import Covered
from partita.testing.shrink import shrink
from partita.testing.simulation import Report, simulate

SEEDS = 200
CHUNK = 25
AHEAD = 8
"""Chunks in hand for each worker: nothing is held of those that are done but their sum."""
PROGRESS_S = 10.0
SHOWN_MAX = 20


@dataclass(slots=True)
class Sum:
    """What came of many seeds."""

    seeds: int = 0
    facts: int = 0
    lives: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    forms: Counter[str] = field(default_factory=Counter[str])
    failed: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    """Seed, form, and the first thing that is wrong."""
    covered: Covered = field(default_factory=Covered)

    def add(self, report: Report) -> None:
        """Add one seed."""
        self.seeds += 1
        self.facts += report.facts
        self.lives += report.lives
        self.faults += report.faults
        self.forms[report.form] += 1
        self.covered.add(report.steps, report.situations)
        if report.wrong:
            self.failed.append((report.seed, report.form, report.wrong[0]))

    def merge(self, other: Sum) -> None:
        """Add many more."""
        self.seeds += other.seeds
        self.facts += other.facts
        self.lives += other.lives
        self.faults += other.faults
        self.forms += other.forms
        self.failed += other.failed
        self.covered.merge(other.covered)


def main() -> int:
    """Run what the command line asks for; 1 where a seed has failed."""
    parser = argparse.ArgumentParser(prog="partita.testing.simulate", description="Simulate the whole system, by seed.")
    parser.add_argument("--seed", type=int, help="one seed: its trace alone")
    parser.add_argument("--shrink", action="store_true", help="with --seed: the least of it that still fails")
    parser.add_argument("--seeds", type=at_least_one, help=f"how many ({SEEDS})")
    parser.add_argument("--first", type=int, help="the first of them (1)")
    parser.add_argument("--workers", type=at_least_one, help="how many processes")
    asked = parser.parse_args()
    if asked.seed is None:
        if asked.shrink:
            parser.error("--shrink takes one seed: name it with --seed (make simulate SEED=... ARGS=--shrink)")
        first = 1 if asked.first is None else asked.first
        return _run_many(first, asked.seeds or SEEDS, asked.workers or cpu_count() or 1)
    for name in ("seeds", "first", "workers"):
        if getattr(asked, name) is not None:
            parser.error(f"--seed is one seed, and --{name} is for many: leave one of them out")
    return _shrink(asked.seed) if asked.shrink else _show(simulate(asked.seed, trace=True))


def at_least_one(text: str) -> int:
    """A count as it is typed. Nothing at all proves nothing: it is refused, lest it pass for a proof."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _show(report: Report) -> int:
    _print(*report.lines, *(f"WRONG {sentence}" for sentence in report.wrong))
    return 1 if report.wrong else 0


def _shrink(seed: int) -> int:
    found = shrink(seed)
    if found is None:
        _print(f"seed {seed} does not fail: there is nothing to make small")
        return 0
    _print(
        f"seed {seed} ({found.whole.form}): {found.report.wrong[0]}",
        f"It needs {len(found.kept)} of {len(found.whole.struck)} things that happened, found in {found.runs} runs:",
        *(f"  {name}" for name in found.kept),
        f"Left out: {', '.join(f'{kind} {count}' for kind, count in _count_kinds(found.left_out)) or 'nothing'}",
        "",
    )
    return _show(found.report)


def _count_kinds(names: list[str]) -> list[tuple[str, int]]:
    kinds = Counter(name.partition(":")[0].partition(" at ")[0] for name in names)
    return kinds.most_common()


def _run_many(first: int, count: int, workers: int) -> int:
    began = perf_counter()
    total, shown_at, shown = Sum(), began, 0
    for some in _run_chunks(first, count, workers):
        total.merge(some)
        for seed, form, sentence in total.failed[shown:SHOWN_MAX]:
            _print(f"seed {seed} ({form}): {sentence}")
        shown = max(shown, min(len(total.failed), SHOWN_MAX))
        if perf_counter() - shown_at > PROGRESS_S:
            shown_at = perf_counter()
            speed = total.seeds / (shown_at - began)
            sys.stderr.write(f"{total.seeds} of {count} seeds, {speed:.1f} seeds/s, {len(total.failed)} failed\n")
    _print(*_say_sum(total, perf_counter() - began))
    return 1 if total.failed else 0


def _run_chunks(first: int, count: int, workers: int) -> Iterator[Sum]:
    """The sums of chunks, in order, while a few more are under way."""
    chunks = (range(seed, min(seed + CHUNK, first + count)) for seed in range(first, first + count, CHUNK))
    under_way: list[Future[Sum]] = []
    with ProcessPoolExecutor(max_workers=workers) as pool:
        for chunk in chunks:
            under_way.append(pool.submit(_run_chunk, chunk))
            if len(under_way) >= AHEAD * workers:
                yield under_way.pop(0).result()
        for future in under_way:
            yield future.result()


def _run_chunk(seeds: range) -> Sum:
    some = Sum()
    for seed in seeds:
        some.add(simulate(seed))
    return some


def _say_sum(total: Sum, took: float) -> Iterator[str]:
    count, covered = max(total.seeds, 1), total.covered
    yield (
        f"{total.seeds} seeds in {took:.1f} s: {total.seeds / took:.1f} seeds/s,"
        f" {total.faults.total() / count:.1f} faults, {total.facts / count:.0f} facts"
        f" and {total.lives / count:.1f} lives a seed; {len(total.failed)} failed"
    )
    yield f"covered: {len(covered.steps)} steps after a fault, about {covered.count_situations()} situations of a case"
    yield ", ".join(f"{name} {times}" for name, times in total.forms.most_common())
    yield ", ".join(f"{name} {times}" for name, times in total.faults.most_common())
    if total.failed:
        seed = total.failed[0][0]
        yield f"See one: make -s simulate SEED={seed}; the least of it: make -s simulate SEED={seed} ARGS=--shrink"


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
