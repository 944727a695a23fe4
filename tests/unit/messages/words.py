"""The words that the tests of this room speak: a shop's messages, any JSON, any envelope, and what a refusal says."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import strategies as st

from partita.errors import PartitaError
from partita.messages.envelope import Cause, Envelope
from partita.messages.message import Case, Command, Event, Query

OrderId = Annotated[str, Case("order")]
ApplicationId = Annotated[str, Case("application")]
OfferId = Annotated[str, Case("offer", part_of="application")]


@dataclass(frozen=True)
class Line:
    sku: str
    count: int


class Channel(Enum):
    WEB = "web"
    SHOP = "shop"


class OrderPlaced(Event, external="the customer"):
    order_id: OrderId
    lines: tuple[Line, ...]
    total_pence: int
    customer: str | None = None


class OrderWeighed(Event):
    order_id: OrderId
    at: datetime
    grams: float
    tags: frozenset[str] = frozenset()
    notes: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    channel: Channel = Channel.WEB


class CardCharged(Event):
    order_id: OrderId
    pence: int


class CardDeclined(Event):
    order_id: OrderId
    reason: str


class OrderShipped(Event, ends="done"):
    order_id: OrderId
    parcel: str


class ChargeCard(Command[CardCharged | CardDeclined]):
    order_id: OrderId
    pence: int


class DecideOrder(Command[None], external="a manager", secret=("pin",)):
    order_id: OrderId
    pin: str


class Progress(Query[str]):
    pass


class OfferMade(Event, case="offer"):
    application_id: ApplicationId
    offer_id: OfferId
    rate: float


@contextmanager
def refusal(kind: type[PartitaError], says: str, remedy: str) -> Generator[None]:
    """The block raises an error of this kind, whose first line says what, and whose second says what to do."""
    with pytest.raises(kind) as caught:
        yield
    first, _, second = str(caught.value).partition("\n")
    assert says in first
    assert remedy in second
    assert "\n" not in second


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
trees: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)

names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
keys = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=20)
cases = st.builds("{}:{}".format, st.sampled_from(["order", "return_1", "offer"]), keys)
causes = st.builds(Cause, names, st.sampled_from(["shop", "workflow:fulfil", "a group", "50%"]), st.integers(0, 99))
envelopes = st.builds(
    Envelope,
    id=names,
    type=names,
    kind=st.sampled_from(["event", "command", "query"]),
    version=st.integers(1, 99),
    source=st.just("") | names.filter(lambda name: name != "/"),
    at=st.integers(0, 253_402_300_799_999_999),
    case=st.none() | cases,
    also=st.lists(cases, max_size=3).map(tuple),
    correlation=st.just("") | names,
    causes=st.lists(causes, max_size=3).map(tuple),
    sequence=st.integers(0, 2**63 - 1),
    data=trees.map(msgspec.json.encode),
)
