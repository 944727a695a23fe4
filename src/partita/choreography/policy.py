"""Policies: what is in force for one group and message type, and what a call says of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from partita.errors import ContractBroken, DefinitionError, Final, MessageError
from partita.retry import Retry
from partita.transports.port import Owed


@dataclass(frozen=True, slots=True)
class EdgePolicy:
    """What is in force for one group and message type."""

    retry: Retry
    timeout_us: int | None = None
    """How long one attempt may take; None: as long as any may."""
    concurrency: int | None = None
    hold: bool = False


class CallRetry(msgspec.Struct, frozen=True):
    """A call's own retry policy as it is stored with its obligation; durations as `"200ms"`."""

    attempts: int
    first: str
    factor: float
    most: str
    then: Literal["fail", "hold"]
    final: tuple[str, ...] = ()
    """Exceptions by module and name."""


def own_policy(policy: EdgePolicy, owed: Owed) -> EdgePolicy:
    """The policy of one handling: its call's own retry, where it has one, goes over the handler's."""
    if owed.retry is None:
        return policy
    own = msgspec.json.decode(owed.retry, type=CallRetry)
    return replace(policy, retry=Retry(own.attempts, own.first, own.factor, own.most, policy.retry.final, own.then))


def is_final(owed: Owed, error: BaseException, retry: Retry) -> bool:
    """Whether another attempt is pointless, as the handler's side says, or the call's, whose own list goes by names."""
    if isinstance(error, (Final, ContractBroken, DefinitionError, MessageError, *retry.final)):
        return True
    if owed.retry is None:
        return False
    named = msgspec.json.decode(owed.retry, type=CallRetry).final
    return any(f"{cls.__module__}.{cls.__qualname__}" in named for cls in type(error).__mro__)
