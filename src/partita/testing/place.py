"""Where a hire meets its trouble: the world outside, as handlers and steps find it, and the hire's own key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Protocol

from partita.messages.message import Case

HireId = Annotated[str, Case("hire")]


def trouble_of(hire_id: str) -> str:
    """What will go wrong with a hire: `call-held-3` is the third whose call will be held."""
    return hire_id.rpartition("-")[0]


class World(Protocol):
    """What handlers and steps meet."""

    @property
    def mended(self) -> bool:
        """Whether what was broken works again."""
        ...

    def kill(self) -> None:
        """End this process."""
        ...


@dataclass(slots=True)
class Peace:
    """A world in which nothing is broken."""

    mended: bool = True

    def kill(self) -> None:
        """Nobody dies."""


@dataclass(slots=True)
class _Place:
    world: World = field(default_factory=Peace)


_here = _Place()


def use(world: World) -> None:
    """Let this be the world that handlers and steps meet."""
    _here.world = world


def meets(hire_id: str, *troubles: str) -> bool:
    """Whether a hire meets one of these troubles, here and now."""
    return trouble_of(hire_id) in troubles and not _here.world.mended


def kill() -> None:
    """End the process in which this is called."""
    _here.world.kill()
