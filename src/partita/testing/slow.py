"""A store that takes its time: units are decided after a while, and their answers come after another, both in order.

Now and then the disk stalls: nothing is decided until it goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random  # noqa: TID251 - the simulation's seeded dice, never a secret

from partita.store.port import Answer, Store, Unit


class SlowStore:
    """One store behind a delay, as a disk and a thread make it; a death in between loses what is on its way."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, dice: Random, most_s: float) -> None:
        self.trail = store.trail
        self.work = store.work
        self.cases = store.cases
        self._store = store
        self._loop = loop
        self._dice = dice
        self._most_s = most_s
        self._stalled_until = 0.0
        self._going: deque[Unit] = deque()
        self._coming: deque[tuple[Callable[[Answer], None], Answer]] = deque()
        self._unanswered = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._cut = False

    def submit(self, unit: Unit) -> None:
        """See `Store.submit`."""
        if self._cut:
            return
        answered, self._unanswered = unit.answered, self._unanswered + 1
        self._idle.clear()
        unit.answered = lambda answer: self._answer(answered, answer)
        stalled_s = max(self._stalled_until - self._loop.time(), 0.0)
        if self._most_s == 0 and stalled_s == 0 and not self._going:
            self._store.submit(unit)
            return
        self._going.append(unit)
        self._loop.call_later(stalled_s + self._dice.random() * self._most_s, self._submit_oldest)

    def stall(self, for_s: float) -> None:
        """Decide nothing that is submitted from now on, for so long."""
        self._stalled_until = self._loop.time() + for_s

    async def close(self) -> None:
        """Wait until everything is answered."""
        await self._idle.wait()

    def cut(self) -> None:
        """Nothing further is decided or answered."""
        self._cut = True
        self._idle.set()
        self._going.clear()
        self._coming.clear()

    def _submit_oldest(self) -> None:
        if self._going:
            self._store.submit(self._going.popleft())

    def _answer(self, answered: Callable[[Answer], None], answer: Answer) -> None:
        if self._most_s == 0:
            self._tell(answered, answer)
            return
        self._coming.append((answered, answer))
        self._loop.call_later(self._dice.random() * self._most_s, self._answer_oldest)

    def _answer_oldest(self) -> None:
        if self._coming:
            self._tell(*self._coming.popleft())

    def _tell(self, answered: Callable[[Answer], None], answer: Answer) -> None:
        self._unanswered -= 1
        if not self._cut:
            answered(answer)
        if self._unanswered == 0:
            self._idle.set()
