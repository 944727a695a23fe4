"""Requests and replies: three answers and no fourth, and ids that follow from keys."""

import pytest

from partita.errors import CallFailed, CallTimeout, NotFound, Rejected, Unknown
from partita.runtime.requests import Reply, Request, checked, message_id_of

KEY = "0123456789abcdef0123456789abcdef"


def test_an_accepted_reply_is_passed_on() -> None:
    reply = Reply(status="accepted", key="k")

    assert checked(reply) is reply


def test_a_rejection_says_why_and_what_to_do() -> None:
    with pytest.raises(Rejected) as error:
        checked(Reply(status="rejected", why="no such thing", remedy="Name another."))

    assert not isinstance(error.value, NotFound)
    assert (error.value.why, error.value.remedy) == ("no such thing", "Name another.")
    assert str(error.value) == "no such thing\nName another."


def test_what_is_missing_is_a_rejection_of_its_own() -> None:
    with pytest.raises(NotFound):
        checked(Reply(status="rejected", why="no such case", missing=True))


def test_a_lost_answer_names_the_key_to_send_again() -> None:
    with pytest.raises(Unknown) as error:
        checked(Reply(status="unknown", key="k"))

    assert error.value.key == "k"


def test_a_failure_that_is_the_answer_is_a_failed_call() -> None:
    with pytest.raises(CallFailed) as error:
        checked(Reply(status="accepted", failed="OSError", text="no route", attempts=3))

    assert (error.value.kind, error.value.text, error.value.attempts) == ("OSError", "no route", 3)


def test_no_answer_in_time_is_a_timeout_that_names_the_key() -> None:
    with pytest.raises(CallTimeout, match="the outcome is unknown \\(key k\\)") as error:
        checked(Reply(status="accepted", key="k", pending=True))

    assert isinstance(error.value, TimeoutError)


def test_a_key_that_is_an_id_is_the_messages_id() -> None:
    assert message_id_of(Request(op="emit", key=KEY)) == KEY


@pytest.mark.parametrize("key", ["order-1", KEY.upper(), KEY[:-1], KEY[:-1] + "g", ""])
def test_any_other_key_gives_one_id_and_always_the_same(key: str) -> None:
    made = message_id_of(Request(op="emit", key=key))

    assert made == message_id_of(Request(op="send", key=key)) != key
    assert len(made) == 32


def test_two_keys_give_two_ids() -> None:
    assert message_id_of(Request(op="emit", key="a")) != message_id_of(Request(op="emit", key="b"))
