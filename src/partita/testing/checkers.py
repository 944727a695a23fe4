"""Checkers of a trail: what must hold of any app, worked out anew from the facts and compared with what is stored.

Each yields sentences about what is wrong. They share no code with what they check but the shapes of facts and rows, and
the fold and the replay where it is those two that are run again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from partita.messages.catalog import Catalog
from partita.messages.topology import Topology
from partita.monitor.fold import CaseProjection
from partita.monitor.state import decode_state, owed_key
from partita.orchestration.workflow import Workflow
from partita.runtime.backends import Shelf
from partita.store.facts import (
    Barred,
    Body,
    CancelAsked,
    ChildEnded,
    ChildStarted,
    Claimed,
    Dead,
    Discarded,
    DuplicateStart,
    Fact,
    Fired,
    Handled,
    Incident,
    NoRun,
    Published,
    Quarantined,
    Received,
    Redriven,
    Retried,
    Retrying,
    Returned,
    Started,
    Stepped,
    Withdrawn,
)
from partita.store.port import CaseReader, RunRow, TrailReader, WorkReader
from partita.testing.replay import find_replay_fault

Key = tuple[str, str]
"""Message and group."""
CUSTOMER = "the customer"
"""Who asks runs to cancel."""
Cancelled = tuple[str, int, int]
"""A case of which somebody was told that its runs are cancelled, and the last facts before they asked and after."""


def read_all(trail: TrailReader) -> list[Fact]:
    """Every fact of a trail."""
    facts: list[Fact] = []
    while page := trail.list_facts(after_seq=facts[-1].seq if facts else 0, limit=5_000):
        facts += page
    return facts


def check_numbers(facts: Sequence[Fact], trail: TrailReader) -> Iterator[str]:
    """The chain holds, and every source and every run is numbered without a gap."""
    broken = trail.check_chain()
    if broken is not None:
        yield f"the hash chain breaks at fact {broken}"
    counted: Counter[str] = Counter()
    for fact in facts:
        counted[fact.source] += 1
        if fact.n != counted[fact.source]:
            yield f"fact {fact.seq} is number {fact.n} of its source, and should be {counted[fact.source]}"
        if fact.run is not None:
            counted[f"run {fact.run}"] += 1
            if fact.run_n != counted[f"run {fact.run}"]:
                yield f"fact {fact.seq} is number {fact.run_n} of {fact.run}, not {counted[f'run {fact.run}']}"


def closed_by(fact: Fact) -> Key | None:
    """The obligation that a fact closes, if it does."""
    match fact.body:
        case Handled(message=message, group=group) | Withdrawn(message=message, group=group):
            return message, group
        case Discarded(message=message, group=group) | Received(message=message, group=group):
            return message, group
        case NoRun(message=message, group=group) | DuplicateStart(message=message, group=group):
            return message, group
        case Started(message=str(message), workflow=workflow):
            return message, f"workflow:{workflow}"
        case Redriven(message=message, group="quarantine"):
            return message, "quarantine"
        case _:
            return None


class Obligations:
    """Who owed what when, worked out from the facts alone."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.position: dict[Key, int] = {}
        """Of those that are open: their place in their key's order."""
        self.home: dict[str, str | None] = {}
        self.delayed: dict[Key, int] = {}
        self.wrong: list[str] = []
        self.closings: list[tuple[Fact, Key, int]] = []
        """Each closing with the position that was closed."""
        self._histories: dict[str, list[Fact]] = {}
        self._received: dict[Key, Fact] = {}
        for fact in facts:
            self._read(fact)

    def _read(self, fact: Fact) -> None:
        body = fact.body
        if fact.run is not None:
            self._histories.setdefault(fact.run, []).append(fact)
        closes = closed_by(fact)
        if closes is not None:
            self._close(fact, closes)
        match body:
            case Published():
                self.home[body.id] = body.case
                for group in body.owes:
                    self._open(fact, (body.id, group))
                    if body.due is not None:
                        self.delayed[body.id, group] = body.due
            case Quarantined():
                self.home[body.id] = body.case
                self._open(fact, (body.id, "quarantine"))
            case Redriven(message=message, group=group) if group != "quarantine":
                if (message, group) not in self.position:
                    self.wrong.append(f"fact {fact.seq} redrives {group} {message}, which is not owed")
                self.position[message, group] = fact.seq
            case Retried(voids=voids):
                self._reopen(fact, voids)
            case _:
                pass

    def _open(self, fact: Fact, key: Key) -> None:
        if key in self.position:
            self.wrong.append(f"fact {fact.seq} opens the obligation of {key[1]} for {key[0]} a second time")
        self.position[key] = fact.seq

    def _close(self, fact: Fact, key: Key) -> None:
        position = self.position.pop(key, None)
        if isinstance(fact.body, Received):
            first = self._received.setdefault(key, fact)
            if position is None and first.seq != fact.seq and first.run != fact.run:
                return  # one message, appended to several runs in one unit
        if position is None:
            self.wrong.append(f"fact {fact.seq} ({fact.kind}) closes what {key[1]} does not owe: {key[0]}")
            return
        self.closings.append((fact, key, position))

    def _reopen(self, fact: Fact, voids: tuple[int, ...]) -> None:
        for one in self._histories.get(fact.run or "", []):
            if one.run_n in voids and isinstance(one.body, Handled | Discarded):
                self._open(fact, (one.body.message, one.body.group))


def check_obligations(owed: Obligations, work: WorkReader) -> Iterator[str]:
    """Opened = closed + open: by the facts, and by the rows."""
    yield from owed.wrong
    rows = {(row.message, row.group) for row in work.list_obligations()}
    for message, group in owed.position.keys() - rows:
        yield f"{group} owes {message} by the facts, and there is no row"
    for message, group in rows - owed.position.keys():
        yield f"{group} owes {message} by a row, and by no fact"


def check_order(facts: Sequence[Fact], topology: Topology) -> Iterator[str]:
    """What one group owes for one case is tried and closed in the order in which it came to be owed.

    A delayed message has no place in that order, and a dead one stands in nobody's way but where its edge says `hold`.
    What is handled in the very unit that publishes it took its place when that unit was decided, before it was written:
    a reaction's own command, and the start of a run.
    """
    held = {(group.name, edge.type) for group in topology.groups for edge in group.edges if edge.hold}
    lanes: dict[tuple[str, str], dict[str, int]] = {}
    cases: dict[str, str] = {}
    for fact in facts:
        body = fact.body
        if isinstance(body, Published) and body.case is not None and body.due is None:
            cases[body.id] = body.case
            for group in body.owes:
                lanes.setdefault((group, body.case), {})[body.id] = fact.seq
        tried = tried_in(fact)
        if tried is None or (case := cases.get(tried[0])) is None:
            continue
        message, group = tried
        lane = lanes.setdefault((group, case), {})
        position = lane.get(message)
        earlier = [seq for seq in lane.values() if position is not None and seq < position]
        covered = (isinstance(body, Handled) and body.via is not None) or (
            isinstance(body, Started) and position == fact.seq - 1
        )
        if earlier and not covered and not isinstance(body, Withdrawn | Discarded | Redriven):
            yield (
                f"fact {fact.seq} ({fact.kind}): {group} took what it owed {case} since fact {position} before what it"
                f" owed since fact {earlier[0]}"
            )
        if isinstance(body, Redriven):
            lane[message] = fact.seq
        elif not isinstance(body, Retrying) and not (isinstance(body, Dead) and (group, body.type) in held):
            lane.pop(message, None)


def tried_in(fact: Fact) -> Key | None:
    """The obligation that a fact says was tried, closed, given up or reopened."""
    match fact.body:
        case Retrying(message=message, group=group) | Dead(message=message, group=group) if message:
            return message, group
        case Redriven(message=message, group=group) if group != "quarantine":
            return message, group
        case _:
            return closed_by(fact)


def check_times(facts: Sequence[Fact], owed: Obligations) -> Iterator[str]:
    """No timer fires early, no attempt begins before it is due, nothing delayed is handled before its time."""
    due: dict[Key, int] = {}
    for fact in facts:
        body = fact.body
        match body:
            case Fired() if body.due > fact.at:
                yield f"fact {fact.seq}: a timer of {fact.run} fired {body.due - fact.at} us before it was due"
            case (
                Retrying(message=message, group=group)
                | Handled(message=message, group=group)
                | Dead(message=message, group=group)
            ) if message:
                if due.get((message, group), 0) > fact.at:
                    yield f"fact {fact.seq}: {group} tried {message} again before it was due"
                due.pop((message, group), None)
                if isinstance(body, Retrying):
                    due[message, group] = body.due
            case Redriven(message=message, group=group) | Discarded(message=message, group=group):
                due.pop((message, group), None)
            case _:
                pass
    for fact, key, _position in owed.closings:
        if isinstance(fact.body, Handled) and owed.delayed.get(key, 0) > fact.at:
            yield f"fact {fact.seq}: {key[1]} handled {key[0]} before the time it was delayed to"


def check_late(facts: Iterable[Fact]) -> Iterator[str]:
    """What is answered after its saga has unwound is marked late, and nothing else is."""
    barred: set[Key] = set()
    for fact in facts:
        body = fact.body
        if isinstance(body, Barred):
            barred.add((body.message, body.group))
        elif isinstance(body, Handled):
            key = body.message, body.group
            if body.late != (key in barred):
                said = "late, and its saga had not unwound" if body.late else "not late, and its saga had unwound"
                yield f"fact {fact.seq}: the answer of {body.group} to {body.message} is marked {said}"
            barred.discard(key)


def check_cancelled(facts: Sequence[Fact], cancelled: Iterable[Cancelled]) -> Iterator[str]:
    """What somebody was told is cancelled was asked to, in each run that was open then; a run that is asked ends so."""
    histories: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.run is not None:
            histories.setdefault(fact.run, []).append(fact)
    for case, before, after in cancelled:
        for run, history in histories.items():
            began, asked = history[0], [fact for fact in history if _asks(fact, by=CUSTOMER)]
            still = not any(isinstance(fact.body, Returned | Incident) and fact.seq <= after for fact in history)
            if began.case == case and began.seq <= before and still and not any(fact.seq <= after for fact in asked):
                yield f"somebody was told that {case} is cancelled, and run {run} was never asked"
    for run, history in histories.items():
        yield from _check_met(run, history)


def _check_met(run: str, history: Sequence[Fact]) -> Iterator[str]:
    """A run that is asked to cancel ends so, if it went on at all."""
    told = next((at for at, fact in enumerate(history) if isinstance(fact.body, CancelAsked)), len(history))
    if any(isinstance(fact.body, ChildStarted) for fact in history):
        return  # its own function may be over, and only a child of it be waited for
    if any(_unwinds(fact.body) for fact in history[:told]):
        return  # until Python 3.13, a task group that ends its tasks swallows a cancellation that comes meanwhile
    went_on = False
    for fact in history[told:]:
        # What could run before the cancellation was met, to the very end, has come before it.
        went_on = went_on or isinstance(fact.body, (Fired, Stepped, Handled))
        if went_on and isinstance(fact.body, Returned) and fact.body.how != "cancelled":
            yield f"run {run} was asked to cancel, and has {fact.body.how}"


def _unwinds(body: Body) -> bool:
    """Whether it raises in the run that meets it, or says that something of it has been undone."""
    if isinstance(body, Handled):
        return body.outcome == "failed"
    if isinstance(body, Published):
        return body.undo_of is not None or (body.step or "").endswith("/undo")
    return isinstance(body, Discarded | Withdrawn | Barred) or (
        isinstance(body, Stepped | ChildEnded) and body.error is not None
    )


def _asks(fact: Fact, *, by: str) -> bool:
    return isinstance(fact.body, CancelAsked) and fact.body.by == by


def check_children(runs: Sequence[RunRow], trail: TrailReader) -> Iterator[str]:
    """No run ends before the children that it waits for; those to be cancelled are, and nobody is asked twice."""
    for row in runs:
        if row.parent is None:
            continue
        history, of_parent = trail.list_history(row.run), trail.list_history(row.parent)
        end, end_of_parent = _find_end(history), _find_end(of_parent)
        asked = sum(_asks(fact, by=row.parent) for fact in history)
        if asked > 1:
            yield f"run {row.run} was asked {asked} times to cancel by its parent"
        if row.on_close == "wait" and end_of_parent is not None and (end is None or end > end_of_parent):
            yield f"run {row.parent} has ended before its child {row.run}"
        cancelled = next((fact.seq for fact in of_parent if isinstance(fact.body, CancelAsked)), None)
        over = end_of_parent if row.on_close == "cancel" else cancelled
        if over is None or asked:
            continue
        # A child that ends of itself meanwhile need not meet its cancellation: it takes a turn or two until that comes.
        turns = {fact.at for fact in history if fact.seq > over and not isinstance(fact.body, _BESIDE_TURNS)}
        if history[0].seq < over and len(turns) > 2:
            yield f"run {row.parent} is over or cancelled, and its child {row.run} was never asked to cancel"


_BESIDE_TURNS = (Handled, ChildEnded, Discarded, Retrying, Claimed)
"""What may come into a run's history without a turn of it."""


def _find_end(history: Sequence[Fact]) -> int | None:
    """Where a run ended in the trail."""
    return next((fact.seq for fact in history if isinstance(fact.body, Returned)), None)


def check_claims(facts: Iterable[Fact], most: int) -> Iterator[str]:
    """What was open in an unclean end is claimed, and not more often than the limit allows."""
    for fact in facts:
        if isinstance(fact.body, Claimed) and fact.body.count > most:
            yield f"fact {fact.seq}: claimed for the {fact.body.count}th time"


def check_cases(facts: Sequence[Fact], trail: TrailReader, cases: CaseReader, work: WorkReader) -> Iterator[str]:
    """Every stored case is what its facts fold to, and has open what the work tables have open."""
    shelf = Shelf()
    shelf.trail = trail
    projection = CaseProjection(shelf.get)
    named = dict.fromkeys(case for fact in facts for case in (fact.case, *fact.also) if case is not None)
    for case in named:
        of_it = [fact for fact in facts if case == fact.case or case in fact.also]
        stored, anew = cases.find_case(case), projection.fold(case, None, of_it)
        if stored != anew:
            yield f"case {case} is stored as {stored}, and its facts fold to {anew}"
        state = decode_state(anew.state)
        rows = {owed_key(row.message, row.group) for row in work.list_obligations(case=case)}
        if state.owed.keys() != rows:
            yield f"case {case} folds to owed {sorted(state.owed)}, and the rows are {sorted(rows)}"
        runs = {row.run for row in work.list_runs(case) if row.status != "ended"}
        if state.runs.keys() != runs:
            yield f"case {case} folds to the runs {sorted(state.runs)}, and the rows are {sorted(runs)}"


def check_runs(
    runs: Iterable[RunRow], trail: TrailReader, catalog: Catalog, workflows: Mapping[str, Workflow[Any, Any]]
) -> Iterator[str]:
    """Every run replays to where it is, and its row says the same as its history."""
    for row in runs:
        fault = find_replay_fault(row, trail, catalog, workflows)
        if fault is not None:
            yield fault
        history = trail.list_history(row.run)
        ends = [fact for fact in history if isinstance(fact.body, Returned)]
        if len(ends) > 1 or (row.status == "ended") != bool(ends):
            yield f"run {row.run} is {row.status} and returned {len(ends)} times"
        if history and row.run_n != history[-1].run_n:
            yield f"run {row.run} has run_n {row.run_n}, its history ends at {history[-1].run_n}"


def list_runs(facts: Iterable[Fact], work: WorkReader) -> list[RunRow]:
    """The rows of every run that ever started."""
    names = dict.fromkeys(fact.run for fact in facts if isinstance(fact.body, Started) and fact.run is not None)
    return [row for name in names if (row := work.find_run(name)) is not None]
