"""A shop in processes of their own that are killed at points, one life after another on the same store."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Timer

import msgspec

from partita.errors import PartitaError
from partita.runtime.backends import find_holder
from tests.crash import killable, points
from tests.crash.checks import Books, check_always, check_ended, open_books
from tests.crash.killable import Life

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL
PATIENCE_S = 4.0
"""How long a life may get nowhere before it is killed."""
NEW_ORDERS = 2
"""In each life: one that is shipped, and one that is refused and undone."""


class Nursery:
    """Gives birth to lives: a process that has imported everything and forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.killable"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def begin(self, life: Life) -> int:
        """Begin a life; its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(life) + b"\n")
        return self._read()

    def end(self) -> int:
        """Wait for the end of the life that was begun last; how it ended."""
        return self._read()

    def close(self) -> None:
        """No further lives."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery is gone"
        return int(line)


@contextmanager
def opened_nursery() -> Iterator[Nursery]:
    """A nursery while the block lasts."""
    nursery = Nursery()
    try:
        yield nursery
    finally:
        nursery.close()


class Tally(msgspec.Struct):
    """What came of the kills at one point in one form."""

    kills: int = 0
    duplicates: int = 0
    wrong: list[str] = msgspec.field(default_factory=list[str])


@dataclass
class Victim:
    """One shop, and all that it lived through."""

    nursery: Nursery
    folder: Path
    form: str
    plant: str = ""
    pages: int = 0
    orders: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict[str, Tally])
    last_s: float = 0.0
    """How long the last life took to bring every case to its end."""
    _duplicates: int = 0
    _last: Tally | None = None

    def kill_at(self, point: str, nth: int) -> bool:
        """Live until the n-th pass of a point; whether it came to that."""
        self.orders += NEW_ORDERS
        elsewhere = self.orders if point == points.ANSWERING else 0
        self.nursery.begin(self.life(elsewhere=elsewhere, point=point, nth=nth))
        if elsewhere:
            asyncio.run(self._order_elsewhere(elsewhere))
        killed = self._is_killed()
        assert not killed or (self.folder / killable.KILLED).read_text() == point
        return self._count(point, killed=killed)

    def kill_after(self, delay_s: float) -> bool:
        """Live for so long at most; whether it was killed before its end."""
        self.orders += NEW_ORDERS
        process = self.nursery.begin(self.life())
        Event().wait(delay_s)
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        return self._count(ANYWHERE, killed=self._is_killed())

    def live_under(self, trouble: str, number: int) -> int:
        """Live on a machine that is not well, for a while at most; how it ended."""
        self.orders += NEW_ORDERS
        process = self.nursery.begin(self.life(trouble=trouble, number=number))
        killing = Timer(PATIENCE_S, os.kill, (process, signal.SIGKILL))
        killing.start()
        try:
            return self.nursery.end()
        finally:
            killing.cancel()
            killing.join()

    def end(self) -> list[str]:
        """Live to the end; what is wrong then."""
        self.nursery.begin(self.life())
        assert not self._is_killed()
        self.last_s = float((self.folder / "ended").read_text().splitlines()[-1])
        books = self.books()
        self._blame_last(books)
        return check_ended(books)

    def _is_killed(self) -> bool:
        ended = self.nursery.end()
        assert ended in {0, KILLED}, self.complaint()
        return ended == KILLED

    def _count(self, point: str, *, killed: bool) -> bool:
        books = self.books()
        self._blame_last(books)
        if killed:
            self._last = self.tallies.setdefault(point, Tally())
            self._last.kills += 1
            self._last.wrong += check_always(books)
        return killed

    def _blame_last(self, books: Books) -> None:
        """What is asked for again in one life, the kill before it is the cause of."""
        if self._last is not None:
            self._last.duplicates += books.duplicates - self._duplicates
        self._duplicates = books.duplicates

    def books(self) -> Books:
        """Read a copy: looking changes nothing."""
        copy = self.folder / "copy"
        copy.mkdir(exist_ok=True)
        for name in (killable.STORE, f"{killable.STORE}-wal", killable.LEDGER, killable.ACKNOWLEDGED):
            (copy / name).unlink(missing_ok=True)
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, copy / name)
        return open_books(self.form, copy, self.orders)

    def complaint(self) -> str:
        """What the last life said of its own end."""
        path = self.folder / killable.COMPLAINT
        return path.read_text() if path.exists() else "it said nothing"

    def life(self, *, elsewhere: int = 0, point: str = "", nth: int = 1, trouble: str = "", number: int = 0) -> Life:
        """What its next process is to do."""
        return Life(
            form=self.form,
            folder=os.fspath(self.folder),
            orders=self.orders,
            elsewhere=elsewhere,
            point=point,
            nth=nth,
            pages=self.pages,
            trouble=trouble,
            number=number,
            plant=self.plant,
        )

    async def _order_elsewhere(self, number: int) -> None:
        """A customer in another process: one try, and whoever asks is killed before it can answer."""
        store = self.folder / killable.STORE
        async with asyncio.timeout(20):
            while (holder := find_holder(store)) is None or not holder.socket.is_socket():
                await asyncio.sleep(0.002)
        async with killable.FORMS[self.form].client(store) as client:
            with suppress(PartitaError, ConnectionError):
                await client.emit(killable.Placed(order_id=str(number)), key=killable.key_of(number))
                killable.append(self.folder / killable.ACKNOWLEDGED, killable.key_of(number))


ANYWHERE = "anywhere, by time"


def points_of(form: str) -> list[str]:
    """The points that exist in a form; the migration comes first, since it comes once."""
    return [point for point in points.POINTS if form != "choreography" or point not in points.OF_RUNS]


def as_table(tallies: dict[str, dict[str, Tally]]) -> list[str]:
    """Point × form: kills, raw duplicates, what is wrong."""
    forms: Sequence[str] = list(killable.FORMS)
    lines = [f"{'kills, raw duplicates, wrong':<36}" + "".join(f"{form:>18}" for form in forms)]
    for point in (*points.POINTS, ANYWHERE):
        cells = (tallies.get(form, {}).get(point) for form in forms)
        said = (f"{cell.kills} {cell.duplicates} {len(cell.wrong)}" if cell else "-" for cell in cells)
        lines.append(f"{point:<36}" + "".join(f"{one:>18}" for one in said))
    every = [tally for of_form in tallies.values() for tally in of_form.values()]
    kills, duplicates = sum(tally.kills for tally in every), sum(tally.duplicates for tally in every)
    wrong = sum(len(tally.wrong) for tally in every)
    return [*lines, f"{kills} kills, {duplicates} raw duplicates, {wrong} wrong"]
