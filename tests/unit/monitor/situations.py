"""Moments in the life of order 1, each as the trail that it has left so far."""

from collections.abc import Callable

from msgspec.structs import replace

from partita.clock import US
from partita.messages.topology import WorkflowEntry
from partita.retry import duration_us
from partita.store.facts import (
    Answered,
    ChildEnded,
    ChildStarted,
    Dead,
    Discarded,
    GroupRetired,
    Incident,
    NoRun,
    Open,
    OpenStep,
    OpenWait,
    Quarantined,
    Raw,
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
from partita.store.port import GroupRow
from tests.unit.monitor.shop_topology import choreography, hybrid, orchestration
from tests.unit.monitor.trails import RUN, Trail

Situation = Callable[[], Trail]


# Choreography.


def placed() -> Trail:
    trail = Trail(choreography())
    trail.publish("OrderPlaced")
    return trail


def approved() -> Trail:
    trail = placed()
    trail.handle("m1", "approvals", "OrderApproved")
    return trail


def reserved() -> Trail:
    trail = approved()
    trail.react("m2", "inventory", "ReserveStock", "StockReserved")
    trail.handle("m4", "analytics")
    return trail


def charged() -> Trail:
    trail = reserved()
    (charge,) = trail.handle("m4", "billing", "ChargeCard")
    (charged_card,) = trail.handle(charge, "billing", "CardCharged")
    trail.handle(charged_card, "billing")
    trail.handle(charged_card, "analytics")
    return trail


def confirmed() -> Trail:
    trail = charged()
    trail.handle("m6", "confirmations", "OrderConfirmed")
    return trail


def mailed() -> Trail:
    trail = confirmed()
    trail.handle("m7", "notifications")
    return trail


def shipped() -> Trail:
    trail = mailed()
    trail.react("m7", "shipping", "ShipOrder", "OrderShipped")
    trail.handle("m9", "notifications")
    return trail


def declined() -> Trail:
    """And undone: every obligation is closed."""
    trail = reserved()
    (charge,) = trail.handle("m4", "billing", "ChargeCard")
    (refusal,) = trail.handle(charge, "billing", "CardDeclined")
    (released,) = trail.react(refusal, "inventory", "ReleaseStock", "StockReleased")
    (cancelled,) = trail.handle(released, "approvals", "OrderCancelled")
    trail.handle(cancelled, "notifications")
    return trail


def nothing_to_release() -> Trail:
    """The card is declined, and the release finds nothing: nobody cancels the order."""
    trail = reserved()
    (charge,) = trail.handle("m4", "billing", "ChargeCard")
    (refusal,) = trail.handle(charge, "billing", "CardDeclined")
    (release,) = trail.handle(refusal, "inventory", "ReleaseStock")
    trail.handle(release, "inventory", outcome="noop", reason="nothing was reserved", via="inventory")
    return trail


def shipment_refused() -> Trail:
    """The stock goes back while the refund is being retried."""
    trail = mailed()
    (refused,) = trail.react("m7", "shipping", "ShipOrder", "ShipmentRefused")
    (released,) = trail.react(refused, "inventory", "ReleaseStock", "StockReleased")
    (cancelled,) = trail.handle(released, "approvals", "OrderCancelled")
    trail.handle(cancelled, "notifications")
    (refund,) = trail.handle(refused, "billing", "RefundCard")
    retry(trail, refund, "billing", "RefundCard")
    return trail


def retry(trail: Trail, message: str, group: str, name: str, *, attempt: int = 1, delay_s: int = 10) -> None:
    body = Retrying(
        message=message,
        group=group,
        type=name,
        case=trail.case,
        attempt=attempt,
        error="RetryLater",
        text="gateway is busy",
        due=trail.now + (delay_s + 1) * US,
    )
    trail.say(body)


def die(trail: Trail, message: str, group: str, name: str, *, held: bool = False) -> None:
    body = Dead(
        message=message,
        group=group,
        type=name,
        case=trail.case,
        attempts=5,
        error="SMTPError",
        text="no route",
        held=held,
    )
    trail.say(body)


def awaiting_a_manager() -> Trail:
    trail = placed()
    trail.wait(
        "m1",
        "approvals",
        "OrderApproved",
        "OrderTurnedDown",
        who="a manager",
        until=trail.now + US + duration_us("7d"),
    )
    return trail


def turned_down() -> Trail:
    trail = awaiting_a_manager()
    decide = trail.publish("DecideOrder")
    (no,) = trail.handle(decide, "approvals", "OrderTurnedDown")
    (cancelled,) = trail.handle(no, "approvals", "OrderCancelled")
    trail.handle(cancelled, "notifications")
    return trail


def charging_again() -> Trail:
    trail = reserved()
    (charge,) = trail.handle("m4", "billing", "ChargeCard")
    retry(trail, charge, "billing", "ChargeCard", attempt=2)
    return trail


def mail_dead() -> Trail:
    """Shipped, but the mail of the confirmation could not be sent."""
    trail = confirmed()
    die(trail, "m7", "notifications", "OrderConfirmed")
    trail.react("m7", "shipping", "ShipOrder", "OrderShipped")
    trail.handle("m9", "notifications")
    return trail


def mail_redriven() -> Trail:
    trail = mail_dead()
    trail.say(Redriven(message="m7", group="notifications", type="OrderConfirmed", case="order:1", by="ann"))
    return trail


def mail_discarded() -> Trail:
    trail = mail_dead()
    trail.say(Discarded(message="m7", group="notifications", type="OrderConfirmed", case="order:1", by="ann"))
    return trail


def observer_dead() -> Trail:
    trail = approved()
    trail.react("m2", "inventory", "ReserveStock", "StockReserved")
    die(trail, "m4", "analytics", "StockReserved")
    return trail


def shipping_paused() -> Trail:
    trail = mailed()
    trail.groups.append(GroupRow("shipping", "paused", trail.now, "ann"))
    return trail


def inventory_gone() -> Trail:
    """A later version of the app has no inventory any more."""
    trail = approved()
    left = tuple(group for group in trail.topology.groups if group.name != "inventory")
    trail.topology = type(trail.topology)(
        app="shop", version=1, messages=trail.topology.messages, groups=left, workflows=trail.topology.workflows
    )
    return trail


def inventory_retired() -> Trail:
    trail = inventory_gone()
    trail.say(GroupRetired(group="inventory", closed=1, by="ann"))
    return trail


def quarantined() -> Trail:
    trail = approved()
    trail.say(Quarantined(id="x1", type="StockReserved", case="order:1", reason="not JSON", raw="e30="))
    return trail


def blocked() -> Trail:
    """The release waits behind a reservation of the same group that is retried."""
    trail = approved()
    (reserve,) = trail.handle("m2", "inventory", "ReserveStock")
    retry(trail, reserve, "inventory", "ReserveStock")
    trail.publish("CardDeclined")
    return trail


def requested() -> Trail:
    trail = Trail(choreography())
    trail.engine_running = False
    trail.say(Requested(request=Raw(b"{}"), id="r1", op="emit", type="OrderPlaced"))
    return trail


def request_answered() -> Trail:
    trail = requested()
    trail.publish("OrderPlaced")
    trail.say(Answered(id="r1", op="emit"))
    return trail


def start_turned_down() -> Trail:
    """Somebody asked to start the workflow while no engine ran; the next one refused it."""
    trail = Trail(orchestration())
    trail.say(Requested(request=Raw(b"{}"), id="r1", op="start", type="fulfil"))
    trail.say(Answered(id="r1", op="start", type="fulfil", outcome="rejected", why="it has no lines. Give it some."))
    return trail


def engine_gone() -> Trail:
    trail = approved()
    trail.engine_running = False
    return trail


def delayed() -> Trail:
    trail = Trail(choreography())
    trail.publish("OrderApproved", due=trail.now + US + duration_us("1h"))
    return trail


def unheard() -> Trail:
    """The wiring that charges was left out of the app: only an observer hears of the reservation."""
    trail = Trail(choreography())
    trail.topology = type(trail.topology)(
        app="shop",
        version=1,
        messages=trail.topology.messages,
        groups=tuple(group for group in trail.topology.groups if group.name not in {"billing", "confirmations"}),
    )
    trail.publish("OrderApproved")
    trail.react("m1", "inventory", "ReserveStock", "StockReserved")
    trail.handle("m3", "analytics")
    return trail


def added_later() -> Trail:
    """Published under an app in which shipping did not ship yet."""
    trail = charged()
    trail.handle("m6", "confirmations")
    trail.publish("OrderConfirmed", owes=("notifications",))
    trail.handle("m7", "notifications")
    return trail


# Orchestration.


def run_started() -> Trail:
    trail = Trail(orchestration())
    trail.publish("OrderPlaced")
    trail.start("m1")
    return trail


def reserving() -> Trail:
    trail = run_started()
    trail.call("ReserveStock")
    return trail


def charging() -> Trail:
    trail = reserving()
    trail.answer("m2", "inventory", "StockReserved")
    trail.call("ChargeCard")
    trail.handle("m3", "analytics")
    return trail


def run_shipped() -> Trail:
    trail = charging()
    trail.answer("m4", "billing", "CardCharged")
    trail.handle("m5", "billing")
    trail.handle("m5", "analytics")
    trail.publish("OrderConfirmed", run=RUN, step="OrderConfirmed#1")
    trail.call("ShipOrder")
    trail.handle("m6", "notifications")
    trail.answer("m7", "shipping", "OrderShipped")
    trail.handle("m8", "notifications")
    trail.returned()
    return trail


def run_declined() -> Trail:
    trail = charging()
    trail.answer("m4", "billing", "CardDeclined")
    release = trail.call("ReleaseStock", undo_of="m2")
    (released,) = trail.answer(release, "inventory", "StockReleased")
    assert released
    cancelled = trail.publish("OrderCancelled", run=RUN, step="OrderCancelled#1")
    trail.handle(cancelled, "notifications")
    trail.returned()
    return trail


def call_held() -> Trail:
    trail = charging()
    die(trail, "m4", "billing", "ChargeCard", held=True)
    return trail


def call_failed() -> Trail:
    trail = charging()
    trail.answer("m4", "billing", outcome="failed", error="TimeoutError", reason="30 s", attempt=8)
    trail.returned()
    return trail


def call_withdrawn() -> Trail:
    trail = reserving()
    trail.say(
        Withdrawn(message="m2", group="inventory", type="ReserveStock", case="order:1", step="ReserveStock#1"), run=RUN
    )
    return trail


def run_stopped() -> Trail:
    trail = charging()
    trail.answer("m4", "billing", "CardCharged")
    trail.handle("m5", "billing")
    trail.handle("m5", "analytics")
    trail.stop("ChargeCard#1")
    return trail


def run_retried() -> Trail:
    trail = run_stopped()
    trail.say(Retried(by="ann"), run=RUN)
    return trail


def run_awaiting_approval() -> Trail:
    trail = run_started()
    trail.receive("OrderApproved", "OrderTurnedDown", until=trail.now + US + duration_us("7d"))
    return trail


def local_step() -> Trail:
    trail = run_started()
    trail.open_step("price")
    return trail


def local_step_again() -> Trail:
    trail = local_step()
    body = Retrying(step="price#1", type="price", attempt=1, error="OSError", text="no route", due=trail.now + 11 * US)
    trail.say(body, run=RUN)
    return trail


def sleeping() -> Trail:
    trail = run_started()
    trail.sleep(trail.now + US + duration_us("1h"))
    return trail


def family() -> Trail:
    """A run whose code starts others."""
    fulfil = orchestration()
    children = tuple(WorkflowEntry(name=name, group=f"workflow:{name}") for name in ("onboard", "pack"))
    trail = Trail(replace(fulfil, workflows=(*fulfil.workflows, *children)))
    trail.publish("OrderPlaced")
    trail.start("m1")
    return trail


def with_child() -> Trail:
    trail = family()
    step = OpenStep(step="onboard#1", name="onboard", since=trail.now + US)
    body = ChildStarted(step="onboard#1", child="onboard/customer:7/1", workflow="onboard", open=Open(steps=(step,)))
    trail.say(body, run=RUN, also=("customer:7",))
    return trail


CHILD = "pack/order:1/1"


def with_working_child() -> Trail:
    """A child in the case of its parent."""
    trail = family()
    step = OpenStep(step="pack#1", name="pack", since=trail.now + US)
    trail.say(ChildStarted(step="pack#1", child=CHILD, workflow="pack", open=Open(steps=(step,))), run=RUN)
    trail.say(Started(workflow="pack", parent=RUN, parent_step="pack#1"), run=CHILD)
    weighing = OpenStep(step="weigh#1", name="weigh", since=trail.now + US)
    trail.say(Waiting(open=Open(steps=(weighing,))), run=CHILD)
    return trail


def with_waiting_child() -> Trail:
    trail = with_working_child()
    wait = OpenWait(step="receive#1", types=("OrderApproved",), since=trail.now + US)
    trail.say(Stepped(step="weigh#1", open=Open(waits=(wait,))), run=CHILD)
    return trail


def with_stopped_child() -> Trail:
    trail = with_working_child()
    trail.say(Incident(error="KeyError", text="'parcel'"), run=CHILD)
    return trail


def after_its_child() -> Trail:
    trail = with_working_child()
    trail.say(Returned(), run=CHILD)
    trail.say(ChildEnded(step="pack#1", child=CHILD), run=RUN)
    return trail


def on_itself() -> Trail:
    """A run whose last call is answered, and which waits for nothing that anybody could bring about."""
    trail = reserving()
    trail.answer("m2", "inventory", "StockReserved")
    trail.say(Waiting(open=Open(on_itself=True)), run=RUN)
    return trail


def gap() -> Trail:
    trail = charging()
    missing = next(index for index, fact in enumerate(trail.facts) if fact.run_n == 2)
    del trail.facts[missing]
    return trail


def no_run() -> Trail:
    trail = Trail(orchestration())
    trail.publish("OrderPlaced")
    trail.say(
        NoRun(
            message="m1",
            group="workflow:fulfil",
            type="OrderPlaced",
            workflow="fulfil",
            case="order:1",
            reason="closed",
        )
    )
    return trail


# Hybrid.


def run_to_confirmation() -> Trail:
    """Confirmed by the run, which waits for what choreography makes of it."""
    trail = Trail(hybrid())
    trail.publish("OrderPlaced")
    trail.start("m1")
    trail.call("ReserveStock")
    trail.answer("m2", "inventory", "StockReserved")
    trail.handle("m3", "analytics")
    trail.call("ChargeCard")
    trail.answer("m4", "billing", "CardCharged")
    trail.handle("m5", "billing")
    trail.handle("m5", "analytics")
    trail.publish("OrderConfirmed", run=RUN, step="OrderConfirmed#1")
    trail.receive("OrderShipped", "ShipmentRefused", until=trail.now + US + duration_us("5d"))
    trail.handle("m6", "notifications")
    return trail


def ship_dead() -> Trail:
    trail = run_to_confirmation()
    (ship,) = trail.handle("m6", "shipping", "ShipOrder")
    die(trail, ship, "shipping", "ShipOrder")
    return trail


def doomed() -> Trail:
    trail = run_to_confirmation()
    (ship,) = trail.handle("m6", "shipping", "ShipOrder")
    trail.handle(ship, "shipping", outcome="noop", reason="nothing to ship", via="shipping")
    return trail


def hybrid_shipped() -> Trail:
    trail = run_to_confirmation()
    trail.react("m6", "shipping", "ShipOrder", "OrderShipped")
    trail.handle("m8", "notifications")
    trail.received("m8")
    trail.returned()
    return trail
