"""Workflows: what they are declared with, and what their source says."""

import types
from typing import Any

import pytest

from partita.errors import Abort, DefinitionError
from partita.orchestration import acts
from partita.orchestration.acts import call, child, publish, receive
from partita.orchestration.saga import saga
from partita.orchestration.step import step
from partita.orchestration.workflow import Workflow, workflow
from tests.unit.orchestration import words
from tests.unit.orchestration.driver import Driver
from tests.unit.orchestration.words import (
    Cancelled,
    Charge,
    Charged,
    Confirmed,
    OrderPlaced,
    OutOfStock,
    Refund,
    Release,
    Reserve,
    Reserved,
    Shipped,
)

AnyWorkflow = Workflow[Any, Any]


@workflow(starts_on=OrderPlaced, within="30d", restart="after-end")
async def fulfil(order: OrderPlaced) -> str:
    """Get it there."""
    async with saga() as undo:
        await approved("7d")  # declared below
        command = Reserve()
        await call(command, undo=Release())
        undo(Refund(pence=1))
        await call(Charge() if order.total else words.Count())
        await words_elsewhere()
    await publish(Confirmed())
    return "done"


async def approved(timeout: str) -> None:
    if isinstance(await receive(Charged | OutOfStock, timeout=timeout), OutOfStock):
        raise Abort("no")


async def words_elsewhere() -> None:
    await acts.receive(words.Shipped)
    await acts.publish(event=words.Cancelled()) if False else await publish(words.Cancelled())  # type: ignore[call-arg]


@step
async def apart(order: OrderPlaced) -> None:
    await receive(Reserved)  # no code of the workflow


def test_a_workflow_says_what_it_is() -> None:
    assert (fulfil.name, fulfil.__name__, fulfil.group) == ("fulfil", "fulfil", "workflow:fulfil")
    assert (fulfil.starts_on, fulfil.takes, fulfil.returns) == ("OrderPlaced", OrderPlaced, str)
    assert (fulfil.restart, fulfil.within_us) == ("after-end", 30 * 86_400_000_000)
    assert fulfil.__doc__ == "Get it there."


def test_its_source_says_what_it_deals_with_helpers_included() -> None:
    assert fulfil.receives == ("Charged", "OutOfStock", "Shipped")
    assert fulfil.calls == ("Reserve", "Charge", "Count")
    assert fulfil.undoes == ("Release", "Refund")
    assert fulfil.publishes == ("Confirmed", "Cancelled")
    assert fulfil.messages[0] is OrderPlaced
    assert {Shipped, Reserve, Release, Confirmed, Cancelled} <= set(fulfil.messages)


def test_what_is_handed_to_a_step_is_no_code_of_the_workflow() -> None:
    async def inside(order: OrderPlaced) -> None:
        await receive(Reserved)

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await apart(order)
        await step(inside)(order)
        await step(name="x")(inside)(order)

    assert flow.receives == ()


def test_its_source_says_whom_it_starts_as_children() -> None:
    @workflow
    async def grandchild(order: OrderPlaced) -> None:
        await receive(Reserved)

    @workflow(name="first-child")
    async def first(order: OrderPlaced) -> None:
        await child(grandchild, order)

    async def elsewhere(order: OrderPlaced) -> None:
        await child(fulfil, order)

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await child(first if order.total else fulfil, order)
        await elsewhere(order)

    assert flow.children == ("first-child", "fulfil")
    assert first.children == ("grandchild",)
    assert fulfil.children == ()


def test_a_helper_in_a_closure_is_read_too() -> None:
    async def inside() -> None:
        await receive(Reserved)

    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await inside()

    assert flow.receives == ("Reserved",)


def test_what_is_declared_is_taken_at_its_word() -> None:
    @workflow(starts_on=OrderPlaced, receives=(Shipped,))
    async def flow(order: OrderPlaced) -> None:
        for kind in (Shipped,):
            await receive(kind)
        await call(Reserve())

    assert (flow.receives, flow.calls) == (("Shipped",), ("Reserve",))


@pytest.mark.parametrize("what", ["a local name", "no message"])
def test_what_the_source_does_not_say_has_to_be_declared(what: str) -> None:
    @workflow(starts_on=OrderPlaced)
    async def local(order: OrderPlaced) -> None:
        for kind in (Shipped,):
            await receive(kind)

    @workflow(starts_on=OrderPlaced)
    async def odd(order: OrderPlaced) -> None:
        await receive(int)

    flow: AnyWorkflow = local if what == "a local name" else odd
    with pytest.raises(DefinitionError, match=r"the source does not say what receive\(\w+\) waits for\n.*receives="):
        _ = flow.receives


def test_a_workflow_without_a_source_has_to_declare_what_it_receives() -> None:
    room = types.ModuleType("room")
    code = "async def made(order: OrderPlaced) -> None:\n    await receive(Shipped)\n"
    room.__dict__.update(OrderPlaced=OrderPlaced, receive=receive, Shipped=Shipped)
    exec(compile(code, "<nowhere>", "exec"), room.__dict__)
    made: Any = room.__dict__["made"]

    silent: AnyWorkflow = workflow(starts_on=OrderPlaced)(made)
    with pytest.raises(DefinitionError, match=r"its source can't be read: .*\nSay what it waits for: .*receives="):
        _ = silent.receives
    declared: AnyWorkflow = workflow(starts_on=OrderPlaced, receives=(Shipped,))(made)
    assert declared.receives == ("Shipped",)
    assert len(declared.code) == 12


def test_its_code_is_known_by_its_source_and_that_of_its_helpers() -> None:
    def make(helper: Any) -> AnyWorkflow:
        @workflow(starts_on=OrderPlaced)
        async def flow(order: OrderPlaced) -> None:
            await helper()

        return flow

    async def one() -> None:
        await publish(Confirmed())

    async def same() -> None:
        await publish(Confirmed())

    async def other() -> None:
        # a comment
        await publish(Cancelled())

    assert make(one).code == make(one).code
    assert len({make(helper).code for helper in (one, same, other)}) == 3
    assert workflow(starts_on=OrderPlaced, version="v7")(fulfil.fn).code == "v7"


def test_comments_do_not_change_its_code() -> None:
    def make(comment: str) -> AnyWorkflow:
        room: dict[str, Any] = {"OrderPlaced": OrderPlaced}
        import linecache

        file = f"<{comment}>"
        text = f"async def flow(order: OrderPlaced) -> None:\n    pass  # {comment}\n"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), room)
        return workflow(starts_on=OrderPlaced)(room["flow"])

    assert make("one").code == make("two").code


@pytest.mark.parametrize(
    ("fn", "starts_on", "words_said"),
    [
        ("plain", OrderPlaced, "is no async function"),
        ("no annotation", OrderPlaced, "'order' has no annotation"),
        ("no return", OrderPlaced, "'return' has no annotation"),
        ("two", OrderPlaced, "takes 2 arguments"),
        ("other", OrderPlaced, "starts on OrderPlaced and takes Shipped"),
        ("unknown", OrderPlaced, "name a type that can't be found"),
        ("int", int, "is no message"),
    ],
)
def test_a_declaration_that_can_not_run_is_refused_at_import(fn: str, starts_on: Any, words_said: str) -> None:
    def plain(order: OrderPlaced) -> None:
        pass

    async def no_annotation(order) -> None:  # type: ignore[no-untyped-def]
        pass

    async def no_return(order: OrderPlaced):  # type: ignore[no-untyped-def]
        pass

    async def two(order: OrderPlaced, more: int) -> None:
        pass

    async def other(order: Shipped) -> None:
        pass

    async def unknown(order: "Nowhere") -> None:  # type: ignore[name-defined] # noqa: F821
        pass

    async def an_int(order: int) -> None:
        pass

    made: dict[str, Any] = {
        "plain": plain,
        "no annotation": no_annotation,
        "no return": no_return,
        "two": two,
        "other": other,
        "unknown": unknown,
        "int": an_int,
    }
    with pytest.raises(DefinitionError, match=words_said):
        workflow(starts_on=starts_on)(made[fn])


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(DefinitionError, match="is not a name"):
        workflow(starts_on=OrderPlaced, name="a/b")(fulfil.fn)


def test_a_workflow_may_be_part_of_another() -> None:
    @workflow(starts_on=OrderPlaced)
    async def part(order: OrderPlaced) -> str:
        return (await receive(Shipped)).parcel

    @workflow(starts_on=OrderPlaced)
    async def whole(order: OrderPlaced) -> str:
        return await part(order)

    run = Driver(whole)
    run.receive(Shipped(parcel="a"))

    assert run.value == "a"
    assert whole.receives == ("Shipped",)
