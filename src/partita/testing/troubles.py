"""The kinds of trouble: how each is brought about, told from the store's work tables and never from the monitor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from partita.store.facts import Answered, ChildStarted, Handled, NoRun, Published, Stepped, Waiting
from partita.testing.stage import Stage

Bring = Callable[[Stage], Awaitable[None]]
BRING: dict[str, Bring] = {}
"""How each kind of trouble comes about; it returns when the trouble stands."""


def trouble(bring: Bring) -> Bring:
    """Keep it under its name."""
    BRING[bring.__name__.replace("_", "-")] = bring
    return bring


def _workflow_group(stage: Stage) -> str:
    return "workflow:lend" if stage.form == "orchestration" else "workflow:lend_until_confirmed"


@trouble
async def healthy(stage: Stage) -> None:
    """Nothing goes wrong."""
    await stage.hire()
    await stage.over()


# Handlings that fail.


@trouble
async def dead_letter(stage: Stage) -> None:
    """A handler that nobody waits for raises until its attempts are spent."""
    await stage.hire()
    await stage.owed("HandOver", "dead")


@trouble
async def call_failed(stage: Stage) -> None:
    """The handler of a call does, and its run is told so."""
    await stage.hire()
    await stage.over()


@trouble
async def dead_notice(stage: Stage) -> None:
    """What fails is a handler beside the process."""
    await stage.hire()
    await stage.owed("HireConfirmed", "dead")


@trouble
async def dead_observer(stage: Stage) -> None:
    """An observer fails, which counts for nothing."""
    await stage.hire()
    await stage.owed("VanHeld", "dead")
    await stage.said(Published, type="VanHandedOver")
    await stage.rest()


@trouble
async def call_held(stage: Stage) -> None:
    """A call whose policy is to be held open, and where nobody calls, a dead letter."""
    await stage.hire()
    await stage.owed("TakeDeposit", "dead" if stage.form == "choreography" else "held")


@trouble
async def retrying(stage: Stage) -> None:
    """The next attempt is due tomorrow."""
    await stage.hire()
    await stage.owed("TakeDeposit", attempts=1)


@trouble
async def poison(stage: Stage) -> None:
    """A command kills every process that handles it."""
    await call_held(stage)


@trouble
async def blocked(stage: Stage) -> None:
    """A dead letter that holds its place, and a message behind it."""
    await stage.hire()
    await stage.say("NoteLeft", text="first")
    await stage.owed("NoteLeft", "dead")
    await stage.say("NoteLeft", text="second")
    await stage.over_but_for("NoteLeft")


@trouble
async def discarded(stage: Stage) -> None:
    """An operator has given up what had died."""
    await call_held(stage)
    await stage.ask("discard", case=stage.case)
    await stage.over()


@trouble
async def slow(stage: Stage) -> None:
    """A handler is not done within the limit of the monitor."""
    await stage.hire()
    await stage.over_but_for("HireConfirmed")
    stage.leap(0.5)


# Local steps.


@trouble
async def step_retrying(stage: Stage) -> None:
    """The next attempt at a step is due tomorrow."""
    await stage.hire()
    await stage.until(lambda store: any(_is_retried(fact.body) for fact in store.trail.list_case_facts(stage.case)), "")


def _is_retried(body: object) -> bool:
    return getattr(body, "step", None) is not None and type(body).__name__ == "Retrying"


@trouble
async def step_failed(stage: Stage) -> None:
    """A step fails for good, and the run undoes what it had done."""
    await stage.hire()
    await stage.said(Stepped, error="Final")
    await stage.over()


@trouble
async def poison_step(stage: Stage) -> None:
    """A step kills every process that makes it."""
    await stage.hire()
    await stage.said(Stepped, error="ProcessDied")
    await stage.over()


# Code.


@trouble
async def bug(stage: Stage) -> None:
    """The workflow raises what no saga undoes."""
    await stage.hire()
    await stage.stopped()


@trouble
async def never(stage: Stage) -> None:
    """The workflow waits for what nothing but its own code could bring about."""
    await stage.hire()
    await stage.over_but_for()


@trouble
async def other_code(stage: Stage) -> None:
    """A deploy brings code that does not fit the run's history."""
    await stage.hire()
    await stage.said(Waiting)
    await stage.deploy("by others")
    stage.leap(7)
    await stage.stopped()


@trouble
async def nobody_handles(stage: Stage) -> None:
    """A workflow calls what no service of the app handles."""
    await stage.deploy("without the yard")
    await stage.hire()
    await stage.stopped()


@trouble
async def workflow_gone(stage: Stage) -> None:
    """A deploy brings no workflow for a run that is open."""
    await stage.hire()
    await stage.said(Waiting)
    await stage.deploy("without the workflow")


@trouble
async def group_gone(stage: Stage) -> None:
    """A deploy brings no handler for what is owed already."""
    await group_paused(stage)
    await stage.deploy("without the yard")
    await stage.up()


@trouble
async def no_subscriber(stage: Stage) -> None:
    """An event is published, and the reaction that should follow is not in the app."""
    await stage.deploy("without a subscriber")
    await stage.hire()
    last = "DepositTaken" if stage.form == "choreography" else "HireConfirmed"
    await stage.said(Published, type=last)
    await stage.over_but_for()  # the same event may be owed to others still


@trouble
async def subscribed_later(stage: Stage) -> None:
    """The same, and a later deploy brings the reaction: it owes nothing for what was published before."""
    await no_subscriber(stage)
    await stage.deploy("whole")
    await stage.up()


# Child runs.


@trouble
async def child_bug(stage: Stage) -> None:
    """A child raises, and stops."""
    await bug(stage)


@trouble
async def child_call_failed(stage: Stage) -> None:
    """A child stops at a call that has failed for good."""
    await bug(stage)


@trouble
async def child_step_failed(stage: Stage) -> None:
    """A child stops at a local step that has."""
    await bug(stage)


@trouble
async def child_call_held(stage: Stage) -> None:
    """A child waits for a call that is held open."""
    await stage.hire()
    await stage.owed("CheckBrakes", "held")


@trouble
async def child_waits(stage: Stage) -> None:
    """A child waits for what comes from outside."""
    await stage.hire()
    await stage.said(ChildStarted)
    await stage.over_but_for()


@trouble
async def child_sleeps(stage: Stage) -> None:
    """A child sleeps."""
    await child_waits(stage)


@trouble
async def child_elsewhere(stage: Stage) -> None:
    """A child that belongs to another case stops there."""
    await stage.hire()
    await stage.stopped(stage.case_of_van)


@trouble
async def child_waits_there(stage: Stage) -> None:
    """A child that belongs to another case waits there."""
    await child_waits(stage)


@trouble
async def child_of_child(stage: Stage) -> None:
    """The child of a child stops, in another case."""
    await child_elsewhere(stage)


# Operators.


@trouble
async def group_paused(stage: Stage) -> None:
    """Somebody has paused the group that the case needs."""
    await stage.ask("pause", group="yard")
    await stage.hire()
    await stage.owed("HandOver")


@trouble
async def workflow_paused(stage: Stage) -> None:
    """Somebody has paused the group of the workflow."""
    await stage.ask("pause", group=_workflow_group(stage))
    await stage.hire()
    await stage.owed("HireAsked")


@trouble
async def cancelled(stage: Stage) -> None:
    """Somebody has cancelled the run."""
    await stage.hire()
    await stage.said(Waiting)
    await stage.ask("cancel", case=stage.case)
    await stage.over()


# What comes from outside.


@trouble
async def undecodable(stage: Stage) -> None:
    """A foreign message does not fit its type."""
    await stage.hire()
    await stage.put("NoteLeft", {"hire_id": stage.key, "text": 5})
    await stage.owed("NoteLeft", "dead")


@trouble
async def unknown_type(stage: Stage) -> None:
    """A foreign message is of a type that nobody knows."""
    await stage.hire()
    await stage.put("Unheard", {"hire_id": stage.key})
    await stage.owed("Unheard", "dead")


@trouble
async def no_run(stage: Stage) -> None:
    """A message comes for a workflow that has not begun."""
    await stage.say("HireAgreed")
    await stage.said(NoRun)


@trouble
async def after_end(stage: Stage) -> None:
    """A message comes after its run has given up waiting for it."""
    await person(stage)
    stage.leap(3)
    await stage.over()
    await stage.say("HireAgreed")
    await stage.said(NoRun)


@trouble
async def lost(stage: Stage) -> None:
    """The wire loses what it is given."""
    stage.wire.drop = 1.0
    await stage.hire()


# The business says no, or nothing.


@trouble
async def noop(stage: Stage) -> None:
    """A handler does nothing, and says why."""
    await stage.hire()
    await stage.said(Handled, outcome="noop")
    await stage.over()


@trouble
async def answered_otherwise(stage: Stage) -> None:
    """There is no van."""
    await stage.hire()
    await stage.over()


@trouble
async def declined(stage: Stage) -> None:
    """The card is declined, and what was done is undone."""
    await stage.hire()
    await stage.over()


@trouble
async def compensation_fails(stage: Stage) -> None:
    """What is to be undone can't be."""
    await stage.hire()
    # In choreography the reaction and its command are one unit: what dies is the event that led to both.
    await stage.owed(*("CardDeclined", "dead") if stage.form == "choreography" else ("FreeVan", "held"))


@trouble
async def no_end(stage: Stage) -> None:
    """The process stops short of its end."""
    await stage.hire()
    await stage.said(Published, type="HireConfirmed")
    await stage.over_but_for()


# Time.


@trouble
async def person(stage: Stage) -> None:
    """A clerk has to decide."""
    await stage.hire()
    await stage.over_but_for()


@trouble
async def overdue(stage: Stage) -> None:
    """A clerk should have decided an hour ago."""
    await person(stage)
    stage.leap(3)


@trouble
async def timer(stage: Stage) -> None:
    """A run sleeps."""
    await stage.hire()
    await stage.said(Waiting)


@trouble
async def timer_missed(stage: Stage) -> None:
    """The engine is down when a run's time is over."""
    await person(stage)
    await stage.stop()
    stage.leap(3)


@trouble
async def delayed(stage: Stage) -> None:
    """A message is to be handled later."""
    await stage.hire()
    await stage.owed("ReminderDue", "delayed")
    await stage.over_but_for("ReminderDue")


@trouble
async def doomed(stage: Stage) -> None:
    """Something is waited for that nothing can bring about."""
    await stage.hire()
    await stage.over_but_for()


@trouble
async def withdrawn(stage: Stage) -> None:
    """A call is taken back before anybody began it."""
    await stage.ask("pause", group="card")
    await stage.hire()
    await stage.said(Published, type="TakeDeposit")  # a slow restart may take it back before anybody looks
    await stage.pass_time(days=0.01)
    await stage.ask("resume", group="card")
    await stage.over()


@trouble
async def timed_out(stage: Stage) -> None:
    """A call has no answer in time: whether it was done is not known, so it is undone."""
    await stage.hire()
    await stage.over()


@trouble
async def undo_waits(stage: Stage) -> None:
    """The same, while the handling still goes on: its undo waits behind it."""
    await stage.hire()
    await stage.owed("ReturnDeposit")


# No engine.


@trouble
async def request_left(stage: Stage) -> None:
    """A request is left for the next engine."""
    await stage.up()
    await stage.stop()
    await stage.leave("emit", type="HireAsked", data=stage.body())


@trouble
async def engine_gone(stage: Stage) -> None:
    """The engine dies while something is owed."""
    await stage.hire()
    await stage.owed("HandOver")
    stage.kill_for_good()


@trouble
async def turned_down(stage: Stage) -> None:
    """A request is left for the next engine, which refuses it."""
    await stage.ask("emit", under="used", type="HireAsked", data=stage.body(f"healthy-{stage.key}"))
    await stage.stop()
    await stage.leave("emit", under="used", type="HireAsked", data=stage.body())
    stage.start()
    await stage.said(Answered)
