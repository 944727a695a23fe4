"""The outbox: what one publish writes into a unit, and what is handed to the transport once that is durable."""

from typing import Annotated, Any

import msgspec
import pytest

from partita import Case, Command, Event
from partita.errors import DefinitionError, MessageError, StoreError
from partita.messages.catalog import Catalog
from partita.messages.envelope import Cause, body_digest
from partita.messages.topology import Edge, GroupEntry, MessageEntry, Topology
from partita.store.facts import Closed, Fact, Published
from partita.store.port import Accepted, Recorded, Write
from partita.store.work import KNOW_MESSAGE, OPEN_OBLIGATION
from partita.transports.outbox import Book, Caller, Draft, Origin, owed_from, publish

OrderId = Annotated[str, Case("order")]
ParcelId = Annotated[str, Case("parcel")]


class Placed(Event):
    order_id: OrderId
    pence: int = 0


class Shipped(Event, case="parcel", ends="done", version=3):
    parcel_id: ParcelId
    order_id: OrderId


class Charge(Command[None]):
    order_id: OrderId


def group(name: str, *types: str) -> GroupEntry:
    return GroupEntry(name=name, service=name, edges=tuple(Edge(type=one, handler="h", service=name) for one in types))


BOOK = Book(
    Catalog([Placed, Shipped, Charge]),
    Topology(
        app="shop",
        version=4,
        messages=(MessageEntry(name="Charge", kind="command", external="outside"),),
        groups=(group("stock", "Placed", "Shipped"), group("mail", "Placed"), group("card", "Charge")),
    ),
)
CAUSES = (Cause("before", "stock", 2),)
ORIGIN = Origin("stock", "conversation", CAUSES)


def drafted(message: Any, **options: Any) -> tuple[Draft, Published]:
    draft = Draft()
    options = {"message_id": "m", "origin": ORIGIN} | options
    return draft, publish(draft, BOOK, message, **options)


def opened(draft: Draft) -> list[tuple[Any, ...]]:
    return [write.params for write in draft.unit.writes if write.op == OPEN_OBLIGATION]


def test_a_publish_says_it_remembers_the_id_and_owes_each_group() -> None:
    draft, body = drafted(Placed(order_id="1", pence=3))

    assert [fact.body for fact in draft.unit.facts] == [body]
    assert draft.unit.writes == [
        Write(KNOW_MESSAGE, ("m", body_digest(b'{"order_id":"1","pence":3}')), "known message", 0),
        Write(OPEN_OBLIGATION, ("m", "stock", "Placed", "order:1", "open", 0, None, None, None), "known obligation", 0),
        Write(OPEN_OBLIGATION, ("m", "mail", "Placed", "order:1", "open", 0, None, None, None), "known obligation", 0),
    ]
    assert [owed.group for _index, owed in draft.owed] == ["stock", "mail"]


def test_the_fact_carries_what_the_fold_judges_by() -> None:
    _draft, body = drafted(Shipped(parcel_id="p", order_id="1"))

    assert (body.type, body.version, body.case, body.owes, body.ends) == ("Shipped", 3, "parcel:p", ("stock",), "done")
    assert (body.by, body.correlation, body.source) == ("stock", "conversation", "shop")
    assert msgspec.json.decode(body.data) == {"parcel_id": "p", "order_id": "1"}


def test_a_root_is_its_own_conversation() -> None:
    _draft, body = drafted(Placed(order_id="1"), origin=Origin("outside", ""))

    assert body.correlation == "m"


def test_a_message_that_nobody_handles_owes_nothing_and_is_said() -> None:
    book = Book(Catalog([Placed]), Topology(app="shop"))
    draft = Draft()
    publish(draft, book, Placed(order_id="1"), message_id="m", origin=ORIGIN)

    assert len(draft.unit.facts) == 1
    assert [write.op for write in draft.unit.writes] == [KNOW_MESSAGE]
    assert draft.owed == []


def test_external_is_what_the_topology_says() -> None:
    _draft, body = drafted(Charge(order_id="1"))

    assert (body.command, body.external) == (True, "outside")


def test_the_groups_owed_can_be_named() -> None:
    draft, body = drafted(Placed(order_id="1"), owes=("late",))

    assert body.owes == ("late",)
    assert [params[1] for params in opened(draft)] == ["late"]


def test_a_delayed_publish_owes_at_its_time() -> None:
    draft, body = drafted(Placed(order_id="1"), due=77)

    assert body.due == 77
    assert [params[4:6] for params in opened(draft)] == [("delayed", 77)] * 2
    assert [(owed.state, owed.due_at) for _index, owed in draft.owed] == [("delayed", 77)] * 2


def test_a_call_names_its_caller_in_the_fact_the_row_and_what_is_owed() -> None:
    caller = Caller("fulfil/order:1/1", "Charge#1", retry="{}", undo_of="other")
    origin = Origin("fulfil", "conversation", (), "fulfil/order:1/1", "order:1")
    draft, body = drafted(Charge(order_id="1"), caller=caller, origin=origin)
    (_index, owed) = draft.owed[0]

    assert (body.step, body.undo_of, body.retry) == ("Charge#1", "other", "{}")
    assert opened(draft)[0][6:9] == ("fulfil/order:1/1", "Charge#1", "{}")
    assert (owed.caller, owed.step, owed.retry) == ("fulfil/order:1/1", "Charge#1", "{}")
    assert (draft.unit.facts[0].run, draft.unit.facts[0].case) == ("fulfil/order:1/1", "order:1")


def test_a_run_that_publishes_for_another_case_touches_it() -> None:
    origin = Origin("fulfil", "conversation", (), "fulfil/order:1/1", "order:1")
    draft, body = drafted(Placed(order_id="2"), origin=origin)
    fact = draft.unit.facts[0]

    assert (fact.case, fact.also, body.case) == ("order:1", ("order:2",), "order:2")
    assert opened(draft)[0][3] == "order:2", "only its home case orders and owes"


def test_further_cases_of_a_message_are_touched() -> None:
    draft, _body = drafted(Shipped(parcel_id="p", order_id="1"))

    assert (draft.unit.facts[0].case, draft.unit.facts[0].also) == ("parcel:p", ("order:1",))


def test_a_foreign_home_case_is_touched_beside_the_messages_other_ones() -> None:
    origin = Origin("fulfil", "conversation", (), "fulfil/order:9/1", "order:9")
    draft, _body = drafted(Shipped(parcel_id="p", order_id="1"), origin=origin)

    assert (draft.unit.facts[0].case, draft.unit.facts[0].also) == ("order:9", ("parcel:p", "order:1"))
    assert draft.owed[0][1].envelope.also == ("order:1",)


def test_a_message_whose_life_is_inside_the_unit_leaves_no_rows() -> None:
    draft, body = drafted(Charge(order_id="1"), remember=False)

    assert (draft.unit.writes, draft.owed) == ([], [])
    assert body.owes == ("card",), "the fold opens it, and the fact of its handling closes it"


def test_what_is_owed_gets_its_place_when_it_is_durable() -> None:
    draft = Draft()
    draft.say(Closed(), case=None)
    publish(draft, BOOK, Placed(order_id="1"), message_id="m", origin=ORIGIN)

    relayed = draft.relayed(Accepted([Recorded(41, 0, None), Recorded(42, 0, None)]))

    assert [(owed.group, owed.seq, owed.position) for owed in relayed] == [("stock", 42, 42), ("mail", 42, 42)]


def test_a_body_that_can_not_travel_is_refused_before_anything_is_written() -> None:
    draft = Draft()
    with pytest.raises(MessageError):
        publish(draft, BOOK, Placed(order_id="1", pence=2**70), message_id="m", origin=ORIGIN)

    assert (draft.unit.facts, draft.unit.writes, draft.owed) == ([], [], [])


@pytest.mark.parametrize("key", ["", "a\nb", "k" * 201])
def test_a_key_that_names_no_case_is_refused_before_anything_is_written(key: str) -> None:
    draft = Draft()
    with pytest.raises(MessageError):
        publish(draft, BOOK, Placed(order_id=key), message_id="m", origin=ORIGIN)

    assert (draft.unit.facts, draft.unit.writes, draft.owed) == ([], [], [])


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(DefinitionError):
        drafted("Placed")


def test_a_cleared_draft_holds_nothing() -> None:
    draft, _body = drafted(Placed(order_id="1"))
    draft.clear()

    assert (draft.unit.facts, draft.unit.writes, draft.owed) == ([], [], [])


# From the trail.


def test_what_is_owed_can_be_had_from_its_fact() -> None:
    draft, body = drafted(Shipped(parcel_id="p", order_id="1"))
    sent = draft.owed[0][1]
    fact = Fact(
        seq=9, source="s", n=8, kind="published", at=5, case="parcel:p", also=("order:1",), causes=CAUSES, body=body
    )

    found = owed_from(fact, "stock")

    assert found.key == sent.key
    assert found.lane == sent.lane
    assert msgspec.structs.replace(found.envelope, at=0, sequence=0) == sent.envelope
    assert (found.seq, found.envelope.at, found.envelope.sequence) == (9, 5, 8)


def test_a_command_of_another_case_is_found_as_it_was_sent() -> None:
    caller = Caller("fulfil/order:9/1", "Charge#1")
    origin = Origin("fulfil", "conversation", (), "fulfil/order:9/1", "order:9")
    draft, body = drafted(Charge(order_id="1"), caller=caller, origin=origin)
    new, sent = draft.unit.facts[0], draft.owed[0][1]
    fact = Fact(seq=9, source="s", n=8, kind="published", at=0, case=new.case, also=new.also, run=new.run, body=body)

    found = owed_from(fact, "card")

    assert (found.lane, found.caller, found.step) == (sent.lane, "fulfil/order:9/1", "Charge#1")
    assert found.envelope.also == sent.envelope.also, "the case of the message itself is not a further one"


def test_another_fact_owes_nothing() -> None:
    with pytest.raises(StoreError, match="is 'closed', not a published message\nRun: partita doctor"):
        owed_from(Fact(seq=1, source="s", n=1, kind="closed", at=0, body=Closed()), "stock")
