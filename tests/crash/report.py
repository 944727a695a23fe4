"""What the harness has done to the store, as a table and as JSON for whoever compares two runs."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.crash.victim import Tally, as_table

PROPERTY = "crash"


class Summary(msgspec.Struct):
    """What one test adds: kills by form and point, and everything else by what it is about."""

    kills: dict[str, dict[str, Tally]] = {}
    counts: dict[str, dict[str, int]] = {}
    """Under what was done, how often each thing came of it."""

    def add_kills(self, form: str, tallies: dict[str, Tally]) -> None:
        """Add the kills of one shop."""
        mine = self.kills.setdefault(form, {})
        for point, tally in tallies.items():
            known = mine.setdefault(point, Tally())
            known.kills += tally.kills
            known.duplicates += tally.duplicates
            known.wrong += tally.wrong

    def count(self, what: str, found: Counter[str]) -> None:
        """Add what came of something."""
        mine = Counter(self.counts.get(what, {}))
        mine.update(found)
        self.counts[what] = dict(mine)


def gather(found: Iterable[Any]) -> Summary:
    """All that the tests have said."""
    whole = Summary()
    for one in found:
        summary = msgspec.convert(one, Summary)
        for form, tallies in summary.kills.items():
            whole.add_kills(form, tallies)
        for what, counts in summary.counts.items():
            whole.count(what, Counter(counts))
    return whole


def as_lines(summary: Summary) -> list[str]:
    """For a person, then one line for a program."""
    lines = as_table(summary.kills) if summary.kills else []
    for what, counts in summary.counts.items():
        lines.append(f"{what}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    said = {
        "kills": {form: {point: tally.kills for point, tally in of.items()} for form, of in summary.kills.items()},
        "wrong": sum(len(tally.wrong) for of in summary.kills.values() for tally in of.values()),
        "counts": summary.counts,
    }
    return [*lines, msgspec.json.encode(said).decode()] if lines else []
