"""What docs/limits.md promises is what the code has: each limit, and its default."""

import re
from dataclasses import asdict
from pathlib import Path

from partita import Limits
from partita.runtime.settings import LIMITS_PREFIX

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
ROWS = re.findall(r"(?m)^\| ([a-z_]+) \| ([\d,.]+) \|", PAGE)


def test_the_page_lists_every_limit_once_with_its_default() -> None:
    assert {name: float(default.replace(",", "")) for name, default in ROWS} == asdict(Limits())
    assert len(ROWS) == len(asdict(Limits()))


def test_the_examples_set_limits_that_there_are() -> None:
    (block,) = re.findall(r"(?s)```toml\n\[limits\]\n(.*?)```", PAGE)
    named = re.findall(rf"{LIMITS_PREFIX}([A-Z_]+)=|Limits\(([a-z_]+)=", PAGE) + re.findall(r"(?m)^(\w+) =", block)

    names = {"".join(one).lower() for one in named}
    assert names <= set(asdict(Limits()))
    assert len(names) == 3
