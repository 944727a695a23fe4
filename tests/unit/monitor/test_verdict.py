"""What a state comes to, item by item: which one decides, since when, until when, and which waits are doomed."""

from typing import Any

import pytest

from partita.clock import US
from partita.messages.topology import Edge, GroupEntry, MessageEntry, Topology, WorkflowEntry
from partita.monitor.chart import chart_of
from partita.monitor.fold import row_of
from partita.monitor.state import Asked, CaseState, CaseWait, Ended, Latest, Over, Owed, RunState
from partita.monitor.verdict import (
    TIMER_GRACE_US,
    Judged,
    Next,
    OpenWaitFor,
    Weighed,
    judge,
    list_next,
    open_waits,
    step_name,
    weigh,
)
from partita.store.facts import Open, OpenStep, OpenWait

CASE, RUN = "deal:1", "close/deal:1/1"
NOW = 1_000 * US


def event(name: str, **more: Any) -> MessageEntry:
    return MessageEntry(name=name, case_type="deal", case_field="deal_id", **more)


def edge(on: str, *outcomes: str) -> Edge:
    return Edge(type=on, handler=f"sales.{on.lower()}", service="sales", outcomes=outcomes)


DEALS = Topology(
    app="deals",
    messages=(
        event("Asked", external="the customer"),
        event("Quoted"),
        event("Agreed"),
        event("Sealed", ends="done"),
        event("Lost", ends="failed"),
    ),
    groups=(
        GroupEntry(name="sales", service="sales", edges=(edge("Asked", "Quoted"), edge("Agreed", "Sealed", "Lost"))),
    ),
    workflows=(WorkflowEntry(name="close", group="workflow:close", publishes=("Sealed",)),),
)
ENDLESS = Topology(app="deals", messages=(event("Asked"),))


def judged(state: CaseState, *, at: int = NOW, topology: Topology = DEALS) -> Judged:
    return judge(state, topology, at)


def stands(state: CaseState, *, at: int = NOW) -> Weighed:
    return weigh(state, chart_of(DEALS), at)


def wait(*types: str, since: int = 5, until: int | None = None) -> OpenWait:
    return OpenWait(step="receive#1", types=types, since=since, until=until)


def step(name: str, since: int = 5, due: int | None = None) -> OpenStep:
    return OpenStep(step=f"{name}#1", name=name, since=since, due=due)


def running(opened: Open | None = None, **more: Any) -> CaseState:
    return CaseState(CASE, runs={RUN: RunState("close", 1, open=opened, moved=7, **more)}, at=9)


FAILED, OVERDUE, RUNNING, WAITING = 1, 3, 4, 5


# Which item decides.


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        pytest.param(None, Weighed(RUNNING, "close", 7, None, None), id="it has just started"),
        pytest.param(Open(), Weighed(RUNNING, "close", 7, None, None), id="it waits for nothing that is known"),
        pytest.param(
            Open(wakes=2_000 * US),
            Weighed(WAITING, "close", 7, 2_000 * US, 2_000 * US + TIMER_GRACE_US),
            id="it waits for its clock alone",
        ),
        pytest.param(Open(steps=(step("price"),)), Weighed(RUNNING, "price", 5, None, None), id="for a step"),
        pytest.param(
            Open(waits=(wait("Agreed", "Lost"),)), Weighed(WAITING, "Agreed", 5, None, None), id="for a message"
        ),
        pytest.param(Open(waits=(wait(),)), Weighed(WAITING, "close", 5, None, None), id="for any message"),
        pytest.param(
            Open(waits=(wait("Agreed", until=NOW),), wakes=NOW),
            Weighed(WAITING, "Agreed", 5, NOW, NOW + TIMER_GRACE_US),
            id="for a message, with a limit",
        ),
        pytest.param(
            Open(sleeps=(step("sleep", due=2_000 * US),)),
            Weighed(WAITING, "sleep", 5, 2_000 * US, 2_000 * US + TIMER_GRACE_US),
            id="asleep",
        ),
        pytest.param(
            Open(waits=(wait("Agreed", since=8),), sleeps=(step("sleep", since=6),)),
            Weighed(WAITING, "sleep", 6, None, None),
            id="the oldest of its waits",
        ),
        pytest.param(
            Open(waits=(wait("Agreed"),), steps=(step("price", since=8),)),
            Weighed(RUNNING, "price", 8, None, None),
            id="what runs is worse than what waits",
        ),
    ],
)
def test_a_run_is_where_its_open_items_are(opened: Open | None, expected: Weighed) -> None:
    assert stands(running(opened)) == expected


@pytest.mark.parametrize("opened", [None, Open()], ids=["not said", "nothing"])
def test_a_run_that_waits_for_a_call_is_where_its_command_is(opened: Open | None) -> None:
    state = running(opened)
    state.owed["m1 billing"] = Owed("billing", "Charge", 20, command=True, run=RUN)

    assert stands(state) == Weighed(RUNNING, "Charge", 20, None, None)


def test_a_run_that_another_run_s_command_is_owed_for_is_not_called_waiting_for_it() -> None:
    state = running()
    state.owed["m1 billing"] = Owed("billing", "Charge", 20, command=True, run="other/deal:1/1")

    assert stands(state) == Weighed(RUNNING, "close", 7, None, None)


@pytest.mark.parametrize(("failed", "at"), [("fan/price#2", "price"), (None, "close")])
def test_a_run_that_stopped_has_failed_at_its_last_step_or_as_a_whole(failed: str | None, at: str) -> None:
    state = running(Open(waits=(wait("Agreed"),)), status="stopped", stopped_at=30, failed_step=failed)

    assert stands(state) == Weighed(FAILED, at, 30, None, None)


@pytest.mark.parametrize(
    ("wakes", "rank"),
    [(NOW - TIMER_GRACE_US, OVERDUE), (NOW - TIMER_GRACE_US + 1, WAITING)],
    ids=["late", "within grace"],
)
def test_a_run_s_clock_has_its_grace_before_it_is_overdue(wakes: int, rank: int) -> None:
    assert stands(running(Open(wakes=wakes))) == Weighed(rank, "close", 7, wakes, wakes + TIMER_GRACE_US)


@pytest.mark.parametrize(("stage", "at"), [("dead", 40), ("held", 40)])
def test_what_has_died_or_is_held_has_failed_since_then(stage: Any, at: int) -> None:
    state = CaseState(CASE, {"m1 sales": Owed("sales", "Asked", 3, stage, moved=at, limit=1)})

    assert stands(state) == Weighed(FAILED, "Asked", at, None, None)


@pytest.mark.parametrize(("due", "rank"), [(NOW + 1, WAITING), (NOW, RUNNING)])
def test_a_delayed_message_is_waited_for_until_it_is_due(due: int, rank: int) -> None:
    state = CaseState(CASE, {"m1 sales": Owed("sales", "Asked", 3, "delayed", due=due)})

    assert stands(state) == Weighed(rank, "Asked", 3, None, None)


def test_what_observers_owe_counts_for_nothing() -> None:
    observed = Owed("audit", "Sealed", 3, "dead", observer=True)
    state = CaseState(CASE, {"m1 audit": observed}, ended=Ended("done", "Sealed", 8, 4))

    assert stands(state) == Weighed(7, "Sealed", 8, None, None)
    assert list(list_next(state, chart_of(DEALS))) == []


def test_of_several_limits_the_earliest_is_shown() -> None:
    late, early = NOW + 50, NOW + 20
    state = CaseState(
        CASE,
        {"m1 sales": Owed("sales", "Asked", 3, limit=late), "m2 sales": Owed("sales", "Agreed", 4, limit=early)},
        waits=[CaseWait(("Sealed",), 2, until=late)],
    )

    assert stands(state) == Weighed(RUNNING, "Asked", 3, early, early)
    assert stands(state, at=early) == Weighed(OVERDUE, "Agreed", 4, early, early)


def test_the_limit_that_is_over_first_decides_even_when_it_ends_later() -> None:
    """A run's own timer has its grace: another limit, a little later, is overdue before it."""
    state = running(Open(wakes=NOW))
    state.owed["m1 sales"] = Owed("sales", "Asked", 8, limit=NOW + 1)

    assert stands(state) == Weighed(RUNNING, "Asked", 8, NOW, NOW + 1)
    assert stands(state, at=NOW + 1).rank == OVERDUE


def test_a_handler_s_wait_is_named_by_its_first_type_or_its_group() -> None:
    assert stands(CaseState(CASE, waits=[CaseWait(("Agreed", "Lost"), 4, group="sales")])).at == "Agreed"
    assert stands(CaseState(CASE, waits=[CaseWait((), 4, group="sales")])).at == "sales"


@pytest.mark.parametrize(("until", "rank"), [(NOW, OVERDUE), (NOW + 1, WAITING)])
def test_a_handler_s_wait_is_overdue_at_its_limit(until: int, rank: int) -> None:
    assert stands(CaseState(CASE, waits=[CaseWait(("Agreed",), 4, until)])) == Weighed(rank, "Agreed", 4, until, until)


def test_a_workflow_s_own_limit_is_overdue_at_once() -> None:
    assert stands(running(within=NOW)) == Weighed(OVERDUE, "close", 1, NOW, NOW)


@pytest.mark.parametrize(("name", "at"), [("Asked", "Asked"), ("", "cancel")])
def test_a_request_that_nobody_took_yet_is_running(name: str, at: str) -> None:
    assert stands(CaseState(CASE, asked={"r1": Asked("cancel", name, 6)})) == Weighed(RUNNING, at, 6, None, None)


@pytest.mark.parametrize("latest", [None, Latest("Asked", 2, 1)])
def test_a_gap_is_worse_than_anything(latest: Latest | None) -> None:
    state = running(status="stopped", stopped_at=1)
    state.gap, state.latest = "run x: facts 2 to 2 are missing", latest

    found = judged(state)
    assert (found.verdict, found.at, found.since) == ("blind", latest and "Asked", 9)
    assert found.explanation == "part of its trail is missing: run x: facts 2 to 2 are missing"


# Quiet.


def test_a_case_that_nothing_ever_happened_in_is_done() -> None:
    assert stands(CaseState(CASE, at=9)) == Weighed(7, None, 9, None, None)


def test_a_quiet_case_without_an_end_is_dead_ended_since_its_latest_event_or_run() -> None:
    state = CaseState(CASE, latest=Latest("Quoted", 6, 3), over=Over("close", "returned", 8), at=9, home=2)

    assert stands(state) == Weighed(2, "Quoted", 6, None, None)
    state.latest = None
    assert stands(state) == Weighed(2, "close", 8, None, None)
    state.over = None
    assert stands(state) == Weighed(2, None, 9, None, None)


@pytest.mark.parametrize(
    ("latest", "over", "rest"),
    [
        (None, None, ""),
        (Latest("Quoted", 6, 3), None, "; its latest event is Quoted"),
        (Latest("Quoted", 6, 3, alone=True), None, "; its latest event is Quoted, which no group handles"),
        (
            Latest("Quoted", 6, 3, alone=True),
            Over("close", "failed", 8),
            "; its latest event is Quoted; run of close failed",
        ),
        (Latest("Quoted", 6, 3), Over("close", "returned", 8), "; its latest event is Quoted; run of close returned"),
        (None, Over("close", "cancelled", 8), "; run of close was cancelled"),
        (None, Over("close", "cancelled", 8, "ada (no money)"), "; run of close was cancelled by ada (no money)"),
    ],
)
def test_a_dead_end_says_what_was_not_reached_and_what_came_last(
    latest: Latest | None, over: Over | None, rest: str
) -> None:
    state = CaseState(CASE, latest=latest, over=over, at=9, home=2)

    assert judged(state).explanation == (
        f"nothing is owed, timed, awaited or running, and none of its ends (Sealed, Lost) was reached{rest}"
    )


@pytest.mark.parametrize(("latest", "rest"), [(None, ""), (Latest("Asked", 6, 3), "; its latest event is Asked")])
def test_a_dead_end_where_no_end_is_declared_says_so(latest: Latest | None, rest: str) -> None:
    state = CaseState(CASE, latest=latest, at=9, home=2)

    found = judged(state, topology=ENDLESS)
    assert found.verdict == "dead-ended"
    assert found.explanation == f"nothing is owed, timed, awaited or running, and no end is declared{rest}"


def test_what_is_neither_blind_nor_dead_ended_explains_itself() -> None:
    assert judged(running()).explanation == ""


# The whole judgement.


def test_a_judgement_says_all_that_follows_from_a_state() -> None:
    state = running(Open(waits=(wait("Sealed", "Lost", until=NOW + 9),), wakes=NOW + 9))
    state.owed["m1 sales"] = Owed("sales", "Asked", 8)
    state.owed["m2 sales"] = Owed("sales", "Agreed", 3)
    state.waits = [CaseWait(("Sealed",), 2, NOW + 70, "the bank", "sales")]

    assert judged(state) == Judged(
        verdict="running",
        at="Agreed",
        since=3,
        waiting_for=("Lost", "Sealed"),
        deadline=NOW + 9,
        overdue_at=NOW + 70,
        next=tuple(
            Next(name=name, basis=basis) for name, basis in [("Sealed", "owed"), ("Lost", "owed"), ("Quoted", "owed")]
        ),
        doomed=(),
        explanation="",
    )
    assert list(open_waits(state)) == [
        OpenWaitFor(("Sealed", "Lost"), 5, NOW + 9, None, RUN),
        OpenWaitFor(("Sealed",), 2, NOW + 70, "the bank", None),
    ]


@pytest.mark.parametrize("stage", ["dead", "held"])
def test_nothing_comes_of_what_has_died(stage: Any) -> None:
    state = CaseState(CASE, {"m1 sales": Owed("sales", "Asked", 8, stage)})

    assert judged(state).next == ()


def test_what_is_awaited_twice_comes_next_once() -> None:
    state = CaseState(CASE, waits=[CaseWait(("Sealed", "Lost"), 2), CaseWait(("Sealed",), 3)])

    assert judged(state).next == (Next(name="Sealed", basis="wait"), Next(name="Lost", basis="wait"))


@pytest.mark.parametrize(
    ("step", "name"),
    [("price#1", "price"), ("fan/2/price#1", "price"), ("fan/price#eu#2", "price#eu"), ("price", "price")],
)
def test_a_step_is_named_without_its_scope_and_its_number(step: str, name: str) -> None:
    assert step_name(step) == name


# Doomed waits.


def is_doomed(state: CaseState, *types: str) -> bool:
    """Whether the wait for these types is, among those of the state."""
    chart = chart_of(DEALS)
    found = types in [doomed.types for doomed in judged(state).doomed]
    assert row_of(state, chart).stuck == bool(judged(state).doomed)
    return found


def awaiting(*types: str, **more: Any) -> CaseState:
    return CaseState(CASE, waits=[CaseWait(types, 2)], home=1, **more)


def test_a_wait_is_doomed_where_nothing_is_open() -> None:
    assert is_doomed(awaiting("Sealed"), "Sealed")


@pytest.mark.parametrize(("name", "doomed"), [("Agreed", False), ("Asked", True)])
def test_what_is_owed_can_bring_a_wait_about_or_can_not(name: str, doomed: bool) -> None:
    assert is_doomed(awaiting("Sealed", owed={"m1 sales": Owed("sales", name, 1)}), "Sealed") is doomed


@pytest.mark.parametrize(("name", "doomed"), [("Agreed", False), ("Sealed", False), ("Asked", True)])
def test_a_request_that_is_owed_can_bring_a_wait_about(name: str, doomed: bool) -> None:
    assert is_doomed(awaiting("Sealed", asked={"r1": Asked("emit", name, 1)}), "Sealed") is doomed


@pytest.mark.parametrize(
    ("other", "doomed"),
    [
        pytest.param(CaseWait(("Agreed",), 3, who="the bank"), False, id="somebody leads on to it"),
        pytest.param(CaseWait(("Sealed",), 3, who="the bank"), False, id="somebody is expected to bring it to another"),
        pytest.param(CaseWait(("Agreed",), 3), True, id="what leads on to it is expected of nobody"),
        pytest.param(CaseWait(("Quoted",), 3, who="the bank"), True, id="somebody leads elsewhere"),
        pytest.param(CaseWait(("Asked",), 3), True, id="what comes from outside leads elsewhere"),
    ],
)
def test_another_handler_s_wait_may_lead_on_to_it(other: CaseWait, doomed: bool) -> None:
    state = awaiting("Sealed")
    state.waits.append(other)

    assert is_doomed(state, "Sealed") is doomed


def test_another_handler_s_wait_for_what_comes_from_outside_leads_on() -> None:
    state = awaiting("Quoted")
    state.waits.append(CaseWait(("Asked",), 3))

    assert not is_doomed(state, "Quoted")


@pytest.mark.parametrize(
    ("opened", "doomed"),
    [
        pytest.param(None, False, id="it has just started"),
        pytest.param(Open(), False, id="it waits for a call"),
        pytest.param(Open(steps=(step("price"),), waits=(wait("Agreed"),)), False, id="a step of it is being made"),
        pytest.param(Open(sleeps=(step("sleep"),), waits=(wait("Agreed"),)), False, id="it sleeps"),
        pytest.param(Open(waits=(wait("Agreed"), wait("Asked"))), False, id="it waits for somebody outside too"),
        pytest.param(Open(waits=(wait("Agreed"), wait("Quoted"))), True, id="nobody brings what it waits for"),
        pytest.param(Open(on_itself=True), True, id="nothing but its own code could move it"),
    ],
)
def test_a_run_that_can_move_may_bring_a_wait_about(opened: Open | None, doomed: bool) -> None:
    state = running(opened)
    state.waits = [CaseWait(("Sealed",), 2)]

    assert is_doomed(state, "Sealed") is doomed


@pytest.mark.parametrize(("caller", "doomed"), [(RUN, False), ("close/deal:1/2", True), (None, True)])
def test_a_run_moves_when_its_own_call_is_answered(caller: str | None, doomed: bool) -> None:
    state = running(Open(waits=(wait("Quoted"),)))
    state.waits = [CaseWait(("Sealed",), 2)]
    state.owed["m1 sales"] = Owed("billing", "Charge", 1, run=caller)

    assert is_doomed(state, "Sealed") is doomed


@pytest.mark.parametrize("workflow", ["close", "gone"])
def test_a_run_brings_about_only_what_its_workflow_says(workflow: str) -> None:
    state = running()
    state.runs[RUN].workflow = workflow
    state.waits = [CaseWait(("Sealed",), 2), CaseWait(("Quoted",), 2)]

    assert is_doomed(state, "Quoted")
    assert is_doomed(state, "Sealed") is (workflow == "gone")


def test_a_run_s_own_wait_is_not_brought_about_by_itself() -> None:
    assert is_doomed(running(Open(waits=(wait("Sealed"),))), "Sealed")
    assert not is_doomed(running(Open(waits=(wait("Sealed"), wait("Asked")))), "Sealed")


def test_a_run_that_waits_on_itself_leaves_a_case_dead_ended_whatever_else_is_going_on() -> None:
    state = running(Open(on_itself=True))
    state.owed["m1 sales"] = Owed("sales", "Agreed", 1)

    assert judged(state).verdict == "dead-ended"
    assert "only its own code" in judged(state).explanation
    state.owed["m2 sales"] = Owed("sales", "Agreed", 1, "dead")
    assert judged(state).verdict == "failed"


@pytest.mark.parametrize("bad", [running(status="stopped", stopped_at=1), CaseState(CASE, gap="x", at=1)])
def test_a_case_that_has_failed_is_stuck(bad: CaseState) -> None:
    assert row_of(bad, chart_of(DEALS)).stuck


def test_a_case_that_runs_or_is_done_is_not_stuck() -> None:
    assert not row_of(running(), chart_of(DEALS)).stuck
    assert not row_of(CaseState(CASE, ended=Ended("done", "Sealed", 8, 4), home=1), chart_of(DEALS)).stuck
