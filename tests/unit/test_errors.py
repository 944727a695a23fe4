"""Errors in one line: what is wrong, then what to do, as sentences."""

import pytest

from partita.errors import MessageError, StoreError, one_line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no order 7\nDid you mean 8?", "no order 7. Did you mean 8?"),
        ("no order 7.\nList them.", "no order 7. List them."),
        ("no order 7:\n  it is gone", "no order 7: it is gone"),
        ("no order 7\n", "no order 7"),
        ("no  order\t7", "no order 7"),
    ],
)
def test_an_error_of_ours_and_its_remedy_are_two_sentences(text: str, said: str) -> None:
    assert one_line(MessageError(text)) == said
    assert one_line(StoreError(text)) == said


def test_what_others_raise_is_left_as_they_say_it() -> None:
    assert one_line(RuntimeError("select 1\n       ^ here")) == "select 1 ^ here"


def test_what_is_too_long_is_marked() -> None:
    assert one_line(StoreError("no order 7\nList them."), limit=14) == "no order 7. L…"
