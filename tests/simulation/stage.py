"""A stage for one recovery: an app on virtual time that a test starts, kills, stops, evicts and asks, step by step."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from random import Random  # noqa: TID251 - the dice that a setting is given

from partita import App, Client
from partita.monitor.cases import Where
from partita.runtime.requests import Reply, Request
from partita.store.facts import Fact
from partita.store.sqlite.connection import forget_memory
from partita.testing.checkers import read_all
from partita.testing.fate import Fate
from partita.testing.life import CommitRates, Life, Setting
from partita.testing.virtual import SimClock, VirtualLoop
from partita.testing.wire import WireRates

_names = itertools.count()


class Stage:
    """One store and the lives that a test gives it."""

    def __init__(self, app: App) -> None:
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(lambda _loop, context: self.wrong.append(str(context)))
        self.clock = SimClock(self.loop, Random(1))
        self.place = f"memory:stage-{next(_names)}"
        self.wrong: list[str] = []
        self.setting = Setting(
            loop=self.loop,
            clock=self.clock,
            fate=Fate(1),
            app=app,
            place=self.place,
            wire=WireRates(),
            commits=CommitRates(),
            thread_s=0.0,
            disk_s=0.0,
            note=lambda _kind, _what: None,
            wrong=self.wrong.append,
            died=lambda: None,
        )
        self.life: Life
        self.client = Client(app.declared.catalog, self._ask, self, self.clock)

    async def start(self) -> None:
        """Start a life; it may be over by then."""
        self.life = Life(self.setting, self.setting.app)
        self.life.begin()
        while not (self.life.up or self.life.ended):
            await asyncio.sleep(0.001)

    def kill(self) -> None:
        """kill -9."""
        self.life.die("the test kills it")

    async def stop(self) -> None:
        """Stop cleanly, if nothing is in flight."""
        await self.life.stop()

    async def settle(self, seconds: float = 5.0) -> None:
        """Let so much time pass; then nothing may move any more."""
        await asyncio.sleep(seconds)
        assert not self.life.engine.is_moving()

    def facts(self) -> list[Fact]:
        """The whole trail."""
        return read_all(self.life.store.trail)

    def kinds(self, run: str) -> list[str]:
        """What a run's history says, by kind."""
        return [fact.kind for fact in self.life.store.trail.list_history(run)]

    def find_where(self, case: str) -> Where | None:
        return self.life.look.find_where(case)

    def soon(self, request: Request) -> None:
        """Ask while something else goes on."""
        _asking = self.loop.create_task(self._ask(request))

    async def _ask(self, request: Request) -> Reply:
        return await self.life.ask(request)


def play(app: App, scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Play a scene on a stage of its own."""
    stage = Stage(app)

    async def acts() -> None:
        await stage.start()
        await scene(stage)
        await stage.stop()

    try:
        stage.loop.run(acts())
        assert stage.wrong == []
    finally:
        forget_memory(stage.place)
