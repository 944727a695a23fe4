"""The ledger's process: one for a file, whoever starts it, and none of its lines lost with it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from partita_shop.books import Answer, Asked, read_entries
from partita_shop.ledger import ask, check, close, outside


def charge(n: int) -> Asked:
    return Asked(op="mail", key=f"key-{n}", case="order:1", subject=f"letter {n}")


async def test_who_asks_many_at_once_is_answered_by_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "ledger.jsonl"

    answers = await asyncio.gather(*(ask(path, charge(n)) for n in range(50)))
    await close(path)

    assert answers == [Answer()] * 50
    assert [entry.n for entry in read_entries(path)] == list(range(1, 51))


async def test_a_ledger_that_runs_is_used(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with outside(path) as first, outside(path) as second:
        assert first == second


async def test_a_ledger_that_was_killed_is_started_again_and_knows_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with outside(path) as address:
        await ask(path, charge(1))
        os.kill(address.pid, signal.SIGKILL)
        while not await is_answered(path, charge(1)):
            pass

    assert [(entry.effect, entry.repeated) for entry in read_entries(path)] == [(True, False), (False, True)]


async def test_a_ledger_that_nobody_asks_closes_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    command = [sys.executable, "-m", "partita_shop.ledger", "serve", str(path), "--idle", "0.05"]

    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0
    async with asyncio.timeout(10):
        while path.with_name("ledger.jsonl.address").exists():
            await asyncio.sleep(0.01)
    assert await ask(path, charge(1)) == Answer()
    await close(path)


async def test_a_line_that_goes_dead_is_a_technical_failure(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    flaky = Asked(op="charge", key="k", case="order:536365", pence=5)
    async with outside(path):
        assert (await ask(path, flaky)).status == "busy"
        with pytest.raises(ConnectionError):
            await ask(path, flaky)
        assert await ask(path, flaky) == Answer(pence=5)


async def test_a_stranger_gets_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with outside(path) as address:
        for line in (b'{"token":"guessed","asked":null}\n', b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000 + b"\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
            writer.write(line)
            try:
                answered = await reader.read()
            except ConnectionResetError:
                answered = b""
            writer.close()
            assert answered == b""
        assert await ask(path, charge(1)) == Answer()


async def test_a_book_is_counted_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.jsonl"
    async with outside(path):
        await ask(path, charge(1))
        await ask(path, charge(1))

    assert check(path) == 0
    assert '"suppressed": 1' in capsys.readouterr().out


async def is_answered(path: Path, asked: Asked) -> bool:
    """Whether a request is answered; while a process dies, some get no answer."""
    try:
        await ask(path, asked)
    except ConnectionError:
        return False
    return True
