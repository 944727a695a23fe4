"""Bugs planted on purpose in a process that is to be killed: a harness that misses one of them proves nothing."""

from collections.abc import Callable
from threading import Event

from partita.choreography import dispatch, handling
from partita.clock import SystemClock
from partita.messages.answers import Delivery
from partita.store.port import Unit
from partita.store.sqlite import writer
from partita.store.sqlite.lanes import ThreadLane

LATE_S = 0.02


def plant(bug: str) -> None:
    """Put it in place."""
    BUGS[bug]()


def _answer_before_commit() -> None:
    def decide(self: ThreadLane, units: list[Unit]) -> None:
        writer._COMMIT = "select 1"
        answers = self._executor.commit(units)
        writer._COMMIT = "commit"
        self._tell(units, answers)
        Event().wait(LATE_S)
        if self._executor.connection.in_transaction:
            self._executor.connection.execute("commit")

    ThreadLane._decide = decide  # type: ignore[method-assign]


def _fresh_key() -> None:
    original, clock = handling.delivery_of, SystemClock()

    def delivery_of(attempted: handling.Handling) -> Delivery:
        found = original(attempted)
        return Delivery(clock.new_id(), found.case, found.attempt, found.causes)

    dispatch.delivery_of = handling.delivery_of = delivery_of


BUGS: dict[str, Callable[[], None]] = {
    "answer before commit": _answer_before_commit,
    "a fresh key for each attempt": _fresh_key,
}
