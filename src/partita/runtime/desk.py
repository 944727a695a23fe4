"""The desk: requests are decided here, whoever brings them: a call in process, the socket, or the store itself.

Accepted is said only after the commit. A request that comes again under its key finds what it did the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec import Raw

from partita.choreography.dispatch import Dispatch
from partita.clock import US
from partita.errors import NotFound, PartitaError, Rejected, Unknown, sentences
from partita.limits import LIMITS
from partita.messages.codec import encode
from partita.messages.envelope import body_digest
from partita.messages.message import MessageType
from partita.orchestration.executor import AnyWorkflow, Executor
from partita.runtime.checks import check_kind, find_open_runs, not_started, read_start, unknown_type, unknown_workflow
from partita.runtime.commit import commit
from partita.runtime.declared import Declared
from partita.runtime.foreign import Foreign
from partita.runtime.mending import Mending
from partita.runtime.requests import Reply, Request, check_request, message_id_of, rejection
from partita.runtime.world import World
from partita.store.facts import Answered, Body, Dead, Handled, Incident, Requested, Returned, Started
from partita.store.port import Accepted, Answer, Lost, Refusal, RunRow
from partita.store.work import CLOSE_REQUEST
from partita.telemetry import Log
from partita.transports.outbox import Book, Draft, Origin, publish_encoded

log = Log(__name__)
Outcome = Literal["accepted", "rejected"]
_ADDING = {"emit", "send", "call", "start"}
"""What makes the engine owe more: refused while it owes too much already."""
_LOOKING = {"ping", "result"}
"""What changes nothing."""


class Desk:
    """Takes requests for one engine."""

    def __init__(
        self,
        book: Book,
        declared: Declared,
        world: World,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        dispatch: Dispatch,
        executor: Executor,
    ) -> None:
        self._book = book
        self._declared = declared
        self._world = world
        self._spawn = spawn
        self._dispatch = dispatch
        self._executor = executor
        self._foreign = Foreign(book, world)
        self._mending = Mending(book, world, dispatch=dispatch, executor=executor, foreign=self._foreign)
        self._deciders: dict[str, Callable[[Request], Coroutine[Any, Any, Reply]]] = {
            "ping": self._ping,
            "emit": self._publish,
            "send": self._publish,
            "call": self._publish,
            "start": self._start,
            "result": self._result,
            "put": self._foreign.put,
            "cancel": self._cancel,
        }
        self._starts = {workflow.group: workflow.starts_on for workflow in declared.workflows.values()}
        self.in_hand = 0
        """Requests being decided; those that only wait for an answer do not count."""
        self._caught_up = asyncio.Event()
        """What was accepted while no engine ran has been carried out: only then comes what is asked now."""
        self._caught_up.set()

    async def take(self, request: Request) -> Reply:
        """Decide one request. Never raises for what the request says: the reply says it."""
        self.in_hand += 1
        try:
            if request.op not in _LOOKING and not self._caught_up.is_set():
                await self._caught_up.wait()
            return await self._decide_or_say(request)
        finally:
            self.in_hand -= 1

    async def _decide_or_say(self, request: Request) -> Reply:
        try:
            return await self._decide(request)
        except Unknown as error:
            return Reply(status="unknown", key=request.key, why=str(error), remedy="Send it again with the same key.")
        except PartitaError as error:
            return rejection(request, error)

    def take_foreign(self, raw: bytes) -> None:
        """Take bytes that a foreign producer put on the wire."""
        self._spawn(self._take_foreign(raw))

    def take_owed_requests(self) -> None:
        """Carry out what was asked while no engine ran, in the order in which it was asked, before what comes now."""
        owed = self._world.store.work.list_requests()
        if owed:
            self.in_hand += 1
            self._caught_up.clear()
            self._spawn(self._take_owed([row.seq for row in owed]))

    async def _take_owed(self, seqs: list[int]) -> None:
        try:
            for seq in seqs:
                fact = self._world.store.trail.find_fact(seq)
                if fact is None or not isinstance(fact.body, Requested):
                    continue
                request = msgspec.json.decode(fact.body.request, type=Request)
                if request.op == "call":
                    request = msgspec.structs.replace(request, op="send")
                reply = await self._decide_or_say(request)
                if reply.status == "unknown":
                    return
                draft = Draft()
                draft.write(CLOSE_REQUEST, fact.body.id)
                rejected = reply.status == "rejected"
                outcome: Outcome = "rejected" if rejected else "accepted"
                why = sentences(reply.why, reply.remedy)
                body = Answered(id=fact.body.id, op=request.op, type=fact.body.type, outcome=outcome, why=why)
                draft.say(body, case=fact.case)
                await commit(self._world.store, draft)
                if rejected:
                    log.warning("request.turned_down", op=request.op, type=fact.body.type, case=fact.case, why=why)
        finally:
            self._caught_up.set()
            self.in_hand -= 1

    async def _take_foreign(self, raw: bytes) -> None:
        self.in_hand += 1
        try:
            await self._foreign.take(raw)
        finally:
            self.in_hand -= 1

    async def _decide(self, request: Request) -> Reply:
        check_request(request)
        if request.op in _ADDING:
            owing = len(self._dispatch.lanes)
            LIMITS.check(f"app {self._declared.name}: handlings owed", owing + 1, "owed_max")
        return await self._deciders.get(request.op, self._mending.mend)(request)

    async def _ping(self, request: Request) -> Reply:
        return Reply(status="accepted", key=request.key, note=self._declared.name)

    # Publishing and sending.

    async def _publish(self, request: Request) -> Reply:
        found = self._checked_type(request)
        message = self._book.catalog.decode_strict(request.type, request.version, bytes(request.data))
        data, case, also = encode(message), found.case_of(message), found.also_of(message)
        message_id = message_id_of(request)
        told: asyncio.Future[Handled | Dead] = asyncio.get_running_loop().create_future()

        def tell(body: Handled | Dead) -> None:
            if not told.done():
                told.set_result(body)

        if request.op == "call":
            self._dispatch.ask(message_id, tell)
        draft = Draft()
        origin = Origin(request.by or "outside", message_id)
        publish_encoded(draft, self._book, found, data, case=case, also=also, message_id=message_id, origin=origin)
        answer = await self._start_along(draft, message)
        if answer is None or (isinstance(answer, Refusal) and answer.why == "known run"):
            answer = await commit(self._world.store, draft, send=self._world.transport.send)
        if isinstance(answer, Accepted):
            reply = Reply(status="accepted", key=request.key, id=message_id, case=case or "")
        else:
            self._again(request, message_id, body_digest(data), answer)
            note = "it was taken before"
            reply = Reply(status="accepted", key=request.key, id=message_id, case=case or "", note=note)
            self._find_handled(message_id, case or "", told)
        if request.op != "call":
            return reply
        return await self._waited(
            reply, request, told, lambda: self._dispatch.forget_asking(message_id, tell), _call_reply
        )

    async def _start_along(self, draft: Draft, message: Any) -> Answer | None:
        """Publish and start the run that it starts in one unit, where nobody is before it in the workflow's lane.

        Not after an unclean end: a run that kills its process before it is durable would do so each time it is asked
        for; an event that goes the ordinary way is claimed before it is tried again.
        """
        if not self._world.clean:
            return None
        lanes = [
            lane
            for _, owed in draft.owed
            if self._starts.get(owed.group) == owed.envelope.type
            and (lane := self._dispatch.lanes.reserve(owed.lane)) is not None
        ]
        try:
            told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            if len(lanes) == 1 and self._executor.intake.start_along(draft, message, partial(_settle, told)):
                return await told
            return None
        finally:
            for lane in lanes:
                self._dispatch.lanes.release(lane)

    def _checked_type(self, request: Request) -> MessageType:
        found = self._book.catalog.find(request.type)
        if found is None:
            raise unknown_type(request, self._declared.name, [message.name for message in self._book.catalog])
        check_kind(request, found)
        return found

    def _again(self, request: Request, message_id: str, digest: bytes, answer: Answer) -> None:
        """A refused publish: the same request again is fine, another body under its key is not."""
        if isinstance(answer, Lost):
            raise Unknown("the store stopped", key=request.key)
        assert isinstance(answer, Refusal)
        row = self._world.store.trail.find_message(message_id)
        if row is None:
            raise Rejected(f"the store refused it: {answer.why}", "Run: partita doctor")
        if row.digest != digest:
            raise Rejected(
                f"key {request.key!r} was used for another {request.type or request.workflow}",
                "Send this one under a key of its own.",
            )

    def _find_handled(self, message_id: str, case: str, told: asyncio.Future[Handled | Dead]) -> None:
        for fact in reversed(self._world.store.trail.list_case_facts(case)):
            if isinstance(fact.body, Handled | Dead) and fact.body.message == message_id and not told.done():
                told.set_result(fact.body)

    async def _waited(
        self,
        reply: Reply,
        request: Request,
        told: asyncio.Future[Any],
        forget: Callable[[], None],
        read: Callable[[Reply, Any], Reply],
    ) -> Reply:
        """Wait for an answer as long as the request allows."""
        self.in_hand -= 1
        limit_s = None if request.timeout_us is None else request.timeout_us / US
        try:
            async with asyncio.timeout(limit_s):
                return read(reply, await told)
        except TimeoutError:
            return msgspec.structs.replace(reply, pending=True)
        finally:
            self.in_hand += 1
            forget()

    # Runs.

    def _workflow(self, request: Request) -> AnyWorkflow:
        found = self._declared.workflows.get(request.workflow)
        if found is None:
            raise unknown_workflow(request, self._declared.name, list(self._declared.workflows))
        return found

    async def _start(self, request: Request) -> Reply:
        workflow = self._workflow(request)
        message, case = read_start(request, workflow, self._book.catalog)
        message_id = message_id_of(request)
        told: asyncio.Future[tuple[str | None, str]] = asyncio.get_running_loop().create_future()
        self._executor.intake.start(
            workflow, message, case, message_id=message_id, told=lambda run, why: told.set_result((run, why))
        )
        run, why = await told
        if run is not None:
            return Reply(status="accepted", key=request.key, id=message_id, case=case, run=run)
        row = self._world.store.trail.find_message(message_id)
        fact = self._world.store.trail.find_fact(row.seq) if row is not None else None
        if fact is None or not isinstance(fact.body, Started):
            raise not_started(request, case, why)
        self._again(request, message_id, body_digest(encode(message)), Refusal(why))
        return Reply(
            status="accepted",
            key=request.key,
            id=message_id,
            case=case,
            run=fact.run or "",
            note="it was started before",
        )

    async def _result(self, request: Request) -> Reply:
        row = self._world.store.work.find_run(request.run)
        if row is None:
            raise NotFound(
                f"no run {request.run!r}", "A run's id is workflow/case/number, as `partita show` prints it."
            )
        told: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        self._tell_end(row, told)
        reply = Reply(status="accepted", key=request.key, run=request.run, case=row.case)
        return await self._waited(reply, request, told, lambda: None, _result_reply)

    def _tell_end(self, row: RunRow, told: asyncio.Future[Body]) -> None:
        """Tell of a run's end, or of what stopped it, now or when it comes; of one that continued as new, the last."""

        def ended(body: Body) -> None:
            following = self._find_following(row) if isinstance(body, Returned) and body.how == "again" else None
            if following is not None:
                self._tell_end(following, told)
            elif not told.done():
                told.set_result(body)

        if row.status == "open":
            self._executor.on_end(row.run, ended)
            return
        history = self._world.store.trail.list_history(row.run)
        ended(next(fact.body for fact in reversed(history) if isinstance(fact.body, Returned | Incident)))

    def _find_following(self, row: RunRow) -> RunRow | None:
        """The run as which another one continued."""
        later = [one for one in self._world.store.work.list_runs(row.case, row.workflow) if one.number > row.number]
        return next((one for one in later if one.parent_step == row.parent_step and one.parent == row.parent), None)

    async def _cancel(self, request: Request) -> Reply:
        rows = find_open_runs(request.case, self._world.store, self._book.topology, self._world.clock)
        for row in rows:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._executor.cancel(row.run, by=request.by, reason=request.reason, settled=partial(_set, done))
            await done
        return Reply(status="accepted", key=request.key, case=request.case, count=len(rows))


def _call_reply(reply: Reply, body: Handled | Dead) -> Reply:
    if isinstance(body, Dead):
        return msgspec.structs.replace(reply, failed=body.error or "Error", text=body.text, attempts=body.attempts)
    if body.outcome == "failed":
        return msgspec.structs.replace(reply, failed=body.error or "Error", text=body.reason, attempts=body.attempt)
    return msgspec.structs.replace(
        reply,
        answer_type=body.answer_type or "",
        answer_version=body.answer_version,
        answer=body.answer,
        note=body.reason or reply.note,
    )


def _result_reply(reply: Reply, body: Body) -> Reply:
    if isinstance(body, Incident):
        return msgspec.structs.replace(reply, failed=body.error, text=body.text)
    assert isinstance(body, Returned)
    if body.how != "returned":
        return msgspec.structs.replace(reply, failed=body.how, text=body.text or f"the run was {body.how}")
    return msgspec.structs.replace(reply, answer=body.value if bytes(body.value) else Raw(b"null"))


def _set(done: asyncio.Future[None], _refused: Refusal | None) -> None:
    done.set_result(None)


def _settle(told: asyncio.Future[Answer], answer: Answer) -> None:
    if not told.done():
        told.set_result(answer)
