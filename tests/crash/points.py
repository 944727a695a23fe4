"""Points at which a process kills itself: `arm` one, and the n-th pass there is its last.

A point in the product is a wrapper around one of its functions, put there in a process that is to die and nowhere else;
one in the shop's own code is a call of `passing`.
"""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw

from partita.choreography.dispatch import Dispatch
from partita.orchestration.executor import Executor as RunExecutor
from partita.orchestration.roster import Roster
from partita.runtime import door
from partita.runtime.engine import Engine
from partita.store.sqlite import migrate, store
from partita.store.sqlite.writer import Executor
from partita.transports.embedded import EmbeddedTransport
from tests.crash import disk

CHECKPOINT_PAGES = 15


class _Armed:
    point = ""
    left = 0
    note = Path()
    inside = ""
    """What has been entered: some points count only there."""
    keeps = ExitStack()
    """What lasts as long as the process."""


def arm(point: str, nth: int, note: Path) -> None:
    """Let this process kill itself at the n-th pass of a point, and leave a note that it did."""
    _Armed.point, _Armed.left, _Armed.note = point, nth, note
    POINTS[point]()


def passing(point: str) -> None:
    """The process is at this point."""
    if point != _Armed.point:
        return
    _Armed.left -= 1
    if _Armed.left == 0:
        _Armed.note.write_text(point)
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # the kernel may let this thread go on for an instant


def _wrap(place: Any, name: str, *, before: str = "", after: str = "", inside: str = "", enters: str = "") -> None:
    """Make a function pass points; `inside` are the others that count only while it is `enters`'s turn."""
    original: Callable[..., Any] = getattr(place, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        counts = not inside or _Armed.inside == inside
        if before and counts:
            passing(before)
        was, _Armed.inside = _Armed.inside, enters or _Armed.inside
        try:
            found = original(*args, **kwargs)
        finally:
            _Armed.inside = was
        if after and counts:
            passing(after)
        return found

    setattr(place, name, wrapped)


def _at_commit() -> None:
    class AtCommit:
        def at_commit(self, units: int) -> str:
            passing("before commit")
            return "pass"

    original = Executor.__init__

    def init(self: Executor, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self._faults = AtCommit()

    Executor.__init__ = init  # type: ignore[method-assign]


def _in_recovery(name: str) -> Callable[[], None]:
    def wire() -> None:
        _wrap(Engine, "start", enters="start")
        _wrap(EmbeddedTransport, "send", before=name, after=name, inside="start")

    return wire


def _at_claims() -> None:
    for place, name in ((Dispatch, "_claim"), (RunExecutor, "_claim_steps")):
        _wrap(place, name, before=CLAIMING, after=CLAIMING)


def _mid_eviction() -> None:
    _wrap(Roster, "evict_idle", enters="eviction")
    _wrap(Roster, "close", before="mid-eviction", after="mid-eviction", inside="eviction")


def fold_back_every(pages: int) -> None:
    """Let this process fold the log back far earlier than it would, so that little runs do it too."""
    original = store.set_durable

    def set_durable(connection: apsw.Connection) -> None:
        original(connection)
        connection.execute(f"pragma wal_autocheckpoint={pages}").fetchall()

    store.set_durable = set_durable


def _in_checkpoint() -> None:
    fold_back_every(CHECKPOINT_PAGES)
    _Armed.keeps.enter_context(disk.watched(disk.Disk(_at_home)))


def _at_home(act: disk.Act) -> None:
    """In WAL mode a checkpoint writes to the file itself, and nothing else does."""
    if act.what == "write" and act.name == "shop.db":
        passing(CHECKPOINT)


def _nothing() -> None:
    """The shop's own code passes this one."""


SENDING = "in recovery: sending"
CLAIMING = "in recovery: claiming"
REBUILDING = "in recovery: rebuilding"
MIGRATION = "in migration"
CHECKPOINT = "in checkpoint"
EVICTION = "mid-eviction"
ANSWERING = "while answering another process"
ANSWERED = "after the answer"
EFFECT = "between effect and record"
COMPENSATION = "in compensation"
TRANSACTION = "in a handler's transaction"

POINTS: dict[str, Callable[[], None]] = {
    MIGRATION: lambda: _wrap(migrate, "_write_birth", before=MIGRATION, after=MIGRATION),
    "before commit": _at_commit,
    "after commit": lambda: _wrap(Executor, "_finish", after="after commit"),
    ANSWERED: _nothing,
    TRANSACTION: _nothing,
    EFFECT: _nothing,
    "before relay": lambda: _wrap(EmbeddedTransport, "send", before="before relay"),
    "after relay": lambda: _wrap(EmbeddedTransport, "send", after="after relay"),
    COMPENSATION: _nothing,
    "in recovery: start": lambda: _wrap(Engine, "start", before="in recovery: start", after="in recovery: start"),
    SENDING: _in_recovery(SENDING),
    CLAIMING: _at_claims,
    REBUILDING: lambda: _wrap(RunExecutor, "_rebuild", before=REBUILDING, after=REBUILDING),
    CHECKPOINT: _in_checkpoint,
    EVICTION: _mid_eviction,
    ANSWERING: lambda: _wrap(door, "_send", before=ANSWERING),
}
"""Each point, and what puts it in place."""

OF_RUNS = {REBUILDING, EVICTION}
"""They do not exist where there is no run."""
