"""What goes wrong besides commits, sendings and the world outside: deaths, evictions, leaps of the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from partita.clock import US
from partita.errors import PartitaError
from partita.runtime.requests import Request
from partita.testing.system import System

RUBBISH = (b"not json", b'{"type":"Unheard","data":{}}', b'{"id":"r3","type":"NoteAdded","data":{"order_id":5}}')


@dataclass(slots=True)
class Chaos:
    """Does something bad every so often, by the weights that the seed drew."""

    system: System
    weights: dict[str, float]
    every_s: float
    paused: set[str] = field(default_factory=set[str])

    async def reign(self, for_s: float) -> None:
        """Do bad things for so long."""
        dice, loop = self.system.dice, self.system.loop
        end = loop.time() + for_s
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "evict": self._evict,
            "leap": self._leap,
            "pause": self._pause,
            "resume": self._resume,
            "kill": self._kill,
            "kill later": self._kill_later,
            "restart": self._restart,
            "rubbish": self._rubbish,
            "look": self._look,
        }
        while loop.time() < end:
            await asyncio.sleep(dice.expovariate(1 / self.every_s))
            name = dice.choices(list(self.weights), list(self.weights.values()))[0]
            if self.system.living() is not None:
                await acts[name]()

    async def resume(self) -> int:
        """Let every paused group go on; returns how many were paused."""
        paused = sorted(self.paused)
        for group in paused:
            reply = await self.system.ask(Request(op="resume", key=self.system.clock.new_id(), group=group))
            if reply.status == "accepted":
                self.paused.discard(group)
        return len(paused)

    async def _resume(self) -> None:
        await self.resume()

    async def _evict(self) -> None:
        life = self.system.living()
        if life is not None:
            self.system.trace.note("evict", f"{life.evict()} runs")

    async def _leap(self) -> None:
        seconds = round(10 ** self.system.dice.uniform(0.5, 4.0), 3)
        self.system.trace.note("leap", f"the clock goes {seconds} s forward")
        self.system.clock.set_forward(round(seconds * US))

    async def _pause(self) -> None:
        groups = sorted(self.system.setting.app.declared.topology.group_by_name)
        group = self.system.dice.choice(groups)
        self.system.trace.note("pause", group)
        self.paused.add(group)
        await self.system.ask(Request(op="pause", key=self.system.clock.new_id(), group=group, by="chaos"))

    async def _kill(self) -> None:
        if self.system.life is not None:
            self.system.life.die("killed")

    async def _kill_later(self) -> None:
        life = self.system.life
        if life is not None:
            steps = self.system.dice.randint(1, 300)
            self.system.loop.interrupt_in(steps, lambda: life.die(f"killed between two callbacks, {steps} later"))

    async def _restart(self) -> None:
        life = self.system.living()
        if life is not None:
            await life.stop()
            self.system.start_soon()

    async def _look(self) -> None:
        """A support person looks at everything: that must be possible at any moment."""
        life = self.system.living()
        if life is None:
            return
        look = life.look
        try:
            lines, _ = look.list_cases(stuck=self.system.dice.random() < 0.5)
            look.list_groups()
            look.list_dead()
            for line in lines:
                look.show(line.case)
                if line.case.startswith("order:"):
                    look.why(line.case, "Shipped")
        except PartitaError as error:
            self.system.trace.blame(f"looking failed: {type(error).__name__} {error}")

    async def _rubbish(self) -> None:
        life = self.system.living()
        if life is not None:
            raw = self.system.dice.choice(RUBBISH)
            self.system.trace.note("rubbish", raw.decode())
            life.transport.put(raw)
