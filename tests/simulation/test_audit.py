"""The audit has nothing to say of a store that nobody has touched, whatever its engine went through."""

from typing import Any

import pytest

from partita.monitor.fold import CaseProjection
from partita.runtime.backends import Shelf
from partita.store.audit import Shelves, audit
from partita.testing import life
from partita.testing.simulation import simulate
from partita.testing.system import System

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_after_each_death_of_an_engine_every_row_is_what_the_facts_come_to(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    looks = 0
    make_tables = life.make_tables

    async def look_then_make_tables(store: Any, services: Any) -> None:
        nonlocal looks
        shelf = Shelf()
        shelf.trail = store.trail
        found.extend(audit(Shelves(store.trail, store.work, store.cases), CaseProjection(shelf.get)))
        looks += 1
        await make_tables(store, services)

    monkeypatch.setattr(life, "make_tables", look_then_make_tables)
    monkeypatch.setattr(System, "_projection", lambda _system: CaseProjection)  # an older one reads otherwise
    for seed in range(first, first + 10):
        simulate(seed)

    assert found == []
    assert looks > 20
