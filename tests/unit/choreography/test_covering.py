"""A reaction and its own service's handler: one unit where that can be, two messages where it can not."""

from collections.abc import Callable

import pytest

from partita import (
    Delivery,
    Noop,
    Retry,
    Service,
    Transaction,
    Waits,
    Wiring,
    noop,
    rollback,
    waits_for,
)
from partita.clock import US
from partita.messages.envelope import derive_id
from partita.store.facts import Dead, Handled, Published, Retrying
from partita.store.port import NewFact
from tests.unit.choreography.stage import AT, ONCE, TWICE, Stage, bodies, ops, said
from tests.unit.choreography.words import Approved, OutOfStock, Refund, Release, Reserve, Reserved

Make = Callable[..., Stage]


# A reaction and its command in one unit.


def covering(
    reserve: Callable[[Reserve], Reserved | OutOfStock] = lambda _: Reserved(), *, retry: Retry = TWICE
) -> tuple[Service, Wiring]:
    inventory, wiring = Service("inventory", retry=ONCE), Wiring("choreography")

    @inventory.handles(Reserve, retry=retry)
    def reserved(command: Reserve, tx: Transaction, delivery: Delivery) -> Reserved | OutOfStock:
        return reserve(command)

    @wiring.on(Approved, service=inventory)
    def react(event: Approved, tx: Transaction) -> Reserve:
        return Reserve(order_id=event.order_id)

    return inventory, wiring


GROUP = "inventory/choreography"


async def test_a_reaction_s_command_is_handled_in_its_unit(stages: Make) -> None:
    inventory, wiring = covering()
    stage = stages(inventory, wiring=wiring)
    stage.bring(Approved(), GROUP)
    assert stage.dispatch.lanes.count_busy() == 2, "the command's lane is reserved"
    unit = stage.execute()

    outer, sent, inner, answer = unit.facts
    assert [fact.body.kind for fact in unit.facts] == ["handled", "published", "handled", "published"]
    assert (outer.body.emitted, sent.body.command, sent.body.type) == ((sent.body.id,), True, "Reserve")
    assert inner == NewFact(
        Handled(
            message=sent.body.id, group="inventory", type="Reserve", case="order:1", via=GROUP,
            answer_type="Reserved", answer=inner.body.answer, emitted=(answer.body.id,),
        ),
        "order:1", None, sent.causes, (), AT,
    )  # fmt: skip
    assert [str(cause) for cause in sent.causes] == [f"m1/{GROUP}#1"]
    assert [str(cause) for cause in answer.causes] == [f"{sent.body.id}/inventory#1", f"m1/{GROUP}#1"]
    assert (answer.body.by, answer.body.correlation, answer.at, sent.at) == ("inventory", "c1", AT, AT)
    assert ops(unit) == ["close_obligation", "know_message"], "only the answer may come again"
    assert stage.dispatch.lanes.count_busy() == 0


async def test_the_command_s_policy_governs_and_its_dead_letter_is_the_event_s(stages: Make) -> None:
    def fail(_command: Reserve) -> Reserved:
        raise OSError("full")

    inventory, wiring = covering(fail)
    stage = stages(inventory, wiring=wiring)
    stage.bring(Approved(), GROUP)
    stage.execute()
    assert said(stage.units[0], Retrying).type == "Approved", "by its own policy it would be dead"
    stage.execute()
    assert stage.dispatch.lanes.count_busy() == 0
    await stage.advance(10 * US)
    stage.execute()

    body = said(stage.units[0], Dead)
    assert (body.type, body.command, body.attempts, body.held) == ("Approved", "Reserve", 2, False)


async def test_a_reaction_that_fails_itself_goes_by_its_own_policy(stages: Make) -> None:
    inventory, _ = covering()
    other = Wiring("other")

    @other.on(Approved, service=inventory)
    def react(event: Approved, tx: Transaction) -> Reserve:
        raise OSError

    stage = stages(inventory, wiring=other)
    stage.bring(Approved(), "inventory/other")
    stage.execute()

    assert (said(stage.units[0], Dead).command, stage.dispatch.lanes.count_busy()) == (None, 1)


@pytest.mark.parametrize("why", ["busy", "paused"])
async def test_a_command_whose_lane_is_not_free_goes_out_as_a_message(stages: Make, why: str) -> None:
    inventory, wiring = covering()
    stage = stages(inventory, wiring=wiring)
    if why == "busy":
        stage.bring(Reserve(), "inventory", id="m0")
        stage.units.pop()
    else:
        stage.dispatch.lanes.pause("inventory")
    stage.bring(Approved(), GROUP)
    unit = stage.execute()

    assert [body.kind for body in bodies(unit)] == ["handled", "published"]
    assert [owed.envelope.type for owed in stage.wire.sent] == ["Reserve"]
    assert stage.wire.sent[0].envelope.id == said(unit, Published).id


async def test_a_command_for_another_case_goes_out_as_a_message(stages: Make) -> None:
    inventory, wiring = Service("inventory"), Wiring("choreography")

    @inventory.handles(Reserve)
    def reserve(command: Reserve, tx: Transaction) -> Reserved | OutOfStock:
        return Reserved()

    @wiring.on(Approved, service=inventory)
    def react(event: Approved, tx: Transaction) -> Reserve:
        return Reserve(order_id="2")

    stage = stages(inventory, wiring=wiring)
    stage.bring(Approved(), GROUP)
    stage.execute()

    assert [owed.envelope.case for owed in stage.wire.sent] == ["order:2"]


async def test_a_command_of_another_service_or_an_async_handler_goes_out_as_a_message(stages: Make) -> None:
    inventory, shop, wiring = Service("inventory"), Service("shop"), Wiring("choreography")

    @inventory.handles(Reserve)
    def reserve(command: Reserve, tx: Transaction) -> Reserved | OutOfStock:
        return Reserved()

    @shop.handles(Release)
    async def release(command: Release) -> None: ...

    @wiring.on(Approved, service=shop)
    def react(event: Approved, tx: Transaction) -> list[Reserve | Release]:
        return [Reserve(), Release()]

    stage = stages(inventory, shop, wiring=wiring)
    stage.bring(Approved(), "shop/choreography")
    assert stage.dispatch.lanes.count_busy() == 1
    stage.execute()

    assert [owed.group for owed in stage.wire.sent] == ["inventory", "shop"]


async def test_two_commands_of_one_group_are_handled_in_one_unit(stages: Make) -> None:
    inventory, wiring = Service("inventory"), Wiring("choreography")

    @inventory.handles(Reserve)
    def reserve(command: Reserve, tx: Transaction) -> Reserved | OutOfStock:
        return Reserved()

    @inventory.handles(Release)
    def release(command: Release) -> Noop | None:
        return noop("there was nothing")

    @wiring.on(Approved, service=inventory)
    def react(event: Approved) -> list[Reserve | Release]:
        return [Release(), Reserve()]

    stage = stages(inventory, wiring=wiring)
    stage.bring(Approved(), GROUP)
    unit = stage.execute()

    inner = [body for body in bodies(unit) if isinstance(body, Handled) and body.via]
    assert [(body.type, body.outcome, body.reason) for body in inner] == [
        ("Release", "noop", "there was nothing"),
        ("Reserve", "ok", ""),
    ]
    assert (unit.work is not None, stage.threads) == (True, 0), "one of them writes"


async def test_a_reaction_without_transactions_runs_in_a_thread_with_its_command(stages: Make) -> None:
    inventory, wiring = Service("inventory"), Wiring("choreography")

    @inventory.handles(Release)
    def release(command: Release) -> None: ...

    @wiring.on(Approved, service=inventory)
    def react(event: Approved) -> Release:
        return Release()

    stage = stages(inventory, wiring=wiring)
    stage.bring(Approved(), GROUP)
    await stage.settle()
    unit = stage.execute()

    assert (stage.threads, [body.kind for body in bodies(unit)]) == (1, ["handled", "published", "handled"])
    assert stage.dispatch.lanes.count_busy() == 0


async def test_a_reaction_in_a_thread_that_fails_gives_the_command_s_lane_back(stages: Make) -> None:
    inventory, wiring = Service("inventory", retry=ONCE), Wiring("choreography")

    @inventory.handles(Release, retry=TWICE)
    def release(command: Release) -> None:
        raise OSError("full")

    @wiring.on(Approved, service=inventory)
    def react(event: Approved) -> Release:
        return Release()

    stage = stages(inventory, wiring=wiring)
    stage.bring(Approved(), GROUP)
    await stage.settle()

    assert stage.dispatch.lanes.count_busy() == 1
    assert said(stage.units[0], Retrying).error == "OSError"


async def test_an_event_without_a_case_covers_nothing(stages: Make) -> None:
    inventory, wiring = covering()
    stage = stages(inventory, wiring=wiring)
    stage.bring(Approved(), GROUP, case=None)
    stage.execute()

    assert [owed.envelope.type for owed in stage.wire.sent] == ["Reserve"]


async def test_the_covered_handler_learns_its_own_delivery_and_has_the_unit_s_transaction(stages: Make) -> None:
    seen: list[tuple[Reserve, object, Delivery]] = []
    inventory, wiring = Service("inventory"), Wiring("choreography")

    @inventory.handles(Reserve)
    def reserve(command: Reserve, tx: Transaction, delivery: Delivery) -> Reserved | OutOfStock:
        seen.append((command, tx, delivery))
        return rollback(OutOfStock())

    @wiring.on(Approved, service=inventory)
    def react(event: Approved, tx: Transaction) -> Reserve:
        return Reserve()

    stage = stages(inventory, wiring=wiring)
    stage.bring(Approved(), GROUP, attempts=2)
    unit = stage.execute()
    outer, sent, inner, answer = bodies(unit)
    assert isinstance(sent, Published)
    assert isinstance(inner, Handled)
    assert isinstance(answer, Published)

    assert seen == [(Reserve(), stage.pages[0].tx, Delivery(sent.id, "order:1", 3, (f"m1/{GROUP}#3",)))]
    assert (inner.rolled_back, inner.attempt, inner.emitted) == (True, 3, (answer.id,))
    assert sent.id == derive_id("m1", GROUP, "0")
    assert answer.id == derive_id(sent.id, "inventory", "0")
    assert isinstance(outer, Handled)
    assert not outer.rolled_back


async def test_a_covered_handler_s_wait_has_its_limit_from_the_writer_s_time(stages: Make) -> None:
    approvals, wiring = Service("approvals"), Wiring("choreography")

    @approvals.handles(Refund)
    def refund(command: Refund, tx: Transaction) -> Reserved | None:
        return None

    @wiring.on(Approved, service=approvals)
    def react(event: Approved, tx: Transaction) -> Refund | Waits:
        return waits_for(Reserved, within="2s")

    stage = stages(approvals, wiring=wiring)
    stage.bring(Approved(), "approvals/choreography")

    (wait,) = said(stage.execute(), Handled).waits
    assert (wait.types, wait.until, wait.who) == (("Reserved",), AT + 2 * US, None)
    assert stage.dispatch.lanes.count_busy() == 0


async def test_a_wait_without_a_limit_has_none(stages: Make) -> None:
    service = Service("approvals")

    @service.on(Approved)
    async def wait(event: Approved) -> Reserved | Waits:
        return waits_for(Reserved)

    stage = stages(service)
    stage.bring(Approved(), "approvals")
    await stage.settle()

    assert said(stage.execute(), Handled).waits[0].until is None
