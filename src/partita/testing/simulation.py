"""The simulation of one seed: a shop or a generated process, people who use it, and everything that can go wrong.

First faults are on and anything may happen; then the faults stop, an operator mends what is broken, time moves on until
nothing is left to do, and the checkers look at what is stored.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random  # noqa: TID251 - the one seeded dice of the simulation, never a secret
from typing import Any

from typing_extensions import override

from partita.store.sqlite.connection import forget_memory
from partita.testing.chaos import Chaos, draw_weights
from partita.testing.covered import Step
from partita.testing.fate import EVERYTHING, Fate, Mask
from partita.testing.life import CommitRates, OlderProjection, Setting
from partita.testing.outside import Outside, Rates, use
from partita.testing.people import People
from partita.testing.standstill import Standstill
from partita.testing.subject import Subject, draw_subject
from partita.testing.system import System
from partita.testing.trace import Trace
from partita.testing.verification import Evidence, verify
from partita.testing.virtual import Deadlock, Overrun, SimClock, VirtualLoop
from partita.testing.wire import WireRates

REIGN_S = 25.0
ROUNDS_MAX = 120
_names = itertools.count()


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one seed."""

    seed: int
    form: str
    lives: int
    facts: int
    faults: Counter[str]
    wrong: list[str]
    """What the checkers say; empty where all is well."""
    lines: list[str]
    """The trace, where it was asked for."""
    struck: list[str]
    """The name of everything that went wrong and of whatever people chose to do: what a mask may leave out."""
    steps: frozenset[Step]
    """What followed upon what, and after which fault: kinds of facts of one case."""
    situations: frozenset[int]
    """What a case had open after a fact, and the last fault, as digests."""


def simulate(seed: int, *, trace: bool = False, mask: Mask = EVERYTHING) -> Report:
    """Simulate one seed: the same seed does the same things, on every machine. A mask leaves something out."""
    return Simulation(seed, trace=trace, mask=mask).run()


class Simulation:
    """Everything of one seed; what it draws first decides how bad it will be."""

    def __init__(self, seed: int, *, trace: bool = False, mask: Mask = EVERYTHING) -> None:
        fate = Fate(seed, mask)
        dice = fate.dice("rates")
        self.seed = seed
        self.subject: Subject = draw_subject(fate)
        self.place = f"memory:simulation-{next(_names)}"
        shuffles = fate.strikes("shuffle", "callbacks", 0.5)
        loop = VirtualLoop(fate.dice("callbacks") if shuffles else None)
        loop.set_exception_handler(self._fell)
        clock = SimClock(loop, fate.dice("ids"))
        self.trace = Trace(clock.now_us, keeps=trace)
        outside = Outside(fate, _draw_rates(dice), note=lambda what: self.trace.note("trouble", what))
        outside.plans = self.subject.plans
        self._setting = Setting(
            loop=loop,
            clock=clock,
            fate=fate,
            app=self.subject.app,
            place=self.place,
            wire=_draw_wire(dice),
            commits=_draw_commits(dice),
            thread_s=dice.choice([0.0, 0.1, 1.0]),
            disk_s=dice.choice([0.0, 0.02, 0.3]),
            note=self._note,
            wrong=self.trace.blame,
            died=self._died,
        )
        self.system = System(
            self._setting,
            self.subject.others,
            self.subject.retirable,
            outside,
            self.trace,
            lost_replies=dice.choice([0.0, 0.1]),
            others=dice.choice([0.0, 0.5]),
            deploys=dice.choice([0.0, 0.0, 0.2]),
            set_back=dice.choice([0.0, 0.0, 0.3]),
            retires=dice.choice([0.0, 0.3]),
        )
        self.people = People(self.system, self.subject.parties)
        self.chaos = Chaos(self.system, draw_weights(dice), every_s=dice.choice([1.0, 2.0, 4.0]))

    def run(self) -> Report:
        """Run it to its end."""
        use(self.system.outside)
        facts = 0
        with _overhear(self.trace):
            try:
                facts = self._setting.loop.run(self._live())
            except (Deadlock, Overrun) as error:
                self.trace.blame(f"{type(error).__name__.lower()}: {error}")
            finally:
                forget_memory(self.place)
        return Report(
            seed=self.seed,
            form=self.subject.form,
            lives=self.system.lives,
            facts=facts,
            faults=self.trace.faults,
            wrong=list(dict.fromkeys(self.trace.wrong)),
            lines=self.trace.lines,
            struck=list(self._setting.fate.struck),
            steps=self.trace.steps,
            situations=self.trace.situations,
        )

    async def _live(self) -> int:
        self.system.start()
        self.people.come(within_s=REIGN_S / 2)
        minding = self._setting.loop.create_task(self._mind())
        await self.chaos.reign(REIGN_S)
        minding.cancel()
        self._make_peace()
        if await self._come_to_rest():
            await self.people.all_done()
        await self.system.stop()
        return await verify(self._evidence())

    async def _mind(self) -> None:
        """The manager and the operator look now and then, also while everything goes wrong."""
        while True:
            await asyncio.sleep(1.0 + self.people.chance("look again") * 4)
            await self.people.decide()
            await self.chaos.retire()
            if self.people.chance("mend") < 0.3:
                await self.people.mend()

    def _make_peace(self) -> None:
        setting = self._setting
        self._note("peace", "")
        self.trace.say("-- peace")
        setting.wire.drop = setting.wire.double = setting.wire.delay = 0.0
        setting.commits.lost_before = setting.commits.lost_after = 0.0
        setting.commits.crash_before = setting.commits.crash_after = 0.0
        self.system.lost_replies = self.system.deploys = self.system.set_back = 0.0
        self.system.outside.rates = Rates()
        self.system.outside.mended = True

    async def _come_to_rest(self) -> bool:
        """Mend, decide and let time pass until nothing is left to do; returns whether that came to an end."""
        life = await self.system.until_up()
        if life is not None and (life.app is not self._setting.app or life.projection is OlderProjection):
            await life.stop()
            self.system.start()
        await asyncio.sleep(2 * self._setting.wire.delay_s)  # what is still on the wire arrives
        for _ in range(ROUNDS_MAX):
            life = await self.system.until_up()
            if life is None:
                return False
            if not await self._quiet():
                return False
            if await self.chaos.resume() + await self.people.decide() + await self.people.mend():
                continue
            due = life.engine.alarms.next_at() if life.up else 0
            if due is None and not self.people.busy:
                return True
            if due:
                self._setting.clock.set_forward(due - self._setting.clock.now_us())
        self.trace.blame(f"it did not come to rest in {ROUNDS_MAX} rounds")
        return False

    async def _quiet(self) -> bool:
        """Wait until nothing has moved for as long as the safety net takes to look; whether it came to that."""
        still, loop = 0, self._setting.loop
        standstill = Standstill(since_s=loop.time())
        while still < 3 and not self.system.over:
            await asyncio.sleep(0.5)
            life = self.system.living()
            still = 0 if life is None or life.engine.is_moving() else still + 1
            if stands := standstill.find(life, loop.time()):
                for sentence in stands:
                    self.trace.blame(sentence)
                return False
        return True

    def _evidence(self) -> Evidence:
        return Evidence(
            subject=self.subject,
            place=self.place,
            clock=self._setting.clock,
            outside=self.system.outside,
            people=self.people,
            trace=self.trace,
        )

    def _fell(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised: asyncio would only log it."""
        error = context.get("exception")
        if str(context.get("message", "")).startswith("Exception in callback"):
            self.trace.blame(f"a callback raised {type(error).__name__}: {error}")

    def _died(self) -> None:
        self.system.start_soon()

    def _note(self, kind: str, what: str) -> None:
        life = self.system.life
        if life is not None and life.up and not life.committing:
            self.trace.catch_up(life.store.trail)
        if kind != "peace":
            self.trace.note(kind, what)


def _draw_rates(dice: Random) -> Rates:
    return Rates(
        before=dice.choice([0.0, 0.1, 0.3]),
        after=dice.choice([0.0, 0.1, 0.3]),
        later=dice.choice([0.0, 0.05]),
        slow=dice.choice([0.0, 0.05]),
    )


def _draw_wire(dice: Random) -> WireRates:
    return WireRates(
        drop=dice.choice([0.0, 0.05, 0.2]),
        double=dice.choice([0.0, 0.1, 0.3]),
        delay=dice.choice([0.0, 0.2, 0.5]),
        delay_s=dice.choice([0.1, 1.0, 4.0]),
    )


def _draw_commits(dice: Random) -> CommitRates:
    return CommitRates(
        lost_before=dice.choice([0.0, 0.01]),
        lost_after=dice.choice([0.0, 0.01]),
        crash_before=dice.choice([0.0, 0.01]),
        crash_after=dice.choice([0.0, 0.01]),
    )


class _Overhearing(logging.Handler):
    """Log lines that stand for what must never happen; all others go nowhere."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(logging.ERROR)
        self._trace = trace

    @override
    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if not text.startswith("run.stopped"):
            error = record.exc_info[1] if record.exc_info else None
            if not text.startswith("store.stopped"):
                self._trace.blame(f"logged: {text}: {type(error).__name__} {error}")


@contextmanager
def _overhear(trace: Trace) -> Generator[None]:
    logger, handler = logging.getLogger("partita"), _Overhearing(trace)
    before = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate, logger.level = False, logging.ERROR
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate, logger.level = before
