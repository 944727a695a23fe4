"""A trail written by hand: the facts that the engine's rooms would write, in the order in which they would."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from partita.clock import US
from partita.messages.envelope import Cause
from partita.messages.topology import Topology
from partita.monitor.cases import CaseView, Where, show, where
from partita.monitor.fold import CaseProjection, recompute
from partita.monitor.state import CaseState
from partita.monitor.why import WhyTree, why
from partita.store.facts import (
    Body,
    ChoreographedWait,
    Fact,
    Handled,
    Incident,
    Open,
    OpenStep,
    OpenWait,
    Published,
    Received,
    Returned,
    Started,
    Stepped,
    Waiting,
)
from partita.store.port import CaseRow, GroupRow

START = 1_700_000_000 * US
RUN = "fulfil/order:1/1"


def seconds(count: float) -> int:
    return round(count * US)


class Trail:
    """Facts of one case. Each is said one second after the one before it."""

    def __init__(self, topology: Topology, case: str = "order:1") -> None:
        self.topology = topology
        self.case = case
        self.facts: list[Fact] = []
        self.now = START
        self.groups: list[GroupRow] = []
        self.engine_running = True
        self.others: dict[str, list[Fact]] = {}
        """The facts of other cases that stand in the same store."""
        self._run_n: dict[str, int] = {}
        self._sent = 0

    def say(self, body: Body, *, run: str | None = None, case: str | None = None, **head: Any) -> Fact:
        self.now += US
        if run is not None:
            self._run_n[run] = self._run_n.get(run, 0) + 1
        seq = len(self.facts) + 1
        fact = Fact(
            seq=seq,
            source="s1",
            n=seq,
            kind=body.kind,
            at=self.now,
            case=case or self.case,
            run=run,
            run_n=self._run_n.get(run or ""),
            code=self.topology.version,
            body=body,
            **head,
        )
        self.facts.append(fact)
        return fact

    def publish(self, name: str, *, run: str | None = None, step: str | None = None, **more: Any) -> str:
        """Publish an event or send a command under this topology; returns its id."""
        self._sent += 1
        message = self.topology.message_by_name.get(name)
        head = {key: more.pop(key) for key in ("also", "causes") if key in more}
        head_case = more.pop("head_case", None)
        body: dict[str, Any] = {
            "id": f"m{self._sent}",
            "case": self.case,
            "owes": self.topology.owing.get(name, ()),
            "command": message is not None and message.kind == "command",
            "ends": message.ends if message else None,
            "external": message.external if message else None,
            "by": "fulfil" if run else "shop",
        }
        self.say(Published(type=name, step=step, **(body | more)), run=run, case=head_case, **head)
        return str((body | more)["id"])

    def handle(self, message: str, group: str, *emits: str, run: str | None = None, **more: Any) -> list[str]:
        """Handle a message, then publish what the handler emits; returns the ids of that."""
        kind = self.type_of(message)
        sent = self.topology.message_by_name.get(kind)
        ids = [f"m{self._sent + index + 1}" for index in range(len(emits))]
        answer = emits[0] if emits and sent is not None and sent.kind == "command" else None
        body: dict[str, Any] = {"answer_type": answer, "emitted": tuple(ids), "case": self.case}
        self.say(Handled(message=message, group=group, type=kind, **(body | more)), run=run)
        return [self.publish(name, by=group, causes=(Cause(message, group, 1),)) for name in emits]

    def react(self, message: str, group: str, command: str, *answers: str) -> list[str]:
        """A reaction and its own service's handler in one unit, under one receipt."""
        (sent,) = self.handle(message, group, command)
        ids = [f"m{self._sent + index + 1}" for index in range(len(answers))]
        answer = answers[0] if answers else None
        body = Handled(
            message=sent, group=group, type=command, answer_type=answer, emitted=tuple(ids), case=self.case, via=group
        )
        self.say(body)
        return [self.publish(name, by=group) for name in answers]

    def wait(self, message: str, group: str, *types: str, who: str | None = None, until: int | None = None) -> None:
        """A handler's answer that keeps the case open."""
        self.handle(message, group, waits=(ChoreographedWait(types=types, until=until, who=who),))

    def type_of(self, message: str) -> str:
        found = [fact.body for fact in self.facts if isinstance(fact.body, Published)]
        return next(body.type for body in found if body.id == message)

    # Runs.

    def start(self, message: str, **more: Any) -> None:
        self.say(Started(workflow="fulfil", message=message, type=self.type_of(message), **more), run=RUN)

    def call(self, command: str, *, step: str | None = None, **more: Any) -> str:
        return self.publish(command, run=RUN, step=step or f"{command}#1", **more)

    def answer(self, message: str, group: str, *emits: str, **more: Any) -> list[str]:
        return self.handle(message, group, *emits, run=RUN, step=f"{self.type_of(message)}#1", **more)

    def receive(self, *types: str, until: int | None = None) -> None:
        """The run now waits for one of these."""
        since = self.now + US
        opened = OpenWait(step="receive#1", types=types, since=since, until=until)
        self.say(Waiting(open=Open(waits=(opened,), wakes=until)), run=RUN)

    def open_step(self, name: str) -> None:
        since = self.now + US
        self.say(Waiting(open=Open(steps=(OpenStep(step=f"{name}#1", name=name, since=since),))), run=RUN)

    def sleep(self, due: int) -> None:
        since = self.now + US
        sleeping = OpenStep(step="sleep#1", name="sleep", since=since, due=due)
        self.say(Waiting(open=Open(sleeps=(sleeping,), wakes=due)), run=RUN)

    def step_done(self, name: str, opened: Open | None = None) -> None:
        self.say(Stepped(step=f"{name}#1", open=opened or Open()), run=RUN)

    def received(self, message: str) -> None:
        body = Received(message=message, type=self.type_of(message), group="workflow:fulfil", case=self.case)
        self.say(body, run=RUN)

    def stop(self, step: str | None = None) -> None:
        self.say(Incident(error="KeyError", text="'parcel'", step=step), run=RUN)

    def returned(self, **more: Any) -> None:
        self.say(Returned(**more), run=RUN)

    # Questions.

    def state(self) -> CaseState:
        return recompute(self.case, self.facts, lambda _: self.topology)

    def where(self, after_s: float = 0) -> Where:
        return where(self.state(), self.topology, self.now + seconds(after_s))

    def row(self) -> CaseRow:
        return CaseProjection(lambda _: self.topology).fold(self.case, None, self.facts)

    def show(self, after_s: float = 0) -> CaseView:
        return show(self.state(), self.facts, self.topology, groups=self.groups, now=self.now + seconds(after_s))

    def why(self, outcome: str, after_s: float = 0, *, past: Sequence[Topology] = ()) -> WhyTree:
        return why(
            self.case,
            outcome,
            facts=self.facts,
            topology=self.topology,
            groups=self.groups,
            engine_running=self.engine_running,
            now=self.now + seconds(after_s),
            past=past,
            list_facts=lambda case: self.others.get(case, ()),
        )

    def when(self, index: int) -> int:
        """The instant of the first fact, of the last for -1."""
        return self.facts[index].at


def fold_in_batches(trail: Sequence[Fact], case: str, topology: Topology, cuts: Sequence[int]) -> CaseRow:
    """The row after the trail was folded batch by batch, as a store would."""
    projection = CaseProjection(lambda _: topology)
    row: CaseRow | None = None
    places = sorted({0, len(trail), *(cut % (len(trail) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        row = projection.fold(case, row.state if row else None, trail[start:end])
    assert row is not None
    return row
