"""The outbox: what a publish writes, in the transaction of whoever publishes.

A draft is a unit on its way to the store, with the handlings it will owe. They are handed to the transport when the
unit is durable, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from partita.errors import StoreError
from partita.messages.catalog import Catalog
from partita.messages.envelope import Cause, Envelope, body_digest
from partita.messages.message import MessageType
from partita.messages.topology import Topology
from partita.store.facts import Body, Fact, NewFact, Published
from partita.store.port import Accepted, ObligationRow, Unit, Write
from partita.store.work import KNOW_MESSAGE, OPEN_OBLIGATION
from partita.transports.port import Owed


@dataclass(frozen=True, slots=True)
class Book:
    """What publishing needs to know: the types, and who owes what."""

    catalog: Catalog
    topology: Topology


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a published message comes from."""

    by: str
    correlation: str
    causes: tuple[Cause, ...] = ()
    run: str | None = None
    run_case: str | None = None


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who waits for the answer of a command: a run's step."""

    run: str
    step: str
    retry: str | None = None
    undo_of: str | None = None


class Draft(msgspec.Struct, eq=False):
    """A unit being written, and what it will owe."""

    unit: Unit = msgspec.field(default_factory=Unit)
    owed: list[tuple[int, Owed]] = []
    """With the index of the published fact."""

    def say(
        self,
        body: Body,
        *,
        case: str | None,
        run: str | None = None,
        causes: tuple[Cause, ...] = (),
        also: tuple[str, ...] = (),
        at: int | None = None,
    ) -> int:
        """Add a fact; returns its index in the unit."""
        facts = self.unit.facts
        facts.append(NewFact(body, case, run, causes, also, at))
        return len(facts) - 1

    def write(self, op: str, *params: object, must: str | None = None, fact: int | None = None) -> None:
        """Add a write to a work table."""
        self.unit.writes.append(Write(op, params, must, fact))

    def take(self, other: Draft, *, at: int | None = None) -> None:
        """Begin with what another draft says, said at this time; this one is empty so far."""
        said = other.unit.facts if at is None else [msgspec.structs.replace(fact, at=at) for fact in other.unit.facts]
        self.unit.facts.extend(said)
        self.unit.writes.extend(other.unit.writes)
        self.owed.extend(other.owed)

    def clear(self) -> None:
        """Forget everything but who is told: for work that is begun anew."""
        self.unit.facts.clear()
        self.unit.writes.clear()
        self.owed.clear()

    def relayed(self, answer: Accepted) -> Sequence[Owed]:
        """What is now owed, with its place in the trail."""
        for index, owed in self.owed:
            owed.seq = owed.position = answer.recorded[index].seq
        return [owed for _, owed in self.owed]


def publish(
    draft: Draft,
    book: Book,
    message: object,
    *,
    message_id: str,
    origin: Origin,
    at: int | None = None,
    due: int | None = None,
    caller: Caller | None = None,
    step: str | None = None,
    owes: tuple[str, ...] | None = None,
    remember: bool = True,
) -> Published:
    """Write the publishing of one message into a draft: its fact, its id, its obligations.

    `owes` replaces the groups of the topology. `remember=False` leaves out the row by which its id is known again, for
    a message whose whole life is inside this unit. Raises MessageError for a body that can't be stored.
    """
    found, data = book.catalog.encode(message)
    return publish_encoded(
        draft,
        book,
        found,
        data,
        case=found.case_of(message),
        also=found.also_of(message),
        message_id=message_id,
        origin=origin,
        at=at,
        due=due,
        caller=caller,
        step=step,
        owes=owes,
        remember=remember,
    )


def publish_encoded(
    draft: Draft,
    book: Book,
    found: MessageType,
    data: bytes,
    *,
    case: str | None,
    also: tuple[str, ...],
    message_id: str,
    origin: Origin,
    at: int | None = None,
    due: int | None = None,
    caller: Caller | None = None,
    step: str | None = None,
    owes: tuple[str, ...] | None = None,
    remember: bool = True,
) -> Published:
    """The same for a body that is JSON already."""
    info = book.topology.message_by_name.get(found.name)
    groups = book.topology.owing.get(found.name, ()) if owes is None else owes
    body = Published(
        id=message_id,
        type=found.name,
        version=found.version,
        command=found.kind == "command",
        data=Raw(data),
        case=case,
        owes=groups,
        ends=found.ends,
        external=info.external if info else found.external,
        correlation=origin.correlation or message_id,
        source=book.topology.app,
        due=due,
        step=step if caller is None else caller.step,
        undo_of=caller.undo_of if caller else None,
        by=origin.by,
        retry=caller.retry if caller else None,
    )
    head_case = origin.run_case if origin.run is not None else case
    touched = also if head_case == case or case is None else (case, *also)
    index = draft.say(body, case=head_case, run=origin.run, causes=origin.causes, also=touched, at=at)
    if remember:
        draft.write(KNOW_MESSAGE, message_id, body_digest(data), must="known message", fact=index)
    if groups and remember:
        _owe(draft, book, body, also=also, origin=origin, at=at, index=index, caller=caller)
    return body


def _owe(
    draft: Draft,
    book: Book,
    body: Published,
    *,
    also: tuple[str, ...],
    origin: Origin,
    at: int | None,
    index: int,
    caller: Caller | None,
) -> None:
    """Open an obligation for each group that owes a handling."""
    envelope = Envelope(
        id=body.id,
        type=body.type,
        kind="command" if body.command else "event",
        version=body.version,
        source=book.topology.app,
        at=at or 0,
        case=body.case,
        also=also,
        correlation=body.correlation,
        causes=origin.causes,
        data=bytes(body.data),
    )
    state, due = ("open", 0) if body.due is None else ("delayed", body.due)
    run, step, retry = (caller.run, caller.step, caller.retry) if caller else (None, None, None)
    for group in body.owes:
        owed = Owed(envelope, group, state=state, due_at=due, caller=run, step=step, retry=retry)
        draft.owed.append((index, owed))
        row = (body.id, group, body.type, body.case, state, due, run, step, retry)
        draft.write(OPEN_OBLIGATION, *row, must="known obligation", fact=index)


def owed_from(fact: Fact, group: str, row: ObligationRow | None = None) -> Owed:
    """An owed handling from what the store has: the published fact, and the obligation's row where there is one.

    Raises StoreError where the fact is not that of a published message.
    """
    body = fact.body
    if not isinstance(body, Published):
        raise StoreError(f"fact {fact.seq} is {fact.kind!r}, not a published message\nRun: partita doctor")
    envelope = Envelope(
        id=body.id,
        type=body.type,
        kind="command" if body.command else "event",
        version=body.version,
        source=body.source,
        at=fact.at,
        case=body.case,
        also=tuple(case for case in fact.also if case != body.case),  # a run's fact touches the message's own case
        correlation=body.correlation,
        causes=fact.causes,
        sequence=fact.n,
        data=bytes(body.data),
    )
    if row is None:
        caller = fact.run if body.command and body.step is not None else None
        return Owed(
            envelope, group, fact.seq, fact.seq, caller=caller, step=body.step if caller else None, retry=body.retry
        )
    return Owed(
        envelope,
        group,
        fact.seq,
        row.position,
        state=row.state,
        attempts=row.attempts,
        claims=row.claims,
        due_at=row.due_at,
        caller=row.caller,
        step=row.step,
        retry=row.retry,
        barred=bool(row.barred),
        late=bool(row.late),
        began=row.attempts > 0 or row.claims > 0,
    )
