"""What follows from a topology alone, worked out once for each: who ends, who emits what, what can lead to what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from partita.messages.topology import Edge, Topology, WorkflowEntry

_ATTRIBUTE = "monitor chart"


class Chart:
    """The tables that fold, verdict and why read."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.edges: dict[tuple[str, str], Edge] = {
            (group.name, edge.type): edge for group in topology.groups for edge in group.edges
        }
        self.workflows: dict[str, WorkflowEntry] = {workflow.name: workflow for workflow in topology.workflows}
        self.case_types = {message.name: message.case_type for message in topology.messages}
        self.ends: dict[str, list[str]] = {}
        """Case type to the event types that end it."""
        for message in topology.messages:
            if message.ends and message.case_type:
                self.ends.setdefault(message.case_type, []).append(message.name)
        self.parties = dict(_parties(topology))
        """Message types that can come from outside at any time, and from whom."""
        self._leads: dict[str, set[str]] = {}
        for group, name in self.edges:
            self._leads.setdefault(name, set()).update(self.outcomes(group, name))
        self._may_come: dict[tuple[tuple[str, ...], str], bool] = {}
        self._leads_to: dict[tuple[tuple[str, ...], str, str], bool] = {}

    def group_of(self, workflow: str) -> str:
        """The group of a workflow, also of one that has left the code."""
        known = self.workflows.get(workflow)
        return known.group if known is not None else f"workflow:{workflow}"

    def outcomes(self, group: str, message_type: str) -> tuple[str, ...]:
        """What a group's handling may emit: its contract and the command's answers, or what its workflow may send."""
        edge = self.edges.get((group, message_type))
        if edge is None:
            return ()
        if edge.form == "workflow":
            found = (workflow for workflow in self.workflows.values() if workflow.group == group)
            return tuple(dict.fromkeys(name for workflow in found for name in workflow_outcomes(workflow)))
        message = self.topology.message_by_name.get(message_type)
        answers = message.answers if message and message.kind == "command" else ()
        return tuple(dict.fromkeys((*edge.outcomes, *answers)))

    def reach(self, types: Iterable[str]) -> frozenset[str]:
        """These types, and every type that they can lead to through declared contracts."""
        seen: set[str] = set()
        todo = list(types)
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo.extend(self._leads.get(name, ()))
        return frozenset(seen)

    def may_come(self, types: tuple[str, ...], case_type: str) -> bool:
        """Whether one of these types can come from outside, or of another case, where it is not known what is open."""
        key = (types, case_type)
        found = self._may_come.get(key)
        if found is None:
            others = {name for name, other in self.case_types.items() if other and other != case_type}
            wanted = set(types)
            found = not (wanted.isdisjoint(self.parties) and wanted.isdisjoint(self.reach(others)))
            self._may_come[key] = found
        return found

    def leads_to(self, types: tuple[str, ...], group: str, message_type: str) -> bool:
        """Whether one group's handling of a message can lead to one of these types."""
        key = (types, group, message_type)
        found = self._leads_to.get(key)
        if found is None:
            reached = self.reach(self.outcomes(group, message_type))
            found = self._leads_to[key] = not reached.isdisjoint(types)
        return found

    def moves_to(self, types: tuple[str, ...], workflow: str) -> bool:
        """Whether a moving run of a workflow can lead to one of these types."""
        known = self.workflows.get(workflow)
        return known is not None and not self.reach(workflow_outcomes(known)).isdisjoint(types)


def chart_of(topology: Topology) -> Chart:
    """The chart of a topology, kept with it as its own cached properties are."""
    kept = vars(topology)
    found: Chart | None = kept.get(_ATTRIBUTE)
    if found is None:
        found = kept[_ATTRIBUTE] = Chart(topology)
    return found


def workflow_outcomes(workflow: WorkflowEntry) -> tuple[str, ...]:
    """What a workflow's source says it may send."""
    return (*workflow.calls, *workflow.publishes, *workflow.undoes)


def case_type_of(case: str) -> str:
    """`order` of `order:12345`."""
    return case.partition(":")[0]


def _parties(topology: Topology) -> Iterator[tuple[str, str]]:
    for message in topology.messages:
        if message.external and message.kind == "command":
            for answer in message.answers:
                yield answer, message.external
    for message in topology.messages:
        if message.external:
            yield message.name, message.external
