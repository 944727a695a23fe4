"""Every limit in one place: a number, and the setting that moves it."""

from __future__ import annotations

from dataclasses import dataclass

from partita.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are bytes, times are seconds. Hitting one is an error or an incident, never a loss."""

    payload_bytes_max: int = 2_097_152
    nesting_max: int = 64
    key_bytes_max: int = 200
    name_bytes_max: int = 200
    history_facts_max: int = 50_000
    run_acts_open_max: int = 10_000
    turn_callbacks_max: int = 100_000
    emitted_max: int = 1_000
    claims_max: int = 5
    batch_units_max: int = 1_000
    request_bytes_max: int = 4_194_304
    handlings_at_once_max: int = 256
    threads_max: int = 16
    runs_cached_max: int = 10_000
    run_idle_s: float = 60.0
    writer_warn_s: float = 0.05
    writer_interrupt_s: float = 1.0
    writer_dead_s: float = 10.0
    drain_s: float = 10.0
    error_text_max: int = 2_000

    def check(self, what: str, actual: int, setting: str) -> None:
        """Raise LimitExceeded, naming the setting, where `actual` is over it."""
        limit = int(getattr(self, setting))
        if actual > limit:
            raise LimitExceeded(what, actual=actual, limit=limit, setting=f"limits.{setting}")


LIMITS = Limits()
