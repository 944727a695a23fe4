"""Deliberate mistakes. Behind each stands who has to find it, on that very line."""

# ruff: noqa: B018, F841 - what is wrong here is for the checkers to find
# pyright: reportUnusedVariable=false, reportUnusedExpression=false

import asyncio
from typing import Annotated

from partita import (
    App,
    AsyncTransaction,
    Case,
    Client,
    Command,
    Event,
    Service,
    Transaction,
    Wiring,
    call,
    child,
    publish,
    receive,
    saga,
    step,
    waits_for,
    workflow,
)

OrderId = Annotated[str, Case("order")]


class Placed(Event):
    order_id: OrderId
    pence: int


class Paid(Event):
    order_id: OrderId


class Declined(Event):
    order_id: OrderId
    reason: str


class Pay(Command[Paid | Declined]):
    order_id: OrderId


class Refund(Command[None]):
    order_id: OrderId


cards = Service("cards")
wiring = Wiring("wiring")

# Messages.

Placed("1", 3)  # wrong: mypy, pyright - by position
Placed(order_id="1")  # wrong: mypy, pyright - a field is missing
Placed(order_id="1", pence="3")  # wrong: mypy, pyright - of another type
Placed(order_id="1", pence=3).pence = 4  # wrong: mypy, pyright - messages are frozen
Placed(order_id="1", pence=3, pounds=4)  # wrong: mypy, pyright - no such field


# Handlers.


@cards.handles(Pay)  # wrong: mypy, pyright - half of the answer
def pay(command: Pay) -> Placed:
    return Placed(order_id=command.order_id, pence=3)


@cards.handles(Pay)  # wrong: mypy, pyright - another command
def pay_other(command: Refund) -> Paid | Declined:
    return Paid(order_id=command.order_id)


@cards.handles(Placed)  # wrong: mypy, pyright - an event is not commanded
def handle_event(event: Placed) -> None: ...


@cards.on(Pay)  # wrong: mypy, pyright - a command is not reacted to
def on_command(command: Pay) -> None: ...


@cards.on(Paid)  # wrong: mypy, pyright - another event
def on_other(event: Declined) -> None: ...


@cards.on(Paid)  # wrong: mypy, pyright - a number is nothing to emit
def emit_number(event: Paid) -> int:
    return 3


@wiring.on(Paid, service="cards")  # wrong: mypy, pyright - a service, not its name
def wired(event: Paid) -> None: ...


@cards.on(Paid)
def forgets_to_await(event: Paid, tx: AsyncTransaction) -> None:
    tx.execute("delete from cards_book")  # wrong: mypy, pyright - never awaited


@cards.on(Paid)
async def awaits_too_much(event: Paid, tx: Transaction) -> None:
    await tx.execute("delete from cards_book")  # wrong: mypy, pyright - a number can't be awaited


@cards.on(Placed)
def wait(event: Placed) -> Paid:
    return waits_for(Paid, within="7d")  # wrong: mypy, pyright - a wait is not in the contract


# Workflows.


@step
async def fetch(url: str) -> int:
    return len(url)


@workflow
async def counts(placed: Placed) -> int:
    return placed.pence


@workflow(starts_on=Paid)  # wrong: mypy, pyright - takes another message
async def starts_on_another(placed: Placed) -> None: ...


@workflow
async def uses(placed: Placed) -> None:
    call(Pay(order_id="1"))  # wrong: mypy, pyright - never awaited
    await call(Paid(order_id="1"))  # wrong: mypy, pyright - an event is not called
    await publish(Pay(order_id="1"))  # wrong: mypy, pyright - a command is not published
    reply: Paid = await call(Pay(order_id="1"))  # wrong: mypy, pyright - it may be declined
    number: int = await call(Refund(order_id="1"))  # wrong: mypy, pyright - nothing is answered
    (await receive(Paid | Declined)).reason  # wrong: mypy, pyright - not both have one
    await receive(Paid, where=lambda event: event.pence > 3, timeout="1d")  # wrong: mypy, pyright - no such field
    await receive(Paid, default=None)  # wrong: mypy, pyright - a default without a timeout
    await call(Pay(order_id="1"), undo=Paid(order_id="1"))  # wrong: mypy, pyright - an event undoes nothing
    await call(Pay(order_id="1"), timeout=30)  # wrong: mypy, pyright - thirty what?
    await fetch(3)  # wrong: mypy, pyright - another argument
    text: str = await fetch("a")  # wrong: mypy, pyright - another result
    await child(counts, Paid(order_id="1"))  # wrong: mypy, pyright - another message
    word: str = await child(counts, placed)  # wrong: mypy, pyright - another result
    await child(counts, placed, on_close="forget")  # wrong: mypy, pyright - no such way
    counts.again(Paid(order_id="1"))  # wrong: mypy, pyright - another message


@workflow
async def undoes(placed: Placed) -> None:
    async with saga() as undo:
        undo(Paid(order_id="1"))  # wrong: mypy, pyright - an event undoes nothing
    with saga():  # wrong: mypy, pyright - it is async
        await asyncio.sleep(1)


# Apps and clients.

App("shop", services=cards)  # wrong: mypy, pyright - a list of them
App("shop", workflows=[pay])  # wrong: mypy, pyright - not a workflow


async def asks(client: Client) -> None:
    await client.emit(Pay(order_id="1"))  # wrong: mypy, pyright - a command is sent
    await client.call(Paid(order_id="1"))  # wrong: mypy, pyright - an event is emitted
    await client.start(counts, Paid(order_id="1"))  # wrong: mypy, pyright - another message
    run = await client.start(counts, Placed(order_id="1", pence=3))
    text: str = await run.result()  # wrong: mypy, pyright - another result
    (await client.find_where("order:1")).verdict  # wrong: mypy, pyright - there may be none
