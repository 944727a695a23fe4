"""The inspection of a van before it is handed over: child runs of a hire, in its own case and in the van's."""

from __future__ import annotations

import asyncio
from typing import Annotated

from partita.choreography.service import Service
from partita.errors import Final
from partita.messages.message import Case, Command, Event
from partita.orchestration.acts import call, child, receive
from partita.orchestration.step import step
from partita.orchestration.workflow import workflow
from partita.retry import Retry
from partita.testing.place import HireId, meets, trouble_of

VanOfHire = Annotated[str, Case("van")]
"""Each hire has a van of its own, under the hire's key."""


class InspectionDue(Event):
    hire_id: HireId


class VanInspected(Event, external="an inspector"):
    hire_id: HireId


class BrakesChecked(Event):
    hire_id: HireId


class CheckBrakes(Command[BrakesChecked]):
    hire_id: HireId


class VanNeeded(Event):
    hire_id: VanOfHire


class VanFetched(Event, external="a driver"):
    hire_id: VanOfHire


QUICK = Retry(attempts=3, first="100ms", most="1s")
HELD = Retry(attempts=3, first="100ms", most="1s", then="hold")
inspectors = Service("inspectors", retry=QUICK)


@inspectors.handles(CheckBrakes)
async def check_brakes(command: CheckBrakes) -> BrakesChecked:
    if meets(command.hire_id, "child-call-failed", "child-call-held"):
        raise ConnectionError("the bench is broken")
    return BrakesChecked(hire_id=command.hire_id)


@step
async def weigh_van(hire_id: str) -> int:
    if meets(hire_id, "child-step-failed"):
        raise Final("the scales are gone")
    return 1_800


@workflow(receives=(VanInspected,))
async def inspect_van(due: InspectionDue) -> None:
    """In the case of the hire."""
    key = due.hire_id
    match trouble_of(key):
        case "child-bug" if meets(key, "child-bug"):
            raise RuntimeError("a bug in the inspection")
        case "child-call-failed":
            await call(CheckBrakes(hire_id=key))
        case "child-call-held":
            await call(CheckBrakes(hire_id=key), retry=HELD)
        case "child-step-failed":
            await weigh_van(key)
        case "child-waits":
            await receive(VanInspected)
        case "child-sleeps":
            await asyncio.sleep(6 * 3600)
        case "child-of-child":
            await child(fetch_van, VanNeeded(hire_id=key))
        case _:
            pass


@workflow(receives=(VanFetched,))
async def fetch_van(needed: VanNeeded) -> None:
    """In the case of the van."""
    if meets(needed.hire_id, "child-elsewhere", "child-of-child"):
        raise RuntimeError("a bug in the fetching")
    if trouble_of(needed.hire_id) == "child-waits-there":
        await receive(VanFetched)


async def inspection(key: str) -> None:
    """What a hire's workflow asks of others before it confirms: of most hires, nothing."""
    match trouble_of(key):
        case "child-elsewhere" | "child-waits-there":
            await child(fetch_van, VanNeeded(hire_id=key))
        case "never":
            await asyncio.Event().wait()
        case trouble if trouble.startswith("child-"):
            await child(inspect_van, InspectionDue(hire_id=key))
        case _:
            pass
