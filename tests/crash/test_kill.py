"""kill -9 of a real process on a real file, again and again: it goes on where it was, and nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from partita.clock import US, SystemClock
from partita.runtime.backends import read
from partita.runtime.look import Look
from partita.testing import checkers
from partita.testing.virtual import ManualClock
from tests.crash import killable

pytestmark = pytest.mark.crash
PROGRAM = Path(killable.__file__)
LIFE_S = 60.0


class Victim:
    """One shop that is killed and started again."""

    def __init__(self, folder: Path, form: str, orders: int) -> None:
        self.form = form
        self.orders = orders
        self.store = folder / "shop.db"
        self.ledger = folder / "ledger.jsonl"
        self.kills = 0

    def live(self, *, until_lines: int | None = None, until_s: float = LIFE_S) -> bool:
        """Run until so many more lines are in the ledger, or so long, then kill; whether it came to its end before."""
        clock, lines = SystemClock(), self.count_lines()
        end_us = clock.now_us() + int(until_s * US)
        command = [sys.executable, str(PROGRAM), self.form, str(self.store), str(self.ledger), str(self.orders)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and clock.now_us() < end_us:
                if until_lines is not None and self.count_lines() - lines >= until_lines:
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.001)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                self.kills += 1
            said, complaint = process.communicate()
        if process.returncode not in {0, -signal.SIGKILL}:
            pytest.fail(f"it ended by itself, with {process.returncode}: {complaint[-2_000:]}")
        return "done" in said

    def count_lines(self) -> int:
        return self.ledger.read_bytes().count(b"\n") if self.ledger.exists() else 0

    def effects(self) -> dict[tuple[str, str], set[str]]:
        """The keys under which each kind of thing was done for each case."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for line in self.ledger.read_text().splitlines():
            asked = json.loads(line)
            found[asked["kind"], asked["case"]].add(asked["key"])
        return found


@pytest.mark.parametrize("form", list(killable.FORMS))
def test_a_shop_that_is_killed_goes_on_where_it_was(form: str, tmp_path: Path) -> None:
    kill_again_and_again(Victim(tmp_path, form, orders=24), kills=4, seed=len(form))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("form", list(killable.FORMS))
def test_two_hundred_kills_leave_nothing_undone_or_done_twice(form: str, seed: int, tmp_path: Path) -> None:
    kill_again_and_again(Victim(tmp_path, form, orders=40), kills=8, seed=seed)


def kill_again_and_again(victim: Victim, *, kills: int, seed: int) -> None:
    dice = ManualClock(seed)
    ended = False
    while victim.kills < kills and not ended:
        at_a_line = victim.kills % 3 != 2  # the others fall into its start, or wherever it is by then
        ended = victim.live(
            until_lines=1 + int(dice.chance() * 12) if at_a_line else None,
            until_s=LIFE_S if at_a_line else 0.1 + dice.chance() / 2,
        )
    assert ended or victim.live(), "it did not come to its end"
    assert victim.kills >= kills / 2, "it ended before it was killed often enough"
    check_ledger(victim)
    check_store(victim)


def check_ledger(victim: Victim) -> None:
    """Outside there may be raw duplicates, no second effect, and no charge without a parcel or its refund."""
    effects = victim.effects()
    twice = {what: keys for what, keys in effects.items() if len(keys) > 1}
    assert not twice, "done under two keys"
    for number in range(1, victim.orders + 1):
        case = f"order:{number}"
        refused = killable.is_refused(str(number))
        done = {kind for kind in ("charge", "refund", "parcel") if (kind, case) in effects}
        assert done == ({"charge", "refund"} if refused else {"charge", "parcel"}), case


def check_store(victim: Victim) -> None:
    clock, app = SystemClock(), killable.FORMS[victim.form]
    reader = read(victim.store, clock=clock)
    try:
        facts = checkers.read_all(reader.trail)
        owed, runs = checkers.Obligations(facts), checkers.list_runs(facts, reader.work)
        wrong = [
            *checkers.check_numbers(facts, reader.trail),
            *checkers.check_obligations(owed, reader.work),
            *checkers.check_order(facts, app.declared.topology),
            *checkers.check_times(facts, owed),
            *checkers.check_cases(facts, reader.trail, reader.cases, reader.work),
            *checkers.check_runs(runs, reader.trail, app.declared.catalog, app.declared.workflows),
        ]
        assert wrong == []
        look = Look(reader.trail, reader.work, reader.cases, clock=clock, is_running=lambda: False)
        for number in range(1, victim.orders + 1):
            verdict = "compensated" if killable.is_refused(str(number)) else "done"
            assert look.where(f"order:{number}").verdict == verdict
    finally:
        reader.close()
    check_stock(victim)


def check_stock(victim: Victim) -> None:
    connection = apsw.Connection(os.fspath(victim.store))
    [(free,)] = connection.execute("select free from stock_free").fetchall()
    held = {order_id for (order_id,) in connection.execute("select order_id from stock_held").fetchall()}
    connection.close()

    numbers = map(str, range(1, victim.orders + 1))
    assert held == {number for number in numbers if not killable.is_refused(number)}
    assert free + len(held) == killable.STOCK
