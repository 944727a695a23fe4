"""The app: services, workflows and wirings under one name, and the ways to run it and to talk to it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from partita.choreography.service import Service, Wiring
from partita.errors import DefinitionError, Rejected
from partita.limits import Limits, in_force
from partita.orchestration.workflow import Workflow
from partita.retry import Retry
from partita.runtime.client import Client, LocalClient
from partita.runtime.declared import Declared, work_out
from partita.runtime.settings import DEFAULT_STORE, find_limits, store_path


class App:
    """One app: what it declares is worked out, and contradictions are refused, when it is made."""

    def __init__(
        self,
        name: str,
        *,
        services: Iterable[Service] = (),
        workflows: Iterable[Workflow[Any, Any]] = (),
        wiring: Iterable[Wiring] = (),
        retry: Retry | None = None,
        limits: Limits | None = None,
    ) -> None:
        if not name or len(name) > 100:
            raise DefinitionError(f"app name {name!r} is not a name\nUse 1 to 100 characters.")
        self.name = name
        self.limits = limits or Limits()
        self.services = list(services)
        self.declared: Declared = work_out(
            name, services=self.services, workflows=workflows, wirings=wiring, retry=retry
        )

    def run(self, store: str | Path | None = None) -> AbstractAsyncContextManager[LocalClient]:
        """Run the app in this process, on a SQLite file, while the block lasts; gives a client.

        Raises StoreError where another process holds the file, or it is none of ours.
        """
        return self._run(store_path(str(store or DEFAULT_STORE)))

    @asynccontextmanager
    async def _run(self, path: Path) -> AsyncGenerator[LocalClient]:
        from partita.runtime.running import run_app  # noqa: PLC0415 - an engine is loaded where one runs

        with in_force(find_limits(self.limits)):
            async with run_app(self.declared, self.services, path) as client:
                yield client

    def client(self, store: str | Path | None = None) -> AbstractAsyncContextManager[Client]:
        """Talk to the app through whoever runs it on that store; what is asked of nobody is owed to the next."""
        return self._client(store_path(str(store or DEFAULT_STORE)))

    @asynccontextmanager
    async def _client(self, path: Path) -> AsyncGenerator[Client]:
        from partita.runtime.access import open_client  # noqa: PLC0415 - so is what stands beside one

        with in_force(find_limits(self.limits)):
            async with open_client(self, path) as client:
                yield client


def load_app(place: str, folder: Path | None = None) -> App:
    """The app that `module:name` names. Raises Rejected where there is none, with the error that stood in the way."""
    module_name, separator, name = place.partition(":")
    if not separator or not module_name or not name:
        raise Rejected(f"{place!r} names no app", "Write it as module:name, as in shop.hybrid:app.")
    for path in (str(folder) if folder is not None else "", str(Path.cwd())):
        if path and path not in sys.path:
            sys.path.insert(0, path)
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise Rejected(f"app {place!r}: {error}", "Run it where the module can be imported, or install it.") from error
    app = getattr(found, name, None)
    if not isinstance(app, App):
        names = [key for key, value in vars(found).items() if isinstance(value, App)]
        has = f"It has: {', '.join(names)}." if names else "It has no App."
        raise Rejected(f"{name!r} in module {module_name} is no App", has)
    return app
