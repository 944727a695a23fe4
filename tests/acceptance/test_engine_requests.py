"""Requests and their keys, foreign producers, what is gone from the code, and requests that find no engine."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from partita import (
    App,
    CallFailed,
    CallTimeout,
    Client,
    Event,
    NotFound,
    Rejected,
    Retry,
    Service,
    call,
    receive,
    workflow,
)
from partita.runtime.requests import Reply, Request, checked
from partita.store.facts import (
    Answered,
    Dead,
    Discarded,
    Duplicate,
    GroupRetired,
    Handled,
    Incident,
    Published,
    Quarantined,
    Requested,
    Retrying,
    Returned,
    Started,
)
from tests.acceptance.engine import (
    CASE,
    Attempts,
    Broken,
    Declined,
    Noted,
    OrderId,
    Paid,
    Pay,
    Placed,
    Shipped,
    all_facts,
    ask,
    kinds,
    owed,
    said,
    until,
    until_handled,
    until_said,
)

QUICK = Retry(attempts=3, first="1ms", most="2ms")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def noting(heard: list[str]) -> Service:
    """A service that hears every note."""
    mail = Service("mail")

    @mail.on(Noted)
    async def hear(event: Noted) -> None:
        heard.append(event.text)

    return mail


@workflow(starts_on=Placed)
async def wait_for_note(order: Placed) -> str:
    return (await receive(Noted)).text


@workflow
async def shout(text: str) -> str:
    return text.upper()


# Keys.


async def test_an_event_emitted_again_under_its_key_happens_once(store: Path) -> None:
    heard: list[str] = []
    async with App("shop", services=[noting(heard)]).run(store) as client:
        for _ in range(2):
            await client.emit(Noted(text="a"), key="note-1")
        await until_said(client, Handled)
        await client.settle()
        assert len(said(client, Published)) == 1
    assert heard == ["a"]


async def test_two_emits_at_once_under_one_key_happen_once(store: Path) -> None:
    heard: list[str] = []
    async with App("shop", services=[noting(heard)]).run(store) as client:
        await asyncio.gather(*(client.emit(Noted(text="a"), key="note-1") for _ in range(5)))
        await until_said(client, Handled)
        await client.settle()
    assert heard == ["a"]


async def test_another_event_under_a_known_key_is_rejected(store: Path) -> None:
    async with App("shop", services=[noting([])]).run(store) as client:
        await client.emit(Noted(text="a"), key="note-1")
        with pytest.raises(Rejected, match="key 'note-1' was used for another Noted\nSend this one under a key"):
            await client.emit(Noted(text="b"), key="note-1")
        assert len(said(client, Published)) == 1


async def test_a_start_sent_again_under_its_key_finds_its_run(store: Path) -> None:
    async with App("shop", workflows=[wait_for_note]).run(store) as client:
        first = await client.start(wait_for_note, Placed(note="a"), key="start-1")
        again = await client.start(wait_for_note, Placed(note="a"), key="start-1")
        assert first.id == again.id
        assert len(said(client, Started)) == 1


async def test_two_starts_at_once_under_one_key_find_one_run(store: Path) -> None:
    async with App("shop", workflows=[wait_for_note]).run(store) as client:
        starts = (client.start(wait_for_note, Placed(note="a"), key="start-1") for _ in range(3))
        assert len({run.id for run in await asyncio.gather(*starts)}) == 1


@pytest.mark.parametrize("order_id", ["1", "2"])
async def test_another_start_under_a_known_key_is_rejected(store: Path, order_id: str) -> None:
    async with App("shop", workflows=[wait_for_note]).run(store) as client:
        await client.start(wait_for_note, Placed(note="a"), key="start-1")
        with pytest.raises(Rejected, match="key 'start-1' was used for another"):
            await client.start(wait_for_note, Placed(order_id=order_id, note="b"), key="start-1")


async def test_a_call_sent_again_under_its_key_gets_its_answer(store: Path) -> None:
    gate = Attempts(0)
    cards = Service("cards")

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        gate.make()
        return Paid(pence=gate.made)

    async with App("shop", services=[cards]).run(store) as client:
        first = await client.call(Pay(), key="pay-1", timeout="5s")
        again = await client.call(Pay(), key="pay-1", timeout="5s")

    assert first == again == Paid(pence=1)


async def test_a_call_that_nobody_answers_in_time_stays_sent(store: Path) -> None:
    cards = Service("cards", retry=Retry(first="1h"))

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        raise Broken("not yet")

    async with App("shop", services=[cards]).run(store) as client:
        with pytest.raises(CallTimeout):
            await client.call(Pay(), key="pay-1", timeout="20ms")
        assert [row.type for row in owed(client)] == ["Pay"]


async def test_a_call_that_fails_for_good_says_why(store: Path) -> None:
    cards = Service("cards", retry=Retry(attempts=2, first="1ms"))

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        raise Broken("for good")

    async with App("shop", services=[cards]).run(store) as client:
        with pytest.raises(CallFailed) as failed:
            await client.call(Pay(), timeout="5s")

    assert (failed.value.kind, failed.value.text, failed.value.attempts) == ("Broken", "for good", 2)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request(op="emit", key="k", type="Notd"), "no message type 'Notd' in app 'shop'"),
        (Request(op="emit", key="k", type="Pay"), "Pay is a command"),
        (Request(op="send", key="k", type="Noted"), "Noted is an event"),
        (Request(op="start", key="k", workflow="fulfill"), "no workflow 'fulfill' in app 'shop'"),
        (Request(op="result", key="k", run="a/order:1/1"), "no run 'a/order:1/1'"),
        (Request(op="redrive", key="k"), "which dead letter?"),
        (Request(op="redrive", key="k", message="00"), "no dead letter '00'"),
        (Request(op="cancel", key="k", case="order:9"), "case order:9 has no open run"),
        (Request(op="put", key="k", raw="no base64!"), "raw is not base64"),
        (Request(op="retire", key="k", group="mail"), "group mail is in the code"),
    ],
    ids=lambda value: getattr(value, "op", ""),
)
async def test_a_request_that_can_not_be_is_rejected_with_a_remedy(store: Path, request_: Request, why: str) -> None:
    cards = Service("cards")

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        return Paid()

    app = App("shop", services=[cards, noting([])], workflows=[wait_for_note])
    async with app.run(store) as client:
        reply = await client.ask(request_)
        assert (reply.status, reply.why[: len(why)], bool(reply.remedy)) == ("rejected", why, True)
        assert {fact.kind for fact in all_facts(client)} <= {"opened"}, "nothing happened"


@pytest.mark.parametrize("case", ["foo", "order:", ":1", "Order:1", "order:a\nb"])
async def test_a_run_of_what_is_no_case_is_rejected(store: Path, case: str) -> None:
    app = App("shop", workflows=[shout])
    async with app.client(store) as client:
        with pytest.raises(Rejected, match=r"is no case\nWrite it as type:key"):
            await client.start(shout, "a", case=case)
    async with app.run(store) as client:
        with pytest.raises(Rejected, match=r"is no case\nWrite it as type:key"):
            await client.start(shout, "a", case=case)
        assert await (await client.start(shout, "a", case=CASE)).result(timeout="5s") == "A"


async def test_a_run_of_a_case_whose_key_is_too_long_is_told_by_how_much(store: Path) -> None:
    async with App("shop", workflows=[shout]).run(store) as client:
        with pytest.raises(Rejected, match=r"is 201; the limit is 200\nMake it smaller, or raise limits.key_bytes_max"):
            await client.start(shout, "a", case="order:" + "k" * 201)


async def test_a_run_for_another_case_than_its_messages_is_rejected(store: Path) -> None:
    async with App("shop", workflows=[wait_for_note]).run(store) as client:
        with pytest.raises(Rejected, match="its message is of case order:1, not order:2"):
            await client.start(wait_for_note, Placed(), case="order:2")
        await client.start(wait_for_note, Placed(), case=CASE)


@pytest.mark.parametrize("body", [b'{"order_id":"1","text":7}', b"{}]", b'{"order_id":"1","order_id":"2"}', b"null"])
async def test_a_body_that_does_not_fit_is_rejected(store: Path, body: bytes) -> None:
    async with App("shop", services=[noting([])]).run(store) as client:
        wanted: dict[str, Any] = {"op": "emit", "key": "k", "type": "Noted"}
        reply = await client.ask(Request(**wanted, data=Raw(body)))
        assert reply.status == "rejected"
        assert {fact.kind for fact in all_facts(client)} <= {"opened"}


# Foreign producers.


def cloudevent(**attributes: object) -> bytes:
    plain = {
        "specversion": "1.0",
        "id": "7",
        "source": "https://warehouse",
        "type": "Noted",
        "data": {"order_id": "1", "text": "hello"},
    }
    return json.dumps(plain | attributes).encode()


async def put(client: Client, raw: bytes) -> Reply:
    request = Request(op="put", key=client.new_key(), raw=base64.b64encode(raw).decode())
    return checked(await client.ask(request))


async def test_a_foreign_event_is_handled_like_our_own(store: Path) -> None:
    heard: list[str] = []
    async with App("shop", services=[noting(heard)]).run(store) as client:
        reply = await put(client, cloudevent())
        await until_said(client, Handled)
        (published,) = said(client, Published)

    assert (reply.note, heard) == ("", ["hello"])
    assert (published.id, published.by, published.correlation) == (
        "https://warehouse#7",
        "https://warehouse",
        "https://warehouse#7",
    )


async def test_foreign_bytes_on_the_transport_are_taken_too(store: Path) -> None:
    heard: list[str] = []
    async with App("shop", services=[noting(heard)]).run(store) as client:
        client.engine.world.transport.put(cloudevent())
        client.engine.world.transport.put(b"\xff not json")
        await until_said(client, Handled)
        await until(client.look.list_dead, "the other is in quarantine")

    assert heard == ["hello"]


async def test_a_foreign_event_that_comes_again_is_a_duplicate(store: Path) -> None:
    heard: list[str] = []
    async with App("shop", services=[noting(heard)]).run(store) as client:
        await put(client, cloudevent())
        reply = await put(client, cloudevent())
        await until_said(client, Handled)
        await client.settle()
        assert [body.message for body in said(client, Duplicate)] == ["https://warehouse#7"]

    assert (reply.note, heard) == ("it was taken before", ["hello"])


async def test_an_id_that_comes_again_with_another_body_goes_to_quarantine(store: Path) -> None:
    async with App("shop", services=[noting([])]).run(store) as client:
        await put(client, cloudevent())
        reply = await put(client, cloudevent(subject=CASE, data={"order_id": "1", "text": "other"}))
        assert reply.note.startswith("in quarantine as ")
        (kept,) = said(client, Quarantined)
        assert kept.reason == "id https://warehouse#7 was used for another message"
        assert (await client.where(CASE)).verdict == "failed"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (cloudevent(type="Unheard", subject=CASE), "no message type 'Unheard' is known here"),
        (cloudevent(subject=CASE, data={"order_id": 7}), "Noted: Expected `str`, got `int`"),
        (cloudevent(subject=CASE, dataversion="9"), "message Noted has version 9; this code knows it up to 1"),
        (b"\xff\xfe", "not an event"),
        (b'{"order_id":"1"}', "not an event: it has no specversion"),
    ],
    ids=["unknown type", "undecodable", "newer version", "no JSON", "no event"],
)
async def test_what_can_not_be_handled_is_kept_with_its_reason_and_its_bytes(
    store: Path, raw: bytes, reason: str
) -> None:
    async with App("shop", services=[noting([])]).run(store) as client:
        reply = await put(client, raw)
        assert reply.status == "accepted"
        (kept,) = [fact.body for fact in all_facts(client) if isinstance(fact.body, Quarantined)]
        (line,) = client.look.list_dead()
        assert base64.b64decode(kept.raw) == base64.b64decode(line.raw) == raw
        assert kept.reason[: len(reason)] == reason
        if b"order:1" in raw:
            assert (await client.where(CASE)).verdict == "failed"


async def test_poison_does_not_stop_what_comes_behind_it(store: Path) -> None:
    heard: list[str] = []
    async with App("shop", services=[noting(heard)]).run(store) as client:
        await put(client, cloudevent(id="1", subject=CASE, data={"order_id": 7}))
        await put(client, cloudevent(id="2", subject=CASE))
        await until_said(client, Handled)

    assert heard == ["hello"]


async def test_quarantined_bytes_are_redriven_after_the_code_learnt_their_type(store: Path) -> None:
    heard: list[str] = []
    async with App("shop", services=[Service("mail")]).run(store) as client:
        await put(client, cloudevent(subject=CASE))
        with pytest.raises(Rejected, match="can't be read with this code either: no message type 'Noted'"):
            await ask(client, "redrive", case=CASE)
        assert len(client.look.list_dead()) == 1, "a redrive that fails leaves it where it is"

    async with App("shop", services=[noting(heard)]).run(store) as client:
        reply = await ask(client, "redrive", case=CASE)
        await until_said(client, Handled)
        assert client.look.list_dead() == []
        assert "quarantined Noted" in kinds(client)

    assert (reply.count, heard) == (1, ["hello"])


async def test_quarantined_bytes_can_be_given_up(store: Path) -> None:
    async with App("shop", services=[noting([])]).run(store) as client:
        await put(client, cloudevent(subject=CASE, type="Unheard"))
        await ask(client, "discard", message=client.look.list_dead()[0].id, by="ann")
        assert client.look.list_dead() == []
        assert (await client.where(CASE)).verdict == "dead-ended"


async def test_retrying_a_case_does_what_it_can_and_says_what_it_could_not(store: Path) -> None:
    gate = Attempts(1)
    mail = Service("mail", retry=Retry(attempts=1))

    @mail.on(Noted)
    async def hear(event: Noted) -> None:
        gate.make()

    async with App("shop", services=[mail]).run(store) as client:
        await put(client, cloudevent(subject=CASE, type="Unheard"))
        await client.emit(Noted())
        await until_said(client, Dead)
        reply = await ask(client, "retry", case=CASE)
        await until_said(client, Handled)

    assert reply.count == 1
    assert "can't be read with this code either" in reply.note


# What is gone from the code.


async def test_a_group_that_is_gone_still_owes_until_it_is_retired(store: Path) -> None:
    heard: list[str] = []
    ends = Service("ends")

    @ends.on(Noted)
    async def end(event: Noted) -> Shipped:
        return Shipped()

    async with App("shop", services=[noting(heard), ends]).run(store) as client:
        await ask(client, "pause", group="mail")
        await client.emit(Noted(text="before"))
        await until_handled(client, "ends")
        await ask(client, "resume", group="ends")

    async with App("shop", services=[ends]).run(store) as client:
        await client.emit(Noted(text="after"))
        await until_said(client, Handled, count=2)
        await client.settle()
        assert [(row.group, row.type) for row in owed(client)] == [("mail", "Noted")]
        assert (await client.where(CASE)).verdict == "running"
        (line,) = [line for line in client.look.list_groups() if line.name == "mail"]
        assert line.owing == 1

        reply = await ask(client, "retire", group="mail", by="ann")
        assert reply.count == 1
        assert owed(client) == []
        assert said(client, Discarded)[0].reason == "group retired"
        assert (await client.where(CASE)).verdict == "done"
        (retired,) = [fact.body for fact in all_facts(client) if isinstance(fact.body, GroupRetired)]

    assert (retired.closed, retired.by, heard) == (1, "ann", [])


async def test_a_group_that_comes_back_handles_what_it_owes(store: Path) -> None:
    heard: list[str] = []
    app = App("shop", services=[noting(heard)])
    async with app.run(store) as client:
        await ask(client, "pause", group="mail")
        await client.emit(Noted(text="a"))
    async with App("shop", services=[]).run(store) as client:
        await ask(client, "resume", group="mail")
        await client.settle()
        assert len(owed(client)) == 1
    async with app.run(store) as client:
        await until_said(client, Handled)

    assert heard == ["a"]


@workflow(starts_on=Placed)
async def pay_once(order: Placed) -> str:
    try:
        await call(Pay())
    except CallFailed as failed:
        return f"{failed.kind}: {failed.text}"
    return "paid"


def paying(gate: Callable[[], None]) -> Service:
    cards = Service("cards", retry=Retry(first="1h"))

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        gate()
        return Paid()

    return cards


async def test_a_caller_is_told_when_the_group_that_owes_its_call_is_retired(store: Path) -> None:
    async with App("shop", services=[paying(Attempts(9).make)], workflows=[pay_once]).run(store) as client:
        await client.emit(Placed())
        await until_said(client, Retrying)

    async with App("shop", workflows=[pay_once]).run(store) as client:
        await ask(client, "retire", group="cards", by="ann")
        returned = await until_said(client, Returned)

    assert bytes(returned.value) == b'"Discarded: group retired"'


async def test_an_answer_for_a_workflow_that_is_gone_waits_in_its_history(store: Path) -> None:
    gate = Attempts(1)
    cards = Service("cards", retry=Retry(first="50ms"))

    @cards.handles(Pay)
    async def pay(command: Pay) -> Paid | Declined:
        gate.make()
        return Paid()

    app = App("shop", services=[cards], workflows=[pay_once])
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Retrying)

    async with App("shop", services=[cards]).run(store) as client:
        await until_said(client, Handled)
        assert said(client, Returned) == []

    async with app.run(store) as client:
        returned = await until_said(client, Returned)

    assert bytes(returned.value) == b'"paid"'


async def test_a_case_with_a_run_of_a_gone_workflow_can_not_be_cancelled_in_silence(store: Path) -> None:
    async with App("shop", workflows=[wait_for_note]).run(store) as client:
        await client.start(wait_for_note, Placed())

    async with App("shop", services=[noting([])]).run(store) as client:
        with pytest.raises(Rejected, match="can't move: workflow wait_for_note is not in this code\nDeploy it again"):
            await ask(client, "cancel", case=CASE)


# Requests that find no engine.


async def test_what_is_asked_of_nobody_is_carried_out_in_order_by_the_next_engine(store: Path) -> None:
    heard: list[str] = []
    app = App("shop", services=[noting(heard)])
    async with app.client(store) as client:
        for number in range(5):
            await client.emit(Noted(text=str(number)), key=f"note-{number}")
        where = await client.where(CASE)
        assert (where.verdict, where.at) == ("running", "Noted")
    assert heard == []

    async with app.run(store) as client:
        await until_said(client, Handled, count=5)
        await until_said(client, Answered, count=5)
        assert len(said(client, Requested)) == 5
        assert [body.outcome for body in said(client, Answered)] == ["accepted"] * 5
    assert heard == ["0", "1", "2", "3", "4"]


async def test_what_was_left_comes_before_what_is_asked_now(store: Path) -> None:
    app = App("shop", services=[noting([])], workflows=[wait_for_note])
    async with app.client(store) as client:
        await client.start(wait_for_note, Placed(), key="start-1")
        for number in range(20):
            await client.emit(Noted(text=f"left {number}"), key=f"note-{number}")

    async with app.run(store) as client:
        await client.emit(Noted(text="asked now"))
        published = [json.loads(bytes(body.data))["text"] for body in said(client, Published) if body.type == "Noted"]
        assert published == [f"left {number}" for number in range(20)] + ["asked now"]
        returned = await until_said(client, Returned)
        assert bytes(returned.value) == b'"left 0"'


async def test_a_request_that_is_left_says_which_command_carries_it_out(store: Path) -> None:
    app = App("shop", services=[noting([])])
    async with app.client(store) as client:
        reply = await client.ask(Request(op="emit", key="k", type="Noted", data=Raw(b'{"order_id":"1"}')))

    assert (reply.status, reply.case) == ("accepted", CASE)
    assert reply.note == f"queued: no engine runs; carried out by: partita dev MODULE:APP --store {store}"


async def test_a_left_request_under_a_known_key_happens_once(store: Path) -> None:
    heard: list[str] = []
    app = App("shop", services=[noting(heard)])
    async with app.client(store) as client:
        for _ in range(2):
            await client.emit(Noted(text="a"), key="note-1")
    async with app.run(store) as client:
        await until_said(client, Answered)
        await client.settle()
        assert len(said(client, Requested)) == 1
    assert heard == ["a"]


async def test_another_left_request_under_a_known_key_is_rejected(store: Path) -> None:
    heard: list[str] = []
    app = App("shop", services=[noting(heard)])
    async with app.client(store) as client:
        await client.emit(Noted(text="a"), key="note-1")
        with pytest.raises(Rejected, match="key 'note-1' was used for another"):
            await client.emit(Noted(text="b"), key="note-1")


async def test_a_left_call_is_sent_and_nobody_waits(store: Path) -> None:
    gate = Attempts(0)
    app = App("shop", services=[paying(gate.make)])
    async with app.client(store) as client:
        reply = await client.ask(Request(op="call", key="k", type="Pay", data=Raw(b'{"order_id":"1"}')))
        assert reply.status == "accepted"
    async with app.run(store) as client:
        await until_said(client, Handled)
    assert gate.made == 1


@pytest.mark.parametrize("op", ["result"])
async def test_what_needs_an_engine_is_rejected_without_one(store: Path, op: Any) -> None:
    app = App("shop", workflows=[wait_for_note])
    async with app.run(store) as client:
        run = await client.start(wait_for_note, Placed())
    async with app.client(store) as client:
        with pytest.raises(Rejected, match="no engine runs on this store\nStart one: partita dev"):
            checked(await client.ask(Request(op=op, key="k", run=run.id)))


async def test_a_left_request_that_the_next_engine_can_not_carry_out_is_turned_down_with_its_reason(
    store: Path,
) -> None:
    async with App("shop", services=[noting([])]).client(store) as client:
        await client.emit(Noted())
    async with App("shop", services=[Service("mail")]).run(store) as client:
        answered = await until_said(client, Answered)
        assert client.look.list_requests() == []

    why = "no message type 'Noted' in app 'shop'. What it has stands in: partita flow --declared"
    assert (answered.outcome, answered.why) == ("rejected", why)


async def test_an_app_checks_before_a_request_is_left(store: Path) -> None:
    app = App("shop", services=[noting([])])
    async with app.client(store) as client:
        with pytest.raises(NotFound, match="no case is named"):
            checked(await client.ask(Request(op="retry", key="k", case="order:9")))
        with pytest.raises(Rejected, match="Expected `str`, got `int`"):
            checked(await client.ask(Request(op="emit", key="k", type="Noted", data=Raw(b'{"order_id":"1","text":7}'))))
        with pytest.raises(Rejected, match="Noted is an event"):
            checked(await client.ask(Request(op="send", key="k", type="Noted", data=Raw(b'{"order_id":"1"}'))))


async def test_groups_are_paused_and_runs_retried_by_requests_that_were_left(store: Path) -> None:
    gate, heard = Attempts(1), list[str]()

    @workflow(starts_on=Placed)
    async def breaking(order: Placed) -> str:
        gate.make()
        return "mended"

    app = App("shop", services=[noting(heard)], workflows=[breaking])
    async with app.run(store) as client:
        await client.emit(Placed())
        await until_said(client, Incident)
    async with app.client(store) as client:
        for request in (
            Request(op="pause", key=client.new_key(), group="mail"),
            Request(op="emit", key=client.new_key(), type="Noted", data=Raw(b'{"order_id":"2"}')),
            Request(op="retry", key=client.new_key(), case=CASE),
        ):
            assert checked(await client.ask(request)).status == "accepted"
    async with app.run(store) as client:
        await until_said(client, Returned)
        await until(lambda: not client.look.list_requests(), "all carried out")
        await client.settle()
        assert [(row.group, row.case) for row in owed(client)] == [("mail", "order:2")]
    assert heard == []


async def test_another_process_asks_the_engine_that_holds_the_store(store: Path) -> None:
    heard: list[str] = []
    app = App("shop", services=[noting(heard), paying(lambda: None)], workflows=[wait_for_note])
    async with app.run(store) as engine, app.client(store) as client:
        await client.emit(Noted(text="over the socket"))
        assert await client.call(Pay(), timeout="5s") == Paid()
        run = await client.start(wait_for_note, Placed(order_id="2"))
        await client.emit(Noted(order_id="2", text="hello"))
        assert await run.result(timeout="5s") == "hello"
        await until_said(engine, Handled, count=2)
    assert heard == ["over the socket", "hello"]


async def test_many_may_leave_requests_at_once(store: Path) -> None:
    heard: list[str] = []
    app = App("shop", services=[noting(heard)])

    async def leave(number: int) -> None:
        for text in range(3):
            async with app.client(store) as client:
                await client.emit(Noted(order_id=str(number), text=f"{number} {text}"))

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(asyncio.to_thread(asyncio.run, leave(number)))
    async with app.run(store) as client:
        await until(lambda: len(heard) == 18 and not client.look.list_requests(), "all carried out")

    assert len(set(heard)) == 18


async def test_a_message_of_a_later_version_waits_for_code_that_knows_it(store: Path) -> None:
    seen: list[tuple[str, ...]] = []
    old, new = Service("tags"), Service("tags")

    class Tagged(Event):
        order_id: OrderId = "1"
        tag: str = ""

    class TaggedOften(Event, type="Tagged", version=2):
        order_id: OrderId = "1"
        tags: tuple[str, ...] = ()

    @old.on(Tagged)
    async def see(event: Tagged) -> None:
        seen.append((event.tag,))

    @new.on(TaggedOften)
    async def see_all(event: TaggedOften) -> None:
        seen.append(event.tags)

    async with App("shop", services=[new]).run(store) as client:
        await ask(client, "pause", group="tags")
        await client.emit(TaggedOften(tags=("a", "b")))
    async with App("shop", services=[old]).run(store) as client:
        await ask(client, "resume", group="tags")
        dead = await until_said(client, Dead)
        assert dead.attempts == 1
        assert "has version 2; this code knows it up to 1" in dead.text
    async with App("shop", services=[new]).run(store) as client:
        await ask(client, "redrive", case=CASE)
        await until_said(client, Handled)

    assert seen == [("a", "b")]
