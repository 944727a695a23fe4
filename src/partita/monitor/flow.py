"""The declared flow: the state machine that handlers, reactions and workflows make together, as nodes and edges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from partita.messages.message import Ends
from partita.messages.topology import Topology
from partita.monitor.chart import chart_of

BY_HAND = "by hand"
"""Who starts a workflow that neither a message nor another workflow starts."""
NodeKind = Literal["event", "command", "handler", "reaction", "workflow", "party"]
EdgeKind = Literal["handles", "emits", "starts", "feeds", "receives", "calls", "publishes", "undoes", "sends", "waits"]


class FlowNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message type, whoever handles or sends it, or a party outside."""

    id: str
    kind: NodeKind
    label: str
    group: str | None = None
    wiring: str | None = None
    observer: bool = False
    ends: Ends | None = None
    case_type: str | None = None


class FlowEdge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One declared move, from node to node. What feeds a workflow is given to a run that something else starts."""

    source: str
    target: str
    kind: EdgeKind
    within_us: int | None = None


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """What an app declares may happen."""

    app: str
    nodes: tuple[FlowNode, ...]
    edges: tuple[FlowEdge, ...]


def declared(topology: Topology) -> Flow:
    """The flow that follows from contracts and from what workflows' sources say."""
    edges = tuple(dict.fromkeys((*_handler_edges(topology), *_workflow_edges(topology), *_party_edges(topology))))
    nodes = {node.id: node for node in (*_message_nodes(topology), *_actor_nodes(topology), *_party_nodes(topology))}
    for edge in edges:
        for name in (edge.source, edge.target):
            if name.startswith("workflow ") and name not in nodes:  # A child that the app has left out.
                nodes[name] = FlowNode(id=name, kind="workflow", label=name.removeprefix("workflow "))
            elif name not in nodes:  # A type that is sent, and that no message in the topology describes.
                nodes[name] = FlowNode(id=name, kind="event", label=name)
    used = {name for edge in edges for name in (edge.source, edge.target)}
    return Flow(app=topology.app, nodes=tuple(node for node in nodes.values() if node.id in used), edges=edges)


def to_json(flow: Flow) -> bytes:
    """As `partita flow --format json` prints it."""
    return msgspec.json.encode(flow)


def to_mermaid(flow: Flow) -> str:
    """A Mermaid flowchart: events round, commands as boxes, handlers by their group, parties outside as subroutines."""
    ids = {node.id: f"n{index}" for index, node in enumerate(flow.nodes)}
    lines = ["flowchart LR"]
    for node in flow.nodes:
        opening, closing = _SHAPES[node.kind]
        lines.append(f'    {ids[node.id]}{opening}"{_quoted(node)}"{closing}')
    for edge in flow.edges:
        arrow = "-.->" if edge.kind in {"undoes", "waits"} else "-->"
        said = "" if edge.kind in {"handles", "emits"} else f'|"{edge.kind}"|'
        lines.append(f"    {ids[edge.source]} {arrow}{said} {ids[edge.target]}")
    lines += [f"    class {ids[node.id]} {node.ends}" for node in flow.nodes if node.ends]
    lines += [
        "    classDef done stroke:#2f9e44,stroke-width:3px",
        "    classDef failed stroke:#e03131,stroke-width:3px",
        "    classDef compensated stroke:#f08c00,stroke-width:3px",
    ]
    return "\n".join(lines) + "\n"


def to_text(flow: Flow) -> str:
    """One line for each edge."""
    labels = {node.id: node.label for node in flow.nodes}
    return "".join(f"{labels[edge.source]} {edge.kind} {labels[edge.target]}\n" for edge in flow.edges)


_SHAPES: dict[NodeKind, tuple[str, str]] = {
    "event": ("([", "])"),
    "command": ("[", "]"),
    "handler": ("{{", "}}"),
    "reaction": ("{{", "}}"),
    "workflow": ("[[", "]]"),
    "party": (">", "]"),
}


def _quoted(node: FlowNode) -> str:
    label = f"{node.group}: {node.label}" if node.group and node.kind in {"handler", "reaction"} else node.label
    return re.sub(r'["<>&#;]', lambda found: f"#{ord(found[0])};", label)


# Nodes.


def _message_nodes(topology: Topology) -> Iterator[FlowNode]:
    for message in topology.messages:
        if message.kind != "query":
            yield FlowNode(
                id=message.name, kind=message.kind, label=message.name, ends=message.ends, case_type=message.case_type
            )


def _actor_nodes(topology: Topology) -> Iterator[FlowNode]:
    for group in topology.groups:
        for edge in group.edges:
            if edge.form != "workflow":
                yield FlowNode(
                    id=_actor(group.name, edge.handler),
                    kind="reaction" if edge.form == "reaction" else "handler",
                    label=edge.handler.rpartition(".")[2],
                    group=group.name,
                    wiring=edge.wiring,
                    observer=edge.observer,
                )
    for workflow in topology.workflows:
        yield FlowNode(id=_workflow(workflow.name), kind="workflow", label=workflow.name, group=workflow.group)


def _party_nodes(topology: Topology) -> Iterator[FlowNode]:
    yield FlowNode(id=_party(BY_HAND), kind="party", label=BY_HAND)
    for message in topology.messages:
        if message.external:
            yield FlowNode(id=_party(message.external), kind="party", label=message.external)


# Edges.


def _handler_edges(topology: Topology) -> Iterator[FlowEdge]:
    chart = chart_of(topology)
    for group in topology.groups:
        for edge in group.edges:
            if edge.form == "workflow":
                continue
            actor = _actor(group.name, edge.handler)
            yield FlowEdge(source=edge.type, target=actor, kind="handles", within_us=edge.within_us)
            for outcome in chart.outcomes(group.name, edge.type):
                yield FlowEdge(source=actor, target=outcome, kind="emits")


def _workflow_edges(topology: Topology) -> Iterator[FlowEdge]:
    children = {name for workflow in topology.workflows for name in workflow.children}
    for workflow in topology.workflows:
        actor = _workflow(workflow.name)
        if workflow.starts_on is not None:
            yield FlowEdge(source=workflow.starts_on, target=actor, kind="starts", within_us=workflow.within_us)
        elif workflow.name not in children:
            yield FlowEdge(source=_party(BY_HAND), target=actor, kind="starts", within_us=workflow.within_us)
        if workflow.takes is not None:
            yield FlowEdge(source=workflow.takes, target=actor, kind="feeds", within_us=workflow.within_us)
        for name in workflow.children:
            yield FlowEdge(source=actor, target=_workflow(name), kind="starts")
        for name in workflow.receives:
            yield FlowEdge(source=name, target=actor, kind="receives")
        for name in workflow.calls:
            yield FlowEdge(source=actor, target=name, kind="calls")
        for name in workflow.publishes:
            yield FlowEdge(source=actor, target=name, kind="publishes")
        for name in workflow.undoes:
            yield FlowEdge(source=actor, target=name, kind="undoes")


def _party_edges(topology: Topology) -> Iterator[FlowEdge]:
    for message in topology.messages:
        if message.external and message.kind != "query":
            yield FlowEdge(source=_party(message.external), target=message.name, kind="sends")


def _actor(group: str, handler: str) -> str:
    return f"{group}/{handler}"


def _workflow(name: str) -> str:
    return f"workflow {name}"


def _party(name: str) -> str:
    return f"party {name}"
