"""An executor in memory: it records facts, numbers them, and after every turn rebuilds the run from its history.

Whatever a test does through a `Driver`, the rebuilt run has to stand where the live one stands.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Raw

from partita.messages.codec import encode
from partita.messages.message import describe, is_message
from partita.orchestration.asks import (
    Ask,
    AskCall,
    AskCancelChild,
    AskChild,
    AskPatched,
    AskPublish,
    AskStep,
    AskUndo,
)
from partita.orchestration.run import Ended, LiveRun, Raised
from partita.orchestration.workflow import Workflow
from partita.store.facts import (
    Barred,
    Body,
    CancelAsked,
    ChildEnded,
    ChildStarted,
    Discarded,
    Fact,
    Fired,
    Handled,
    Incident,
    Open,
    Patched,
    Published,
    Received,
    Retried,
    Returned,
    Started,
    Stepped,
    Waiting,
    Withdrawn,
)
from tests.unit.orchestration.words import CATALOG, OrderPlaced

US = 1_000_000
START = 1_780_000_000 * US
CASE = "order:1"


class Driver:
    """Drives one run. `began` says whether an attempt of a call has begun when its saga undoes it."""

    def __init__(self, definition: Workflow[Any, Any], message: Any = None, *, began: bool = True) -> None:
        self.definition = definition
        self.run = f"{definition.name}/{CASE}/1"
        self.history: list[Fact] = []
        self.messages: dict[str, Any] = {}
        self.now = START
        self.began = began
        self.asked: list[Ask] = []
        """Everything the live run ever asked for."""
        self.owed: list[Ask] = []
        """Asks that nothing records before they are done."""
        self.said_open = Open()
        self.inbox: deque[Fact] = deque()
        self.live = self.new_run()
        self.start(OrderPlaced() if message is None else message)

    def new_run(self, definition: Workflow[Any, Any] | None = None) -> LiveRun:
        return LiveRun(definition or self.definition, run=self.run, case=CASE, epoch=0, decode=CATALOG.decode)

    # What happens to the run.

    def start(self, message: Any) -> None:
        self.messages["m0"] = message
        self.turn(Started(workflow=self.definition.name, message="m0", correlation="c"), message)

    def answer(self, step: str, answer: Any = None) -> None:
        """The call's command was handled."""
        self.turn(self.handled(step, answer))

    def handled(self, step: str, answer: Any = None) -> Handled:
        name = describe(type(answer)).name if is_message(answer) else None
        outcome = "noop" if answer is None else "ok"
        raw = Raw(b"") if answer is None else Raw(encode(answer))
        return Handled(
            message=f"id {step}", group="g", type="?", step=step, outcome=outcome, answer_type=name, answer=raw
        )

    def fail(self, step: str, kind: str = "OSError", text: str = "broken", attempts: int = 5) -> None:
        """The call's handler raised, and its attempts are spent."""
        body = Handled(
            message="x", group="g", type="?", step=step, attempt=attempts, outcome="failed", error=kind,
            reason=f"{kind}: {text}",
        )  # fmt: skip
        self.turn(body)

    def discard(self, step: str, reason: str = "") -> None:
        self.turn(Discarded(message="x", group="g", step=step, by="ann", reason=reason))

    def stepped(self, step: str, value: Any = None) -> None:
        """A local step returned."""
        self.turn(self.stepped_body(step, value))

    def stepped_body(self, step: str, value: Any = None) -> Stepped:
        self.owed = [ask for ask in self.owed if getattr(ask, "step", None) != step or not isinstance(ask, AskStep)]
        return Stepped(step=step, value=Raw(encode(value)))

    def step_failed(self, step: str, kind: str = "OSError", text: str = "broken") -> None:
        self.stepped_body(step)
        self.turn(Stepped(step=step, error=kind, text=text, attempts=3))

    def make_steps(self) -> None:
        """Make the local steps that are owed, until there are none."""
        while steps := [ask for ask in self.owed if isinstance(ask, AskStep)]:
            ask = steps[0]
            self.stepped(ask.step, ask.fn(*ask.args, **ask.kwargs))

    def receive(self, message: Any) -> None:
        """A message came to the run's group."""
        self.turn(self.received(message), message)

    def received(self, message: Any) -> Received:
        message_id = f"m{len(self.messages)}"
        self.messages[message_id] = message
        return Received(message=message_id, type=describe(type(message)).name, group=self.definition.group)

    def child_ended(self, step: str, value: Any = None, error: str | None = None) -> None:
        self.owed = [ask for ask in self.owed if getattr(ask, "step", None) != step]
        self.turn(ChildEnded(step=step, child="c/order:1/1", value=Raw(encode(value)), error=error))

    def cancel(self) -> None:
        self.turn(CancelAsked(by="ann"))

    def advance(self, seconds: float) -> None:
        """Let time pass; every timer fires when it is due."""
        until = self.now + round(seconds * US)
        while (wakes := self.live.open().wakes) is not None and wakes <= until:
            self.now = max(wakes, self.now)
            self.turn(Fired(due=wakes))
        self.now = until

    # A turn.

    def turn(self, body: Body, message: Any = None) -> None:
        """One fact, and what follows from it."""
        self.turns([(body, message)])

    def turns(self, met: list[tuple[Body, Any]]) -> None:
        """Facts that come in one unit: each is applied, then what they all led to is recorded."""
        if self.live.outcome is not None:
            return
        facts = [self.record(body) for body, _ in met]
        for fact, (body, message) in zip(facts, met, strict=True):
            self.live.apply(fact.at, body, message)
        self.commit()
        while self.inbox and self.live.outcome is None:
            fact = self.inbox.popleft()
            self.live.apply(fact.at, fact.body)
            self.commit()
        self.check()

    def commit(self) -> None:
        outcome = self.live.outcome
        if isinstance(outcome, Raised):
            self.live.take()  # its turn is discarded
            step = self.live.last_step
            self.record(Incident(error=type(outcome.error).__name__, text=str(outcome.error), step=step))
            return
        for ask in self.live.take():
            self.asked.append(ask)
            self.write(ask)
        if isinstance(outcome, Ended):
            self.record(Returned(how=outcome.how))
        elif (now_open := self.live.open()) != self.said_open:
            self.said_open = now_open
            self.record(Waiting(open=now_open))

    def write(self, ask: Ask) -> None:
        match ask:
            case AskCall() | AskPublish():
                self.publish(ask.step, ask.command if isinstance(ask, AskCall) else ask.event)
            case AskChild(step=step, workflow=workflow):
                self.record(ChildStarted(step=step, child="c/order:1/1", workflow=workflow.name))
            case AskPatched(change=change):
                self.record(Patched(change=change))
            case AskUndo(step=step, call_step=call_step, called=called, command=command):
                name = describe(type(called)).name
                if self.began:
                    self.record(Barred(message="x", group="g", type=name, step=call_step))
                    self.publish(step, command)
                else:
                    self.inbox.append(self.record(Withdrawn(message="x", group="g", type=name, step=call_step)))
            case AskStep() | AskCancelChild():
                self.owed.append(ask)

    def publish(self, step: str, message: Any) -> None:
        found = describe(type(message))
        self.record(Published(id=f"id {step}", type=found.name, command=found.kind == "command", step=step))

    def record(self, body: Body) -> Fact:
        n = len(self.history) + 1
        fact = Fact(seq=n, source="s", n=n, kind=body.kind, at=self.now, run=self.run, run_n=n, body=body)
        self.history.append(fact)
        return fact

    # Replay.

    def check(self) -> None:
        """Rebuilt from its history, the run stands where it stands."""
        rebuilt = self.rebuild()
        try:
            if not isinstance(self.live.outcome, Raised):
                assert rebuilt.take() == self.still_owed()
            assert rebuilt.open() == self.live.open()
            assert shown(rebuilt.outcome) == shown(self.live.outcome)
            assert rebuilt.last_step == self.live.last_step
        finally:
            rebuilt.close()

    def still_owed(self) -> list[Ask]:
        """What a rebuilt run asks for again: no step that it has given up meanwhile."""
        waited_for = {opened.step for opened in self.live.open().steps}
        return [ask for ask in self.owed if not isinstance(ask, AskStep) or ask.step in waited_for]

    def rebuild(self, definition: Workflow[Any, Any] | None = None) -> LiveRun:
        """The run as its history makes it, perhaps by other code."""
        rebuilt = self.new_run(definition)
        rebuilt.replay(self.history, self.messages)
        return rebuilt

    def evict(self) -> None:
        """Let the run go and take it up again."""
        self.live.close()
        self.live = self.rebuild()
        assert self.live.take() == self.still_owed()

    def retry(self, definition: Workflow[Any, Any] | None = None, *, voids: tuple[int, ...] = ()) -> None:
        """Let a stopped run go on, perhaps by other code."""
        self.definition = definition or self.definition
        self.record(Retried(voids=voids))
        self.live.close()
        self.live = self.rebuild()
        self.owed = []
        self.commit()
        self.check()

    # What a test looks at.

    @property
    def value(self) -> Any:
        """What the run returned."""
        assert isinstance(self.live.outcome, Ended), self.live.outcome
        assert self.live.outcome.how == "returned"
        return self.live.outcome.value

    @property
    def error(self) -> BaseException:
        """What stopped the run."""
        assert isinstance(self.live.outcome, Raised), self.live.outcome
        return self.live.outcome.error

    @property
    def steps(self) -> list[str]:
        """The identities of all asks, in order."""
        return [ask.change if isinstance(ask, AskPatched) else ask.step for ask in self.asked]

    @property
    def kinds(self) -> list[str]:
        """The kinds of all facts, in order."""
        return [fact.kind for fact in self.history]


def shown(outcome: Any) -> Any:
    return (type(outcome.error), str(outcome.error)) if isinstance(outcome, Raised) else outcome
