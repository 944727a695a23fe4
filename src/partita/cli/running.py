"""Running: dev holds a store and makes an app move; demo runs the shop."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from partita.cli.failures import Exit
from partita.cli.opening import load
from partita.cli.options import ANSWERING, Answering, find
from partita.cli.output import print_json, print_note
from partita.cli.suggesting import as_typed, say_flags
from partita.errors import BackendError
from partita.limits import LIMITS
from partita.runtime.app import App
from partita.runtime.process import own_process, still_working
from partita.runtime.settings import Settings, naming_store

GRACE_S = 3.0
"""How long after `limits.drain_s` a process that was asked to stop may take to let go."""
DEMO_FOLDER = Path("partita-demo")


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What `dev --json` says once it takes requests."""

    app: str
    store: str
    socket: str
    pid: int


async def dev(
    place: Annotated[str | None, Parameter(name="MODULE:APP", help="The app [PARTITA_APP, partita.toml].")] = None,
    /,
    *,
    store: Annotated[
        str | None, Parameter(help="The store's file; made where there is none.", show_default=False)
    ] = None,
    options: Answering = ANSWERING,
) -> int:
    """Everything in one process on a SQLite file, until Ctrl-C."""
    settings = find(store=store, app=place, app_as="MODULE:APP")
    app = load(settings)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    await _run(app, settings, as_json=options.json)
    return Exit.OK


async def _run(app: App, settings: Settings, *, as_json: bool) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        if asked.is_set():
            print_note("stopped at once; the next start takes up what was being handled")
            os._exit(128 + number)
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    with naming_store(settings.store):
        own_process()
        async with app.run(settings.store):
            _announce(app, settings.store, as_json=as_json)
            await asked.wait()
            print_note("stopping: what is being handled ends first; again to stop at once")
            _end_by(LIMITS.drain_s + GRACE_S)
    if still_working():
        print_note("a thread is still at a handler or a step, and ends with this process; the next start takes it up")
    print_note("stopped")


def _end_by(seconds: float) -> None:
    """End the process then, whatever a handler may do to stay: the next start takes up what was open."""

    def give_up() -> None:
        print_note("stopped, though something would not end; the next start takes it up")
        os._exit(Exit.OK)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


def _announce(app: App, store: Path, *, as_json: bool) -> None:
    from partita.runtime.backends import find_holder

    holder = find_holder(store)
    socket = str(holder.socket) if holder else ""
    if as_json:
        print_json(Running(app=app.name, store=str(store.absolute()), socket=socket, pid=os.getpid()))
    else:
        print(f"{app.name} runs on {store} (process {os.getpid()})")
        print(f"  socket  {socket}")
        look = as_typed(f"partita ps{say_flags(store=str(store))}")
        print(f"  look    {look}")
        print("  stop    Ctrl-C")
    sys.stdout.flush()


def demo(
    *,
    form: Annotated[
        Literal["hybrid", "choreography", "orchestration"], Parameter(help="Which form the process takes.")
    ] = "hybrid",
    fresh: Annotated[bool, Parameter(negative=(), help="Begin anew, whatever a demo before has left.")] = False,
    options: Answering = ANSWERING,
) -> int:
    """The shop, end to end, on real orders; leaves its store in ./partita-demo."""
    try:
        shop: Any = importlib.import_module("partita_shop.demo")
    except ImportError as error:
        raise BackendError(
            f"the shop is not installed: {error}\nInstall partita from its wheel, or with: pip install -e ."
        ) from error
    code: int = shop.main(form=form, folder=DEMO_FOLDER, as_json=options.json, fresh=fresh)
    return code
