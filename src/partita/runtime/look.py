"""Looking: the monitor's answers, read from a store by whoever may read it, with or without an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from partita.clock import Clock, to_datetime
from partita.errors import NotFound, Rejected
from partita.messages.topology import Topology
from partita.monitor import cases
from partita.monitor.cases import CaseLine, CaseView, DeadLetter, Where
from partita.monitor.chart import chart_of
from partita.monitor.flow import Flow, declared
from partita.monitor.state import QUARANTINE
from partita.monitor.verdict import RANK, VERDICTS, Verdict
from partita.monitor.why import WhyTree, why
from partita.store.facts import NOTHING, Dead, Fact, Published, Quarantined, Requested
from partita.store.port import CaseReader, CaseRow, GroupRow, ObligationRow, TrailReader, WorkReader


class Ambiguous(Rejected):
    """A name that several cases answer to."""


class GroupLine(msgspec.Struct, frozen=True, kw_only=True):
    """A group as `group list` shows it."""

    name: str
    service: str
    state: Literal["live", "paused", "gone", "retired"]
    """Of a group in the code: live or paused; of one that has left it: gone, or retired."""
    paused: bool = False
    """Somebody paused it, also where it is gone."""
    queued: str = ""
    """What was asked while no engine ran, and the next one will do last: pause, resume or retire."""
    owing: int
    """Open handlings."""
    dead: int
    since: datetime | None = None
    by: str = ""
    handles: tuple[str, ...] = ()


class DeadView(DeadLetter, frozen=True, kw_only=True):
    """A dead letter with all that is known of it."""

    trace: str = ""
    body: msgspec.Raw = NOTHING
    """The message as JSON; of quarantined bytes, nothing."""
    raw: str = ""
    """Of a quarantined message, the bytes as they came, base64."""
    command: str | None = None


class Look:
    """Reads one store. `engine_running` is asked anew each time."""

    def __init__(
        self, trail: TrailReader, work: WorkReader, rows: CaseReader, *, clock: Clock, is_running: Callable[[], bool]
    ) -> None:
        self._trail = trail
        self._work = work
        self._rows = rows
        self._clock = clock
        self._is_running = is_running
        self._topology: Topology | None = None

    @property
    def engine_running(self) -> bool:
        """Whether some process holds the store."""
        return self._is_running()

    @property
    def topology(self) -> Topology:
        """The newest topology that an engine wrote; an empty one where none did."""
        newest = self._trail.find_topology()
        return newest or Topology(app="")

    def resolve(self, name: str) -> str:
        """The case that a person means. Raises NotFound, or Ambiguous where several fit."""
        try:
            return cases.resolve_case(
                name,
                find=self._rows.find_case,
                list_matching=lambda key: list(self._rows.list_matching(key)),
                types=cases.case_types(self.topology),
            )
        except NotFound:
            raise
        except Rejected as error:
            raise Ambiguous(error.why, error.remedy) from error

    def find_where(self, case: str) -> Where | None:
        """Where a case is, or None; the name is taken as it is."""
        row = self._rows.find_case(case)
        return None if row is None else cases.where(row, self.topology, self._clock.now_us())

    def where(self, case: str) -> Where:
        """Where a case is. Raises NotFound."""
        return cases.where(self._row(case), self.topology, self._clock.now_us())

    def line(self, case: str) -> CaseLine:
        """Where a case is, and why it can't be expected to go on by itself. Raises NotFound."""
        now = self._clock.now_us()
        return cases.line(self._row(case), self.topology, groups=self._work.list_groups(), now=now)

    def show(self, case: str) -> CaseView:
        """A case with its story, open items and dead letters. Raises NotFound."""
        facts = self._trail.list_case_facts(case)
        return cases.show(
            self._row(case), facts, self.topology, groups=self._work.list_groups(), now=self._clock.now_us()
        )

    def why(self, case: str, outcome: str) -> WhyTree:
        """Why an outcome did not happen in a case. Raises NotFound for an unknown case or outcome."""
        self._row(case)
        facts, topology = self._trail.list_case_facts(case), self.topology
        others = sorted({fact.code for fact in facts} - {topology.version}, reverse=True)
        return why(
            case,
            outcome,
            facts=facts,
            topology=topology,
            past=[found for found in map(self._trail.find_topology, others) if found is not None],
            groups=self._work.list_groups(),
            runs=self._work.list_runs(case),
            engine_running=self.engine_running,
            now=self._clock.now_us(),
            list_facts=self._trail.list_case_facts,
        )

    def flow(self) -> Flow:
        """The declared flow of the app that last ran on this store."""
        return declared(self.topology)

    def list_cases(
        self,
        *,
        stuck: bool = False,
        waiting: bool = False,
        failed: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> tuple[list[CaseLine], str | None]:
        """Cases worst first, and the cursor of the next page."""
        wanted: dict[Verdict, bool] = {"waiting": waiting, "failed": failed}
        ranks = [RANK[verdict] for verdict, asked in wanted.items() if asked] or None
        rows, following = self._rows.list_cases(ranks=ranks, stuck=stuck, cursor=cursor, limit=limit)
        if stuck and cursor is None:
            rows = [*rows, *self._unmovable({row.case for row in rows})]
        topology, groups, now = self.topology, self._work.list_groups(), self._clock.now_us()
        return [cases.line(row, topology, groups=groups, now=now) for row in rows], following

    def _unmovable(self, listed: set[str]) -> list[CaseRow]:
        work = self._work
        names = cases.list_unmovable(work.list_obligations(), work.list_open_runs(), self.topology, work.list_groups())
        found = [self._rows.find_case(name) for name in names if name not in listed]
        return [row for row in found if row is not None]

    def count_verdicts(self) -> dict[Verdict, int]:
        """How many cases have each verdict, as of their last fact."""
        counted = self._rows.count_cases()
        return {verdict: counted[RANK[verdict]] for verdict in VERDICTS if counted.get(RANK[verdict])}

    def list_groups(self) -> list[GroupLine]:
        """Every group that the app has, somebody paused or retired, something is owed by, or open runs belong to."""
        topology = self.topology
        rows = {row.name: row for row in self._work.list_groups()}
        owed = self._work.list_obligations()
        running = (chart_of(topology).group_of(run.workflow) for run in self._work.list_open_runs())
        names = dict.fromkeys([*topology.group_by_name, *rows, *(one.group for one in owed), *running])
        names.pop(QUARANTINE, None)
        queued = {asked.type: asked.op for asked in self.list_requests() if asked.op in {"pause", "resume", "retire"}}
        return [
            _group_line(name, topology, rows.get(name), [one.state for one in owed if one.group == name], queued)
            for name in names
        ]

    def list_requests(self) -> list[Requested]:
        """What was asked while no engine ran, and is still owed, oldest first."""
        said = [self._trail.find_fact(row.seq) for row in self._work.list_requests()]
        return [fact.body for fact in said if fact is not None and isinstance(fact.body, Requested)]

    def list_dead(self, case: str | None = None) -> list[DeadView]:
        """Dead letters, held calls and quarantined messages, oldest first."""
        rows = [row for row in self._work.list_obligations(case=case) if row.state in {"dead", "held"}]
        return [self._dead(row) for row in rows]

    def get_dead(self, name: str) -> DeadView:
        """One dead letter, by its id or the beginning of it. Raises NotFound, or Ambiguous."""
        found = [
            row
            for row in self._work.list_obligations()
            if row.state in {"dead", "held"} and cases.dead_id(row.message, row.group).startswith(name)
        ]
        if not found or not name:
            raise NotFound(f"no dead letter {name!r}", "`partita dead list` has those that there are.")
        if len(found) > 1:
            raise Ambiguous(f"{name!r} begins {len(found)} dead letters", "Write more of the id.")
        return self._dead(found[0])

    def _dead(self, row: ObligationRow) -> DeadView:
        published = self._trail.find_fact(row.seq)
        said = self._said(row, published)
        died = said.body if said is not None else None
        edge = self.topology.find_edge(row.group, row.type)
        return DeadView(
            id=cases.dead_id(row.message, row.group),
            message=row.message,
            group=row.group,
            type=row.type,
            case=row.case or "",
            since=to_datetime(said.at if said is not None else 0),
            attempts=row.attempts,
            error=died.error if isinstance(died, Dead) else "",
            text=died.text if isinstance(died, Dead) else died.reason if isinstance(died, Quarantined) else "",
            held=row.state == "held",
            observer=edge.observer if edge is not None else False,
            trace=died.trace if isinstance(died, Dead) else "",
            body=published.body.data if published is not None and isinstance(published.body, Published) else NOTHING,
            raw=died.raw if isinstance(died, Quarantined) else "",
            command=died.command if isinstance(died, Dead) else None,
        )

    def _said(self, row: ObligationRow, published: Fact | None) -> Fact | None:
        """The fact by which it died."""
        if published is None or isinstance(published.body, Quarantined) or row.case is None:
            return published
        facts: Sequence[Fact] = self._trail.list_case_facts(row.case, after_seq=row.seq)
        died = [
            f for f in facts if isinstance(f.body, Dead) and (f.body.message, f.body.group) == (row.message, row.group)
        ]
        return died[-1] if died else published

    def _row(self, case: str) -> CaseRow:
        row = self._rows.find_case(case)
        if row is None:
            raise NotFound(f"no case is named {case!r}", "List the cases with: partita ps")
        return row


def _group_line(
    name: str, topology: Topology, row: GroupRow | None, owed: list[str], queued: Mapping[str, str]
) -> GroupLine:
    declared_group = topology.group_by_name.get(name)
    paused = row is not None and row.state == "paused"
    if declared_group is not None:
        if not paused:
            row = None  # One that was retired and is in the code again handles what comes.
        state: Literal["live", "paused", "gone", "retired"] = "paused" if paused else "live"
    else:
        state = "gone" if row is None or paused else "retired"
    return GroupLine(
        name=name,
        service=declared_group.service if declared_group else "",
        state=state,
        paused=paused,
        queued=queued.get(name, ""),
        owing=sum(one in {"open", "delayed"} for one in owed),
        dead=sum(one in {"dead", "held"} for one in owed),
        since=to_datetime(row.since) if row is not None else None,
        by=row.by if row is not None else "",
        handles=tuple(edge.type for edge in declared_group.edges) if declared_group else (),
    )
