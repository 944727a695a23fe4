"""Dispatch: inbox, handler, outbox, for everything that a group owes.

The order is the guarantee. A handling's facts, the closing of its obligation, what it publishes and what its handler
wrote commit together; a message that comes again finds no open obligation. What a handler does outside the store may
happen twice, under the same `Delivery.id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from partita.choreography.handling import (
    Handling,
    arguments,
    delivery_of,
    handle_plain,
    write_dead,
    write_failed_call,
    write_handled,
    write_retrying,
)
from partita.choreography.lanes import Lane, Lanes
from partita.choreography.places import Places
from partita.choreography.policy import EdgePolicy, is_final, own_policy
from partita.choreography.service import Handler
from partita.clock import Alarms, Clock
from partita.errors import DefinitionError, Final, MessageError
from partita.limits import LIMITS
from partita.messages.answers import watch_rollback
from partita.retry import AttemptLimit, Retry, delay_after, is_failure
from partita.store.facts import Claimed, Dead, Handled
from partita.store.port import Accepted, Answer, AsyncScope, Lost, Recorded, Refusal, Scope, Store, Unit
from partita.store.work import CLAIM_OBLIGATION
from partita.telemetry import Log
from partita.transports.outbox import Book, Draft
from partita.transports.port import Owed, Transport

log = Log(__name__)
HandlerKey = tuple[str, str]


class Consumer(Protocol):
    """Handles what a workflow's group owes; closes the obligation in a unit of its own."""

    def consume(self, owed: Owed, message: Any, settled: Callable[[Refusal | None], None]) -> None:
        """Take a message; say `settled(None)` when it is durable, or why it was refused."""
        ...


class Callers(Protocol):
    """The runs that wait for answers."""

    def naming(self, run: str) -> None:
        """A unit that names this run is on its way."""
        ...

    def named(self, run: str, recorded: Recorded | None, body: Handled | None) -> None:
        """That unit was answered: with the completion and what the writer gave it, or without one."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What dispatch needs from outside: nothing here reads a clock, starts a thread or opens a file by itself."""

    store: Store
    transport: Transport
    clock: Clock
    alarms: Alarms
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    in_thread: Callable[[Callable[[], None]], Awaitable[None]]


class Dispatch:
    """Hands what is owed to handlers and consumers, and writes down what comes of it."""

    def __init__(
        self,
        book: Book,
        around: Surroundings,
        *,
        handlers: Mapping[HandlerKey, Handler],
        policies: Mapping[HandlerKey, EdgePolicy],
        callers: Callers,
        consumers: Mapping[str, Consumer],
    ) -> None:
        self._book = book
        self._around = around
        self._handlers = handlers
        self._policies = policies
        self._callers = callers
        self._consumers = consumers
        self._places = Places(LIMITS.handlings_at_once_max)
        self._asking: dict[str, list[Callable[[Handled | Dead], None]]] = {}
        self.lanes = Lanes(around.clock, around.alarms, self._begin)

    def receive(self, owed: Owed) -> None:
        """Take what the transport brings."""
        self.lanes.arrive(owed)

    def ask(self, message: str, told: Callable[[Handled | Dead], None]) -> None:
        """Be told of the end of a command's handling, in this process only."""
        self._asking.setdefault(message, []).append(told)

    def forget_asking(self, message: str, told: Callable[[Handled | Dead], None]) -> None:
        """This one does not wait for that command any more."""
        left = [one for one in self._asking.pop(message, ()) if one is not told]
        if left:
            self._asking[message] = left

    def bar(self, message: str, group: str) -> Literal["withdrawn", "barred", "closed", "unknown"]:
        """Let no further attempt of a command begin, at once; the caller commits what the answer says.

        withdrawn: none ever began, close it. barred: one is being made, mark it. closed: some were made, none is being
        made now, close it. unknown: nothing is open here.
        """
        owed = self.lanes.find(message, group)
        if owed is None:
            return "unknown"
        owed.barred = True
        if not owed.began:
            return "withdrawn"
        return "barred" if owed.state == "handling" else "closed"

    def lift(self, message: str, group: str) -> None:
        """The unit that was to bar a command did not happen."""
        owed = self.lanes.find(message, group)
        if owed is not None:
            owed.barred = False

    def drop(self, message: str, group: str) -> None:
        """Forget what was closed elsewhere: withdrawn, retired."""
        owed = self.lanes.find(message, group)
        if owed is None or owed.state == "handling":
            return
        self.lanes.drop(owed)

    def stop(self) -> None:
        """Begin nothing more; who waited for a place waits for nobody now."""
        self.lanes.stop()
        for lane in self._places.clear():
            lane.busy = False

    # One attempt, from the head of a lane to an answered unit.

    def _begin(self, lane: Lane, owed: Owed) -> None:
        key = (owed.group, owed.envelope.type)
        policy = self._policies.get(key)
        if policy is None:
            lane.busy = False  # Its code is gone: it stays owed, and `why` says "no live consumer".
            return
        handler = self._handlers.get(key)
        # The writer is one at a time anyway.
        if not (handler is not None and handler.contract.on_writer) and not self._places.take(
            key, policy.concurrency, lane
        ):
            return
        owed.state = "handling"
        if owed.barred:
            self._close_barred(lane, owed)
        elif owed.unclean:
            self._claim(lane, owed)
        else:
            self._attempt(lane, owed)

    def _claim(self, lane: Lane, owed: Owed) -> None:
        """Count an attempt before it is made: what kills its process five times must end as a dead letter."""
        owed.claims += 1
        owed.began = True
        if owed.claims > LIMITS.claims_max:
            error = Final(f"the process ended {LIMITS.claims_max} times while {owed.envelope.type} was open")
            self._fail(lane, owed, error)
            return
        draft = Draft()
        draft.write(CLAIM_OBLIGATION, owed.envelope.id, owed.group, must="closed")
        body = Claimed(
            message=owed.envelope.id,
            group=owed.group,
            type=owed.envelope.type,
            case=owed.envelope.case,
            count=owed.claims,
        )
        draft.say(body, case=owed.envelope.case)

        def claimed(answer: Answer) -> None:
            if isinstance(answer, Accepted):
                owed.unclean = False
                self._attempt(lane, owed)
            else:
                self._not_written(lane, owed, answer)

        self._submit(draft, claimed, f"claim {owed.group} {owed.envelope.type}")

    def _attempt(self, lane: Lane, owed: Owed) -> None:
        owed.began = True
        try:
            message = self._book.catalog.decode(owed.envelope.type, owed.envelope.version, owed.envelope.data)
        except (MessageError, DefinitionError) as error:
            self._fail(lane, owed, Final(f"it can't be read: {error}"))
            return
        consumer = self._consumers.get(owed.group)
        if consumer is not None:
            consumer.consume(owed, message, lambda refused: self._consumed(lane, owed, refused))
            return
        handling = Handling(owed, self._handlers[owed.group, owed.envelope.type], message)
        reserved = self._cover(handling)
        if handling.on_writer:
            self._on_writer(lane, handling, reserved)
        else:
            self._around.spawn(self._in_task(lane, handling, reserved))

    def _cover(self, handling: Handling) -> list[Lane]:
        """Which of a reaction's commands may be handled in its own unit: plain handlers whose lane is idle and live."""
        handler, owed = handling.handler, handling.owed
        if handler.contract.is_async or handler.options.form != "reaction" or owed.envelope.case is None:
            return []
        covers: dict[str, Handler] = {}
        reserved: dict[str, Lane] = {}
        for outcome in handler.contract.outcomes:
            group = next(iter(self._book.topology.owing.get(outcome.name, ())), "")
            own = self._handlers.get((group, outcome.name)) if outcome.kind == "command" else None
            if own is None or own.contract.is_async or own.service is not handler.service:
                continue
            lane = reserved.get(group) or self.lanes.reserve((group, owed.envelope.case))
            if lane is not None:
                reserved[group] = lane
                covers[outcome.name] = own
        handling.covers = covers
        return list(reserved.values())

    def _on_writer(self, lane: Lane, handling: Handling, reserved: list[Lane]) -> None:
        def work(_unit: Unit, scope: Scope) -> None:
            handle_plain(handling, self._book, scope, scope.now_us())

        handling.draft.unit.work = work
        self._submit_handling(lane, handling, reserved)

    async def _in_task(self, lane: Lane, handling: Handling, reserved: list[Lane]) -> None:
        contract, policy = handling.handler.contract, self._policy(handling.owed)
        limit = AttemptLimit(policy.timeout_us, contract.name)
        try:
            if contract.is_async and contract.tx is not None:
                handling.draft.unit.work_async = self._exclusive(handling, limit)
            elif contract.is_async:
                if task := asyncio.current_task():  # a log says whose code holds the loop
                    task.set_name(f"{handling.owed.group} {handling.owed.envelope.type}")
                given = arguments(contract, delivery_of(handling), None)
                async with limit:
                    answer = await contract.fn(handling.message, **given)
                write_handled(handling, self._book, answer, at=self._around.clock.now_us())
            else:
                at = self._around.clock.now_us()
                async with limit:
                    await self._around.in_thread(lambda: handle_plain(handling, self._book, None, at))
                handling.mark_late()
        except BaseException as error:  # a handler may raise anything
            if not is_failure(error):
                raise  # The engine is letting go: the next start finds the obligation open.
            self._give_back(reserved)
            self._fail(lane, handling.owed, error, handling.failing)
            return
        self._submit_handling(lane, handling, reserved)

    def _exclusive(self, handling: Handling, limit: AttemptLimit) -> Callable[[Unit, AsyncScope], Any]:
        """An async handler inside the store's own transaction."""
        contract = handling.handler.contract

        async def work(_unit: Unit, scope: AsyncScope) -> None:
            handling.draft.clear()
            await scope.mark()
            with watch_rollback() as watched:
                given = arguments(contract, delivery_of(handling), scope.tx)
                async with limit:
                    answer = await contract.fn(handling.message, **given)
            if watched.asked:
                await scope.drop()
            write_handled(handling, self._book, answer, rolled_back=watched.asked, at=scope.now_us())

        return work

    def _submit_handling(self, lane: Lane, handling: Handling, reserved: list[Lane]) -> None:
        owed = handling.owed

        def answered(answer: Answer) -> None:
            if isinstance(answer, Accepted):
                self._handled(lane, owed, handling.draft, answer)
            elif isinstance(answer, Refusal) and answer.error is not None:
                self._told(owed, None, None)
                self._fail(lane, owed, answer.error, handling.failing)
            else:
                self._told(owed, None, None)
                self._not_written(lane, owed, answer)
            self._give_back(reserved)

        if owed.caller is not None:
            self._callers.naming(owed.caller)
        self._submit(handling.draft, answered, f"handling {owed.group} {owed.envelope.type} {owed.envelope.id}")

    def _handled(self, lane: Lane, owed: Owed, draft: Draft, answer: Accepted) -> None:
        index, body = 0, draft.unit.facts[0].body
        while not isinstance(body, Handled):
            index += 1
            body = draft.unit.facts[index].body
        self._over(lane, owed)
        self._told(owed, answer.recorded[index], body)
        self._tell(body)
        for new in draft.relayed(answer):
            self._around.transport.send(new)

    # What follows when it fails.

    def _fail(self, lane: Lane, owed: Owed, error: BaseException, blame: Handler | None = None) -> None:
        """Retry, answer with failure, or bury. `blame`: the handler that failed in a reaction's unit."""
        policy = self._policy(owed) if blame is None else self._policies[blame.group, blame.contract.messages[0].name]
        attempt = owed.attempts + 1
        draft = Draft()
        if owed.barred:
            write_failed_call(draft, owed, error, attempt=attempt)
            self._submit_end(lane, owed, draft)
        elif attempt < policy.retry.attempts and not is_final(owed, error, policy.retry):
            self._retry(lane, owed, error, attempt, policy.retry)
        elif owed.caller is not None and policy.retry.then == "fail":
            log.warning("call.failed", group=owed.group, type=owed.envelope.type, run=owed.caller, error=error)
            write_failed_call(draft, owed, error, attempt=attempt)
            self._submit_end(lane, owed, draft)
        else:
            self._die(lane, owed, error, attempt, blame)

    def _retry(self, lane: Lane, owed: Owed, error: BaseException, attempt: int, retry: Retry) -> None:
        try:
            delay = delay_after(error, attempt, retry, self._around.clock.chance())
        except DefinitionError as wrong:
            self._fail(lane, owed, wrong)
            return
        due = self._around.clock.now_us() + delay
        draft = Draft()
        write_retrying(draft, owed, error, attempt=attempt, due=due)

        def put_off(answer: Answer) -> None:
            if not isinstance(answer, Accepted):
                self._not_written(lane, owed, answer)
                return
            owed.attempts, owed.due_at, owed.state = attempt, due, "open"
            self._free_place(owed)
            self.lanes.release(lane)

        log.info("handling.retrying", group=owed.group, type=owed.envelope.type, attempt=attempt, error=error)
        self._submit(draft, put_off, f"retry {owed.group} {owed.envelope.type}")

    def _die(self, lane: Lane, owed: Owed, error: BaseException, attempt: int, blame: Handler | None) -> None:
        policy = self._policy(owed)
        draft = Draft()
        command = blame.contract.messages[0].name if blame else None
        write_dead(draft, owed, error, attempt=attempt, held=owed.caller is not None, command=command)
        body = draft.unit.facts[0].body

        def died(answer: Answer) -> None:
            if not isinstance(answer, Accepted):
                self._not_written(lane, owed, answer)
                return
            if policy.hold:
                self.lanes.block(owed.lane, owed.envelope.id)
            self._over(lane, owed)
            if isinstance(body, Dead):
                self._tell(body)

        log.warning("handling.dead", group=owed.group, type=owed.envelope.type, message=owed.envelope.id, error=error)
        self._submit(draft, died, f"dead letter {owed.group} {owed.envelope.type}")

    def _close_barred(self, lane: Lane, owed: Owed) -> None:
        draft = Draft()
        write_failed_call(draft, owed, Final("its saga had unwound"), attempt=owed.attempts)
        self._submit_end(lane, owed, draft)

    def _submit_end(self, lane: Lane, owed: Owed, draft: Draft) -> None:
        def ended(answer: Answer) -> None:
            if isinstance(answer, Accepted):
                self._handled(lane, owed, draft, answer)
            else:
                self._told(owed, None, None)
                self._not_written(lane, owed, answer)

        if owed.caller is not None:
            self._callers.naming(owed.caller)
        self._submit(draft, ended, f"failed call {owed.group} {owed.envelope.type}")

    def _consumed(self, lane: Lane, owed: Owed, refused: Refusal | None) -> None:
        if refused is None:
            self._over(lane, owed)
        elif refused.error is not None:
            self._fail(lane, owed, refused.error)
        else:
            self._not_written(lane, owed, refused)

    def _not_written(self, lane: Lane, owed: Owed, answer: Answer) -> None:
        """A unit did not happen: the obligation was closed elsewhere, or the store stopped."""
        if isinstance(answer, Lost):
            return  # The engine stops; the next start finds the obligation as the store has it.
        log.warning("handling.closed_elsewhere", group=owed.group, message=owed.envelope.id, answer=answer)
        self._over(lane, owed)

    # Small things.

    def _policy(self, owed: Owed) -> EdgePolicy:
        return own_policy(self._policies.get((owed.group, owed.envelope.type), EdgePolicy(Retry())), owed)

    def _submit(self, draft: Draft, answered: Callable[[Answer], None], label: str) -> None:
        draft.unit.answered = answered
        draft.unit.label = label
        self._around.store.submit(draft.unit)

    def _over(self, lane: Lane, owed: Owed) -> None:
        self.lanes.drop(owed)
        self._free_place(owed)
        self.lanes.release(lane)

    def _give_back(self, reserved: list[Lane]) -> None:
        for lane in reserved:
            self.lanes.release(lane)

    def _told(self, owed: Owed, recorded: Recorded | None, body: Handled | None) -> None:
        if owed.caller is not None:
            self._callers.named(owed.caller, recorded, body)

    def _tell(self, body: Handled | Dead) -> None:
        for told in self._asking.pop(body.message, ()) if self._asking else ():
            told(body)

    def _free_place(self, owed: Owed) -> None:
        # One that has nothing to do any more, or may not, leaves the place to the next.
        for lane in self._places.free((owed.group, owed.envelope.type)):
            lane.busy = False
            self.lanes.pump(lane)
