"""What an app declares, worked out: its catalog, its topology, and who handles what under which policy.

Contradictions are refused here, at import: a command with two handlers, a wiring and a workflow that would both send
the same command, a service that is wired and not listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from partita.choreography.policy import EdgePolicy
from partita.choreography.service import Handler, Service, Wiring
from partita.errors import DefinitionError
from partita.messages.catalog import Catalog
from partita.messages.message import MessageType, describe, is_message_class
from partita.messages.topology import Edge, GroupEntry, MessageEntry, Policy, Topology, WorkflowEntry
from partita.orchestration.workflow import Workflow
from partita.retry import DEFAULT_RETRY, Retry, duration_us

AnyWorkflow = Workflow[Any, Any]
QUARANTINE = "quarantine"


@dataclass(slots=True)
class Declared:
    """Everything that follows from an app's declarations."""

    name: str
    catalog: Catalog = field(default_factory=Catalog)
    handlers: dict[tuple[str, str], Handler] = field(default_factory=dict[tuple[str, str], Handler])
    policies: dict[tuple[str, str], EdgePolicy] = field(default_factory=dict[tuple[str, str], EdgePolicy])
    workflows: dict[str, AnyWorkflow] = field(default_factory=dict[str, AnyWorkflow])
    topology: Topology = field(default_factory=lambda: Topology(app=""))


def work_out(
    name: str,
    *,
    services: Iterable[Service],
    workflows: Iterable[AnyWorkflow],
    wirings: Iterable[Wiring],
    retry: Retry | None,
) -> Declared:
    """Work out what an app declares. Raises DefinitionError for contradictions."""
    declared = Declared(name)
    services, wirings = list(services), list(wirings)
    _check_names(name, services)
    edges: dict[str, list[Edge]] = {}
    owners: dict[str, str] = {}
    known = {id(service) for service in services}
    for handler in [h for service in services for h in service.handlers] + [
        h for wiring in wirings for h in wiring.handlers
    ]:
        if id(handler.service) not in known:
            raise DefinitionError(
                f"wiring {handler.options.wiring!r} uses service {handler.service.name!r}, "
                f"which app {name!r} does not list\n"
                "Add it to services=[...]."
            )
        _add_handler(declared, handler, edges, owners, retry)
    for workflow in workflows:
        _add_workflow(declared, workflow, edges, owners)
    _check_forms(declared, wirings)
    groups = tuple(GroupEntry(name=group, service=owners[group], edges=tuple(found)) for group, found in edges.items())
    declared.topology = Topology(
        app=name,
        messages=_messages(declared, groups),
        groups=groups,
        workflows=tuple(_workflow_entry(workflow) for workflow in declared.workflows.values()),
    )
    return declared


def _check_names(name: str, services: list[Service]) -> None:
    seen: set[str] = set()
    for service in services:
        if service.name in seen:
            raise DefinitionError(f"app {name!r} lists two services named {service.name!r}\nGive one another name.")
        if service.name == QUARANTINE or any(handler.options.group == QUARANTINE for handler in service.handlers):
            raise DefinitionError(
                f"service {service.name!r}: the name {QUARANTINE!r} is taken by partita\nGive the group another name."
            )
        seen.add(service.name)


def _add_handler(
    declared: Declared, handler: Handler, edges: dict[str, list[Edge]], owners: dict[str, str], app_retry: Retry | None
) -> None:
    contract, options, service = handler.contract, handler.options, handler.service
    policy = EdgePolicy(
        options.retry or service.retry or app_retry or DEFAULT_RETRY,
        options.timeout_us if options.timeout_us is not None else service.timeout_us,
        options.concurrency or service.concurrency,
        options.hold,
    )
    for message in contract.messages:
        key = (handler.group, message.name)
        other = declared.handlers.get(key) or (_handler_of(declared, message) if message.kind == "command" else None)
        if other is not None:
            raise DefinitionError(
                f"{message.name} has two handlers: {other.contract.name} and {contract.name}\n"
                + (
                    "A command has exactly one."
                    if message.kind == "command"
                    else 'Give one a group of its own: group="...".'
                )
            )
        owners.setdefault(handler.group, service.name)
        declared.handlers[key] = handler
        declared.policies[key] = policy
        edges.setdefault(handler.group, []).append(_edge(handler, message, policy))
    for message in (*contract.messages, *contract.outcomes, *_answers(contract.messages)):
        declared.catalog.add(message.cls)


def _handler_of(declared: Declared, message: MessageType) -> Handler | None:
    return next((found for (_, name), found in declared.handlers.items() if name == message.name), None)


def _answers(messages: Iterable[MessageType]) -> list[MessageType]:
    found: list[MessageType] = []
    for message in messages:
        if message.kind == "command" and message.answer is not None:
            found += [describe(part) for part in _union(message.answer) if is_message_class(part)]
    return found


def _union(annotation: object) -> list[Any]:
    return [part for part in getattr(annotation, "__args__", (annotation,)) if not isinstance(part, tuple)]


def _edge(handler: Handler, message: MessageType, policy: EdgePolicy) -> Edge:
    contract, options = handler.contract, handler.options
    return Edge(
        type=message.name,
        handler=contract.name,
        service=handler.service.name,
        form=options.form,
        wiring=options.wiring,
        outcomes=tuple(dict.fromkeys(outcome.name for outcome in contract.outcomes)),
        awaits=contract.may_wait,
        within_us=options.within_us,
        observer=options.observer,
        hold=options.hold,
        policy=plain_policy(policy),
    )


def plain_policy(policy: EdgePolicy) -> Policy:
    """A policy as data."""
    retry = policy.retry
    return Policy(
        attempts=retry.attempts,
        first_us=duration_us(retry.first),
        factor=retry.factor,
        most_us=duration_us(retry.most),
        then=retry.then,
        timeout_us=policy.timeout_us,
        concurrency=policy.concurrency,
    )


def _add_workflow(
    declared: Declared, workflow: AnyWorkflow, edges: dict[str, list[Edge]], owners: dict[str, str]
) -> None:
    name = workflow.__name__
    if name in declared.workflows:
        raise DefinitionError(f'two workflows are named {name!r}\nName one: @workflow(name="...").')
    declared.workflows[name] = workflow
    owners[workflow.group] = workflow.group
    edges[workflow.group] = []
    for cls in workflow.messages:
        declared.catalog.add(cls)
        for answer in _answers([describe(cls)]):
            declared.catalog.add(answer.cls)
    for message in dict.fromkeys(([workflow.starts_on] if workflow.starts_on else []) + list(workflow.receives)):
        policy = EdgePolicy(DEFAULT_RETRY)
        declared.policies[workflow.group, message] = policy
        edges[workflow.group].append(
            Edge(
                type=message,
                handler=f"{workflow.__module__}.{workflow.__qualname__}",
                service=workflow.group,
                form="workflow",
                policy=plain_policy(policy),
            )
        )


def _workflow_entry(workflow: AnyWorkflow) -> WorkflowEntry:
    return WorkflowEntry(
        name=workflow.__name__,
        group=workflow.group,
        code=workflow.code,
        starts_on=workflow.starts_on,
        takes=describe(workflow.takes).name if not workflow.starts_on and is_message_class(workflow.takes) else None,
        children=workflow.children,
        receives=workflow.receives,
        calls=workflow.calls,
        publishes=workflow.publishes,
        undoes=workflow.undoes,
        within_us=workflow.within_us,
    )


def _check_forms(declared: Declared, wirings: list[Wiring]) -> None:
    """A wiring and a workflow that would both send one command for one case type would do the work twice."""
    sent: dict[str, str] = {}
    for wiring in wirings:
        for handler in wiring.handlers:
            for outcome in handler.contract.outcomes:
                if outcome.kind == "command":
                    sent[outcome.name] = f"wiring {wiring.name!r} ({handler.contract.name})"
    for workflow in declared.workflows.values():
        for name in (*workflow.calls, *workflow.undoes):
            if name in sent:
                raise DefinitionError(
                    f"{name} would be sent by workflow {workflow.__name__!r} and by {sent[name]}\n"
                    "Choose one form for it: leave the workflow or the wiring out of the app."
                )


def _messages(declared: Declared, groups: tuple[GroupEntry, ...]) -> tuple[MessageEntry, ...]:
    sent = {outcome for group in groups for edge in group.edges for outcome in edge.outcomes}
    for workflow in declared.workflows.values():
        sent |= {*workflow.calls, *workflow.publishes, *workflow.undoes}
    return tuple(_message_entry(message, sent) for message in declared.catalog)


def _message_entry(message: MessageType, sent: set[str]) -> MessageEntry:
    external = message.external
    if external is None and message.kind == "command" and message.name not in sent:
        external = "outside"
    return MessageEntry(
        name=message.name,
        version=message.version,
        kind=message.kind,
        case_type=message.case_type,
        case_field=message.case_field,
        fields=_fields(message),
        ends=message.ends,
        external=external,
        answers=tuple(answer.name for answer in _answers([message])),
    )


def _fields(message: MessageType) -> tuple[str, ...]:
    required = [found.encode_name for found in msgspec.structs.fields(message.cls) if found.required]
    return tuple(sorted(required, key=lambda name: name != message.case_field))


def effective_policies(declared: Declared) -> Mapping[tuple[str, str], Policy]:
    """The policy in force on every edge, as data."""
    return {key: plain_policy(policy) for key, policy in declared.policies.items()}
