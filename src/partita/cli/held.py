"""Held up: what a command with `--run` says last, where users' code holds its process until that ends.

The request may have been accepted by then, and whoever asked has to know: sent again under another key, it would be a
second one.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from partita.cli.failures import Exit, Failure
from partita.cli.output import print_failure
from partita.cli.suggesting import Mends
from partita.clock import SystemClock
from partita.dying import Held
from partita.runtime.backends import read
from partita.runtime.requests import Reply, Request, message_id_of

_PUBLISHING = {"emit", "start", "call", "send"}


class LastWord:
    """The last word on one request; `reply` is what came of it, once something did."""

    def __init__(self, request: Request, path: Path, mends: Mends, *, as_json: bool) -> None:
        self._request = request
        self._path = path
        self._mends = mends
        self._as_json = as_json
        self.reply: Reply | None = None

    def say(self, held: Held) -> int:
        """Say it; the exit code of the process."""
        failure = self.failure(held)
        print_failure(failure, as_json=self._as_json)
        return failure.exit

    def failure(self, held: Held) -> Failure:
        """What held the process, whether the request was accepted before, and what to do."""
        request = self._request
        cause = f"{held.who} held the process for {held.held_s:.1f} s, and it ended"
        case = self._find_accepted()
        what = f"{request.type or request.workflow or request.op}{f' for {case}' if case else ''}"
        if case is None:
            return Failure(
                kind="unknown",
                exit=Exit.UNKNOWN,
                what=f"{cause}; whether {what} was accepted is not known",
                remedy=f"Mend that code, or raise {held.setting}, first.",
                key=request.key,
            )
        if held.run:
            stopped = shlex.quote(held.run.partition("/")[2].rpartition("/")[0])  # workflow/case/number
            command = self._mends.complete(f"partita retry {stopped}")
            remedy = f"The run is stopped. Mend its code, then: {command}"
        else:
            remedy = f"Mend that code, or raise {held.setting}; then this goes on with it: {self._mends.dev}"
        said = f"{cause}; {what} was accepted before, under the key {request.key}, and is not lost"
        return Failure(kind="failure", exit=Exit.FAILURE, what=said, remedy=remedy, key=request.key)

    def _find_accepted(self) -> str | None:
        """The case of a request that is durable; the store knows it before the loop that is held could be told."""
        if self.reply is not None and self.reply.status == "accepted":
            return self.reply.case or self._request.case
        if self._request.op not in _PUBLISHING:
            return None
        try:
            reader = read(self._path, clock=SystemClock())
            row = reader.trail.find_message(message_id_of(self._request))
            fact = None if row is None else reader.trail.find_fact(row.seq)
        except Exception:  # noqa: BLE001 - whatever it is, the last word is that nothing is known
            return None
        return None if fact is None else fact.case or ""
