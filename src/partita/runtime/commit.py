"""Submitting a unit and waiting for its answer, for those who have nothing to do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from partita.store.port import Accepted, Answer, Store
from partita.transports.outbox import Draft
from partita.transports.port import Owed


async def commit(
    store: Store,
    draft: Draft,
    *,
    send: Callable[[Owed], None] | None = None,
    accepted: Callable[[Accepted], None] | None = None,
) -> Answer:
    """Submit a draft at once; return its answer.

    What it owes is sent with `send` when its answer comes, and `accepted` is called then: answers come in the order of
    the commits, and whoever waits for one here goes on only some time after.
    """
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answered(answer: Answer) -> None:
        if isinstance(answer, Accepted):
            if send is not None:
                for owed in draft.relayed(answer):
                    send(owed)
            if accepted is not None:
                accepted(answer)
        if not future.done():
            future.set_result(answer)

    draft.unit.answered = answered
    store.submit(draft.unit)
    return await future
