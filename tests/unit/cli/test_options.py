import io
import json
from pathlib import Path

import pytest

from partita.cli.failures import Usage
from partita.cli.options import Looking, Sending, by_whom, check_name, read_json
from partita.limits import LIMITS, Limits, in_force


class Stdin:
    def __init__(self, raw: bytes) -> None:
        self.buffer = io.BytesIO(raw)


def test_json_is_taken_as_it_is_typed() -> None:
    assert read_json(' {"a": 1} ') == b'{"a": 1}'


def test_an_at_names_a_file(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"a": 1}\n')

    assert read_json(f"@{tmp_path}/order.json") == b'{"a": 1}'


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(b'{"a": 1}\n'))

    assert read_json("-") == b'{"a": 1}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a: 1}", "the message is not JSON: expecting property name enclosed in double quotes at column 2"),
        ('{"a": 1', "the message is not JSON: expecting ',' delimiter at column 8"),
        ('{\n"a": x}', "the message is not JSON: expecting value at line 2, column 6"),
        ("", "the message is empty"),
        ('{"a": "x', "the message is not JSON: unterminated string starting at column 7"),
        ("\udcff", "the message is not JSON: not UTF-8 at byte 1"),
        ('{"a": 1, "a": 2}', "the message: an object has the key 'a' twice"),
        ("@nowhere.json", "the message: cannot read 'nowhere.json': No such file or directory"),
        ("@", "the message: cannot read '.': Is a directory"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(Usage) as refused:
        read_json(text)

    assert refused.value.why == said
    assert refused.value.remedy


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', '{"a": "\\ud800"}'])
def test_what_other_readers_would_read_differently_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        read_json(text)


def test_what_is_too_long_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "long.json").write_text(json.dumps("x" * LIMITS.payload_bytes_max))

    said = r"has more than 2,097,152 bytes; the limit is 2,097,152\nMake it smaller, or raise limits.payload_bytes_max"
    with pytest.raises(Usage, match=said):
        read_json(f"@{tmp_path}/long.json")


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[2J"])
def test_a_key_has_something_and_no_control_characters(name: str) -> None:
    with pytest.raises(Usage, match="It has one character or more, and no control characters"):
        check_name("--key", name)


def test_a_key_that_is_too_long_is_told_by_how_much_and_what_moves_the_limit() -> None:
    with pytest.raises(Usage, match=r"--key has 201 bytes; the limit is 200\nMake it shorter, or raise limits.name_b"):
        check_name("--key", "x" * 201)


def test_an_argument_that_is_too_long_says_how_long_it_is() -> None:
    with (
        in_force(Limits(payload_bytes_max=10)),
        pytest.raises(Usage, match="the message has 14 bytes; the limit is 10"),
    ):
        read_json('{"order_id":1}')


def test_a_request_without_a_key_gets_a_fresh_one() -> None:
    first, second = Sending().request_key(), Sending().request_key()

    assert len(first) == 32
    assert first != second
    assert Sending(key="mine").request_key() == "mine"


def test_a_suggested_command_names_what_was_named() -> None:
    assert Looking().flags() == ""
    assert Looking(store="my shop.db", app="shop:app").flags() == " --store 'my shop.db' --app shop:app"


@pytest.mark.parametrize("store", ["", "postgres://host/db"])
def test_a_store_that_can_be_none_is_a_matter_of_usage(store: str) -> None:
    with pytest.raises(Usage):
        Looking(store=store).settings()


def test_who_asks_is_the_user_or_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    assert by_whom() == "ada"

    monkeypatch.delenv("USER")
    assert by_whom() == "cli"
