"""What goes wrong besides commits, sendings and the world outside: deaths, evictions, leaps of the clock, stalls.

What will be done, and when, is drawn before anything begins; it is done only if somebody lives then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - the simulation's seeded dice, never a secret

from partita.clock import US
from partita.errors import PartitaError
from partita.runtime.requests import Request
from partita.testing.life import Life
from partita.testing.system import System

RUBBISH = (b"not json", b'{"type":"Unheard","data":{}}', b'{"id":"r3","type":"NoteAdded","data":{"order_id":5}}')


def draw_weights(dice: Random) -> dict[str, float]:
    """How often what, compared with the rest; what has no weight is left out of this seed."""
    drawn = {
        "evict": dice.choice([1.0, 4.0]),
        "evict later": dice.choice([0.0, 1.0]),
        "leap": dice.choice([0.0, 1.0]),
        "pause": dice.choice([0.0, 1.0]),
        "resume": 1.0,
        "kill": dice.choice([0.0, 0.5]),
        "kill later": dice.choice([0.0, 1.0]),
        "restart": dice.choice([0.0, 0.5]),
        "relapse": dice.choice([0.0, 0.5]),
        "stall": dice.choice([0.0, 0.5]),
        "rubbish": dice.choice([0.0, 0.3]),
        "look": dice.choice([0.0, 0.5]),
    }
    return {name: weight for name, weight in drawn.items() if weight}


@dataclass(slots=True)
class Chaos:
    """Does something bad every so often, by the weights that the seed drew."""

    system: System
    weights: dict[str, float]
    every_s: float
    paused: set[str] = field(default_factory=set[str])

    async def reign(self, for_s: float) -> None:
        """Do bad things for so long."""
        loop, start = self.system.loop, self.system.loop.time()
        acts = self._acts()
        for after_s, name, dice in self._draw(for_s):
            await asyncio.sleep(max(start + after_s - loop.time(), 0.0))
            if self.system.living() is not None and self.system.fate.happens(f"{name} at {after_s:.3f} s"):
                await acts[name](dice)
        await asyncio.sleep(max(start + for_s - loop.time(), 0.0))

    async def resume(self) -> int:
        """Let every paused group go on; returns how many were paused."""
        paused = sorted(self.paused)
        for group in paused:
            reply = await self.system.ask(Request(op="resume", key=self.system.clock.new_id(), group=group))
            if reply.status == "accepted":
                self.paused.discard(group)
        return len(paused)

    async def retire(self) -> None:
        """A group that the running code has not gives up what it owes; it may come back with the next deploy."""
        life, system = self.system.living(), self.system
        gone = system.retirable - life.app.declared.topology.group_by_name.keys() if life is not None else ()
        for group in sorted(gone):
            if system.fate.strikes("retire", group, system.retires):
                reply = await system.ask(Request(op="retire", key=system.clock.new_id(), group=group, by="chaos"))
                if reply.status == "accepted":
                    system.trace.note("retire", group)

    def _draw(self, for_s: float) -> list[tuple[float, str, Random]]:
        dice, at_s = self.system.fate.dice("chaos"), 0.0
        drawn: list[tuple[float, str, Random]] = []
        names, weights = list(self.weights), list(self.weights.values())
        while (at_s := at_s + dice.expovariate(1 / self.every_s)) < for_s:
            drawn.append((at_s, dice.choices(names, weights)[0], Random(dice.getrandbits(32))))
        return drawn

    def _acts(self) -> dict[str, Callable[[Random], Awaitable[None]]]:
        return {
            "evict": self._evict,
            "evict later": self._evict_later,
            "leap": self._leap,
            "pause": self._pause,
            "resume": self._resume,
            "kill": self._kill,
            "kill later": self._kill_later,
            "restart": self._restart,
            "relapse": self._relapse,
            "stall": self._stall,
            "rubbish": self._rubbish,
            "look": self._look,
        }

    async def _resume(self, _dice: Random) -> None:
        await self.resume()

    async def _evict(self, _dice: Random) -> None:
        life = self.system.living()
        if life is not None:
            self.system.trace.note("evict", f"{life.evict()} runs")

    async def _evict_later(self, dice: Random) -> None:
        """Between any two callbacks, as memory that runs short would have it."""
        life, steps = self.system.life, dice.randint(1, 300)
        if life is not None:
            note = self.system.trace.note
            self.system.loop.interrupt_in(
                steps, lambda: note("evict later", f"{life.evict()} runs, {steps} callbacks on")
            )

    async def _leap(self, dice: Random) -> None:
        seconds = round(10 ** dice.uniform(0.5, 4.0), 3)
        self.system.trace.note("leap", f"the clock goes {seconds} s forward")
        self.system.clock.set_forward(round(seconds * US))

    async def _pause(self, dice: Random) -> None:
        groups = sorted(self.system.setting.app.declared.topology.group_by_name)
        await self._pause_one(dice.choice(groups))

    async def _pause_one(self, group: str) -> None:
        self.system.trace.note("pause", group)
        self.paused.add(group)
        await self.system.ask(Request(op="pause", key=self.system.clock.new_id(), group=group, by="chaos"))

    async def _kill(self, _dice: Random) -> None:
        if self.system.life is not None:
            self.system.life.die("killed")

    async def _kill_later(self, dice: Random) -> None:
        life, steps = self.system.life, dice.randint(1, 300)
        if life is not None:
            self.system.loop.interrupt_in(steps, lambda: life.die(f"killed between two callbacks, {steps} later"))

    async def _restart(self, _dice: Random) -> None:
        life = self.system.living()
        if life is not None:
            await life.stop()
            self.system.start_soon()

    async def _relapse(self, dice: Random) -> None:
        """A group is paused, its engine dies with something of it in hand, and the next ends before that goes on."""
        life = self.system.living()
        groups = _list_in_hand(life) if life is not None else []
        if life is None or not groups:
            return
        group = dice.choice(groups)
        await self._pause_one(group)
        if group in _list_in_hand(life):
            life.die(f"killed with something of {group} in hand")
        after = await self.system.until_up()
        await asyncio.sleep(dice.random() * 0.5)
        if after is None or not after.up:
            return
        await after.stop()
        await self._leap(dice)
        self.system.start_soon()

    async def _stall(self, dice: Random) -> None:
        """The disk stands still for a while."""
        life, seconds = self.system.living(), round(dice.random() * 8, 3)
        if life is not None:
            self.system.trace.note("stall", f"the disk stands still for {seconds} s")
            life.stall(seconds)

    async def _look(self, dice: Random) -> None:
        """A support person looks at everything: that must be possible at any moment."""
        life = self.system.living()
        if life is None:
            return
        look, outcomes = life.look, sorted(life.app.declared.topology.message_by_name)
        self.system.trace.note("look", "at everything")
        try:
            lines, _ = look.list_cases(stuck=dice.random() < 0.5)
            look.list_groups()
            look.list_dead()
            for line in lines:
                look.show(line.case)
                look.why(line.case, dice.choice(outcomes))
        except PartitaError as error:
            self.system.trace.blame(f"looking failed: {type(error).__name__} {error}")

    async def _rubbish(self, dice: Random) -> None:
        life = self.system.living()
        if life is not None:
            raw = dice.choice(RUBBISH)
            self.system.trace.note("rubbish", raw.decode())
            life.transport.put(raw)


def _list_in_hand(life: Life) -> list[str]:
    """Groups that are handling something."""
    lanes = life.engine.dispatch.lanes
    owed = [lanes.find(message, group) for message, group in lanes.keys()]  # noqa: SIM118 - no dictionary
    return sorted({one.group for one in owed if one is not None and one.state == "handling"})
