"""The troubles of the demo: what goes wrong with which order, as a function of its id and of nothing else.

So every run, in every form, however it is timed and however often it is killed, meets the same troubles.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate
from typing import Literal

Trouble = Literal[
    "card declined",
    "out of stock",
    "shipment refused",
    "gateway flaky",
    "carrier down",
    "mailbox gone",
    "gift note",
    "poison",
]
Decision = Literal["approve", "turn down", "leave"]

SEED = "partita-161"
"""Chosen so that every trouble befalls three orders or more, and leaves four out of five alone."""
NEVER_IN_STOCK = "GONE"
"""An article that no delivery ever brings."""
LARGE_PENCE = 1_000_00
"""A larger order waits for a person."""

# Of a thousand orders, so many have this trouble; all others go well.
_SHARES: Mapping[Trouble, int] = {
    "card declined": 25,
    "out of stock": 20,
    "shipment refused": 20,
    "gateway flaky": 25,
    "carrier down": 20,
    "mailbox gone": 15,
    "gift note": 20,
    "poison": 10,
}
_ENDS = tuple(accumulate(_SHARES.values()))


def trouble_of(order_id: str) -> Trouble | None:
    """What goes wrong with an order, if anything does."""
    drawn = _draw("trouble", order_id)
    return next((trouble for trouble, end in zip(_SHARES, _ENDS, strict=True) if drawn < end), None)


def decision_on(order_id: str) -> Decision:
    """What the manager of the demo does about a large order."""
    drawn = _draw("decision", order_id)
    return "leave" if drawn < 250 else "turn down" if drawn < 350 else "approve"


def _draw(what: str, order_id: str) -> int:
    """A number below 1,000."""
    digest = blake2b(f"{SEED}/{what}/{order_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 1_000
