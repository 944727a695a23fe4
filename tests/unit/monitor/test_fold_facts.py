"""What each kind of fact makes of a case: the whole state after it, compared with one written by hand."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from partita.clock import US
from partita.messages.topology import Topology
from partita.monitor import fold as folding
from partita.monitor.fold import CaseProjection, fold
from partita.monitor.state import (
    QUARANTINE,
    Asked,
    CaseState,
    CaseWait,
    Ended,
    Latest,
    Over,
    Owed,
    Refused,
    RunState,
    message_of,
    owed_key,
)
from partita.store.facts import (
    Answered,
    Body,
    CancelAsked,
    ChildEnded,
    ChoreographedWait,
    Dead,
    Discarded,
    DuplicateStart,
    Fact,
    GroupRetired,
    Handled,
    Incident,
    NoRun,
    Open,
    OpenStep,
    OpenWait,
    Published,
    Quarantined,
    Raw,
    Received,
    Redriven,
    Requested,
    Retried,
    Retrying,
    Returned,
    Started,
    Stepped,
    Waiting,
    Withdrawn,
)
from tests.unit.monitor import situations
from tests.unit.monitor.shop_topology import choreography, orchestration

CASE, RUN = "order:1", "fulfil/order:1/1"
WIRED, ORCHESTRATED = choreography(), orchestration()
MINUTE = 60 * US


def say(
    state: CaseState, body: Body, *, at: int = 1_000, case: str = CASE, topology: Topology = WIRED, **head: Any
) -> CaseState:
    """The state after one more fact, which is the next of the trail."""
    seq = state.seq + 1
    return fold(state, Fact(seq=seq, source="s", n=seq, kind=body.kind, at=at, case=case, body=body, **head), topology)


def said(state: CaseState, *, at: int = 1_000, home: int = 1) -> CaseState:
    """That a further fact was folded, which was at home in the case."""
    return replace(state, seq=state.seq + 1, at=max(at, state.at), home=state.home + home)


def owing(group: str = "billing", **more: Any) -> CaseState:
    """A case in which one group owes one message, and that is all."""
    return CaseState(
        CASE, {f"m1 {group}": Owed(group, more.pop("type", "ChargeCard"), 10, **more)}, seq=4, at=500, home=2
    )


def running(opened: Open | None = None, **more: Any) -> CaseState:
    """A case with one run, and that is all."""
    return CaseState(
        CASE, runs={RUN: RunState("fulfil", 10, n=3, open=opened, moved=10, **more)}, seq=4, at=500, home=2
    )


def moved(state: CaseState, at: int = 1_000, **more: Any) -> CaseState:
    """That the run took a further fact."""
    return replace(said(state, at=at), runs={RUN: replace(state.runs[RUN], **({"n": 4, "moved": at} | more))})


def in_run(state: CaseState, body: Body, at: int = 1_000, **head: Any) -> CaseState:
    return say(state, body, at=at, run=RUN, run_n=4, topology=ORCHESTRATED, **head)


# Publishing.


def test_an_event_opens_an_obligation_for_each_group_and_is_the_latest() -> None:
    after = say(CaseState(CASE), Published(id="m1", type="StockReserved", case=CASE, owes=("billing", "analytics")))

    assert after == CaseState(
        CASE,
        {
            "m1 billing": Owed("billing", "StockReserved", 1_000),
            "m1 analytics": Owed("analytics", "StockReserved", 1_000, observer=True),
        },
        latest=Latest("StockReserved", 1_000, 1, alone=False),
        seq=1,
        at=1_000,
        home=1,
    )


@pytest.mark.parametrize(
    ("owes", "alone"), [((), True), (("analytics",), True), (("billing",), False), (("billing", "analytics"), False)]
)
def test_an_event_is_alone_when_no_group_but_observers_owes_it_anything(owes: tuple[str, ...], alone: bool) -> None:
    after = say(CaseState(CASE), Published(id="m1", type="StockReserved", case=CASE, owes=owes))

    assert after.latest == Latest("StockReserved", 1_000, 1, alone)


def test_an_obligation_with_a_limit_is_late_that_long_after_the_publishing() -> None:
    after = say(CaseState(CASE), Published(id="m1", type="OrderConfirmed", case=CASE, owes=("notifications",)))

    assert after.owed == {"m1 notifications": Owed("notifications", "OrderConfirmed", 1_000, limit=1_000 + MINUTE)}


def test_the_limit_of_a_delayed_message_counts_from_when_it_is_due() -> None:
    body = Published(id="m1", type="OrderConfirmed", case=CASE, owes=("notifications",), due=9_000)

    assert say(CaseState(CASE), body).owed == {
        "m1 notifications": Owed("notifications", "OrderConfirmed", 1_000, "delayed", limit=9_000 + MINUTE, due=9_000)
    }


def test_a_command_is_owed_and_is_no_event() -> None:
    after = say(CaseState(CASE), Published(id="m1", type="ChargeCard", case=CASE, owes=("billing",), command=True))

    assert after.owed == {"m1 billing": Owed("billing", "ChargeCard", 1_000, command=True)}
    assert after.latest is None


def test_a_call_is_owed_for_the_run_and_the_step_that_wait_for_it() -> None:
    body = Published(id="m1", type="ChargeCard", case=CASE, owes=("billing",), command=True, step="ChargeCard#1")

    assert in_run(running(), body).owed == {
        "m1 billing": Owed("billing", "ChargeCard", 1_000, command=True, run=RUN, step="ChargeCard#1")
    }


def test_a_command_of_a_run_that_is_no_call_has_nobody_waiting_for_it() -> None:
    body = Published(id="m1", type="ChargeCard", case=CASE, owes=("billing",), command=True)

    assert in_run(running(), body).owed == {"m1 billing": Owed("billing", "ChargeCard", 1_000, command=True)}


def test_an_event_that_ends_its_case_is_kept_as_its_end() -> None:
    after = say(CaseState(CASE), Published(id="m1", type="OrderShipped", case=CASE, ends="done"))

    assert after.ended == Ended("done", "OrderShipped", 1_000, 1)
    assert after.latest == Latest("OrderShipped", 1_000, 1, alone=True)


@pytest.mark.parametrize("at", [1_000, 2_000, 3_000], ids=["by a clock set back", "in the same instant", "later"])
def test_of_two_ends_the_one_that_was_said_last_counts(at: int) -> None:
    first = say(CaseState(CASE), Published(id="m1", type="OrderShipped", case=CASE, ends="done"), at=2_000)
    after = say(first, Published(id="m2", type="OrderCancelled", case=CASE, ends="compensated"), at=at)

    assert after.ended is not None
    assert after.latest is not None
    assert (after.ended.type, after.latest.type, after.at) == ("OrderCancelled", "OrderCancelled", max(at, 2_000))


def test_a_message_published_in_another_case_makes_its_home_case_know_of_it() -> None:
    body = Published(id="m1", type="StockReserved", case=CASE, owes=("billing",))

    assert say(CaseState(CASE, home=3), body, case="parcel:9").home == 4
    assert say(CaseState(CASE, home=3), body, case=CASE).home == 4


def test_an_event_of_another_case_is_the_latest_only_of_a_case_without_facts_of_its_own() -> None:
    body = Published(id="m1", type="ParcelSent", case="parcel:9", owes=("billing",))

    guest = say(CaseState(CASE), body, case="parcel:9")
    assert guest == CaseState(CASE, latest=Latest("ParcelSent", 1_000, 1, alone=False), seq=1, at=1_000)
    assert say(guest, replace(body, owes=()), case="parcel:9").latest == Latest("ParcelSent", 1_000, 2, alone=True)
    assert say(CaseState(CASE, home=1), body, case="parcel:9").latest is None
    assert say(CaseState(CASE), replace(body, command=True), case="parcel:9").latest is None


def test_an_event_ends_the_waits_for_it_and_leaves_the_others() -> None:
    waits = [CaseWait(("OrderApproved", "OrderTurnedDown"), 1), CaseWait(("OrderShipped",), 2)]

    after = say(CaseState(CASE, waits=waits), Published(id="m1", type="OrderTurnedDown", case=CASE))

    assert after.waits == waits[1:]


# Handling.


def test_what_is_handled_is_owed_no_more() -> None:
    body = Handled(message="m1", group="billing", type="ChargeCard", case=CASE)

    assert say(owing(), body) == replace(said(owing()), owed={})


CLOSING: list[Callable[[str], Body]] = [
    lambda message: Handled(message=message, group="billing", type="ChargeCard", case=CASE),
    lambda message: Discarded(message=message, group="billing", case=CASE),
    lambda message: Withdrawn(message=message, group="billing", type="ChargeCard", case=CASE),
    lambda message: NoRun(message=message, group="billing", type="ChargeCard", workflow="fulfil", case=CASE),
    lambda message: DuplicateStart(message=message, group="billing", workflow="fulfil", run=RUN, case=CASE),
    lambda message: Received(message=message, group="billing", type="ChargeCard", case=CASE),
]
each_closing = pytest.mark.parametrize("closing", CLOSING, ids=lambda closing: closing("").kind)


@each_closing
def test_an_obligation_is_closed_in_whichever_case_it_is_said(closing: Callable[[str], Body]) -> None:
    assert say(owing(), closing("m1"), case="parcel:9") == replace(said(owing(), home=0), owed={})


@each_closing
def test_closing_what_is_not_open_changes_nothing(closing: Callable[[str], Body]) -> None:
    assert say(owing(), closing("m2")) == said(owing())


@pytest.mark.parametrize(
    "body",
    [
        Answered(id="r9"),
        Returned(),
        Incident(error="KeyError", text=""),
        Retried(),
        Stepped(step="price#1"),
        ChildEnded(step="onboard#1", child="c"),
        Waiting(open=Open(wakes=5)),
        Redriven(message="x9", group=QUARANTINE),
        GroupRetired(group="shipping"),
    ],
    ids=lambda body: body.kind,
)
@pytest.mark.parametrize("run", [None, "fulfil/order:1/9"])
def test_what_is_said_of_something_unknown_changes_nothing(body: Body, run: str | None) -> None:
    before = replace(running(), owed=owing().owed)

    assert say(before, body, run=run) == said(before)


def test_a_handler_s_answer_opens_waits_in_its_case_only() -> None:
    waits = (
        ChoreographedWait(types=("OrderApproved", "OrderTurnedDown"), until=7_000, who="a manager"),
        ChoreographedWait(types=("OrderShipped",)),
    )
    body = Handled(message="m1", group="approvals", type="OrderPlaced", case=CASE, waits=waits)

    assert say(CaseState(CASE), body).waits == [
        CaseWait(("OrderApproved", "OrderTurnedDown"), 1_000, 7_000, "a manager", "approvals"),
        CaseWait(("OrderShipped",), 1_000, None, None, "approvals"),
    ]
    assert say(CaseState("parcel:9"), body).waits == []


def test_a_failed_attempt_says_how_often_and_when_the_next_is_due() -> None:
    body = Retrying(message="m1", group="billing", type="ChargeCard", case=CASE, attempt=2, due=8_000)

    after = say(owing(command=True), body)

    assert after == replace(
        said(owing()),
        owed={"m1 billing": Owed("billing", "ChargeCard", 10, "retrying", True, due=8_000, attempt=2, moved=1_000)},
    )


def test_a_failed_attempt_of_a_local_step_owes_nothing() -> None:
    assert say(owing(), Retrying(step="price#1", case=CASE, attempt=1, due=8_000)) == said(owing())


@pytest.mark.parametrize(("held", "stage"), [(False, "dead"), (True, "held")])
def test_what_has_died_stays_owed_with_its_attempts(held: bool, stage: str) -> None:
    body = Dead(message="m1", group="billing", type="ChargeCard", case=CASE, attempts=5, held=held)

    assert say(owing(), body) == replace(
        said(owing()), owed={"m1 billing": Owed("billing", "ChargeCard", 10, stage, attempt=5, moved=1_000)}
    )


REVIVING: list[tuple[Callable[..., Body], dict[str, Any]]] = [
    (Retrying, {"stage": "retrying", "due": 0, "attempt": 1}),
    (Dead, {"stage": "dead", "attempt": 1}),
    (Redriven, {}),
]


@pytest.mark.parametrize(("kind", "more"), REVIVING, ids=[kind.__name__ for kind, _ in REVIVING])
@pytest.mark.parametrize(
    ("group", "name", "own"),
    [
        ("billing", "ChargeCard", {"command": True}),
        ("analytics", "StockReserved", {"observer": True}),
        ("shipping", "OrderConfirmed", {}),
        ("gone", "Unknown", {}),
    ],
)
def test_what_was_closed_is_owed_again_in_its_home_case(
    kind: Callable[..., Body], more: dict[str, Any], group: str, name: str, own: dict[str, Any]
) -> None:
    body = kind(message="m7", group=group, type=name, case=CASE)
    limit = {"limit": 1_000 + 2 * 24 * 60 * MINUTE} if kind is Redriven and group == "shipping" else {}

    after = say(CaseState(CASE), body, run=RUN)

    assert after.owed == {
        f"m7 {group}": Owed(group, name, 1_000, run=RUN, moved=1_000, **(more | own | limit)),
    }
    assert say(CaseState("parcel:9"), body).owed == {}


def test_what_is_redriven_begins_anew_at_the_tail() -> None:
    before = owing(stage="dead", attempt=5, due=77, moved=20, limit=33)
    before.owed["m2 shipping"] = Owed("shipping", "OrderConfirmed", 12)

    after = say(before, Redriven(message="m1", group="billing", type="ChargeCard", case=CASE))

    assert list(after.owed.items()) == [
        ("m2 shipping", Owed("shipping", "OrderConfirmed", 12)),
        ("m1 billing", Owed("billing", "ChargeCard", 10, moved=1_000, limit=33)),
    ]


def test_a_limit_begins_anew_when_its_message_is_redriven() -> None:
    before = owing("notifications", type="OrderConfirmed", stage="dead", limit=33)

    after = say(before, Redriven(message="m1", group="notifications", type="OrderConfirmed", case=CASE))

    assert after.owed["m1 notifications"].limit == 1_000 + MINUTE


# Quarantine.


def test_what_is_quarantined_counts_as_dead_in_its_own_case_until_it_is_redriven() -> None:
    body = Quarantined(id="x1", type="StockReserved", case=CASE, reason="not JSON", raw="e30=")

    kept = say(CaseState(CASE), body)
    assert kept.owed == {
        "x1 quarantine": Owed(QUARANTINE, "StockReserved", 1_000, "dead", moved=1_000),
    }
    assert say(CaseState("parcel:9"), body).owed == {}
    assert say(kept, Redriven(message="x1", group=QUARANTINE, type="StockReserved", case=CASE)).owed == {}


def test_a_retired_group_owes_nothing_and_the_others_still_do() -> None:
    before = owing()
    before.owed["m1 shipping"] = Owed("shipping", "OrderConfirmed", 12)

    after = say(before, GroupRetired(group="billing", closed=1))

    assert after.owed == {"m1 shipping": Owed("shipping", "OrderConfirmed", 12)}


# Runs.


def test_a_run_starts_in_its_own_case_and_takes_over_what_its_group_owed() -> None:
    before = owing("workflow:fulfil", type="OrderPlaced")
    body = Started(workflow="fulfil", message="m1", within=9_000, parent="other/order:1/1")

    after = say(before, body, run=RUN, run_n=1, topology=ORCHESTRATED)

    assert after == replace(
        said(before),
        owed={},
        runs={RUN: RunState("fulfil", 1_000, n=1, within=9_000, parent="other/order:1/1", moved=1_000)},
    )


@pytest.mark.parametrize("head", [{"run": RUN, "case": "parcel:9"}, {"run": None}])
def test_a_run_of_another_case_is_not_told_of(head: dict[str, Any]) -> None:
    assert say(CaseState(CASE), Started(workflow="fulfil"), **head).runs == {}


def test_a_run_started_directly_or_twice_closes_nothing() -> None:
    before = owing("workflow:fulfil", type="OrderPlaced")

    assert say(before, Started(workflow="fulfil"), run=RUN, topology=ORCHESTRATED).owed == before.owed
    assert say(before, Started(workflow="fulfil", message="m9"), run=RUN, topology=ORCHESTRATED).owed == before.owed


STEP, OTHER = (OpenStep(step=f"{name}#1", name=name, since=20) for name in ("price", "onboard"))
AWAITED = OpenWait(step="receive#1", types=("OrderApproved",), since=21)
ASLEEP = OpenStep(step="sleep#1", name="sleep", since=22, due=90)
OPEN = Open(waits=(AWAITED,), steps=(STEP, OTHER), sleeps=(ASLEEP,), wakes=90)
LEFT = Open(waits=(AWAITED,), steps=(OTHER,), sleeps=(ASLEEP,), wakes=90)


@pytest.mark.parametrize(
    "body",
    [
        Stepped(step="price#1"),
        ChildEnded(step="price#1", child="c"),
        Handled(message="m9", group="billing", type="ChargeCard", case=CASE, step="price#1"),
    ],
    ids=lambda body: body.kind,
)
def test_a_step_that_has_ended_is_waited_for_no_more(body: Body) -> None:
    assert in_run(running(OPEN), body) == moved(running(OPEN), open=LEFT)


@pytest.mark.parametrize(
    "body",
    [
        Stepped(step="other#1"),
        ChildEnded(step="other#1", child="c"),
        Handled(message="m9", group="billing", type="ChargeCard", case=CASE),
    ],
    ids=lambda body: body.kind,
)
@pytest.mark.parametrize("opened", [OPEN, Open(waits=(AWAITED,)), None], ids=["steps", "no steps", "nothing"])
def test_the_end_of_another_step_leaves_what_is_waited_for(body: Body, opened: Open | None) -> None:
    assert in_run(running(opened), body) == moved(running(opened))


def test_what_a_turn_says_it_waits_for_replaces_what_was_waited_for() -> None:
    assert in_run(running(OPEN), Stepped(step="price#1", open=Open(wakes=5))) == moved(
        running(OPEN), open=Open(wakes=5)
    )
    assert in_run(running(OPEN), Waiting(open=Open())) == moved(running(OPEN), open=Open())


def test_a_fact_of_a_run_told_in_another_case_moves_nothing_but_what_it_waits_for() -> None:
    after = say(running(), Waiting(open=OPEN), case="parcel:9", run=RUN, run_n=4)

    assert after == replace(said(running(), home=0), runs={RUN: RunState("fulfil", 10, n=3, open=OPEN, moved=10)})


@pytest.mark.parametrize(
    ("number", "gap"),
    [(4, None), (5, f"run {RUN}: facts 4 to 4 are missing"), (9, f"run {RUN}: facts 4 to 8 are missing")],
)
def test_a_fact_that_is_not_the_next_of_its_run_leaves_a_gap(number: int, gap: str | None) -> None:
    after = say(running(), Waiting(open=Open()), run=RUN, run_n=number)

    assert (after.gap, after.runs[RUN].n) == (gap, number)


def test_the_first_gap_is_kept() -> None:
    once = say(running(), Waiting(open=Open()), run=RUN, run_n=6)

    assert say(once, Waiting(open=Open()), run=RUN, run_n=9).gap == f"run {RUN}: facts 4 to 5 are missing"


def test_a_run_without_numbers_moves_and_has_no_gap() -> None:
    unnumbered = running()
    unnumbered.runs[RUN].n = None

    assert say(running(), Waiting(open=Open()), run=RUN) == moved(running(), n=3, open=Open())
    assert say(unnumbered, Waiting(open=Open()), run=RUN, run_n=7) == moved(unnumbered, n=7, open=Open())


@pytest.mark.parametrize("how", ["returned", "cancelled", "failed"])
def test_a_run_that_has_ended_is_over(how: Any) -> None:
    after = in_run(running(OPEN), Returned(how=how))

    assert after == replace(said(running()), runs={}, over=Over("fulfil", how, 1_000))


def test_a_run_that_was_cancelled_says_by_whom_and_why() -> None:
    asked = in_run(running(), CancelAsked(by="ada", reason="no money"))
    assert in_run(asked, Returned(how="cancelled")).over == Over("fulfil", "cancelled", 1_000, "ada (no money)")
    assert in_run(asked, Returned(how="returned")).over == Over("fulfil", "returned", 1_000)


def test_a_run_that_goes_on_as_new_is_gone_and_not_over() -> None:
    assert in_run(running(), Returned(how="again")) == replace(said(running()), runs={})


def test_an_incident_stops_a_run_where_it_is_until_it_is_retried() -> None:
    stopped = in_run(running(OPEN), Incident(error="KeyError", text="", step="price#1"))
    assert stopped == moved(running(OPEN), open=OPEN, status="stopped", stopped_at=1_000, failed_step="price#1")

    resumed = say(stopped, Retried(), run=RUN, run_n=5, at=2_000)
    assert resumed == replace(said(stopped, at=2_000), runs={RUN: RunState("fulfil", 10, n=5, open=OPEN, moved=2_000)})


AWAITING = Open(waits=(AWAITED,))
CAME = Received(message="m2", type=AWAITED.types[0], group="workflow:fulfil", case=CASE)


@pytest.mark.parametrize(("received_at", "awaited"), [(1_000, ()), (999, (AWAITED,))], ids=["same", "an earlier"])
def test_a_stopped_run_does_not_wait_for_what_the_turn_that_stopped_it_was_handed(
    received_at: int, awaited: tuple[OpenWait, ...]
) -> None:
    """What an earlier turn was handed and did not take, as one whose predicate refuses it, ended no wait."""
    handed = in_run(running(AWAITING), CAME, at=received_at)
    assert handed.runs[RUN].awaited == (AWAITED,), "until it stops, the turn itself says what it waits for"

    stopped = in_run(handed, Incident(error="KeyError", text=""), at=1_000)
    assert stopped.runs[RUN].awaited == awaited
    assert in_run(stopped, Retried(), at=2_000).runs[RUN].awaited == (AWAITED,), "until its next turn says otherwise"


def test_what_comes_for_a_stopped_run_ends_one_wait_for_it() -> None:
    opened = Open(waits=(AWAITED, replace(AWAITED, step="receive#2")))
    stopped = in_run(running(opened), Incident(error="KeyError", text=""))

    handed = in_run(stopped, CAME, at=2_000)
    assert handed.runs[RUN].awaited == opened.waits[1:]
    assert in_run(handed, CAME, at=3_000).runs[RUN].awaited == ()


# Requests, and what holds of every fact.


def test_a_request_is_owed_in_its_own_case_until_it_is_answered() -> None:
    body = Requested(request=Raw(b"{}"), id="r1", op="emit", type="OrderPlaced")

    asked = say(CaseState(CASE), body)
    assert asked.asked == {"r1": Asked("emit", "OrderPlaced", 1_000)}
    assert say(CaseState(CASE), body, case="parcel:9").asked == {}
    assert say(asked, Answered(id="r1"), case="parcel:9").asked == {}


def test_a_request_that_was_turned_down_is_kept_with_its_reason() -> None:
    asked = say(CaseState(CASE), Requested(request=Raw(b"{}"), id="r1", op="emit", type="OrderPlaced"))
    body = Answered(id="r1", op="emit", outcome="rejected", why="no")

    assert say(asked, body).refused == Refused("emit", "OrderPlaced", "no", 1_000)
    assert say(asked, replace(body, type="Other")).refused == Refused("emit", "Other", "no", 1_000)
    assert say(asked, body, case="parcel:9").refused is None
    assert say(asked, replace(body, outcome="accepted")).refused is None


def test_it_is_forgotten_as_soon_as_the_case_goes_on() -> None:
    refused = say(CaseState(CASE), Answered(id="r1", op="emit", outcome="rejected", why="no"), at=5_000)
    assert refused.refused is not None

    assert say(refused, Published(id="m1", type="OrderPlaced", case=CASE), at=1_000).refused is None
    began = in_run(refused, Started(workflow="fulfil"))
    assert began.refused is not None
    assert in_run(began, Returned(how="cancelled")).refused is None


def test_a_fact_told_in_another_case_is_not_counted_as_the_case_s_own() -> None:
    assert say(CaseState(CASE, home=2), GroupRetired(group="x"), case="parcel:9").home == 2
    assert say(CaseState(CASE, home=2), GroupRetired(group="x")).home == 3


def test_a_message_is_found_again_from_the_key_of_its_obligation() -> None:
    key = owed_key("m 1", "workflow:fulfil")

    assert message_of(key, Owed("workflow:fulfil", "OrderPlaced", 0)) == "m 1"


# The projection.


def test_a_row_says_how_its_case_stands() -> None:
    trail = situations.approved()
    row = trail.row()

    assert (row.case, row.rank, row.at, row.since, row.deadline) == (
        "order:1",
        4,
        "OrderApproved",
        trail.when(2),
        trail.when(2) + MINUTE,
    )


def test_a_topology_is_asked_for_once_while_it_is_in_force() -> None:
    trail = situations.charging()
    asked: list[int] = []
    projection = CaseProjection(lambda version: (asked.append(version), trail.topology)[1])
    row = projection.fold(trail.case, None, trail.facts[:3])
    row = projection.fold(trail.case, row.state, trail.facts[3:5])
    projection.fold(trail.case, row.state, [replace(fact, code=2) for fact in trail.facts[5:]])

    assert asked == [1, 2]


def test_a_state_that_was_just_folded_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trail = situations.charging()
    projection = CaseProjection(lambda _: trail.topology)
    row = projection.fold(trail.case, None, trail.facts[:3])
    monkeypatch.setattr(folding, "decode_state", None)

    assert projection.fold(trail.case, row.state, trail.facts[3:]) == trail.row()


def test_states_are_kept_up_to_a_limit_and_the_oldest_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "KEPT_MAX", 2)
    trail = situations.charging()
    projection = CaseProjection(lambda _: trail.topology)
    for case in ("order:1", "order:2", "order:1", "order:3"):
        projection.fold(case, None, trail.facts[:3])

    assert list(projection._kept) == ["order:1", "order:3"]
