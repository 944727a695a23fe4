"""The simulation of one seed: a shop in one of its forms, people who use it, and everything that can go wrong.

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

from typing_extensions import override

from partita.store.sqlite.connection import forget_memory
from partita.testing.chaos import Chaos
from partita.testing.forms import FORMS, LESSER
from partita.testing.life import CommitRates, Setting
from partita.testing.outside import Outside, Plan, Rates, use
from partita.testing.people import People
from partita.testing.rounds import draw_plan
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


def simulate(seed: int, *, trace: bool = False) -> Report:
    """Simulate one seed: the same seed does the same things, on every machine."""
    return Simulation(seed, trace=trace).run()


class Simulation:
    """Everything of one seed; what it draws first decides how bad it will be."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        dice = Random(seed)
        self.seed = seed
        self.form = dice.choice(list(FORMS))
        self.place = f"memory:simulation-{next(_names)}"
        loop = VirtualLoop(Random(seed + 1) if dice.random() < 0.5 else None)
        clock = SimClock(loop, dice)
        self.trace = Trace(clock.now_us, keeps=trace)
        outside = Outside(
            dice, _draw_rates(dice), now_us=clock.now_us, note=lambda what: self.trace.note("trouble", what)
        )
        self._setting = Setting(
            loop=loop,
            clock=clock,
            dice=dice,
            app=FORMS[self.form],
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
            self._setting, LESSER[self.form], outside, self.trace, lost_replies=dice.choice([0.0, 0.1])
        )
        self.system.others = dice.choice([0.0, 0.5])
        self.system.deploys = dice.choice([0.0, 0.0, 0.3])
        outside.plans = {f"o{number}": _draw_plan(dice, self.form) for number in range(1, dice.randint(2, 6))}
        plans = {f"r{number}": draw_plan(dice) for number in range(1, 1 + dice.choice([0, 1, 2]))}
        self.people = People(self.system, outside.plans, {} if self.form == "choreography" else plans)
        self.chaos = Chaos(self.system, _draw_weights(dice), every_s=dice.choice([1.0, 2.0, 4.0]))

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
        wrong = list(dict.fromkeys(self.trace.wrong))
        return Report(self.seed, self.form, self.system.lives, facts, self.trace.faults, wrong, self.trace.lines)

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
            await asyncio.sleep(1.0 + self.system.dice.random() * 4)
            await self.people.decide()
            if self.system.dice.random() < 0.3:
                await self.people.mend()

    def _make_peace(self) -> None:
        setting = self._setting
        self._note("peace", "")
        self.trace.say("-- peace")
        setting.wire.drop = setting.wire.double = setting.wire.delay = 0.0
        setting.commits.lost_before = setting.commits.lost_after = 0.0
        setting.commits.crash_before = setting.commits.crash_after = 0.0
        self.system.lost_replies = self.system.deploys = 0.0
        self.system.outside.rates = Rates()
        self.system.outside.mended = True

    async def _come_to_rest(self) -> bool:
        """Mend, decide and let time pass until nothing is left to do; returns whether that came to an end."""
        life = await self.system.until_up()
        if life is not None and life.app is not self._setting.app:
            await life.stop()
            self.system.start()
        await asyncio.sleep(2 * self._setting.wire.delay_s)  # what is still on the wire arrives
        for _ in range(ROUNDS_MAX):
            life = await self.system.until_up()
            if life is None:
                return False
            await self._quiet()
            if await self.chaos.resume() + await self.people.decide() + await self.people.mend():
                continue
            due = life.engine.alarms.next_at() if life.up else 0
            if due is None and not self.people.busy:
                return True
            if due:
                self._setting.clock.set_forward(due - self._setting.clock.now_us())
        self.trace.blame(f"it did not come to rest in {ROUNDS_MAX} rounds")
        return False

    async def _quiet(self) -> None:
        """Wait until nothing has moved for as long as the safety net takes to look."""
        still = 0
        while still < 3 and not self.system.over:
            await asyncio.sleep(0.5)
            life = self.system.living()
            still = 0 if life is None or life.engine.is_moving() else still + 1

    def _evidence(self) -> Evidence:
        return Evidence(
            form=self.form,
            app=self._setting.app,
            place=self.place,
            clock=self._setting.clock,
            outside=self.system.outside,
            people=self.people,
            trace=self.trace,
        )

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


def _draw_weights(dice: Random) -> dict[str, float]:
    drawn = {
        "evict": dice.choice([1.0, 4.0]),
        "leap": dice.choice([0.0, 1.0]),
        "pause": dice.choice([0.0, 1.0]),
        "resume": 1.0,
        "kill": dice.choice([0.0, 0.5]),
        "kill later": dice.choice([0.0, 1.0]),
        "restart": dice.choice([0.0, 0.5]),
        "rubbish": dice.choice([0.0, 0.3]),
        "look": dice.choice([0.0, 0.5]),
    }
    return {name: weight for name, weight in drawn.items() if weight}


def _draw_plan(dice: Random, form: str) -> Plan:
    def sometimes(chance: float) -> bool:
        return dice.random() < chance

    return Plan(
        large=sometimes(0.3),
        gift=sometimes(0.3),
        declined=sometimes(0.15),
        refused=sometimes(0.15),
        approves=dice.choice([True, True, True, False, None]),
        no_label=sometimes(0.15),
        bug=sometimes(0.1),
        poison=dice.choice(["charge", "label", "mail confirmed"]) if sometimes(0.05) else "",
        cancels=form == "orchestration" and sometimes(0.25),
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
