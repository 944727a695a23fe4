"""A stage for dispatch: what it hands to store, transport and runs is kept, and answered when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from partita import Delivery
from partita.choreography.dispatch import Dispatch, Surroundings
from partita.choreography.service import Service, Wiring
from partita.clock import US, Alarms
from partita.messages.codec import encode
from partita.messages.envelope import Cause, Envelope
from partita.messages.message import describe
from partita.retry import Retry
from partita.runtime.declared import work_out
from partita.store.facts import Body, Handled
from partita.store.port import Accepted, Answer, Lost, Recorded, Refusal, Store, Transaction, Unit
from partita.testing.virtual import ManualClock
from partita.transports.outbox import Book
from partita.transports.port import Owed
from tests.unit.choreography.words import OutOfStock, Reserve, Reserved

AT = 5_000
"""The writer's time."""


class Page:
    """A unit's transaction: counts the savepoints that were dropped."""

    def __init__(self) -> None:
        self.tx = cast("Transaction", object())
        self.marks: list[str] = []

    def now_us(self) -> int:
        return AT

    def attempt(self, act: Callable[[], tuple[Any, bool]]) -> Any:
        found, kept = act()
        self.marks.append("kept" if kept else "dropped")
        return found


class AsyncPage:
    """The same for a handler that awaits its statements."""

    def __init__(self) -> None:
        self.tx = object()
        self.marks: list[str] = []

    def now_us(self) -> int:
        return AT

    async def mark(self) -> None:
        self.marks.append("marked")

    async def drop(self) -> None:
        self.marks.append("dropped")


@dataclass
class Callers:
    """Runs that wait: what they were told, in order."""

    told: list[tuple[str, ...] | tuple[str, Recorded | None, Handled | None]] = field(default_factory=list)

    def naming(self, run: str) -> None:
        self.told.append(("naming", run))

    def named(self, run: str, recorded: Recorded | None, body: Handled | None) -> None:
        self.told.append((run, recorded, body))


@dataclass
class Wire:
    """What was sent."""

    sent: list[Owed] = field(default_factory=list)

    def send(self, owed: Owed) -> None:
        self.sent.append(owed)


@dataclass
class Consumer:
    """A workflow's group: keeps what it is given until the test settles it."""

    taken: list[tuple[Owed, Any]] = field(default_factory=list)
    settle: Callable[[Refusal | None], None] = lambda _: None

    def consume(self, owed: Owed, message: Any, settled: Callable[[Refusal | None], None]) -> None:
        self.taken.append((owed, message))
        self.settle = settled


class Stage:
    """Dispatch over services, with everything around it in the test's hands."""

    def __init__(
        self, *services: Service, wiring: Wiring | None = None, retry: Retry | None = None, **consumers: Consumer
    ) -> None:
        self.declared = work_out(
            "shop", services=services, workflows=[], wirings=[wiring] if wiring else [], retry=retry
        )
        self.clock = ManualClock()
        self.alarms = Alarms(self.clock)
        self.units: list[Unit] = []
        """Submitted, and not answered yet."""
        self.submitted: list[Unit] = []
        """All of them."""
        self.callers = Callers()
        self.wire = Wire()
        self.tasks: list[asyncio.Task[None]] = []
        self.pages: list[Page | AsyncPage] = []
        self.threads = 0
        around = Surroundings(
            cast("Store", self),
            cast("Any", self.wire),
            self.clock,
            self.alarms,
            self._spawn,
            self._in_thread,
        )
        self.dispatch = Dispatch(
            Book(self.declared.catalog, self.declared.topology),
            around,
            handlers=self.declared.handlers,
            policies=self.declared.policies
            | {(group, "Placed"): next(iter(self.declared.policies.values())) for group in consumers},
            callers=self.callers,
            consumers=consumers,
        )

    # What dispatch is given.

    def submit(self, unit: Unit) -> None:
        self.units.append(unit)
        self.submitted.append(unit)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def _in_thread(self, work: Callable[[], None]) -> None:
        self.threads += 1
        work()

    # What a test does.

    def bring(self, message: Any, group: str, *, id: str = "m1", **more: Any) -> Owed:
        """The transport brings an owed handling that was expected."""
        found = describe(type(message))
        envelope = Envelope(
            id=id,
            type=found.name,
            kind=found.kind,
            version=more.pop("version", found.version),
            at=1,
            case=more.pop("case", found.case_of(message)),
            correlation="c1",
            causes=(Cause("m0", "web", 1),),
            data=more.pop("data", encode(message)),
        )
        owed = Owed(envelope, group, **more)
        self.dispatch.lanes.expect(owed)
        self.dispatch.receive(owed)
        return owed

    async def settle(self) -> None:
        """Let what was spawned run until it waits for something else."""
        for _ in range(10):
            await asyncio.sleep(0)

    def answer(self, answer: Answer) -> Unit:
        """Answer the oldest open unit so, without executing it."""
        unit = self.units.pop(0)
        unit.answered(answer)
        return unit

    def execute(self) -> Unit:
        """Execute the oldest open unit as a writer would, and answer it."""
        unit = self.units.pop(0)
        page = Page()
        self.pages.append(page)
        try:
            if unit.work is not None:
                unit.work(unit, cast("Any", page))
        except Exception as error:  # noqa: BLE001 - as a handler raised it
            unit.answered(Refusal(str(error), error))
            return unit
        unit.answered(accepted(unit))
        return unit

    async def execute_async(self) -> Unit:
        """The same for a unit whose work awaits."""
        unit = self.units.pop(0)
        page = AsyncPage()
        self.pages.append(page)
        assert unit.work_async is not None
        try:
            await unit.work_async(unit, cast("Any", page))
        except Exception as error:  # noqa: BLE001 - as a handler raised it
            unit.answered(Refusal(str(error), error))
            return unit
        unit.answered(accepted(unit))
        return unit

    async def advance(self, us: int) -> None:
        self.clock.move_to(self.clock.now_us() + us)
        self.alarms.ring_due()
        await self.settle()

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()


def accepted(unit: Unit) -> Accepted:
    """As a writer whose next fact is the hundredth."""
    return Accepted([Recorded(100 + index, AT, None) for index in range(len(unit.facts))], unit.result)


REFUSED = Refusal("closed")
LOST = Lost(OSError("the disk is gone"))


def bodies(unit: Unit) -> list[Body]:
    return [fact.body for fact in unit.facts]


def said(unit: Unit, kind: type[Body]) -> Any:
    """The only fact of a kind."""
    (found,) = [body for body in bodies(unit) if isinstance(body, kind)]
    return found


def ops(unit: Unit) -> list[str]:
    return [write.op for write in unit.writes]


# Services.

ONCE = Retry(attempts=1)
TWICE = Retry(attempts=2, first="10s", factor=1)


class Failing:
    """What a handler is to raise, attempt by attempt; nothing when it is spent."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.made: list[Delivery] = []

    def make(self, delivery: Delivery) -> None:
        self.made.append(delivery)
        if self.errors:
            raise self.errors.pop(0)


def stocking(failing: Failing | None = None, **options: Any) -> Service:
    """A service with one handler that writes."""
    inventory = Service("inventory")
    failing = failing or Failing()

    @inventory.handles(Reserve, **options)
    def reserve(command: Reserve, tx: Transaction, delivery: Delivery) -> Reserved | OutOfStock:
        failing.make(delivery)
        return Reserved()

    return inventory


def paying(failing: Failing | None = None, **options: Any) -> Service:
    """A service with one handler that awaits."""
    billing = Service("billing")
    failing = failing or Failing()

    @billing.handles(Reserve, **options)
    async def reserve(command: Reserve, delivery: Delivery) -> Reserved | OutOfStock:
        await asyncio.sleep(0)
        failing.make(delivery)
        return Reserved()

    return billing


def due_in(stage: Stage, at: int) -> float:
    """How many seconds from now."""
    return (at - stage.clock.now_us()) / US
