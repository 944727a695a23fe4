"""Why an outcome has not happened: the leading cause of each situation, and the one command that mends it."""

import pytest
from msgspec.structs import replace

from partita.clock import US
from partita.errors import NotFound
from partita.monitor.leaves import Leaf, WhyNode
from partita.monitor.why import why
from partita.store.facts import (
    Body,
    ChildStarted,
    Dead,
    Discarded,
    DuplicateStart,
    Incident,
    Open,
    OpenStep,
    Published,
    Quarantined,
    Returned,
    Started,
    Stepped,
    Waiting,
)
from tests.unit.monitor import situations
from tests.unit.monitor.situations import Situation
from tests.unit.monitor.trails import RUN, Trail

SHOW = "partita show order:1"
DECIDE = """partita signal order:1 DecideOrder '{"approve": ..., "by": ...}'"""
CAUSES: list[tuple[Situation, str, Leaf, str]] = [
    (situations.shipped, "OrderShipped", "produced", SHOW),
    (situations.approved, "OrderShipped", "in_progress", SHOW),
    (situations.declined, "OrderShipped", "took_other_branch", SHOW),
    (situations.declined, "OrderCancelled", "produced", SHOW),
    (situations.nothing_to_release, "OrderCancelled", "noop", SHOW),
    (situations.shipment_refused, "OrderShipped", "took_other_branch", SHOW),
    (situations.shipment_refused, "CardRefunded", "retrying_at", SHOW),
    (situations.awaiting_a_manager, "OrderShipped", "waiting_for", DECIDE),
    (situations.awaiting_a_manager, "OrderApproved", "waiting_for", DECIDE),
    (situations.awaiting_a_manager, "DecideOrder", "waiting_for", DECIDE),
    (situations.turned_down, "OrderShipped", "took_other_branch", SHOW),
    (situations.charging_again, "OrderShipped", "retrying_at", SHOW),
    (situations.mail_dead, "orderconfirmed", "dead", "partita dead redrive m7/notifications"),
    (situations.mail_discarded, "orderconfirmed", "discarded", SHOW),
    (situations.shipping_paused, "OrderShipped", "group_paused", "partita group resume shipping"),
    (situations.inventory_gone, "OrderShipped", "group_gone", "partita group retire inventory"),
    (situations.inventory_retired, "OrderShipped", "group_gone", "partita signal order:1 OrderApproved"),
    (situations.quarantined, "StockReserved", "quarantined", "partita dead discard x1/quarantine"),
    (situations.blocked, "StockReleased", "blocked_by", SHOW),
    (situations.requested, "OrderShipped", "engine_not_running", "partita dev"),
    (situations.engine_gone, "OrderShipped", "engine_not_running", "partita dev"),
    (situations.delayed, "OrderShipped", "timer_pending", SHOW),
    (situations.unheard, "OrderShipped", "no_subscriber", "partita flow --declared"),
    (situations.added_later, "OrderShipped", "no_subscriber", "partita signal order:1 OrderConfirmed"),
    (situations.run_started, "OrderShipped", "in_progress", SHOW),
    (situations.run_declined, "OrderShipped", "took_other_branch", SHOW),
    (situations.call_failed, "OrderConfirmed", "took_other_branch", SHOW),
    (situations.call_failed, "CardCharged", "call_failed", SHOW),
    (situations.call_withdrawn, "StockReserved", "withdrawn", SHOW),
    (situations.call_held, "OrderShipped", "call_held", "partita dead redrive m4/billing"),
    (situations.call_held, "ChargeCard", "call_held", "partita dead redrive m4/billing"),
    (situations.run_stopped, "OrderShipped", "run_failed_at", "partita retry order:1"),
    (situations.run_awaiting_approval, "OrderShipped", "waiting_for", DECIDE),
    (situations.local_step, "OrderShipped", "in_progress", SHOW),
    (situations.local_step, "price", "in_progress", SHOW),
    (situations.local_step_again, "price", "retrying_at", SHOW),
    (situations.sleeping, "OrderShipped", "timer_pending", SHOW),
    (situations.sleeping, "sleep", "timer_pending", SHOW),
    (situations.with_child, "OrderShipped", "in_progress", "partita show customer:7"),
    (situations.with_working_child, "OrderShipped", "in_progress", SHOW),
    (situations.with_waiting_child, "OrderShipped", "waiting_for", DECIDE),
    (situations.with_stopped_child, "OrderShipped", "run_failed_at", "partita retry order:1"),
    (situations.with_stopped_child, "pack", "run_failed_at", "partita retry order:1"),
    (situations.after_its_child, "OrderShipped", "in_progress", SHOW),
    (situations.on_itself, "OrderShipped", "waits_on_itself", "partita cancel order:1"),
    (situations.no_run, "OrderShipped", "no_run", """partita start fulfil '{"order_id": "1"}'"""),
    (situations.ship_dead, "OrderShipped", "dead", "partita dead redrive m7/shipping"),
    (situations.ship_dead, "ShipOrder", "dead", "partita dead redrive m7/shipping"),
    (situations.doomed, "OrderShipped", "noop", SHOW),
    (situations.doomed, "OrderCancelled", "doomed_wait", "partita signal order:1 OrderShipped"),
]


@pytest.mark.parametrize(
    ("situation", "outcome", "leaf", "command"), CAUSES, ids=[f"{s.__name__}-{outcome}" for s, outcome, _, _ in CAUSES]
)
def test_the_leading_cause_is_named_with_the_command_that_mends_it(
    situation: Situation, outcome: str, leaf: Leaf, command: str
) -> None:
    tree = situation().why(outcome)

    assert (tree.leading.leaf, tree.leading.command) == (leaf, command)
    assert tree.happened == (leaf == "produced")


@pytest.mark.parametrize(
    ("situation", "outcome", "leaf", "command"), CAUSES, ids=[f"{s.__name__}-{outcome}" for s, outcome, _, _ in CAUSES]
)
def test_every_leaf_has_a_sentence_and_a_command_and_cites_facts_of_the_case(
    situation: Situation, outcome: str, leaf: Leaf, command: str
) -> None:
    trail = situation()
    said = {fact.seq for fact in trail.facts}

    for node in leaves(trail.why(outcome).root):
        assert node.sentence
        assert (node.command or "").startswith("partita ")
        assert {one.seq for one in node.evidence} <= said


def leaves(node: WhyNode) -> list[WhyNode]:
    below = [leaf for need in node.needs for leaf in leaves(need)]
    return [node, *below] if node.leaf else below


# Children, wherever they are.


def with_child_of_customer(*said: tuple[Body, str]) -> Trail:
    """A child that belongs to customer 7, and what its case's trail says of it."""
    trail = situations.with_child()
    there = Trail(trail.topology, case="customer:7")
    there.say(Started(workflow="onboard", parent=RUN, parent_step="onboard#1"), run="onboard/customer:7/1")
    for body, run in said:
        there.say(body, run=run)
    trail.others["customer:7"] = there.facts
    return trail


def test_a_child_that_stopped_in_another_case_is_retried_there() -> None:
    stopped = Incident(error="KeyError", text="'name'")
    tree = with_child_of_customer((stopped, "onboard/customer:7/1")).why("OrderShipped")

    assert (tree.leading.leaf, tree.leading.command) == ("run_failed_at", "partita retry customer:7")
    assert "run onboard/customer:7/1 stopped" in tree.leading.sentence
    assert len(tree.leading.evidence) == 1


def test_a_child_that_continued_as_another_run_is_that_run() -> None:
    first, second = "onboard/customer:7/1", "onboard/customer:7/2"
    on = Started(workflow="onboard", parent=RUN, parent_step="onboard#1")
    stopped = Incident(error="KeyError", text="'name'")
    trail = with_child_of_customer((Returned(how="again"), first), (on, second), (stopped, second))

    assert trail.why("OrderShipped").leading.sentence.startswith(f"run {second} stopped")


def test_what_a_child_s_child_waits_for_is_asked_for_too() -> None:
    step = OpenStep(step="pack#1", name="pack", since=0)
    begun = ChildStarted(step="pack#1", child="pack/order:5/1", workflow="pack", open=Open(steps=(step,)))
    trail = with_child_of_customer((begun, "onboard/customer:7/1"))
    below = Trail(trail.topology, case="order:5")
    below.say(Started(workflow="pack"), run="pack/order:5/1")
    below.say(Incident(error="KeyError", text="'box'"), run="pack/order:5/1")
    trail.others["order:5"] = below.facts

    assert trail.why("OrderShipped").leading.command == "partita retry order:5"


def test_of_two_children_the_one_that_stopped_leads() -> None:
    trail = situations.with_stopped_child()
    sleep = OpenStep(step="sleep#1", name="sleep", since=trail.now, due=trail.now + 60 * US)
    pack = OpenStep(step="pack#1", name="pack", since=trail.now)
    trail.say(Waiting(open=Open(steps=(pack,), sleeps=(sleep,), wakes=trail.now + 60 * US)), run=RUN)

    assert trail.why("OrderShipped").leading.leaf == "run_failed_at"


def test_a_call_into_another_case_that_is_held_there_leads_to_it() -> None:
    trail = situations.run_started()
    trail.publish("ChargeCard", run=RUN, step="ChargeCard#1", case="order:5", also=("order:5",))
    open_call = OpenStep(step="ChargeCard#1", name="ChargeCard", since=trail.now)
    trail.say(Waiting(open=Open(steps=(open_call,))), run=RUN)
    sent = trail.facts[-2]
    there = Trail(trail.topology, case="order:5")
    there.facts.append(sent)
    assert isinstance(sent.body, Published)
    there.say(Dead(message=sent.body.id, group="billing", type="ChargeCard", case="order:5", attempts=3, held=True))
    trail.others["order:5"] = there.facts

    leading = trail.why("OrderShipped").leading
    assert (leading.leaf, leading.command) == ("call_held", f"partita dead redrive {sent.body.id}/billing")


# Sentences say whom, when and how often.


def test_a_retry_says_which_attempt_failed_and_when_the_next_is_due() -> None:
    leading = situations.charging_again().why("OrderShipped").leading

    assert leading.sentence.startswith("attempt 2 of billing at ChargeCard failed: RetryLater: gateway is busy")
    assert leading.sentence.endswith("(in 10 s)")


def test_a_retry_that_is_due_while_no_engine_runs_waits_for_the_engine() -> None:
    trail = situations.charging_again()
    trail.engine_running = False

    assert trail.why("OrderShipped").leading.command == "partita dev"
    assert trail.why("OrderShipped", after_s=11).leading.leaf == "engine_not_running"


def test_a_wait_says_for_whom_and_until_when() -> None:
    sentence = situations.awaiting_a_manager().why("OrderShipped").leading.sentence

    assert "waits for OrderApproved or OrderTurnedDown from a manager" in sentence
    assert "until 2023-11-21" in sentence


def test_a_run_that_took_another_branch_says_which_answer_led_it_there() -> None:
    sentence = situations.run_declined().why("OrderShipped").leading.sentence

    assert "after ChargeCard was answered with CardDeclined" in sentence
    assert "its last event was OrderCancelled" in sentence


def test_the_evidence_of_another_branch_is_the_answer_itself() -> None:
    leading = situations.declined().why("CardCharged").leading

    assert [one.text for one in leading.evidence] == [
        "billing handled ChargeCard (answer: CardDeclined)",
        "billing published CardDeclined",
    ]


def test_what_is_blocked_names_what_is_before_it_and_why_that_is_not_done() -> None:
    leading = situations.blocked().why("StockReleased")

    assert "ReserveStock is before it" in leading.leading.sentence
    assert "retrying_at" in {leaf.leaf for leaf in leaves(leading.root)}


def test_a_doomed_wait_says_why_each_of_its_events_will_not_come() -> None:
    tree = situations.doomed().why("OrderCancelled")

    assert "nothing open can bring it about" in tree.leading.sentence
    assert "shipping did nothing about ShipOrder: nothing to ship" in {leaf.sentence for leaf in leaves(tree.root)}


def test_a_dead_notification_is_shown_below_an_event_that_did_happen() -> None:
    tree = situations.mail_dead().why("OrderConfirmed")

    assert tree.leading.leaf == "produced"
    assert [node.leaf for node in tree.root.needs] == ["dead"]


def test_a_case_that_has_ended_says_with_what_where_no_branch_leads_to_the_outcome() -> None:
    trail = situations.shipped()
    trail.topology = situations.doomed().topology
    leading = trail.why("ShipmentRefused").leading

    assert leading.leaf == "took_other_branch"


def test_the_newest_state_of_a_mended_case_leads() -> None:
    trail = situations.ship_dead()
    situations.die(trail, "m7", "shipping", "ShipOrder")
    trail.handle("m7", "shipping", "OrderShipped")

    assert trail.why("OrderShipped").happened


def test_what_is_not_carried_yet_is_in_the_outbox() -> None:
    trail = situations.approved()
    tree = why(
        trail.case,
        "OrderShipped",
        facts=trail.facts,
        topology=trail.topology,
        engine_running=True,
        now=trail.now,
        outbox=["m2"],
    )

    assert tree.leading.leaf == "in_outbox"


def test_what_another_case_owes_is_asked_for_there() -> None:
    trail = Trail(situations.placed().topology)
    trail.publish("OrderConfirmed", case="order:2", head_case="order:2", also=("order:1",))
    leading = trail.why("OrderShipped").leading

    assert (leading.leaf, leading.command) == ("other_case", "partita why order:2 ShipOrder")


def test_a_run_whose_workflow_has_left_the_code_cannot_move() -> None:
    trail = situations.run_started()
    trail.topology = replace(trail.topology, workflows=())
    leading = trail.why("OrderShipped").leading

    assert (leading.leaf, leading.command) == ("group_gone", SHOW), "its own code would have to meet a cancellation"
    assert trail.show().stuck == (leading.sentence,)


def test_what_a_workflow_is_to_publish_is_not_suggested_to_be_published_by_hand() -> None:
    trail = situations.run_started()
    before = trail.topology
    trail.topology = replace(before, version=2, workflows=())
    tree = trail.why("OrderConfirmed", past=[before])
    said = {node.sentence: node.command for node in leaves(tree.root)}

    sentence = "workflow fulfil is to publish OrderConfirmed, and is not in this code; deploy it again"
    assert said[sentence] == SHOW
    assert not [command for command in said.values() if "OrderConfirmed" in command]


def test_a_workflow_that_is_started_by_hand_says_how() -> None:
    trail = Trail(situations.run_started().topology)
    trail.topology = replace(
        trail.topology, workflows=tuple(replace(one, starts_on=None) for one in trail.topology.workflows)
    )
    leading = trail.why("OrderConfirmed").leading

    assert (leading.leaf, leading.command) == ("never_produced", "partita start fulfil '{...}'")


@pytest.mark.parametrize("outcome", ["OrderPlaced", "OrderConfirmed", "OrderShipped", "ReserveStock"])
def test_a_start_that_was_turned_down_is_why_nothing_came_of_it(outcome: str) -> None:
    leading = situations.start_turned_down().why(outcome).leading

    assert leading.leaf == "turned_down"
    assert leading.sentence == "the request to start fulfil was turned down: it has no lines. Give it some."
    assert (leading.command or "").startswith("partita start fulfil '{")
    assert [one.text for one in leading.evidence] == [
        "somebody asked to start fulfil (no engine is running: owed to the next one)",
        "partita turned down start fulfil (it has no lines. Give it some.)",
    ]


def test_what_is_being_handled_says_how_long_that_may_take() -> None:
    sentence = situations.approved().why("OrderShipped").leading.sentence

    assert sentence.startswith("OrderApproved is in inventory's hands since ")
    assert sentence.endswith(", where one attempt may take 5 min")


def test_a_request_that_an_engine_has_found_is_in_progress() -> None:
    trail = situations.requested()
    trail.engine_running = True

    assert trail.why("OrderShipped").leading.leaf == "in_progress"


@pytest.mark.parametrize(("engine_running", "leaf"), [(True, "in_progress"), (False, "engine_not_running")])
def test_a_local_step_and_an_idle_run_need_an_engine(engine_running: bool, leaf: Leaf) -> None:
    for situation in (situations.local_step, situations.run_started, situations.run_retried):
        trail = situation()
        trail.engine_running = engine_running
        assert trail.why("OrderShipped").leading.leaf == leaf


def test_a_run_that_only_a_timer_moves_sleeps_until_then() -> None:
    trail = situations.run_started()
    trail.say(Waiting(open=Open(wakes=trail.now + 60_000_000)), run=RUN)

    assert trail.why("OrderShipped").leading.leaf == "timer_pending"
    assert (trail.where().verdict, trail.where().at) == ("waiting", "fulfil")


def test_a_second_start_says_which_run_the_case_has() -> None:
    trail = situations.run_started()
    again = trail.publish("OrderPlaced")
    body = DuplicateStart(message=again, group="workflow:fulfil", type="OrderPlaced", workflow="fulfil", run=RUN)
    trail.say(body)

    assert trail.why("OrderShipped").leading.leaf == "in_progress"


def test_a_handler_that_did_its_work_did_it() -> None:
    tree = situations.mailed().why("orderconfirmed")

    assert tree.happened
    assert tree.leading.sentence.startswith("orderconfirmed handled OrderConfirmed at ")


def test_a_handler_whose_event_is_missing_says_what_is_missing() -> None:
    tree = situations.approved().why("orderconfirmed")

    assert tree.root.sentence == "orderconfirmed handles OrderConfirmed, which has not been published"
    assert tree.leading.leaf == "in_progress"


# Steps and names.


def test_a_step_that_was_done_is_produced_and_one_that_failed_is_not() -> None:
    trail = situations.local_step()
    trail.say(Stepped(step="price#1", error="OSError", text="no route", attempts=3), run=RUN)
    assert trail.why("price").leading.leaf == "step_failed"

    trail.step_done("price")
    assert trail.why("price").happened


def test_an_unknown_outcome_is_refused_and_the_nearest_is_named() -> None:
    with pytest.raises(NotFound, match=r"Did you mean OrderShipped\?"):
        situations.placed().why("OrderShiped")


def test_quarantined_bytes_of_a_type_that_no_code_knows_can_be_asked_for() -> None:
    trail = situations.placed()
    trail.say(Quarantined(id="x1", type="OrderPlacedV9", case="order:1", reason="no such type", raw="e30="))

    assert trail.why("OrderPlacedV9").leading.leaf == "quarantined"


def test_a_type_that_nothing_publishes_says_how_to_declare_it() -> None:
    trail = Trail(situations.inventory_gone().topology)
    leading = trail.why("StockReserved").leading

    assert leading.leaf == "never_produced"
    assert "declare it so: external=..." in leading.sentence


def test_an_order_that_was_never_placed_names_those_who_could_begin_it() -> None:
    tree = Trail(situations.placed().topology).why("OrderShipped")

    assert tree.leading.leaf == "waiting_for"
    assert "OrderPlaced comes from the customer, and has not come" in {leaf.sentence for leaf in leaves(tree.root)}


def test_quarantined_bytes_that_were_given_up_can_still_be_asked_for() -> None:
    trail = situations.quarantined()
    (quarantined,) = [fact.body for fact in trail.facts if isinstance(fact.body, Quarantined)]
    trail.say(Discarded(message=quarantined.id, group="quarantine", type=quarantined.type, case="order:1", by="ada"))

    leading = trail.why(quarantined.type).leading
    assert leading.leaf == "discarded"
    assert quarantined.reason in leading.sentence
