"""Rounds: workflows generated from the seed. A plan is a tree of acts; one workflow walks any of them.

What a walk says it has kept must be what its own table holds: everything that a saga, a race or a limit gave up on the
way has been undone, whatever was killed, lost, evicted or cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from random import Random  # noqa: TID251 - the simulation's seeded dice, never a secret
from typing import Annotated, Any

import msgspec

from partita.choreography.service import Service
from partita.errors import Abort, CallFailed, Refused
from partita.messages.answers import Delivery, Noop, noop
from partita.messages.message import Case, Command, Event
from partita.orchestration.acts import call, child, patched, publish, receive
from partita.orchestration.saga import saga
from partita.orchestration.step import step
from partita.orchestration.workflow import workflow
from partita.retry import Retry
from partita.store.facts import Fact, Returned
from partita.store.port import Transaction
from partita.testing.outside import Effect, outside
from partita.testing.processes import NEVER_SENT

RoundId = Annotated[str, Case("round")]
FAILED = (Abort, Refused, CallFailed, TimeoutError, ExceptionGroup)


class Node(msgspec.Struct, frozen=True):
    """One act of a plan: what to do, its number in the plan, how long at most, and what is inside of it."""

    op: str
    n: int
    s: float = 0.0
    body: tuple[Node, ...] = ()


class Round(Event):
    """What a round begins with."""

    round_id: RoundId
    plan: Node


class Poked(Event, external="a passer-by"):
    """Comes at any time."""

    round_id: RoundId
    n: int


class Said(Event):
    """Something happened on the way."""

    round_id: RoundId
    n: int


class Done(Event):
    """A thing is done."""

    round_id: RoundId
    n: int


class NotDone(Event):
    """The business said no."""

    round_id: RoundId
    n: int


class Undone(Event):
    """It is undone."""

    round_id: RoundId
    n: int


class Do(Command[Done | NotDone]):
    """Do a thing, in a table."""

    round_id: RoundId
    n: int


class Undo(Command[Undone | None]):
    """Undo it."""

    round_id: RoundId
    n: int


class Sent(Event):
    """A thing is on its way."""

    round_id: RoundId
    n: int


class CalledBack(Event):
    """It comes back."""

    round_id: RoundId
    n: int


class Send(Command[Sent]):
    """Send a thing, in the world outside."""

    round_id: RoundId
    n: int


class CallBack(Command[CalledBack | None]):
    """Have it brought back."""

    round_id: RoundId
    n: int


class Fetch(Command[int]):
    """Ask the world outside."""

    round_id: RoundId
    n: int


QUICK = Retry(attempts=3, first="300ms", most="2s")
rounds = Service(
    "rounds",
    retry=QUICK,
    timeout="5s",
    tables="create table if not exists rounds_done (round_id text, n integer, primary key (round_id, n)) strict;",
)


@rounds.handles(Do)
def do(command: Do, tx: Transaction) -> Done | NotDone:
    """Every ninth thing can't be done; what is done twice breaks the table's key."""
    tx.execute("insert into rounds_done values (?, ?)", command.round_id, command.n)
    outside().stumble(f"do {command.n} of {command.round_id}")
    if command.n % 9 == 0:
        tx.execute("delete from rounds_done where round_id = ? and n = ?", command.round_id, command.n)
        return NotDone(round_id=command.round_id, n=command.n)
    return Done(round_id=command.round_id, n=command.n)


@rounds.handles(Undo)
def undo(command: Undo, tx: Transaction) -> Undone | Noop:
    """Accept that it was never done."""
    outside().stumble(f"undo {command.n} of {command.round_id}")
    if not tx.execute("delete from rounds_done where round_id = ? and n = ?", command.round_id, command.n):
        return noop("never done")
    return Undone(round_id=command.round_id, n=command.n)


@rounds.handles(Send)
async def send(command: Send, delivery: Delivery) -> Sent:
    """What no transaction takes back: a process may die after it, and before anybody says that it was done."""
    await outside().ask(f"send {command.n}", delivery.case, delivery.id)
    return Sent(round_id=command.round_id, n=command.n)


@rounds.handles(CallBack)
async def call_back(command: CallBack, delivery: Delivery) -> CalledBack | Noop:
    """Accept that it was never sent."""
    if not outside().find(f"send {command.n}", delivery.case or ""):
        return noop("never sent")
    await outside().ask(f"call back {command.n}", delivery.case, delivery.id)
    return CalledBack(round_id=command.round_id, n=command.n)


@rounds.handles(Fetch)
async def fetch(command: Fetch, delivery: Delivery) -> int:
    """An answer that is no event."""
    await outside().ask(f"fetch {command.n}", delivery.case, delivery.id)
    return command.n


@rounds.on(Said, observer=True)
async def hear(event: Said) -> None:
    """Nobody cares."""


@step(retry=QUICK, timeout="5s")
async def tally(round_id: str, n: int, delivery: Delivery = NEVER_SENT) -> int:
    """A local step."""
    await outside().ask(f"tally {n}", f"round:{round_id}", delivery.id)
    return n


@workflow(receives=(Poked,))
async def go_round(start: Round) -> list[int]:
    """Walk the plan; returns the numbers of what was done and kept."""
    try:
        return await guarded(start.round_id, start.plan)
    except FAILED:
        return []


_is_older: ContextVar[bool] = ContextVar("is_older", default=False)


@workflow(name="go_round", receives=(Poked,), version="older")
async def go_round_before(start: Round) -> list[int]:
    """The same before it was changed: it does not look."""
    _is_older.set(True)
    try:
        return await guarded(start.round_id, start.plan)
    except FAILED:
        return []


async def guarded(round_id: str, node: Node) -> list[int]:
    """Walk in a saga of its own."""
    async with saga():
        return await walk(round_id, node)


async def walk(round_id: str, node: Node) -> list[int]:
    """One node, and all that is inside of it."""
    n = node.n
    match node.op:
        case "do" | "send":
            return await _make(round_id, node)
        case "fetch":
            await call(Fetch(round_id=round_id, n=n), key=str(n), timeout="9s" if n % 2 else None)
        case "tally":
            await tally(round_id, n)
        case "sleep":
            await asyncio.sleep(node.s)
        case "say":
            await publish(Said(round_id=round_id, n=n), after=None if n % 2 else "20s")
        case "wait":
            await receive(Poked, where=lambda poked: poked.n == n, timeout="15s", default=None)
        case "fail":
            raise Abort("meant")
        case "look":
            await _look(round_id, n)
        case "child":
            inner = Round(round_id=f"{round_id}-{n}", plan=node.body[0])
            await child(go_round, inner, on_close="cancel" if n % 2 else "wait", key=str(n))
        case _:
            return await _walk_tree(round_id, node)
    return []


async def _make(round_id: str, node: Node) -> list[int]:
    """What can be undone, in a table or in the world outside."""
    n = node.n
    if node.op == "do":
        await call(Do(round_id=round_id, n=n), expect=Done, undo=Undo(round_id=round_id, n=n), key=str(n))
    else:
        await call(Send(round_id=round_id, n=n), expect=Sent, undo=CallBack(round_id=round_id, n=n), key=str(n))
    return [n]


async def _look(round_id: str, n: int) -> None:
    """A step that the deployed code has; the one before it had not."""
    if not _is_older.get() and patched(f"look {n}"):
        await call(Fetch(round_id=round_id, n=n), key=f"look {n}")


async def _walk_tree(round_id: str, node: Node) -> list[int]:
    kept: list[int] = []
    match node.op:
        case "seq":
            kept = await _walk_each(round_id, node)
        case "par":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(walk(round_id, inner)) for inner in node.body]
            kept = [n for task in tasks for n in task.result()]
        case "all":
            ends = await asyncio.gather(*(guarded(round_id, inner) for inner in node.body), return_exceptions=True)
            kept = [n for end in ends if isinstance(end, list) for n in end]
        case "race":
            kept = await _race(round_id, node)
        case "limit":
            try:
                async with asyncio.timeout(node.s):
                    kept = await guarded(round_id, node.body[0])
            except TimeoutError:
                pass
        case _:
            try:
                async with saga(parallel=node.n % 2 == 0):
                    kept = await _walk_each(round_id, node)
            except FAILED:
                pass
    return kept


async def _walk_each(round_id: str, node: Node) -> list[int]:
    return [n for inner in node.body for n in await walk(round_id, inner)]


async def _race(round_id: str, node: Node) -> list[int]:
    """All at once; the first to end wins, and what the others did is undone."""
    tasks = [asyncio.create_task(guarded(round_id, inner)) for inner in node.body]  # noqa: TID251 - as users race
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    return [n for end in ends if isinstance(end, list) for n in end]


# Plans.

LEAVES = ("do", "do", "send", "fetch", "tally", "sleep", "say", "wait", "look", "fail")
TREES = ("seq", "child", "par", "all", "race", "limit", "try", "child")


def draw_plan(dice: Random, *, most: int = 14) -> Node:
    """A plan of at most so many nodes, or a few more."""
    count = iter(range(1, 1_000))
    left = [most]

    def draw(depth: int) -> Node:
        left[0] -= 1
        if depth > 3 or left[0] <= 0 or (depth > 0 and dice.random() < 0.5):
            return Node(dice.choice(LEAVES), next(count), round(dice.random() * 12, 3))
        op = dice.choice(TREES)
        inner = 1 if op in {"limit", "child"} else dice.randint(2, 3)
        n = next(count)
        return Node(op, n, round(1 + dice.random() * 10, 3), tuple(draw(depth + 1) for _ in range(inner)))

    return draw(0)


def prune(node: Node, allowed: Callable[[int], bool]) -> Node:
    """The plan without the acts that may not be: what is inside of one takes its place."""
    body = tuple(prune(inner, allowed) for inner in node.body)
    if allowed(node.n) and (body or not node.body):
        return Node(node.op, node.n, node.s, body)
    return body[0] if len(body) == 1 else Node("seq", node.n, 0.0, body)


def walk_nodes(node: Node) -> Iterator[Node]:
    """A node and everything inside of it, but for what a child does."""
    yield node
    for inner in node.body if node.op != "child" else ():
        yield from walk_nodes(inner)


def check_rounds(
    facts: Sequence[Fact], rows: Sequence[dict[str, Any]], told: Mapping[str, list[int]], effects: Collection[Effect]
) -> Iterator[str]:
    """What each round says it kept, to whoever asks, is what its table holds and what was sent and not called back.

    A cancelled one has kept nothing.
    """
    held = _kept(rows, effects)
    for fact in facts:
        if isinstance(fact.body, Returned) and str(fact.case).startswith("round:"):
            kept = set(msgspec.json.decode(bytes(fact.body.value))) if bytes(fact.body.value) else set[int]()
            round_id = str(fact.case).partition(":")[2]
            there = held.pop(round_id, set[int]())
            if round_id in told and set(told[round_id]) != kept:
                yield f"run {fact.run} returned {sorted(kept)}, and somebody was told {told[round_id]}"
            if kept != there:
                yield f"run {fact.run} {fact.body.how} and kept {sorted(kept)}, there is {sorted(there)}"
    for round_id, there in held.items():
        yield f"round {round_id} has not ended, and there is {sorted(there)}"


def _kept(rows: Sequence[dict[str, Any]], effects: Collection[Effect]) -> dict[str, set[int]]:
    """What is there by round: in its table, or sent and not called back."""
    there: dict[str, set[int]] = {}
    for row in rows:
        there.setdefault(row["round_id"], set()).add(row["n"])
    for wanted in ("send", "call back"):
        for effect in effects:
            what, _, n = effect.kind.rpartition(" ")
            if what == wanted:
                of_round = there.setdefault(effect.case.partition(":")[2], set())
                (of_round.add if what == "send" else of_round.discard)(int(n))
    return there
