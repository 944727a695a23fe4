"""Submitting a unit and waiting for its answer, for those who have nothing to do meanwhile."""

from __future__ import annotations

import asyncio

from partita.store.port import Answer, Store
from partita.transports.outbox import Draft


async def commit(store: Store, draft: Draft) -> Answer:
    """Submit a draft at once; return its answer."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answered(answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)

    draft.unit.answered = answered
    store.submit(draft.unit)
    return await future
