"""One handling: calling the handler, checking its answer, and writing down what came of it.

All of it is pure but for the call itself: the draft that comes out says what is to be committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from msgspec import Raw
from msgspec.structs import replace

from partita.choreography.contract import Contract, message_types
from partita.choreography.service import Handler
from partita.errors import one_line, plain, shortened, shortened_trace
from partita.limits import LIMITS
from partita.messages.answers import Delivery, Noop, Waits, watch_rollback
from partita.messages.codec import encode
from partita.messages.envelope import Cause, case_of_run, derive_id
from partita.messages.message import AnyCommand, Command, Event, is_message, type_of
from partita.retry import optional_us
from partita.store.facts import ChoreographedWait, Dead, Handled, Retrying
from partita.store.port import Scope
from partita.store.work import CLOSE_OBLIGATION, KILL_OBLIGATION, PUT_OFF_OBLIGATION
from partita.transports.outbox import Book, Draft, Origin, publish
from partita.transports.port import Owed


@dataclass(slots=True)
class Handling:
    """One attempt at one owed handling, on its way to a unit."""

    owed: Owed
    handler: Handler
    message: Any
    draft: Draft = field(default_factory=Draft)
    covers: Mapping[str, Handler] = field(default_factory=dict[str, Handler])
    """Commands that this reaction may send whose handler runs in the same unit, by type."""
    failing: Handler | None = None
    """The covered handler that is being called, or has just raised."""

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.owed.attempts + 1

    @property
    def on_writer(self) -> bool:
        """Whether it runs on the store's writer."""
        if self.handler.contract.on_writer:
            return True
        return bool(self.covers) and any(covered.contract.on_writer for covered in self.covers.values())

    def mark_late(self) -> None:
        """Let the fact say that its saga has unwound, where that was while a thread wrote it down."""
        for fact in self.draft.unit.facts if self.owed.barred else ():
            if isinstance(fact.body, Handled) and fact.body.message == self.owed.envelope.id:
                fact.body = replace(fact.body, late=True)


def arguments(contract: Contract, delivery: Delivery, tx: object | None) -> dict[str, Any]:
    """What a handler is given beside its message."""
    given: dict[str, Any] = {}
    if contract.tx is not None:
        given[contract.tx] = tx
    if contract.delivery is not None:
        given[contract.delivery] = delivery
    return given


def delivery_of(handling: Handling) -> Delivery:
    """What the handler may learn of its delivery."""
    envelope = handling.owed.envelope
    return Delivery(envelope.id, envelope.case, handling.attempt, tuple(str(cause) for cause in envelope.causes))


def handle_plain(handling: Handling, book: Book, scope: Scope | None, at: int | None) -> None:
    """Call a plain handler, and the handlers that its commands are covered by, and write down what came of it."""
    handling.draft.clear()
    handling.failing = None
    answer, rolled_back = _call(handling.handler.contract, handling.message, delivery_of(handling), scope)
    write_handled(handling, book, answer, rolled_back=rolled_back, scope=scope, at=at)


def _call(contract: Contract, message: object, delivery: Delivery, scope: Scope | None) -> tuple[Any, bool]:
    def act() -> tuple[Any, bool]:
        with watch_rollback() as watched:
            answer = contract.fn(message, **arguments(contract, delivery, scope.tx if scope else None))
        return (answer, watched.asked), not watched.asked

    found = scope.attempt(act) if scope is not None and contract.tx is not None else act()[0]
    return cast("tuple[Any, bool]", found)


def write_handled(
    handling: Handling,
    book: Book,
    answer: object,
    *,
    rolled_back: bool = False,
    scope: Scope | None = None,
    at: int | None = None,
) -> None:
    """Check an answer against the contract and write the unit that closes the obligation. Raises ContractBroken."""
    owed, draft = handling.owed, handling.draft
    draft.write(CLOSE_OBLIGATION, owed.envelope.id, owed.group, must="closed")
    items = handling.handler.contract.check(answer)
    causes = (Cause(owed.envelope.id, owed.group, handling.attempt),)
    ids = [derive_id(owed.envelope.id, owed.group, str(index)) for index in range(len(items))]
    body = _handled(handling, items, ids, rolled_back=rolled_back, at=at)
    say_handled(draft, owed, body, at=at)
    origin = Origin(handling.handler.service.name, owed.envelope.correlation, causes)
    for item, message_id in zip(items, ids, strict=True):
        if not is_message(item):
            continue
        covered = handling.covers.get(type_of(item).name)
        if covered is not None and type_of(item).case_of(item) == owed.envelope.case:
            _handle_covered(handling, covered, item, message_id, book, origin, scope=scope, at=at)
        else:
            publish(draft, book, item, message_id=message_id, origin=origin, at=at)


def _handled(handling: Handling, items: list[Any], ids: list[str], *, rolled_back: bool, at: int | None) -> Handled:
    owed = handling.owed
    return Handled(
        message=owed.envelope.id,
        group=owed.group,
        type=owed.envelope.type,
        attempt=handling.attempt,
        step=owed.step,
        case=owed.envelope.case,
        late=owed.barred,
        rolled_back=rolled_back,
        **_outcome(items, ids, at=at),
        **(_answer(items) if owed.envelope.kind == "command" else {}),
    )


def _outcome(items: list[Any], ids: list[str], *, at: int | None) -> dict[str, Any]:
    """What came of a handling, as fields of its fact."""
    found: dict[str, Any] = {"emitted": tuple([ids[i] for i, item in enumerate(items) if is_message(item)])}
    for item in items:
        if isinstance(item, Noop):
            found["outcome"] = "noop"
            found.setdefault("reason", shortened(plain(item.reason), LIMITS.error_text_max))
        elif isinstance(item, Waits):
            found["waits"] = (*found.get("waits", ()), _wait(item, at))
    return found


def _answer(items: list[Any]) -> dict[str, Any]:
    """What the caller of a command gets, as fields of the fact."""
    for item in items:
        if isinstance(item, Event):
            found = type_of(item)
            return {"answer_type": found.name, "answer_version": found.version, "answer": Raw(encode(item))}
        if not isinstance(item, Noop | Waits | Command):
            return {"answer": Raw(encode(item))}
    return {}


def _wait(item: Waits, at: int | None) -> ChoreographedWait:
    within = optional_us(item.within)
    until = None if within is None or at is None else at + within
    types = tuple(found.name for found in message_types(item.events, "waits_for"))
    return ChoreographedWait(types=types, until=until, who=None if item.who is None else plain(item.who))


def _handle_covered(
    outer: Handling,
    handler: Handler,
    command: AnyCommand,
    message_id: str,
    book: Book,
    origin: Origin,
    *,
    scope: Scope | None,
    at: int | None,
) -> None:
    """Handle a reaction's own command in the reaction's unit, under its receipt."""
    draft = outer.draft
    sent = publish(draft, book, command, message_id=message_id, origin=origin, at=at, remember=False)
    delivery = Delivery(message_id, sent.case, outer.attempt, tuple(str(cause) for cause in origin.causes))
    outer.failing = handler
    answer, rolled_back = _call(handler.contract, command, delivery, scope)
    items = handler.contract.check(answer)
    outer.failing = None
    ids = [derive_id(message_id, handler.group, str(index)) for index in range(len(items))]
    draft.say(
        Handled(
            message=message_id,
            group=handler.group,
            type=sent.type,
            attempt=outer.attempt,
            case=sent.case,
            rolled_back=rolled_back,
            via=outer.owed.group,
            **_outcome(items, ids, at=at),
            **_answer(items),
        ),
        case=sent.case,
        causes=origin.causes,
        at=at,
    )
    answers = Origin(
        handler.service.name, origin.correlation, (Cause(message_id, handler.group, outer.attempt), *origin.causes)
    )
    for item, new in zip(items, ids, strict=True):
        if is_message(item):
            publish(draft, book, item, message_id=new, origin=answers, at=at)


def say_handled(draft: Draft, owed: Owed, body: Handled, *, at: int | None = None) -> None:
    """Add the fact that closes an obligation, in the caller's history where there is a caller."""
    case, also = home(owed)
    draft.say(body, case=case, run=owed.caller, causes=owed.envelope.causes, also=also, at=at)


def home(owed: Owed) -> tuple[str | None, tuple[str, ...]]:
    """The case that facts of a handling belong to (its caller's, if a run waits), and the further one they touch."""
    if owed.caller is None:
        return owed.envelope.case, ()
    case = case_of_run(owed.caller)
    return case, () if owed.envelope.case in {case, None} else (str(owed.envelope.case),)


def write_failed_call(draft: Draft, owed: Owed, error: BaseException, *, attempt: int, at: int | None = None) -> None:
    """The retries of a call are spent: close it, and tell its caller; one that nobody waits for is only a fact."""
    draft.write(CLOSE_OBLIGATION, owed.envelope.id, owed.group, must="closed")
    body = Handled(
        message=owed.envelope.id,
        group=owed.group,
        type=owed.envelope.type,
        attempt=attempt,
        outcome="failed",
        reason=one_line(error, LIMITS.error_text_max),
        error=type(error).__name__,
        step=owed.step,
        case=owed.envelope.case,
        late=owed.barred,
    )
    say_handled(draft, owed, body, at=at)


def write_retrying(draft: Draft, owed: Owed, error: BaseException, *, attempt: int, due: int) -> None:
    """Another attempt follows at `due`."""
    draft.write(PUT_OFF_OBLIGATION, attempt, due, owed.envelope.id, owed.group, must="closed")
    body = Retrying(
        message=owed.envelope.id,
        group=owed.group,
        type=owed.envelope.type,
        case=owed.envelope.case,
        attempt=attempt,
        error=type(error).__name__,
        text=one_line(error, LIMITS.error_text_max),
        due=due,
    )
    draft.say(body, case=owed.envelope.case, causes=owed.envelope.causes)


def write_dead(
    draft: Draft, owed: Owed, error: BaseException, *, attempt: int, held: bool, command: str | None = None
) -> None:
    """The attempts are spent: a dead letter, or a call that is held open."""
    draft.write(KILL_OBLIGATION, "held" if held else "dead", attempt, owed.envelope.id, owed.group, must="closed")
    body = Dead(
        message=owed.envelope.id,
        group=owed.group,
        type=owed.envelope.type,
        case=owed.envelope.case,
        attempts=attempt,
        error=type(error).__name__,
        text=one_line(error, LIMITS.error_text_max),
        trace=shortened_trace(error, 4 * LIMITS.error_text_max),
        held=held,
        command=command,
    )
    draft.say(body, case=owed.envelope.case, causes=owed.envelope.causes)
