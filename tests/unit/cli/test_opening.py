"""What a command with --run says while it drives the app."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from partita.cli import opening
from partita.runtime.client import LocalClient


class Slow:
    """A client whose app is idle only when it has been looked at a few times."""

    def __init__(self) -> None:
        self.looks = 0
        self.idle = asyncio.Event()

    async def settle(self, horizon: str) -> None:
        await self.idle.wait()

    async def where(self, case: str) -> Any:
        self.looks += 1
        if self.looks == 2:
            self.idle.set()
        return SimpleNamespace(at=f"step {self.looks}")


async def test_a_long_run_says_where_its_case_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "SAY_S", 0.01)
    await opening._settle(cast("LocalClient", Slow()), "order:1")

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[:2] == [
        f"still running: order:1 is at step {n}; Ctrl-C leaves it to the next engine" for n in (1, 2)
    ]


async def test_a_short_one_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    slow = Slow()
    slow.idle.set()
    await opening._settle(cast("LocalClient", slow), "order:1")

    assert capsys.readouterr().err == ""
