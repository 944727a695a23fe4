"""Every limit in one place: a number, and the setting that moves it.

`LIMITS` holds what is in force in this process. An app brings its own with `App(limits=Limits(...))`; the operator's
word, `[limits]` in partita.toml and `PARTITA_LIMITS_...` in the environment, goes over it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from partita.errors import DefinitionError, LimitExceeded, suggest

_NESTING_MOST = 500  # deeper, Python's own reader of JSON gives up
_ORDERED = (
    ("writer_interrupt_s", "writer_dead_s"),
    ("turn_interrupt_s", "turn_dead_s"),
)


@dataclass(slots=True, kw_only=True)
class Limits:
    """Sizes are bytes, times are seconds. Hitting one is an error or an incident, never a loss."""

    payload_bytes_max: int = 2_097_152
    nesting_max: int = 64
    key_bytes_max: int = 200
    name_bytes_max: int = 200
    request_bytes_max: int = 4_194_304
    visitors_max: int = 500
    owed_max: int = 1_000_000
    history_facts_max: int = 50_000
    run_acts_open_max: int = 10_000
    turn_callbacks_max: int = 100_000
    emitted_max: int = 1_000
    timer_s_max: int = 316_224_000
    claims_max: int = 5
    attempt_s: float = 300.0
    batch_units_max: int = 1_000
    handlings_at_once_max: int = 256
    threads_max: int = 16
    runs_cached_max: int = 10_000
    run_idle_s: float = 60.0
    turn_warn_s: float = 0.05
    turn_interrupt_s: float = 3.0
    turn_dead_s: float = 10.0
    writer_warn_s: float = 0.05
    writer_interrupt_s: float = 1.0
    writer_dead_s: float = 10.0
    drain_s: float = 10.0
    error_text_max: int = 2_000

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name))
        for names in _ORDERED:
            values = [getattr(self, name) for name in names]
            if values != sorted(values):
                said = ", ".join(f"limits.{name} = {value:g}" for name, value in zip(names, values, strict=True))
                raise DefinitionError(f"{said}: each has to come after the one before\nGive them in rising order.")

    def check(self, what: str, actual: int, setting: str) -> None:
        """Raise LimitExceeded, naming the setting, where `actual` is over it."""
        limit = int(getattr(self, setting))
        if actual > limit:
            raise LimitExceeded(what, actual=actual, limit=limit, setting=f"limits.{setting}")

    def with_settings(self, settings: Mapping[str, object]) -> Limits:
        """These limits with some moved. Raises DefinitionError for a name or a value that is none."""
        for name, value in settings.items():
            check_setting(name, value)
        moved: dict[str, Any] = dict(settings)
        return replace(self, **moved)


def check_setting(name: str, value: object) -> None:
    """Raise DefinitionError for what is no limit, or no value of it."""
    known = [each.name for each in fields(Limits)]
    if name not in known:
        raise DefinitionError(f"limits.{name} is no limit\n{suggest(name, known) or 'docs/limits.md lists them.'}")
    _check(name, value)


def _check(name: str, value: object) -> None:
    whole = not name.endswith("_s")
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        kind = "a whole number" if whole else "a number of seconds"
        raise DefinitionError(f"limits.{name} is {value!r:.40}, not {kind}\nWrite it without quotes or a unit.")
    if not 0 < value < 2**53:
        raise DefinitionError(f"limits.{name} is {value!r:.40}\nA limit is above 0, and finite.")
    if name == "nesting_max" and value > _NESTING_MOST:
        raise DefinitionError(f"limits.{name} is {value}\nAt most {_NESTING_MOST}: readers of JSON give up beyond.")


LIMITS = Limits()
"""What is in force in this process: read at each use, moved by `put_in_force` and `in_force` alone."""

_running: list[Limits] = []


def put_in_force(limits: Limits) -> None:
    """Let these limits hold in this process."""
    for each in fields(limits):
        setattr(LIMITS, each.name, getattr(limits, each.name))


@contextmanager
def in_force(limits: Limits) -> Generator[None]:
    """Let these limits hold in this process while the block runs.

    Raises DefinitionError where another block holds others: they are the process's, so two apps in one share them.
    """
    other = next((one for one in _running if one != limits), None)
    if other is not None:
        names = ", ".join(each.name for each in fields(other) if _differ(other, limits, each.name))
        raise DefinitionError(
            f"another app runs in this process under other limits: {names}\n"
            "Give both apps the same, or run each in a process of its own."
        )
    before = replace(LIMITS)
    _running.append(limits)
    put_in_force(limits)
    try:
        yield
    finally:
        _running.remove(limits)
        if not _running:
            put_in_force(before)


def _differ(one: Limits, other: Limits, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))
