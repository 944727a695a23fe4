"""The shop in its three forms, as the topology that its App would store."""

from collections.abc import Iterable

from partita.messages.topology import Edge, GroupEntry, MessageEntry, Topology, WorkflowEntry
from partita.retry import duration_us

EVENTS: dict[str, dict[str, str]] = {
    "OrderPlaced": {"external": "the customer"},
    "OrderApproved": {},
    "OrderTurnedDown": {},
    "StockReserved": {},
    "OutOfStock": {},
    "StockReleased": {},
    "CardCharged": {},
    "CardDeclined": {},
    "CardRefunded": {},
    "OrderConfirmed": {},
    "OrderCancelled": {"ends": "compensated"},
    "OrderShipped": {"ends": "done"},
    "ShipmentRefused": {},
}
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ReserveStock": ("inventory", ("StockReserved", "OutOfStock")),
    "ReleaseStock": ("inventory", ("StockReleased",)),
    "ChargeCard": ("billing", ("CardCharged", "CardDeclined")),
    "RefundCard": ("billing", ("CardRefunded",)),
    "ShipOrder": ("shipping", ("OrderShipped", "ShipmentRefused")),
    "DecideOrder": ("approvals", ("OrderApproved", "OrderTurnedDown")),
}
OBSERVED = ("StockReserved", "CardCharged")


def messages(sent: Iterable[str]) -> tuple[MessageEntry, ...]:
    """Commands that nobody in the form sends come from outside."""
    events = [
        MessageEntry(
            name=name,
            case_type="order",
            case_field="order_id",
            fields=("order_id",),
            ends=said.get("ends"),
            external=said.get("external"),
        )
        for name, said in EVENTS.items()
    ]
    commands = [
        MessageEntry(
            name=name,
            kind="command",
            case_type="order",
            case_field="order_id",
            fields=("order_id", "approve", "by") if name == "DecideOrder" else ("order_id",),
            external="a manager" if name == "DecideOrder" else None if name in sent else "outside",
            answers=answers,
        )
        for name, (_, answers) in COMMANDS.items()
    ]
    return (*events, *commands)


def edge(group: str, on: str, *outcomes: str, wiring: str | None = None, **more: object) -> tuple[str, Edge]:
    within = more.pop("within", None)
    form = "reaction" if wiring else "handler"
    return group, Edge(
        type=on,
        handler=f"shop.{group}.{'_'.join((on, *outcomes)).lower()}",
        service=group,
        form=form,
        wiring=wiring,
        outcomes=outcomes,
        within_us=duration_us(str(within)) if within else None,
        **more,
    )


def service_edges() -> list[tuple[str, Edge]]:
    return [
        *(edge(group, command, *answers) for command, (group, answers) in COMMANDS.items()),
        edge("billing", "CardCharged"),
        edge("notifications", "OrderConfirmed", within="1m"),
        edge("notifications", "OrderShipped"),
        edge("notifications", "OrderCancelled"),
        *(edge("analytics", name, observer=True) for name in OBSERVED),
    ]


def wired(name: str) -> list[tuple[str, Edge]]:
    """The reactions of the choreographed form; `CardCharged` is confirmed by a group of its own."""
    return [
        edge("approvals", "OrderPlaced", "OrderApproved", wiring=name, awaits=True),
        edge("inventory", "OrderApproved", "ReserveStock", wiring=name, within="1m"),
        edge("billing", "StockReserved", "ChargeCard", wiring=name),
        edge("confirmations", "CardCharged", "OrderConfirmed", wiring=name),
        edge("shipping", "OrderConfirmed", "ShipOrder", wiring=name, within="2d"),
        edge("inventory", "CardDeclined", "ReleaseStock", wiring=name),
        edge("inventory", "ShipmentRefused", "ReleaseStock", wiring=name),
        edge("billing", "ShipmentRefused", "RefundCard", wiring=name),
        edge("approvals", "StockReleased", "OrderCancelled", wiring=name),
        edge("approvals", "OutOfStock", "OrderCancelled", wiring=name),
        edge("approvals", "OrderTurnedDown", "OrderCancelled", wiring=name),
    ]


def groups(edges: Iterable[tuple[str, Edge]]) -> tuple[GroupEntry, ...]:
    found: dict[str, list[Edge]] = {}
    for group, one in edges:
        found.setdefault(group, []).append(one)
    return tuple(GroupEntry(name=name, service=name, edges=tuple(own)) for name, own in found.items())


def workflow_edges(workflow: WorkflowEntry) -> list[tuple[str, Edge]]:
    types = ((workflow.starts_on,) if workflow.starts_on else ()) + workflow.receives
    return [
        (workflow.group, Edge(type=name, handler=f"shop.{workflow.name}", service=workflow.group, form="workflow"))
        for name in types
    ]


def choreography() -> Topology:
    return Topology(
        app="shop",
        version=1,
        messages=messages(sent=set(COMMANDS) - {"DecideOrder"}),
        groups=groups([*service_edges(), *wired("choreography")]),
    )


def orchestration() -> Topology:
    fulfil = WorkflowEntry(
        name="fulfil",
        group="workflow:fulfil",
        starts_on="OrderPlaced",
        receives=("OrderApproved", "OrderTurnedDown"),
        calls=("ReserveStock", "ChargeCard", "ShipOrder"),
        publishes=("OrderConfirmed", "OrderCancelled"),
        undoes=("ReleaseStock", "RefundCard"),
    )
    return Topology(
        app="shop",
        version=1,
        messages=messages(sent=set(COMMANDS) - {"DecideOrder"}),
        groups=groups([*service_edges(), *workflow_edges(fulfil)]),
        workflows=(fulfil,),
    )


def hybrid() -> Topology:
    fulfil = WorkflowEntry(
        name="fulfil",
        group="workflow:fulfil",
        starts_on="OrderPlaced",
        receives=("OrderApproved", "OrderTurnedDown", "OrderShipped", "ShipmentRefused"),
        calls=("ReserveStock", "ChargeCard"),
        publishes=("OrderConfirmed", "OrderCancelled"),
        undoes=("ReleaseStock", "RefundCard"),
    )
    ship = edge("shipping", "OrderConfirmed", "ShipOrder", wiring="after confirmation", within="2d")
    return Topology(
        app="shop",
        version=1,
        messages=messages(sent=set(COMMANDS) - {"DecideOrder"}),
        groups=groups([*service_edges(), ship, *workflow_edges(fulfil)]),
        workflows=(fulfil,),
    )
