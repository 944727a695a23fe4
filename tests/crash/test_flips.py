"""One flipped bit anywhere in a store's file or its log: the doctor names it, or nobody can read a difference."""

import random  # noqa: TID251 - a seeded dice that chooses which bit
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from partita.clock import SystemClock
from partita.errors import StoreError
from partita.runtime.backends import examine, read
from partita.store.health import Finding
from partita.store.sqlite import doctor
from partita.store.sqlite.connection import open_connection, select
from partita.testing import checkers
from tests.crash import killable, points
from tests.crash.report import Summary
from tests.crash.test_power import quick_folder
from tests.crash.victim import Nursery, Victim, opened_nursery

pytestmark = pytest.mark.crash
FORMS = list(killable.FORMS)
LOG = f"{killable.STORE}-wal"
PAGES = 70
"""In the log, at most about so many: all others are home."""
LOG_HEAD, FRAME = 32, 24 + 4096
FLIPS, FLIPS_IN_FULL = 150, 3_000
SOUND = {"file", "format", "pages", "chain", "tables"}
"""What the doctor says of the bytes; the lock and the disk are other matters."""
SEES_NOTHING: dict[str, Any] = {
    "_count_lost": lambda *_args: 0,
    "find_break": lambda *_args, **_kwargs: None,
    "_tables": lambda *_args: Finding(name="tables", well=True, said="not looked at"),
}
READ_META = "select key, value from meta where key in ('app', 'source', 'generation', 'clean', 'format')"
READ_MESSAGES = "select id, digest, seq from message order by id"
READ_TOPOLOGIES = "select version, digest, app, body from topology order by version"


@dataclass(frozen=True, slots=True)
class Killed:
    """A store that was left in a hurry: much of it is home, and much still in its log."""

    file: bytes
    log: bytes

    def lay_out(self, folder: Path) -> Path:
        for path in folder.iterdir():
            path.unlink()
        (folder / killable.STORE).write_bytes(self.file)
        (folder / LOG).write_bytes(self.log)
        return folder / killable.STORE

    def flip(self, dice: random.Random) -> "Killed":
        """The same with one bit flipped, in the file, in the log, or behind its end.

        Not in the last commit: that can't be told from one that power failed in, and nobody had been told of.
        """
        if not self.log or dice.random() < 0.3:
            return replace(self, file=flipped(self.file, dice))
        start, end = self.last_commit()
        before, last, after = self.log[:start], self.log[start:end], self.log[end:]
        if not after or dice.random() < 0.8:
            return replace(self, log=flipped(before, dice) + last + after)
        return replace(self, log=before + last + flipped(after, dice))

    def brought_home(self, folder: Path) -> "Killed":
        """The same with nothing in its log."""
        path = self.lay_out(folder)
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute("pragma wal_checkpoint(truncate)").fetchall()
        return Killed(path.read_bytes(), b"")

    def last_commit(self) -> tuple[int, int]:
        """Where it begins and ends in the log; what lies behind it is of an earlier log."""
        frames = range(LOG_HEAD, len(self.log) - FRAME + 1, FRAME)
        mine = [at + FRAME for at in frames if self.log[at + 8 : at + 16] == self.log[16:24]]
        ends = [end for end in mine if any(self.log[end - FRAME + 4 : end - FRAME + 8])]
        return ([LOG_HEAD, *ends])[-2], ends[-1]


def flipped(body: bytes, dice: random.Random) -> bytes:
    bit = dice.randrange(8 * len(body))
    return body[: bit // 8] + bytes([body[bit // 8] ^ 1 << bit % 8]) + body[bit // 8 + 1 :]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with opened_nursery() as nursery:
        yield nursery


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


@pytest.mark.parametrize("form", FORMS)
def test_every_flipped_bit_is_noticed(
    form: str, folder: Path, tmp_path: Path, nursery: Nursery, summary: Summary
) -> None:
    flip_and_look(leave(form, tmp_path, nursery), folder, FLIPS, seed=len(form), summary=summary)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", FORMS)
def test_every_flipped_bit_of_thousands_is_noticed(
    form: str, seed: int, folder: Path, tmp_path: Path, nursery: Nursery, summary: Summary
) -> None:
    flip_and_look(leave(form, tmp_path, nursery), folder, FLIPS_IN_FULL, seed=seed, summary=summary)


@pytest.mark.parametrize("checks", [("_count_lost",), ("_tables",), ("find_break", "_tables")], ids="-".join)
def test_a_doctor_that_leaves_out_a_check_is_found(
    checks: tuple[str, ...], folder: Path, tmp_path: Path, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = leave("orchestration", tmp_path, nursery)
    if checks != ("_count_lost",):
        killed = killed.brought_home(folder)
    for check in checks:
        monkeypatch.setattr(doctor, check, SEES_NOTHING[check])

    assert count_flips(killed, folder, 120, seed=4)["unnoticed"]


def leave(form: str, folder: Path, nursery: Nursery) -> Killed:
    """Kill a shop in the middle of everything, some of it home by then."""
    victim = Victim(nursery, folder, form, pages=PAGES)
    for point, nth in ((points.EFFECT, 2), (points.COMPENSATION, 1), (points.EFFECT, 3)):
        assert victim.kill_at(point, nth)
    for nth in range(15, 30):
        victim.kill_at("after commit", nth)
        killed = Killed((folder / killable.STORE).read_bytes(), (folder / LOG).read_bytes())
        start, end = killed.last_commit()
        if start > PAGES / 4 * FRAME and end < PAGES * FRAME:
            return killed
    pytest.fail("its log had just been folded back, each time")


def flip_and_look(killed: Killed, folder: Path, count: int, *, seed: int, summary: Summary) -> None:
    for what, store in (("with its log", killed), ("brought home", killed.brought_home(folder))):
        found = count_flips(store, folder, count // 2, seed=seed)
        summary.count(f"flipped bits, {what}", found)

        assert found["noticed"] > count / 20, what
        assert found["unnoticed"] == 0, what


def count_flips(killed: Killed, folder: Path, count: int, *, seed: int) -> Counter[str]:
    """Flip one bit, so many times; what came of it."""
    dice = random.Random(seed)
    path = killed.lay_out(folder)
    assert {finding.name for finding in examine(path) if not finding.well} <= {"lock", "disk"}
    whole = said_in(path)
    return Counter(judge(killed.flip(dice).lay_out(folder), whole) for _ in range(count))


def judge(path: Path, whole: tuple[Any, ...]) -> str:
    try:
        if any(not finding.well for finding in examine(path) if finding.name in SOUND):
            return "noticed"
    except StoreError:
        return "noticed"
    try:
        found = said_in(path)
    except Exception:  # noqa: BLE001 - what can't be read is not taken for anything else
        return "noticed by whoever reads it"
    if found == whole:
        return "without a difference"
    return "in users' tables alone" if found[0] == whole[0] else "unnoticed"


def said_in(path: Path) -> tuple[Any, ...]:
    """All that anybody can read from a store: what is ours, then users' tables."""
    with closing(read(path, clock=SystemClock())) as reader:
        facts = checkers.read_all(reader.trail)
        runs = dict.fromkeys(fact.run for fact in facts if fact.run)
        cases = dict.fromkeys(case for fact in facts for case in (fact.case, *fact.also) if case)
        ours: list[Any] = [facts, reader.work.list_obligations(), reader.work.list_open_runs()]
        ours += [reader.work.list_groups(), reader.work.list_requests(), reader.cases.list_cases(limit=1_000)]
        ours += [reader.work.find_run(run) for run in runs]
        ours += [(reader.cases.find_case(case), reader.trail.list_case_facts(case)) for case in cases]
    with closing(open_connection(path, readonly=True)) as connection:
        ours += [select(connection, sql) for sql in (READ_META, READ_MESSAGES, READ_TOPOLOGIES)]
        users = [read_users(connection, table) for table in ("stock_free", "stock_held")]
    return ours, users


def read_users(connection: apsw.Connection, table: str) -> list[tuple[Any, ...]] | None:
    try:
        return select(connection, f"select * from {table}")
    except apsw.SQLError:
        return None
