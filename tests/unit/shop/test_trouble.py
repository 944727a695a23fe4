"""Trouble: a function of the order's id, and enough of every kind."""

import subprocess
import sys
from collections import Counter
from typing import get_args

from partita_shop.orders import list_invoices
from partita_shop.trouble import LARGE_PENCE, Decision, Trouble, decision_on, trouble_of

ORDERS = [invoice for invoice in list_invoices() if not invoice.is_return]
LARGE = [invoice for invoice in ORDERS if invoice.pence > LARGE_PENCE]


def test_every_trouble_befalls_three_orders_or_more() -> None:
    counts = Counter(trouble_of(order.id) for order in ORDERS)

    assert {trouble: counts[trouble] for trouble in get_args(Trouble) if counts[trouble] < 3} == {}


def test_most_orders_go_well() -> None:
    assert sum(trouble_of(order.id) is None for order in ORDERS) > 0.8 * len(ORDERS)


def test_a_return_goes_well() -> None:
    assert {trouble_of(invoice.id) for invoice in list_invoices() if invoice.is_return} == {None}


def test_a_person_approves_most_large_orders_turns_one_down_and_leaves_three_or_more() -> None:
    decisions: Counter[Decision] = Counter(decision_on(order.id) for order in LARGE)

    assert len(LARGE) == 15
    assert decisions["turn down"] == 1
    assert decisions["leave"] >= 3
    assert decisions["approve"] > len(LARGE) / 2


def test_what_waits_for_a_person_for_good_has_no_other_trouble() -> None:
    assert {trouble_of(order.id) for order in LARGE if decision_on(order.id) != "approve"} == {None}


def test_trouble_is_the_same_in_every_process() -> None:
    ids = [order.id for order in ORDERS]
    code = f"from partita_shop.trouble import trouble_of; print([trouble_of(one) for one in {ids!r}])"

    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )

    assert told.stdout.strip() == repr([trouble_of(one) for one in ids])
