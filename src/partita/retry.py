"""Durations as people write them, and how long to wait before the next attempt."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from partita.clock import US
from partita.errors import DefinitionError, RetryLater
from partita.limits import LIMITS

Duration = str | timedelta
"""`"200ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`, `"2w"`, sums of them (`"1h30m"`), or a timedelta."""

_UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": US,
    "m": 60 * US,
    "h": 3_600 * US,
    "d": 86_400 * US,
    "w": 7 * 86_400 * US,
}
_ENDLESS_US = 1e30
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")


def duration_us(duration: Duration) -> int:
    """A duration in microseconds. Raises DefinitionError for what is none, or too long."""
    if isinstance(duration, timedelta):
        whole = (duration.days * 86_400 + duration.seconds) * US + duration.microseconds
    else:
        whole = _parse(duration)
    if whole < 0:
        raise DefinitionError(f"duration {duration!r} is negative\nGive a length of time from now on.")
    if whole > LIMITS.timer_s_max * US:
        raise DefinitionError(
            f"duration {duration!r:.60} is over {LIMITS.timer_s_max:,} s\n"
            "Give a shorter one, or raise limits.timer_s_max."
        )
    return whole


def optional_us(duration: Duration | None) -> int | None:
    """The same, with None for None."""
    return None if duration is None else duration_us(duration)


def _parse(text: str) -> int:
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise DefinitionError(
            f'{text!r:.60} is not a duration\nWrite it as "200ms", "30s", "5m", "2h", "7d" or "1h30m".'
        )
    # A number of hundreds of digits is infinite as a float: longer than any limit, and no overflow.
    return sum(round(min(float(number) * _UNITS_US[unit], _ENDLESS_US)) for number, unit in parts)


def say_duration(us: int) -> str:
    """A length of time for a person: its two largest units."""
    if us < US:
        return f"{us // 1_000} ms"
    words: list[str] = []
    for unit, word in (("d", "d"), ("h", "h"), ("m", "min"), ("s", "s")):
        count, us = divmod(us, _UNITS_US[unit])
        if count:
            words.append(f"{count} {word}")
    return " ".join(words[:2])


class AttemptLimit:
    """`async with AttemptLimit(timeout_us, "billing.charge"):` ends one attempt that takes too long. For one use.

    Without a timeout of its own an attempt may take `limits.attempt_s`. The TimeoutError says which limit it was.
    """

    __slots__ = ("_scope", "_timeout_us", "_what")

    def __init__(self, timeout_us: int | None, what: str) -> None:
        self._timeout_us = timeout_us
        self._what = what

    async def __aenter__(self) -> None:
        limit_s = LIMITS.attempt_s if self._timeout_us is None else self._timeout_us / US
        self._scope = asyncio.timeout(limit_s)
        await self._scope.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self._scope.__aexit__(*raised)
        except TimeoutError as error:
            raise late(self._timeout_us, self._what) from error


def late(timeout_us: int | None, what: str) -> TimeoutError:
    """What an attempt fails with that took longer than its timeout, or, without one, than any may take."""
    if timeout_us is None:
        allowed, remedy = f"{say_duration(int(LIMITS.attempt_s * US))} (limits.attempt_s)", "Give it a timeout="
    else:
        allowed, remedy = f"its timeout of {say_duration(timeout_us)}", "Raise that"
    return TimeoutError(f"{what} took longer than {allowed}. {remedy}, or let it end sooner.")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and after how long, what raised is tried again.

    `attempts` counts the first one too. The wait before attempt n+1 is `first * factor ** (n - 1)`, at most `most`,
    less a jitter of up to a quarter. `final` names exceptions that are not worth another attempt. `then="hold"` keeps a
    call open as an incident, once the attempts are spent, until somebody redrives or discards it.
    """

    attempts: int = 5
    first: Duration = "200ms"
    factor: float = 2.0
    most: Duration = "1m"
    final: tuple[type[BaseException], ...] = ()
    then: Literal["fail", "hold"] = "fail"

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.factor < 1:
            raise DefinitionError(f"{self!r} never tries\nGive attempts >= 1 and factor >= 1.")
        duration_us(self.first)
        duration_us(self.most)

    def delay_us(self, attempt: int, chance: float) -> int:
        """Microseconds to wait after attempt number `attempt` (from 1) failed; `chance` in [0, 1) is the jitter."""
        most = duration_us(self.most)
        steps = min(attempt - 1, 64)  # beyond that every factor above 1 has long reached `most`
        whole = min(duration_us(self.first) * self.factor**steps, most)
        return round(whole * (1 - chance / 4))


def is_failure(error: BaseException) -> bool:
    """Whether foreign code has failed, whatever it raised; not that this process, or the task around it, has to end."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        return False
    task = asyncio.current_task()
    return not isinstance(error, asyncio.CancelledError) or task is None or not task.cancelling()


def delay_after(error: BaseException, attempt: int, retry: Retry, chance: float) -> int:
    """Microseconds to wait after an attempt that raised: what RetryLater asks for, otherwise what the policy says.

    Raises DefinitionError where RetryLater asks for what is no duration.
    """
    if isinstance(error, RetryLater) and error.after is not None:
        return duration_us(error.after)
    return retry.delay_us(attempt, chance)


DEFAULT_RETRY = Retry()
