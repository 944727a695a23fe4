"""The commands, as a support person types them: while `dev` runs, from a second process, and when nothing runs."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from partita.clock import US, SystemClock
from tests.acceptance.shell import APP, DEADLINE_S, Dev, Shell

CARS = """
class CarAsked(Event, external="a traveller"):
    car_id: Annotated[str, Case("car")]


@mail.on(CarAsked)
async def hear(event: CarAsked) -> None:
    return None
"""
ASKED = '{"trip_id": "%s", "seats": 2}'


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def dev(shell: Shell) -> Iterator[Dev]:
    with shell.dev() as engine:
        yield engine


@pytest.fixture(scope="module")
def travelling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """An engine that runs, with one case, for tests that change nothing."""
    shell = Shell(tmp_path_factory.mktemp("travelling"))
    with shell.dev():
        shell.run("emit", "TripAsked", ASKED % "1")
        shell.verdict("1", "waiting")
        yield shell


# While dev runs.


@pytest.mark.usefixtures("dev")
def test_an_event_starts_a_case_and_where_tells_where_it_is(shell: Shell) -> None:
    assert shell.run("emit", "TripAsked", ASKED % "1").first == "published TripAsked for trip:1"

    found = shell.verdict("trip:1", "waiting").json
    assert list(found) == ["case", "verdict", "at", "since", "waiting_for", "deadline", "next", "stuck", "hint"]
    assert found["case"] == "trip:1"
    assert found["waiting_for"] == ["TripApproved", "TripDeclined"]
    assert found["deadline"].endswith("Z")
    assert found["next"][0] == {"name": "TripApproved", "basis": "wait", "share": None}
    assert shell.run("where", "1").first.startswith("trip:1  waiting for TripApproved, TripDeclined since ")


@pytest.mark.usefixtures("dev")
def test_a_case_is_found_by_its_key_alone_and_by_type_and_key(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1")

    for name in ("1", "trip:1", "trip-1"):
        assert shell.run("where", name, "--json", code=None).json["case"] == "trip:1"


@pytest.mark.usefixtures("dev")
def test_a_case_that_nobody_knows_is_not_found_and_the_nearest_is_named(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "12345")

    for command in (("where", "1234"), ("show", "1234"), ("next", "1234"), ("why", "1234", "TripBooked")):
        done = shell.run(*command, code=1)
        assert done.err.splitlines() == ["error: no case is named '1234'", "Did you mean 12345?"]
    error = json.loads(shell.run("where", "1234", "--json", code=1).err)["error"]
    assert error == {
        "kind": "not_found",
        "exit": 1,
        "what": "no case is named '1234'",
        "remedy": "Did you mean 12345?",
        "key": None,
    }


@pytest.mark.usefixtures("dev")
def test_a_command_is_sent_and_its_answer_printed(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "waiting")

    done = shell.run("signal", "1", "DecideTrip", '{"approve": true}')
    assert done.out.splitlines() == [
        "DecideTrip for trip:1 was answered with TripApproved",
        '  {"trip_id":"1"}',
    ]
    assert shell.verdict("1", "done").json["at"] == "TicketPrinted"


@pytest.mark.usefixtures("dev")
def test_a_command_that_fails_for_good_is_a_failure_and_says_which(shell: Shell) -> None:
    (shell.folder / "card-down").touch()
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "failed")

    done = shell.run("signal", "1", "ChargeCard", code=70)
    assert done.err.splitlines() == [
        "error: ChargeCard for trip:1 failed after 2 attempts: ConnectionError: the gateway is down",
        "Look at it: partita show trip:1",
    ]


@pytest.mark.usefixtures("dev")
def test_a_command_without_an_answer_in_time_is_asked_for_again_with_its_key(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "waiting")
    shell.run("group", "pause", "desk")
    words = ("signal", "1", "DecideTrip", '{"approve": true}', "--timeout", "100ms")

    error = json.loads(shell.run(*words, "--json", code=75).err)["error"]
    assert (error["kind"], error["what"]) == ("unknown", "DecideTrip for trip:1 is accepted and has no answer yet")
    shell.run("group", "resume", "desk")
    shell.until(*words, "--key", error["key"], holds=lambda done: "answered with TripApproved" in done.out)
    assert shell.run("show", "1").out.count("DecideTrip") == 2, "sent once, handled once"


@pytest.mark.usefixtures("dev")
def test_an_event_is_published_for_a_case(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "waiting")

    told = shell.run("signal", "trip:1", "TripDeclined", "--json").json
    assert (told["status"], told["op"], told["case"], told["queued"]) == ("accepted", "emit", "trip:1", False)
    assert shell.verdict("1", "compensated").json["at"] == "TripCancelled"


@pytest.mark.usefixtures("dev")
def test_the_same_key_has_its_effect_once_and_is_refused_for_another_message(shell: Shell) -> None:
    first = shell.run("emit", "TripAsked", ASKED % "1", "--key", "k1", "--json").json
    again = shell.run("emit", "TripAsked", ASKED % "1", "--key", "k1", "--json").json

    assert again["id"] == first["id"]
    assert again["note"] == "it was taken before"
    refused = shell.run("emit", "TripAsked", ASKED % "2", "--key", "k1", code=65)
    assert refused.err.startswith("error: key 'k1' was used for another TripAsked\n")


@pytest.mark.usefixtures("dev")
def test_show_tells_the_story_oldest_first(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "waiting")

    view = shell.run("show", "1", "--json").json
    told = [(line["who"], line["what"], line["which"]) for line in view["story"]]
    assert told[:2] == [("a traveller", "published", "TripAsked"), ("book", "started", "book")]
    assert {item["kind"] for item in view["open"]} == {"run", "wait"}
    text = shell.run("show", "1").out
    assert text.startswith("trip:1  waiting for ")
    assert "a traveller  published" in text


@pytest.mark.usefixtures("dev")
def test_a_held_call_is_explained_and_the_command_that_is_named_mends_it(shell: Shell) -> None:
    (shell.folder / "card-down").touch()
    shell.run("emit", "TripAsked", ASKED % "1")

    found = shell.verdict("1", "failed")
    assert found.code == 2
    assert shell.run("show", "1", code=2).first.startswith("trip:1  failed at ChargeCard since ")
    tree = shell.run("why", "1", "TripBooked", "--json").json
    assert tree["leading"]["leaf"] == "call_held"
    assert "the gateway is down" in tree["leading"]["sentence"]
    assert tree["leading"]["evidence"]

    (shell.folder / "card-down").unlink()
    program, *words = tree["leading"]["command"].split()
    assert program == "partita"
    assert shell.run(*words).first == "redrove trip:1"
    shell.verdict("1", "waiting")


@pytest.mark.usefixtures("dev")
def test_why_has_the_answer_in_its_first_line_then_the_evidence_then_what_mends_it(shell: Shell) -> None:
    (shell.folder / "card-down").touch()
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "failed")

    lines = shell.run("why", "1", "TicketPrinted").out.splitlines()
    assert lines[0].startswith("trip:1  no TicketPrinted: cards holds the call ChargeCard open after 2 attempts")
    assert lines[1].endswith("book sent ChargeCard")
    assert lines[3].startswith("  mend it:  partita dead redrive ")
    assert shell.run("why", "1", "TripAsked").first.startswith("trip:1  TripAsked happened at ")
    assert "Did you mean TripBooked?" in shell.run("why", "1", "TripBookd", code=1).err


@pytest.mark.usefixtures("dev")
def test_dead_letters_are_listed_shown_redriven_and_discarded(shell: Shell) -> None:
    (shell.folder / "mail-down").touch()
    for trip in ("1", "2"):
        shell.run("emit", "TripAsked", ASKED % trip)
        shell.verdict(trip, "waiting")
        shell.run("signal", trip, "TripApproved")
        shell.verdict(trip, "failed")

    page = shell.run("dead", "list", "--json").json
    assert page["next_cursor"] is None
    assert [(one["type"], one["group"], one["case"]) for one in page["dead"]] == [
        ("TripBooked", "mail", "trip:1"),
        ("TripBooked", "mail", "trip:2"),
    ]
    first, second = (one["id"] for one in page["dead"])
    letter = shell.run("dead", "show", first, "--json").json
    assert letter["body"] == {"trip_id": "1"}
    assert letter["error"] == "ConnectionError"
    assert "send_mail" in letter["trace"]
    assert "no route to the mail server" in shell.run("dead", "show", first).out

    (shell.folder / "mail-down").unlink()
    shell.run("dead", "redrive", first)
    shell.verdict("1", "done")
    shell.run("dead", "discard", "--case", "2", "--reason", "too late")
    shell.verdict("2", "done")
    assert shell.run("dead", "list").first == "no dead letters"
    assert shell.run("dead", "redrive", second, code=1).err.startswith("error: no dead letter ")
    assert "too late" in shell.run("show", "2").out


@pytest.mark.usefixtures("dev")
def test_retry_lets_a_case_go_on(shell: Shell) -> None:
    (shell.folder / "card-down").touch()
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "failed")
    (shell.folder / "card-down").unlink()

    assert shell.run("retry", "1").first == "retried trip:1"
    shell.verdict("1", "waiting")
    assert shell.run("retry", "1", code=65).err.startswith(
        "error: nothing of case trip:1 has failed: it is waiting for "
    )


@pytest.mark.usefixtures("dev")
def test_cancel_makes_a_run_undo(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "waiting")

    assert shell.run("cancel", "1", "--reason", "no money").first == "asked to cancel trip:1"
    shell.until("show", "1", holds=lambda done: "ReleaseSeat" in done.out and "no money" in done.out)

    shell.verdict("1", "dead-ended")
    by_hand = """partita signal trip:1 TripCancelled '{"reason": ...}' --store partita.db"""
    for words, code in ((("where", "1"), 2), (("show", "1"), 2), (("ps", "--stuck"), 0)):
        assert by_hand in shell.run(*words, "--store", "partita.db", code=code).out


@pytest.mark.usefixtures("dev")
def test_a_paused_group_holds_its_cases_until_it_is_resumed(shell: Shell) -> None:
    (group,) = [one["name"] for one in shell.run("group", "list", "--json").json["groups"] if "print" in one["name"]]
    shell.run("group", "pause", group)
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "waiting")
    shell.run("signal", "1", "TripApproved")

    shell.until("ps", "--stuck", holds=lambda done: f"owed to {group}, which is paused by ada" in done.out)
    assert shell.run("where", "1", "--json").json["stuck"] == [
        f"TripBooked is owed to {group}, which is paused by ada; resume it: partita group resume {group}"
    ]
    assert shell.run("why", "1", "TicketPrinted", "--json").json["leading"]["leaf"] == "group_paused"
    listed = {one["name"]: one for one in shell.run("group", "list", "--json").json["groups"]}
    assert (listed[group]["state"], listed[group]["by"], listed[group]["owing"]) == ("paused", "ada", 1)

    shell.run("group", "resume", group)
    shell.verdict("1", "done")
    assert shell.run("group", "retire", group, code=65).err.startswith(f"error: group {group} is in the code\n")
    assert shell.run("group", "pause", "nobody", code=1).err.startswith("error: no group 'nobody'\n")


@pytest.mark.usefixtures("dev")
def test_ps_lists_cases_worst_first_page_by_page(shell: Shell) -> None:
    for trip in ("1", "2", "3"):
        shell.run("emit", "TripAsked", ASKED % trip)
    (shell.folder / "card-down").touch()
    shell.run("emit", "TripAsked", ASKED % "4")
    shell.verdict("4", "failed")
    for trip in ("1", "2", "3"):
        shell.verdict(trip, "waiting")

    first = shell.run("ps", "--limit", "3", "--json").json
    rest = shell.run("ps", "--limit", "3", "--cursor", first["next_cursor"], "--json").json
    assert [line["case"] for line in first["cases"] + rest["cases"]] == ["trip:4", "trip:1", "trip:2", "trip:3"]
    assert rest["next_cursor"] is None
    assert first["counts"] == {"failed": 1, "waiting": 3}
    assert [line["case"] for line in shell.run("ps", "--failed", "--json").json["cases"]] == ["trip:4"]
    assert len(shell.run("ps", "--waiting", "--json").json["cases"]) == 3
    text = shell.run("ps", "--limit", "1").out.splitlines()
    assert text[1].startswith("trip:4  failed")
    assert text[2] == "4 cases: 1 failed, 3 waiting"
    assert text[3].startswith("more: partita ps --limit 1 --cursor ")
    assert shell.run("ps", "--cursor", "mine", code=64).err.startswith("error: --cursor 'mine' is none of ours\n")


@pytest.mark.usefixtures("dev")
def test_a_workflow_is_started_by_hand_once_for_each_case(shell: Shell) -> None:
    told = shell.run("start", "book", ASKED % "1", "--key", "k1", "--json").json
    assert (told["run"], told["case"]) == ("book/trip:1/1", "trip:1")
    assert shell.run("start", "book", ASKED % "1", "--key", "k1", "--json").json["run"] == told["run"]

    again = shell.run("start", "book", ASKED % "1", code=65)
    assert "case trip:1 has run book/trip:1/1" in again.err


@pytest.mark.usefixtures("dev")
def test_next_names_what_may_come_and_on_what_grounds(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1")
    shell.verdict("1", "waiting")

    found = shell.run("next", "1", "--json").json
    assert list(found) == ["case", "verdict", "next"]
    assert [one["name"] for one in found["next"]] == ["TripApproved", "TripDeclined"]
    assert shell.run("next", "1").out.splitlines()[1:] == ["  TripApproved  awaited", "  TripDeclined  awaited"]


@pytest.mark.usefixtures("dev")
def test_flow_draws_what_the_app_declares(shell: Shell) -> None:
    assert shell.run("flow", "--declared", "--format", "mermaid").out.startswith("flowchart LR\n")
    flow = shell.run("flow", "--json").json
    assert flow["app"] == "travel"
    assert {"TripAsked", "TicketPrinted"} <= {node["id"] for node in flow["nodes"]}
    assert "TripAsked starts book\n" in shell.run("flow", "--format", "text").out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("emit", "TripAskd", "{}"), 65, "error: no message type 'TripAskd' in app 'travel'\nDid you mean TripAsked?"),
        (("emit", "TripAsked", "{}"), 65, "missing required field `trip_id`"),
        (("emit", "TripAsked", '{"trip_id": "", "seats": 1}'), 65, "'' can't be the key of a case of type trip"),
        (("emit", "TripAsked", '{"trip_id": "1", "seats": "x"}'), 65, "Expected `int`, got `str` - at `$.seats`"),
        (("emit", "DecideTrip", "{}"), 65, "DecideTrip is a command\nSend it: partita signal CASE DecideTrip"),
        (("signal", "1", "Decide", "{}"), 65, "no message type 'Decide'"),
        (("signal", "1", "DecideTrip", '{"trip_id": "2"}'), 64, "the case is trip:1"),
        (("signal", "1", "DecideTrip"), 65, "missing required field `approve`"),
        (("start", "bok", "{}"), 65, "error: no workflow 'bok' in app 'travel'\nDid you mean book?"),
        (("cancel", "nobody"), 1, "no case is named 'nobody'"),
        (("dead", "show", "m1"), 1, "no dead letter 'm1'"),
    ],
)
def test_what_can_not_be_done_says_what_to_do_instead(
    travelling: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    done = travelling.run(*words, code=code)
    assert said in done.err
    assert len(done.err.splitlines()) == 2
    assert done.out == ""


@pytest.mark.usefixtures("dev")
def test_a_message_comes_from_a_file_and_from_standard_input(shell: Shell) -> None:
    (shell.folder / "trip.json").write_text(ASKED % "1")

    assert shell.run("emit", "TripAsked", "@trip.json").first == "published TripAsked for trip:1"
    assert shell.run("emit", "TripAsked", "-", typed=ASKED % "2").first == "published TripAsked for trip:2"


def test_an_ambiguous_name_is_a_matter_of_usage(shell: Shell) -> None:
    source = (shell.folder / "small_app.py").read_text()
    (shell.folder / "cars.py").write_text(source.replace("app = App(", CARS + "\n\napp = App("))
    with shell.dev("cars:app", "--store", "cars.db"):
        shell.run("emit", "TripAsked", ASKED % "1", "--store", "cars.db")
        shell.run("emit", "CarAsked", '{"car_id": "1"}', "--store", "cars.db")

        done = shell.run("where", "1", "--store", "cars.db", code=64)
    assert done.err.splitlines() == ["error: '1' could be car:1 or trip:1", "Name the case in full: type:key."]


@pytest.mark.usefixtures("dev")
def test_a_reader_that_has_had_enough_ends_the_command_quietly(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1")

    with shell.start("show", "1", "--json") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode in {0, 2}


# The engine itself.


def test_dev_tells_where_its_store_and_its_socket_are(shell: Shell) -> None:
    with shell.dev() as engine:
        assert engine.said["app"] == "travel"
        assert Path(engine.said["store"]) == shell.folder / "partita.db"
        assert Path(engine.said["socket"]).is_socket()
        assert engine.said["pid"] == engine.process.pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev_ends_gracefully_when_it_is_told_to(shell: Shell, number: signal.Signals) -> None:
    with shell.dev() as engine:
        shell.run("emit", "TripAsked", ASKED % "1")
        done = engine.end(number)

    assert done.code == 0
    assert not Path(engine.said["socket"]).exists()
    assert "Traceback" not in done.err


def test_a_second_dev_is_refused_and_told_who_holds_the_store(shell: Shell) -> None:
    with shell.dev() as engine:
        done = shell.run("dev", APP, code=70)

    assert done.err.startswith(f"error: store partita.db: held by process {engine.process.pid}\n")
    assert "Traceback" not in done.err


def test_a_killed_dev_loses_nothing_and_the_next_goes_on(shell: Shell) -> None:
    with shell.dev() as engine:
        shell.run("emit", "TripAsked", ASKED % "1")
        assert engine.end(signal.SIGKILL).code == -signal.SIGKILL

    told = shell.run("signal", "1", "TripApproved", "--json").json
    assert told["queued"], "a socket that a dead process left behind is not mistaken for an engine"
    with shell.dev():
        shell.verdict("1", "done")


def test_an_answer_that_is_lost_is_unknown_and_sent_again_with_its_key(shell: Shell) -> None:
    with shell.dev() as engine:
        engine.process.send_signal(signal.SIGSTOP)
        asking = shell.start("emit", "TripAsked", ASKED % "1", "--json")
        wait_for_caller(engine.said["socket"])
        engine.end(signal.SIGKILL)
        error = json.loads(asking.communicate()[1])["error"]

    assert asking.returncode == error["exit"] == 75
    with shell.dev():
        for _ in range(2):
            shell.run("emit", "TripAsked", ASKED % "1", "--key", error["key"])
        shell.verdict("1", "waiting")
        assert len(shell.run("show", "1", "--json").json["story"]) == 9


def wait_for_caller(socket: str) -> None:
    """Until somebody has called at a socket whose owner can't answer: the kernel lists both ends."""
    clock = SystemClock()
    deadline = clock.now_us() + int(DEADLINE_S * US)
    while Path("/proc/net/unix").read_text().count(socket) < 2:
        assert clock.now_us() < deadline, "nobody called"


def test_a_stopped_engine_does_not_keep_anybody_from_looking(shell: Shell) -> None:
    with shell.dev() as engine:
        shell.run("emit", "TripAsked", ASKED % "1")
        engine.process.send_signal(signal.SIGSTOP)
        try:
            assert shell.run("where", "1", code=None).out.startswith("trip:1  ")
        finally:
            engine.process.send_signal(signal.SIGCONT)


def test_the_app_and_the_store_are_found_in_partita_toml(shell: Shell) -> None:
    (shell.folder / "partita.toml").write_text(f'app = "{APP}"\nstore = "travel.db"\n')
    process = shell.start("dev", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["store"] == str(shell.folder / "travel.db")

    (shell.folder / "below").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "partita", "ps"],
        check=False,
        cwd=shell.folder / "below",
        env=shell.env,
        capture_output=True,
        text=True,
    )
    process.terminate()
    process.communicate()
    assert (done.returncode, done.stdout) == (0, "no cases yet\n")


# When nothing runs.


def test_without_an_engine_a_request_waits_for_the_next_one(shell: Shell) -> None:
    with shell.dev():
        pass  # it has made the store
    told = shell.run("emit", "TripAsked", ASKED % "1", "--app", APP, "--json").json
    assert (told["status"], told["queued"], told["case"]) == ("accepted", True, "trip:1")
    assert "no engine is running" in told["note"]

    found = shell.run("where", "1").out
    assert found.startswith("trip:1  running at TripAsked since ")
    hint = "no engine is running; start one: partita dev MODULE:APP"
    assert hint in found
    assert [shell.run(word, "1", "--json").json["hint"] for word in ("where", "show")] == [hint, hint]
    with shell.dev():
        shell.verdict("1", "waiting")


def test_run_drives_the_app_here_until_it_is_idle(shell: Shell) -> None:
    shell.env["PARTITA_APP"] = APP
    done = shell.run("emit", "TripAsked", ASKED % "1", "--run")
    assert done.out.splitlines()[0] == "published TripAsked for trip:1"
    assert done.out.splitlines()[1].startswith("trip:1  waiting for TripApproved, TripDeclined since ")

    answered = shell.run("signal", "1", "DecideTrip", '{"approve": true}', "--run", "--json").json
    assert answered["answer_type"] == "TripApproved"
    assert answered["where"]["verdict"] == "done"


def test_what_was_left_and_is_asked_again_with_run_is_done_once(shell: Shell) -> None:
    shell.env["PARTITA_APP"] = APP
    (shell.folder / "card-down").touch()
    shell.run("emit", "TripAsked", ASKED % "1", "--run")
    (shell.folder / "card-down").unlink()

    assert shell.run("retry", "1").first == "queued: retry trip:1"
    done = shell.run("retry", "1", "--run")
    assert done.out.splitlines()[-2].startswith("trip:1  waiting for ")
    assert shell.run("show", "1").out.count("redrove") == 1


def test_what_was_asked_last_counts_also_where_the_same_was_left_before_its_opposite(shell: Shell) -> None:
    shell.env["PARTITA_APP"] = APP
    shell.run("emit", "TripAsked", ASKED % "1", "--run")
    (group,) = [one["name"] for one in shell.run("group", "list", "--json").json["groups"] if "print" in one["name"]]
    shell.run("group", "resume", group)
    shell.run("group", "pause", group)

    assert shell.run("group", "resume", group, "--run").out.strip() == f"resumed group {group}"
    listed = {one["name"]: one["state"] for one in shell.run("group", "list", "--json").json["groups"]}
    assert listed[group] == "live"


def test_the_command_that_why_names_works_when_nothing_runs(shell: Shell) -> None:
    shell.env["PARTITA_APP"] = APP
    (shell.folder / "card-down").touch()
    shell.run("emit", "TripAsked", ASKED % "1", "--run")
    (shell.folder / "card-down").unlink()

    (line,) = [line for line in shell.run("why", "1", "TripBooked").out.splitlines() if "mend it:" in line]
    words = line.split("partita ")[1].split()
    assert words[-1] == "--run"
    shell.run(*words)
    assert shell.run("where", "1", "--json").json["verdict"] == "waiting"


def test_a_group_is_paused_and_resumed_when_nothing_runs(shell: Shell) -> None:
    shell.env["PARTITA_APP"] = APP
    shell.run("emit", "TripAsked", ASKED % "1", "--run")
    (group,) = [one["name"] for one in shell.run("group", "list", "--json").json["groups"] if "print" in one["name"]]

    assert shell.run("group", "pause", group, "--run").first == f"paused group {group}"
    shell.run("signal", "1", "TripApproved", "--run")
    assert shell.run("why", "1", "TicketPrinted", "--json").json["leading"]["leaf"] == "group_paused"
    assert shell.run("group", "resume", group).first == f"queued: resume group {group}"
    assert shell.run("group", "pause", "nobody", code=1).err.startswith("error: no group 'nobody'\n")
    with shell.dev():
        shell.verdict("1", "done")


def test_every_question_is_answered_when_nothing_runs(shell: Shell) -> None:
    shell.env["PARTITA_APP"] = APP
    shell.run("emit", "TripAsked", ASKED % "1", "--run")

    for words in (
        ("where", "1"),
        ("show", "1"),
        ("next", "1"),
        ("why", "1", "TripBooked"),
        ("ps",),
        ("ps", "--stuck"),
        ("flow",),
        ("dead", "list"),
        ("group", "list"),
        ("doctor",),
    ):
        assert shell.run(*words).out
        json.loads(shell.run(*words, "--json").out)


def test_without_an_engine_what_can_be_known_to_be_wrong_is_refused_at_once(shell: Shell) -> None:
    shell.env["PARTITA_APP"] = APP
    shell.run("emit", "TripAsked", ASKED % "1", "--run")

    assert "missing required field `seats`" in shell.run("emit", "TripAsked", '{"trip_id": "2"}', code=65).err
    assert "Did you mean book?" in shell.run("start", "bok", "{}", code=65).err
    assert "no case is named 'nobody'" in shell.run("retry", "nobody", code=1).err
    assert "no dead letter" in shell.run("dead", "redrive", "m1", code=1).err


def test_run_without_an_app_says_how_to_name_one(shell: Shell) -> None:
    shell.run("emit", "TripAsked", ASKED % "1", "--app", APP, "--run")

    done = shell.run("signal", "1", "TripApproved", "--run", code=64)
    assert done.err.splitlines()[0] == "error: which app?"


def test_many_requests_at_once_wait_for_one_another_when_nothing_runs(shell: Shell) -> None:
    shell.env["PARTITA_APP"] = APP
    with shell.dev():
        pass  # it has made the store
    asked = [shell.start("emit", "TripAsked", ASKED % str(n)) for n in range(6)]

    assert [(process.communicate()[1], process.returncode) for process in asked] == [("", 0)] * 6
    with shell.dev():
        shell.until("ps", "--waiting", "--json", holds=lambda done: len(done.json["cases"]) == 6)


def test_a_remedy_names_the_store_that_the_command_named(shell: Shell) -> None:
    shell.run("emit", "TripAsked", '{"trip_id": "7", "seats": 2}', "--store", "other.db", "--app", APP, "--run")
    done = shell.run("emit", "ReserveSeat", '{"trip_id": "7", "seats": 2}', "--store", "other.db", code=65)

    assert done.err.splitlines()[1] == (
        """Send it: partita signal trip:7 ReserveSeat '{"trip_id": "7", "seats": 2}' --store other.db"""
    )


def test_what_a_terminal_has_no_letter_for_is_told_in_escapes(shell: Shell) -> None:
    shell.env["PYTHONIOENCODING"] = "ascii"
    said = shell.run("emit", "TripAsked", '{"trip_id": "\u00e4", "seats": 2}', "--app", APP, "--run").first

    assert said == "published TripAsked for trip:\\xe4"


def test_an_engine_whose_socket_is_gone_is_started_anew(shell: Shell) -> None:
    with shell.dev() as dev:
        Path(dev.said["socket"]).unlink()
        done = shell.run("emit", "TripAsked", ASKED % "1", "--app", APP, code=70)

    what, remedy = done.err.splitlines()
    assert f"process {dev.process.pid} holds it, and its socket {dev.said['socket']} is not there" in what
    assert f"start that engine anew (kill {dev.process.pid})" in remedy
