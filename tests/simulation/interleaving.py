"""One seeded interleaving: a program in a run, rebuilt after every turn, beside the same program on a plain loop.

After every fact the two have done the same, in the same order, and wait for the same; after every turn, so does the run
that is rebuilt from its history, which asks for the same steps under the same identities.
"""

from __future__ import annotations

import argparse
import random  # noqa: TID251 - a seeded dice
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw
from typing_extensions import override

from partita.errors import CallFailed, NonDeterminism, Refused
from partita.messages.codec import encode
from partita.orchestration.acts import call, child, receive
from partita.orchestration.asks import Ask, AskCall, AskCancelChild, AskChild, AskStep
from partita.orchestration.loop import make_loop
from partita.orchestration.run import Ended, LiveRun, Outcome, Raised
from partita.orchestration.step import step
from partita.orchestration.workflow import Workflow, workflow
from partita.store.facts import Body, CancelAsked, ChildEnded, Fired, Handled, Received, Started, Stepped
from tests.simulation.programs import Awaited, Node, Walk, describe, draw_program
from tests.simulation.stock import Stock
from tests.unit.orchestration.driver import CASE, START, US, Driver
from tests.unit.orchestration.words import OrderPlaced, OutOfStock, Reserve, Reserved, ShipmentRefused, Shipped

TURNS_MAX = 14


class Disagreement(AssertionError):
    """A run did something else than it should."""


@dataclass
class Interleaving:
    """What came of one seed."""

    seed: int
    met: Counter[str] = field(default_factory=Counter[str])
    """How often each primitive was met, and each kind of fact."""
    log: list[str] = field(default_factory=list[str])
    end: str = "open"
    facts: int = 0


def play(seed: int) -> Interleaving:
    """Play one seed. Raises Disagreement where anything is not as it should be."""
    dice = random.Random(seed)
    player = Player(draw_program(dice), seed)
    try:
        for _ in range(TURNS_MAX):
            if player.live.outcome is not None:
                break
            player.happen(dice)
        outcome = player.live.outcome
        end = "open" if outcome is None else outcome.how if isinstance(outcome, Ended) else "raised"
        met = player.walk.met + Counter(fact.kind for fact in player.history)
        return Interleaving(seed, met, player.walk.log, end, len(player.history))
    finally:
        player.close()


# A run as a world.


@step
def note(n: int) -> str:
    return f"noted {n}"


@workflow
async def inner(order: OrderPlaced) -> str:
    return "inner"


class RunWorld:
    """The leaves of a program as partita's acts."""

    def call(self, n: int, limit_s: float | None) -> Awaited:
        return call(Reserve(sku=str(n)), expect=Reserved, timeout=None if limit_s is None else f"{limit_s}s")

    def step(self, n: int) -> Awaited:
        return note(n)

    def child(self, n: int, on_close: Any) -> Awaited:
        return child(inner, OrderPlaced(total=n), on_close=on_close)

    def receive(self, n: int, kind: str, limit_s: float | None, default: bool) -> Awaited:
        options: dict[str, Any] = {} if limit_s is None else {"timeout": f"{limit_s}s"}
        if limit_s is not None and default:
            options["default"] = None
        if kind in "xy":
            options["where"] = lambda event: event.parcel == kind
        return receive(TYPES.get(kind, Shipped), **options)

    def in_order(self, coroutines: list[Awaited]) -> list[Any]:
        return coroutines


TYPES: dict[str, Any] = {"refused": ShipmentRefused, "either": Shipped | ShipmentRefused}
_walks: list[Walk] = []
_programs: dict[int, Node] = {}


@workflow(starts_on=OrderPlaced, receives=(Shipped, ShipmentRefused))
async def walked(order: OrderPlaced) -> Any:
    walk = Walk(RunWorld())
    _walks.append(walk)
    return await walk.run(_programs[order.total])


class Player(Driver):
    """Lets things happen to a run and to its counterpart, and compares them."""

    def __init__(self, program: Node, seed: int) -> None:
        self.stock = Stock(program, make_loop(f"walked/{CASE}/1", 0).next_digest)
        self.walk = self.stock.walk
        self.lived: Any = None
        """The walk of the run that is alive."""
        self.made: list[LiveRun] = []
        """Every life of the run, to be closed."""
        self.done: set[str] = set()
        """Steps that are completed."""
        _programs.clear()
        _programs[seed] = program
        _walks.clear()
        try:
            super().__init__(walked, OrderPlaced(total=seed))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the run and of its counterpart."""
        for walk in (self.walk, *_walks, *([self.lived] if self.lived is not None else [])):
            walk.is_over = True
        for live in self.made:
            live.close()
        self.stock.close()

    # What happens.

    def happen(self, dice: random.Random) -> None:
        """One turn: time may pass, then up to three things come in one instant; at times the run is evicted."""
        wakes = self.live.open().wakes
        if wakes is not None and dice.random() < 0.45:
            self.now = max(self.now, wakes)
        elif dice.random() < 0.5:
            self.now += round(dice.choice((0.5, 0.5, 1, 3)) * US)
        met = [self._draw(dice) for _ in range(dice.choice((1, 1, 2, 3)))]
        if wakes is not None and wakes <= self.now and dice.random() < 0.8:
            met.insert(dice.randrange(len(met) + 1), (Fired(due=wakes), None))
        self.turns(met)
        if dice.random() < 0.1 and self.live.outcome is None:
            self.evict()

    def _draw(self, dice: random.Random) -> tuple[Body, Any]:
        """One thing that comes: an answer, also one that nobody waits for any more, a message, or a cancellation."""
        asked = [
            ask for ask in self.asked if isinstance(ask, AskCall | AskStep | AskChild) and ask.step not in self.done
        ]
        if dice.random() < 0.04:
            return CancelAsked(by="ann"), None
        if asked and dice.random() < 0.7:
            ask = dice.choice(asked)
            self.done.add(ask.step)
            return self._completion(ask, dice), None
        parcel = dice.choice("xyz")
        message = Shipped(parcel=parcel) if dice.random() < 0.7 else ShipmentRefused(reason=parcel)
        return self.received(message), message

    def _completion(self, ask: AskCall | AskStep | AskChild, dice: random.Random) -> Body:
        n, well = number(ask), dice.random() < 0.8
        match ask:
            case AskCall(step=step):
                if not well and n % 2:
                    return Handled(
                        message="m",
                        group="g",
                        type="?",
                        step=step,
                        outcome="failed",
                        error="OSError",
                        reason=f"OSError: {n}",
                    )
                return self.handled(step, Reserved(bin=str(n)) if well else OutOfStock(reason=f"no {n}"))
            case AskStep(step=step):
                return (
                    self.stepped_body(step, f"noted {n}") if well else Stepped(step=step, error="OSError", text=str(n))
                )
            case AskChild(step=step):
                error = {} if well else {"error": "cancelled", "text": str(n)}
                return ChildEnded(step=step, child="c/order:1/1", value=Raw(encode("inner")), **error)

    # What it is compared with.

    @override
    def turns(self, met: list[tuple[Body, Any]]) -> None:
        if self.live.outcome is not None:
            return
        facts = [self.record(body) for body, _ in met]
        for fact, (body, message) in zip(facts, met, strict=True):
            self.live.apply(fact.at, body, message)
            if isinstance(body, Started):
                self.lived = _walks.pop()
            if self.live.outcome is None or self.stock.ended is None:
                self._counterpart(fact.at, body, message)
            self._compare()
        self.commit()
        self._check_identities()
        self.check()

    def _counterpart(self, at: int, body: Body, message: Any) -> None:
        stock = self.stock
        stock.move_to((max(at, body.due if isinstance(body, Fired) else at) - START) / US)
        match body:
            case Handled(step=str(step)) | Stepped(step=step) | ChildEnded(step=step):
                ask = next(ask for ask in self.asked if step == getattr(ask, "step", None))
                stock.complete(number(ask), outcome_of(ask, body))
            case Received():
                stock.receive_message(message)
            case CancelAsked():
                stock.cancel()
            case _:
                pass

    def _compare(self) -> None:
        """The run and its counterpart have done the same, and wait for the same."""
        stock, live = self.stock, self.live
        expect("what was done", self.lived.log, stock.walk.log)
        expect("how it ended", end_of(live.outcome), stock.ended)
        if live.outcome is not None:
            return
        opened, due = live.open(), stock.loop.next_due()
        expect("the next timer", opened.wakes, None if due is None else START + round(due * 1_000) * 1_000)
        expect("open waits", len(opened.waits), len(stock.receivers))
        local = [n for n in stock.open if stock.walk.made[n][1] != "Reserve"]
        expect("open steps", len(opened.steps), len(local))
        expect("buffered messages", buffered(live), [message for _, message in stock.buffer])

    def _check_identities(self) -> None:
        """A step is named after the task that made it, and counted there, wherever and whenever it is awaited."""
        prefixes: dict[object, str] = {}
        for ask in self.asked:
            if isinstance(ask, AskCall | AskStep | AskChild):
                task, name, count = self.lived.made[number(ask)]
                expect(f"the name of step {number(ask)}", ask.step.rpartition("/")[2], f"{name}#{count}")
                prefix = ask.step.removesuffix(f"{name}#{count}")
                expect(f"the scope of step {ask.step}", prefix, prefixes.setdefault(task, prefix))
        expect("scopes", len(set(prefixes.values())), len(prefixes))
        if isinstance(self.live.outcome, Raised):
            return  # that turn is discarded
        passed_on = [ask.step for ask in self.asked if isinstance(ask, AskCancelChild)]
        children = {number(ask): ask.step for ask in self.asked if isinstance(ask, AskChild)}
        expect("cancelled children", passed_on, [children[n] for n in self.stock.passed_on if n in children])

    @override
    def new_run(self, definition: Workflow[Any, Any] | None = None) -> LiveRun:
        self.made.append(super().new_run(definition))
        return self.made[-1]

    @override
    def rebuild(self, definition: Workflow[Any, Any] | None = None) -> LiveRun:
        try:
            rebuilt = super().rebuild(definition)
        except NonDeterminism as error:
            raise Disagreement(f"on replay, {error}") from error
        walk = _walks.pop()
        expect("what was done, on replay,", walk.log, self.stock.walk.log)
        if rebuilt.outcome is None:
            expect("buffered messages, on replay,", buffered(rebuilt), [message for _, message in self.stock.buffer])
        self.rebuilt = walk
        return rebuilt

    @override
    def still_owed(self) -> list[Ask]:
        """What a rebuilt run asks for again: local steps that are waited for, and cancellations of living children."""
        waited_for = {opened.step for opened in self.live.open().steps}
        ended = {fact.body.step for fact in self.history if isinstance(fact.body, ChildEnded)}
        return [
            ask
            for ask in self.asked
            if (isinstance(ask, AskStep) and ask.step in waited_for)
            or (isinstance(ask, AskCancelChild) and ask.step not in ended)
        ]

    @override
    def check(self) -> None:
        rebuilt = self.rebuild()
        try:
            if not isinstance(self.live.outcome, Raised):
                expect("what is asked for, on replay,", rebuilt.take(), self.still_owed())
            expect("what it waits for, on replay,", rebuilt.open(), self.live.open())
            expect("how it ended, on replay,", end_of(rebuilt.outcome), end_of(self.live.outcome))
            expect("the last completion, on replay,", rebuilt.last_step, self.live.last_step)
        finally:
            self.rebuilt.is_over = True
            rebuilt.close()

    @override
    def evict(self) -> None:
        self.lived.is_over = True
        super().evict()
        self.lived = self.rebuilt


def expect(what: str, found: object, wanted: object) -> None:
    """Raise Disagreement where the two are not the same."""
    if found != wanted:
        raise Disagreement(f"{what}: {found}\n  instead of {wanted}")


def number(ask: Ask) -> int:
    """The number that a program gave to the leaf which asks."""
    match ask:
        case AskCall(command=Reserve(sku=sku)):
            return int(sku)
        case AskStep(args=(n,)):
            return int(n)
        case AskChild(message=message):
            return int(message.total)
        case _:
            raise Disagreement(f"it asked for {ask}")


def outcome_of(ask: Ask, body: Body) -> Any:
    """What a completion means, said anew."""
    match body:
        case Handled(outcome="failed", reason=reason):
            return CallFailed(reason.removeprefix("OSError: "))
        case Handled(answer_type="OutOfStock"):
            return Refused(OutOfStock(reason=f"no {number(ask)}"))
        case Handled():
            return Reserved(bin=str(number(ask)))
        case Stepped(error=None):
            return f"noted {number(ask)}"
        case ChildEnded(error=None):
            return "inner"
        case Stepped(text=text) | ChildEnded(text=text):
            return CallFailed(text)
        case _:
            raise Disagreement(f"{body} completes nothing")


def end_of(outcome: Outcome) -> tuple[str, str] | None:
    """How a run ended, in the words of its counterpart."""
    match outcome:
        case Ended(how=how, value=value):
            return how, repr(value)
        case Raised(error=error):
            return "raised", describe(error)
        case _:
            return None


def buffered(live: LiveRun) -> list[Any]:
    """Messages that a run has received and nobody has taken, in the order of their coming."""
    letters = [letter for buffer in live._ledger.mailbox._buffers.values() for letter in buffer]
    return [letter.message for letter in sorted(letters, key=lambda letter: letter.place)]


def main() -> None:
    """Play many seeds and print how often each primitive was met, or one, with its program and its log."""
    parser = argparse.ArgumentParser(description="Interleavings of asyncio's primitives, in a run and on a plain loop.")
    parser.add_argument("--seed", type=int, help="one seed: its program and what it did")
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    if options.seed is not None:
        print_program(draw_program(random.Random(options.seed)))
        print(*play(options.seed).log, sep="\n")
        return
    met, ends, facts = Counter[str](), Counter[str](), 0
    for seed in range(options.first, options.first + options.seeds):
        played = play(seed)
        met, facts = met + played.met, facts + played.facts
        ends[played.end] += 1
    print(f"{options.seeds} interleavings, {facts} facts; they ended: {dict(ends)}")
    print(*(f"{count:8} {name}" for name, count in met.most_common()), sep="\n")


def print_program(node: Node, depth: int = 0) -> None:
    print(f"{'  ' * depth}{node.op} {node.s} s, way {node.way}")
    for inside in node.body:
        print_program(inside, depth + 1)


if __name__ == "__main__":
    main()
