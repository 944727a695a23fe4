"""Nobody changes what was said without it being seen."""

from pathlib import Path

import apsw
import pytest

from partita.store.sqlite.chain import ORIGIN, digest_of, link
from partita.store.sqlite.codec import CODEC_ERASED
from tests.conformance.store_desk import RUN, published, stepped
from tests.unit.store.sqlite_desk import opened

FACTS = 8


async def tampered(path: Path, sql: str, *params: object) -> int | None:
    """Where the chain of a store breaks after `sql` was run on its file."""
    async with opened(path) as desk:
        await desk.start_run()
        await desk.accept(*(stepped(also=("customer:7",)) for _ in range(FACTS - 3)))
        await desk.accept(published(), published("order:2"))
    connection = apsw.Connection(str(path))
    connection.execute(sql, params).fetchall()  # type: ignore[arg-type]
    connection.close()
    async with opened(path) as desk:
        return desk.trail.check_chain()


@pytest.mark.parametrize(
    "change",
    [
        "body = cast(replace(cast(body as text), 'done', 'gone') as blob)",
        "at = at + 1",
        "kind = 1",
        "case_id = 2",
        "run_n = 17",
        "also = null",
        'causes = \'[["m","g",1]]\'',
        "code = 9",
        "chain = zeroblob(16)",
        "n = 9",
        "codec = 2",
        "codec = 1",
        "codec = 9",
    ],
)
async def test_a_changed_fact_breaks_the_chain_at_its_place(tmp_path: Path, change: str) -> None:
    assert await tampered(tmp_path / "a.db", f"update trail set {change} where seq = 4") == 4


async def test_a_fact_taken_out_breaks_the_chain_at_the_next_one(tmp_path: Path) -> None:
    assert await tampered(tmp_path / "a.db", "delete from trail where seq = 4") == 5


async def test_the_first_fact_taken_out_breaks_the_chain(tmp_path: Path) -> None:
    assert await tampered(tmp_path / "a.db", "delete from trail where seq = 1") == 2


async def test_a_renamed_case_breaks_the_chain(tmp_path: Path) -> None:
    assert await tampered(tmp_path / "a.db", "update cases set case_key = 'x' where case_key = '1'") == 1


async def test_an_erased_body_leaves_the_chain_whole_and_the_fact_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as desk:
        await desk.start_run()
        await desk.accept(stepped())
    connection = apsw.Connection(str(path))
    ((body,),) = connection.execute("select body from trail where seq = 2").fetchall()
    assert isinstance(body, bytes)
    connection.execute("update trail set codec = ?, body = ? where seq = 2", (CODEC_ERASED, digest_of(body)))
    connection.close()

    async with opened(path) as desk:
        assert desk.trail.check_chain() is None
        fact = desk.trail.list_history(RUN)[1]
        assert (fact.kind, fact.body.kind, fact.run_n) == ("stepped", "unread", 2)


async def test_the_chain_can_be_checked_from_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    assert await tampered(path, "update trail set at = at + 1 where seq = 4") == 4
    async with opened(path) as desk:
        assert desk.trail.check_chain(from_seq=6) is None
        assert desk.trail.check_chain(from_seq=4) == 4


async def test_a_chain_longer_than_a_page_holds(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as desk:
        for _ in range(3):
            await desk.accept(*(published() for _ in range(700)))

        assert desk.trail.check_chain() is None
        assert desk.trail.check_chain(from_seq=1_500) is None
    connection = apsw.Connection(str(tmp_path / "a.db"))
    connection.execute("update trail set at = at + 1 where seq = 2050")
    connection.close()
    async with opened(tmp_path / "a.db") as desk:
        assert desk.trail.check_chain() == 2_050


def test_the_links_are_those_that_stores_were_written_with() -> None:
    """With others, every store of an earlier release would look as if somebody had changed it."""
    head = ("shop-1/1", 1, "published", 7, "order:1", None, None, None, None, 1)
    digest = digest_of(b"{}")
    first = link(ORIGIN, head, digest)

    assert digest.hex() == "2afb9b83f9314e5d029766197f539792"
    assert first.hex() == "7ca65d73a9a921f0e1d0c035d307b09f"
    assert link(first, head, digest).hex() == "b1a47aca08b3e611a200ebd52dbd3f77"
