"""What the tests of the engine share: the words of a small shop, and how to look at a store while it moves."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from partita import Case, Command, Event
from partita.runtime.requests import Op, Reply, Request, checked
from partita.runtime.running import EngineClient as LocalClient
from partita.store.facts import Body, Fact, Handled
from partita.store.port import ObligationRow

T = TypeVar("T")
B = TypeVar("B", bound=Body)
OrderId = Annotated[str, Case("order")]
CASE = "order:1"


class Placed(Event, external="the customer"):
    order_id: OrderId = "1"
    note: str = ""


class Paid(Event):
    order_id: OrderId = "1"
    pence: int = 0


class Declined(Event):
    order_id: OrderId = "1"
    reason: str = "no money"


class Noted(Event):
    order_id: OrderId = "1"
    text: str = ""


class Shipped(Event, ends="done"):
    order_id: OrderId = "1"


class Cancelled(Event, ends="compensated"):
    order_id: OrderId = "1"
    reason: str = ""


class Pay(Command[Paid | Declined]):
    order_id: OrderId = "1"


class Refund(Command[None]):
    order_id: OrderId = "1"


class Count(Command[int]):
    order_id: OrderId = "1"


class Broken(Exception):
    """What handlers in these tests raise."""


class Attempts:
    """Fails so many times, then lets pass; counts."""

    def __init__(self, failures: int, error: Callable[[], Exception] = lambda: Broken("not yet")) -> None:
        self.made = 0
        self.failures = failures
        self._error = error

    def make(self) -> None:
        self.made += 1
        if self.made <= self.failures:
            raise self._error()


async def until(seen: Callable[[], T], what: str, *, within_s: float = 5.0) -> T:
    """Wait until a condition holds; what it found."""
    try:
        async with asyncio.timeout(within_s):
            while not (found := seen()):
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None
    return found


# What the store says.


def trail(client: LocalClient, case: str = CASE) -> list[Fact]:
    """Every fact of a case."""
    return client.engine.world.store.trail.list_case_facts(case)


def said(client: LocalClient, kind: type[B], case: str = CASE) -> list[B]:
    """The bodies of one kind, oldest first."""
    return [fact.body for fact in trail(client, case) if isinstance(fact.body, kind)]


def kinds(client: LocalClient, case: str = CASE) -> list[str]:
    """The kinds of all facts, with the type of the message where they name one."""
    return [" ".join(filter(None, (fact.kind, getattr(fact.body, "type", None)))) for fact in trail(client, case)]


def all_facts(client: LocalClient) -> list[Fact]:
    """Every fact that there is."""
    return client.engine.world.store.trail.list_facts()


def owed(client: LocalClient, case: str | None = None) -> list[ObligationRow]:
    """Every obligation row."""
    return client.engine.world.store.work.list_obligations(case=case)


def history(client: LocalClient, run: str) -> list[str]:
    """The kinds of a run's facts."""
    return [fact.kind for fact in client.engine.world.store.trail.list_history(run)]


async def until_said(client: LocalClient, kind: type[B], *, count: int = 1, case: str = CASE) -> B:
    """Wait for the `count`-th fact of a kind."""
    await until(lambda: len(said(client, kind, case)) >= count, f"{count} x {kind.__name__} in {kinds(client, case)}")
    return said(client, kind, case)[count - 1]


async def until_handled(client: LocalClient, *groups: str, case: str = CASE) -> None:
    """Wait until each of these groups has handled something."""

    def done() -> bool:
        return set(groups) <= {body.group for body in said(client, Handled, case)}

    await until(done, f"handled by {groups}: {kinds(client, case)}")


# What operators do.


async def ask(client: LocalClient, op: Op, **words: Any) -> Reply:
    """Put a request as the command line does. Raises what `checked` raises."""
    return checked(await client.ask(Request(op=op, key=client.new_key(), **words)))
