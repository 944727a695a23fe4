"""Each test of this folder adds to one summary; the run ends with it."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from tests.crash.report import PROPERTY, Summary, as_lines, gather


@pytest.fixture
def summary(record_property: Callable[[str, Any], None]) -> Iterator[Summary]:
    """What this test adds to the summary, also where it fails."""
    summary = Summary()
    yield summary
    record_property(PROPERTY, msgspec.to_builtins(summary))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    said = (getattr(report, "user_properties", ()) for report in reports)
    lines = as_lines(gather(value for pairs in said for name, value in pairs if name == PROPERTY))
    if lines:
        terminalreporter.section("crash")
        for line in lines:
            terminalreporter.write_line(line)
