"""The books of the world outside: what the card gateway, the carrier and the mail server were asked, and what they did.

Every request is written down before it is answered, so a request that is not in the books was not answered. A key that
is known gets the answer it got before, and has no second effect. This room knows nothing of partita.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import BinaryIO, Literal, assert_never

import msgspec

from partita_shop import trouble
from partita_shop.trouble import Trouble

Op = Literal["charge", "refund", "pay back", "ship", "mail"]


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request. `key` is the idempotency key; `attempt` counts from 1, and from 1 again for who asks anew."""

    op: Op
    key: str
    case: str
    """Who it is about, as `order:536365`."""
    pence: int = 0
    attempt: int = 1
    subject: str = ""
    """Of a mail."""

    @property
    def trouble(self) -> Trouble | None:
        """What goes wrong with that order, if anything does."""
        return trouble.trouble_of(self.case.partition(":")[2])


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What comes back: done; refused, for good; or busy, and worth another attempt."""

    status: Literal["done", "refused", "busy"] = "done"
    reason: str = ""
    pence: int = 0
    parcel: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the books: a request, and what came of it."""

    n: int
    asked: Asked
    answer: Answer
    effect: bool = False
    """Something was done: money moved, a parcel left, a mail went out."""
    repeated: bool = False
    """The key was known: the answer of before, no second effect."""
    hung_up: bool = False
    """The answer was never sent."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """The books, counted."""

    requests: int
    effects: int
    suppressed: int
    """Repeated keys that had an effect before, and got no second one."""
    effects_by_op: dict[str, int]
    twice: list[str]
    """What was done more than once for one case, under whatever key: there should be none."""


class Books:
    """The books, in memory and, where a path is given, in a file that survives its process."""

    def __init__(self, path: Path | None = None) -> None:
        self._times: Counter[str] = Counter()
        self._final: dict[str, Entry] = {}
        self._charged: dict[str, int] = {}
        self._highest: dict[str, int] = {}
        self._count = 0
        self._file: BinaryIO | None = None
        if path is not None:
            for entry in read_entries(path):
                self._enter(entry)
            self._file = path.open("ab", buffering=0)
            self._file.truncate(path.read_bytes().rfind(b"\n") + 1)  # A line that a crash cut short goes.

    def take(self, asked: Asked) -> Answer | None:
        """Write a request down, do what it asks, and answer; None for who is hung up on without an answer."""
        entry = self._entry(asked)
        if self._file is not None:
            self._file.write(msgspec.json.encode(entry) + b"\n")
        self._enter(entry)
        return None if entry.hung_up else entry.answer

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()

    def _entry(self, asked: Asked) -> Entry:
        n = self._count + 1
        before = self._final.get(asked.key)
        if before is not None:
            return Entry(n=n, asked=asked, answer=before.answer, repeated=True)
        answer, effect, hung_up = self._decide(asked)
        return Entry(n=n, asked=asked, answer=answer, effect=effect, hung_up=hung_up)

    def _enter(self, entry: Entry) -> None:
        asked = entry.asked
        self._count = entry.n
        self._times[asked.key] += 1
        self._highest[asked.key] = max(asked.attempt, self._highest.get(asked.key, 0))
        if entry.answer.status != "busy":
            self._final.setdefault(asked.key, entry)
        if entry.effect and asked.op == "charge":
            self._charged[asked.case] = asked.pence
        elif entry.effect and asked.op == "refund":
            self._charged.pop(asked.case, None)

    def _decide(self, asked: Asked) -> tuple[Answer, bool, bool]:
        """The answer to a key that is new; whether it has an effect; whether the line goes dead before it is sent."""
        match asked.op:
            case "charge":
                return self._charge(asked)
            case "refund":
                pence = self._charged.get(asked.case, 0)
                return Answer(pence=pence), pence > 0, False
            case "pay back":
                return Answer(pence=asked.pence), True, False
            case "ship":
                return self._ship(asked)
            case "mail":
                if asked.trouble == "mailbox gone" and asked.subject == "shipped":
                    return Answer(status="refused", reason="550 no such mailbox"), False, False
                return Answer(), True, False
            case _:
                assert_never(asked.op)

    def _charge(self, asked: Asked) -> tuple[Answer, bool, bool]:
        if asked.trouble == "card declined":
            return Answer(status="refused", reason="card expired"), False, False
        if asked.trouble == "gateway flaky" and self._times[asked.key] == 0:
            return Answer(status="busy", reason="the gateway is busy"), False, False
        # A flaky gateway charges on the second request and says nothing: the third tells whether keys are kept.
        return Answer(pence=asked.pence), True, asked.trouble == "gateway flaky"

    def _ship(self, asked: Asked) -> tuple[Answer, bool, bool]:
        if asked.trouble == "shipment refused":
            return Answer(status="refused", reason="no such street"), False, False
        # Attempts never go down by themselves, not even over a crash: who asks for less than before asks anew, because
        # an operator redrove it.
        if asked.trouble == "carrier down" and asked.attempt >= self._highest.get(asked.key, 0):
            return Answer(status="busy", reason="the carrier does not answer"), False, False
        return Answer(parcel="P" + asked.case.partition(":")[2]), True, False


def read_entries(path: Path) -> list[Entry]:
    """The lines of a book; a last one that is not whole was never answered, and is no entry."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Entry) for line in path.read_bytes().split(b"\n")[:-1]]


def tally(entries: list[Entry]) -> Tally:
    """Count a book."""
    done = Counter((entry.asked.op, entry.asked.case, entry.asked.subject) for entry in entries if entry.effect)
    effective = {entry.asked.key for entry in entries if entry.effect}
    by_op: Counter[str] = Counter(entry.asked.op for entry in entries if entry.effect)
    return Tally(
        requests=len(entries),
        effects=sum(entry.effect for entry in entries),
        suppressed=sum(entry.repeated and entry.asked.key in effective for entry in entries),
        effects_by_op=dict(sorted(by_op.items())),
        twice=sorted(" ".join(filter(None, what)) for what, times in done.items() if times > 1),
    )
