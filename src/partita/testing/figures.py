"""The figures of a web as handlers, declared through the front door: one app for each plan."""

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any, Union

from partita.choreography.service import Service, Wiring
from partita.messages.answers import Delivery, Noop, Waits, noop, waits_for
from partita.retry import Retry
from partita.runtime.app import App
from partita.store.port import AsyncTransaction, Transaction
from partita.testing.outside import outside
from partita.testing.rounds import go_round, go_round_before, rounds
from partita.testing.webs import SERVICES, TYPES, Figure, WebPlan, answer, play_first, play_second

NAME = "simulated webs"
EARS = "ears"
"""The service of those who only listen."""
_ANSWERS: dict[str, tuple[Any, ...]] = {
    "join": (Noop,), "ask": (Waits,), "nod": (Noop,), "rest": (Noop,), "listen": (None,)
}  # fmt: skip
_RETRIES = (Retry(attempts=4, first="300ms", most="5s"), Retry(attempts=2, first="1s"), Retry(attempts=8, first="50ms"))
MakeApp = Callable[[], App]
Sql = Generator[tuple[str, str, tuple[Any, ...]], Any, Any]
"""Asks for a method of a transaction, with its statement; is sent what that gave."""


def make_apps(plan: WebPlan, *, cues: bool) -> tuple[MakeApp, MakeApp, MakeApp]:
    """Make the app of a plan; the same without its listeners and a workflow; the same before its code was changed."""
    workflows: list[Any] = [play_first, play_second] if cues else []
    return (
        partial(_make_app, plan, [*workflows, go_round] if cues else []),
        partial(_make_app, plan, workflows, deaf=True),
        partial(_make_app, plan, [*workflows, go_round_before] if cues else []),
    )


def _make_app(plan: WebPlan, workflows: list[Any], *, deaf: bool = False) -> App:
    services = [_service(f"s{n}", n) for n in range(SERVICES)]
    ears, wiring = _service(EARS, 1), Wiring("by figures")
    for figure in plan.figures:
        if figure.kind == "listen":
            if not deaf:
                _declare(figure, ears, wiring)
        else:
            _declare(figure, services[figure.service], wiring)
    listed = [*services, *([] if deaf else [ears]), *([rounds] if workflows else [])]
    return App(NAME, services=listed, workflows=workflows, wiring=[wiring])


def _service(name: str, number: int) -> Service:
    return Service(
        name,
        retry=_RETRIES[number % len(_RETRIES)],
        timeout="10s",
        concurrency=None if number % 2 else 3,
        tables=f"""
            create table if not exists {name}_heard (
                figure integer, type text, web_id text, beat integer, amount integer not null,
                primary key (figure, type, web_id, beat)
            ) strict;
        """,
    )


def _declare(figure: Figure, service: Service, wiring: Wiring) -> None:
    takes = _union(TYPES[name] for name in figure.on)
    handler: Any = _handler(figure, service.name)
    handler.__annotations__.update({"message": takes, "return": _contract(figure)})
    handler.__name__ = handler.__qualname__ = f"figure_{figure.n}"
    if figure.kind == "strike":
        service.handles(takes)(handler)
    elif figure.wired:
        wiring.on(takes, service=service, within=figure.within)(handler)
    else:
        group = f"{EARS}{figure.n}" if figure.kind == "listen" else None
        service.on(takes, within=figure.within, hold=figure.hold, observer=figure.kind == "listen", group=group)(
            handler
        )


def _contract(figure: Figure) -> Any:
    to = figure.to[:1] if figure.kind in {"ask", "nod", "join"} else figure.to
    parts = [*(TYPES[name] for name in to), *_ANSWERS.get(figure.kind, ())]
    if figure.kind == "listen":
        return None
    made = _union(parts)
    return types.GenericAlias(list, (made,)) if figure.kind == "spread" else made


def _union(parts: Iterable[Any]) -> Any:
    return Union[tuple(parts)]  # noqa: UP007 - the members are known at run time only


def _handler(figure: Figure, service: str) -> Any:
    """A function of the figure's colour: with the world outside in hand, or with its own tables."""

    def plain(message: Any, delivery: Delivery) -> Any:
        _meet_bug(figure)
        outside().ask_now(f"figure {figure.n} beat {message.beat}", delivery.case, f"{delivery.id}/{figure.n}")
        return _one(figure, answer(figure, message))

    async def coloured(message: Any, delivery: Delivery) -> Any:
        _meet_bug(figure)
        await outside().ask(f"figure {figure.n} beat {message.beat}", delivery.case, f"{delivery.id}/{figure.n}")
        return _one(figure, answer(figure, message))

    def written(message: Any, tx: Transaction) -> Any:
        asking, given = _work(figure, service, message), None
        while True:
            try:
                method, statement, params = asking.send(given)
            except StopIteration as ended:
                return ended.value
            given = getattr(tx, method)(statement, *params)

    async def written_alone(message: Any, tx: AsyncTransaction) -> Any:
        asking, given = _work(figure, service, message), None
        while True:
            try:
                method, statement, params = asking.send(given)
            except StopIteration as ended:
                return ended.value
            given = await getattr(tx, method)(statement, *params)

    found: Any = {"plain": plain, "async": coloured, "tx": written, "async tx": written_alone}[figure.colour]
    wants = {"tx": Transaction, "async tx": AsyncTransaction}
    injected = "tx" if figure.colour in wants else "delivery"
    found.__annotations__ = {injected: wants.get(figure.colour, Delivery)}
    return found


def _meet_bug(figure: Figure) -> None:
    if figure.bug and not outside().mended:
        raise RuntimeError(f"a bug in figure {figure.n}")


def _one(figure: Figure, answers: list[Any]) -> Any:
    if figure.kind == "spread":
        return answers
    if figure.kind == "listen":
        return None
    return answers[0] if answers else noop("nothing follows")


def _work(figure: Figure, service: str, message: Any) -> Sql:
    """What a figure with a table does: whatever it hears twice breaks the table's key."""
    table, name, web_id, beat = f"{service}_heard", type(message).__name__, message.web_id, message.beat
    insert = f"insert into {table} values (?, ?, ?, ?, ?)"  # noqa: S608 - names of this file
    yield "execute", insert, (figure.n, name, web_id, beat, message.amount)
    _meet_bug(figure)
    outside().stumble(f"figure {figure.n} of {web_id} beat {beat}")
    select = f"select type, amount from {table} where figure in (?, ?) and web_id = ? and beat = ?"  # noqa: S608 - names of this file
    partner = figure.n + 1 if figure.kind == "ask" else figure.n - 1 if figure.kind == "nod" else figure.n
    if figure.kind not in {"join", "ask", "nod"}:
        return _one(figure, answer(figure, message))
    rows: list[Any] = yield "list_rows", select, (figure.n, partner, web_id, beat)
    goal = TYPES[figure.to[0]]
    if figure.kind == "join":
        if len(rows) < len(figure.on):
            return noop("waits for the others")
        return goal(web_id=web_id, beat=beat, amount=sum(row["amount"] for row in rows))
    if len(rows) == 2:
        return goal(web_id=web_id, beat=beat, amount=sum(row["amount"] for row in rows))
    if figure.kind == "nod":
        return noop("nobody has asked yet")
    nod: Any = TYPES[figure.to[1]]
    return waits_for(nod, within="2h", who="a listener")
