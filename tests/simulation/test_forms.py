"""The three forms of the simulated shop do the same business, under faults, before any limit of a workflow passes."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - the seeded dice of the test
from typing import Any

import pytest
from msgspec.structs import replace
from typing_extensions import override

from partita.monitor.fold import CaseProjection
from partita.runtime.backends import Shelf
from partita.runtime.look import Look
from partita.store.facts import Published
from partita.store.sqlite.store import open_store
from partita.testing.chaos import Chaos
from partita.testing.customers import Customers
from partita.testing.forms import FORMS
from partita.testing.outside import Plan, Rates
from partita.testing.people import People
from partita.testing.processes import Placed
from partita.testing.simulation import Simulation
from partita.testing.subject import Subject

SEEDS = range(1, 41)
CALM = {"evict": 2.0, "kill": 0.5, "restart": 0.5, "kill later": 0.5}


@dataclass
class Business:
    """What came of each order, and what lies on the shelves."""

    verdicts: dict[str, str] = field(default_factory=dict[str, str])
    ends: dict[str, str] = field(default_factory=dict[str, str])
    effects: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    too_late: set[str] = field(default_factory=set[str])
    """Orders in which a limit of a workflow has passed, or a call's attempts were spent."""


class Modest(Customers):
    """Customers who can all be served, whoever comes first; but for one who wants more than there is."""

    @override
    async def _order(self, order: Placed, after_s: float) -> None:
        wanted = replace(order, count=9 if order.order_id == "o4" else 1)
        self.placed[order.order_id] = wanted
        await super()._order(wanted, after_s)


class Shop(Simulation):
    """The simulation of one seed in one form: faults everywhere, and nothing that depends on the form."""

    def __init__(self, seed: int, form: str) -> None:
        super().__init__(seed)
        plans = plans_of(seed)
        self.subject = Subject(form, FORMS[form], (), frozenset(), [Modest(plans)], plans)
        self._setting.app = FORMS[form]
        self.system.deploys = self.system.others = self.system.retires = 0.0
        outside = self.system.outside
        outside.rates = Rates(before=0.05, after=0.05)
        outside.plans = plans
        self.people = People(self.system, self.subject.parties)
        self.chaos = Chaos(self.system, CALM, every_s=2.0)
        self.business = Business()

    @override
    async def _live(self) -> int:
        facts = await super()._live()
        self._look()
        return facts

    def _look(self) -> None:
        shelf = Shelf()
        store = open_store(
            self.place, clock=self._setting.clock, projection=CaseProjection(shelf.get), app=self._setting.app.name
        )
        shelf.trail = store.trail
        look = Look(store.trail, store.work, store.cases, clock=self._setting.clock, is_running=lambda: True)
        found = self.business
        for order_id in self.system.outside.plans:
            case = f"order:{order_id}"
            found.verdicts[case], found.ends[case] = look.where(case).verdict, str(look.where(case).at)
            effects = [effect for effect in self.system.outside.effects.values() if effect.case == case]
            money = sum(-one.amount if one.kind == "refund" else one.amount for one in effects)
            # Only workflows ask for a review: a delayed event is something that a wiring can't publish.
            kept = Counter(one.kind for one in effects if one.kind in {"mail confirmed", "mail cancelled"})
            parcels = sum({"parcel": 1, "recall": -1}.get(one.kind, 0) for one in effects)
            found.effects[case] = kept + Counter({"money": money, "parcels": parcels})
            said: list[Any] = [fact.body for fact in store.trail.list_case_facts(case)]
            reasons = [bytes(one.data) for one in said if isinstance(one, Published) and one.type == "Cancelled"]
            if any(b"in time" in one or b"attempts" in one or b"Error" in one for one in reasons):
                found.too_late.add(case)
        store.abandon()


def plans_of(seed: int) -> dict[str, Plan]:
    """The same orders in every form: what the business says of each is a function of the seed."""
    dice = Random(seed)

    def sometimes(chance: float) -> bool:
        return dice.random() < chance

    return {
        f"o{number}": Plan(
            large=sometimes(0.3),
            declined=sometimes(0.2),
            refused=sometimes(0.2),
            approves=dice.choice([True, True, False]),
        )
        for number in range(1, 5)
    }


@pytest.mark.simulation
@pytest.mark.parametrize("seed", SEEDS)
def test_the_three_forms_come_to_the_same_business(seed: int) -> None:
    shops = {form: Shop(seed, form) for form in FORMS}
    wrong = {form: shop.run().wrong for form, shop in shops.items()}
    assert wrong == {form: [] for form in FORMS}

    late = set[str]().union(*(shop.business.too_late for shop in shops.values()))
    results = {form: say(shop.business, late) for form, shop in shops.items()}
    assert len(late) < 3, "too few orders are left to compare"
    assert results["orchestration"] == results["choreography"]
    assert results["hybrid"] == results["choreography"]


def say(found: Business, late: set[str]) -> dict[str, object]:
    return {
        case: (verdict, found.ends[case], found.effects[case])
        for case, verdict in found.verdicts.items()
        if case not in late
    }
