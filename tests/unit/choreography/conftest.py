"""The stages of this room's tests, let go at their ends."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from partita import Service
from tests.unit.choreography.stage import Stage


@pytest.fixture
async def stages() -> AsyncIterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(*services: Service, **more: Any) -> Stage:
        made.append(Stage(*services, **more))
        return made[-1]

    yield make
    for stage in made:
        stage.close()
