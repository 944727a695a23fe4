"""What a handler is handed beside its message, and what it may answer beside messages."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self, TypeVar

from typing_extensions import TypeForm

from partita.messages.message import Event
from partita.retry import Duration

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Delivery:
    """Injected where a handler or a step asks for it; `id` is the idempotency key to hand to the outside world.

    `attempt` counts from 1. `causes` are `message/group#attempt`.
    """

    id: str
    case: str | None
    attempt: int
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Noop:
    """The answer "nothing to do", with its reason."""

    reason: str


def noop(reason: str) -> Noop:
    """Answer that there was nothing to do, and why: `why` will quote it."""
    return Noop(reason)


@dataclass(frozen=True, slots=True)
class Waits:
    """A choreographed wait: the case stays open until one of these events arrives, or is overdue."""

    events: object
    within: Duration | None
    who: str | None


def waits_for(events: TypeForm[Event], /, *, within: Duration | None = None, who: str | None = None) -> Waits:
    """Answer that the case now waits for one of these events, how long at most, and for whom."""
    return Waits(events, within, who)


_rollback: ContextVar[watch_rollback | None] = ContextVar("partita_rollback", default=None)


def rollback(answer: T, /) -> T:
    """Answer so, but keep none of the handler's own writes. Returns its argument, and outside a handling no more."""
    watched = _rollback.get()
    if watched is not None:
        watched.asked = True
    return answer


class watch_rollback:  # noqa: N801 - used like a function: `with watch_rollback() as watched`
    """Around one call of a handler: was `rollback` asked for?"""

    __slots__ = ("_token", "asked")

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._token = _rollback.set(self)
        return self

    def __exit__(self, *_raised: object) -> None:
        _rollback.reset(self._token)
