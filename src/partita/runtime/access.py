"""Access: another process at the store: through the engine that holds it, or, where none does, by leaving a request.

Without an engine a request is written into the trail as a fact that is owed to the next one; the lock is held only that
long. Reading never needs the lock.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from partita.clock import US, Clock, SystemClock
from partita.errors import MessageError, Rejected, StoreError, StoreHeld
from partita.messages.topology import Topology
from partita.runtime.backends import Holder, Shelf, find_holder, read, take
from partita.runtime.checks import check_left
from partita.runtime.client import Client, LocalClient
from partita.runtime.commit import commit
from partita.runtime.declared import Declared
from partita.runtime.door import ask_door
from partita.runtime.look import Look
from partita.runtime.requests import Reply, Request, check_request, rejection
from partita.runtime.running import check_app
from partita.store.facts import Requested
from partita.store.port import Accepted, Lost, Reader, Store
from partita.store.work import OWE_REQUEST
from partita.transports.outbox import Draft

_NEEDS_ENGINE = {"result"}
PATIENCE_S = 5.0
"""How long one holder may take to listen, or to let go."""


class Runnable(Protocol):
    """What access needs of an app."""

    name: str
    declared: Declared

    def run(self, store: str | Path | None = None) -> AbstractAsyncContextManager[LocalClient]: ...


class Access:
    """One store, seen from a process that does not run its engine."""

    def __init__(self, path: Path, app: Runnable | None, clock: Clock) -> None:
        self.path = path
        self.app = app
        self._clock = clock
        self._reader: Reader | None = None
        self._look: Look | None = None

    @property
    def holder(self) -> Holder | None:
        """Who holds the store."""
        return find_holder(self.path)

    @property
    def running(self) -> bool:
        """Whether an engine holds the store: one that listens, not another command that leaves a request."""
        holder = self.holder
        return holder is not None and holder.socket.is_socket()

    @property
    def look(self) -> Look:
        """The monitor's answers. Raises StoreError where there is no store."""
        if self._look is None:
            reader = self._reader = read(self.path, clock=self._clock)
            self._look = Look(
                reader.trail, reader.work, reader.cases, clock=self._clock, is_running=lambda: self.running
            )
        return self._look

    async def ask(self, request: Request) -> Reply:
        """Ask the engine that holds the store; without one, leave the request for the next.

        A holder that does not listen is starting, stopping, or another command that leaves a request: it is waited for.
        """
        try:
            check_request(request)
        except (Rejected, MessageError) as error:
            return rejection(request, error)
        waited_for, give_up_at, refused = None, 0, 0
        while True:
            holder = self.holder
            if give_up_at == 0 or holder != waited_for:
                waited_for, give_up_at = holder, self._clock.now_us() + int(PATIENCE_S * US)
            try:
                return await (self._leave(request) if holder is None else ask_door(holder.socket, request))
            except (Rejected, MessageError) as error:
                return rejection(request, error)
            except (OSError, StoreError) as error:
                refused += holder is None and not isinstance(error, StoreHeld)
                if refused > 1:  # once may have been a race with another process's first steps
                    raise
                if self._clock.now_us() > give_up_at:
                    raise _silent(self.path, holder, error) from error
            await self._clock.sleep(0.02 + 0.03 * self._clock.chance())

    def close(self) -> None:
        """Let the file go."""
        if self._reader is not None:
            self._reader.close()
        self._reader = self._look = None

    async def _leave(self, request: Request) -> Reply:
        if request.op in _NEEDS_ENGINE:
            raise Rejected("no engine runs on this store", f"Start one: {self._remedy()}")
        shelf = Shelf()
        store = take(self.path, clock=self._clock, app=self.app.name if self.app else "", shelf=shelf)
        try:
            if self.app is not None:
                check_app(store, self.app.name, self.path)
                store.register_topology(self.app.declared.topology)
            topology = self._topology(store.trail.find_topology())
            declared = self.app.declared if self.app is not None else None
            case = check_left(request, store, topology, declared, self._clock)
            kept = msgspec.structs.replace(request, op="send" if request.op == "call" else request.op)
            draft = Draft()
            body = Requested(
                request=Raw(msgspec.json.encode(kept)),
                id=request.key,
                op=kept.op,
                type=request.type or request.workflow or request.group,
                by=request.by,
            )
            index = draft.say(body, case=case or None)
            draft.write(OWE_REQUEST, request.key, must="known request", fact=index)
            answer = await commit(store, draft)
            known = next((one for one in _left(store) if one.id == request.key), None)
        finally:
            await store.close(clean=store.clean)
        if isinstance(answer, Lost):
            return Reply(status="unknown", key=request.key, why="the store stopped")
        note = f"queued: no engine runs; carried out by: {self._remedy()}"
        if not isinstance(answer, Accepted):
            if known is not None and bytes(known.request) != bytes(body.request):
                raise Rejected(
                    f"key {request.key!r} was used for another {known.type}", "Send this one under a key of its own."
                )
            note = f"queued before; carried out by: {self._remedy()}"
        return Reply(status="accepted", key=request.key, case=case, note=note, queued=True)

    def _remedy(self) -> str:
        return f"partita dev {self.app_name} --store {self.path}"

    @property
    def app_name(self) -> str:
        """How the app is named in a command."""
        return getattr(self.app, "place", None) or "MODULE:APP"

    def _topology(self, stored: Topology | None) -> Topology:
        if self.app is not None:
            return self.app.declared.topology
        if stored is None:
            raise Rejected(f"store {self.path} is new, and no app is known", "Name the app: --app module:name.")
        return stored


def _silent(path: Path, holder: Holder | None, error: Exception) -> StoreError:
    """Somebody holds the store, and nobody listens."""
    who = f"process {holder.pid}" if holder else "another process"
    if holder is None or holder.socket.exists():
        return StoreError(
            f"store {path}: {who} holds it and does not answer: {error}\nIt may be starting or stopping: try again."
        )
    return StoreError(
        f"store {path}: {who} holds it, and its socket {holder.socket} is not there\n"
        f"It may be starting or stopping: try again. If it stays away, start that engine anew (kill {holder.pid}):"
        " it makes its socket when it starts, and nothing is lost."
    )


def _left(store: Store) -> Iterator[Requested]:
    """What was asked before and is still owed."""
    for row in store.work.list_requests():
        fact = store.trail.find_fact(row.seq)
        if fact is not None and isinstance(fact.body, Requested):
            yield fact.body


@asynccontextmanager
async def open_access(path: Path, app: Runnable | None = None, clock: Clock | None = None) -> AsyncGenerator[Access]:
    """Access to a store while the block lasts."""
    access = Access(path, app, clock or SystemClock())
    try:
        yield access
    finally:
        access.close()


@asynccontextmanager
async def open_client(app: Runnable, path: Path) -> AsyncGenerator[Client]:
    """A client of whoever runs the app on that store."""
    clock = SystemClock()
    async with open_access(path, app, clock) as access:
        yield Client(app.declared.catalog, access.ask, _Lazy(access), clock)


class _Lazy:
    """Opens the reader when somebody looks: a store may not be there before the first request."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def find_where(self, case: str) -> Any:
        return self._access.look.find_where(case)
