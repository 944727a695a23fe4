"""The demo, whole: the same end in every form, after every kill, as the ids of the orders foretell it."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL

import apsw
import msgspec
import pytest

from partita.clock import SystemClock
from partita.errors import Rejected
from partita.monitor.cases import CaseLine
from partita.runtime.access import open_access
from partita.runtime.app import load_app
from partita.runtime.backends import read
from partita.runtime.requests import Request, checked
from partita.store.facts import Published
from partita_shop import errands
from partita_shop.books import read_entries
from partita_shop.demo import Form, Outcome, app_name, clear, list_cases, main, run_demo, store_path
from partita_shop.orders import Invoice, list_invoices, opening_stock
from partita_shop.trouble import LARGE_PENCE, decision_on, trouble_of

FORMS: tuple[Form, ...] = ("hybrid", "choreography", "orchestration")
TABLES = (
    "inventory_stock",
    "inventory_reserved",
    "billing_charge",
    "billing_refund",
    "shipping_parcel",
    "notifications_gift",
    "analytics_count",
)
Business = dict[str, object]
each_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Form], tuple[Outcome, Path]]:
    """A demo that ran to its end, in each form once."""
    done: dict[Form, tuple[Outcome, Path]] = {}

    def of(form: Form) -> tuple[Outcome, Path]:
        if form not in done:
            folder = tmp_path_factory.mktemp(form)
            done[form] = asyncio.run(run_demo(form=form, folder=folder)), folder
        return done[form]

    return of


Finished = Callable[[Form], tuple[Outcome, Path]]


@each_form
def test_every_case_gets_the_verdict_that_its_id_foretells(finished: Finished, form: Form) -> None:
    outcome, _folder = finished(form)

    found = {line.case: line.verdict for line in outcome.cases}
    assert found == {"delivery:opening": "done"} | {invoice.case: foretold(invoice) for invoice in list_invoices()}


@each_form
def test_nothing_is_done_twice_outside(finished: Finished, form: Form) -> None:
    outcome, _folder = finished(form)

    assert outcome.outside.twice == []
    assert outcome.outside.suppressed > 0, "no request came twice: nothing was put to the test"


@each_form
def test_the_shelves_hold_what_was_delivered_less_what_was_kept(finished: Finished, form: Form) -> None:
    _outcome, folder = finished(form)

    free = {line.sku: line.count for line in opening_stock(list_invoices())}
    for invoice in list_invoices():
        for sku, count in invoice.counts.items():
            free[sku] += count if invoice.is_return else -count if keeps_its_goods(invoice) else 0
    assert business(store_path(form, folder))["inventory_stock"] == sorted(free.items())


def test_the_three_forms_come_to_the_same_business(finished: Finished) -> None:
    hybrid, choreography, orchestration = (business(store_path(form, finished(form)[1])) for form in FORMS)

    assert choreography == hybrid
    assert orchestration == hybrid


@each_form
def test_a_second_demo_changes_nothing(finished: Finished, form: Form) -> None:
    before, folder = finished(form)

    after = asyncio.run(run_demo(form=form, folder=folder))

    assert after.outside == before.outside
    assert [(line.case, line.verdict) for line in after.cases] == [(line.case, line.verdict) for line in before.cases]


@pytest.mark.crash
@pytest.mark.parametrize(
    ("form", "requests"),
    [
        ("hybrid", 1),
        ("hybrid", 400),
        ("choreography", 300),
        ("choreography", 900),
        ("orchestration", 880),
    ],
)
def test_a_killed_demo_goes_on_and_comes_to_the_same_end(
    finished: Finished, tmp_path: Path, form: Form, requests: int
) -> None:
    whole, folder = finished(form)
    store = store_path(form, tmp_path / "partita-demo")
    book = store.with_name(errands.LEDGER_NAME)

    asyncio.run(kill_after(requests, [sys.executable, "-m", "partita", "demo", "--form", form], tmp_path, book))
    outcome = asyncio.run(run_demo(form=form, folder=tmp_path / "partita-demo"))

    assert {line.case: line.verdict for line in outcome.cases} == {line.case: line.verdict for line in whole.cases}
    assert business(store) == business(store_path(form, folder))
    assert outcome.outside.twice == []


@each_form
def test_a_carrier_that_was_down_answers_who_redrives(tmp_path: Path, form: Form) -> None:
    asyncio.run(run_demo(form=form, folder=tmp_path))
    (tmp_path / "partita.toml").write_text('store = "elsewhere.db"\n')
    case = next(invoice.case for invoice in list_invoices() if trouble_of(invoice.id) == "carrier down")
    flags = ["--store", str(store_path(form, tmp_path)), "--app", app_name(form)]

    mended = partita(tmp_path, "retry", case, "--run", *flags)
    where = partita(tmp_path, "where", case, "--json", *flags)

    assert mended.returncode == 0, mended.stderr
    assert (where.returncode, json.loads(where.stdout)["verdict"], json.loads(where.stdout)["at"]) == (
        0,
        "done",
        "OrderShipped",
    )


def test_the_demo_leaves_its_store_where_the_commands_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(form="hybrid", folder=Path("partita-demo"), as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    where = partita(tmp_path, "where", report["examples"]["stuck"]["case"], "--json")

    assert report["commands"][0] == "partita ps --stuck", "the commands need no export: ./partita.toml names the store"
    assert (where.returncode, json.loads(where.stdout)["verdict"]) == (2, "failed")


def test_a_fresh_demo_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("partita-demo")
    main(form="hybrid", folder=folder, as_json=True)
    store = store_path("hybrid", folder)
    asyncio.run(mend_all(store))

    main(form="hybrid", folder=folder, as_json=True, fresh=True)

    assert {line.case: line.verdict for line in cases_of(store)}["order:536477"] == "failed"


async def test_a_demo_that_runs_is_not_begun_anew(tmp_path: Path) -> None:
    store = store_path("hybrid", tmp_path)
    async with load_app(app_name("hybrid")).run(store):
        with pytest.raises(Rejected, match="runs it"):
            clear(store)


def test_the_stories_are_of_each_kind(finished: Finished) -> None:
    outcome, _folder = finished("hybrid")

    assert [(story.title, story.view.verdict) for story in outcome.stories] == [
        ("done", "done"),
        ("compensated", "compensated"),
        ("waiting for approval", "waiting"),
        ("stuck", "failed"),
    ]
    assert outcome.why is not None
    assert outcome.why.leading.leaf in {"dead", "call_held"}
    assert "the carrier does not answer" in outcome.why.leading.sentence


def partita(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command, typed in a folder."""
    command = [sys.executable, "-m", "partita", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def foretold(invoice: Invoice) -> str:
    """The verdict on an invoice, by its id and its sum alone."""
    trouble = None if invoice.is_return else trouble_of(invoice.id)
    decision = decision_on(invoice.id) if invoice.pence > LARGE_PENCE and not invoice.is_return else "approve"
    if trouble == "poison":
        return "failed"
    if trouble == "gift note":
        return "running"
    if decision != "approve":
        return "waiting" if decision == "leave" else "compensated"
    if trouble in {"card declined", "out of stock", "shipment refused"}:
        return "compensated"
    return "failed" if trouble in {"carrier down", "mailbox gone"} else "done"


def keeps_its_goods(order: Invoice) -> bool:
    """Whether goods stay reserved for an order at the end."""
    decided = order.pence <= LARGE_PENCE or decision_on(order.id) == "approve"
    return decided and trouble_of(order.id) not in {"card declined", "out of stock", "shipment refused"}


def business(store: Path) -> Business:
    """What the services' own tables, the customers and the world outside know in the end, without ids and times."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    found: Business = {table: sorted(connection.execute(f"select * from {table}")) for table in TABLES}
    connection.close()
    reader = read(store, clock=SystemClock())
    found["cancelled"] = {
        line.case: [
            msgspec.json.decode(fact.body.data)["reason"]
            for fact in reader.trail.list_case_facts(line.case)
            if isinstance(fact.body, Published) and fact.body.type == "OrderCancelled"
        ]
        for line in cases_of(store)
        if line.verdict == "compensated"
    }
    reader.close()
    done = [entry.asked for entry in read_entries(store.with_name(errands.LEDGER_NAME)) if entry.effect]
    found["outside"] = sorted((asked.op, asked.case, asked.subject, asked.pence) for asked in done)
    return found


def cases_of(store: Path) -> list[CaseLine]:
    async def listed() -> list[CaseLine]:
        async with open_access(store) as access:
            return list_cases(access.look)

    return asyncio.run(listed())


async def mend_all(store: Path) -> None:
    """Redrive what an operator would."""
    with errands.in_folder(store.parent):
        async with load_app(app_name("hybrid")).run(store) as client:
            checked(await client.ask(Request(op="retry", key="mend", case="order:536477")))
            await client.settle(horizon="1s")
            assert client.look.where("order:536477").verdict == "done"


async def kill_after(requests: int, command: list[str], folder: Path, book: Path) -> None:
    """Run a command in a folder, and kill it when the world outside has been asked so many times."""
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=DEVNULL, stderr=DEVNULL)
    async with asyncio.timeout(60):
        while len(read_entries(book)) < requests:
            assert process.returncode is None, "it ended before it could be killed"
            await asyncio.sleep(0.002)
    process.kill()
    assert await process.wait() == -signal.SIGKILL
