"""Services and wirings: what a declaration keeps, what it refuses, and which group it works for."""

import pytest

from partita import Retry, Service, Wiring
from partita.errors import DefinitionError
from tests.unit.choreography.words import Approved, OutOfStock, Placed, Release, Reserve, Reserved


def test_a_handler_stays_the_function_it_was() -> None:
    stock = Service("stock")

    def release(command: Release) -> None: ...

    assert stock.handles(Release)(release) is release


def test_a_service_works_for_the_group_of_its_name() -> None:
    stock = Service("stock")

    @stock.on(Placed)
    def look(event: Placed) -> None: ...

    assert [handler.group for handler in stock.handlers] == ["stock"]


def test_a_handler_may_work_for_a_group_of_its_own() -> None:
    stock = Service("stock")

    @stock.on(Placed, group="stock-mail")
    def look(event: Placed) -> None: ...

    assert [handler.group for handler in stock.handlers] == ["stock-mail"]


def test_a_wirings_reaction_works_for_the_group_of_service_and_wiring() -> None:
    stock, wiring = Service("stock"), Wiring("after confirmation")

    @wiring.on(Placed, service=stock)
    def reserve(event: Placed) -> Reserve:
        return Reserve()

    assert [handler.group for handler in wiring.handlers] == ["stock/after-confirmation"]
    assert stock.handlers == [], "a wiring leaves the service as it is"


def test_two_handlers_of_one_group_and_type_are_refused() -> None:
    stock = Service("stock")

    @stock.on(Placed)
    def first(event: Placed) -> None: ...

    with pytest.raises(DefinitionError) as refused:

        @stock.on(Approved | Placed)
        def second(event: Approved | Placed) -> None: ...

    why, remedy = str(refused.value).split("\n")
    assert why.startswith("Placed has two handlers in group stock: ")
    assert "first" in why
    assert "second" in why
    assert remedy == 'Give one a group of its own: group="...".'


def test_a_second_handler_of_a_type_may_name_its_own_group() -> None:
    stock = Service("stock")

    @stock.on(Placed)
    def first(event: Placed) -> None: ...

    @stock.on(Placed, group="stock-late")
    def second(event: Placed) -> None: ...

    assert [handler.group for handler in stock.handlers] == ["stock", "stock-late"]


def test_two_reactions_of_one_wiring_service_and_type_are_refused() -> None:
    stock, wiring = Service("stock"), Wiring("by events")

    @wiring.on(Placed, service=stock)
    def first(event: Placed) -> Reserve:
        return Reserve()

    with pytest.raises(DefinitionError, match="two handlers in group stock/by-events"):

        @wiring.on(Placed, service=stock)
        def second(event: Placed) -> None: ...


def test_two_services_may_react_to_one_event_in_a_wiring() -> None:
    wiring = Wiring("by events")

    for service in (Service("stock"), Service("billing")):

        @wiring.on(Placed, service=service)
        def react(event: Placed) -> None: ...

    assert [handler.group for handler in wiring.handlers] == ["stock/by-events", "billing/by-events"]


def test_a_command_is_not_reacted_to() -> None:
    stock = Service("stock")

    with pytest.raises(DefinitionError) as refused:

        @stock.on(Reserve)  # type: ignore[type-var]
        def handler(command: Reserve) -> Reserved | OutOfStock: ...  # type: ignore[empty-body]

    assert str(refused.value).endswith("Commands are handled with @service.handles, events with @service.on.")


def test_an_event_is_not_commanded() -> None:
    stock = Service("stock")

    with pytest.raises(DefinitionError) as refused:

        @stock.handles(Placed)  # type: ignore[type-var]
        def handler(event: Placed) -> None: ...

    assert "events where commands are expected" in str(refused.value) or "event where commands" in str(refused.value)


@pytest.mark.parametrize("name", ["", "two words", "9lives", "workflow:fulfil", "a" * 101, "stock/late"])
def test_a_service_has_a_plain_name(name: str) -> None:
    with pytest.raises(DefinitionError, match="is not a name\nUse up to 100"):
        Service(name)


def test_a_group_has_a_plain_name() -> None:
    with pytest.raises(DefinitionError, match="group name 'a b' is not a name"):
        Service("stock").on(Placed, group="a b")


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_concurrency_that_lets_nothing_run_is_refused(concurrency: int) -> None:
    with pytest.raises(DefinitionError, match="lets nothing run\nGive 1 or more"):
        Service("stock", concurrency=concurrency)


def test_a_retry_that_never_tries_is_refused() -> None:
    with pytest.raises(DefinitionError, match="never tries"):
        Service("stock", retry=Retry(attempts=0))


@pytest.mark.parametrize("text", ["soon", "", "-5s", "5", "1h30"])
def test_a_limit_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="is not a duration"):
        Service("stock").on(Placed, within=text)
