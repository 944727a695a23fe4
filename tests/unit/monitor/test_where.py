"""Where a case stands, at each moment of an order's life in the three forms."""

from datetime import datetime, timedelta
from typing import NamedTuple

import pytest

from partita.clock import to_datetime
from partita.messages.topology import Topology
from partita.monitor.cases import Where, where
from partita.monitor.verdict import Next, Verdict, judge
from partita.store.facts import Returned, Started
from tests.unit.monitor import situations
from tests.unit.monitor.shop_topology import choreography, edge, groups, hybrid, messages, orchestration
from tests.unit.monitor.situations import Situation
from tests.unit.monitor.trails import RUN, START, Trail, seconds

APPROVAL = ("OrderApproved", "OrderTurnedDown")
OUTCOMES = ("OrderShipped", "ShipmentRefused")
HOUR, DAY = 3_600, 86_400


class Stands(NamedTuple):
    """A Where, with its times in seconds since the trail began."""

    verdict: Verdict
    at: str | None
    since: int
    waiting_for: tuple[str, ...] = ()
    deadline: int | None = None
    owed: tuple[str, ...] = ()
    awaited: tuple[str, ...] = ()

    def where(self) -> Where:
        follows = [Next(name=name, basis="owed") for name in self.owed]
        return Where(
            case="order:1",
            verdict=self.verdict,
            at=self.at,
            since=instant(self.since),
            waiting_for=self.waiting_for,
            deadline=None if self.deadline is None else instant(self.deadline),
            next=(*follows, *(Next(name=name, basis="wait") for name in self.awaited)),
        )


def instant(second: int) -> datetime:
    return to_datetime(START + seconds(second))


CASES: list[tuple[Situation, Stands]] = [
    # choreography
    (situations.placed, Stands("running", "OrderPlaced", 1, owed=("OrderApproved",))),
    (situations.approved, Stands("running", "OrderApproved", 3, deadline=63, owed=("ReserveStock",))),
    (situations.reserved, Stands("running", "StockReserved", 7, owed=("ChargeCard",))),
    (situations.charging_again, Stands("running", "ChargeCard", 10, owed=("CardCharged", "CardDeclined"))),
    (situations.charged, Stands("running", "CardCharged", 12, owed=("OrderConfirmed",))),
    (situations.confirmed, Stands("running", "OrderConfirmed", 16, deadline=76, owed=("ShipOrder",))),
    (situations.mailed, Stands("running", "OrderConfirmed", 16, deadline=16 + 2 * DAY, owed=("ShipOrder",))),
    (situations.shipped, Stands("done", "OrderShipped", 21)),
    (situations.declined, Stands("compensated", "OrderCancelled", 18)),
    (situations.shipment_refused, Stands("running", "RefundCard", 30, owed=("CardRefunded",))),
    (
        situations.awaiting_a_manager,
        Stands("waiting", "OrderApproved", 2, APPROVAL, deadline=2 + 7 * DAY, awaited=APPROVAL),
    ),
    (situations.turned_down, Stands("compensated", "OrderCancelled", 7)),
    (situations.nothing_to_release, Stands("dead-ended", "CardDeclined", 12)),
    (situations.unheard, Stands("dead-ended", "StockReserved", 5)),
    (situations.mail_dead, Stands("failed", "OrderConfirmed", 17)),
    (situations.mail_redriven, Stands("running", "OrderConfirmed", 16, deadline=23 + 60)),
    (situations.mail_discarded, Stands("done", "OrderShipped", 21)),
    (situations.observer_dead, Stands("running", "StockReserved", 7, owed=("ChargeCard",))),
    (situations.shipping_paused, Stands("running", "OrderConfirmed", 16, deadline=16 + 2 * DAY, owed=("ShipOrder",))),
    (situations.inventory_gone, Stands("running", "OrderApproved", 3)),
    (situations.inventory_retired, Stands("dead-ended", "OrderApproved", 3)),
    (situations.quarantined, Stands("failed", "StockReserved", 4, deadline=63, owed=("ReserveStock",))),
    (situations.requested, Stands("running", "OrderPlaced", 1)),
    (situations.request_answered, Stands("running", "OrderPlaced", 2, owed=("OrderApproved",))),
    (situations.delayed, Stands("waiting", "OrderApproved", 1, deadline=1 + HOUR + 60, owed=("ReserveStock",))),
    # orchestration
    (situations.run_started, Stands("running", "fulfil", 2)),
    (situations.reserving, Stands("running", "ReserveStock", 3, owed=("StockReserved", "OutOfStock"))),
    (situations.charging, Stands("running", "ChargeCard", 6, owed=("CardCharged", "CardDeclined"))),
    (situations.run_shipped, Stands("done", "OrderShipped", 16)),
    (situations.run_declined, Stands("compensated", "OrderCancelled", 13)),
    (situations.call_failed, Stands("dead-ended", "StockReserved", 5)),
    (situations.call_held, Stands("failed", "ChargeCard", 8)),
    (situations.call_withdrawn, Stands("running", "fulfil", 4)),
    (situations.run_stopped, Stands("failed", "ChargeCard", 12)),
    (situations.run_retried, Stands("running", "fulfil", 13)),
    (
        situations.run_awaiting_approval,
        Stands("waiting", "OrderApproved", 3, APPROVAL, deadline=3 + 7 * DAY, awaited=APPROVAL),
    ),
    (situations.local_step, Stands("running", "price", 3)),
    (situations.local_step_again, Stands("running", "price", 3)),
    (situations.sleeping, Stands("waiting", "sleep", 3, deadline=3 + HOUR)),
    (situations.with_child, Stands("waiting", "onboard", 3)),
    (situations.with_working_child, Stands("running", "weigh", 5)),
    (
        situations.with_waiting_child,
        Stands("waiting", "OrderApproved", 6, waiting_for=("OrderApproved",), awaited=("OrderApproved",)),
    ),
    (situations.with_stopped_child, Stands("failed", "pack", 6)),
    (situations.after_its_child, Stands("running", "fulfil", 7)),
    (situations.on_itself, Stands("dead-ended", "fulfil", 6)),
    (situations.gap, Stands("blind", "StockReserved", 7, owed=("CardCharged", "CardDeclined"))),
    (situations.no_run, Stands("dead-ended", "OrderPlaced", 1)),
    # hybrid
    (
        situations.run_to_confirmation,
        Stands(
            "running",
            "OrderConfirmed",
            12,
            OUTCOMES,
            deadline=12 + 2 * DAY,
            owed=("ShipOrder",),
            awaited=OUTCOMES,
        ),
    ),
    (situations.ship_dead, Stands("failed", "ShipOrder", 17, OUTCOMES, deadline=13 + 5 * DAY, awaited=OUTCOMES)),
    (situations.doomed, Stands("waiting", "OrderShipped", 13, OUTCOMES, deadline=13 + 5 * DAY, awaited=OUTCOMES)),
    (situations.hybrid_shipped, Stands("done", "OrderShipped", 18)),
]


@pytest.mark.parametrize(("situation", "stands"), CASES, ids=[situation.__name__ for situation, _ in CASES])
def test_a_case_stands_where_its_facts_have_brought_it(situation: Situation, stands: Stands) -> None:
    assert situation().where() == stands.where()


@pytest.mark.parametrize(("situation", "stands"), CASES, ids=[situation.__name__ for situation, _ in CASES])
def test_its_stored_row_says_the_same(situation: Situation, stands: Stands) -> None:
    trail = situation()

    assert where(trail.row(), trail.topology, trail.now) == stands.where()


# Deadlines are compared when somebody looks.


def verdict_after(situation: Situation, after_s: float) -> tuple[Verdict, str | None]:
    found = situation().where(after_s)
    return found.verdict, found.at


@pytest.mark.parametrize(
    ("situation", "limit_s", "at"),
    [
        pytest.param(situations.approved, 60, "OrderApproved", id="a reaction within a minute"),
        pytest.param(situations.mailed, 2 * DAY - 1, "OrderConfirmed", id="a reaction within two days"),
        pytest.param(situations.awaiting_a_manager, 7 * DAY, "OrderApproved", id="a person within a week"),
    ],
)
def test_a_limit_of_the_monitor_counts_at_once(situation: Situation, limit_s: int, at: str) -> None:
    assert verdict_after(situation, limit_s - 1)[0] != "overdue"
    assert verdict_after(situation, limit_s) == ("overdue", at)


@pytest.mark.parametrize(
    ("situation", "due_s", "at"),
    [
        pytest.param(situations.sleeping, HOUR, "sleep", id="a sleep"),
        pytest.param(situations.run_awaiting_approval, 7 * DAY, "OrderApproved", id="a receive with a timeout"),
    ],
)
def test_a_run_s_own_timer_is_overdue_five_seconds_after_it_was_due(situation: Situation, due_s: int, at: str) -> None:
    assert verdict_after(situation, due_s + 4.9)[0] == "waiting"
    assert verdict_after(situation, due_s + 5) == ("overdue", at)


def test_a_workflow_s_own_limit_counts_at_once() -> None:
    trail = Trail(orchestration())
    trail.publish("OrderPlaced")
    trail.start("m1", within=START + seconds(30 * DAY))
    trail.call("ReserveStock")

    assert trail.where().deadline == to_datetime(START) + timedelta(days=30)
    found = trail.where(30 * DAY)
    assert (found.verdict, found.at) == ("overdue", "fulfil")


def test_a_delayed_message_is_waited_for_until_it_is_due_and_then_is_being_handled() -> None:
    assert verdict_after(situations.delayed, HOUR - 1) == ("waiting", "OrderApproved")
    assert verdict_after(situations.delayed, HOUR) == ("running", "OrderApproved")


def test_what_has_died_is_worse_than_what_is_overdue() -> None:
    assert verdict_after(situations.ship_dead, 6 * DAY) == ("failed", "ShipOrder")


def test_a_row_says_when_its_verdict_turns_overdue_by_itself() -> None:
    assert situations.approved().row().deadline == START + seconds(63)
    assert situations.sleeping().row().deadline == START + seconds(3 + HOUR + 5)
    assert situations.shipped().row().deadline is None


# The oldest of the items that decide.


def test_the_oldest_open_item_says_where_the_case_is() -> None:
    trail = situations.shipment_refused()
    trail.publish("DecideOrder")

    assert trail.where().at == "RefundCard"
    assert trail.where().next[-1] == Next(name="OrderTurnedDown", basis="owed")


def test_a_retry_that_is_scheduled_counts_as_running() -> None:
    assert situations.charging_again().where(2 * HOUR).verdict == "running"


def test_the_latest_event_that_ends_the_case_gives_the_verdict() -> None:
    trail = situations.shipped()
    cancelled = trail.publish("OrderCancelled")
    trail.handle(cancelled, "notifications")

    assert trail.where().verdict == "compensated"


def test_an_event_that_ends_a_case_does_not_end_it_while_something_is_open() -> None:
    trail = situations.confirmed()
    trail.react("m7", "shipping", "ShipOrder", "OrderShipped")

    assert (trail.where().verdict, trail.where().at) == ("running", "OrderConfirmed")


# Who is at home in a case.


def offer_made() -> Trail:
    """An event of offer 7, told to application 1, of which offers are a part."""
    made = messages(())[0].__class__(name="OfferMade", case_type="offer", case_field="offer_id")
    topology = Topology(app="loans", version=1, messages=(made,), groups=groups([edge("mailing", "OfferMade")]))
    trail = Trail(topology, case="application:1")
    trail.publish("OfferMade", case="offer:7", head_case="offer:7", also=("application:1",))
    return trail


def test_a_case_owes_nothing_for_the_messages_of_its_children() -> None:
    trail = offer_made()

    assert trail.state().owed == {}
    found = trail.where()
    assert (found.verdict, found.at) == ("done", "OfferMade")


def test_the_child_itself_owes_its_messages() -> None:
    trail = offer_made()
    trail.case = "offer:7"

    assert (trail.where().verdict, trail.where().at) == ("running", "OfferMade")


def test_a_run_s_command_for_another_case_is_owed_there() -> None:
    trail = situations.run_started()
    trail.publish("ChargeCard", run=RUN, step="ChargeCard#1", case="order:5", also=("order:5",))

    assert trail.state().owed == {}
    trail.case = "order:5"
    assert (trail.where().verdict, trail.where().at) == ("running", "ChargeCard")


# Cases whose flow declares no end.


def unending() -> Topology:
    plain = tuple(m for m in messages(()) if m.ends is None)
    return Topology(app="shop", version=1, messages=plain, workflows=orchestration().workflows)


@pytest.mark.parametrize(("how", "verdict"), [("returned", "done"), ("cancelled", "compensated"), ("failed", "failed")])
def test_where_no_end_is_declared_the_run_s_own_end_is_taken(how: str, verdict: Verdict) -> None:
    trail = Trail(unending())
    trail.say(Started(workflow="fulfil"), run=RUN)
    trail.say(Returned(how=how), run=RUN)

    assert trail.where().verdict == verdict


def test_a_run_that_goes_on_as_a_new_one_has_not_ended() -> None:
    trail = Trail(unending())
    trail.say(Started(workflow="fulfil"), run=RUN)
    trail.say(Returned(how="again"), run=RUN)
    trail.say(Started(workflow="fulfil"), run="fulfil/order:1/2")

    assert (trail.where().verdict, trail.state().over) == ("running", None)


def test_a_case_without_run_or_end_is_dead_ended_and_says_that_no_end_is_declared() -> None:
    trail = Trail(unending())
    trail.publish("StockReserved")

    judged = judge(trail.state(), trail.topology, trail.now)
    assert judged.verdict == "dead-ended"
    assert "no end is declared" in judged.explanation


def test_a_dead_end_names_the_ends_that_were_not_reached_and_the_event_nobody_heard() -> None:
    judged = judge(situations.unheard().state(), choreography(), START)

    assert "OrderCancelled, OrderShipped" in judged.explanation
    assert "StockReserved, which no group handles" in judged.explanation


# Doomed waits.


def test_a_wait_is_doomed_when_nothing_open_can_bring_it_about() -> None:
    trail = situations.doomed()

    (wait,) = judge(trail.state(), hybrid(), trail.now).doomed
    assert wait.types == OUTCOMES
    assert trail.row().stuck


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(situations.run_to_confirmation, id="what brings it about is owed"),
        pytest.param(situations.ship_dead, id="what brings it about can be redriven"),
        pytest.param(situations.run_awaiting_approval, id="a person's command is answered with it"),
        pytest.param(situations.awaiting_a_manager, id="it is expected of somebody"),
    ],
)
def test_a_wait_is_not_doomed_while(situation: Situation) -> None:
    trail = situation()

    assert judge(trail.state(), trail.topology, trail.now).doomed == ()
