"""The listeners of generated webs: they begin beats, nod when they feel like it, and know what should be said."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from partita.store.facts import Published
from partita.store.port import ObligationRow
from partita.testing.business import Books
from partita.testing.figures import EARS
from partita.testing.people import People
from partita.testing.rounds import Poked, walk_nodes
from partita.testing.webs import TYPES, Begun, WebPlan, foretell


@dataclass(slots=True)
class Listeners:
    """Whoever wants something of the webs."""

    plan: WebPlan
    people: People = field(init=False)

    def come(self, people: People, within_s: float) -> None:
        """Begin beats, nod, poke, cancel, each at a time of its own."""
        self.people = people
        foretold = {(name, web_id, beat) for name, web_id, beat, _ in foretell(self.plan)}
        for web_id, beats in self.plan.beats.items():
            dice = people.system.fate.dice(web_id)
            for beat, amount in beats.items():
                begun = Begun(web_id=web_id, beat=beat, amount=amount)
                people.spawn(self._say(f"begin/{web_id}/{beat}", begun, dice.random() * within_s))
                for figure in self.plan.figures:
                    after_s = dice.random() * within_s * 2
                    if figure.kind == "nod" and (figure.on[0], web_id, beat) in foretold:
                        nod = TYPES[figure.on[0]](web_id=web_id, beat=beat, amount=0)
                        people.spawn(self._say(f"nod/{web_id}/{beat}/{figure.n}", nod, after_s))
                    elif figure.plan is not None and (figure.to[0], web_id, beat) in foretold:
                        round_id = f"{web_id}.{beat}.{figure.to[0]}"
                        for node in walk_nodes(figure.plan):
                            if node.op == "wait" and dice.random() < 0.6:
                                poke = Poked(round_id=round_id, n=node.n)
                                people.spawn(self._say(f"poke/{round_id}/{node.n}", poke, after_s * 2))
                        if dice.random() < 0.2 and people.happens(f"{round_id} is cancelled"):
                            people.spawn(people.cancel(f"round:{round_id}", after_s * 2))

    async def decide(self) -> int:
        """They nod whenever they like: before they are asked, too."""
        return 0

    def may_discard(self, row: ObligationRow) -> bool:
        """Those who only listen may miss something."""
        return row.group.startswith(EARS)

    async def _say(self, key: str, event: Begun | Poked, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self.people.insist(key, event)
        if self.people.chance(f"twice {key}") < 0.2:
            await self.people.insist(key, event)


def check_webs(books: Books, plan: WebPlan) -> Iterator[str]:
    """What was said is what its plan foretells, each once; nothing of any amount is lost; every web is done."""
    said: Counter[tuple[str, str, int, int]] = Counter()
    for fact in books.facts:
        body = fact.body
        if isinstance(body, Published) and body.type in TYPES:
            message = msgspec.json.decode(bytes(body.data))
            said[body.type, message["web_id"], message["beat"], message["amount"]] += 1
    foretold = Counter(foretell(plan))
    for (name, web_id, beat, amount), times in sorted((said - foretold).items()):
        yield f"web {web_id} said {name} of beat {beat} with {amount} {times} times more than its plan foretells"
    for (name, web_id, beat, amount), _ in sorted((foretold - said).items()):
        yield f"web {web_id} never said {name} of beat {beat} with {amount}, which its plan foretells"
    for web_id, beats in plan.beats.items():
        closed = sum(
            amount * times for (name, web, _, amount), times in said.items() if (name, web) == ("Closing", web_id)
        )
        rested = sum(
            amount * times
            for (name, web, _, amount), times in said.items()
            if web == web_id and any(figure.kind == "rest" and name in figure.on for figure in plan.figures)
        )
        if closed + rested != sum(beats.values()):
            yield f"web {web_id} began with {sum(beats.values())}, closed with {closed} and rested with {rested}"
        if beats and (verdict := books.verdicts.get(f"web:{web_id}")) != "done":
            yield f"web {web_id} is {verdict}, and nothing is left that could move it"
