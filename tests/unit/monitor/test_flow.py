"""The declared flow, as nodes and edges, and as pictures of it."""

import re

import msgspec
from msgspec.structs import replace

from partita.messages.topology import Topology, WorkflowEntry
from partita.monitor.flow import Flow, declared, to_json, to_mermaid, to_text
from tests.unit.monitor.shop_topology import choreography, edge, groups, hybrid, orchestration


def moves(flow: Flow) -> set[tuple[str, str, str]]:
    return {(one.source, one.kind, one.target) for one in flow.edges}


def test_a_reaction_stands_between_its_event_and_its_command() -> None:
    found = moves(declared(choreography()))

    assert ("StockReserved", "handles", "billing/shop.billing.stockreserved_chargecard") in found
    assert ("billing/shop.billing.stockreserved_chargecard", "emits", "ChargeCard") in found
    assert ("billing/shop.billing.chargecard_cardcharged_carddeclined", "emits", "CardDeclined") in found


def test_a_workflow_stands_between_what_it_takes_and_what_it_sends() -> None:
    found = moves(declared(orchestration()))

    assert ("OrderPlaced", "starts", "workflow fulfil") in found
    assert ("OrderApproved", "receives", "workflow fulfil") in found
    assert ("workflow fulfil", "calls", "ChargeCard") in found
    assert ("workflow fulfil", "publishes", "OrderConfirmed") in found
    assert ("workflow fulfil", "undoes", "ReleaseStock") in found


def test_who_stands_outside_sends_what_comes_from_outside() -> None:
    found = moves(declared(hybrid()))

    assert ("party the customer", "sends", "OrderPlaced") in found
    assert ("party a manager", "sends", "DecideOrder") in found


def test_every_edge_joins_two_nodes_and_every_node_has_an_edge() -> None:
    for topology in (choreography(), orchestration(), hybrid(), by_hand()):
        flow = declared(topology)
        joined = {name for one in flow.edges for name in (one.source, one.target)}
        assert joined == {node.id for node in flow.nodes}
        assert len(joined) == len(flow.nodes)


def test_a_message_that_ends_its_case_says_how() -> None:
    ends = {node.id: node.ends for node in declared(choreography()).nodes if node.ends}

    assert ends == {"OrderShipped": "done", "OrderCancelled": "compensated"}


def test_an_observer_and_a_wiring_are_marked() -> None:
    nodes = {node.id: node for node in declared(choreography()).nodes}

    assert nodes["analytics/shop.analytics.stockreserved"].observer
    assert nodes["shipping/shop.shipping.orderconfirmed_shiporder"].wiring == "choreography"


def test_json_reads_back_as_the_same_flow() -> None:
    flow = declared(hybrid())

    assert msgspec.json.decode(to_json(flow), type=Flow) == flow


def test_a_mermaid_line_is_a_node_an_edge_or_a_class() -> None:
    node = r'    n\d+(\(\["[^"]*"\]\)|\["[^"]*"\]|\{\{"[^"]*"\}\}|\[\["[^"]*"\]\]|>"[^"]*"\])'
    arrow = r'    n\d+ (-->|-\.->)(\|"[a-z]+"\|)? n\d+'
    style = r"    (class n\d+ [a-z]+|classDef [a-z]+ \S+)"
    for topology in (choreography(), orchestration(), hybrid(), by_hand()):
        head, *lines = to_mermaid(declared(topology)).splitlines()
        assert head == "flowchart LR"
        assert [one for one in lines if not re.fullmatch(f"{node}|{arrow}|{style}", one)] == []


def test_a_label_cannot_break_out_of_its_quotes() -> None:
    topology = Topology(app="odd", groups=groups([edge('say "hi"', "A<b>", "C#;")]))

    drawn = to_mermaid(declared(topology))

    assert "#34;hi#34;" in drawn
    assert "A#60;b#62;" in drawn
    assert "C#35;#59;" in drawn


def test_text_says_one_move_a_line() -> None:
    assert "OrderPlaced starts fulfil\n" in to_text(declared(orchestration()))


def by_hand() -> Topology:
    """A workflow that somebody starts, and one that it has as a child."""
    workflows = (
        WorkflowEntry(name="renew", group="workflow:renew", children=("check", "visit")),
        WorkflowEntry(name="check", group="workflow:check", takes="OrderPlaced"),
    )
    return replace(orchestration(), workflows=workflows)


def test_a_workflow_that_no_message_starts_is_drawn_with_who_starts_it_and_what_it_takes() -> None:
    found = moves(declared(by_hand()))

    assert ("party by hand", "starts", "workflow renew") in found
    assert ("workflow renew", "starts", "workflow check") in found
    assert ("OrderPlaced", "feeds", "workflow check") in found
    assert ("party by hand", "starts", "workflow check") not in found
    assert "by hand starts renew\nrenew starts check\nrenew starts visit\n" in to_text(declared(by_hand()))
