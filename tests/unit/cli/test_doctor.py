import json
from pathlib import Path

import apsw
import pytest

from partita.cli.main import run
from partita.clock import SystemClock
from partita.errors import StoreError
from partita.runtime.backends import Shelf, examine, take
from partita.store.facts import NewFact, Opened
from partita.store.health import Finding
from partita.store.port import Unit


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    held = take(path, clock=SystemClock(), app="shop", shelf=Shelf())
    held.submit(Unit(facts=[NewFact(Opened(app="shop", version="1"))]))
    await held.close()
    return path


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


async def test_a_store_that_is_well_is_said_to_be(store: Path) -> None:
    findings = examine(store)

    assert [finding.name for finding in findings] == ["file", "format", "lock", "disk", "pages", "chain", "tables"]
    assert [finding for finding in findings if not finding.well] == []
    assert named(findings)["format"].facts["app"] == "shop"
    assert named(findings)["chain"].facts == {"facts": 1, "broken_at": None}


async def test_the_holder_is_named_and_its_missing_socket_too(store: Path) -> None:
    held = take(store, clock=SystemClock(), app="shop", shelf=Shelf())
    try:
        lock = named(examine(store))["lock"]
    finally:
        await held.close()

    assert not lock.well
    assert "no socket" in lock.said
    assert "kill" in lock.remedy


async def test_a_store_that_was_left_in_a_hurry_is_well_and_says_so(store: Path) -> None:
    held = take(store, clock=SystemClock(), app="shop", shelf=Shelf())
    await held.close(clean=False)

    lock = named(examine(store))["lock"]
    assert lock.well
    assert lock.facts["clean"] == 0
    assert "ended without closing it" in lock.said


async def test_a_changed_fact_breaks_the_chain_and_the_exit_code(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = apsw.Connection(str(store))
    connection.execute("update trail set at = at + 1 where seq = 1")
    connection.close()

    assert run(["doctor", "--json", "--store", str(store)]) == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["well"]
    (broken,) = [one for one in found["findings"] if not one["well"]]
    assert (broken["name"], broken["facts"]["broken_at"]) == ("chain", 1)
    assert "restore the last backup" in broken["remedy"]


async def test_what_is_not_well_is_the_first_line(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = apsw.Connection(str(store))
    connection.execute("update trail set at = at + 1 where seq = 1")
    connection.close()

    assert run(["doctor", "--store", str(store)]) == 2
    assert capsys.readouterr().out.startswith("not well: chain\n")


def test_a_store_of_a_newer_format_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.db"
    connection = apsw.Connection(str(path))
    connection.execute("pragma application_id = 0x70617274")
    connection.execute("create table meta (key text primary key, value text)")
    connection.execute("insert into meta values ('format', '99'), ('format_oldest_readable', '99')")
    connection.close()

    assert run(["doctor", "--store", str(path)]) == 70
    assert capsys.readouterr().err.splitlines()[1].startswith("Install the newer version")


async def test_a_newer_format_that_can_be_read_asks_for_the_newer_version_and_no_backup(store: Path) -> None:
    connection = apsw.Connection(str(store))
    connection.execute("update meta set value = '9' where key = 'format'")
    connection.close()

    findings = examine(store)
    (wrong,) = [finding for finding in findings if not finding.well]
    assert (wrong.name, wrong.remedy) == ("format", "Install the newer version: pip install --upgrade partita")
    assert "a newer partita has written it" in wrong.said
    assert "tables" not in named(findings)


def test_what_is_left_of_a_store_that_was_cut_off_is_not_well(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.write_bytes(store.read_bytes()[:5_000])

    assert run(["doctor", "--store", str(store)]) == 2
    said = capsys.readouterr().out
    assert said.startswith("not well: file\n")
    assert "restore the last backup" in said
    assert "Run `partita doctor`" not in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("update meta set value = '7' where key = 'clean'", "closed cleanly"),
        ("insert into grp values ('card', 'paused', 1, 'x')", "group card"),
        ("insert into request values ('k', 1)", "request k"),
        ("insert into message values ('m', x'00', 1)", "message 'm'"),
        ("drop view fact", "view fact"),
        (
            "insert into obligation (message, grp, type, seq, position, state) values ('m', 'g', 'T', 1, 1, 'open')",
            "g of m",
        ),
    ],
)
def test_a_row_that_no_fact_comes_to_is_named(store: Path, change: str, said: str) -> None:
    connection = apsw.Connection(str(store))
    connection.execute(change).fetchall()
    connection.close()

    tables = named(examine(store))["tables"]
    assert not tables.well
    assert said in tables.said
    assert "backup" in tables.remedy


def test_a_generation_that_is_no_number_is_an_error_of_ours(store: Path) -> None:
    connection = apsw.Connection(str(store))
    connection.execute("update meta set value = '!' where key = 'generation'")
    connection.close()

    with pytest.raises(StoreError, match=r"generation '!'.*\n.*restore the last backup"):
        examine(store)
