"""Real orders: the invoices of `data/orders.csv` as messages, whatever the lines hold.

Among them are a discount that is no article, an article that costs nothing, lines without a customer, one article on
several lines, and returns: invoices whose id starts with C, with negative quantities. Money is counted in whole pence.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from partita_shop import trouble
from partita_shop.messages import Line, OrderPlaced, ReturnRequested

NO_ARTICLES = frozenset({"D"})
"""Codes of lines that only move money: a discount."""
NOBODY = "a guest"


@dataclass(slots=True)
class Invoice:
    """One invoice. Of a return, counts and pence are what comes back."""

    id: str
    placed_at: str
    """Local time, to the minute."""
    customer: str = NOBODY
    pence: int = 0
    counts: dict[str, int] = field(default_factory=dict[str, int])
    """How many of each article; one on several lines is added up."""

    @property
    def is_return(self) -> bool:
        """Whether goods come back."""
        return self.id.startswith("C")

    @property
    def case(self) -> str:
        """The case that it is."""
        return f"return:{self.id}" if self.is_return else f"order:{self.id}"

    @property
    def lines(self) -> tuple[Line, ...]:
        """Its articles, in the order of the invoice."""
        return tuple(Line(sku, count) for sku, count in self.counts.items())

    def message(self) -> OrderPlaced | ReturnRequested:
        """What the customer tells the shop; one whose order is to run out of stock asks for one article more."""
        if self.is_return:
            return ReturnRequested(return_id=self.id, lines=self.lines, pence=self.pence)
        missing = (Line(trouble.NEVER_IN_STOCK, 1),) if trouble.trouble_of(self.id) == "out of stock" else ()
        return OrderPlaced(
            order_id=self.id, lines=(*self.lines, *missing), total_pence=self.pence, customer=self.customer
        )


def pence_of(price: str) -> int:
    """A price in pounds, as text, in whole pence. Raises ValueError for what is none, or has parts of a penny."""
    pounds, _, rest = price.strip().partition(".")
    if len(rest) > 2 and rest[2:].strip("0"):
        raise ValueError(f"price {price!r} has parts of a penny")
    if not (pounds.isdecimal() and (rest.isdecimal() or not rest)):
        raise ValueError(f"price {price!r} is no amount in pounds")
    return int(pounds) * 100 + int(rest[:2].ljust(2, "0"))


def read_invoices(rows: Iterable[str]) -> list[Invoice]:
    """The invoices in a CSV text, in its order; a line that orders nothing, or less, is left out."""
    invoices: dict[str, Invoice] = {}
    for row in csv.DictReader(rows):
        invoice = invoices.setdefault(row["order_id"], Invoice(row["order_id"], row["placed_at"]))
        invoice.customer = row["customer_id"] or invoice.customer
        count = int(row["quantity"]) * (-1 if invoice.is_return else 1)
        if count <= 0:
            continue
        invoice.pence += count * pence_of(row["unit_price"])
        if row["stock_code"] not in NO_ARTICLES:
            invoice.counts[row["stock_code"]] = invoice.counts.get(row["stock_code"], 0) + count
    return list(invoices.values())


@cache
def list_invoices() -> tuple[Invoice, ...]:
    """The invoices that the shop ships with: two days of December 2010."""
    text = files("partita_shop").joinpath("data/orders.csv").read_text("utf-8")
    return tuple(read_invoices(text.splitlines(keepends=True)))


def opening_stock(invoices: Iterable[Invoice]) -> tuple[Line, ...]:
    """What lies on the shelves before the first order: of each article exactly as many as are going to be ordered."""
    asked: dict[str, int] = {}
    for invoice in invoices:
        for sku, count in invoice.counts.items():
            asked[sku] = asked.get(sku, 0) + (0 if invoice.is_return else count)
    return tuple(Line(sku, count) for sku, count in sorted(asked.items()))
