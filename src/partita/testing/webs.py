"""Webs: choreography generated from the seed. A plan is a list of figures, each one handler; a graph grows out of them.

Every figure passes on exactly the amount that it was given: split, shared out, joined, waited for, sent to another case
or through a workflow. So what a web will say is known before it begins, from its plan alone (`foretell`).
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - the simulation's seeded dice, never a secret
from typing import Annotated, Any, Literal

from partita.messages.message import Case, Command, Event
from partita.orchestration.acts import publish
from partita.orchestration.workflow import workflow
from partita.testing.rounds import FAILED, Node, Poked, RoundId, draw_plan, guarded

WebId = Annotated[str, Case("web")]
LeafId = Annotated[str, Case("leaf")]


class Tone(Event):
    """What most of a web consists of: so much, in one beat of it."""

    web_id: WebId
    beat: int
    amount: int


class Begun(Tone, external="somebody"):
    """A beat begins."""


class Closing(Tone, ends="done"):
    """A beat has come to its end."""


class Cue(Event, case="round"):
    """Starts a workflow."""

    round_id: RoundId
    web_id: WebId
    beat: int
    amount: int
    plan: Node


class FirstCue(Cue, case="round"):
    """Starts one workflow."""


class SecondCue(Cue, case="round"):
    """Starts another."""


class FirstCut(Tone):
    """What the first workflow says at its end."""


class SecondCut(Tone):
    """What the second workflow says at its end."""


class Leaf(Event, case="leaf"):
    """Goes to a case of its own."""

    leaf_id: LeafId
    web_id: WebId
    beat: int
    amount: int


def _make(name: str, base: Any, fields: dict[str, Any] | None = None, **keywords: Any) -> type[Any]:
    """A class as a class statement would make it."""

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update(__module__=__name__, __doc__=f"{name}.", __annotations__=fields or {})

    return types.new_class(name, (base,), keywords, fill)


COMMANDS = 6
_TONE_FIELDS = {"web_id": WebId, "beat": int, "amount": int}
TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in (Begun, Closing, FirstCue, SecondCue, FirstCut, SecondCut)}
"""Every message type of every web, by name."""
for _n in range(30):
    TYPES[f"Tone{_n}"] = _make(f"Tone{_n}", Tone)
for _n in range(4):
    TYPES[f"Nod{_n}"] = _make(f"Nod{_n}", Tone, external="a listener")
    TYPES[f"Leaf{_n}"] = _make(f"Leaf{_n}", Leaf, case="leaf")
for _n in range(COMMANDS):
    TYPES[f"Struck{_n}"] = _make(f"Struck{_n}", Tone)
    TYPES[f"Muted{_n}"] = _make(f"Muted{_n}", Tone)
    _answer: Any = TYPES[f"Struck{_n}"] | TYPES[f"Muted{_n}"]
    TYPES[f"Strike{_n}"] = _make(f"Strike{_n}", Command[_answer], _TONE_FIELDS)

CUTS = {"FirstCue": "FirstCut", "SecondCue": "SecondCut"}


@workflow(starts_on=FirstCue, receives=(Poked,))
async def play_first(cue: FirstCue) -> list[int]:
    """One workflow of a web: a round, and what was given to it is passed on whatever came of it."""
    try:
        return await play(cue)
    finally:
        await publish(FirstCut(web_id=cue.web_id, beat=cue.beat, amount=cue.amount))


@workflow(starts_on=SecondCue, receives=(Poked,))
async def play_second(cue: SecondCue) -> list[int]:
    """Another: it passes on first, and walks then."""
    await publish(SecondCut(web_id=cue.web_id, beat=cue.beat, amount=cue.amount))
    return await play(cue)


async def play(cue: Cue) -> list[int]:
    """Walk the round that a cue names."""
    try:
        return await guarded(cue.round_id, cue.plan)
    except FAILED:
        return []


# Plans.

Kind = Literal[
    "relay", "share", "spread", "order", "strike", "join", "ask", "nod", "leave", "return", "cue", "rest", "listen"
]
Colour = Literal["plain", "tx", "async", "async tx"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One handler of a web."""

    n: int
    kind: Kind
    on: tuple[str, ...]
    """Types it takes."""
    to: tuple[str, ...] = ()
    """Types it may emit."""
    service: int = 0
    colour: Colour = "plain"
    wired: bool = False
    share: tuple[int, int] = (0, 1)
    plan: Node | None = None
    """The round of a cue."""
    bug: bool = False
    """It raises until it is mended."""
    hold: bool = False
    within: str | None = None


@dataclass(frozen=True, slots=True)
class WebPlan:
    """The figures of one app, and the webs that somebody begins in it."""

    figures: tuple[Figure, ...] = ()
    beats: dict[str, dict[int, int]] = field(default_factory=dict[str, dict[int, int]])
    """By web: what each of its beats begins with."""


SERVICES = 4
_COLOURS: tuple[Colour, ...] = ("plain", "tx", "async", "async tx")


class _Growing:
    """A plan while it is drawn."""

    def __init__(self, dice: Random, *, cues: bool) -> None:
        self.dice = dice
        self.figures: list[Figure] = []
        self._free = {
            "Tone": iter(range(30)), "Nod": iter(range(4)), "Leaf": iter(range(4)), "Command": iter(range(COMMANDS))
        }  # fmt: skip
        self._cues = ["FirstCue", "SecondCue"] if cues else []
        self.left = dice.randint(4, 12)

    def add(self, kind: Kind, on: tuple[str, ...], to: tuple[str, ...] = (), **more: Any) -> Figure:
        dice = self.dice
        drawn: dict[str, Any] = {
            "service": dice.randrange(SERVICES),
            "colour": dice.choice(_COLOURS),
            "wired": dice.random() < 0.5,
            "bug": dice.random() < 0.02,
            "hold": dice.random() < 0.2,
            "within": dice.choice([None, "10m", "2h"]),
        }
        figure = Figure(len(self.figures) + 1, kind, on, to, **(drawn | more))
        self.figures.append(figure)
        return figure

    def take(self, name: str) -> str | None:
        number = next(self._free[name], None)
        return None if number is None else f"{name}{number}"

    def grow(self, source: str, goal: str) -> None:
        """Let whatever is said as `source` become `goal`."""
        self.left -= 1
        ways = [self._relay] if self.left <= 0 else [
            self._relay, self._chain, self._chain, self._spread, self._audience,
            self._order, self._ask, self._leave, self._cue,
        ]  # fmt: skip
        while not self.dice.choice(ways)(source, goal):
            continue
        if self.dice.random() < 0.2:
            self.add("listen", (source,), wired=False, hold=False, bug=False)

    def _relay(self, source: str, goal: str) -> bool:
        self.add("relay", (source,), (goal,))
        return True

    def _chain(self, source: str, goal: str) -> bool:
        middle = self.take("Tone")
        if middle is None:
            return False
        self.grow(source, middle)
        self.grow(middle, goal)
        return True

    def _branches(self) -> list[tuple[str, str]]:
        names = [(self.take("Tone"), self.take("Tone")) for _ in range(self.dice.randint(2, 3))]
        return [(first, last) for first, last in names if first is not None and last is not None]

    def _join(self, branches: list[tuple[str, str]], goal: str) -> None:
        for first, last in branches:
            self.grow(first, last)
        self.add("join", tuple(last for _, last in branches), (goal,), colour=self.dice.choice(["tx", "async tx"]))

    def _spread(self, source: str, goal: str) -> bool:
        branches = self._branches()
        if len(branches) < 2:
            return False
        rest = self.take("Tone") if self.dice.random() < 0.2 else None
        firsts = [first for first, _ in branches] + ([rest] if rest else [])
        self.add("spread", (source,), tuple(firsts))
        if rest:
            self.add("rest", (rest,))
        self._join(branches, goal)
        return True

    def _audience(self, source: str, goal: str) -> bool:
        branches = self._branches()
        if len(branches) < 2:
            return False
        for index, (first, _) in enumerate(branches):
            self.add("share", (source,), (first,), service=index, share=(index, len(branches)))
        self._join(branches, goal)
        return True

    def _order(self, source: str, goal: str) -> bool:
        number = next(self._free["Command"], None)
        if number is None:
            return False
        order = self.add("order", (source,), (f"Strike{number}",), wired=True)
        service = order.service if self.dice.random() < 0.7 else self.dice.randrange(SERVICES)
        self.add("strike", (f"Strike{number}",), (f"Struck{number}", f"Muted{number}"), service=service, wired=False)
        self.grow(f"Struck{number}", goal)
        self.add("relay", (f"Muted{number}",), (goal,))
        return True

    def _ask(self, source: str, goal: str) -> bool:
        nod = self.take("Nod")
        if nod is None:
            return False
        ask = self.add("ask", (source,), (goal, nod), colour=self.dice.choice(["tx", "async tx"]))
        colour = self.dice.choice(["tx", "async tx"])
        self.add("nod", (nod,), (goal, source), service=ask.service, wired=ask.wired, colour=colour)
        return True

    def _leave(self, source: str, goal: str) -> bool:
        leaf = self.take("Leaf")
        if leaf is None:
            return False
        self.add("leave", (source,), (leaf,))
        self.add("return", (leaf,), (goal,))
        return True

    def _cue(self, source: str, goal: str) -> bool:
        if not self._cues:
            return False
        cue = self._cues.pop()
        self.add("cue", (source,), (cue,), plan=draw_plan(self.dice, most=6))
        self.grow(CUTS[cue], goal)
        return True


def draw_web(dice: Random, *, cues: bool) -> WebPlan:
    """A plan of some figures, and the webs that are begun."""
    growing = _Growing(dice, cues=cues)
    growing.grow("Begun", "Closing")
    webs = {
        f"w{number}": {beat: dice.randint(6, 500) for beat in range(1, 1 + dice.randint(1, 3))}
        for number in range(1, 1 + dice.randint(1, 3))
    }
    return WebPlan(tuple(growing.figures), webs)


# What a figure makes of what it is given: pure, for its handler and for those who foretell alike.


def split(amount: int, ways: int, index: int) -> int:
    """The part of an amount that goes one of so many ways; all parts together are the amount."""
    return amount // ways + (amount % ways if index == 0 else 0)


def is_muted(figure: Figure, beat: int, amount: int) -> bool:
    """Whether a strike is answered with the other answer: a function of the message alone."""
    return (figure.n * 7 + beat * 5 + amount) % 4 == 0


def answer(figure: Figure, message: Any) -> list[Any]:
    """What a figure without a memory of its own answers."""
    beat, amount, web_id = message.beat, message.amount, message.web_id

    def tone(name: str, amount: int = amount) -> Any:
        return TYPES[name](web_id=web_id, beat=beat, amount=amount)

    match figure.kind:
        case "share":
            index, ways = figure.share
            said = [tone(figure.to[0], split(amount, ways, index))]
        case "spread":
            said = [tone(name, split(amount, len(figure.to), at)) for at, name in enumerate(figure.to)]
        case "strike":
            said = [tone(figure.to[1] if is_muted(figure, beat, amount) else figure.to[0])]
        case "leave":
            leaf = TYPES[figure.to[0]]
            said = [leaf(leaf_id=f"{web_id}.{beat}.{figure.n}", web_id=web_id, beat=beat, amount=amount)]
        case "cue":
            cue, round_id = TYPES[figure.to[0]], f"{web_id}.{beat}.{figure.to[0]}"
            said = [cue(round_id=round_id, web_id=web_id, beat=beat, amount=amount, plan=figure.plan)]
        case "rest" | "listen":
            said = []
        case _:
            said = [tone(figure.to[0])]
    return said


Said = tuple[str, str, int, int]
"""Type, web, beat, amount."""


def foretell(plan: WebPlan) -> Iterator[Said]:
    """Everything that the webs of a plan will say, each once, if all goes on as it should."""
    for web_id, amounts in plan.beats.items():
        for beat, amount in amounts.items():
            joined: dict[int, list[int]] = {}
            waiting = [Begun(web_id=web_id, beat=beat, amount=amount)]
            while waiting:
                message: Any = waiting.pop()
                name = type(message).__name__
                yield name, web_id, beat, message.amount
                for figure in plan.figures:
                    if name in figure.on:
                        waiting += _foretell_one(figure, message, joined)
                if name in CUTS:
                    waiting.append(TYPES[CUTS[name]](web_id=web_id, beat=beat, amount=message.amount))


def _foretell_one(figure: Figure, message: Any, joined: dict[int, list[int]]) -> list[Any]:
    web_id, beat = message.web_id, message.beat
    match figure.kind:
        case "join":
            amounts = joined.setdefault(figure.n, [])
            amounts.append(message.amount)
            if len(amounts) < len(figure.on):
                return []
            return [TYPES[figure.to[0]](web_id=web_id, beat=beat, amount=sum(amounts))]
        case "ask":
            nod = TYPES[figure.to[1]](web_id=web_id, beat=beat, amount=0)
            goal = TYPES[figure.to[0]](web_id=web_id, beat=beat, amount=message.amount)
            return [nod, goal]
        case "nod":
            return []
        case _:
            return answer(figure, message)
