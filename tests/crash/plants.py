"""Bugs planted on purpose in a process that is to be killed: a harness that misses one of them proves nothing."""

import itertools
from collections.abc import Callable

from partita.choreography import dispatch, handling
from partita.clock import SystemClock
from partita.messages.answers import Delivery
from partita.store.sqlite import writer

AT_ONCE = 40


def plant(bug: str) -> None:
    """Put it in place."""
    BUGS[bug]()


def _answer_before_commit() -> None:
    """So many transactions are one, which is committed when the next one begins."""
    writer._COMMIT = "select 1"
    begin = writer.Executor._begin
    begun = itertools.count()

    def begin_late(self: writer.Executor) -> None:
        if self.connection.in_transaction:
            if next(begun) % AT_ONCE:
                self._committed = self._tail
                return
            self.connection.execute("commit")
        begin(self)

    writer.Executor._begin = begin_late  # type: ignore[method-assign]


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
