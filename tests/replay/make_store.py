"""Makes the store file of a release, once, on the day of the release: python -m tests.replay.make_store 0.1.0

It holds a fact of every kind, a row of every work table, and bodies and states in every codec. Every later release has
to open it.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import NODEFAULT, Raw, inspect

from partita.messages.envelope import Cause
from partita.messages.topology import GroupEntry, MessageEntry, Topology
from partita.store import work
from partita.store.body import Body
from partita.store.facts import KINDS, NewFact, Published, Unread
from partita.store.port import Write
from partita.store.sqlite.store import open_store
from tests.conformance.store_desk import MESSAGE, NOW, RUN, Counting, Desk, SetClock, add_run, know, owe

LONG = Raw(b'{"order_id":"5","lines":[{"sku":"tea","count":2},{"sku":"cup","count":1}]}')
STORES = Path(__file__).parent / "stores"
TOPOLOGY = Topology(
    app="shop",
    messages=(MessageEntry(name="OrderPlaced"),),
    groups=(GroupEntry(name="inventory", service="inventory"),),
)


def sample(kind: type[Body]) -> Body:
    """A body of a kind with a value for every field that has to have one."""
    description = inspect.type_info(kind)
    assert isinstance(description, inspect.StructType)
    return kind(**{field.name: value_of(field.type) for field in description.fields if field.default is NODEFAULT})


def value_of(type_: inspect.Type) -> Any:
    match type_:
        case inspect.StrType():
            return "x"
        case inspect.IntType():
            return NOW
        case inspect.RawType():
            return Raw(b'{"x":1}')
        case inspect.StructType(cls=cls):
            return cls()
        case _:
            return msgspec.convert([], tuple[str, ...])


async def write(desk: Desk) -> None:
    """One fact of every kind, and a row in each work table."""
    desk.store.register_topology(TOPOLOGY)
    await desk.accept(NewFact(sample(KINDS["started"]), run=RUN), writes=[add_run(), add_run("odd/parcel:1/1")])
    for name, kind in sorted(KINDS.items()):
        if kind is not Unread:
            cause = Cause(MESSAGE, "inventory", 1)
            await desk.accept(NewFact(sample(kind), run=RUN, causes=(cause,), also=(f"kind:{name}",)))
    long = Published(id=MESSAGE, type="OrderPlaced", data=LONG, case="order:5", owes=("inventory", "billing"))
    for _ in range(20):
        await desk.accept(NewFact(long, case="order:5"))
    await desk.accept(
        NewFact(sample(KINDS["published"]), case="order:2"),
        writes=[
            know(),
            owe(),
            owe(group="billing", state="dead"),
            Write(work.MOVE_RUN, ("stopped", NOW + 1, RUN)),
            Write(work.SET_GROUP, ("inventory", "paused", NOW, "me")),
            Write(work.OWE_REQUEST, ("request-1",), None, 0),
        ],
    )


async def main(release: str) -> None:
    place = STORES / f"{release}.db"
    if place.exists():
        sys.exit(f"{place} is there: a released file is never made again")
    desk = Desk(open_store(place, clock=SetClock(), projection=Counting(), app="shop"))
    await write(desk)
    await desk.store.close()
    place.with_name(f"{place.name}.lock").unlink()
    print(place)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
