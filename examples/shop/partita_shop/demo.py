"""The demo: all of the shop's real orders and returns, in one form, with every trouble that `trouble.py` knows.

Whatever it sends has a key derived from the order's id. So a demo that was killed goes on where it was when it is
started again, and comes to the same end.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from partita import App, Rejected
from partita.clock import SystemClock
from partita.monitor.cases import CaseLine
from partita.monitor.why import WhyTree
from partita.runtime.backends import find_holder
from partita.runtime.client import LocalClient
from partita.runtime.look import Look
from partita.runtime.requests import Request, checked
from partita_shop import errands, trouble
from partita_shop.books import Tally, read_entries, tally
from partita_shop.ledger import close, outside
from partita_shop.messages import DecideOrder, TakeDelivery
from partita_shop.orders import Invoice, list_invoices, opening_stock
from partita_shop.telling import Meter, Story, tell

Form = Literal["hybrid", "choreography", "orchestration"]
GIFT_NOTES = "gift-notes"
"""The group that the demo pauses."""
MANAGER = "the manager"
_HORIZON = "1s"
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demo came to."""

    form: Form
    store: Path
    seconds: float
    cases: tuple[CaseLine, ...]
    stories: tuple[Story, ...]
    """Of one case done, one compensated, one waiting and one stuck, as far as there is one."""
    why: WhyTree | None
    """Why the stuck one was not shipped."""
    outside: Tally


def main(*, form: Form = "hybrid", folder: Path, as_json: bool = False, fresh: bool = False) -> int:
    """Run the demo and tell what came of it: what `partita demo` does. Raises Rejected where its store is in use."""
    logging.getLogger("partita").addHandler(logging.NullHandler())  # dead letters are in the program: no warnings
    store = store_path(form, folder)
    if fresh:
        clear(store)
    outcome = asyncio.run(run_demo(form=form, folder=folder, progress=not as_json))
    tell(outcome, as_json=as_json, here=write_config(form, store))
    return 0


def store_path(form: Form, folder: Path) -> Path:
    """Where the store of a form lies: each in a folder of its own, with the books of the world outside beside it."""
    return (folder if form == "hybrid" else folder / form) / "shop.db"


def app_name(form: Form) -> str:
    """The app of a form, as the commands name it."""
    return f"partita_shop.{form}:app"


def write_config(form: Form, store: Path) -> bool:
    """Say in ./partita.toml where the commands find store and app, unless there is one; whether it says so now."""
    path = Path("partita.toml")
    wanted = f'store = "{store.as_posix()}"\napp = "{app_name(form)}"\n'
    if not path.exists():
        path.write_text(wanted, "utf-8")
    return path.read_text("utf-8") == wanted


def clear(store: Path) -> None:
    """Begin anew: forget the store of a form, and the books beside it. Raises Rejected where it is in use."""
    holder = find_holder(store) if store.exists() else None
    if holder is not None:
        raise Rejected(f"store {store}: process {holder.pid} runs it", "Stop that one first, then begin anew.")
    book = store.with_name(errands.LEDGER_NAME)
    asyncio.run(close(book))
    for name in (store.name, book.name):
        for path in store.parent.glob(f"{name}*"):
            path.unlink()


async def run_demo(*, form: Form, folder: Path, progress: bool = False) -> Outcome:
    """Bring all orders and returns as far as they get by themselves, and see how they stand."""
    app: App = importlib.import_module(f"partita_shop.{form}").app
    store = store_path(form, folder)
    store.parent.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    began_us = clock.now_us()
    with errands.in_folder(store.parent) as book:
        async with outside(book), app.run(store) as client:
            invoices = list_invoices()
            async with _metered(client.look, Meter(len(invoices), shown=progress)):
                await _play(client, invoices)
            seconds = (clock.now_us() - began_us) / 1_000_000
            cases = tuple(list_cases(client.look))
            stories = tuple(_stories(client.look, cases))
            stuck = next((story.view for story in stories if story.title == "stuck"), None)
            why = client.look.why(stuck.case, "OrderShipped") if stuck is not None else None
    return Outcome(form, store, seconds, cases, stories, why, tally(read_entries(book)))


# What happens.


async def _play(client: LocalClient, invoices: Sequence[Invoice]) -> None:
    await client.call(TakeDelivery(delivery_id="opening", lines=opening_stock(invoices)), key="delivery:opening")
    if client.look.find_where(invoices[0].case) is None:  # Not again once somebody may have resumed it.
        checked(await client.ask(Request(op="pause", key=f"pause:{GIFT_NOTES}", group=GIFT_NOTES, by="the demo")))
    for invoice in invoices:
        await client.emit(invoice.message(), key=invoice.case)
    for raw in filter(None, map(gift_note, invoices)):
        checked(await client.ask(Request(op="put", key=client.new_key(), raw=base64.b64encode(raw).decode())))
    await client.settle(horizon=_HORIZON)
    for invoice in invoices:
        await _decide(client, invoice)
    await client.settle(horizon=_HORIZON)


def gift_note(invoice: Invoice) -> bytes | None:
    """What the web form puts on the transport about an order, if anything: a CloudEvent, in two of three cases fit."""
    found = trouble.trouble_of(invoice.id)
    if invoice.is_return or found not in {"gift note", "poison"}:
        return None
    text = "Happy Christmas!"
    event = {
        "specversion": "1.0",
        "id": f"gift-note-{invoice.id}",
        "source": "web-form",
        "type": "GiftNoteAsked",
        "subject": invoice.case,
        "time": f"{invoice.placed_at}:00Z",
        # The envelope of a poison message reads, and its body does not: its text is no text.
        "data": {"order_id": invoice.id, "text": {"en": text} if found == "poison" else text},
    }
    return json.dumps(event).encode()


async def _decide(client: LocalClient, invoice: Invoice) -> None:
    """Do about a large order what a person would: look whether it waits for a decision, and take one, or put it off."""
    decision = trouble.decision_on(invoice.id)
    if invoice.is_return or invoice.pence <= trouble.LARGE_PENCE or decision == "leave":
        return
    if "OrderApproved" in client.look.where(invoice.case).waiting_for:
        command = DecideOrder(order_id=invoice.id, approve=decision == "approve", by=MANAGER)
        await client.call(command, key=f"decision:{invoice.id}")


@asynccontextmanager
async def _metered(look: Look, meter: Meter) -> AsyncGenerator[None]:
    """Show how many cases have come to rest, while the block lasts."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            counts = look.count_verdicts()
            meter.show(sum(counts.values()) - counts.get("running", 0))

    with meter:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()


# What came of it.


def list_cases(look: Look) -> list[CaseLine]:
    """Every case of a store, worst first."""
    found, cursor = look.list_cases()
    while cursor is not None:
        more, cursor = look.list_cases(cursor=cursor)
        found += more
    return found


def _stories(look: Look, cases: Sequence[CaseLine]) -> list[Story]:
    told = [
        ("done", _pick(cases, "done", "gateway flaky")),
        ("compensated", _pick(cases, "compensated", "shipment refused")),
        ("waiting for approval", _pick(cases, "waiting", None)),
        ("stuck", _pick(cases, "failed", "carrier down")),
    ]
    return [Story(title, look.show(case)) for title, case in told if case is not None]


def _pick(cases: Sequence[CaseLine], verdict: str, wanted: trouble.Trouble | None) -> str | None:
    """The first order, by its id, with that verdict and trouble."""
    fitting = (line.case for line in cases if line.verdict == verdict and line.case.startswith("order:"))
    return next((case for case in sorted(fitting) if trouble.trouble_of(case.partition(":")[2]) == wanted), None)
