"""Why an outcome has not happened: from it backwards, over who could produce it, to what stands in the way.

The recursion is that of negative provenance (Wu et al., SIGCOMM 2014), with contracts for rules: an outcome needs one
of its producers, a producer needs its input handled or its run moved. Each type is asked for once, so the tree is as
large as the app and no larger.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from partita.errors import NotFound, suggest
from partita.messages.topology import Edge, Topology, WorkflowEntry
from partita.monitor.cases import dead_id
from partita.monitor.chart import case_type_of, chart_of, workflow_outcomes
from partita.monitor.ends import explain_end, explain_given, explain_step_end
from partita.monitor.fold import recompute
from partita.monitor.handlings import explain_handling, explain_run, explain_sleep, explain_step, explain_wait
from partita.monitor.leaves import BROKEN, Asking, Found, WhyNode
from partita.monitor.ledger import Ledger, RunTrail
from partita.monitor.state import QUARANTINE, message_of
from partita.monitor.verdict import judge, open_waits
from partita.store import facts
from partita.store.facts import Fact
from partita.store.port import GroupRow, RunRow

NAMED_MAX = 100
"""Names offered where one is unknown."""


class WhyTree(msgspec.Struct, frozen=True, kw_only=True):
    """Why an outcome has not happened in a case, or when it did."""

    case: str
    outcome: str
    happened: bool
    leading: WhyNode
    """The cause that blocks nearest to the outcome, without what lies below it."""
    root: WhyNode


def why(
    case: str,
    outcome: str,
    *,
    facts: Sequence[Fact],
    topology: Topology,
    groups: Sequence[GroupRow] = (),
    runs: Sequence[RunRow] = (),
    engine_running: bool,
    now: int,
    outbox: Iterable[str] = (),
    past: Sequence[Topology] = (),
    list_facts: Callable[[str], Sequence[Fact]] = lambda _case: (),
) -> WhyTree:
    """Explain a missing event, command, step or handler. `facts` are all of the case, by seq.

    `past` are the topologies that some of them were written under: what a deploy took away can still be asked for.
    `list_facts` has those of another case, where a run waits for its child or its call there.
    Raises NotFound for a name that neither the app nor the case knows.
    """
    chart = chart_of(topology)
    others: dict[str, Asking | None] = {}
    children: set[str] = set()

    def find_other(name: str) -> Asking | None:
        if name not in others:
            said = list_facts(name)
            others[name] = ask(name, said, ()) if said else None
        return others[name]

    def ask(name: str, said: Sequence[Fact], rows: Sequence[RunRow]) -> Asking:
        state = recompute(name, said, lambda _version: topology)
        return Asking(
            case=name,
            outcome=outcome,
            ledger=Ledger(state, said, chart),
            state=state,
            chart=chart,
            groups=groups,
            runs=rows,
            engine_running=engine_running,
            now=now,
            outbox=frozenset(outbox),
            past=past,
            find_other=find_other,
            children=children,
        )

    asking = others[case] = ask(case, facts, runs)
    root = _explain(asking, outcome)
    leading = _leading(root)
    if leading.strength > 1:
        instead = (*_left_behind(asking, outcome), *_quiet(asking, outcome))
        root = msgspec.structs.replace(root, needs=(*instead, *root.needs))
        leading = instead[0] if instead else leading
    return WhyTree(
        case=case,
        outcome=outcome,
        happened=leading.leaf == "produced",
        leading=msgspec.structs.replace(leading, needs=()),
        root=root,
    )


def _explain(asking: Asking, outcome: str) -> WhyNode:
    ledger, topology = asking.ledger, asking.topology
    apps = (topology, *asking.past)
    types = {message.name for one in apps for message in one.messages if message.kind != "query"}
    workflows = {workflow.name for one in apps for workflow in one.workflows}
    workflows |= {run.workflow for run in ledger.runs.values()}
    handlers: dict[str, list[tuple[str, str]]] = {}
    for key, edge in (item for one in apps for item in chart_of(one).edges.items()):
        if edge.form != "workflow":
            handlers.setdefault(edge.handler.rpartition(".")[2], []).append(key)
    if outcome in types or ledger.published(outcome):
        return _about_message(asking, outcome)
    if outcome in workflows and (ledger.runs_of(outcome) or outcome not in ledger.steps):
        return _about_workflow(asking, outcome)
    if outcome in ledger.names():
        return _about_step(asking, outcome)
    if outcome in handlers:  # One function may handle several types: of those that came, if any did.
        group, name = max(handlers[outcome], key=lambda key: bool(ledger.published(key[1])))
        return _about_handler(asking, group, name, outcome)
    known = sorted({*types, *workflows, *handlers, *ledger.names()})
    near = suggest(outcome, known)
    raise NotFound(f"nothing is called {outcome!r} in app {topology.app!r} or in {asking.case}", near or _list(known))


def _list(known: Sequence[str]) -> str:
    more = f", or of {len(known) - NAMED_MAX} more" if len(known) > NAMED_MAX else ""
    return f"Ask for one of {', '.join(known[:NAMED_MAX])}{more}." if known else ""


def _left_behind(asking: Asking, outcome: str) -> Iterator[WhyNode]:
    """What this code does not know any more: the groups that were owed something, and the workflows of open runs."""
    for fact in asking.ledger.by_id.values():
        body = fact.body
        for group in body.owes if isinstance(body, facts.Published) else ():
            if isinstance(body, facts.Published) and (group, body.type) not in asking.chart.edges:
                node = explain_handling(asking, fact, group, outcome).node
                if node.leaf == "group_gone":
                    yield node
    for run in asking.ledger.runs.values():
        if run.workflow not in asking.chart.workflows and run.ended is None:
            yield from (found.node for found in explain_run(asking, run, outcome))


def _quiet(asking: Asking, outcome: str) -> Iterator[WhyNode]:
    """What can be said of a case that nothing moves any more, where no branch of the flow says it better."""
    state = asking.state
    judged = judge(state, asking.topology, asking.now)
    if judged.verdict in {"done", "compensated", "failed"} and state.ended is not None and not state.owed:
        sentence = f"{asking.case} came to its end with {state.ended.type}, without {outcome}"
        ended = [fact for fact in asking.ledger.published(state.ended.type) if fact.seq == state.ended.seq]
        yield asking.leaf("took_other_branch", state.ended.type, sentence, evidence=ended)
    elif judged.verdict == "dead-ended" and state.refused is not None:
        yield from _turned_down(asking, state.refused.type)
    elif judged.verdict == "dead-ended" and state.latest is not None and state.latest.alone and state.over is None:
        sentence = f"{state.latest.type} was published, and no group handles it"
        latest = [fact for fact in asking.ledger.published(state.latest.type) if fact.seq == state.latest.seq]
        command = "partita flow --declared"
        yield asking.leaf("no_subscriber", state.latest.type, sentence, command=command, evidence=latest)


# What has been said of the outcome itself.


def _about_message(asking: Asking, outcome: str) -> WhyNode:
    published = asking.ledger.published(outcome)
    if not published:
        return explain_given(asking, outcome) or _missing(asking, outcome)
    last = published[-1]
    body = last.body
    assert isinstance(body, facts.Published)
    below = [
        explain_handling(asking, last, group, outcome).node for group in body.owes if _unfinished(asking, body, group)
    ]
    if body.command and below:
        return WhyNode(what=outcome, sentence=f"{outcome} was sent, and is not handled", needs=tuple(below))
    produced = asking.leaf(
        "produced", outcome, f"{outcome} happened at {asking.when(last.at)}", evidence=[*published[-3:]]
    )
    return msgspec.structs.replace(produced, needs=tuple(below))


def _unfinished(asking: Asking, body: facts.Published, group: str) -> bool:
    """Whether a group still owes a message, or ended it without doing what a command says."""
    if f"{body.id} {group}" in asking.state.owed:
        return True
    trail = asking.ledger.handlings.get((body.id, group), [])
    last = trail[-1].body if trail else None
    if not body.command or last is None:
        return False
    return not isinstance(last, facts.Handled | facts.Received) or (
        isinstance(last, facts.Handled) and last.outcome != "ok"
    )


def _about_step(asking: Asking, name: str) -> WhyNode:
    for run_id, run in asking.state.runs.items():
        for step in run.open.steps if run.open else ():
            if step.name == name:
                return _below(asking, explain_step(asking, step, run_id))
        for sleep in run.open.sleeps if run.open else ():
            if sleep.name == name:
                return explain_sleep(asking, sleep, run_id, evidence=[])
    return explain_step_end(asking, name) or _missing(asking, name)


def _about_workflow(asking: Asking, name: str) -> WhyNode:
    """How its last run ended, or what that stands at; without one, why none was started."""
    runs, known = asking.ledger.runs_of(name), asking.chart.workflows.get(name)
    if runs and runs[-1].ended is not None:
        return explain_end(asking, runs[-1], runs[-1].ended)
    if runs:
        return _through_run(asking, runs[-1], name, f"run {runs[-1].run} has not ended")
    owed = next(_owed_requests(asking, name), None)
    if owed is not None:
        return owed
    if known is not None:
        return _through_workflow(asking, known, name)
    return asking.leaf("group_gone", name, f"workflow {name} is not in this code; deploy it again")


def _about_handler(asking: Asking, group: str, message_type: str, handler: str) -> WhyNode:
    published = asking.ledger.published(message_type)
    if not published:
        sentence = f"{handler} handles {message_type}, which has not been published"
        return WhyNode(what=handler, sentence=sentence, needs=(_missing(asking, message_type),))
    body = published[-1].body
    trail = asking.ledger.handlings.get((body.id, group), []) if isinstance(body, facts.Published) else []
    last = trail[-1] if trail else None
    if last is not None and isinstance(last.body, facts.Handled) and last.body.outcome == "ok":
        sentence = f"{handler} handled {message_type} at {asking.when(last.at)}"
        return asking.leaf("produced", handler, sentence, evidence=[last])
    return explain_handling(asking, published[-1], group, handler).node


# What could still produce it.


def _missing(asking: Asking, name: str) -> WhyNode:
    """A type that has not been published: one node for each that could, each type once."""
    if name in asking.seen:
        return WhyNode(what=name, sentence=f"{name}: see above")
    asking.seen.add(name)
    needs = [*_owed_requests(asking, name), *_raw(asking, name)]
    if not needs:
        needs += [_through_edge(asking, group, edge, name) for group, edge in _producers(asking, name)]
        senders = [workflow for workflow in asking.topology.workflows if name in workflow_outcomes(workflow)]
        senders += [
            one for one in asking.topology.workflows if one.takes == name and not asking.ledger.runs_of(one.name)
        ]
        needs += [_through_workflow(asking, workflow, name) for workflow in senders]
        needs += _unhandled(asking, name)
        needs += _turned_down(asking, name)
        needs += _from_outside(asking, name)
    if not needs:
        sentence = f"nothing in app {asking.topology.app!r} publishes {name}"
        message, publisher = asking.topology.message_by_name.get(name), asking.publisher_of(name)
        if publisher is not None:
            sentence = f"workflow {publisher} is to publish {name}, and is not in this code; deploy it again"
        elif message is not None and message.kind == "event":
            sentence += "; if it comes from outside, declare it so: external=..."
        return asking.leaf("never_produced", name, sentence, command=asking.signal(name))
    if len(needs) == 1 and needs[0].what == name:
        return needs[0]
    return WhyNode(what=name, sentence=f"{name} has not happened", needs=tuple(needs))


def _producers(asking: Asking, name: str) -> Iterator[tuple[str, Edge]]:
    for (group, message_type), edge in asking.chart.edges.items():
        if edge.form != "workflow" and name in asking.chart.outcomes(group, message_type):
            yield group, edge


def _owed_requests(asking: Asking, name: str) -> Iterator[WhyNode]:
    for fact in asking.ledger.requests:
        body = fact.body
        if isinstance(body, facts.Requested) and body.type == name and body.id in asking.state.asked:
            if asking.engine_running:
                yield asking.leaf(
                    "in_progress", name, f"the engine is taking the request to {body.op}", evidence=[fact]
                )
            else:
                sentence = f"{name} is asked for since {asking.when(fact.at)}, but no engine is running"
                yield asking.leaf("engine_not_running", name, sentence, command="partita dev", evidence=[fact])


def _turned_down(asking: Asking, name: str) -> Iterator[WhyNode]:
    """The last request for it, where an engine refused it and nobody has asked again since."""
    asked = [fact for fact in asking.ledger.requests if getattr(fact.body, "type", "") == name]
    body = asked[-1].body if asked else None
    refused = asking.ledger.turned_down.get(body.id) if isinstance(body, facts.Requested) else None
    if isinstance(body, facts.Requested) and refused is not None and isinstance(refused.body, facts.Answered):
        sentence = f"the request to {f'{body.op} {name}'.strip()} was turned down: {refused.body.why}"
        sends: dict[str, Callable[[str], str]] = {"start": asking.start, "emit": asking.signal, "send": asking.signal}
        command = sends[body.op](name) if body.op in sends else ""
        yield asking.leaf("turned_down", name or body.op, sentence, command=command, evidence=[asked[-1], refused])


def _raw(asking: Asking, name: str) -> Iterator[WhyNode]:
    for key, owed in asking.state.owed.items():
        if owed.group == QUARANTINE and owed.type == name:
            message = message_of(key, owed)
            said = [fact for fact in asking.ledger.quarantined if getattr(fact.body, "id", "") == message]
            reason = "; ".join(fact.body.reason for fact in said if isinstance(fact.body, facts.Quarantined))
            command = f"partita dead discard {shlex.quote(dead_id(message, QUARANTINE))}"
            sentence = f"{name} came in and can't be handled: {reason}"
            yield asking.leaf("quarantined", name, sentence, command=command, evidence=said[-1:])
    for fact in asking.ledger.quarantined:
        body = fact.body
        if isinstance(body, facts.Quarantined) and body.type == name:
            said = asking.ledger.handlings.get((body.id, QUARANTINE), [])
            if said and isinstance(said[-1].body, facts.Discarded):
                sentence = f"{name} came in, could not be handled ({body.reason}), and was discarded"
                yield asking.leaf("discarded", name, sentence, evidence=[fact, said[-1]])


def _unhandled(asking: Asking, name: str) -> Iterator[WhyNode]:
    """The commands that are answered so, and that a workflow calls though no service of this code handles them."""
    handled = {message_type for _, message_type in asking.chart.edges}
    called = {command for workflow in asking.topology.workflows for command in workflow.calls}
    for message in asking.topology.messages:
        if name in message.answers and message.name in called - handled:
            sentence = f"{name} would answer {message.name}, which no service of this code handles"
            yield WhyNode(what=message.name, sentence=sentence, needs=(_missing(asking, message.name),))


def _through_edge(asking: Asking, group: str, edge: Edge, outcome: str) -> WhyNode:
    published = asking.ledger.published(edge.type)
    if not published:
        needs = (_missing(asking, edge.type),)
        sentence = f"{group} would answer {edge.type} with {outcome}, but {edge.type} has not been published"
        return WhyNode(what=edge.type, sentence=sentence, needs=needs)
    found = [explain_handling(asking, fact, group, outcome) for fact in reversed(published)]
    return _below(asking, min(found, key=lambda one: one.node.strength))


def _through_workflow(asking: Asking, workflow: WorkflowEntry, outcome: str) -> WhyNode:
    runs = asking.ledger.runs_of(workflow.name)
    if runs:
        return _through_run(asking, runs[-1], outcome, f"run {runs[-1].run} has not come to {outcome}")
    refused = tuple(_turned_down(asking, workflow.name))
    if workflow.starts_on is None:
        if refused:
            return refused[0]
        parents = _parents(asking, workflow)
        if parents:
            sentence = f"{workflow.name} is a child of {' or '.join(one.name for one in parents)}, and was not started"
            needs = tuple(_through_workflow(asking, one, outcome) for one in parents)
            return WhyNode(what=workflow.name, sentence=sentence, needs=needs)
        sentence = f"no run of {workflow.name} was started"
        return asking.leaf("never_produced", workflow.name, sentence, command=asking.start(workflow.name))
    started_by = asking.ledger.published(workflow.starts_on)
    if started_by:
        return _below(asking, explain_handling(asking, started_by[-1], workflow.group, outcome))
    sentence = f"{workflow.name} starts on {workflow.starts_on}, which has not been published"
    needs = (*refused, *_strays(asking, workflow, outcome), _missing(asking, workflow.starts_on))
    return WhyNode(what=workflow.name, sentence=sentence, needs=needs)


def _through_run(asking: Asking, run: RunTrail, outcome: str, sentence: str) -> WhyNode:
    nodes = [_below(asking, found) for found in explain_run(asking, run, outcome)]
    return nodes[0] if len(nodes) == 1 else WhyNode(what=run.workflow, sentence=sentence, needs=tuple(nodes))


def _parents(asking: Asking, workflow: WorkflowEntry) -> list[WorkflowEntry]:
    """The workflows that start one as a child; none the second time, since they may start one another."""
    mark = f"parents of {workflow.name}"
    if mark in asking.seen:
        return []
    asking.seen.add(mark)
    return [one for one in asking.topology.workflows if workflow.name in one.children and one.name != workflow.name]


def _strays(asking: Asking, workflow: WorkflowEntry, outcome: str) -> Iterator[WhyNode]:
    """What came for a workflow that had not begun."""
    for (message, group), said in asking.ledger.handlings.items():
        published = asking.ledger.by_id.get(message)
        if group == workflow.group and isinstance(said[-1].body, facts.NoRun) and published is not None:
            yield explain_handling(asking, published, group, outcome).node


def _below(asking: Asking, found: Found) -> WhyNode:
    """A node, with why the types that it comes down to are missing."""
    if found.child:
        return _through_child(asking, found)
    if not found.asks:
        return found.node
    needs = tuple(_missing(asking, name) for name in found.asks if not asking.ledger.published(name))
    if found.node.leaf is None and not needs:  # Each has come before, and was not this wait's.
        command = asking.signal_for(found.asks) or f"partita show {shlex.quote(asking.case)}"
        return msgspec.structs.replace(found.node, leaf="waiting_for", command=command)
    return msgspec.structs.replace(found.node, needs=(*found.node.needs, *needs))


def _through_child(asking: Asking, found: Found) -> WhyNode:
    """A wait for a child run: what the child stands at is the cause, with the command that mends it in its own case."""
    inside = asking.find_child(found.child)
    if inside is None:
        return found.node
    there, run = inside
    needs = tuple(_below(there, one) for one in explain_run(there, run, asking.outcome))
    return msgspec.structs.replace(found.node, leaf=None, needs=needs)


def _from_outside(asking: Asking, name: str) -> Iterator[WhyNode]:
    """What is sent from outside: a strong leaf only where the case waits for it, or for what answers it."""
    message = asking.topology.message_by_name.get(name)
    if message is None or message.external is None:
        other = message.case_type if message is not None else None
        if other is not None and other != case_type_of(asking.case):
            sentence = f"{name} belongs to cases of type {other}, not to {asking.case}"
            yield asking.leaf("other_case", name, sentence, command="partita ps")
        return
    wanted = {name, *message.answers}
    for wait in open_waits(asking.state):
        if not wanted.isdisjoint(wait.types):
            waiter = f"run {wait.run}" if wait.run else asking.case
            node = explain_wait(asking, wait, waiter, evidence=[]).node
            yield msgspec.structs.replace(node, what=name, command=asking.signal(name))
            return
    sentence = f"{name} comes from {message.external}, and has not come"
    leaf = asking.leaf("waiting_for", name, sentence, command=asking.signal(name))
    yield msgspec.structs.replace(leaf, weak=bool(asking.state.home))


# The one that leads.


def _leading(root: WhyNode) -> WhyNode:
    """The strongest leaf: the nearest of what stands in the way now, else the latest of what went another way."""
    best, best_key, level = root, _key(root, 0), [root]
    depth = 0
    while level:
        for node in level:
            key = _key(node, depth)
            if key < best_key:
                best, best_key = node, key
        level = [below for node in level if node.leaf != "produced" for below in node.needs]
        depth += 1
    return best


def _key(node: WhyNode, depth: int) -> tuple[int, int, bool, int]:
    latest = max((fact.seq for fact in node.evidence), default=0)
    return (node.strength, -latest if node.strength == 1 else 0, not _is_broken(node), depth)


def _is_broken(node: WhyNode) -> bool:
    """Whether it stands until somebody mends it, or behind something that does."""
    return node.leaf in BROKEN or (node.leaf == "blocked_by" and any(map(_is_broken, node.needs)))
