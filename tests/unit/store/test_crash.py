"""A killed writer: whatever it was told is durable is there, and nothing else is broken."""

import random  # noqa: TID251 - a seeded dice that chooses where to hit
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from partita.store.facts import Published
from tests.unit.store.sqlite_desk import opened

WRITER = """
import asyncio, sys
from pathlib import Path
from partita.clock import SystemClock
from partita.store.facts import NewFact, Published
from partita.store.port import Accepted, Unit
from tests.unit.store.sqlite_desk import opened

async def main():
    async with opened(Path(sys.argv[1]), clock=SystemClock()) as desk:
        first = len(desk.trail.list_facts(limit=100_000))
        number = first
        def send():
            nonlocal number
            mine, number = number, number + 1
            def answered(answer):
                assert isinstance(answer, Accepted)
                sys.stdout.write(f"{mine}\\n")
                sys.stdout.flush()
                send()
            fact = NewFact(Published(id=str(mine), type="T"), case=f"order:{mine % 7}")
            desk.store.submit(Unit(facts=[fact], answered=answered))
        for _ in range(20):
            send()
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.crash
async def test_every_acknowledged_fact_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    dice = random.Random(5)
    acknowledged: set[str] = set()
    for _ in range(4):
        acknowledged |= write_until_killed(path, after=dice.randrange(1, 1_500))

        async with opened(path) as desk:
            assert not desk.store.clean
            facts = desk.trail.list_facts(limit=100_000)
            ids = [fact.body.id for fact in facts if isinstance(fact.body, Published)]
            assert acknowledged <= set(ids)
            assert ids == [str(number) for number in range(len(ids))], "a prefix of what was submitted, without a hole"
            assert desk.trail.check_chain() is None
            folded = sum(len(row.state.split()) for row in desk.cases.list_cases()[0])
            assert folded == len(facts), "cases are folded in the transaction of their facts"
            desk.store.abandon()


def write_until_killed(path: Path, *, after: int) -> set[str]:
    """What a writer in a process of its own was told is durable before it was killed."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(after)]
    writer.kill()
    told += writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    return {line.strip() for line in told if line.endswith("\n")}
