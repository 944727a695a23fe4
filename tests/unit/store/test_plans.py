"""No statement walks through a table that grows for ever."""

import re
from collections.abc import Iterator
from types import ModuleType

import apsw
import pytest

from partita.store.sqlite import folding, names, operations, readers, register, runs, trail
from partita.store.sqlite.migrate import migrate
from tests.conformance.store_desk import SetClock

WHOLE = re.compile(r"\bSCAN (trail|case_ref|message|obligation|run|cases)\b(?! USING INDEX cases_stuck)")
GROWING_ON_PURPOSE = {
    "_ALL_OBLIGATIONS": "what is owed is asked for as a whole, at the start",
    "_LAST_OF_SOURCE": "from the end, to the first fact of our own source",
    "_LAST_AT": "the last thousand facts",
    "retire_obligations": "somebody asked for it by hand",
}
PARTS = {"_FACTS", "_RUNS", "_OBLIGATIONS", "_CASES", "_AFTER", "_STUCK", "_WORST_FIRST"}


def statements(module: ModuleType) -> dict[str, str]:
    """A room's statements by their names."""
    texts = {name: value for name, value in vars(module).items() if isinstance(value, str) and name not in PARTS}
    return {name: sql for name, sql in texts.items() if re.match("(select|update|delete|insert) ", sql)}


def listings() -> dict[str, str]:
    begin, end = readers._CASES + readers._AFTER, readers._WORST_FIRST
    return {
        "cases worst first": begin + end,
        "cases of a rank": f"{begin}and rank in (?) {end}",
        "stuck cases": begin + readers._STUCK + end,
        "facts after": trail._AFTER,
    }


ROOMS = (folding, names, readers, register, runs, trail)
EACH = {name: sql for room in ROOMS for name, sql in statements(room).items()} | listings() | operations.STATEMENTS


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(tmp_path_factory.mktemp("plans") / "shop.db"))
    migrate(connection, name="shop.db", app="shop", clock=SetClock())
    yield connection
    connection.close()


@pytest.mark.parametrize("name", sorted(EACH.keys() - GROWING_ON_PURPOSE.keys()))
def test_a_statement_finds_its_rows_by_an_index(name: str, connection: apsw.Connection) -> None:
    sql = EACH[name]
    numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    values = (1,) * max(numbers, default=sql.count("?"))

    plan = [str(row[3]) for row in connection.execute(f"explain query plan {sql}", values)]

    assert [line for line in plan if WHOLE.search(line)] == []
