"""What only this backend keeps: nothing to say of it as it was written, one sentence for each thing changed."""

from collections.abc import AsyncIterator

import pytest
from msgspec import Raw

from partita.messages.envelope import body_digest, partition_of
from partita.messages.topology import Topology
from partita.store import work
from partita.store.facts import NewFact, Published, Started
from partita.store.port import Write
from partita.store.sqlite import bookkeeping
from partita.store.sqlite.bookkeeping import check_bookkeeping
from partita.store.sqlite.connection import forget_memory, open_connection
from partita.store.sqlite.migrate import list_migrations
from tests.conformance.store_desk import MESSAGE, RUN, Desk, add_run, published, stepped
from tests.unit.store.sqlite_desk import opened

NEWEST = list_migrations()[-1][0]
DATA = b'{"sku":1}'
OTHER = "f" * 32


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with opened("memory:books") as desk:
        yield desk
    forget_memory("memory:books")


def check(desk: Desk, *changes: str, params: tuple[str | int | bytes, ...] = ()) -> list[str]:
    """What is said after these changes by somebody else."""
    connection = open_connection("memory:books")
    for sql in changes:
        connection.execute(sql, params).fetchall()
    said = list(check_bookkeeping(connection, desk.trail))
    connection.close()
    return said


async def say_something(desk: Desk) -> None:
    """A message under its id, one under a word, and a run started by nobody's message."""
    for message in (MESSAGE, "order-7"):
        body = Published(id=message, type="OrderPlaced", data=Raw(DATA))
        know = Write(work.KNOW_MESSAGE, (message, body_digest(DATA)), None, 0)
        await desk.accept(NewFact(body, case="order:1"), writes=[know])
    started = NewFact(Started(workflow="fulfil", correlation=OTHER, data=Raw(DATA)), run=RUN)
    know = Write(work.KNOW_MESSAGE, (OTHER, body_digest(DATA)), None, 0)
    await desk.accept(started, writes=[add_run(), know])


@pytest.mark.parametrize("page", [1, 2, 5_000])
async def test_what_is_as_it_was_written_is_well(desk: Desk, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(bookkeeping, "PAGE", page)
    desk.store.register_topology(Topology(app="shop"))
    await say_something(desk)
    await desk.accept(published("order:2"), published("order:3"))

    assert check(desk) == []
    assert check(desk, "update meta set value = '1' where key = 'clean'") == []


async def test_a_schema_that_was_changed_is_named(desk: Desk) -> None:
    assert check(desk, "drop index run_open", "create table shop_item (sku)") == [
        "index run_open is not as it was made"
    ]
    assert check(desk, "create index run_open on run (status)") == ["index run_open is not as it was made"]


# Meta.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("update meta set value = '0' where key = 'format'", f"meta says format 0, and this is {NEWEST}"),
        ("update meta set value = '2' where key = 'clean'", "meta does not say whether it was closed cleanly"),
        (
            "update meta set value = '9' where key = 'generation'",
            "meta says source {}/9, which has never numbered a fact",
        ),
        ("update meta set value = 'x' where key = 'source'", "meta says source x/1, which has never numbered a fact"),
        ("delete from meta where key = 'app'", "meta says app None, and it was run by shop, shop-too"),
        ("update meta set value = 'bar' where key = 'app'", "meta says app 'bar', and it was run by shop, shop-too"),
    ],
)
async def test_a_line_of_meta_that_was_changed_is_named(desk: Desk, change: str, said: str) -> None:
    await desk.accept(published())
    source = desk.trail.list_facts()[0].source.partition("/")[0]
    for app in ("shop-too", "shop"):
        desk.store.register_topology(Topology(app=app))

    assert check(desk, change) == [said.format(source)]


async def test_a_store_that_no_app_has_run_yet_may_name_any(desk: Desk) -> None:
    assert check(desk, "update meta set value = 'bar' where key = 'app'") == []
    assert check(desk, "delete from meta where key = 'app'") == ["meta says app None, and it was run by "]


async def test_a_store_of_no_app_may_be_run_by_any(desk: Desk) -> None:
    desk.store.register_topology(Topology(app="shop"))

    assert check(desk, "update meta set value = '' where key = 'app'") == []


# Topologies.


@pytest.mark.parametrize(
    "change",
    [
        "update topology set version = 7 where version = 2",
        "update topology set digest = 'x' where version = 2",
        "update topology set app = 'bar' where version = 2",
    ],
)
async def test_a_topology_that_was_changed_is_named(desk: Desk, change: str) -> None:
    for app in ("shop", "shop-too"):
        desk.store.register_topology(Topology(app=app))

    (said,) = check(desk, change)
    assert said in {"topology 2 is not what its digest says", "topology 7 is not what its digest says"}


# Cases.


@pytest.mark.parametrize("page", [1, 2, 5_000])
async def test_a_case_in_the_wrong_partition_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(bookkeeping, "PAGE", page)
    await desk.accept(*(published(f"order:{n}") for n in range(4)))

    right = {n: partition_of(f"order:{n}") for n in range(4)}
    assert check(desk, "update cases set partition = -1 where case_key in ('0', '3')") == [
        f"case order:{n} is in partition -1, and belongs to {right[n]}" for n in (0, 3)
    ]


# Messages.


@pytest.mark.parametrize("page", [1, 2, 5_000])
@pytest.mark.parametrize(
    ("change", "params", "key", "seq"),
    [
        ("insert into message values (?, x'00', 1)", (1,), 1, 1),
        ("insert into message values (?, x'00', 1)", ("zzz",), "zzz", 1),
        ("insert into message values (?, x'00', 99)", (b"\xff",), b"\xff", 99),
        ("update message set digest = x'00' where id = ?", ("order-7",), "order-7", 2),
        ("update message set digest = x'00' where id = ?", (bytes.fromhex(OTHER),), bytes.fromhex(OTHER), 3),
        ("update message set seq = 2 where id = ?", (bytes.fromhex(MESSAGE),), bytes.fromhex(MESSAGE), 2),
        ("update message set seq = 3 where id = ?", (bytes.fromhex(MESSAGE),), bytes.fromhex(MESSAGE), 3),
        ("update message set seq = 4 where id = ?", (bytes.fromhex(MESSAGE),), bytes.fromhex(MESSAGE), 4),
    ],
)
async def test_a_known_message_of_which_its_fact_does_not_speak_is_named(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    *,
    page: int,
    change: str,
    params: tuple[str | int | bytes, ...],
    key: object,
    seq: int,
) -> None:
    monkeypatch.setattr(bookkeeping, "PAGE", page)
    await say_something(desk)

    assert check(desk, change, params=params) == [f"message {key!r} is known by fact {seq}, which does not say so"]


async def test_a_fact_that_is_no_message_makes_none_known(desk: Desk) -> None:
    await desk.start_run()
    await desk.accept(stepped())

    assert check(desk, "insert into message values ('m', ?, 2)", params=(body_digest(b""),)) == [
        "message 'm' is known by fact 2, which does not say so"
    ]
