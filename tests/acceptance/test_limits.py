"""Each limit at one below it, at it, and one beyond: what is refused loses nothing, what is stopped can be resumed."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from partita import App, CallFailed, Limits, Rejected, Retry, Service, Workflow, call, receive, step, workflow
from partita.errors import LimitExceeded, PartitaError
from partita.runtime.door import ask_door
from partita.runtime.requests import Request
from partita.store.facts import Dead, Handled, Incident, Returned
from tests.acceptance.engine import CASE, Attempts, Broken, Count, Noted, Paid, Placed, all_facts, ask, said, until_said
from tests.acceptance.engine import until as wait_until
from tests.acceptance.shell import APP, Shell

AROUND = pytest.mark.parametrize("beyond", [-1, 0, 1], ids=["one below", "at it", "one beyond"])
ONCE = Retry(attempts=1)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def an_app(limits: Limits, *workflows: Workflow[Any, Any], services: tuple[Service, ...] = ()) -> App:
    return App("shop", services=services, workflows=workflows, limits=limits)


def hearing() -> Service:
    service = Service("hearing")

    @service.on(Noted)
    async def hear(event: Noted) -> None: ...

    return service


# What comes in: refused whole.


@AROUND
@pytest.mark.parametrize("setting", ["payload_bytes_max", "key_bytes_max", "name_bytes_max", "error_text_max"])
async def test_what_comes_in_over_its_limit_is_refused_and_nothing_is_written(
    store: Path, setting: str, beyond: int
) -> None:
    size = 300
    limits = replace(Limits(), **{setting: size})
    async with an_app(limits, services=(hearing(),)).run(store) as client:
        before = len(all_facts(client))
        text, key, name, reason = "", "1", None, ""
        if setting == "payload_bytes_max":
            text = "x" * (size + beyond - len(b'{"order_id":"1","text":""}'))
        elif setting == "key_bytes_max":
            key = "k" * (size + beyond)
        elif setting == "name_bytes_max":
            name = "n" * (size + beyond)
        else:
            reason = "r" * (size + beyond)
        try:
            if reason:
                await client.emit(Noted())
                await ask(client, "cancel", case=CASE, reason=reason)
            else:
                await client.emit(Noted(order_id=key, text=text), key=name)
            refused = ""
        except PartitaError as error:
            refused = "" if "has no open run" in str(error) else str(error)
        if beyond <= 0:
            assert refused == ""
            return
        what, _, remedy = refused.partition("\n")
        assert str(size) in what + remedy
        assert remedy == f"Make it smaller, or raise limits.{setting}."
        assert len([fact for fact in all_facts(client) if "Noted" in str(fact.body)]) == int(bool(reason))
        assert reason or len(all_facts(client)) == before


@AROUND
async def test_a_request_over_its_limit_is_rejected_at_the_socket(store: Path, beyond: int) -> None:
    limits = Limits(request_bytes_max=1_000)
    async with an_app(limits, services=(hearing(),)).run(store) as client:
        socket = client.engine.world.store.socket  # type: ignore[attr-defined]
        bare = len(_line(""))
        reply = await ask_door(socket, Request(op="ping", key="k", raw="x" * (1_000 + beyond - bare)))

    assert reply.status == ("accepted" if beyond <= 0 else "rejected")
    assert beyond <= 0 or (reply.why, reply.remedy) == (
        "the request has 1,001 bytes; the limit is 1,000",
        "Make it smaller, or raise limits.request_bytes_max.",
    )


def _line(raw: str) -> bytes:
    import msgspec

    return msgspec.json.encode(Request(op="ping", key="k", raw=raw or "x"))[:-1]


@AROUND
async def test_a_visitor_beyond_the_limit_is_told_to_come_again(store: Path, beyond: int) -> None:
    async with an_app(Limits(visitors_max=3), services=(hearing(),)).run(store) as client, AsyncExitStack() as visitors:
        socket = client.engine.world.store.socket  # type: ignore[attr-defined]
        for _ in range(2 + beyond):
            _, writer = await asyncio.open_unix_connection(str(socket))
            visitors.callback(writer.close)
        reply = await ask_door(socket, Request(op="ping", key="k"))

    assert reply.status == ("accepted" if beyond <= 0 else "rejected")
    assert beyond <= 0 or "limits.visitors_max" in reply.remedy


@AROUND
async def test_an_engine_that_owes_too_much_takes_no_more_until_it_has_made_some(store: Path, beyond: int) -> None:
    async with an_app(Limits(owed_max=3), services=(hearing(),)).run(store) as client:
        await ask(client, "pause", group="hearing")
        for number in range(2 + beyond):
            await client.emit(Noted(order_id=str(number)))
        if beyond <= 0:
            await client.emit(Noted(order_id="last"))
            return
        with pytest.raises(Rejected, match=r"handlings owed is 4; the limit is 3\n.*limits.owed_max"):
            await client.emit(Noted(order_id="last"))
        await ask(client, "resume", group="hearing")
        await client.settle()
        await client.emit(Noted(order_id="last"))


@AROUND
async def test_what_stands_too_deep_is_refused(beyond: int) -> None:
    from partita.messages.codec import check_raw

    raw = b"[" * (64 + beyond) + b"]" * (64 + beyond)
    if beyond <= 0:
        check_raw(raw)
        return
    with pytest.raises(LimitExceeded, match=r"nesting is 65; the limit is 64\n.*limits.nesting_max"):
        check_raw(raw)


# What runs: stopped, and resumed when the limit is raised.


def growing() -> Workflow[Any, Any]:
    @workflow(starts_on=Placed)
    async def grow(order: Placed) -> int:
        """Its history: started, then one fact for each payment, the last of them with the return."""
        for _ in range(8):
            await receive(Paid)
        return 8

    return grow


@AROUND
async def test_a_history_that_is_too_long_is_an_incident_and_goes_on_when_the_limit_is_raised(
    store: Path, beyond: int
) -> None:
    facts = 10  # started, eight received, returned
    async with an_app(Limits(history_facts_max=facts - 1 - beyond), growing()).run(store) as client:
        await client.emit(Placed())
        for pence in range(8):
            await client.emit(Paid(pence=pence))
            await client.settle()
        if beyond < 0:
            assert said(client, Returned)
            return
        incident = await until_said(client, Incident) if beyond > 0 else None
        if incident is None:
            assert said(client, Returned)
            return
        assert incident.error == "LimitExceeded"
        assert incident.remedy == "Raise limits.history_facts_max, or mend the code, then: partita retry order:1"
        assert (await client.where(CASE)).verdict == "failed"

    async with an_app(Limits(), growing()).run(store) as client:
        await ask(client, "retry", case=CASE)
        await until_said(client, Returned)


@AROUND
@pytest.mark.parametrize("setting", ["run_acts_open_max", "turn_callbacks_max", "timer_s_max", "name_bytes_max"])
async def test_a_run_over_a_limit_is_an_incident_and_goes_on_when_the_limit_is_raised(
    store: Path, setting: str, beyond: int
) -> None:
    limit = 100

    @step
    async def add() -> int:
        return 1

    @workflow(starts_on=Placed)
    async def reach(order: Placed) -> int:
        match order.note:
            case "run_acts_open_max":
                return sum(await asyncio.gather(*(add() for _ in range(limit + beyond))))
            case "turn_callbacks_max":
                for _ in range(limit - 1 + beyond):  # the first callback begins the run
                    await asyncio.sleep(0)
            case "timer_s_max":
                async with asyncio.timeout(limit + beyond):
                    await asyncio.sleep(0)
            case _:
                await call(Count(), key="k" * (limit + beyond))
        return 0

    counting = Service("counting")

    @counting.handles(Count)
    def count(command: Count) -> int:
        return 1

    async with an_app(Limits(**{setting: limit}), reach, services=(counting,)).run(store) as client:
        await client.emit(Placed(note=setting))
        if beyond <= 0:
            await until_said(client, Returned)
            return
        incident = await until_said(client, Incident)
        assert incident.error == "LimitExceeded"
        assert incident.remedy.startswith(f"Raise limits.{setting}, or mend the code, then: partita retry ")

    async with an_app(Limits(), reach, services=(counting,)).run(store) as client:
        await ask(client, "retry", case=CASE)
        await until_said(client, Returned)


@AROUND
async def test_a_handling_that_emits_too_much_is_a_dead_letter_and_publishes_none_of_it(
    store: Path, beyond: int
) -> None:
    service = Service("many", retry=ONCE)

    @service.on(Placed)
    def emit(event: Placed) -> Iterator[Noted]:
        counted = itertools.count() if beyond > 0 else range(20 + beyond)
        return (Noted(text=str(number)) for number in counted)

    async with an_app(Limits(emitted_max=20), services=(service,)).run(store) as client:
        await client.emit(Placed())
        body = await until_said(client, Dead if beyond > 0 else Handled)
        count = len([fact for fact in all_facts(client) if getattr(fact.body, "type", "") == "Noted"])

    assert count == (0 if beyond > 0 else 20 + beyond)
    assert not isinstance(body, Dead) or "is 21; the limit is 20" in body.text


async def test_what_is_over_a_limit_of_rates_waits_for_its_turn(store: Path) -> None:
    gate, at_once = asyncio.Event(), []
    service = Service("slow")

    @service.on(Placed)
    async def wait(event: Placed) -> None:
        at_once.append(event.order_id)
        await gate.wait()

    limits = Limits(handlings_at_once_max=2, threads_max=1, batch_units_max=1, runs_cached_max=1)
    async with an_app(limits, services=(service,)).run(store) as client:
        for number in range(4):
            await client.emit(Placed(order_id=str(number)))
        await wait_until(lambda: len(at_once) == 2, "two at once")
        assert client.engine.dispatch.lanes.count_busy() >= 2
        gate.set()
        await client.settle()

    assert len(at_once) == 4


async def test_a_step_that_returns_too_much_ends_at_once_and_says_which_limit(store: Path) -> None:
    gate = Attempts(0)

    @step
    async def make() -> str:
        gate.make()
        return "x" * 500

    @workflow(starts_on=Placed)
    async def making(order: Placed) -> str:
        try:
            return await make()
        except CallFailed as failed:
            return failed.text[:200]

    async with an_app(Limits(payload_bytes_max=400), making).run(store) as client:
        run = await client.start(making, Placed())
        text = await run.result(timeout="5s")

    assert "is 502; the limit is 400" in text
    assert gate.made == 1


async def test_an_error_that_is_too_long_is_cut_off_and_marked(store: Path) -> None:
    service = Service("failing", retry=ONCE)

    @service.handles(Count)
    async def fail(command: Count) -> int:
        raise Broken("x" * 1_000)

    async with an_app(Limits(error_text_max=100), services=(service,)).run(store) as client:
        with pytest.raises(CallFailed):
            await client.call(Count())
        dead = await until_said(client, Dead)

    assert (len(dead.text), dead.text[-1]) == (100, "…")
    assert (len(dead.trace), dead.trace[0]) == (400, "…")


@pytest.mark.parametrize("far", ["3661d", "100000w", "9" * 400 + "d"])
def test_a_duration_that_is_too_far_off_is_refused_where_it_is_written(far: str) -> None:
    from partita.errors import DefinitionError

    with pytest.raises(
        DefinitionError, match=r"is over 316,224,000 s\nGive a shorter one, or raise limits.timer_s_max"
    ):
        Retry(most=far)


@pytest.mark.parametrize("far", ["1e9", "1e30", "inf"])
async def test_a_sleep_that_is_too_far_off_is_an_incident(store: Path, far: str) -> None:
    @workflow(starts_on=Placed)
    async def sleep(order: Placed) -> None:
        await asyncio.sleep(float(order.note))

    async with an_app(Limits(), sleep).run(store) as client:
        await client.emit(Placed(note=far))
        incident = await until_said(client, Incident)

    assert "limits.timer_s_max" in incident.remedy


def test_a_case_is_found_wherever_its_key_was_accepted(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    key = "k" * 250
    shell.env["PARTITA_LIMITS_KEY_BYTES_MAX"] = "300"
    shell.run("emit", "TripAsked", json.dumps({"trip_id": key, "seats": 2}), "--app", APP, "--run")
    del shell.env["PARTITA_LIMITS_KEY_BYTES_MAX"]

    assert shell.run("where", f"trip:{key}", "--json").json["case"] == f"trip:{key}"
    assert shell.run("show", key, "--json").json["case"] == f"trip:{key}"
    refused = shell.run("emit", "TripAsked", json.dumps({"trip_id": key, "seats": 2}), "--app", APP, code=65).err
    assert " is 250; the limit is 200\nMake it smaller, or raise limits.key_bytes_max." in refused
