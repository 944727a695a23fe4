"""What an app declares: contradictions are refused where it is made, and the most specific policy wins."""

from typing import Annotated

import pytest

from partita import (
    App,
    Case,
    Command,
    Event,
    Noop,
    Retry,
    Service,
    Transaction,
    Wiring,
    call,
    child,
    noop,
    receive,
    saga,
    workflow,
)
from partita.errors import DefinitionError
from partita.runtime.declared import effective_policies

OrderId = Annotated[str, Case("order")]


class Placed(Event, external="the customer"):
    order_id: OrderId


class Paid(Event):
    order_id: OrderId


class Shipped(Event, ends="done"):
    order_id: OrderId


class Pay(Command[Paid]):
    order_id: OrderId


class Refund(Command[None]):
    order_id: OrderId


class Decide(Command[None], external="a clerk"):
    order_id: OrderId


def billing(**options: object) -> Service:
    """A service that handles everything there is to command."""
    service = Service("billing", **options)  # type: ignore[arg-type]

    @service.handles(Pay)
    def pay(command: Pay) -> Paid:
        return Paid(order_id=command.order_id)

    @service.handles(Refund)
    def refund(command: Refund) -> None: ...

    @service.handles(Decide)
    def decide(command: Decide) -> None: ...

    return service


def wiring(service: Service) -> Wiring:
    made = Wiring("by events")

    @made.on(Placed, service=service)
    def pay_when_placed(event: Placed) -> Pay:
        return Pay(order_id=event.order_id)

    return made


@workflow(starts_on=Placed)
async def fulfil(order: Placed) -> None:
    await call(Pay(order_id=order.order_id))
    await receive(Shipped)


@workflow(starts_on=Placed)
async def careful(order: Placed) -> None:
    async with saga() as undo:
        undo(Refund(order_id=order.order_id))


def refusal(**declared: object) -> tuple[str, str]:
    """What is wrong, and what to do."""
    with pytest.raises(DefinitionError) as error:
        App("shop", **declared)  # type: ignore[arg-type]
    why, remedy = str(error.value).split("\n")
    return why, remedy


# Contradictions.


def test_a_command_with_two_handlers_is_refused() -> None:
    other = Service("other")

    @other.handles(Pay)
    def pay_too(command: Pay) -> Paid:
        return Paid(order_id=command.order_id)

    why, remedy = refusal(services=[billing(), other])

    assert why.startswith("Pay has two handlers: ")
    assert "pay_too" in why
    assert remedy == "A command has exactly one."


def test_a_service_that_is_wired_and_not_listed_is_refused() -> None:
    why, remedy = refusal(services=[], wiring=[wiring(billing())])

    assert why == "wiring 'by events' uses service 'billing', which app 'shop' does not list"
    assert remedy == "Add it to services=[...]."


def test_a_service_of_the_same_name_is_not_the_one_that_is_listed() -> None:
    why, _remedy = refusal(services=[billing()], wiring=[wiring(billing())])

    assert why.startswith("wiring 'by events' uses service 'billing', which app 'shop' does not list")


def test_a_wiring_and_a_workflow_that_would_both_send_a_command_are_refused() -> None:
    service = billing()

    why, remedy = refusal(services=[service], workflows=[fulfil], wiring=[wiring(service)])

    assert why.startswith("Pay would be sent by workflow 'fulfil' and by wiring 'by events' (")
    assert remedy == "Choose one form for it: leave the workflow or the wiring out of the app."


def test_a_wiring_that_would_undo_what_a_workflow_undoes_is_refused() -> None:
    service, made = billing(), Wiring("by events")

    @made.on(Shipped, service=service)
    def refund(event: Shipped) -> Refund:
        return Refund(order_id=event.order_id)

    why, _remedy = refusal(services=[service], workflows=[careful], wiring=[made])

    assert why.startswith("Refund would be sent by workflow 'careful' and by wiring 'by events' (")


def test_two_services_of_one_name_are_refused() -> None:
    assert refusal(services=[Service("a"), Service("a")])[0] == "app 'shop' lists two services named 'a'"


def test_two_workflows_of_one_name_are_refused() -> None:
    assert refusal(services=[billing()], workflows=[fulfil, fulfil])[0] == "two workflows are named 'fulfil'"


def test_the_group_quarantine_is_taken() -> None:
    why, _remedy = refusal(services=[Service("quarantine")])

    assert why == "service 'quarantine': the name 'quarantine' is taken by partita"


def test_a_handlers_own_group_is_not_quarantine() -> None:
    other = Service("other")

    @other.on(Placed, group="quarantine")
    def react(event: Placed) -> None: ...

    assert refusal(services=[other])[0] == "service 'other': the name 'quarantine' is taken by partita"


def test_two_message_classes_of_one_name_are_refused() -> None:
    class Again(Event, type="Paid"):
        order_id: OrderId

    other = Service("other")

    @other.on(Again)
    def react(event: Again) -> None: ...

    assert refusal(services=[billing(), other])[0].startswith("message Paid version 1 is both ")


@pytest.mark.parametrize("name", ["", "a" * 101])
def test_an_app_has_a_name(name: str) -> None:
    with pytest.raises(DefinitionError, match="is not a name"):
        App(name)


# What follows from it.


def test_a_command_that_nobody_in_the_app_sends_comes_from_outside() -> None:
    service = billing()
    app = App("shop", services=[service], wiring=[wiring(service)])
    external = {message.name: message.external for message in app.declared.topology.messages}

    assert external == {
        "Placed": "the customer",
        "Pay": None,
        "Paid": None,
        "Refund": "outside",
        "Decide": "a clerk",
    }


def test_a_command_that_a_workflow_sends_or_undoes_does_not_come_from_outside() -> None:
    app = App("shop", services=[billing()], workflows=[fulfil, careful])
    external = {message.name: message.external for message in app.declared.topology.messages}

    assert (external["Pay"], external["Refund"]) == (None, None)


def test_a_workflow_that_no_message_starts_says_what_it_takes() -> None:
    @workflow
    async def by_hand(order: Placed) -> None:
        await child(fulfil, order)

    @workflow
    async def plainly(order: str) -> None: ...

    entries = App("shop", services=[billing()], workflows=[by_hand, plainly, fulfil]).declared.topology.workflows
    assert [entry.takes for entry in entries] == ["Placed", None, None]
    assert [entry.children for entry in entries] == [("fulfil",), (), ()]


def test_a_workflows_group_owes_what_starts_it_and_what_it_receives() -> None:
    owing = App("shop", services=[billing()], workflows=[fulfil]).declared.topology.owing

    assert owing["Placed"] == owing["Shipped"] == ("workflow:fulfil",)
    assert owing["Pay"] == ("billing",)


def test_a_wirings_group_is_the_services_and_the_wirings() -> None:
    service = billing()
    owing = App("shop", services=[service], wiring=[wiring(service)]).declared.topology.owing

    assert owing["Placed"] == ("billing/by-events",)


def test_the_same_declarations_give_the_same_topology() -> None:
    def made() -> str:
        service = billing()
        return App("shop", services=[service], wiring=[wiring(service)]).declared.topology.digest()

    assert made() == made()


def test_an_answer_that_only_the_command_names_can_be_read() -> None:
    made = Service("billing")

    @made.handles(Pay)
    def pay(command: Pay) -> Paid | Noop:
        return noop("for free")

    assert "Paid" in App("shop", services=[made]).declared.catalog


# Policies.


def attempts(*, app: Retry | None = None, service: Retry | None = None, handler: Retry | None = None) -> int:
    made = Service("mail", retry=service)

    @made.on(Placed, retry=handler)
    def react(event: Placed) -> None: ...

    policies = effective_policies(App("shop", services=[made], retry=app).declared)
    return policies["mail", "Placed"].attempts


def test_the_most_specific_retry_wins() -> None:
    app, service, handler = Retry(attempts=11), Retry(attempts=12), Retry(attempts=13)

    assert attempts() == Retry().attempts
    assert attempts(app=app) == 11
    assert attempts(app=app, service=service) == 12
    assert attempts(app=app, service=service, handler=handler) == 13
    assert attempts(app=app, handler=handler) == 13


def test_timeout_and_concurrency_come_from_the_handler_then_from_its_service() -> None:
    made = Service("cards", timeout="30s", concurrency=4)

    @made.handles(Pay, timeout="5s", concurrency=1)
    async def pay(command: Pay) -> Paid:
        return Paid(order_id=command.order_id)

    @made.handles(Refund)
    async def refund(command: Refund) -> None: ...

    policies = effective_policies(App("shop", services=[made]).declared)

    assert (policies["cards", "Pay"].timeout_us, policies["cards", "Pay"].concurrency) == (5_000_000, 1)
    assert (policies["cards", "Refund"].timeout_us, policies["cards", "Refund"].concurrency) == (30_000_000, 4)


def test_a_timeout_of_zero_is_not_taken_for_none() -> None:
    made = Service("cards", timeout="30s")

    @made.handles(Pay, timeout="0s")
    async def pay(command: Pay) -> Paid:
        return Paid(order_id=command.order_id)

    assert effective_policies(App("shop", services=[made]).declared)["cards", "Pay"].timeout_us == 0


def test_a_reaction_of_a_wiring_has_its_services_policy() -> None:
    service = billing(retry=Retry(attempts=7))
    policies = effective_policies(App("shop", services=[service], wiring=[wiring(service)]).declared)

    assert policies["billing/by-events", "Placed"].attempts == 7


def test_every_edge_shows_the_policy_in_force() -> None:
    service = Service("stock", retry=Retry(attempts=3, first="1s", factor=4, most="1h", then="hold"))

    @service.on(Placed, within="2d", hold=True, observer=True)
    def react(event: Placed, tx: Transaction) -> None: ...

    edge = App("shop", services=[service]).declared.topology.find_edge("stock", "Placed")

    assert edge is not None
    assert (edge.within_us, edge.hold, edge.observer) == (2 * 86_400_000_000, True, True)
    assert (edge.policy.attempts, edge.policy.first_us, edge.policy.factor) == (3, 1_000_000, 4)
    assert (edge.policy.most_us, edge.policy.then) == (3_600_000_000, "hold")
