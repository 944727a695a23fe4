"""The simulated system as people and faults meet it: one store, and one life of the engine after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from typing_extensions import override

from partita.clock import US
from partita.monitor.fold import CaseProjection
from partita.runtime.access import Access
from partita.runtime.app import App
from partita.runtime.requests import Reply, Request
from partita.testing.fate import Fate
from partita.testing.life import Life, OlderProjection, Setting
from partita.testing.outside import Outside
from partita.testing.trace import Trace
from partita.testing.virtual import SimClock, VirtualLoop

LIVES_MAX = 60


class _Elsewhere(Access):
    """Another process, which finds no engine at the store."""

    @property
    @override
    def holder(self) -> None:
        """Nobody."""


@dataclass(slots=True)
class System:
    """Starts lives, and passes on what people ask."""

    setting: Setting
    others_apps: Sequence[Callable[[], App]]
    """What else may be deployed: without a group and a workflow, or before the code was changed."""
    retirable: frozenset[str]
    """Groups that an operator may retire where they are not in the code."""
    outside: Outside
    trace: Trace
    lost_replies: float = 0.0
    """How often an answer is lost on its way back."""
    down_s: float = 1.0
    """How long it takes at most until a dead engine is started again."""
    retires: float = 0.0
    """How often a group is retired that the running code has not."""
    life: Life | None = None
    lives: int = 0
    over: bool = False
    """No further life is started."""
    deploys: float = 0.0
    """How often a life runs another app."""
    set_back: float = 0.0
    """How often the clock is set back before a life."""
    others: float = 0.0
    """How often somebody else takes the store, while nobody lives, to leave a request."""
    _is_taken: bool = False

    @property
    def clock(self) -> SimClock:
        """The one clock."""
        return self.setting.clock

    @property
    def fate(self) -> Fate:
        """What goes wrong."""
        return self.setting.fate

    @property
    def loop(self) -> VirtualLoop:
        """The one loop."""
        return self.setting.loop

    def start(self) -> None:
        """Start a life, where none is."""
        if self.over or (self.life is not None and not self.life.ended):
            return
        if self._is_taken:  # Whoever has the lock has it for a moment only.
            self.start_soon()
            return
        self.lives += 1
        if self.lives > LIVES_MAX:
            self.over = True
            self.trace.blame(f"it died {LIVES_MAX} times: nothing stops what kills it")
            return
        self.trace.say(f"-- life {self.lives}")
        app = self._deploy()
        self.life = Life(self.setting, app, self._projection())
        self.outside.kill, self.outside.last_seq = self.life.die, self.life.last_seq
        self.life.begin()

    def _deploy(self) -> App:
        """The app of the next life; and the machine's clock may have been set back before it."""
        for make_app, what in zip(
            self.others_apps, ("without a group and a workflow", "before its code was changed"), strict=True
        ):
            if self.fate.strikes("deploy", what, self.deploys):
                self.trace.note("deploy", what)
                return make_app()
        if self.lives > 1 and self.fate.strikes("set back", "the clock", self.set_back):
            seconds = round(self.fate.number("set back s", "the clock") * 600, 3)
            self.trace.note("set back", f"the clock goes {seconds} s back")
            self.clock.set_back(round(seconds * US))
        return self.setting.app

    def _projection(self) -> type[CaseProjection]:
        """How the next life folds."""
        if not self.fate.strikes("deploy", "with an older fold", self.deploys):
            return CaseProjection
        self.trace.note("deploy", "with an older fold")
        return OlderProjection

    def start_soon(self) -> None:
        """Start a life after a while."""
        if not self.over:
            self.loop.call_later(self.fate.number("down s", "the engine") * self.down_s, self.start)

    async def ask(self, request: Request) -> Reply:
        """Put a request to whoever lives; unknown where nobody does, or the answer is lost."""
        life = self.life
        is_free = (life is None or life.ended) and not self._is_taken and not self.over
        if is_free and self.fate.strikes("left request", _say(request), self.others):
            return await self._leave(request)
        if life is None:
            return Reply(status="unknown", key=request.key, why="nobody answers")
        reply = await life.ask(request)
        if reply.status != "unknown" and self.fate.strikes("lost reply", _say(request), self.lost_replies):
            self.trace.note("lost reply", f"{request.op} {request.key}")
            return Reply(status="unknown", key=request.key, why="the reply was lost")
        return reply

    async def _leave(self, request: Request) -> Reply:
        """Ask as a command does from another process, where no engine runs."""
        self._is_taken = True
        try:
            reply = await _Elsewhere(cast("Path", self.setting.place), self.setting.app, self.clock).ask(request)
            self.trace.note("left request", f"{request.op} {request.key}: {reply.status} {reply.why}")
            return reply
        finally:
            self._is_taken = False

    def living(self) -> Life | None:
        """The life that takes requests, if one does."""
        return self.life if self.life is not None and self.life.up else None

    async def until_up(self) -> Life | None:
        """Wait for a life that takes requests; None where there will be none."""
        while not self.over:
            found = self.living()
            if found is not None:
                return found
            await asyncio.sleep(0.05)
        return None

    async def stop(self) -> None:
        """End the last life cleanly."""
        self.over = True
        if self.life is not None and not self.life.ended:
            await self.life.stop()


def _say(request: Request) -> str:
    """What is asked, in words that the seed alone decides."""
    return f"{request.op} {request.type or request.message or request.case or request.group}"
