"""Contracts: each signature that can't be one is refused with its remedy, each answer held against it."""

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any

import pytest

from partita import AsyncTransaction, Delivery, Noop, Transaction, Waits, noop, waits_for
from partita.choreography.contract import Contract, read_contract
from partita.errors import ContractBroken, DefinitionError
from tests.unit.choreography.words import (
    Approved,
    CountLines,
    ListLines,
    OutOfStock,
    Placed,
    Refund,
    Release,
    Reserve,
    Reserved,
)


def refusal(fn: Callable[..., Any], registered: object) -> list[str]:
    """The lines of the error: what is wrong, then what to do."""
    with pytest.raises(DefinitionError) as refused:
        read_contract(fn, registered)
    return str(refused.value).split("\n")


# What is refused where it is declared.


def test_a_handler_without_a_message_is_refused() -> None:
    def handler() -> None: ...

    why, remedy = refusal(handler, Placed)

    assert "takes no message" in why
    assert remedy == "Its first parameter is the message."


def test_a_handler_without_a_return_annotation_is_refused() -> None:
    def handler(event: Placed): ...  # type: ignore[no-untyped-def]

    why, remedy = refusal(handler, Placed)

    assert "test_contract" in why
    assert "handler has no return annotation" in why
    assert remedy == "It is the contract: say what it may emit, or None."


def test_a_handler_without_an_annotation_on_its_message_is_refused() -> None:
    def handler(event) -> None: ...  # type: ignore[no-untyped-def]

    why, remedy = refusal(handler, Placed)

    assert "no annotation on event" in why
    assert remedy.startswith("It is the contract")


def test_a_handler_of_another_message_than_registered_is_refused() -> None:
    def handler(event: Approved) -> None: ...

    why, remedy = refusal(handler, Placed)

    assert why.endswith("takes Approved, registered for Placed")
    assert remedy == "Make the annotation of its first parameter and the registration equal."


def test_a_handler_of_half_a_registered_union_is_refused() -> None:
    def handler(event: Approved) -> None: ...

    why, _remedy = refusal(handler, Approved | Placed)

    assert "takes Approved" in why


def test_the_order_of_a_union_says_nothing() -> None:
    def handler(event: Approved | Placed) -> None: ...

    assert {found.name for found in read_contract(handler, Placed | Approved).messages} == {"Placed", "Approved"}


def test_an_answer_unlike_the_commands_is_refused() -> None:
    def handler(command: Reserve) -> Reserved: ...  # type: ignore[empty-body]

    why, remedy = refusal(handler, Reserve)

    assert why.endswith("returns Reserved, but Reserve is answered with OutOfStock | Reserved")
    assert remedy.startswith("The contract stands on the command: make both equal")


def test_an_answer_where_the_command_has_none_is_refused() -> None:
    def handler(command: Release) -> Reserved: ...  # type: ignore[empty-body]

    why, _remedy = refusal(handler, Release)

    assert why.endswith("but Release is answered with None")


def test_a_noop_is_always_allowed_beside_the_commands_answer() -> None:
    def handler(command: Reserve) -> Reserved | OutOfStock | Noop: ...  # type: ignore[empty-body]

    assert {found.name for found in read_contract(handler, Reserve).outcomes} == {"Reserved", "OutOfStock"}


def test_a_plain_handler_with_an_async_tx_is_refused() -> None:
    def handler(event: Placed, tx: AsyncTransaction) -> None: ...

    why, remedy = refusal(handler, Placed)

    assert why.endswith("is def: its tx is of the other colour")
    assert remedy == "Plain functions take tx: Transaction, async ones tx: AsyncTransaction."


def test_an_async_handler_with_a_plain_tx_is_refused() -> None:
    async def handler(event: Placed, tx: Transaction) -> None: ...

    why, _remedy = refusal(handler, Placed)

    assert why.endswith("is async def: its tx is of the other colour")


def test_a_parameter_that_nothing_can_be_given_for_is_refused() -> None:
    def handler(event: Placed, mailer: object) -> None: ...

    why, remedy = refusal(handler, Placed)

    assert why.endswith("nothing can be given for parameter 'mailer'")
    assert remedy == "A handler may ask for tx: Transaction, tx: AsyncTransaction and delivery: Delivery."


def test_a_parameter_with_a_default_is_left_to_it() -> None:
    def handler(event: Placed, mailer: object = None) -> None: ...

    contract = read_contract(handler, Placed)

    assert (contract.tx, contract.delivery) == (None, None)


@pytest.mark.parametrize("annotation", ["Missing", "list[", "Missing.part", "typing_of_nobody[int]"])
def test_a_type_that_cannot_be_found_is_refused(annotation: str) -> None:
    def handler(event: Placed) -> None: ...

    handler.__annotations__["return"] = annotation

    why, remedy = refusal(handler, Placed)

    assert "handler" in why
    assert remedy == "Import the type where the handler is declared."


def test_injections_are_found_by_their_types() -> None:
    async def handler(event: Placed, mine: AsyncTransaction, way: Delivery) -> None: ...

    contract = read_contract(handler, Placed)

    assert (contract.tx, contract.delivery, contract.is_async, contract.on_writer) == ("mine", "way", True, False)


def test_a_reaction_that_answers_a_value_is_refused() -> None:
    def handler(event: Placed) -> int: ...  # type: ignore[empty-body]

    why, remedy = refusal(handler, Placed)

    assert why.endswith("returns int, and nobody asks: it reacts to an event")
    assert remedy.startswith("Let it emit messages")


def test_an_async_generator_is_refused() -> None:
    async def handler(event: Placed) -> AsyncIterator[Reserved]:
        yield Reserved()

    why, remedy = refusal(handler, Placed)

    assert why.endswith("is an async generator")
    assert remedy == "Return a list of what it emits."


# What a handler returned.


def contract_of(answer: object, command: object = Placed) -> Contract:
    def handler(message: Any) -> None: ...

    handler.__annotations__ = {"message": command, "return": answer}
    return read_contract(handler, command)


def broken(contract: Contract, answer: object) -> list[str]:
    with pytest.raises(ContractBroken) as refused:
        contract.check(answer)
    return str(refused.value).split("\n")


def test_one_message_is_an_answer() -> None:
    assert contract_of(Reserved).check(Reserved()) == [Reserved()]


def test_nothing_where_there_are_outcomes_breaks_the_contract() -> None:
    why, remedy = broken(contract_of(Reserved | OutOfStock), None)

    assert why.endswith("returned nothing, but its contract is Reserved | OutOfStock")
    assert remedy == 'Return one of these, or noop("why nothing happened").'


def test_nothing_keeps_a_contract_of_nothing() -> None:
    assert contract_of(None).check(None) == []


def test_nothing_keeps_a_contract_that_allows_it() -> None:
    assert contract_of(Reserved | None, Refund).check(None) == []


def test_a_noop_keeps_every_contract() -> None:
    assert contract_of(Reserved).check(noop("later")) == [noop("later")]


def test_another_message_breaks_the_contract() -> None:
    why, remedy = broken(contract_of(Reserved), OutOfStock())

    assert why.endswith("returned OutOfStock, but its contract is Reserved")
    assert remedy == "Return what the annotation says, or widen the annotation (and the command's answer)."


def test_a_message_of_a_handler_that_emits_nothing_breaks_the_contract() -> None:
    why, _remedy = broken(contract_of(None), Reserved())

    assert why.endswith("returned Reserved, but its contract is None")


def test_a_wait_needs_its_annotation() -> None:
    wait = waits_for(Approved, within="7d", who="a manager")

    assert contract_of(Reserved | Waits).check(wait) == [wait]
    assert "returned Waits" in broken(contract_of(Reserved), wait)[0]


def test_nothing_is_no_wait() -> None:
    assert "returned nothing" in broken(contract_of(Waits), None)[0]


@pytest.mark.parametrize("container", [list, tuple, set, frozenset, iter])
def test_every_container_that_can_be_annotated_can_be_returned(container: Callable[[Any], Any]) -> None:
    contract = contract_of(Iterable[Reserved])

    assert contract.check(container([Reserved()])) == [Reserved()]


def test_a_list_of_messages_is_checked_one_by_one() -> None:
    contract = contract_of(list[Reserved])

    assert contract.check([Reserved(), Reserved(order_id="2")]) == [Reserved(), Reserved(order_id="2")]
    assert "returned OutOfStock" in broken(contract, [Reserved(), OutOfStock()])[0]


def test_an_empty_list_keeps_a_contract_of_many() -> None:
    assert contract_of(list[Reserved]).check([]) == []


def test_an_empty_list_breaks_a_contract_of_one() -> None:
    assert "returned list" in broken(contract_of(Reserved), [])[0]


@pytest.mark.parametrize("annotation", [Iterable[Reserved], Iterator[Reserved], Generator[Reserved, None, None]])
def test_a_generator_is_run_to_its_end(annotation: object) -> None:
    def emit() -> Iterator[Reserved]:
        yield Reserved()
        yield Reserved(order_id="2")

    assert len(contract_of(annotation).check(emit())) == 2


def test_what_a_generator_returns_is_no_outcome() -> None:
    assert "returned nothing" in broken(contract_of(Generator[Reserved, None, None]), None)[0]


def test_a_tuple_may_hold_different_messages() -> None:
    contract = contract_of(tuple[Reserved, OutOfStock])

    assert contract.check((Reserved(), OutOfStock())) == [Reserved(), OutOfStock()]


def test_a_value_is_an_answer_where_the_command_has_one() -> None:
    assert contract_of(int, CountLines).check(7) == [7]


def test_a_value_of_another_type_breaks_the_contract() -> None:
    why, _remedy = broken(contract_of(int, CountLines), "seven")

    assert "returned str, but its contract is int" in why


def test_a_list_that_is_the_answer_stays_whole() -> None:
    assert contract_of(list[int], ListLines).check([1, 2]) == [[1, 2]]


def test_an_empty_list_that_is_the_answer_stays_one() -> None:
    assert contract_of(list[int], ListLines).check([]) == [[]]


def test_a_list_of_wrong_values_breaks_the_contract() -> None:
    assert "list" in broken(contract_of(list[int], ListLines), ["one"])[0]


def test_a_message_is_no_value() -> None:
    assert "returned Reserved" in broken(contract_of(int, CountLines), Reserved())[0]
