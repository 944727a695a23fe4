"""Leaves of *why*: one cause each, with the facts that prove it and one command that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from partita.clock import to_datetime
from partita.messages.envelope import case_of_run
from partita.messages.topology import MessageEntry, Topology
from partita.monitor.chart import Chart, case_type_of
from partita.monitor.ledger import Ledger, RunTrail
from partita.monitor.state import CaseState
from partita.monitor.story import tell
from partita.retry import say_duration
from partita.store.facts import Fact
from partita.store.port import GroupRow, RunRow

Leaf = Literal[
    "produced",
    "dead",
    "call_held",
    "run_failed_at",
    "quarantined",
    "group_paused",
    "group_gone",
    "nobody_handles",
    "engine_not_running",
    "retrying_at",
    "blocked_by",
    "in_outbox",
    "in_progress",
    "timer_pending",
    "waiting_for",
    "doomed_wait",
    "waits_on_itself",
    "noop",
    "took_other_branch",
    "call_failed",
    "step_failed",
    "discarded",
    "withdrawn",
    "no_subscriber",
    "no_run",
    "turned_down",
    "other_case",
    "never_produced",
]
STRENGTH: dict[Leaf, int] = {
    "noop": 1,
    "took_other_branch": 1,
    "call_failed": 1,
    "step_failed": 1,
    "discarded": 1,
    "withdrawn": 1,
    "no_subscriber": 1,
    "no_run": 1,
    "turned_down": 1,
    "other_case": 2,
    "never_produced": 3,
}
"""0 where something stands in the way now; then what went another way; then what nobody has begun. Lowest leads."""
BROKEN: frozenset[Leaf] = frozenset(
    {
        "dead",
        "call_held",
        "run_failed_at",
        "nobody_handles",
        "quarantined",
        "group_paused",
        "group_gone",
        "waits_on_itself",
    }
)
"""What stands until somebody mends it: it leads what goes on by itself, however far away it is."""
CHILDREN_MAX = 100
"""How many child runs one question looks into: each may lie in a case of its own, with facts to be read."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that proves a leaf."""

    seq: int
    at: datetime
    text: str


class WhyNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer on the way from the missing outcome to its causes; a leaf where it names a cause itself."""

    what: str
    sentence: str
    leaf: Leaf | None = None
    weak: bool = False
    """Nothing in the case waits for it: it only could have come."""
    evidence: tuple[Evidence, ...] = ()
    command: str | None = None
    """What mends it."""
    needs: tuple[WhyNode, ...] = ()

    @property
    def strength(self) -> int:
        """How much this leaf explains; the lowest leads."""
        if self.leaf is None:
            return 9
        return 3 if self.weak else STRENGTH.get(self.leaf, 0)


class Found(NamedTuple):
    """A node, and what it comes down to, which is asked for below it: types that are absent, or a run's child."""

    node: WhyNode
    asks: tuple[str, ...] = ()
    child: str = ""


@dataclass(slots=True)
class Asking:
    """What one question is asked of."""

    case: str
    outcome: str
    ledger: Ledger
    state: CaseState
    chart: Chart
    groups: Sequence[GroupRow]
    runs: Sequence[RunRow]
    engine_running: bool
    now: int
    past: Sequence[Topology] = ()
    outbox: frozenset[str] = frozenset()
    """Messages that are not yet relayed, where the transport can tell."""
    seen: set[str] = field(default_factory=set[str])
    find_other: Callable[[str], Asking | None] = lambda _case: None
    """The same question, asked of another case."""
    children: set[str] = field(default_factory=set[str])
    """The child runs that were looked into, of all cases."""

    @property
    def topology(self) -> Topology:
        """The app as it is now."""
        return self.chart.topology

    def of_case(self, case: str) -> Asking | None:
        """What is asked of a case: this one, or another that it waits for."""
        return self if case == self.case else self.find_other(case)

    def find_child(self, run: str) -> tuple[Asking, RunTrail] | None:
        """A child that has not ended, in whichever case, where it was not looked into before."""
        if run in self.children or len(self.children) >= CHILDREN_MAX:
            return None
        self.children.add(run)
        inside = self.of_case(case_of_run(run))
        trail = inside.ledger.find_going(run) if inside is not None else None
        return None if inside is None or trail is None else (inside, trail)

    def leaf(
        self, leaf: Leaf, what: str, sentence: str, *, command: str = "", evidence: Iterable[Fact | None] = ()
    ) -> WhyNode:
        """A leaf; where nothing can be mended, its command shows the case."""
        return WhyNode(
            what=what,
            leaf=leaf,
            sentence=sentence,
            command=command or f"partita show {shlex.quote(self.case)}",
            evidence=tuple(self.prove(fact) for fact in evidence if fact is not None),
        )

    def prove(self, fact: Fact) -> Evidence:
        """A fact as evidence."""
        told = tell(fact, self.case)
        text = " ".join(word for word in (told.who, told.what, told.which) if word)
        return Evidence(seq=fact.seq, at=told.at, text=f"{text} ({told.note})" if told.note else text)

    def signal(self, message_type: str, *, again: bool = False) -> str:
        """The command that sends a message to the case by hand; fields that it needs are left to be filled in.

        Empty for what this code does not know, and for what a workflow is to say, and has not yet: by hand it would not
        be true.
        """
        message = self.topology.message_by_name.get(message_type)
        if message is None or (message.external is None and not again and self.publisher_of(message_type)):
            return ""
        return say_signal(self.case, message)

    def publisher_of(self, event: str) -> str | None:
        """The workflow that publishes an event, in this code or in one that the case has met; None where none does."""
        workflows = (workflow for one in (self.topology, *self.past) for workflow in one.workflows)
        return next((workflow.name for workflow in workflows if event in workflow.publishes), None)

    def start(self, workflow: str) -> str:
        """The command that starts a workflow for the case by hand; fields that it needs are left to be filled in."""
        known = self.chart.workflows.get(workflow)
        message = self.topology.message_by_name.get(known.starts_on or known.takes or "") if known is not None else None
        if message is None or message.case_field is None or message.case_type != case_type_of(self.case):
            return f"partita start {workflow} '{{...}}'"
        key = msgspec.json.encode(self.case.partition(":")[2]).decode()
        given = [f'"{name}": {key if name == message.case_field else "..."}' for name in message.fields]
        return f"partita start {workflow} {shlex.quote('{' + ', '.join(given) + '}')}"

    def signal_for(self, types: Sequence[str]) -> str:
        """The same for the first of several types that comes from outside, or for the command that is answered so."""
        for name in types:
            message = self.topology.message_by_name.get(name)
            if message is not None and message.external:
                return self.signal(name)
        for message in self.topology.messages:
            if message.kind == "command" and message.external and not set(types).isdisjoint(message.answers):
                return self.signal(message.name)
        return self.signal(types[0])

    def party_for(self, types: Sequence[str]) -> str | None:
        """Who sends one of these types from outside, if anybody does."""
        return next((self.chart.parties[name] for name in types if name in self.chart.parties), None)

    def when(self, at: int) -> str:
        """An instant, and how far away it is."""
        away = at - self.now
        side = "now" if away == 0 else f"in {say_duration(away)}" if away > 0 else f"{say_duration(-away)} ago"
        return f"{to_datetime(at).strftime('%Y-%m-%d %H:%M:%SZ')} ({side})"


def say_signal(case: str, message: MessageEntry) -> str:
    """The command that sends a message to a case by hand."""
    line = f"partita signal {shlex.quote(case)} {message.name}"
    if message.case_field is None:
        return f"{line} '{{...}}'"
    wanted = ", ".join(f'"{name}": ...' for name in message.fields if name != message.case_field)
    return f"{line} '{{{wanted}}}'" if wanted else line


def end_by_hand(state: CaseState, topology: Topology) -> str:
    """The command that ends a case whose run was cancelled without an end: by what says that it failed, or was undone.

    Empty where a cancellation is not why it has none, or where the app declares no such end.
    """
    over, ends = state.over, [one for one in topology.messages if one.ends in {"compensated", "failed"}]
    if over is None or over.how != "cancelled" or state.ended is not None or state.owed or state.runs:
        return ""
    own = sorted((one for one in ends if one.case_type == case_type_of(state.case)), key=lambda one: str(one.ends))
    return say_signal(state.case, own[0]) if own else ""
