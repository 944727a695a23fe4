"""A bounded memory of what was used lately: two generations, the older one dropped when the younger is full."""

from __future__ import annotations

from typing import Generic

from typing_extensions import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Holds at least the last `count` used entries and at most twice as many."""

    __slots__ = ("_count", "_old", "_young")

    def __init__(self, count: int) -> None:
        self._count = count
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def find(self, key: K) -> V | None:
        """What was put under `key`, unless it has been forgotten."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Remember."""
        if len(self._young) >= self._count:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def drop(self, key: K) -> None:
        """Forget one."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._young.clear()
        self._old.clear()
