"""What `why` prints is typed as it stands, by real processes: beside `dev`, and where nothing runs."""

import asyncio
import base64
import contextlib
import json
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from partita.clock import US, SystemClock
from partita.errors import NotFound
from partita.monitor.cases import Where
from partita.monitor.why import WhyTree
from partita.runtime.access import open_access
from partita.runtime.door import ask_door
from partita.runtime.requests import Request
from partita.testing.expected import EXPECTED
from partita.testing.hire import Form
from tests.acceptance.shell import DEADLINE_S, Dev, Shell

STANDING: dict[Form, tuple[str, ...]] = {
    "choreography": ("dead-letter", "dead-notice", "dead-observer", "blocked", "undecodable", "unknown-type", "doomed"),
    "orchestration": (
        "call-held",
        "bug",
        "never",
        "child-bug",
        "child-call-failed",
        "child-step-failed",
        "child-call-held",
        "child-waits",
        "child-elsewhere",
        "child-waits-there",
        "child-of-child",
        "compensation-fails",
        "no-run",
        "person",
        "workflow-paused",
    ),
    "hybrid": ("child-of-child", "group-paused"),
}
"""Kinds of trouble that stand beside one another, in the form in which they are looked at here; mended last first."""
PAUSED = {"workflow-paused": "workflow:lend", "group-paused": "yard"}
Mode = str
each_mode = pytest.mark.parametrize("mode", ["dev", "--run"])


def hires(folder: Path, app: str) -> Shell:
    """A folder with the hire of a van in it."""
    shell = Shell(folder)
    shutil.copy(Path(__file__).with_name("hire_app.py"), folder)
    shell.env["PARTITA_APP"] = f"hire_app:{app}"
    return shell


def case(kind: str) -> str:
    return f"hire:{kind}-1"


def ask(shell: Shell, kind: str) -> None:
    shell.run("emit", "HireAsked", json.dumps({"hire_id": f"{kind}-1"}))


def bring(shell: Shell, dev: Dev, kind: str) -> None:
    """Bring a trouble about, until it stands."""
    if kind in PAUSED:
        shell.run("group", "pause", PAUSED[kind])
    if kind == "no-run":
        shell.run("emit", "HireAgreed", json.dumps({"hire_id": f"{kind}-1"}))
    else:
        ask(shell, kind)
    if kind == "blocked":
        for text in ("first", "second"):
            shell.run("signal", case(kind), "NoteLeft", json.dumps({"text": text}))
    if kind in {"undecodable", "unknown-type"}:
        until(shell, kind, "VanHandedOver", lambda where, _: where.verdict == "done")
        put(dev, kind)


def put(dev: Dev, kind: str) -> None:
    """A foreign producer's message that can't be handled."""
    name = "NoteLeft" if kind == "undecodable" else "Unheard"
    event = {
        "specversion": "1.0",
        "id": name,
        "source": "web",
        "type": name,
        "subject": case(kind),
        "data": {"text": 5},
    }
    raw = base64.b64encode(json.dumps(event).encode()).decode()
    reply = asyncio.run(ask_door(Path(dev.said["socket"]), Request(op="put", key="k", raw=raw)))
    assert reply.status == "accepted", reply


def stands(shell: Shell, kind: str, form: Form) -> None:
    """Wait until the story says of a trouble what it should."""
    row = EXPECTED[kind, form]
    until(shell, kind, row.outcome, lambda where, why: (where.verdict, why.leading.leaf) == (row.verdict, row.leaf))


def is_mended(shell: Shell, kind: str, form: Form) -> None:
    row = EXPECTED[kind, form]
    until(shell, kind, "HireAsked", lambda where, _: where.verdict == row.after)


def until(shell: Shell, kind: str, outcome: str, holds: Callable[[Where, WhyTree], bool]) -> None:
    """Look from here, without a process for each look, until what is waited for holds."""
    clock = SystemClock()
    deadline = clock.now_us() + int(DEADLINE_S * US)

    async def look() -> None:
        async with open_access(shell.folder / "partita.db") as access:
            while True:
                found: object = None
                with contextlib.suppress(NotFound):
                    found = where, why = access.look.where(case(kind)), access.look.why(case(kind), outcome)
                    if holds(where, why):
                        return
                assert clock.now_us() < deadline, f"{kind} still says {found}"
                await clock.sleep(0.05)

    asyncio.run(look())


def mend(shell: Shell, kind: str, form: Form) -> list[str]:
    """The command that `why` prints for a person, with what it leaves open filled in."""
    out = shell.run("why", case(kind), EXPECTED[kind, form].outcome).out
    (line,) = [line for line in out.splitlines() if line.startswith("  mend it:  ")]
    program, *words = shlex.split(line.removeprefix("  mend it:  "))
    assert program == "partita"
    return [word.replace("...", "true") for word in words]


@pytest.fixture(scope="module", params=[(form, mode) for form in STANDING for mode in ("dev", "--run")], ids=str)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Form]]:
    """Every trouble of one form stands, and the world is well again; with the engine, or without."""
    form, mode = request.param
    shell = hires(tmp_path_factory.mktemp(form), form)
    with shell.dev(f"hire_app:{form}") as dev:
        for kind in STANDING[form]:
            bring(shell, dev, kind)
            stands(shell, kind, form)
        (shell.folder / "mended").touch()
        if mode == "dev":
            yield shell, form
    if mode == "--run":
        yield shell, form


def test_the_printed_command_mends_each_trouble(scene: tuple[Shell, Form]) -> None:
    shell, form = scene

    for kind in reversed(STANDING[form]):
        shell.run(*mend(shell, kind, form))
        is_mended(shell, kind, form)


# What a deploy has to bring first.


@each_mode
@pytest.mark.parametrize(
    ("kind", "form", "before", "after"),
    [
        ("subscribed-later", "choreography", "unsubscribed", "choreography"),
        ("nobody-handles", "orchestration", "yardless", "orchestration"),
        ("group-gone", "choreography", "choreography", "closed"),
    ],
)
def test_after_a_deploy_the_printed_command_mends(
    tmp_path: Path, kind: str, form: Form, before: str, after: str, mode: Mode
) -> None:
    shell = hires(tmp_path, after)
    with shell.dev(f"hire_app:{before}"):
        if kind == "group-gone":
            shell.run("group", "pause", "yard")
        ask(shell, kind)
        last = {"subscribed-later": "DepositTaken", "nobody-handles": "HandOver", "group-gone": "HandOver"}[kind]
        until(shell, kind, last, lambda _, why: why.leading.leaf in {"produced", "nobody_handles", "group_paused"})
    with contextlib.ExitStack() as running:
        running.enter_context(shell.dev(f"hire_app:{after}"))
        stands(shell, kind, form)
        if mode == "--run":
            running.close()
        shell.run(*mend(shell, kind, form))
        is_mended(shell, kind, form)


# Where no engine runs.


def test_a_request_that_was_left_is_carried_out_by_the_dev_that_why_prints(tmp_path: Path) -> None:
    shell = hires(tmp_path, "choreography")
    with shell.dev("hire_app:choreography"):
        pass  # it makes the store
    shell.run("emit", "HireAsked", json.dumps({"hire_id": "request-left-1"}))
    stands(shell, "request-left", "choreography")

    program, *words = mend(shell, "request-left", "choreography")
    assert [program, *words] == ["dev", "hire_app:choreography"]
    with shell.dev(*words):
        is_mended(shell, "request-left", "choreography")


@each_mode
def test_what_killed_five_processes_is_a_dead_letter_and_redriven_once_it_kills_no_more(
    tmp_path: Path, mode: Mode
) -> None:
    shell = hires(tmp_path, "choreography")
    with shell.dev("hire_app:choreography"):
        pass  # it makes the store
    ask(shell, "poison")
    died = [run_until_idle(shell) for _ in range(7)]
    assert died == [-signal.SIGKILL] * 6 + [0], "begun once, claimed five times, then buried"
    stands(shell, "poison", "choreography")
    (shell.folder / "mended").touch()

    with shell.dev("hire_app:choreography") if mode == "dev" else contextlib.nullcontext():
        shell.run(*mend(shell, "poison", "choreography"))
        is_mended(shell, "poison", "choreography")


def run_until_idle(shell: Shell) -> int:
    """Run the app here for as long as it has something to do; the exit code, or the signal that it died of."""
    return shell.run("emit", "HireAsked", json.dumps({"hire_id": "healthy-1"}), "--key", "one", "--run", code=None).code
