"""The words of the command line: what is asked wrongly is refused before anything is opened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from partita.cli.main import run

ASKING = ["where", "show", "why", "next", "ps", "flow"]
ACTING = ["start", "emit", "signal", "retry", "cancel", "dead", "group"]
COMMANDS = [*ASKING, *ACTING, "demo", "dev", "doctor", "version"]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("PARTITA_STORE", "PARTITA_APP", "PARTITA_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def error_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0

    said = capsys.readouterr().out
    assert [name for name in COMMANDS if f" {name} " not in said] == []
    assert "64 usage" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [command, "list"] if command in {"dead", "group"} else [command]

    assert run([*words, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wheres", "1"], 'Unknown command "wheres". Did you mean "where"?'),
        (["where"], 'Command "where" parameter CASE requires an argument'),
        (["where", "1", "2"], "what is '2'?"),
        (["start", "fulfil"], 'Command "start" parameter JSON requires an argument'),
        (["emit", "OrderPlaced", "{order_id:", "1}"], "what is '1}'?"),
        (["emit", "OrderPlaced", "{}", "--key", ""], "--key is empty"),
        (["emit", "OrderPlaced", "{}", "--key", "k" * 201], "--key has 201 bytes"),
        (["emit", "OrderPlaced", "{order_id: 1}"], "the message is not JSON"),
        (["start", "fulfil", "{}", "--case", "order"], "--case 'order' is no case"),
        (["signal", "1", "OrderApproved", "--timeout", "soon"], "--timeout: 'soon' is not a duration"),
        (["ps", "--limit", "0"], "--limit 0 is not from 1 to 1000"),
        (["ps", "--limit", "many"], "Invalid value"),
        (["ps", "--stuck", "--failed"], "--stuck, --waiting and --failed are three questions"),
        (["flow", "--format", "dot"], 'Invalid value "dot" for --format'),
        (["dead", "redrive"], "which dead letter?"),
        (["dead", "redrive", "m1", "--case", "1"], "which dead letter?"),
        (["dead", "lis"], 'Unknown command "lis"'),
        (["demo", "--form", "tango"], 'Invalid value "tango" for --form'),
        (["dev"], "which app?"),
        (["where", "1", "--store", "postgres://host/db"], "postgres: stores are not part of this version"),
        (["where", "1", "--store="], "--store is empty"),
    ],
)
def test_what_can_not_be_meant_is_a_matter_of_usage(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 64

    lines = error_of(capsys)
    assert said in lines[0]
    assert len(lines) == 2, "the second line says what to do"


def test_a_missing_store_says_what_was_looked_for_and_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["where", "1"]) == 64

    what, remedy = error_of(capsys)
    assert what == "error: no store at partita.db (the default)"
    assert "--store FILE, PARTITA_STORE, or store = ... in partita.toml" in remedy
    assert list(Path().iterdir()) == [], "looking makes no files"


def test_where_the_store_was_named_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PARTITA_STORE", "shop.db")

    assert run(["ps"]) == 64
    assert error_of(capsys)[0] == "error: no store at shop.db (PARTITA_STORE)"


def test_a_file_that_is_no_store_is_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    Path("letter.db").write_text("Dear Sir or Madam")

    assert run(["where", "1", "--store", "letter.db"]) == 70
    assert error_of(capsys)[0] == "error: store letter.db: not an SQLite file"
    assert Path("letter.db").read_text() == "Dear Sir or Madam"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)", "it calls sys.exit(3) ({file}, line 1)"),
    ],
)
def test_an_app_that_can_not_be_imported_says_why(
    source: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = f"broken_{tmp_path.name}"  # a name of its own: what was imported once stays imported
    Path(f"{module}.py").write_text(source)

    assert run(["dev", f"{module}:app"]) == 65
    assert said.format(file=Path(f"{module}.py").absolute()) in error_of(capsys)[0]


@pytest.mark.parametrize(
    ("source", "place", "said"),
    [
        ("import nothing_of_that_name", "{}:app", "No module named 'nothing_of_that_name'"),
        ("", "nothing_of_that_name:app", "No module named 'nothing_of_that_name'"),
        ("", "{}", "names no app"),
        ("shop = 7", "{}:app", "is no App"),
        ("", "", "MODULE:APP is empty"),
    ],
)
def test_no_app_is_a_matter_of_usage(
    source: str, place: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = f"none_{tmp_path.name}"
    Path(f"{module}.py").write_text(source)

    assert run(["dev", place.format(module)]) == 64
    assert said in error_of(capsys)[0]


@pytest.mark.parametrize("words", [["emit", "Placed", "{}"], ["start", "fulfil", "{}"]])
def test_a_request_makes_no_store_where_nobody_would_find_it(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--store", "typo.db", "--app", "shop:app"]) == 64

    what, remedy = error_of(capsys)
    assert what == "error: no store at typo.db (--store)"
    assert remedy.endswith("`partita dev shop:app --store typo.db` makes one, and so does the same again with --run.")
    assert list(tmp_path.iterdir()) == []


def test_errors_are_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["where", "1", "--json"]) == 64

    (line,) = error_of(capsys)
    error = json.loads(line)["error"]
    assert (error["kind"], error["exit"]) == ("usage", 64)
    assert error["what"] == "no store at partita.db (the default)"


def test_version_names_partita_and_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--json"]) == 0

    assert sorted(json.loads(capsys.readouterr().out)) == ["python", "version"]


def test_help_loads_neither_a_command_nor_a_driver() -> None:
    program = (
        "import json, sys\n"
        "from partita.cli.main import run\n"
        "run(['--help'])\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(json.loads(done.stderr))

    rooms = {name for name in loaded if name.startswith("partita.cli.")}
    assert rooms == {"partita.cli.failures", "partita.cli.main", "partita.cli.output"}
    assert "apsw" not in loaded
