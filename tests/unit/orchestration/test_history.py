"""Histories: which messages a run's facts refer to, and which of its failures a retry may make anew."""

from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from partita.errors import StoreError
from partita.messages.catalog import Catalog, upcast
from partita.messages.codec import encode
from partita.messages.message import Event
from partita.orchestration.acts import receive
from partita.orchestration.history import called_type, gather, voidable
from partita.orchestration.workflow import workflow
from partita.store.body import Open
from partita.store.facts import (
    Barred,
    Body,
    ChildEnded,
    ChildStarted,
    Claimed,
    Discarded,
    Fact,
    Fired,
    Handled,
    Incident,
    Patched,
    Published,
    Received,
    Retried,
    Retrying,
    Started,
    Stepped,
    Waiting,
    Withdrawn,
)
from partita.store.port import MessageRow
from tests.unit.orchestration.words import OrderId, OrderPlaced, Shipped

RUN = "flow/order:1/1"


class Weighed(Event, version=2):
    order_id: OrderId
    grams: int


@upcast(Weighed, from_version=1)
def in_grams(old: dict[str, Any]) -> dict[str, Any]:
    return {"order_id": old["order_id"], "grams": old["kilos"] * 1000}


CATALOG = Catalog([OrderPlaced, Shipped, Weighed])


@workflow(starts_on=OrderPlaced, receives=(Shipped,))
async def flow(order: OrderPlaced) -> None:
    await receive(Shipped)


@workflow
async def counting(number: int) -> None:
    await receive(Shipped)


@workflow
async def alone(nothing: None) -> None:
    await receive(Shipped)


def fact(body: Body, n: int = 1) -> Fact:
    return Fact(seq=n, source="s", n=n, kind=body.kind, at=n, case="order:1", run=RUN, run_n=n, body=body)


def facts(*bodies: Body) -> list[Fact]:
    return [fact(body, n) for n, body in enumerate(bodies, start=1)]


def said(message: Any, id: str, version: int = 1) -> Published:
    return Published(id=id, type=type(message).__name__, version=version, data=Raw(encode(message)), case="order:1")


@dataclass
class Shelf:
    """A trail of which only messages are read."""

    facts: list[Fact]
    rows: dict[str, int]
    """Where each message is."""

    @classmethod
    def of(cls, *bodies: Published) -> "Shelf":
        return cls(facts(*bodies), {body.id: n for n, body in enumerate(bodies, start=1)})

    def find_message(self, message_id: str) -> MessageRow | None:
        seq = self.rows.get(message_id)
        return None if seq is None else MessageRow(message_id, seq, b"")

    def find_fact(self, seq: int) -> Fact | None:
        return next((fact for fact in self.facts if fact.seq == seq), None)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not needed for this")


# Messages.


def test_the_messages_that_a_run_started_on_and_received_are_found_in_the_trail() -> None:
    placed, shipped = OrderPlaced(total=5), Shipped(parcel="p")
    trail = Shelf.of(said(placed, "m1"), said(shipped, "m2"))
    history = facts(
        Started(workflow="flow", message="m1", type="OrderPlaced"),
        Waiting(open=Open()),
        Received(message="m2", type="Shipped", group="workflow:flow"),
    )

    assert gather(history, trail, CATALOG, flow) == {"m1": placed, "m2": shipped}


def test_a_message_of_an_older_version_is_read_as_the_newest() -> None:
    old = Published(id="m1", type="Weighed", version=1, data=Raw(b'{"order_id":"1","kilos":3}'))
    history = facts(Received(message="m1", type="Weighed", group="workflow:flow"))

    assert gather(history, Shelf.of(old), CATALOG, flow) == {"m1": Weighed(order_id="1", grams=3_000)}


@pytest.mark.parametrize(
    ("started", "definition", "found"),
    [
        pytest.param(
            Started(workflow="flow", type="OrderPlaced", data=Raw(b'{"order_id":"1","total":5}')),
            flow,
            OrderPlaced(total=5),
            id="a message",
        ),
        pytest.param(
            Started(workflow="flow", type="Weighed", version=1, data=Raw(b'{"order_id":"1","kilos":3}')),
            flow,
            Weighed(order_id="1", grams=3_000),
            id="a message of an older version",
        ),
        pytest.param(Started(workflow="counting", data=Raw(b"7")), counting, 7, id="a value"),
        pytest.param(Started(workflow="alone"), alone, None, id="nothing"),
    ],
)
def test_the_input_of_a_direct_start_stands_in_its_fact(started: Started, definition: Any, found: Any) -> None:
    assert gather(facts(started), Shelf.of(), CATALOG, definition) == {RUN: found}


NOWHERE = [
    pytest.param(Shelf.of(), id="no message of that id"),
    pytest.param(Shelf([], {"m1": 1}), id="a row whose fact is gone"),
    pytest.param(Shelf([fact(Fired(due=1))], {"m1": 1}), id="a row that points at another fact"),
]


@pytest.mark.parametrize("trail", NOWHERE)
def test_a_message_that_is_not_in_the_trail_is_told_with_the_remedy(trail: Shelf) -> None:
    with pytest.raises(StoreError) as caught:
        gather(facts(Received(message="m1", type="Shipped", group="g")), trail, CATALOG, flow)

    assert str(caught.value) == "message m1 is not in the trail\nRun: partita doctor"


# Failures that are made anew.

SENT = Published(id="m1", type="Charge", command=True, step="Charge#1")
OTHER = Published(id="m2", type="Reserve", command=True, step="Reserve#1")
ANSWERED = Handled(message="m2", group="g", type="Reserve", step="Reserve#1")
FAILED = Handled(message="m1", group="g", type="Charge", step="Charge#1", outcome="failed")
DISCARDED = Discarded(message="m1", group="g", step="Charge#1")
STOPPED = Incident(error="CallFailed", text="")


def voided(*bodies: Body) -> tuple[list[int], list[int]]:
    """The run_n of what a retry would void, and of the calls that are owed again."""
    voids, renewed = voidable(facts(*bodies))
    return [fact.run_n or 0 for fact in voids], [fact.run_n or 0 for fact in renewed]


def test_a_run_that_has_not_stopped_has_nothing_to_make_anew() -> None:
    assert voided(SENT, FAILED) == ([], [])
    assert voided() == ([], [])


@pytest.mark.parametrize("failure", [FAILED, DISCARDED], ids=["failed", "discarded"])
def test_a_call_that_failed_last_is_made_anew_and_owed_again(failure: Body) -> None:
    assert voided(OTHER, SENT, ANSWERED, failure, STOPPED) == ([4], [2])


def test_a_call_that_failed_after_its_saga_had_unwound_is_not_made_anew() -> None:
    late = replace(FAILED, late=True)

    assert voided(OTHER, SENT, ANSWERED, late, STOPPED) == ([], [])
    assert voided(FAILED, late, STOPPED) == ([1], [])


def test_a_step_that_failed_last_is_made_anew_and_nothing_is_owed() -> None:
    assert voided(SENT, Stepped(step="Charge#1", error="OSError"), STOPPED) == ([2], [])


def test_the_end_of_a_child_is_never_made_anew() -> None:
    ended = ChildEnded(step="c#1", child="c", error="cancelled")

    assert voided(SENT, ended, STOPPED) == ([], [])
    assert voided(SENT, FAILED, ended, STOPPED) == ([], [])


@pytest.mark.parametrize(
    "harmless",
    [
        Retrying(step="note#1"),
        Claimed(step="note#1"),
        Waiting(open=Open()),
        Fired(due=1),
        Received(message="m9", type="Shipped", group="g"),
    ],
    ids=lambda body: body.kind,
)
def test_what_came_in_meanwhile_does_not_keep_a_failure_from_being_made_anew(harmless: Body) -> None:
    assert voided(SENT, FAILED, harmless, STOPPED) == ([2], [1])


@pytest.mark.parametrize(
    "record",
    [
        OTHER,
        ChildStarted(step="c#1", child="c", workflow="c"),
        Patched(change="x"),
        Barred(message="m2", group="g", type="Reserve"),
        Withdrawn(message="m2", group="g", type="Reserve"),
        Stepped(step="note#1"),
        ANSWERED,
        ChildEnded(step="c#1", child="c"),
    ],
    ids=lambda body: body.kind,
)
def test_a_failure_after_which_the_run_went_on_stays(record: Body) -> None:
    assert voided(SENT, FAILED, record, STOPPED) == ([], [])


@pytest.mark.parametrize(
    "nobodys",
    [Handled(message="m1", group="g", type="Charge", outcome="failed"), Discarded(message="m1", group="g")],
    ids=lambda body: body.kind,
)
def test_a_failure_that_no_step_waited_for_is_not_made_anew(nobodys: Body) -> None:
    assert voided(SENT, nobodys, STOPPED)[0] == []


def test_a_failure_before_an_earlier_retry_is_over() -> None:
    assert voided(SENT, FAILED, STOPPED, Retried(voids=(2,)), STOPPED) == ([], [])
    assert voided(SENT, FAILED, STOPPED, Retried(voids=(2,)), FAILED, STOPPED) == ([5], [1])


def test_of_two_incidents_the_later_counts_and_what_came_after_it_is_held_back() -> None:
    assert voided(SENT, FAILED, STOPPED, Retried(), FAILED, STOPPED, Received(message="m", type="t", group="g")) == (
        [5],
        [1],
    )
    assert voided(SENT, STOPPED, FAILED) == ([], [])


def test_a_fact_says_of_which_command_it_is() -> None:
    assert called_type(fact(SENT)) == "Charge"
    assert called_type(fact(STOPPED)) == ""
