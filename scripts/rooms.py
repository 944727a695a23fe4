"""The rooms measured most closely: which files they are of, and which tests are to notice a lie in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src" / "partita"


@dataclass(frozen=True, slots=True)
class Room:
    """Files of one kind of work, and the tests that know them best."""

    sources: tuple[str, ...]
    """Below `src/partita`; `*` for all."""
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Tests too slow to be asked about each mutant: they look the same way again many times over, or elsewhere."""

    def files(self) -> list[Path]:
        """The files that there are."""
        return sorted(path for pattern in self.sources for path in SOURCES.glob(pattern))


ROOMS = {
    "store": Room(
        ("store/*.py", "store/sqlite/*.py"),
        ("tests/unit/store", "tests/conformance", "tests/unit/cli/test_doctor.py"),
        (
            "tests/unit/store/test_crash.py",  # these look at processes of their own, which know of no mutant
            "tests/unit/store/test_patience.py::test_python_that_never_ends_ends_the_process_with_its_stack",
            "tests/unit/store/test_lock.py::test_one_process_at_a_time_holds_a_store_and_is_named",
        ),
    ),
    "replay": Room(
        ("orchestration/replay.py", "orchestration/run.py", "orchestration/ledger.py", "orchestration/history.py"),
        ("tests/unit/orchestration",),
        (
            "tests/unit/orchestration/test_interleavings.py",
            "tests/unit/orchestration/test_asyncio.py::test_asyncio_keeps_its_order_in_another_process",
        ),
    ),
    "dispatch": Room(
        (
            "choreography/dispatch.py",
            "choreography/handling.py",
            "choreography/lanes.py",
            "choreography/places.py",
            "choreography/policy.py",
            "choreography/relay.py",
        ),
        ("tests/unit/choreography",),
    ),
    "fold": Room(("monitor/fold.py", "monitor/state.py"), ("tests/unit/monitor",)),
    "verdicts": Room(("monitor/verdict.py",), ("tests/unit/monitor",)),
}
