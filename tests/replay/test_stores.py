"""The store files of every release can still be opened, read and written."""

import shutil
from pathlib import Path

import apsw
import pytest

from partita.store.facts import Published, Unread
from partita.store.sqlite.codec import CODEC_PACKED
from partita.store.sqlite.doctor import examine
from tests.conformance.store_desk import MESSAGE, NOW, RUN, Counting, published, stepped
from tests.replay.make_store import LONG, STORES, TOPOLOGY
from tests.unit.store.sqlite_desk import opened

RELEASES = sorted(path.stem for path in STORES.glob("*.db"))


@pytest.fixture(params=RELEASES)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(STORES / f"{request.param}.db", tmp_path / "shop.db"))


async def test_every_fact_of_a_released_store_is_read(released: Path) -> None:
    async with opened(released) as desk:
        facts = desk.trail.list_facts()

        assert len(facts) >= 33
        assert [fact.kind for fact in facts if isinstance(fact.body, Unread)] == []
        assert desk.trail.check_chain() is None
        assert len(desk.trail.list_case_facts("kind:published")) == 1
        topology = desk.trail.find_topology(facts[0].code)
        assert topology is not None
        assert topology.groups == TOPOLOGY.groups


async def test_what_a_released_store_has_packed_is_unpacked(released: Path) -> None:
    connection = apsw.Connection(str(released))
    for table in ("trail", "cases"):
        assert connection.execute(f"select count(*) from {table} where codec = {CODEC_PACKED}").get
    connection.close()

    async with opened(released) as desk:
        case = desk.cases.find_case("order:5")
        bodies = {
            bytes(fact.body.data) for fact in desk.trail.list_case_facts("order:5") if isinstance(fact.body, Published)
        }

        assert bodies == {bytes(LONG)}
        assert case is not None
        assert case.state == b" ".join([b"published"] * 20)


async def test_every_row_of_a_released_store_is_read(released: Path) -> None:
    async with opened(released) as desk:
        run = desk.work.find_run(RUN)
        message = desk.trail.find_message(MESSAGE)
        case = desk.cases.find_case("order:1")

        assert desk.store.clean
        assert run is not None
        assert (run.status, run.wakes_at) == ("stopped", NOW + 1)
        assert [row.run for row in desk.work.list_open_runs()] == ["odd/parcel:1/1"]
        assert [(row.group, row.state) for row in desk.work.list_obligations()] == [
            ("billing", "dead"),
            ("inventory", "open"),
        ]
        assert [row.state for row in desk.work.list_groups()] == ["paused"]
        assert [row.id for row in desk.work.list_requests()] == ["request-1"]
        assert message is not None
        assert case is not None


async def test_a_released_store_goes_on(released: Path) -> None:
    async with opened(released) as desk:
        before = len(desk.trail.list_history(RUN))
        answer = await desk.accept(stepped(), published("order:1"))

        assert answer.recorded[0].run_n == before + 1
        assert desk.trail.check_chain() is None
    assert [finding for finding in examine(released) if not finding.well] == []


async def test_a_released_store_is_folded_anew_by_a_newer_projection(released: Path) -> None:
    async with opened(released, projection=Counting(2)) as desk:
        assert await desk.store.refold() > 0
        assert {row.fold for row in desk.cases.list_cases()[0]} == {2}


def test_there_is_a_store_of_a_release() -> None:
    assert RELEASES
