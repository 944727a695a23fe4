"""Bad input at every door: a clear error that names the remedy, the right exit code, nothing lost or half-written.

Each row of `bodies.py` goes to each door: a command beside a running engine, a command where none runs, the socket, the
program's own client, and a foreign producer. Then come what is wrong around a body: names, stores, apps.
"""

import asyncio
import base64
import json
import resource
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import apsw
import msgspec
import pytest

from partita import App, Case, Event, Service
from partita.cli.main import run
from partita.errors import MessageError
from partita.runtime.backends import find_holder
from partita.store.facts import Handled, Quarantined
from tests.acceptance.bodies import BODIES, Bad
from tests.acceptance.engine import Noted, all_facts, until, until_said
from tests.acceptance.shell import APP, Shell

each_body = pytest.mark.parametrize("bad", BODIES, ids=[bad.name for bad in BODIES])

MORE = """
from datetime import datetime


class TripTimed(Event, external="a traveller"):
    trip_id: TripId
    seats: int
    at: datetime


class CarAsked(Event, external="a traveller"):
    car_id: Annotated[str, Case("car")]


@mail.on(TripTimed)
async def time_it(event: TripTimed) -> None: ...


@mail.on(CarAsked)
async def drive(event: CarAsked) -> None: ...
"""


class TripTimed(Event):
    """The same as the app has it, for a program that talks to it."""

    trip_id: Annotated[str, Case("trip")]
    seats: int
    at: datetime


def a_shell(folder: Path) -> Shell:
    shell = Shell(folder)
    path = folder / "small_app.py"
    before, app, after = path.read_text().rpartition("\napp = ")
    path.write_text(before + MORE + app + after)
    return shell


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """An engine that runs throughout, with one case."""
    shell = a_shell(tmp_path_factory.mktemp("running"))
    with shell.dev():
        shell.run("emit", "TripAsked", '{"trip_id": "known", "seats": 2}')
        shell.run("emit", "CarAsked", '{"car_id": "twin"}')
        shell.run("emit", "TripAsked", '{"trip_id": "twin", "seats": 2}')
        shell.verdict("trip:known", "waiting")
        shell.verdict("trip:twin", "waiting")
        yield shell
        shell.run("emit", "TripAsked", '{"trip_id": "after", "seats": 2}')
        shell.verdict("trip:after", "waiting")  # whatever came, the engine goes on


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A store that no engine holds."""
    shell = a_shell(tmp_path_factory.mktemp("resting"))
    with shell.dev():
        shell.run("emit", "TripAsked", '{"trip_id": "known", "seats": 2}')
        shell.verdict("trip:known", "waiting")
    return shell


def count_facts(shell: Shell) -> int:
    with apsw.Connection(str(shell.folder / "partita.db"), flags=apsw.SQLITE_OPEN_READONLY) as connection:
        return int(connection.execute("select count(*) from trail").fetchone()[0])


class Told:
    """What a command of this process said, and with which code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out = code, out
        self.first, _, rest = err.removeprefix("error: ").partition("\n")
        self.second = rest.strip()


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command of `partita` in a shell's folder."""

    def told(shell: Shell, *words: str) -> Told:
        monkeypatch.chdir(shell.folder)
        monkeypatch.setenv("NO_COLOR", "1")
        capsys.readouterr()
        code = run(words)
        said = capsys.readouterr()
        return Told(code, said.out, said.err)

    return told


def check(told: Told, bad: Bad) -> None:
    assert told.code == bad.code, (told.first, told.second)
    assert bad.said in told.first
    assert bad.remedy in told.second
    assert told.first, "what is wrong"
    assert told.second, "what to do"
    assert "Traceback" not in told.second
    assert len(told.first) < 400


# A body, at each door.


@each_body
@pytest.mark.parametrize("where", ["running", "resting"])
def test_a_command_refuses_a_bad_body_and_writes_nothing(
    request: pytest.FixtureRequest, tell: Any, where: str, bad: Bad
) -> None:
    shell: Shell = request.getfixturevalue(where)
    (shell.folder / "body.json").write_bytes(bad.raw)
    before = count_facts(shell)

    told = tell(shell, "emit", "TripTimed", "@body.json", *(() if where == "running" else ("--app", APP)))

    check(told, bad)
    assert count_facts(shell) == before


@each_body
def test_the_socket_refuses_a_bad_body_and_goes_on_listening(running: Shell, bad: Bad) -> None:
    before = count_facts(running)

    replies = asyncio.run(converse(running, _request(bad.raw), b'{"op":"ping","key":"k"}'))

    assert replies[0]["status"] == "rejected"
    assert replies[0]["why"]
    assert replies[0]["remedy"]
    assert replies[1]["status"] == "accepted"
    assert count_facts(running) == before


def _request(body: bytes) -> bytes:
    return b'{"op":"emit","key":"k","type":"TripTimed","data":%s}' % (body or b'""').replace(b"\n", b" ")


async def converse(shell: Shell, *lines: bytes) -> list[dict[str, Any]]:
    holder = find_holder(shell.folder / "partita.db")
    assert holder is not None
    reader, writer = await asyncio.open_unix_connection(str(holder.socket), limit=1 << 24)
    try:
        replies: list[dict[str, Any]] = []
        for line in lines:
            writer.write(line + b"\n")
            await writer.drain()
            replies.append(json.loads(await asyncio.wait_for(reader.readline(), 10)))
        return replies
    finally:
        writer.close()


@each_body
def test_a_foreign_body_that_is_bad_is_kept_with_its_bytes_and_the_reason(running: Shell, tell: Any, bad: Bad) -> None:
    mark = bad.name.replace(" ", "-").replace(",", "").replace("^", "")
    event = b'{"specversion":"1.0","id":"%s","source":"abroad","type":"TripTimed","data":%s}' % (
        mark.encode(),
        bad.raw or b'""',
    )
    if len(event) > 4_000_000:
        pytest.skip("the door's own limit stands before it: see test_limits.py")
    put = msgspec.json.encode({"op": "put", "key": mark, "raw": base64.b64encode(event).decode()})

    (reply,) = asyncio.run(converse(running, put))

    assert reply["status"] == "accepted"
    assert reply["note"].startswith("in quarantine as ")
    kept = reply["note"].split()[3].rstrip(":")
    shown = json.loads(tell(running, "dead", "show", kept, "--json").out)
    assert shown["group"] == "quarantine"
    assert tell(running, "dead", "discard", kept).code == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"trip_id": "a\0b"}, "holds a NUL character"),
        ({"trip_id": "\ud800"}, "half a surrogate pair"),
        ({"trip_id": ""}, "can't be the key"),
        ({"trip_id": "k" * 201}, "of a case of type trip is 201; the limit is 200"),
        ({"seats": 10**5_000}, "integer beyond 64 bits"),
        ({"seats": float("nan")}, "is nan, which JSON has no number for"),
        ({"at": datetime(2026, 11, 28)}, "is a time without a time zone"),  # noqa: DTZ001 - that is its flaw
        ({"seats": object()}, "object"),
        ({"trip_id": "x" * 5_000_000}, "the limit is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_program_is_refused_before_anything_leaves_it(
    running: Shell, fields: dict[str, Any], said: str
) -> None:
    service = Service("mail")

    @service.on(TripTimed)
    async def hear(event: TripTimed) -> None: ...

    before = count_facts(running)
    good = {"trip_id": "1", "seats": 2, "at": datetime.fromisoformat("2026-11-28T12:00:00+00:00")}
    async with App("travel", services=[service]).client(running.folder / "partita.db") as client:
        with pytest.raises(MessageError) as error:
            await client.emit(TripTimed(**{**good, **fields}))

    first, _, second = str(error.value).partition("\n")
    assert said in first
    assert second
    assert count_facts(running) == before


# What stands around a body.

WORDS = [
    ("an unknown event", ("emit", "TripAskd", "{}"), 65, "no message type 'TripAskd'", "Did you mean TripAsked?"),
    ("a command as an event", ("emit", "ChargeCard", "{}"), 65, "ChargeCard is a command", "partita signal CASE"),
    ("an unknown workflow", ("start", "bok", "{}"), 65, "no workflow 'bok'", "Did you mean book?"),
    ("an unknown case", ("where", "trip:nobody"), 1, "no case is named 'trip:nobody'", ""),
    ("an unknown case to signal", ("signal", "nobody", "TripApproved"), 1, "no case is named 'nobody'", ""),
    ("an ambiguous case", ("where", "twin"), 64, "car:twin", "type:key"),
    ("an empty case", ("where", ""), 64, "a case's name is empty", "one character or more"),
    ("a long case", ("where", "k" * 400), 1, "no case is named 'kkk", "partita ps"),
    ("a case with a NUL", ("where", "a\0b"), 64, "holds control characters", "no control characters"),
    ("half a surrogate pair in a case", ("where", "\udcff"), 64, "holds control characters", "no control characters"),
    ("an unknown outcome", ("why", "trip:known", "TripBokd"), 1, "TripBokd", "Did you mean TripBooked?"),
    ("another type's event", ("signal", "trip:known", "CarAsked"), 65, "belongs to cases of type car", "partita flow"),
    ("an unknown dead letter", ("dead", "show", "beef"), 1, "no dead letter 'beef'", "partita dead list"),
    ("an unknown group", ("group", "pause", "male"), 1, "no group 'male'", "Did you mean mail?"),
    ("an empty key", ("emit", "TripAsked", "{}", "--key", ""), 64, "--key is empty", "one character or more"),
    ("a long key", ("emit", "TripAsked", "{}", "--key", "k" * 201), 64, "--key has 201 bytes", "limits.name_bytes_max"),
    (
        "a reason without end",
        ("cancel", "trip:known", "--reason", "r" * 2_001),
        65,
        "reason is 2,001",
        "error_text_max",
    ),
    ("no duration", ("signal", "trip:known", "TripApproved", "--timeout", "soon"), 64, "'soon' is not a dur", "30s"),
    ("a page of none", ("ps", "--limit", "0"), 64, "--limit 0 is not from 1", "--cursor"),
    ("a cursor of others", ("ps", "--cursor", "x"), 64, "is none of ours", "page before"),
    ("a word too many", ("where", "a", "b"), 64, "what is 'b'?", "quotes"),
    ("a flag that is none", ("where", "a", "--verbose"), 64, "--verbose", "--help"),
    ("a file that is not there", ("emit", "TripAsked", "@nowhere.json"), 64, "cannot read 'nowhere.json'", "After @"),
    ("another kind of store", ("ps", "--store", "mysql://x"), 64, "mysql: stores are not part", "sqlite:///"),
    ("a store that is not there", ("ps", "--store", "no.db"), 64, "no store at no.db", "partita dev"),
]


@pytest.mark.parametrize(("words", "code", "said", "remedy"), [row[1:] for row in WORDS], ids=[row[0] for row in WORDS])
def test_words_that_can_not_be_meant_say_so_in_two_lines(
    running: Shell, tell: Any, words: tuple[str, ...], code: int, said: str, remedy: str
) -> None:
    before = count_facts(running)

    told = tell(running, *words)

    assert told.code == code, (told.first, told.second)
    assert said in told.first
    assert remedy in told.second
    assert told.second
    assert count_facts(running) == before


@pytest.mark.parametrize("key", ["", "k" * 201, "a\\nb"], ids=["no key", "a long key", "a line end"])
async def test_a_foreign_event_without_a_key_is_kept_and_the_engine_goes_on(tmp_path: Path, key: str) -> None:
    service = Service("hearing")

    @service.on(Noted)
    async def hear(event: Noted) -> None: ...

    async with App("shop", services=[service]).run(tmp_path / "shop.db") as client:
        raw = b'{"type": "Noted", "data": {"order_id": "%s"}}' % key.encode()
        client.engine.world.transport.put(raw)  # type: ignore[attr-defined]
        await until(lambda: any(isinstance(fact.body, Quarantined) for fact in all_facts(client)), "in quarantine")
        await client.emit(Noted())
        await until_said(client, Handled)


# Stores that can't be used.


def newer(path: Path) -> None:
    with apsw.Connection(str(path)) as connection:
        connection.execute("update meta set value = '99' where key in ('format', 'format_oldest_readable')")


def foreign(path: Path) -> None:
    path.unlink()
    with apsw.Connection(str(path)) as connection:
        connection.execute("create table orders (id integer primary key); insert into orders values (7)")


def no_database(path: Path) -> None:
    path.write_bytes(b"Dear store,\n" * 1_000)


@pytest.mark.parametrize(
    ("spoil", "said", "remedy"),
    [
        (newer, "format 99 was written by a newer partita", "Install the newer version: pip install --upgrade partita"),
        (foreign, "an SQLite database of another application", "Name another file; this one is left as it was."),
        (no_database, "not an SQLite file", "Name another file; this one is left as it was."),
    ],
    ids=["a newer store", "a store that is not ours", "no database"],
)
def test_a_store_that_can_not_be_used_is_left_as_it_was(
    tmp_path: Path, tell: Any, spoil: Callable[[Path], None], said: str, remedy: str
) -> None:
    shell = Shell(tmp_path)
    with shell.dev():
        shell.run("emit", "TripAsked", '{"trip_id": "1", "seats": 2}')
    store = tmp_path / "partita.db"
    spoil(store)
    before = store.read_bytes()
    for beside in tmp_path.glob("partita.db?*"):
        beside.unlink()

    for words in (("where", "1"), ("ps",), ("emit", "TripAsked", '{"trip_id": "2", "seats": 2}'), ("doctor",)):
        told = tell(shell, *words)
        assert (told.code, said in told.first, told.second) == (70, True, remedy), (words, told.first)
    for words in (("dev", APP), ("emit", "TripAsked", '{"trip_id": "2", "seats": 2}', "--app", APP, "--run")):
        done = shell.run(*words, code=70)
        assert said in done.err
        assert remedy in done.err.splitlines()[-1]
    assert store.read_bytes() == before
    assert list(tmp_path.glob("partita.db?*")) == [], "nothing is left beside it"


def test_a_directory_that_can_not_be_written_is_named_with_the_remedy(tmp_path: Path, tell: Any) -> None:
    shell = Shell(tmp_path)

    for words in (("dev", APP), ("emit", "TripAsked", '{"trip_id": "2", "seats": 2}', "--app", APP, "--run")):
        done = shell.run(*words, "--store", "/proc/partita.db", code=70)
        first, second = done.err.strip().splitlines()[-2:]
        assert "store /proc/partita.db: cannot make its lock file" in first
        assert "may be written by this user" in second


def test_a_second_engine_on_one_store_is_refused_and_names_the_first(running: Shell) -> None:
    before = count_facts(running)

    done = running.run("dev", APP, code=70)

    first, second = done.err.strip().splitlines()[-2:]
    assert first.startswith("error: store partita.db: held by process ")
    assert second.startswith("Stop it (kill ")
    assert count_facts(running) == before
    running.run("where", "trip:known")


def test_an_engine_on_a_full_disk_ends_and_has_all_that_it_accepted(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with shell.dev():
        shell.run("emit", "TripAsked", '{"trip_id": "first", "seats": 2}')
    size = (tmp_path / "partita.db").stat().st_size

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 65_536, size + 65_536))

    process = shell.start("dev", APP, "--json", preexec_fn=fill)
    assert process.stdout is not None
    assert process.stdout.readline()
    accepted = list[str]()
    for number in range(20):
        padding = "x" * 60_000
        done = shell.run(
            "emit", "TripAsked", json.dumps({"trip_id": str(number), "seats": 2, "more": padding}), code=None
        )
        if done.code != 0:
            assert done.code in {70, 75}, done
            break
        accepted.append(f"trip:{number}")
    _, err = process.communicate(timeout=20)

    assert process.returncode == 70
    assert "store partita.db stopped: disk I/O error" in err
    assert "Start again; nothing acknowledged is lost." in err
    with shell.dev():
        for case in ("trip:first", *accepted):
            shell.verdict(case, "waiting")


# Apps that contradict themselves.

APPS = {
    "a handler without annotation": (
        "@seats.on(TripBooked)\ndef hear(event: TripBooked): ...",
        "has no return annotation",
        "It is the contract: say what it may emit, or None.",
    ),
    "a handler whose message has none": (
        "@seats.on(TripBooked)\ndef hear(event) -> None: ...",
        "has no annotation on event",
        "It is the contract",
    ),
    "a message without a case": (
        "class Lost(Event):\n    note: str\n\n@seats.on(Lost)\ndef hear(event: Lost) -> None: ...",
        "event Lost has no field that names its case",
        "Mark one",
    ),
    "an ambiguous case": (
        "class Two(Event):\n    one: TripId\n    other: TripId\n\n@seats.on(Two)\ndef f(event: Two) -> None: ...",
        "which of one (trip), other (trip) is its case?",
        "Say it on the class",
    ),
    "a command with two handlers": (
        "@desk.handles(ReserveSeat)\ndef reserve_too(command: ReserveSeat) -> SeatReserved | NoSeat: ...",
        "ReserveSeat",
        "",
    ),
    "an answer that is not the command's": (
        "class Ask(Command[CardCharged]):\n    trip_id: TripId\n\n@desk.handles(Ask)\ndef f(_: Ask) -> NoSeat: ...",
        "but Ask is answered with CardCharged",
        "The contract stands on the command",
    ),
    "a type that is nowhere": (
        "@seats.on(TripBooked)\ndef hear(event: TripBooked) -> 'Nowhere': ...",
        "Nowhere",
        "Import the type",
    ),
    "an error of Python's": ("1 / 0", "ZeroDivisionError: division by zero", "PARTITA_DEBUG=1"),
}


@pytest.mark.parametrize(("code", "said", "remedy"), APPS.values(), ids=APPS)
def test_an_app_that_contradicts_itself_is_refused_before_anything_runs(
    tmp_path: Path, code: str, said: str, remedy: str
) -> None:
    shell = Shell(tmp_path)
    path = tmp_path / "small_app.py"
    before, app, after = path.read_text().rpartition("\napp = ")
    path.write_text(f"{before}\n{code}\n{app}{after}")

    done = shell.run("dev", APP, code=65)

    first, second = done.err.strip().splitlines()[-2:]
    assert "app 'small_app:app' can't be imported: " in first
    assert said in first
    assert remedy in second
    assert "small_app.py, line " in first or said == "ReserveSeat"
    assert not (tmp_path / "partita.db").exists()


def test_a_handler_that_returns_what_its_contract_forbids_is_a_dead_letter_that_says_both(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    path = tmp_path / "small_app.py"
    path.write_text(
        path.read_text().replace("return TicketPrinted(trip_id=event.trip_id)", "return SeatReserved(trip_id='x')")
    )
    with shell.dev():
        shell.run("emit", "TripAsked", '{"trip_id": "1", "seats": 2}')
        shell.verdict("1", "waiting")
        shell.run("signal", "1", "TripApproved")
        shell.verdict("1", "failed")
        (letter,) = shell.run("dead", "list", "--json").json["dead"]

    assert letter["error"] == "ContractBroken"
    assert "returned SeatReserved, but its contract is TicketPrinted" in letter["text"]
    assert letter["attempts"] == 1
