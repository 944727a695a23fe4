"""Mending: dead letters redriven or given up, stopped runs retried, groups paused, resumed and retired."""

from __future__ import annotations

import asyncio
import base64

from partita.choreography.dispatch import Dispatch
from partita.choreography.handling import home
from partita.errors import MessageError, PartitaError, Rejected, Unknown, one_line
from partita.orchestration.executor import Executor
from partita.runtime.checks import check_group, find_dead, find_failed
from partita.runtime.commit import commit
from partita.runtime.declared import QUARANTINE
from partita.runtime.foreign import Foreign
from partita.runtime.requests import Reply, Request
from partita.runtime.world import World
from partita.store.facts import (
    Discarded,
    Fact,
    GroupPaused,
    GroupResumed,
    GroupRetired,
    Quarantined,
    Redriven,
)
from partita.store.port import Accepted, Answer, Lost, ObligationRow, Refusal, RunRow
from partita.store.work import CLEAR_GROUP, DISCARD_OBLIGATION, REOPEN_OBLIGATION, RETIRE_OBLIGATIONS, SET_GROUP
from partita.transports.outbox import Book, Draft, owed_from


class Mending:
    """Carries out what an operator asks for when something stands still."""

    def __init__(self, book: Book, world: World, *, dispatch: Dispatch, executor: Executor, foreign: Foreign) -> None:
        self._book = book
        self._world = world
        self._dispatch = dispatch
        self._executor = executor
        self._foreign = foreign

    async def mend(self, request: Request) -> Reply:
        """Carry out one request. Raises Rejected where there is nothing to mend."""
        match request.op:
            case "redrive" | "discard":
                return await self._dead(request)
            case "retry":
                return await self._retry(request)
            case "pause" | "resume" | "retire":
                return await self._group(request)
            case _:
                raise Rejected(f"{request.op} mends nothing", "See: partita --help")

    # Dead letters.

    async def _dead(self, request: Request) -> Reply:
        rows, refused = find_dead(request, self._world.store.work), list[Rejected]()
        for row in rows:
            await self._mend_dead(row, request, refused)
        return Reply(
            status="accepted",
            key=request.key,
            case=request.case or rows[0].case or "",
            count=_count_done(len(rows), refused),
            note="; ".join(error.why for error in refused),
        )

    async def _mend_dead(self, row: ObligationRow, request: Request, refused: list[Rejected]) -> None:
        """One of several: what can't be done stops nobody else, since others may have been done."""
        try:
            answer = await (self._discard(row, request) if request.op == "discard" else self._redrive(row, request))
        except Rejected as error:
            refused.append(error)
            return
        if isinstance(answer, Lost):
            raise Unknown("the store stopped", key=request.key)
        if isinstance(answer, Refusal) and answer.error is not None:
            refused.append(Rejected(f"{row.message}: {one_line(answer.error)}", "Run: partita doctor"))

    async def _redrive(self, row: ObligationRow, request: Request) -> Answer:
        fact = self._fact(row)
        draft = Draft()
        body = Redriven(message=row.message, group=row.group, type=row.type, case=row.case, by=request.by)
        index = draft.say(body, case=row.case)
        if isinstance(fact.body, Quarantined):
            draft.write(DISCARD_OBLIGATION, row.message, row.group, must="not dead")
            self._read_again(draft, fact.body)
        else:
            draft.write(REOPEN_OBLIGATION, row.message, row.group, must="not dead", fact=index)

        def send_again(answer: Accepted) -> None:
            if isinstance(fact.body, Quarantined):
                return
            owed = owed_from(fact, row.group, row)
            owed.position, owed.state, owed.attempts, owed.claims = answer.recorded[index].seq, "open", 0, 0
            owed.late, owed.due_at = True, 0
            self._dispatch.lanes.unblock(owed.lane, row.message)
            self._world.transport.send(owed)

        return await commit(self._world.store, draft, send=self._world.transport.send, accepted=send_again)

    def _read_again(self, draft: Draft, body: Quarantined) -> None:
        try:
            envelope, message = self._foreign.read(base64.b64decode(body.raw))
        except PartitaError as error:
            raise Rejected(
                f"{body.id} can't be read with this code either: {one_line(error)}",
                f"Give it up: partita dead discard {body.id}",
            ) from error
        self._foreign.write(draft, envelope, message)

    async def _discard(self, row: ObligationRow, request: Request) -> Answer:
        owed = None if row.group == QUARANTINE else owed_from(self._fact(row), row.group, row)
        draft = Draft()
        draft.write(DISCARD_OBLIGATION, row.message, row.group, must="not dead")
        body = Discarded(
            message=row.message,
            group=row.group,
            type=row.type,
            case=row.case,
            by=request.by,
            reason=request.reason,
            step=row.step,
        )
        case, also = (row.case, ()) if owed is None else home(owed)
        index = draft.say(body, case=case, run=row.caller, also=also)
        if row.caller is not None:
            self._executor.naming(row.caller)
        answer = await commit(self._world.store, draft)
        if row.caller is not None:
            recorded = answer.recorded[index] if isinstance(answer, Accepted) else None
            self._executor.named(row.caller, recorded, body)
        if owed is not None and isinstance(answer, Accepted):
            self._dispatch.lanes.unblock(owed.lane, row.message)
        return answer

    def _fact(self, row: ObligationRow) -> Fact:
        fact = self._world.store.trail.find_fact(row.seq)
        if fact is None:
            raise MessageError(f"fact {row.seq} of message {row.message} is not in the trail\nRun: partita doctor")
        return fact

    # Cases.

    async def _retry(self, request: Request) -> Reply:
        """Everything of a case that stands still: stopped runs go on, dead letters are redriven."""
        stopped, dead = find_failed(request.case, self._world.store, self._book.topology, self._world.clock)
        notes, refused = list[str](), list[Rejected]()
        for run in stopped:
            try:
                notes.append(f"{run.run}: {await self._retry_run(run, request)}")
            except Rejected as error:
                refused.append(error)
        for row in dead:
            await self._mend_dead(row, request, refused)
        return Reply(
            status="accepted",
            key=request.key,
            case=request.case,
            note="; ".join(notes + [error.why for error in refused]),
            count=_count_done(len(stopped) + len(dead), refused),
        )

    async def _retry_run(self, row: RunRow, request: Request) -> str:
        done: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        note = self._executor.retry(row.run, by=request.by, settled=done.set_result)
        refused = await done
        if refused is not None:
            raise Rejected(f"run {row.run} was not retried: {refused.why}", f"Look at it: partita show {row.case}")
        return note

    # Groups.

    async def _group(self, request: Request) -> Reply:
        group, now = request.group, self._world.clock.now_us()
        check_group(request, self._book.topology, self._world.store.work)
        draft, given_up = Draft(), list[tuple[int, ObligationRow]]()
        if request.op == "pause":
            draft.write(SET_GROUP, group, "paused", now, request.by)
            draft.say(GroupPaused(group=group, by=request.by), case=None, at=now)
            self._dispatch.lanes.pause(group)
        elif request.op == "resume":
            draft.write(CLEAR_GROUP, group)
            draft.say(GroupResumed(group=group, by=request.by), case=None)
        else:
            given_up = self._retire(draft, group, request, now)
        answer = await commit(self._world.store, draft)
        for index, row in given_up:
            if row.caller is not None:
                recorded = answer.recorded[index] if isinstance(answer, Accepted) else None
                self._executor.named(row.caller, recorded, draft.unit.facts[index].body)
        if isinstance(answer, Lost):
            raise Unknown("the store stopped", key=request.key)
        if request.op == "resume":
            self._dispatch.lanes.resume(group)
        return Reply(status="accepted", key=request.key, note=group, count=len(given_up))

    def _retire(self, draft: Draft, group: str, request: Request, now: int) -> list[tuple[int, ObligationRow]]:
        """A group that vanished from the code gives up what it owes."""
        rows = [row for row in self._world.store.work.list_obligations() if row.group == group]
        given_up: list[tuple[int, ObligationRow]] = []
        for row in rows:
            body = Discarded(
                message=row.message,
                group=group,
                type=row.type,
                case=row.case,
                by=request.by,
                reason="group retired",
                step=row.step,
            )
            case, also = home(owed_from(self._fact(row), group, row))
            given_up.append((draft.say(body, case=case, run=row.caller, also=also), row))
            if row.caller is not None:
                self._executor.naming(row.caller)
            self._dispatch.drop(row.message, group)
        draft.write(RETIRE_OBLIGATIONS, group)
        draft.write(SET_GROUP, group, "retired", now, request.by)
        draft.say(GroupRetired(group=group, closed=len(rows), by=request.by), case=None, at=now)
        return given_up


def _count_done(asked: int, refused: list[Rejected]) -> int:
    """How many of several things were done. Raises the first refusal where none was: then nothing happened."""
    if len(refused) == asked:
        raise refused[0]
    return asked - len(refused)
