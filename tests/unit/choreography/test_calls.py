"""Calls: who waits for an answer is told, by the policy of the call, and a call that is given up begins no more."""

from collections.abc import Callable
from typing import Any

import pytest

from partita import (
    Retry,
)
from partita.choreography.policy import CallRetry
from partita.clock import US
from partita.messages.codec import encode
from partita.store.facts import Dead, Handled, Retrying
from partita.store.port import NewFact, Recorded, Write
from tests.unit.choreography.stage import AT, LOST, ONCE, REFUSED, TWICE, Failing, Stage, bodies, due_in, said, stocking
from tests.unit.choreography.words import Reserve

RUN = "fulfil/order:1/1"
Make = Callable[..., Stage]


# Who waits for the answer.


async def test_a_run_is_told_of_its_call_s_answer_and_where_it_stands(stages: Make) -> None:
    stage = stages(stocking())
    owed = stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1")
    assert stage.callers.told == [("naming", RUN)]
    unit = stage.execute()
    fact = unit.facts[0]

    assert (fact.run, fact.case, fact.also, fact.body.step) == (RUN, "order:1", (), "Reserve#1")
    assert stage.callers.told[1:] == [(RUN, Recorded(100, AT, None), fact.body)]
    assert owed.state == "handling"


async def test_a_call_into_another_case_is_told_in_the_run_s_case_and_touches_its_own(stages: Make) -> None:
    stage = stages(stocking())
    stage.bring(Reserve(order_id="2"), "inventory", caller=RUN, step="Reserve#1")
    fact = stage.execute().facts[0]

    assert (fact.case, fact.also) == ("order:1", ("order:2",))


async def test_a_run_whose_call_fails_for_good_is_told_so(stages: Make) -> None:
    stage = stages(stocking(Failing(OSError("no\nroute")), retry=ONCE))
    owed = stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1")
    stage.execute()
    assert stage.callers.told == [("naming", RUN), (RUN, None, None), ("naming", RUN)]
    unit = stage.execute()

    assert unit.label == "failed call inventory Reserve"
    assert unit.writes == [Write("close_obligation", ("m1", "inventory"), "closed", None)]
    assert unit.facts == [
        NewFact(
            Handled(
                message="m1", group="inventory", type="Reserve", attempt=1, outcome="failed",
                reason="no route", error="OSError", step="Reserve#1", case="order:1",
            ),
            "order:1", RUN, owed.envelope.causes,
        )
    ]  # fmt: skip
    assert stage.callers.told[3:] == [(RUN, Recorded(100, AT, None), said(unit, Handled))]
    assert len(stage.dispatch.lanes) == 0


@pytest.mark.parametrize("answer", [REFUSED, LOST], ids=["refused", "lost"])
@pytest.mark.parametrize("failures", [(), (OSError(),)], ids=["handled", "failed"])
async def test_a_run_is_told_when_the_unit_that_names_it_did_not_happen(
    stages: Make, answer: Any, failures: tuple[Exception, ...]
) -> None:
    stage = stages(stocking(Failing(*failures), retry=ONCE))
    stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1")
    if failures:
        stage.execute()
    stage.answer(answer)

    assert stage.callers.told == [("naming", RUN), (RUN, None, None)] * (1 + len(failures))
    assert len(stage.dispatch.lanes) == (answer is LOST)


async def test_a_call_that_is_to_be_held_is_held_open(stages: Make) -> None:
    stage = stages(stocking(Failing(OSError()), retry=Retry(attempts=1, then="hold")))
    stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1")
    stage.execute()
    unit = stage.units[0]

    assert said(unit, Dead).held
    assert unit.writes[0].params == ("held", 1, "m1", "inventory")


OWN = CallRetry(attempts=3, first="2s", factor=1, most="2s", then="hold", final=("builtins.KeyError",))


def own(policy: CallRetry) -> str:
    return encode(policy).decode()


async def test_a_call_s_own_policy_governs_its_retries_and_its_end(stages: Make) -> None:
    stage = stages(stocking(Failing(OSError(), OSError()), retry=ONCE))
    stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1", retry=own(OWN))
    stage.execute()
    assert 1.5 <= due_in(stage, said(stage.units[0], Retrying).due) <= 2

    last = stages(stocking(Failing(OSError()), retry=ONCE))
    last.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1", retry=own(OWN), attempts=2)
    last.execute()
    assert (said(last.units[0], Dead).held, said(last.units[0], Dead).attempts) == (True, 3)


@pytest.mark.parametrize(("error", "final"), [(KeyError("x"), True), (OSError(), False), (TypeError(), True)])
async def test_what_is_final_is_said_by_the_call_and_by_the_handler(
    stages: Make, error: Exception, final: bool
) -> None:
    stage = stages(stocking(Failing(error), retry=Retry(final=(TypeError,))))
    stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1", retry=own(OWN))
    stage.execute()

    assert isinstance(bodies(stage.units[0])[0], Dead if final else Retrying)


async def test_a_call_s_own_policy_keeps_what_the_handler_says_of_time_and_hold(stages: Make) -> None:
    stage = stages(stocking(retry=ONCE, timeout="3s", concurrency=4))
    owed = stage.bring(Reserve(), "inventory", retry=own(OWN))
    policy = stage.dispatch._policy(owed)

    assert (policy.timeout_us, policy.concurrency, policy.hold) == (3 * US, 4, False)
    assert policy.retry == Retry(attempts=3, first="2s", factor=1, most="2s", then="hold")


async def test_whoever_asked_for_a_command_s_end_is_told_once(stages: Make) -> None:
    told: list[Any] = []
    other: list[Any] = []
    left: list[Any] = []
    stage = stages(stocking())
    stage.dispatch.ask("m1", told.append)
    stage.dispatch.ask("m1", left.append)
    stage.dispatch.ask("m2", other.append)
    stage.dispatch.forget_asking("m1", left.append)
    forgotten = left.append
    stage.dispatch.ask("m1", forgotten)
    stage.dispatch.forget_asking("m1", forgotten)
    stage.dispatch.forget_asking("m9", forgotten)
    stage.bring(Reserve(), "inventory")
    unit = stage.execute()

    assert told == [said(unit, Handled)]
    assert other == []
    assert stage.dispatch._asking == {"m2": stage.dispatch._asking["m2"]}


async def test_nobody_is_left_to_be_told_when_the_last_one_has_gone(stages: Make) -> None:
    stage = stages(stocking())
    told: list[Any] = []
    hear = told.append
    stage.dispatch.ask("m1", hear)
    stage.dispatch.forget_asking("m1", hear)

    assert stage.dispatch._asking == {}


async def test_whoever_asked_is_told_of_a_dead_letter(stages: Make) -> None:
    told: list[Any] = []
    stage = stages(stocking(Failing(OSError()), retry=ONCE))
    stage.dispatch.ask("m1", told.append)
    stage.bring(Reserve(), "inventory")
    stage.execute()
    unit = stage.execute()

    assert told == [said(unit, Dead)]


# Barring.


async def test_what_never_began_can_be_withdrawn(stages: Make) -> None:
    stage = stages(stocking())
    stage.bring(Reserve(), "inventory")
    waiting = stage.bring(Reserve(), "inventory", id="m2")

    assert stage.dispatch.bar("m2", "inventory") == "withdrawn"
    assert waiting.barred
    stage.dispatch.lift("m2", "inventory")
    assert not waiting.barred


async def test_what_is_being_made_is_barred_and_its_end_is_late(stages: Make) -> None:
    stage = stages(stocking(Failing(OSError()), retry=TWICE))
    stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1")

    assert stage.dispatch.bar("m1", "inventory") == "barred"
    stage.execute()
    body = said(stage.execute(), Handled)
    assert (body.outcome, body.late, body.attempt) == ("failed", True, 1), "no further attempt, though one was left"


async def test_an_answer_that_comes_after_the_bar_is_late(stages: Make) -> None:
    stage = stages(stocking())
    stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1")
    stage.dispatch.bar("m1", "inventory")

    assert said(stage.execute(), Handled).late


async def test_what_waits_for_another_attempt_is_closed(stages: Make) -> None:
    stage = stages(stocking(Failing(OSError()), retry=TWICE))
    stage.bring(Reserve(), "inventory", caller=RUN, step="Reserve#1")
    stage.execute()
    stage.execute()

    assert stage.dispatch.bar("m1", "inventory") == "closed"
    await stage.advance(10 * US)
    body = said(stage.execute(), Handled)
    assert (body.outcome, body.late, body.error, body.attempt) == ("failed", True, "Final", 1)
    assert "its saga had unwound" in body.reason


async def test_what_is_not_open_here_is_unknown(stages: Make) -> None:
    stage = stages(stocking())

    assert stage.dispatch.bar("m1", "inventory") == "unknown"
    stage.dispatch.lift("m1", "inventory")
    stage.dispatch.drop("m1", "inventory")


async def test_what_was_closed_elsewhere_is_dropped_unless_it_is_being_handled(stages: Make) -> None:
    stage = stages(stocking())
    handling = stage.bring(Reserve(), "inventory")
    stage.bring(Reserve(), "inventory", id="m2")
    stage.dispatch.drop("m1", "inventory")
    stage.dispatch.drop("m2", "inventory")

    assert stage.dispatch.lanes.find("m1", "inventory") is handling
    assert stage.dispatch.lanes.find("m2", "inventory") is None
