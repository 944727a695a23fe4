"""Why, asked by the name of a workflow, a handler, a step or a child: how that ended, or what it stands at."""

import re

import pytest
from msgspec.structs import replace

from partita.errors import NotFound
from partita.messages.topology import Topology, WorkflowEntry
from partita.monitor.leaves import Leaf
from partita.store.facts import CancelAsked, ChildEnded, ChildStarted, Raw, Requested, Retrying, Returned, Started
from tests.unit.monitor import situations
from tests.unit.monitor.shop_topology import orchestration
from tests.unit.monitor.situations import Situation
from tests.unit.monitor.test_why import DECIDE, SHOW, leaves
from tests.unit.monitor.trails import RUN, Trail

CANCEL = "partita signal order:1 OrderCancelled"
PACK = "pack/order:1/1"


def with_pack() -> Topology:
    """Fulfil has a child, which is given a message of its own."""
    plain = orchestration()
    (fulfil,) = plain.workflows
    pack = WorkflowEntry(name="pack", group="workflow:pack", takes="StockReleased")
    return replace(plain, workflows=(replace(fulfil, children=("pack",)), pack))


def packing() -> Trail:
    trail = situations.run_started()
    trail.topology = with_pack()
    trail.say(ChildStarted(step="pack#1", child=PACK, workflow="pack"), run=RUN)
    trail.say(Started(workflow="pack", type="StockReleased", parent=RUN, parent_step="pack#1"), run=PACK)
    return trail


def cancelled() -> Trail:
    trail = situations.run_awaiting_approval()
    trail.say(CancelAsked(by="ada", reason="the customer called"), run=RUN)
    trail.returned(how="cancelled")
    return trail


def start_asked() -> Trail:
    trail = Trail(orchestration())
    trail.engine_running = False
    trail.say(Requested(request=Raw(b"{}"), id="r1", op="start", type="fulfil"))
    return trail


def gone() -> Trail:
    trail = situations.run_started()
    trail.topology = replace(trail.topology, workflows=())
    return trail


@pytest.mark.parametrize(
    ("situation", "leaf", "said", "command"),
    [
        (situations.run_shipped, "produced", f"run {RUN} returned at ", SHOW),
        (cancelled, "took_other_branch", f"run {RUN} was cancelled by ada (the customer called) at ", CANCEL),
        (
            situations.run_stopped,
            "run_failed_at",
            f"run {RUN} stopped after step",
            "partita retry order:1",
        ),
        (situations.run_awaiting_approval, "waiting_for", f"run {RUN} waits for OrderApproved or", DECIDE),
        (gone, "group_gone", "workflow fulfil is not in this code; deploy it again", SHOW),
        (start_asked, "engine_not_running", "fulfil is asked for since", "partita dev"),
    ],
    ids=["returned", "cancelled", "stopped", "waiting", "gone", "asked"],
)
def test_a_workflow_s_name_asks_how_its_run_ended_or_what_it_stands_at(
    situation: Situation, leaf: Leaf, said: str, command: str
) -> None:
    tree = situation().why("fulfil")

    assert said in tree.leading.sentence
    assert (tree.leading.leaf, tree.leading.command) == (leaf, command)
    assert tree.happened == (leaf == "produced")


def test_a_child_that_was_not_started_is_not_since_its_parent_has_not_come_to_it() -> None:
    trail = situations.run_awaiting_approval()
    trail.topology = with_pack()

    for name in ("pack", "StockReleased"):
        tree = trail.why(name)
        assert (tree.leading.leaf, tree.leading.command) == ("waiting_for", DECIDE)


def test_a_child_and_what_it_was_given_happened() -> None:
    trail = packing()
    given = trail.why("StockReleased").leading
    assert (given.leaf, given.sentence.partition(" at ")[0]) == ("produced", f"StockReleased was given to run {PACK}")

    trail.say(Returned(), run=PACK)
    trail.say(ChildEnded(step="pack#1", child=PACK), run=RUN)
    ended = trail.why("pack").leading
    assert (ended.leaf, ended.sentence.partition(" at ")[0]) == ("produced", f"run {PACK} returned")


def test_a_child_of_another_case_is_a_step_of_its_parent_and_ends_as_one() -> None:
    trail = situations.with_child()
    trail.say(ChildEnded(step="onboard#1", child="onboard/customer:7/1", error="cancelled"), run=RUN)
    leading = trail.why("onboard").leading

    assert leading.sentence.startswith("child onboard/customer:7/1 was cancelled at ")
    assert leading.command == "partita show customer:7"


def test_a_step_that_was_given_up_says_how_its_last_attempt_failed() -> None:
    trail = situations.run_started()
    trail.say(Retrying(step="price#1", attempt=2, error="OSError", text="no line.", due=trail.now), run=RUN)

    assert trail.why("price").leading.sentence == (
        "attempt 2 at step price failed: OSError: no line; its run waits for it no more"
    )


@pytest.mark.parametrize("situation", [packing, situations.run_stopped, cancelled, situations.local_step_again])
def test_everything_that_the_refusal_offers_can_be_asked_and_sends_messages_only(situation: Situation) -> None:
    trail = situation()
    with pytest.raises(NotFound, match="nothing is called 'zzzzzz'") as refused:
        trail.why("zzzzzz")
    offered = re.findall(r"[\w-]+", str(refused.value).split("Ask for one of ")[1])
    messages = trail.topology.message_by_name

    assert {"fulfil", "OrderPlaced", "chargecard_cardcharged_carddeclined"} <= set(offered)
    for name in offered:
        for node in leaves(trail.why(name).root):
            words = (node.command or "").split()
            assert words[1] != "signal" or words[3] in messages
            assert "nothing more was said" not in node.sentence


def test_a_handler_of_several_types_is_asked_of_those_that_came() -> None:
    trail = situations.placed()
    group = next(one for one in trail.topology.groups if one.name == "analytics")
    edges = tuple(replace(edge, handler="shop.count") for edge in group.edges)
    others = tuple(one for one in trail.topology.groups if one is not group)
    trail.topology = replace(trail.topology, groups=(*others, replace(group, edges=edges)))
    charged = trail.publish("CardCharged")
    trail.handle(charged, "analytics")

    assert trail.why("count").leading.sentence.startswith("count handled CardCharged at ")
