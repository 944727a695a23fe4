"""The client: what a program is told of what it asked for."""

from typing import Annotated

import pytest

from partita import CallTimeout, Case, Client, Command
from partita.messages.catalog import Catalog
from partita.monitor.cases import Where
from partita.runtime.requests import Reply, Request
from partita.testing.virtual import ManualClock


class Count(Command[int]):
    order_id: Annotated[str, Case("order")]


class Blind:
    def find_where(self, case: str) -> Where | None:
        return None


async def leave(request: Request) -> Reply:
    return Reply(status="accepted", key=request.key, queued=True)


async def test_a_call_that_is_kept_for_the_next_engine_has_no_answer_yet() -> None:
    client = Client(Catalog([Count]), leave, Blind(), ManualClock())

    with pytest.raises(CallTimeout, match="no engine runs"):
        await client.call(Count(order_id="1"), key="k")
    await client.send(Count(order_id="1"), key="k")
