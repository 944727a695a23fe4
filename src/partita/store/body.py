"""What every fact's body is, what it says where there is no value, and what a run waits for after a turn."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from msgspec import Raw

NOTHING = Raw(b"")
"""No value, in a fact that may carry one: it is left out of the stored body. `None` is a value, stored as `null`."""


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a fact of one kind says. `kind` is its name in the trail.

    It holds nothing but text, numbers and tuples of such, so the collector of circles need not look at it (`gc=False`).
    """

    kind: ClassVar[str] = ""


class OpenWait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A run waits for a message of one of these types."""

    step: str
    types: tuple[str, ...]
    since: int
    until: int | None = None


class OpenStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A local step, child, sleep, or call into another case that a run waits for."""

    step: str
    name: str
    since: int
    due: int | None = None
    """Of a sleep."""


class Open(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a run waits for after a turn: it rides in the last fact of that turn's unit (the `open` of its body)."""

    waits: tuple[OpenWait, ...] = ()
    steps: tuple[OpenStep, ...] = ()
    sleeps: tuple[OpenStep, ...] = ()
    wakes: int | None = None
    """When its earliest timer is due, limits included."""
    on_itself: bool = False
    """Nothing at all is open, calls included: only the run's own code could bring about what it waits for."""


class Unread(Body, frozen=True, kw_only=True):
    """A fact of a kind that this version does not know, kept as it is."""

    kind: ClassVar[str] = "unread"
    raw: Raw
    name: str = ""
