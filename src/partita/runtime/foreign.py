"""Foreign producers: CloudEvents and plain JSON become messages, and what can't be handled is kept in quarantine.

Nothing that came in vanishes: bytes that are no envelope, types that nobody knows and bodies that do not fit are facts
with a reason and the raw bytes, dead letters of the group `quarantine`.
"""

from __future__ import annotations

import base64
from typing import Any

from partita.errors import MessageError, PartitaError, Rejected, one_line
from partita.limits import LIMITS
from partita.messages.cloudevents import from_cloudevent
from partita.messages.envelope import Envelope, body_digest, derive_id
from partita.runtime.commit import commit
from partita.runtime.declared import QUARANTINE
from partita.runtime.requests import Reply, Request
from partita.runtime.world import World
from partita.store.facts import Duplicate, Quarantined
from partita.store.port import Accepted, Answer, Lost, Refusal
from partita.store.work import OPEN_OBLIGATION
from partita.telemetry import Log
from partita.transports.outbox import Book, Draft, Origin, publish

log = Log(__name__)


class Foreign:
    """The door for messages of producers that do not use partita."""

    def __init__(self, book: Book, world: World) -> None:
        self._book = book
        self._world = world

    async def put(self, request: Request) -> Reply:
        """Take bytes that a request brings; says what became of them."""
        try:
            raw = base64.b64decode(request.raw, validate=True)
        except ValueError as error:
            raise Rejected(f"raw is not base64: {error}", "Encode the bytes of the message as base64.") from error
        answer, why = await self.take(raw)
        if isinstance(answer, Lost):
            return Reply(status="unknown", key=request.key, why="the store stopped")
        return Reply(status="accepted", key=request.key, note=why)

    async def take(self, raw: bytes) -> tuple[Answer, str]:
        """Take bytes: publish them, know them as a duplicate, or put them in quarantine; says which and why."""
        draft = Draft()
        try:
            envelope, message = self.read(raw)
            self.write(draft, envelope, message)
        except PartitaError as error:
            return await self._quarantine(raw, one_line(error, LIMITS.error_text_max))
        answer = await commit(self._world.store, draft, send=self._world.transport.send)
        if isinstance(answer, Accepted | Lost):
            return answer, ""
        return await self._known(raw, envelope, message)

    def read(self, raw: bytes) -> tuple[Envelope, Any]:
        """The envelope and the message in it. Raises MessageError for what can't be handled."""
        envelope = self._envelope(raw)
        if self._book.catalog.find(envelope.type) is None:
            raise MessageError(f"no message type {envelope.type!r} is known here\nDeclare it, then redrive this.")
        return envelope, self._book.catalog.decode_strict(envelope.type, envelope.version, envelope.data)

    def write(self, draft: Draft, envelope: Envelope, message: Any) -> None:
        """Write the publishing of a foreign message."""
        origin = Origin(envelope.source or "a foreign producer", envelope.correlation or envelope.id, envelope.causes)
        publish(draft, self._book, message, message_id=envelope.id, origin=origin)

    def _envelope(self, raw: bytes) -> Envelope:
        return from_cloudevent(raw, now_us=self._world.clock.now_us(), new_id=self._world.clock.new_id)

    async def _known(self, raw: bytes, envelope: Envelope, message: Any) -> tuple[Answer, str]:
        row = self._world.store.trail.find_message(envelope.id)
        if row is None or row.digest != body_digest(self._book.catalog.encode(message)[1]):
            return await self._quarantine(raw, f"id {envelope.id} was used for another message")
        draft = Draft()
        found, _ = self._book.catalog.encode(message)
        case = found.case_of(message)
        draft.say(Duplicate(message=envelope.id, type=envelope.type, case=case), case=case)
        return await commit(self._world.store, draft), "it was taken before"

    async def _quarantine(self, raw: bytes, reason: str) -> tuple[Answer, str]:
        try:
            envelope = self._envelope(raw)
            message_type, case = envelope.type, envelope.case
        except PartitaError:
            message_type, case = "", None
        if case is not None and ":" not in case:
            case = None
        kept = derive_id(QUARANTINE, raw.hex())
        draft = Draft()
        body = Quarantined(
            id=kept, type=message_type, case=case, reason=reason, raw=base64.b64encode(raw).decode("ascii")
        )
        index = draft.say(body, case=case)
        draft.write(
            OPEN_OBLIGATION,
            kept,
            QUARANTINE,
            message_type,
            case,
            "dead",
            0,
            None,
            None,
            None,
            must="known obligation",
            fact=index,
        )
        log.warning("message.quarantined", id=kept, type=message_type, reason=reason)
        answer = await commit(self._world.store, draft)
        if isinstance(answer, Refusal):
            draft = Draft()
            draft.say(Duplicate(message=kept, type=message_type, case=case), case=case)
            answer = await commit(self._world.store, draft)
        return answer, f"in quarantine as {kept}: {reason}"
