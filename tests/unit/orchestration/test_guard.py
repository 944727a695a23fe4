"""The guard and the static check: what a workflow must not do, and what it is told to do instead."""

# ruff: noqa: TID251 - what must not be used is what is tested here

import asyncio
import datetime
import importlib
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from random import choice
from typing import Any

import pytest

from partita.errors import DefinitionError
from partita.orchestration.acts import receive
from partita.orchestration.check import check_source
from partita.orchestration.step import step
from partita.orchestration.workflow import Workflow, workflow
from tests.unit.orchestration.driver import Driver
from tests.unit.orchestration.words import OrderPlaced, Shipped


def run_it(act: Callable[[], Any]) -> Driver:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> object:
        act()
        return "done"

    return Driver(flow)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (socket.socket, "opened a socket"),
        (lambda: socket.getaddrinfo("localhost", 80), "asked for an address"),
        (lambda: Path(os.devnull).open("a").close(), "opened a file for writing"),
        (lambda: os.close(os.open(os.devnull, os.O_WRONLY)), "opened a file for writing"),
        (lambda: os.system("true"), "started a program"),
        (lambda: subprocess.run(["true"], check=True), "started a program"),
        pytest.param(
            lambda: threading.Thread(target=print).start(),
            "started a thread",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="Python does not tell"),
        ),
        (tempfile.mkdtemp, "made a folder"),
        pytest.param(
            lambda: time.sleep(0),
            "blocked the engine",
            marks=pytest.mark.skipif(sys.version_info < (3, 13), reason="Python does not tell"),
        ),
    ],
)
def test_workflow_code_that_reaches_outside_is_stopped(act: Callable[[], Any], words: str) -> None:
    error = run_it(act).error

    assert isinstance(error, DefinitionError)
    first, second = str(error).splitlines()
    assert words in first
    assert "flow/order:1/1" in first
    assert "@step" in second or "asyncio.sleep" in second


def test_reading_importing_and_logging_are_allowed(tmp_path: Path) -> None:
    def act() -> None:
        Path(__file__).read_text()
        importlib.import_module("colorsys")
        log = logging.getLogger("test")
        log.addHandler(handler)
        log.warning("said")

    handler = logging.FileHandler(tmp_path / "log", delay=True)
    try:
        assert run_it(act).value == "done"
    finally:
        logging.getLogger("test").removeHandler(handler)
        handler.close()
    assert "said" in (tmp_path / "log").read_text()


async def test_between_two_turns_everybody_may_do_everything() -> None:
    @workflow(starts_on=OrderPlaced)
    async def flow(order: OrderPlaced) -> None:
        await receive(Shipped)

    run = Driver(flow)
    socket.socket().close()
    run.receive(Shipped())
    assert run.value is None
    socket.socket().close()


def test_another_thread_may_do_everything_during_a_turn() -> None:
    done: list[str] = []
    begin, ended = threading.Event(), threading.Event()

    def outside() -> None:
        begin.wait(10)
        socket.socket().close()
        done.append("opened")
        ended.set()

    def act() -> None:
        begin.set()
        ended.wait(10)

    thread = threading.Thread(target=outside)
    thread.start()
    assert run_it(act).value == "done"
    thread.join()
    assert done == ["opened"]


# The static check.


@step
def fetch() -> float:
    return time.time()


async def helper() -> str:
    return choice("ab")


async def careless(order: OrderPlaced) -> None:
    began = time.time()
    named = uuid.uuid4()
    today = datetime.datetime.now(datetime.UTC)
    drawn = random.random(), os.urandom(2)
    await asyncio.to_thread(print, began, named, today, drawn)
    await asyncio.get_running_loop().run_in_executor(None, print)
    threading.Lock()
    await helper()


async def careful(order: OrderPlaced) -> datetime.timedelta:
    await fetch()
    await step(time.time)()
    await step(lambda: random.random() + 1)()
    return datetime.timedelta(seconds=1)


def test_the_check_names_each_place_and_what_to_write_instead() -> None:
    found = check_source(careless)

    assert [(one.function, one.name) for one in found] == [
        ("careless", "time.time"),
        ("careless", "uuid.uuid4"),
        ("careless", "datetime.datetime.now"),
        ("careless", "random.random"),
        ("careless", "os.urandom"),
        ("careless", "asyncio.to_thread"),
        ("careless", "asyncio.get_running_loop().run_in_executor"),
        ("careless", "threading.Lock"),
        ("helper", "random.Random.choice"),
    ]
    assert found[0].line == careless.__code__.co_firstlineno + 1
    assert str(found[0]) == f"{__file__}:{found[0].line}: careless uses time.time\nUse now()."


def test_the_check_is_content_with_steps() -> None:
    assert check_source(careful) == []


def test_the_check_says_nothing_of_a_workflow_whose_source_is_not_there() -> None:
    names: dict[str, Any] = {"OrderPlaced": OrderPlaced}
    exec("async def typed(order: OrderPlaced) -> None: ...", names)
    typed: Workflow[OrderPlaced, None] = workflow(starts_on=OrderPlaced, receives=())(names["typed"])

    assert typed.findings == (), "an engine begins with this, and must not fail at it"
