"""The stage of one trouble: one store, one life of the engine after another, people, unrest, and virtual time."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import shlex
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random  # noqa: TID251 - the one seeded dice of the scene, never a secret
from typing import Any, TypeVar, cast

from msgspec import Raw
from typing_extensions import override

from partita.clock import US
from partita.runtime.access import Access
from partita.runtime.app import App
from partita.runtime.backends import read
from partita.runtime.look import Look
from partita.runtime.requests import Op, Reply, Request
from partita.store.facts import Body
from partita.store.port import ObligationRow, RunRow
from partita.store.sqlite.connection import forget_memory
from partita.store.sqlite.store import SqliteStore
from partita.testing.fate import Fate
from partita.testing.hire import APPS, Code, Form
from partita.testing.life import CommitRates, Life, Setting
from partita.testing.place import use
from partita.testing.virtual import SimClock, VirtualLoop
from partita.testing.wire import WireRates

PATIENCE_S = 120.0
"""How long a trouble may take until it stands."""
STILL = 3
"""How often in a row nothing has to move."""
T = TypeVar("T")
_names = itertools.count()


class Astray(AssertionError):
    """A scene did not go as it was written."""


class Stage:
    """Where one trouble is brought about, looked at and mended; it is the world that handlers meet, too."""

    def __init__(self, form: Form, trouble: str, seed: int) -> None:
        self.form: Form = form
        self.dice = Random(seed)
        self.key = f"{trouble}-{seed}"
        self.case = f"hire:{self.key}"
        self.case_of_van = f"van:{self.key}"
        self.mended = False
        self.wrong: list[str] = []
        self.loop = VirtualLoop(Random(seed + 1))
        self.clock = SimClock(self.loop, self.dice)
        self.life: Life | None = None
        self._down = False
        self._ending = asyncio.Lock()
        self._code: Code = "whole"
        self._setting = Setting(
            loop=self.loop,
            clock=self.clock,
            fate=Fate(seed),
            app=self.app,
            place=f"memory:truth-{next(_names)}",
            wire=WireRates(double=0.1, delay=0.2, delay_s=0.3),
            commits=CommitRates(),
            thread_s=self.dice.choice([0.0, 0.1]),
            disk_s=self.dice.choice([0.0, 0.02]),
            note=lambda _kind, _what: None,
            wrong=self.wrong.append,
            died=self._died,
        )

    @property
    def app(self) -> App:
        """The app as it is deployed."""
        return APPS[self.form, self._code]

    @property
    def is_whole(self) -> bool:
        """Whether the code is as it should be."""
        return self._code == "whole"

    @property
    def wire(self) -> WireRates:
        """What goes wrong on the wire."""
        return self._setting.wire

    def run(self, scene: Coroutine[Any, Any, T]) -> T:
        """Play a scene to its end."""
        use(self)
        try:
            with _quiet():
                return self.loop.run(scene)
        finally:
            self.kill_for_good()  # a life that is only dropped leaves its runs to the garbage collector
            forget_memory(self._setting.place)

    # The life of the engine.

    def start(self, code: Code | None = None) -> None:
        """Let an engine live, with this code from now on."""
        self._down, self._code = False, code or self._code
        self.life = Life(self._setting, self.app)
        self.life.begin()

    async def stop(self) -> None:
        """End the engine cleanly; none follows."""
        self._down = True
        async with self._ending:
            while self.life is not None and not self.life.ended:
                if self.life.up:
                    await self.life.stop()
                else:
                    await asyncio.sleep(0.05)

    async def deploy(self, code: Code | None = None) -> None:
        """End the engine, and start it with other code."""
        await self.stop()
        self.start(code)

    def kill(self) -> None:
        """End the process at once."""
        if self.life is not None:
            self.life.die("killed")

    def kill_for_good(self) -> None:
        """End the process at once; none follows."""
        self._down = True
        self.kill()

    async def up(self) -> Life:
        """The life that takes requests."""
        while True:
            if self.life is not None and self.life.up:
                return self.life
            await asyncio.sleep(0.05)

    def _died(self) -> None:
        if not self._down:
            self.loop.call_later(self.dice.random() * 0.5, self._revive)

    def _revive(self) -> None:
        if not self._down and (self.life is None or self.life.ended):
            self.start()

    async def bring(self, bring: Callable[[Stage], Awaitable[None]], *, calm: bool) -> None:
        """Bring about a trouble, while engines are killed and restarted and runs evicted, and once more afterwards."""
        unrest = self.loop.create_task(self._unrest(0 if calm else self.dice.choice([0, 0, 1, 2])))
        await bring(self)
        await unrest
        if not calm:
            await self._unsettle()
        if not self._down:
            await self.up()
            await asyncio.sleep(self.dice.random() * 2)

    async def _unrest(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(self.dice.expovariate(1.0))
            await self._unsettle()

    async def _unsettle(self) -> None:
        """Evict, kill or restart once, or leave everything alone."""
        act = self.dice.choice(["evict", "kill", "restart", "none"])
        if self._down or self.life is None or not self.life.up:
            return
        life = self.life
        if act == "evict":
            life.evict()
        elif act == "kill":
            life.die("killed")
        elif act == "restart":
            async with self._ending:
                if life.up:
                    await life.stop()
            self._revive()

    # What people do.

    async def ask(self, op: Op, *, under: str = "", **more: Any) -> Reply:
        """Ask, under a key, until there is an answer. Raises Astray where the answer is no."""
        request = Request(op=op, key=under or self.clock.new_id(), by="ada", **more)
        while True:
            reply = await (await self.up()).ask(request)
            if reply.status == "accepted":
                return reply
            if reply.status == "rejected":
                raise Astray(f"{op} {more} was rejected: {reply.why}")
            await asyncio.sleep(0.1)

    async def say(self, message: str, key: str | None = None, **fields: Any) -> Reply:
        """Publish an event, or send a command."""
        known = self.app.declared.topology.message_by_name[message]
        op: Op = "emit" if known.kind == "event" else "send"
        return await self.ask(op, type=message, data=self.body(key, **fields))

    async def hire(self) -> None:
        """The customer asks for a van."""
        await self.say("HireAsked")

    async def put(self, message: str, data: object) -> None:
        """A foreign producer puts a message of the case on the wire, until it is taken."""
        event = {"specversion": "1.0", "id": message, "source": "web", "type": message, "data": data}
        event["subject"] = self.case
        await self.ask("put", raw=base64.b64encode(json.dumps(event).encode()).decode())

    async def obey(self, command: str) -> None:
        """Do what a printed command says; what is left open in it is filled in as a person would."""
        words = shlex.split(command)[1:]
        match words:
            case ["dead", "redrive" | "discard" as op, name]:
                await self.ask(op, message=name)
            case ["group", "resume" | "retire" as op, group]:
                await self.ask(op, group=group)
            case ["retry" | "cancel" as op, case]:
                await self.ask(op, case=case)
            case ["signal", case, message, *body]:
                fields: dict[str, Any] = json.loads(body[0].replace("...", "true")) if body else {}
                await self.say(message, case.partition(":")[2], **fields)
            case ["start", workflow, body]:
                await self.ask("start", workflow=workflow, data=Raw(body.encode()))
            case ["dev"]:
                self.start()
            case _:
                raise Astray(f"{command!r} is no command that mends")

    # What can be seen without the monitor.

    async def until(self, holds: Callable[[SqliteStore], bool], what: str) -> None:
        """Let time pass until something holds of the store."""
        deadline = self.loop.time() + PATIENCE_S
        while True:
            life = await self.up()
            if not life.committing and holds(life.store):
                return
            if self.loop.time() > deadline:
                raise Astray(f"{self.key}: not {what} after {PATIENCE_S:.0f} s")
            await asyncio.sleep(0.1)

    async def owed(self, message: str, state: str = "open", *, attempts: int = 0) -> None:
        """Until a group owes a message in a state."""

        def holds(store: SqliteStore) -> bool:
            rows = store.work.list_obligations(case=self.case)
            return any(_is(row, message, state) and row.attempts >= attempts for row in rows)

        await self.until(holds, f"{state} {message}")

    async def stopped(self, case: str = "") -> None:
        """Until a run of the case, or of another one, is stopped."""

        def holds(store: SqliteStore) -> bool:
            return any(run.status == "stopped" for run in store.work.list_runs(case or self.case))

        await self.until(holds, "stopped")

    async def said(self, kind: type[Body], *, count: int = 1, **fields: object) -> None:
        """Until so many facts of a kind stand in the case's trail."""

        def holds(store: SqliteStore) -> bool:
            found = [fact.body for fact in store.trail.list_case_facts(self.case) if isinstance(fact.body, kind)]
            return sum(all(getattr(body, name) == value for name, value in fields.items()) for body in found) >= count

        await self.until(holds, f"{count} {kind.__name__} {fields}")

    async def over(self) -> None:
        """Until nothing of the case is owed or runs; an observer that died with its process counts for nothing."""

        def holds(store: SqliteStore) -> bool:
            open_runs = [run for run in self.runs(store) if run.status != "ended"]
            owing = [row for row in store.work.list_obligations(case=self.case) if row.group != "counts"]
            return not open_runs and not owing and self._has_begun(store)

        await self.until(holds, "over")

    async def over_but_for(self, *messages: str) -> None:
        """Until nothing of the case moves but the handling of these messages: what is left waits."""

        def holds(store: SqliteStore) -> bool:
            rows = [row for row in store.work.list_obligations(case=self.case) if row.type not in messages]
            facts = store.trail.list_case_facts(self.case)
            lately = facts and facts[-1].at > self.clock.now_us() - int(0.5 * US)
            return not rows and not lately and self._has_begun(store)

        await self.until(holds, f"over but for {messages}")

    def _has_begun(self, store: SqliteStore) -> bool:
        return bool(store.trail.list_case_facts(self.case))

    def body(self, key: str | None = None, **fields: Any) -> Raw:
        """The body of a message of the case."""
        return Raw(json.dumps({"hire_id": key or self.key, **fields}).encode())

    def runs(self, store: SqliteStore) -> list[RunRow]:
        """The runs of the case."""
        return list(store.work.list_runs(self.case))

    async def rest(self) -> None:
        """Wait until nothing moves."""
        still = 0
        while still < STILL:
            await asyncio.sleep(0.4)
            still = 0 if (await self.up()).engine.is_moving() else still + 1

    async def pass_time(self, days: float) -> None:
        """Let everything happen that is due within so many days, one after another."""
        end = self.clock.now_us() + int(days * 86_400 * US)
        while True:
            await self.rest()
            due = (await self.up()).engine.alarms.next_at()
            if due is None or due > end:
                return
            self.clock.set_forward(max(due - self.clock.now_us(), 0))

    def leap(self, hours: float) -> None:
        """Set the clock forward."""
        self.clock.set_forward(int(hours * 3600 * US))

    # What the monitor says.

    @contextmanager
    def looking(self) -> Generator[Look]:
        """The monitor's answers, with the engine or without one."""
        if self.life is not None and self.life.up:
            yield self.life.look
            return
        reader = read(self._place, clock=self.clock)
        try:
            yield Look(reader.trail, reader.work, reader.cases, clock=self.clock, is_running=lambda: False)
        finally:
            reader.close()

    async def leave(self, op: Op, *, under: str = "", **more: Any) -> None:
        """Ask as a command does from another process, while no engine lives."""
        request = Request(op=op, key=under or self.clock.new_id(), by="ada", **more)
        reply = await NobodyThere(self._place, self.app, self.clock).ask(request)
        if not reply.queued:
            raise Astray(f"{op} {more} was not left: {reply}")

    @property
    def _place(self) -> Path:
        return cast("Path", self._setting.place)


def _is(row: ObligationRow, message: str, state: str) -> bool:
    return row.type == message and row.state == state


@contextmanager
def _quiet() -> Generator[None]:
    """What is brought about on purpose is not to be logged."""
    logger = logging.getLogger("partita")
    before, logger.disabled = logger.disabled, True
    loggers = [found for name, found in logging.root.manager.loggerDict.items() if name.startswith("partita")]
    levels = [(found, found.level) for found in loggers if isinstance(found, logging.Logger)]
    for found, _ in levels:
        found.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.disabled = before
        for found, level in levels:
            found.setLevel(level)


class NobodyThere(Access):
    """Another process, which finds no engine at the store."""

    @property
    @override
    def holder(self) -> None:
        """Nobody."""
