"""Programs of asyncio's primitives, drawn from a seed: trees that are walked inside a run and on a plain loop.

What a leaf waits for is made by a world: partita's acts, or plain futures that the test completes. Everything else is
asyncio's own. Each program keeps a log of what happened when; two walks of one program can be held against each other.
"""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - a seeded dice
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

Awaited = Coroutine[Any, Any, Any]
KINDS = ("x", "y", "any", "refused", "either")
"""What a program may receive: one parcel, the other, whichever, a refusal, or any of these."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a program: what to do, for how long, in which of its ways, and what is inside of it."""

    op: str
    s: float
    way: int
    body: tuple[Node, ...] = ()


class World(Protocol):
    """Where the leaves of a program come from. What is made here is awaited later, or closed."""

    def call(self, n: int, limit_s: float | None) -> Awaited:
        """Answered, refused, failed, or too late."""
        ...

    def step(self, n: int) -> Awaited:
        """Made, or failed."""
        ...

    def child(self, n: int, on_close: str) -> Awaited:
        """Ended, or ended badly; its waiter's cancellation is passed on."""
        ...

    def receive(self, n: int, kind: str, limit_s: float | None, default: bool) -> Awaited:
        """A message of a kind."""
        ...

    def in_order(self, coroutines: list[Awaited]) -> list[Any]:
        """The same, so that `as_completed` keeps their order."""
        ...


class Broken(Exception):
    """What a program itself raises."""


@dataclass(eq=False)
class Walk:
    """One walk of a program: its world, its log, and what its tasks share."""

    world: World
    log: list[str] = field(default_factory=list[str])
    met: Counter[str] = field(default_factory=Counter[str])
    made: dict[int, tuple[object, str, int]] = field(default_factory=dict[int, tuple[object, str, int]])
    """Where each leaf was made: in which task, under which name, and how often that task had used the name by then."""
    is_over: bool = False
    _counts: Counter[tuple[object, str]] = field(default_factory=Counter[tuple[object, str]])
    _spawned: list[asyncio.Task[Any]] = field(default_factory=list[asyncio.Task[Any]])

    async def run(self, program: Node) -> Any:
        """Walk from the root. What tasks share belongs to the loop that this runs on."""
        self._start = asyncio.get_running_loop().time()
        self.queue, self.event, self.lock = asyncio.Queue[int](1), asyncio.Event(), asyncio.Lock()
        self.semaphore, self.condition = asyncio.Semaphore(2), asyncio.Condition()
        return await self.walk(program)

    async def walk(self, node: Node) -> Any:
        """One node and all that is inside of it; says how it ended."""
        self.met[node.op] += 1
        try:
            value = await OPS[node.op](self, node)
        except asyncio.CancelledError:
            self.say(f"{node.op} cancelled")
            raise
        except Exception as error:
            self.say(f"{node.op} raised {describe(error)}")
            raise
        self.say(f"{node.op} -> {value}")
        return value

    def say(self, what: str) -> None:
        """Put it into the log."""
        if self.is_over:
            return
        ms = round(1_000 * (asyncio.get_running_loop().time() - self._start))
        self.log.append(f"{ms} {what}")

    def spawn(self, node: Node) -> asyncio.Task[Any]:
        """A task, as users make them without a group."""
        return asyncio.create_task(self.walk(node))  # noqa: TID251 - as users write it

    # Leaves.

    def make(self, node: Node) -> tuple[int, Awaited]:
        """Make what a leaf awaits, and give it a number: from here on it has its identity."""
        n = len(self.made) + 1
        limit = node.s if node.way % 2 else None
        name, made = {
            "call": ("Reserve", lambda: self.world.call(n, limit)),
            "step": ("note", lambda: self.world.step(n)),
            "child": ("inner", lambda: self.world.child(n, ("wait", "cancel", "abandon")[node.way % 3])),
        }[node.op]
        where = asyncio.current_task()
        self._counts[where, name] += 1
        self.made[n] = where, name, self._counts[where, name]
        return n, made()

    async def leaf(self, node: Node) -> Any:
        """Make it and await it at once."""
        n, made = self.make(node)
        return await self.meet(n, made)

    async def meet(self, n: int, made: Awaited) -> Any:
        """Await what was made."""
        try:
            value = await made
        except asyncio.CancelledError:
            self.say(f"{n} cancelled")
            raise
        except Exception as error:
            self.say(f"{n} raised {describe(error)}")
            raise
        self.say(f"{n} came {value}")
        return value

    async def receive(self, node: Node) -> Any:
        """Wait for a message."""
        limit = node.s if node.way % 2 else None
        n = len(self.made) + 1
        self.made[n] = None, "receive", 0
        return await self.meet(n, self.world.receive(n, KINDS[node.way % 5], limit, node.way % 4 == 1))

    async def late(self, node: Node) -> Any:
        """Make several in one order, and await them in another, one by one or each in a task of its own."""
        made = [self.make(one) for one in node.body]
        made = made[::-1] if node.way % 2 else made[1:] + made[:1]
        if node.way % 3 == 0:
            ends = await asyncio.gather(*[one for _, one in made], return_exceptions=True)
            return [describe(end) for end in ends]
        try:
            return [await self.meet(n, one) for n, one in made]
        finally:
            for _, one in made:
                one.close()

    async def fail(self, node: Node) -> Any:
        raise Broken(f"way {node.way}")

    async def nap(self, node: Node) -> Any:
        await asyncio.sleep(node.s if node.way % 5 else 0)

    # What tasks share.

    async def put(self, node: Node) -> Any:
        await self.queue.put(node.way)

    async def get(self, node: Node) -> Any:
        got = await self.queue.get()
        self.queue.task_done()
        return got

    async def join(self, node: Node) -> Any:
        await self.queue.join()

    async def set_event(self, node: Node) -> Any:
        self.event.set()
        if node.way % 3 == 0:
            self.event.clear()

    async def await_event(self, node: Node) -> Any:
        return await self.event.wait()

    async def notify(self, node: Node) -> Any:
        async with self.condition:
            self.condition.notify(1 + node.way % 2)

    async def await_condition(self, node: Node) -> Any:
        async with self.condition:
            return await self.condition.wait()

    async def locked(self, node: Node) -> Any:
        async with self.lock:
            return await self.each(node)

    async def limited(self, node: Node) -> Any:
        async with self.semaphore:
            return await self.each(node)

    # Trees.

    async def each(self, node: Node) -> Any:
        return [await self.walk(inner) for inner in node.body]

    async def gather(self, node: Node) -> Any:
        quiet = node.way % 2 == 0
        ends = await asyncio.gather(*[self.walk(inner) for inner in node.body], return_exceptions=quiet)
        return [describe(end) for end in ends]

    async def group(self, node: Node) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.walk(inner)) for inner in node.body]
            if node.way % 3 == 0:
                await self.walk(node.body[0])
        return [task.result() for task in tasks]

    async def wait(self, node: Node) -> Any:
        """Wait for some; the others are cancelled, or, where nobody is careful, just left."""
        tasks = [self.spawn(inner) for inner in node.body]
        when = (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED)[node.way % 3]
        try:
            done, pending = await asyncio.wait(tasks, return_when=when, timeout=node.s if node.way % 2 else None)
            self.say(f"done {[task in done for task in tasks]}")
        finally:
            if node.way % 5:
                for task in tasks:
                    task.cancel()
        if node.way % 5 == 0:
            return len(pending)
        return [describe(end) for end in await asyncio.gather(*tasks, return_exceptions=True)]

    async def timeout(self, node: Node) -> Any:
        try:
            async with asyncio.timeout(node.s) as limit:
                if node.way % 4 == 0:
                    limit.reschedule(asyncio.get_running_loop().time() + 2 * node.s)
                return await self.each(node)
        except TimeoutError:
            if node.way % 2:
                raise
            return "too late"

    async def wait_for(self, node: Node) -> Any:
        return await asyncio.wait_for(self.walk(node.body[0]), node.s)

    async def shield(self, node: Node) -> Any:
        task = self.spawn(node.body[0])
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if node.way % 2:
                self.say(f"shielded {describe((await asyncio.gather(task, return_exceptions=True))[0])}")
            raise

    async def as_completed(self, node: Node) -> Any:
        ends: list[str] = []
        bodies = self.world.in_order([self.walk(inner) for inner in node.body])
        for one in asyncio.as_completed(bodies, timeout=node.s if node.way % 3 == 0 else None):
            try:
                ends.append(describe(await one))
            except Broken as error:
                ends.append(describe(error))
        return ends

    async def guarded(self, node: Node) -> Any:
        try:
            return await self.each(node)
        except Exception as error:  # noqa: BLE001 - whatever the program raises
            return f"caught {describe(error)}"

    async def stubborn(self, node: Node) -> Any:
        """Goes on after a cancellation."""
        try:
            return await self.walk(node.body[0])
        except asyncio.CancelledError:
            return await self.walk(node.body[-1])

    async def cleaning(self, node: Node) -> Any:
        """Waits once more in its `finally`."""
        try:
            return await self.walk(node.body[0])
        finally:
            await self.walk(node.body[-1])

    async def spawning(self, node: Node) -> Any:
        """Start a task and go on; somebody may cancel it, or look at it, later."""
        self._spawned.append(self.spawn(node.body[0]))

    async def cancelling(self, node: Node) -> Any:
        if self._spawned:
            return self._spawned[node.way % len(self._spawned)].cancel("meant")
        return None

    async def looking(self, node: Node) -> Any:
        if self._spawned:
            # Shielded: tasks that await each other in a circle can't be cancelled, on any loop.
            return describe(await asyncio.shield(self._spawned[node.way % len(self._spawned)]))
        return None

    async def stream(self, node: Node) -> Any:
        found = self._each_in_turn(node)
        try:
            return [one async for one in found]
        finally:
            with suppress(RuntimeError):  # Python 3.11 calls it running where its loop is let go in the midst of it
                await found.aclose()

    async def _each_in_turn(self, node: Node) -> AsyncGenerator[Any]:
        for inner in node.body:
            yield await self.walk(inner)


def describe(value: object) -> str:
    """A value, or an exception with all that is inside of it."""
    if isinstance(value, BaseExceptionGroup):
        return f"{type(value).__name__}[{', '.join(describe(one) for one in value.exceptions)}]"
    if isinstance(value, TimeoutError | RuntimeError):
        return type(value).__name__  # each world has words of its own for it
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({value})"
    return repr(value)


OPS: dict[str, Callable[[Walk, Node], Awaited]] = {
    "call": Walk.leaf,
    "step": Walk.leaf,
    "child": Walk.leaf,
    "receive": Walk.receive,
    "sleep": Walk.nap,
    "raise": Walk.fail,
    "Queue.put": Walk.put,
    "Queue.get": Walk.get,
    "Queue.join": Walk.join,
    "Event.set": Walk.set_event,
    "Event.wait": Walk.await_event,
    "Condition.notify": Walk.notify,
    "Condition.wait": Walk.await_condition,
    "Lock": Walk.locked,
    "Semaphore": Walk.limited,
    "seq": Walk.each,
    "gather": Walk.gather,
    "TaskGroup": Walk.group,
    "wait": Walk.wait,
    "timeout": Walk.timeout,
    "wait_for": Walk.wait_for,
    "shield": Walk.shield,
    "as_completed": Walk.as_completed,
    "except Exception": Walk.guarded,
    "except CancelledError": Walk.stubborn,
    "finally": Walk.cleaning,
    "create_task": Walk.spawning,
    "Task.cancel": Walk.cancelling,
    "await task": Walk.looking,
    "async for": Walk.stream,
    "late": Walk.late,
}
ACTS = ("call", "call", "step", "child", "receive", "receive", "sleep")
SMALL = ("raise", "Queue.put", "Queue.get", "Event.set", "Event.wait", "Condition.notify", "Condition.wait",
         "Queue.join", "Task.cancel", "await task")  # fmt: skip
ONE = ("wait_for", "shield", "create_task")
TWO = ("except CancelledError", "finally")
MANY = ("seq", "gather", "TaskGroup", "TaskGroup", "wait", "wait", "timeout", "timeout", "as_completed", "Lock",
        "Semaphore", "except Exception", "except Exception", "async for")  # fmt: skip
SECONDS = (0.5, 1.0, 2.0, 2.0, 3.0, 5.0)


def draw_program(dice: random.Random, *, most: int = 16) -> Node:
    """A program of at most so many nodes, or a few more."""
    left = [most]

    def draw(depth: int) -> Node:
        left[0] -= 1
        s, way = dice.choice(SECONDS), dice.randrange(60)
        if depth > 3 or left[0] <= 0 or (depth > 1 and dice.random() < 0.5):
            return Node(dice.choice(ACTS if dice.random() < 0.65 else SMALL), s, way)
        if dice.random() < 0.08:
            return Node("late", s, way, tuple(Node(dice.choice(("call", "step")), s, k) for k in range(3)))
        op = dice.choice(dice.choice((ONE, TWO, MANY, MANY, MANY, MANY)))
        count = 1 if op in ONE else 2 if op in TWO else dice.randint(2, 3)
        return Node(op, s, way, tuple(draw(depth + 1) for _ in range(count)))

    if dice.random() < 0.3:
        return draw(0)
    parts = [Node("except Exception", 1.0, 0, (draw(1),)) for _ in range(dice.randint(2, 3))]
    return Node("seq", 1.0, 0, tuple(parts))
