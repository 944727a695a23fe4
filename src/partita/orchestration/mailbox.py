"""The mailbox of a run: what has been received and not yet asked for, and who waits for what.

A message is consumed once. Messages are taken in the order they came, receivers are served in the order they asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import merge
from typing import Any, NamedTuple

Where = Callable[[Any], bool]


class Letter(NamedTuple):
    """A received message and its place in the order of coming."""

    place: int
    message: Any


@dataclass(slots=True, eq=False)
class Receiver:
    """Somebody who waits for one message of these classes."""

    classes: tuple[type[Any], ...]
    where: Where | None
    take: Callable[[Letter], None]
    fail: Callable[[Exception], None]

    def wants(self, message: Any) -> bool:
        """Whether it takes this one."""
        return isinstance(message, self.classes) and (self.where is None or bool(self.where(message)))


def class_of(message: object) -> type[Any]:
    """The class of whatever message."""
    return type(message)


class Mailbox:
    """Buffers messages by class."""

    def __init__(self) -> None:
        self._came = 0
        self._buffers: dict[type[Any], deque[Letter]] = {}
        self._receivers: dict[Receiver, None] = {}

    def put(self, message: Any) -> None:
        """A message came."""
        self._came += 1
        self._offer(Letter(self._came, message))

    def put_back(self, letter: Letter) -> None:
        """Whoever had taken this one never saw it: it takes its old place."""
        if not self._hand_over(letter):
            buffer = self._buffer(letter)
            buffer.appendleft(letter)
            self._buffers[class_of(letter.message)] = deque(sorted(buffer, key=lambda one: one.place))

    def take(self, classes: tuple[type[Any], ...], where: Where | None) -> Letter | None:
        """The oldest buffered message of these classes that fits, or None."""
        fitting = [found for cls, found in self._buffers.items() if found and issubclass(cls, classes)]
        if not fitting:
            return None
        if where is None:
            return min(fitting, key=lambda buffer: buffer[0].place).popleft()
        for letter in merge(*fitting, key=lambda one: one.place):
            if where(letter.message):
                self._buffers[class_of(letter.message)].remove(letter)
                return letter
        return None

    def wait(self, receiver: Receiver) -> None:
        """Serve this one when something comes."""
        self._receivers[receiver] = None

    def leave(self, receiver: Receiver) -> None:
        """It waits no longer."""
        self._receivers.pop(receiver, None)

    def _offer(self, letter: Letter) -> None:
        if not self._hand_over(letter):
            self._buffer(letter).append(letter)

    def _buffer(self, letter: Letter) -> deque[Letter]:
        return self._buffers.setdefault(class_of(letter.message), deque())

    def _hand_over(self, letter: Letter) -> bool:
        for receiver in list(self._receivers):
            try:
                wanted = receiver.wants(letter.message)
            except Exception as error:  # noqa: BLE001 - a predicate of the users': it fails the one who gave it
                self.leave(receiver)
                receiver.fail(error)
                continue
            if wanted:
                self.leave(receiver)
                receiver.take(letter)
                return True
        return False
