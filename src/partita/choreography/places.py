"""Places: how many handlings are made at once, of each kind and in all, and which lanes wait for a place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from partita.choreography.lanes import Lane

Kind = tuple[str, str]
"""A group and a message type."""


@dataclass(slots=True)
class _Room:
    limit: int
    taken: int = 0
    waiting: deque[Lane] = field(default_factory=deque[Lane])


class Places:
    """Counts what is being made."""

    def __init__(self, limit: int) -> None:
        self._all = _Room(limit)
        self._rooms: dict[Kind, _Room] = {}

    @property
    def taken(self) -> int:
        """How many are being made."""
        return self._all.taken

    def take(self, kind: Kind, limit: int | None, lane: Lane) -> bool:
        """Take a place for the head of a lane; without one, the lane waits."""
        own = self._rooms.setdefault(kind, _Room(limit or self._all.limit))
        for room in (own, self._all):
            if room.taken >= room.limit:
                room.waiting.append(lane)
                return False
        own.taken += 1
        self._all.taken += 1
        return True

    def free(self, kind: Kind) -> Iterator[Lane]:
        """Give a place back, where one was taken; the lanes that may try now, for as long as there is a place."""
        own = self._rooms.get(kind)
        if own is None or own.taken == 0:
            return
        own.taken -= 1
        self._all.taken -= 1
        for room in (own, self._all):
            while room.waiting and room.taken < room.limit:
                yield room.waiting.popleft()

    def clear(self) -> Iterator[Lane]:
        """Let everybody who waits go."""
        for room in (*self._rooms.values(), self._all):
            while room.waiting:
                yield room.waiting.popleft()
