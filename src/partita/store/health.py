"""Health: what a look at a store from outside finds, one finding for each thing that can be wrong."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    """file, format, app, lock, disk, pages, chain"""
    well: bool
    said: str
    remedy: str = ""
    """What to do where it is not well."""
    facts: dict[str, int | str | None] = {}
    """The figures behind what is said, by stable names."""
