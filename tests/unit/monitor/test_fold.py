"""Folding: pure, the same in batches of any size, and blind to nothing that a fact says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from partita.messages.topology import Topology
from partita.monitor.fold import FOLD_VERSION, CaseProjection, fold, recompute
from partita.monitor.state import CaseState, decode_state, encode_state
from partita.store.facts import Discarded, DuplicateStart, GroupRetired, Handled, Raw, Unread
from tests.unit.monitor import situations
from tests.unit.monitor.shop_topology import choreography
from tests.unit.monitor.trails import RUN, fold_in_batches

SITUATIONS = [
    value
    for name, value in vars(situations).items()
    if callable(value) and getattr(value, "__module__", "") == situations.__name__ and name not in {"retry", "die"}
]
each_situation = pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)


@settings(max_examples=200, deadline=None)
@given(situation=st.sampled_from(SITUATIONS), cuts=st.lists(st.integers(0, 40), max_size=6))
def test_batches_of_any_size_fold_to_the_state_of_the_whole(situation: situations.Situation, cuts: list[int]) -> None:
    trail = situation()

    row = fold_in_batches(trail.facts, trail.case, trail.topology, cuts)

    assert decode_state(row.state) == trail.state()
    assert row == trail.row()


@each_situation
def test_folding_one_fact_at_a_time_leaves_every_earlier_state_as_it_was(situation: situations.Situation) -> None:
    trail = situation()
    state = CaseState(trail.case)
    for fact in trail.facts:
        before = encode_state(state)
        after = fold(state, fact, trail.topology)
        assert encode_state(state) == before
        state = after

    assert state == trail.state()


def test_each_fact_is_folded_under_the_topology_that_it_was_written_under() -> None:
    trail = situations.approved()
    trail.facts[-1] = replace(trail.facts[-1], code=2)
    versions = {1: trail.topology, 2: Topology(app="shop", version=2)}

    owed = recompute(trail.case, trail.facts, versions.__getitem__).owed["m2 inventory"]

    assert owed.limit is None
    assert trail.state().owed["m2 inventory"].limit is not None


def test_a_row_carries_the_version_of_the_fold_and_the_last_fact() -> None:
    row = situations.shipped().row()

    assert (row.fold, row.seq, row.case) == (FOLD_VERSION, len(situations.shipped().facts), "order:1")


def test_a_fact_of_an_unknown_kind_changes_nothing() -> None:
    trail = situations.approved()
    before = trail.where()
    trail.say(Unread(raw=Raw(b"{}"), name="from a later version"))

    assert trail.where() == before


def test_a_batch_that_was_rolled_back_is_folded_as_if_it_had_never_been() -> None:
    trail = situations.charging()
    projection = CaseProjection(lambda _: trail.topology)
    before = projection.fold("order:1", None, trail.facts[:4])
    projection.fold("order:1", before.state, trail.facts[5:])

    row = projection.fold("order:1", before.state, trail.facts[4:])

    assert decode_state(row.state) == trail.state()


# What closes an obligation.


def test_a_combined_reaction_leaves_nothing_owed_for_its_command() -> None:
    assert set(situations.reserved().state().owed) == {"m4 billing"}


@pytest.mark.parametrize("kind", [Discarded, DuplicateStart])
def test_an_obligation_is_closed_by_what_says_so(kind: type) -> None:
    trail = situations.placed()
    extra = {"workflow": "fulfil", "run": RUN} if kind is DuplicateStart else {}
    trail.say(kind(message="m1", group="approvals", type="OrderPlaced", case="order:1", **extra))

    assert trail.state().owed == {}


def test_a_retired_group_owes_nothing_any_more_and_others_still_do() -> None:
    trail = situations.confirmed()
    trail.say(GroupRetired(group="notifications", closed=1))

    assert {owed.group for owed in trail.state().owed.values()} == {"shipping"}


def test_a_redriven_message_enters_at_the_tail_and_its_limit_begins_anew() -> None:
    state = situations.mail_redriven().state()

    assert list(state.owed) == ["m7 notifications"]
    owed = state.owed["m7 notifications"]
    assert (owed.stage, owed.attempt, owed.limit) == ("open", 0, state.at + 60_000_000)


def test_a_completion_that_comes_twice_closes_once() -> None:
    trail = situations.reserved()
    before = set(trail.state().owed)
    trail.say(Handled(message="m2", group="inventory", type="OrderApproved", case="order:1"))

    assert set(trail.state().owed) == before


def test_a_completion_that_is_voided_is_owed_again_once_it_is_retried() -> None:
    trail = situations.charging()
    trail.answer("m4", "billing", outcome="failed", error="OSError", reason="OSError: no route")
    assert trail.state().owed == {}
    situations.retry(trail, "m4", "billing", "ChargeCard")

    assert trail.state().owed["m4 billing"].stage == "retrying"


# Choreographed waits.


def test_a_wait_is_over_when_one_of_its_events_is_published_in_the_case() -> None:
    trail = situations.awaiting_a_manager()
    trail.publish("OrderTurnedDown", case="order:2", head_case="order:2", also=("order:1",))
    assert len(trail.state().waits) == 1

    trail.publish("OrderTurnedDown")
    assert trail.state().waits == []


# Runs.


def test_what_a_run_waits_for_is_what_its_last_turn_said() -> None:
    trail = situations.run_awaiting_approval()
    trail.open_step("price")

    run = trail.state().runs[RUN]
    assert run.open is not None
    assert (run.open.waits, [step.name for step in run.open.steps]) == ((), ["price"])
    trail.step_done("price")
    assert trail.where().at == "fulfil"


def test_a_missing_fact_of_a_run_is_seen_and_makes_the_case_blind() -> None:
    state = situations.gap().state()

    assert state.gap == f"run {RUN}: facts 2 to 2 are missing"


def test_facts_of_a_run_that_has_ended_open_nothing() -> None:
    trail = situations.run_shipped()
    trail.say(Handled(message="m9", group="billing", type="ChargeCard", case="order:1", late=True), run=RUN)

    assert trail.where().verdict == "done"


# What it costs.


def test_a_state_with_little_open_is_small() -> None:
    state = situations.run_awaiting_approval().state()

    assert len(encode_state(state)) < 500


def test_a_projection_is_given_only_the_state_and_the_new_facts() -> None:
    trail = situations.charging()
    projection = CaseProjection(lambda _: choreography())
    head = projection.fold("order:1", None, trail.facts[:3])

    assert projection.fold("order:1", head.state, trail.facts[3:]).seq == len(trail.facts)
