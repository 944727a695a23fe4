"""What is simulated: the shop in one of its forms, or a process that was generated from the seed; the seed decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random  # noqa: TID251 - the simulation's seeded dice, never a secret

from partita.runtime.app import App
from partita.testing import business
from partita.testing.business import Books
from partita.testing.customers import Customers
from partita.testing.fate import Fate
from partita.testing.figures import EARS, MakeApp, make_apps
from partita.testing.forms import FORMS, OTHERS
from partita.testing.listeners import Listeners, check_webs
from partita.testing.outside import Plan
from partita.testing.people import Party
from partita.testing.rounds import Node, check_rounds, draw_plan, prune
from partita.testing.walkers import Walkers
from partita.testing.webs import Figure, WebPlan, draw_web

SHOP_TABLES = {
    "rounds_done": ("round_id", "n"),
    "stock_item": ("sku", "free"),
    "stock_held": ("order_id", "sku", "count"),
    "books_line": ("order_id", "pence"),
    "counts_event": ("type", "times"),
    "insurer_policy": ("parcel_id",),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """One app, what else of it may be deployed, who uses it, and what is known of it before it runs."""

    form: str
    app: App
    others: Sequence[MakeApp]
    retirable: frozenset[str]
    parties: Sequence[Party]
    plans: dict[str, Plan] = field(default_factory=dict[str, Plan])
    """What the business says about each case, by its key."""
    tables: Mapping[str, Sequence[str]] = field(default_factory=lambda: SHOP_TABLES)
    """Whose rows are read at the end, with their columns."""

    def check(self, books: Books) -> Iterator[str]:
        """What is wrong with the end, by those who use it."""
        for party in self.parties:
            if isinstance(party, Customers):
                yield from _check_shop(books)
            elif isinstance(party, Listeners):
                yield from check_webs(books, party.plan)
        told = next((party.results for party in self.parties if isinstance(party, Walkers)), dict[str, list[int]]())
        yield from check_rounds(books.facts, books.rows["rounds_done"], told, books.outside.effects.values())

    def cases(self) -> Iterator[str]:
        """The cases whose verdict is known before."""
        for party in self.parties:
            if isinstance(party, Customers):
                yield from (f"order:{order_id}" for order_id in party.plans)
            elif isinstance(party, Listeners):
                yield from (f"web:{web_id}" for web_id in party.plan.beats)


def _check_shop(books: Books) -> Iterator[str]:
    for look_at in (
        business.check_orders,
        business.check_stock,
        business.check_money,
        business.check_counts,
        business.check_workflows,
    ):
        yield from look_at(books)


def draw_subject(fate: Fate) -> Subject:
    """Every other seed has a generated process."""
    dice = fate.dice("subject")
    if fate.seed % 2 == 0:
        return _draw_webs(fate, dice)
    form = dice.choice(list(FORMS))
    plans = {f"o{number}": _draw_plan(dice, form) for number in range(1, dice.randint(2, 6))}
    plans = {name: _milder(fate, name, plan) for name, plan in plans.items() if fate.happens(f"{name} is placed")}
    parties: list[Party] = [Customers(plans)]
    if form != "choreography":
        parties.append(Walkers(_draw_rounds(fate, dice, most=2)))
    others = [partial(OTHERS[form].__getitem__, at) for at in range(2)]
    return Subject(form, FORMS[form], others, frozenset({"counts"}), parties, plans)


def _draw_webs(fate: Fate, dice: Random) -> Subject:
    cues = dice.random() < 0.6
    plan = draw_web(dice, cues=cues)
    webs = {
        web_id: {beat: amount for beat, amount in beats.items() if fate.happens(f"{web_id} has beat {beat}")}
        for web_id, beats in plan.beats.items()
    }
    figures = tuple(_milder_figure(fate, figure) for figure in plan.figures)
    plan = WebPlan(figures, {web_id: beats for web_id, beats in webs.items() if beats})
    app, deaf, before = make_apps(plan, cues=cues)
    parties: list[Party] = [Listeners(plan)]
    if cues:
        parties.append(Walkers(_draw_rounds(fate, dice, most=1)))
    retirable = frozenset(f"{EARS}{figure.n}" for figure in figures if figure.kind == "listen")
    return Subject(
        "webs with workflows" if cues else "webs",
        app(),
        (deaf, before),
        retirable,
        parties,
        _draw_poison(fate, dice, plan),
        {"rounds_done": SHOP_TABLES["rounds_done"]},
    )


def _draw_poison(fate: Fate, dice: Random, plan: WebPlan) -> dict[str, Plan]:
    """One beat of one figure may kill the process that asks for it."""
    figure, drawn = dice.choice(plan.figures), dice.random()
    web_id, beat = "w1", 1
    if drawn > 0.1 or not fate.happens(f"figure {figure.n} of {web_id} kills"):
        return {}
    return {web_id: Plan(poison=f"figure {figure.n} beat {beat}")}


def _draw_rounds(fate: Fate, dice: Random, *, most: int) -> dict[str, Node]:
    drawn = {f"r{number}": draw_plan(dice) for number in range(1, 1 + dice.randint(0, most))}
    return {
        name: prune(plan, partial(_has_act, fate, name))
        for name, plan in drawn.items()
        if fate.happens(f"{name} is started")
    }


def _milder_figure(fate: Fate, figure: Figure) -> Figure:
    if figure.bug and not fate.happens(f"figure {figure.n} has a bug"):
        figure = replace(figure, bug=False)
    if figure.plan is not None:
        figure = replace(figure, plan=prune(figure.plan, partial(_has_act, fate, f"figure {figure.n}")))
    return figure


def _has_act(fate: Fate, whose: str, n: int) -> bool:
    return fate.happens(f"{whose} has act {n}")


def _milder(fate: Fate, name: str, plan: Plan) -> Plan:
    """The plan of an order with only what may be special about it."""
    plain = Plan()
    kept = {
        what: getattr(plan, what)
        for what in Plan.__slots__
        if getattr(plan, what) != getattr(plain, what) and fate.happens(f"{name}: {what} {getattr(plan, what)}")
    }
    return Plan(**kept)


def _draw_plan(dice: Random, form: str) -> Plan:
    def sometimes(chance: float) -> bool:
        return dice.random() < chance

    return Plan(
        large=sometimes(0.3),
        gift=sometimes(0.3),
        declined=sometimes(0.15),
        refused=sometimes(0.15),
        approves=dice.choice([True, True, True, False, None]),
        no_label=sometimes(0.15),
        bug=sometimes(0.1),
        poison=dice.choice(["charge", "label", "mail confirmed"]) if sometimes(0.05) else "",
        cancels=form == "orchestration" and sometimes(0.25),
    )
