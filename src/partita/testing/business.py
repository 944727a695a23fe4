"""Checkers of the simulated shop: the world outside, the tables of its services, and the facts tell one story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from partita.clock import US
from partita.limits import LIMITS
from partita.messages.envelope import derive_id
from partita.runtime.requests import Request, message_id_of
from partita.store.facts import Answered, Discarded, Fact, Open, Published, Received, Redriven, Returned, Started
from partita.testing.outside import Outside, Plan
from partita.testing.people import Asked
from partita.testing.processes import STOCK, Placed

Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Books:
    """What there is to compare."""

    form: str
    facts: Sequence[Fact]
    outside: Outside
    rows: Rows
    """The services' own tables."""
    placed: dict[str, Placed]
    asked: dict[str, tuple[str, Asked]]
    """Requests by key, with the id of the message that each publishes."""
    notes: dict[str, tuple[str, str]]
    verdicts: dict[str, str]
    """By case."""

    def published(self, name: str, case: str | None = None) -> list[dict[str, Any]]:
        """The bodies of published messages of a type."""
        return [
            msgspec.json.decode(bytes(fact.body.data))
            for fact in self.facts
            if isinstance(fact.body, Published) and fact.body.type == name and case in {None, fact.body.case}
        ]

    def plan(self, order_id: str) -> Plan:
        """What was meant to become of an order."""
        return self.outside.plan(order_id)


def check_requests(books: Books) -> Iterator[str]:
    """What was accepted is there exactly once, what was rejected is not, what is unknown is there at most once."""
    counted = _count_messages(books.facts)
    for message_id, count in counted.items():
        if count > 1:
            yield f"message {message_id} is {count} times in the trail"
    # A request left for the next engine may be turned down by it, with a reason, if its code is another.
    answers = [fact.body for fact in books.facts if isinstance(fact.body, Answered)]
    turned_down = {answer.id for answer in answers if answer.outcome == "rejected" and answer.why}
    for key, (message_id, asked) in books.asked.items():
        there = counted[message_id]
        if asked.accepted and not there and key not in turned_down:
            yield f"request {key} was accepted {asked.accepted} times, and its message is not in the trail"
        if asked.rejected and not asked.unknown and not asked.accepted and there:
            yield f"request {key} was rejected ({asked.rejected}), and its message is in the trail"
    for message_id in books.notes:
        if counted[message_id] != 1:
            yield f"the web form's {message_id} is {counted[message_id]} times in the trail"


def _count_messages(facts: Sequence[Fact]) -> Counter[str]:
    """How often each message was published, or started a run directly."""
    counted: Counter[str] = Counter()
    for fact in facts:
        body = fact.body
        if isinstance(body, Published):
            counted[body.id] += 1
        elif isinstance(body, Started) and body.parent is None and (fact.run or "").startswith("go_round/"):
            counted[message_id_of(Request(op="start", key=f"round/{str(fact.case).partition(':')[2]}"))] += 1
    return counted


def check_effects(books: Books) -> Iterator[str]:
    """Outside, nothing was done twice for one case, however often it was asked for, and nothing for no case."""
    yield from books.outside.wrong
    done: dict[tuple[str, str], str] = {}
    for effect in books.outside.effects.values():
        before = done.setdefault((effect.kind, effect.case), effect.key)
        if before != effect.key:
            yield f"{effect.kind} of {effect.case} was done under keys {before} and {effect.key}"
        if effect.case.startswith("order:") and effect.case.partition(":")[2] not in books.placed:
            yield f"{effect.kind} was done for {effect.case}, which nobody placed"
    redriven = _count_redriven(books.facts)
    for key, times in books.outside.kills.items():
        if times > (1 + LIMITS.claims_max) * (1 + redriven[key.partition("/")[0]]):
            yield f"{key} killed its process {times} times: the claims were not counted"


def _count_redriven(facts: Sequence[Fact]) -> Counter[str]:
    """How often each message was redriven, or the event whose reaction sends it, and may handle it in its own unit."""
    counted: Counter[str] = Counter()
    for fact in facts:
        if isinstance(fact.body, Redriven):
            counted[fact.body.message] += 1
            counted[derive_id(fact.body.message, fact.body.group, "0")] += 1
    return counted


def check_asked(books: Books) -> Iterator[str]:
    """Nothing was asked for outside before that which asked for it was in the trail."""
    asked: dict[str, int] = {}
    for fact in books.facts:
        if isinstance(fact.body, Published):
            # A reaction's own command may be handled in the reaction's attempt: the event has asked for it.
            by_reaction = fact.body.command and fact.run is None and fact.causes
            asked[fact.body.id] = asked[fact.causes[0].message] if by_reaction else fact.seq
        found: Open | None = getattr(fact.body, "open", None)
        for one in found.steps if found is not None and fact.run is not None else ():
            asked.setdefault(derive_id(str(fact.run), "0", one.step), fact.seq)
    for key, seq in books.outside.seen.items():
        message = key.partition("/")[0]  # several groups may ask for one event
        if message in asked and asked[message] > seq:
            yield f"{key} was asked for outside at fact {seq}, before that was decided in fact {asked[message]}"
    for key, effect in books.outside.effects.items():
        if key.partition("/")[0] not in asked:
            yield f"{effect.kind} of {effect.case} was done, and no fact has asked for {key}"


def check_orders(books: Books) -> Iterator[str]:
    """Each order ends as its facts, the card, the shelves and its plan say, all the same."""
    for order_id, placed in books.placed.items():
        case = f"order:{order_id}"
        verdict = books.verdicts.get(case, "")
        if not books.published("Placed", case):
            yield f"{case} was never placed"
        elif verdict == "done":
            yield from _check_done(books, order_id, placed)
        elif verdict == "compensated":
            yield from _check_compensated(books, order_id)
        elif not (verdict in {"waiting", "overdue"} and _waits_for_person(books, order_id)):
            yield f"{case} is {verdict}, and nothing is left that could move it"


def _waits_for_person(books: Books, order_id: str) -> bool:
    plan = books.plan(order_id)
    return books.form == "choreography" and plan.large and plan.approves is None


def _money(books: Books, case: str) -> tuple[int, int]:
    charged = sum(effect.amount for effect in books.outside.find("charge", case))
    return charged, sum(effect.amount for effect in books.outside.find("refund", case))


def _check_done(books: Books, order_id: str, placed: Placed) -> Iterator[str]:
    case, plan = f"order:{order_id}", books.plan(order_id)
    if (money := _money(books, case)) != (placed.pence, 0):
        yield f"{case} is done, and (charged, refunded) is {money} instead of ({placed.pence}, 0)"
    if len(books.outside.find("parcel", case)) != 1:
        yield f"{case} is done, and {len(books.outside.find('parcel', case))} parcels were sent"
    if not any(row["order_id"] == order_id and row["count"] == placed.count for row in books.rows["stock_held"]):
        yield f"{case} is done, and its stock is not held"
    if books.outside.find("recall", case):
        yield f"{case} is done, and its parcel was recalled"
    if books.published("Cancelled", case):
        yield f"{case} is done, and it was cancelled"
    if plan.declined or plan.refused or (plan.large and not plan.approves):
        yield f"{case} is done, though it was to be {plan}"
    if books.form == "orchestration" and plan.no_label:
        yield f"{case} is done, though its label can't be printed"


def _check_compensated(books: Books, order_id: str) -> Iterator[str]:
    case, plan = f"order:{order_id}", books.plan(order_id)
    charged, refunded = _money(books, case)
    if charged != refunded:
        yield f"{case} is compensated, {charged} were charged and {refunded} refunded"
    if any(row["order_id"] == order_id for row in books.rows["stock_held"]):
        yield f"{case} is compensated, and its stock is still held"
    if len(books.outside.find("parcel", case)) != len(books.outside.find("recall", case)):
        yield f"{case} is compensated, and its parcel is on its way"
    reasons = [body["reason"] for body in books.published("Cancelled", case)]
    if len(reasons) != 1:
        yield f"{case} is compensated, and it was cancelled {len(reasons)} times"
    meant = {"declined": plan.declined, "refused": plan.refused, "no label": plan.no_label, "cancelled": plan.cancels}
    for reason in reasons:
        if reason in meant and not meant[reason]:
            yield f"{case} was cancelled since {reason!r}, and its plan is {plan}"
        if reason == "turned down" and not books.published("TurnedDown", case):
            yield f"{case} was cancelled since nobody approved it, and nobody turned it down"
        if reason == "no stock" and not books.published("OutOfStock", case):
            yield f"{case} was cancelled since there was no stock, and nobody said so"


def check_stock(books: Books) -> Iterator[str]:
    """What is free and what is held is what there was at first; what is held was reserved and not released."""
    for sku, first in STOCK.items():
        free = sum(row["free"] for row in books.rows["stock_item"] if row["sku"] == sku)
        held = sum(row["count"] for row in books.rows["stock_held"] if row["sku"] == sku)
        if free + held != first:
            yield f"{sku}: {free} free and {held} held of {first}"
    for order_id in books.placed:
        case = f"order:{order_id}"
        reserved, released = len(books.published("Reserved", case)), len(books.published("Released", case))
        held = sum(row["order_id"] == order_id for row in books.rows["stock_held"])
        if reserved - released != held:
            yield f"{case}: reserved {reserved} times, released {released} times, and held {held} times"


def check_money(books: Books) -> Iterator[str]:
    """The books agree with the events, and the events with the card."""
    booked = sum(row["pence"] for row in books.rows["books_line"])
    charged = sum(body["pence"] for body in books.published("Charged"))
    refunded = sum(body["pence"] for body in books.published("Refunded"))
    if booked != charged - refunded:
        yield f"the books say {booked}, the events {charged} - {refunded}"
    if books.outside.total("charge") < charged:
        yield f"{charged} were said to be charged, the card says {books.outside.total('charge')}"
    if books.outside.total("refund") != refunded:
        yield f"{refunded} were said to be refunded, the card says {books.outside.total('refund')}"


def check_counts(books: Books) -> Iterator[str]:
    """Observers and insurers have met each event once."""
    counted = {row["type"]: row["times"] for row in books.rows["counts_event"]}
    owed = Counter(
        fact.body.type for fact in books.facts if isinstance(fact.body, Published) and "counts" in fact.body.owes
    )
    owed.subtract(
        fact.body.type for fact in books.facts if isinstance(fact.body, Discarded) and fact.body.group == "counts"
    )
    for name in ("Reserved", "Charged", "Shipped"):
        if counted.get(name, 0) != owed[name]:
            yield f"{name} was counted {counted.get(name, 0)} times, and owed {owed[name]} times"
    policies = {row["parcel_id"] for row in books.rows["insurer_policy"]}
    for body in books.published("ParcelSent"):
        if body["parcel_id"] not in policies:
            yield f"parcel {body['parcel_id']} was sent without a policy"


def check_workflows(books: Books) -> Iterator[str]:
    """What was buffered is not lost, and a sleep lasts as long as it was meant to."""
    started: dict[str, Fact] = {}
    for fact in books.facts:
        run, body = fact.run or "", fact.body
        if isinstance(body, Started):
            started[run] = fact
        elif isinstance(body, Published) and body.type == "Insure" and fact.at - started[run].at < 15 * US:
            yield f"run {run} slept {(fact.at - started[run].at) / US} s instead of 15"
        elif isinstance(body, Returned) and body.how == "returned" and run.startswith("fulfil"):
            yield from _check_notes(books, fact, msgspec.json.decode(bytes(body.value)))


def _check_notes(books: Books, ended: Fact, value: str) -> Iterator[str]:
    if not value.startswith("shipped"):
        return
    order_id = str(ended.case).partition(":")[2]
    came = [fact.body.message for fact in books.facts if fact.run == ended.run and isinstance(fact.body, Received)]
    texts = sorted(books.notes[message][1] for message in came if message in books.notes)
    if books.placed[order_id].gift and value.partition(": ")[2] != " ".join(texts):
        yield f"run {ended.run} received the notes {texts}, and used {value!r}"
