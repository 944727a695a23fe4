"""The client: what a program does with an app: start, emit, call, look where a case is.

The same client works in the engine's own process, beside an engine in another process, and when none runs: then what is
asked is written down, owed to the next engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, cast

import msgspec
from msgspec import Raw
from typing_extensions import TypeVar

from partita.clock import US, Clock
from partita.errors import CallTimeout, NotFound
from partita.messages.catalog import Catalog
from partita.messages.codec import decode, encode
from partita.messages.message import AnyCommand, Command, Event, is_message, type_of
from partita.monitor.cases import Where
from partita.orchestration.workflow import Workflow
from partita.retry import Duration, duration_us, optional_us
from partita.runtime.look import Look
from partita.runtime.requests import Reply, Request, checked

A = TypeVar("A")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True, default=None)
Ask = Callable[[Request], Awaitable[Reply]]
Settle = Callable[[float], Awaitable[None]]


class Looking(Protocol):
    """Reads the monitor."""

    def find_where(self, case: str) -> Where | None: ...


class Run(Generic[R_co]):
    """A started run. `id` is `workflow/case/number`."""

    def __init__(self, run: str, case: str, ask: Ask, new_key: Callable[[], str], returns: object) -> None:
        self.id = run
        self.case = case
        self._ask = ask
        self._new_key = new_key
        self._returns = returns

    async def result(self, *, timeout: Duration | None = None) -> R_co:
        """What the workflow returned.

        Raises CallFailed where the run stopped or was cancelled, CallTimeout where it has not ended in time, Rejected
        where no engine runs.
        """
        request = Request(op="result", key=self._new_key(), run=self.id, timeout_us=optional_us(timeout))
        reply = checked(await self._ask(request))
        return cast("R_co", decode(bytes(reply.answer or b"null"), self._returns))


class Client:
    """A door to one app on one store.

    Every call that changes something takes a `key`: sent again with the same key, it has its effect once. Raises
    Rejected where nothing happened, Unknown where the answer was lost.
    """

    def __init__(self, catalog: Catalog, ask: Ask, look: Looking, clock: Clock) -> None:
        self._catalog = catalog
        self._ask = ask
        self._look = look
        self._clock = clock

    async def start(
        self, workflow: Workflow[A, R], message: A, /, *, case: str | None = None, key: str | None = None
    ) -> Run[R]:
        """Start a run of a workflow for the message's case (or `case`). Rejected where the case has a run of it."""
        version = type_of(message).version if is_message(message) else 1
        request = Request(
            op="start",
            key=self._key(key),
            workflow=workflow.__name__,
            data=Raw(encode(message)),
            version=version,
            case=case or "",
        )
        reply = checked(await self._ask(request))
        return Run(reply.run, reply.case, self._ask, self._clock.new_id, workflow.returns)

    async def emit(self, event: Event, /, *, key: str | None = None) -> None:
        """Publish an event that happened outside; returns when it is durable."""
        checked(await self._ask(self._message("emit", event, key)))

    async def send(self, command: AnyCommand, /, *, key: str | None = None) -> None:
        """Send a command; returns when it is durable, without waiting for its answer."""
        checked(await self._ask(self._message("send", command, key)))

    async def call(self, command: Command[R], /, *, timeout: Duration | None = None, key: str | None = None) -> R:
        """Send a command and wait for its answer.

        Raises CallFailed where its handler failed for good, CallTimeout where no answer came in time (the outcome is
        then unknown; the command stays sent).
        """
        request = self._message("call", command, key, timeout=timeout)
        return cast("R", self._answer(command, checked(await self._ask(request))))

    async def where(self, case: str, /) -> Where:
        """Where a case is. Raises NotFound for a case that nobody has heard of."""
        found = await self.find_where(case)
        if found is None:
            raise NotFound(f"no case {case!r}", "A case is named type:key, as in order:12345.")
        return found

    async def find_where(self, case: str, /) -> Where | None:
        """Where a case is, or None."""
        return self._look.find_where(case)

    async def ask(self, request: Request, /) -> Reply:
        """Put any request, as the command line does; the reply says what came of it."""
        return await self._ask(request)

    def new_key(self) -> str:
        """A fresh key for a request."""
        return self._clock.new_id()

    def _key(self, key: str | None) -> str:
        return self._clock.new_id() if key is None else key

    def _message(self, op: str, message: object, key: str | None, *, timeout: Duration | None = None) -> Request:
        found, data = self._catalog.encode(message)
        found.case_of(message)
        plain = {
            "op": op,
            "key": self._key(key),
            "type": found.name,
            "version": found.version,
            "timeout_us": optional_us(timeout),
        }
        return msgspec.structs.replace(msgspec.convert(plain, Request), data=Raw(data))

    def _answer(self, command: AnyCommand, reply: Reply) -> Any:
        if reply.queued:
            raise CallTimeout(
                f"no engine runs: the command is kept for the next one, and has no answer yet (key {reply.key})"
            )
        if not bytes(reply.answer):
            return None
        if reply.answer_type:
            return self._catalog.decode(reply.answer_type, reply.answer_version, bytes(reply.answer))
        return decode(bytes(reply.answer), type_of(command).answer)


class LocalClient(Client):
    """A client in the engine's own process: it can also look at everything, and wait until nothing moves."""

    def __init__(self, catalog: Catalog, ask: Ask, look: Look, clock: Clock, settle: Settle) -> None:
        super().__init__(catalog, ask, look, clock)
        self.look = look
        self._settle = settle

    async def settle(self, *, horizon: Duration = "0ms") -> None:
        """Return when nothing moves, and nothing is due within `horizon` from now."""
        await self._settle(duration_us(horizon) / US)
