"""The ledger of a run: what its code has asked for, what has come of it, and who waits for what.

Everything is known by the identity of its step, so nothing depends on the order in which answers arrive: one that comes
before its step is asked for is kept, one that comes after its step was given up is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

from partita.errors import DefinitionError, LimitExceeded, NonDeterminism, plain
from partita.limits import LIMITS
from partita.orchestration.act import Scope
from partita.orchestration.asks import (
    Ask,
    AskCall,
    AskCancelChild,
    AskChild,
    AskPatched,
    AskPublish,
    AskStep,
    AskUndo,
)
from partita.orchestration.loop import RunLoop
from partita.orchestration.mailbox import Mailbox
from partita.orchestration.replay import Recorded
from partita.store.facts import Body, OpenStep, OpenWait

Decode = Callable[[str, int, bytes], Any]
"""A message from its type's name, its version and its bytes: `Catalog.decode`."""
Dispatched = AskCall | AskPublish | AskStep | AskChild | AskUndo


class Slot:
    """Where what comes of one step is put, and where its act waits for it."""

    __slots__ = ("_future", "_loop", "came", "failure", "step")

    def __init__(self, loop: RunLoop, step: str) -> None:
        self.step = step
        self.came: Any = None
        self.failure: Exception | None = None
        self._loop = loop
        self._future: asyncio.Future[None] | None = None

    def put(self, value: Any) -> None:
        """It has come."""
        self.came = value
        self.wake()

    def fail(self, error: Exception) -> None:
        """Waiting for it raised."""
        self.failure = error
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Generator[Any, Any, None]:
        """Wait until it comes, raises, or somebody wakes it."""
        if self.came is None and self.failure is None:
            if self._loop.closing:
                raise GeneratorExit
            self._future = asyncio.Future(loop=self._loop)
            yield from self._future

    __await__ = wait


class Ledger:
    """One for each live run; acts and sagas find it in the context that the run has of its own."""

    def __init__(self, loop: RunLoop, *, case: str, epoch: int, decode: Decode, receivable: tuple[str, ...]) -> None:
        self.loop = loop
        self.run = loop.run
        self.case = case
        self.epoch = epoch
        self.decode = decode
        self.receivable = receivable
        """Message types that the workflow's group subscribes to."""
        self.mailbox = Mailbox()
        self.asks: list[Ask] = []
        # What to say that the run waits for, by step.
        self.open_waits: dict[str, OpenWait] = {}
        self.open_steps: dict[str, OpenStep] = {}
        self.has_children = False
        self.recorded: dict[str, Recorded] = {}
        """Steps of the history that the code has not asked for yet; all are met when a replay is over."""
        self.ended: frozenset[str] = frozenset()
        """Steps whose child has ended, says the history."""
        self.patches: dict[str, bool] = {}
        self.before_record_end = False
        """Whether a replay is at a fact whose turn was taken, and can't be taken otherwise now."""
        self.mismatch: NonDeterminism | None = None
        self._pending: dict[str, Slot] = {}
        self._early: dict[str, Body] = {}
        self._given_up: set[str] = set()
        self._keyed: set[str] = set()

    def name(self, scope: Scope, name: str, key: str | None = None) -> str:
        """The identity of a new step in a scope."""
        step = scope.name(name, key)
        if key is not None:
            LIMITS.check(
                f"run {self.run}: size in bytes of key= {key!r:.40}", len(plain(key).encode()), "name_bytes_max"
            )
            if step in self._keyed:
                raise DefinitionError(
                    f"run {self.run}: step {step!r} was asked for twice\nGive each a key of its own within its scope."
                )
            self._keyed.add(step)
        return step

    def ask(self, ask: Dispatched, shown: OpenStep | None = None) -> Slot:
        """Ask for a step; a replay asks the world only for what was not recorded."""
        step = ask.step
        self.say(ask)
        slot = Slot(self.loop, step)
        early = self._early.pop(step, None) if self._early else None
        if early is not None:
            slot.came = early
            return slot
        if len(self._pending) >= LIMITS.run_acts_open_max:
            self._refuse_more("steps open at once", len(self._pending) + 1)
        self._pending[step] = slot
        if shown is not None:
            self.open_steps[step] = shown
        return slot

    def say(self, ask: Dispatched) -> None:
        """The same for a step that has no completion."""
        found = self.recorded.pop(ask.step, None) if self.recorded else None
        if found is None or self.loop.closing:
            self._add(ask)
        elif not found.fits(ask) and self.mismatch is None:
            self.mismatch = NonDeterminism(
                run=self.run, step=ask.step, recorded=found.said, asked=Recorded.of(ask).said
            )

    def cancel_child(self, step: str) -> None:
        """Pass a cancellation on to a child, unless the history knows its end already."""
        if step not in self.ended:
            self._add(AskCancelChild(step))

    def patched(self, change: str) -> bool:
        """Whether the run goes the new way: always, but where its history shows that it went by the old one."""
        known = self.patches.get(change)
        if known is None:
            known = self.patches[change] = not self.before_record_end
            if known:
                self._add(AskPatched(change))
        return known

    def deliver(self, step: str, body: Body) -> bool:
        """What has come of a step. Returns whether anybody is to hear of it."""
        slot = self._pending.pop(step, None)
        if slot is not None:
            self.open_steps.pop(step, None)
            slot.put(body)
            return True
        if step in self._given_up:
            return False
        self._early.setdefault(step, body)
        return True

    @property
    def expects(self) -> bool:
        """Whether something is to come of what was asked for."""
        return bool(self._pending)

    def give_up(self, slot: Slot, *, listen: bool = False) -> None:
        """Nobody waits for a step any more; `listen` still lets its slot know what comes."""
        self.open_steps.pop(slot.step, None)
        if not listen and self._pending.pop(slot.step, None) is not None:
            self._given_up.add(slot.step)

    def take(self) -> list[Ask]:
        """What was asked for since the last take, in order.

        A local step that was given up in the same turn has not begun, and no fact would say that it was made.
        """
        asks, self.asks = self.asks, []
        if not self._given_up:
            return asks
        return [ask for ask in asks if not (isinstance(ask, AskStep) and ask.step in self._given_up)]

    def _add(self, ask: Ask) -> None:
        if self.loop.closing:
            raise GeneratorExit
        if len(self.asks) >= LIMITS.run_acts_open_max:
            self._refuse_more("acts in one turn", len(self.asks) + 1)
        self.asks.append(ask)

    def _refuse_more(self, what: str, count: int) -> None:
        raise LimitExceeded(
            f"run {self.run}: {what}", actual=count, limit=LIMITS.run_acts_open_max, setting="limits.run_acts_open_max"
        )
