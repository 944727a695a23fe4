"""Users' code that never returns, in real processes: each ends as a fact that names it, and its neighbours go on."""

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.shell import APP, DEADLINE_S, Dev, Done, Shell, ending

LOOPING = """
import asyncio, threading, time
from partita import AsyncTransaction, Transaction, step


class Asked(Event, external="a traveller"):
    loop_id: Annotated[str, Case("loop")]
    how: str


def for_ever() -> None:
    while True:
        pass


def stubborn() -> None:
    while True:
        try:
            for_ever()
        except BaseException:
            pass


def in_one_call() -> None:
    threading.Event().wait()  # no instruction of Python's comes to be executed


@workflow(starts_on=Asked)
async def loop(asked: Asked) -> None:
    await asyncio.sleep(0.01)  # so that its start is durable
    match asked.how:
        case "workflow":
            for_ever()
        case "task":
            await asyncio.gather(asyncio.sleep(1), _spin())
        case "stubborn":
            stubborn()
        case "one call":
            in_one_call()
        case _:
            pass


async def _spin() -> None:
    for_ever()


loops = Service("loops", retry=Retry(attempts=1))
awaiting = Service("awaiting", retry=Retry(attempts=1))
threads = Service("threads", retry=Retry(attempts=1))
writing = Service("writing", retry=Retry(attempts=1))


@loops.on(Asked)
async def spin(event: Asked) -> None:
    if event.how == "async handler":
        for_ever()


class Wait(Command[None]):
    loop_id: Annotated[str, Case("loop")]


class Sit(Command[None]):
    loop_id: Annotated[str, Case("loop")]


@awaiting.handles(Wait, timeout="100ms")
async def wait(command: Wait) -> None:
    await asyncio.Event().wait()


@threads.handles(Sit, timeout="100ms")
def sit(command: Sit) -> None:
    time.sleep(2.0)


class Linger(Command[None]):
    loop_id: Annotated[str, Case("loop")]


@awaiting.handles(Linger)
async def linger(command: Linger) -> None:
    await asyncio.Event().wait()


class Stay(Command[None]):
    loop_id: Annotated[str, Case("loop")]


@awaiting.handles(Stay)
async def stay(command: Stay) -> None:
    print("here to stay", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass


class Doze(Command[str]):
    loop_id: Annotated[str, Case("loop")]


@awaiting.handles(Doze)
async def doze(command: Doze) -> str:
    await asyncio.sleep(0.5)
    return "rested"


class Sleep(Command[None]):
    loop_id: Annotated[str, Case("loop")]


@threads.handles(Sleep)
def sleep_long(command: Sleep) -> None:
    print("asleep", flush=True)
    time.sleep(60)


@writing.on(Asked)
def hold(event: Asked, tx: Transaction) -> None:
    if event.how == "sql":
        tx.list_rows("with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) as n from n")
    if event.how == "writer":
        for_ever()


app = App(
    "travel",
    services=[seats, cards, mail, printing, desk, loops, awaiting, threads, writing],
    workflows=[book, loop],
    wiring=[after_booking],
)
"""
ASKED = '{"loop_id": "1", "how": "%s"}'


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    path = tmp_path / "small_app.py"
    path.write_text(path.read_text() + LOOPING)
    shell.env |= {
        "PARTITA_LIMITS_TURN_INTERRUPT_S": "0.5",
        "PARTITA_LIMITS_TURN_DEAD_S": "2",
        "PARTITA_LIMITS_WRITER_INTERRUPT_S": "0.3",
        "PARTITA_LIMITS_WRITER_DEAD_S": "2",
    }
    return shell


def untraced(shell: Shell) -> None:
    """Without a tracer: under one, Python 3.11 looks for ever for what can't be raised in a thread that sits in a call.

    It does so in every thread that is traced, the watchdogs' and the writer's too.
    """
    shell.env = {name: value for name, value in shell.env.items() if not name.startswith("COVERAGE_")}


def died(dev: Dev) -> Done:
    with ending(dev.process):
        out, err = dev.process.communicate(timeout=DEADLINE_S)
    return Done(dev.process.returncode, out, err)


@contextlib.contextmanager
def begun(shell: Shell, dev: Dev, command: str, says: str) -> Iterator[None]:
    """The engine is at a command while the block lasts; whoever sent that waits."""
    shell.run("emit", "Asked", ASKED % "nothing")
    waiting = shell.start("signal", "loop:1", command)
    assert dev.process.stdout is not None
    assert dev.process.stdout.readline() == f"{says}\n"
    yield
    waiting.communicate(timeout=DEADLINE_S)


def goes_on(shell: Shell) -> None:
    """A neighbour's case comes as far as it would have without."""
    shell.run("emit", "TripAsked", '{"trip_id": "next", "seats": 2}')
    shell.verdict("trip:next", "waiting")


@pytest.mark.parametrize("how", ["workflow", "task"])
def test_workflow_code_that_loops_for_ever_is_an_incident_and_the_engine_goes_on(shell: Shell, how: str) -> None:
    with shell.dev() as dev:
        shell.run("emit", "Asked", ASKED % how)
        shell.verdict("loop:1", "failed")
        goes_on(shell)
        shown = shell.run("show", "loop:1", code=2).out
        told = dev.end(2)

    assert "limits.turn_interrupt_s" in shown
    assert told.code == 0
    assert "turn.slow run=loop/loop:1/1" in told.err
    assert "at=for_ever (" in told.err, "the log names the line"


@pytest.mark.parametrize("how", ["stubborn", "one call"])
def test_workflow_code_that_nothing_stops_ends_the_process_once(shell: Shell, how: str) -> None:
    untraced(shell)
    with shell.dev() as dev:
        shell.run("emit", "Asked", ASKED % how)
        told = died(dev)

    assert told.code == 70
    assert "loop.dead who=run loop/loop:1/1" in told.err
    assert "in in_one_call" in told.err or "in for_ever" in told.err, "with its stack"
    with shell.dev():
        goes_on(shell)
        assert "limits.turn_interrupt_s" in shell.run("show", "loop:1", code=2).out


def test_an_async_handler_that_computes_for_ever_is_a_dead_letter_when_it_was_claimed_too_often(shell: Shell) -> None:
    shell.env |= {"PARTITA_LIMITS_CLAIMS_MAX": "2", "PARTITA_LIMITS_TURN_DEAD_S": "1"}
    for _ in range(3):
        with shell.dev() as dev:
            if not (shell.folder / "asked").exists():
                (shell.folder / "asked").touch()
                shell.run("emit", "Asked", ASKED % "async handler")
            told = died(dev)
            assert told.code == 70
            assert "loop.dead who=loops Asked" in told.err

    with shell.dev():
        shell.verdict("loop:1", "failed")
        goes_on(shell)
        (letter,) = shell.run("dead", "list", "--json").json["dead"]
    assert (letter["group"], "ended 2 times" in json.dumps(letter)) == ("loops", True)


@pytest.mark.parametrize(
    ("what", "group", "text"),
    [
        ("Wait", "awaiting", "took longer than its timeout of 100 ms. Raise that"),
        ("Linger", "awaiting", "took longer than 300 ms (limits.attempt_s). Give it a timeout="),
        ("Sit", "threads", "took longer than its timeout of 100 ms. Raise that"),
        ("", "writing", "limits.writer_interrupt_s"),
    ],
    ids=["async", "async, without a limit of its own", "in a thread", "in SQL"],
)
def test_a_handler_that_never_returns_is_a_dead_letter_when_its_time_is_up(
    shell: Shell, what: str, group: str, text: str
) -> None:
    shell.env |= {"PARTITA_LIMITS_ATTEMPT_S": "0.3"}
    with shell.dev():
        shell.run("emit", "Asked", ASKED % ("nothing" if what else "sql"))
        if what:
            shell.run("signal", "loop:1", what, code=70)
        shell.verdict("loop:1", "failed")
        goes_on(shell)
        (letter,) = shell.run("dead", "list", "--json").json["dead"]

    assert letter["group"] == group
    assert text in json.dumps(letter)


def test_a_handler_that_holds_the_writer_ends_the_process_with_its_name_and_stack(shell: Shell) -> None:
    with shell.dev() as dev:
        shell.run("emit", "Asked", ASKED % "writer", code=None)
        told = died(dev)

    assert told.code == 70
    assert "writer.dead unit=handling writing Asked" in told.err
    assert "in for_ever" in told.err
    assert shell.run("where", "loop:1", "--json", code=None).json["case"] == "loop:1", "nothing acknowledged is lost"


@pytest.mark.parametrize(
    ("how", "who", "setting"),
    [
        ("async handler", "the handler of Asked in loops", "limits.turn_dead_s"),
        ("writer", "the handler of Asked in writing", "limits.writer_dead_s"),
    ],
)
def test_a_command_that_dies_of_a_handler_says_what_was_accepted_and_under_which_key(
    shell: Shell, how: str, who: str, setting: str
) -> None:
    done = shell.run("emit", "Asked", ASKED % how, "--app", APP, "--run", "--json", code=70)
    error = json.loads(done.err.splitlines()[-1])["error"]

    assert (done.out, error["kind"], error["exit"]) == ("", "failure", 70)
    assert error["what"].startswith(f"{who} held the process for ")
    assert f"Asked for loop:1 was accepted before, under the key {error['key']}" in error["what"]
    assert setting in error["remedy"]
    assert f"partita dev {APP}" in error["remedy"]
    assert "stacks=" not in done.err
    again = shell.run("emit", "Asked", ASKED % how, "--key", error["key"])
    assert "queued" in again.out
    story = shell.run("show", "loop:1", "--json", code=None).json["story"]
    assert [line["what"] for line in story].count("published") == 1, "sent again under its key, it is no second one"


def test_a_command_that_dies_of_a_run_says_how_it_is_retried_and_shows_stacks_to_who_asks(shell: Shell) -> None:
    untraced(shell)
    shell.env["PARTITA_DEBUG"] = "1"
    done = shell.run("emit", "Asked", ASKED % "one call", "--app", APP, "--run", code=70)

    what, remedy = done.err.splitlines()[-2:]
    assert what.startswith("error: run loop/loop:1/1 held the process for ")
    assert remedy == f"The run is stopped. Mend its code, then: partita retry loop:1 --app {APP} --run"
    assert "in in_one_call" in done.err
    shell.verdict("loop:1", "failed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev_ends_while_a_thread_sleeps_and_the_next_start_takes_that_up(shell: Shell, number: signal.Signals) -> None:
    shell.env |= {"PARTITA_LIMITS_DRAIN_S": "0.3"}
    with shell.dev() as dev, begun(shell, dev, "Sleep", "asleep"):
        told = dev.end(number)

    assert told.code == 0
    assert "a thread is still at a handler or a step" in told.err
    assert "Traceback" not in told.err
    assert shell.run("where", "loop:1", "--json").json["at"] == "Sleep"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_stops_dev_at_once(shell: Shell, number: signal.Signals, code: int) -> None:
    with shell.dev() as dev, begun(shell, dev, "Sleep", "asleep"):
        dev.process.send_signal(number)
        assert dev.process.stderr is not None
        while "stopping:" not in dev.process.stderr.readline():
            pass
        told = dev.end(number)

    assert (told.code, "Traceback" in told.err) == (code, False)
    assert "stopped at once" in told.err


def test_dev_ends_though_a_handler_will_not(shell: Shell) -> None:
    shell.env |= {"PARTITA_LIMITS_DRAIN_S": "0.3"}
    with shell.dev() as dev, begun(shell, dev, "Stay", "here to stay"):
        told = dev.end(signal.SIGTERM)

    assert told.code == 0
    assert "though something would not end" in told.err
    assert shell.run("where", "loop:1", "--json").json["at"] == "Stay"


def test_an_answer_that_comes_while_run_drives_the_app_is_printed(shell: Shell) -> None:
    shell.run("emit", "Asked", ASKED % "nothing", "--app", APP, "--run")
    done = shell.run("signal", "loop:1", "Doze", "--timeout", "100ms", "--app", APP, "--run", "--json")

    assert done.json["answer"] == "rested"
