import pytest

from partita.cli.failures import Exit, Usage, explain
from partita.errors import (
    CallFailed,
    DefinitionError,
    LimitExceeded,
    MessageError,
    NotFound,
    Rejected,
    StoreError,
    Unknown,
)
from partita.runtime.look import Ambiguous


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (Usage("what", "remedy"), 64, "usage"),
        (Ambiguous("'1' could be a:1 or b:1", "Name the case in full."), 64, "usage"),
        (NotFound("no case is named '1'"), 1, "not_found"),
        (Rejected("the case has a run"), 65, "rejected"),
        (MessageError("no message"), 65, "rejected"),
        (LimitExceeded("body", actual=2, limit=1, setting="limits.payload_bytes_max"), 65, "rejected"),
        (Unknown("the engine went away", key="k"), 75, "unknown"),
        (StoreError("store partita.db: held by process 7"), 70, "failure"),
        (CallFailed("no stock"), 70, "failure"),
        (DefinitionError("handler has no contract"), 70, "failure"),
        (RuntimeError("what nobody thought of"), 70, "failure"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_each_failure_has_its_exit_code(error: BaseException, code: int, kind: str) -> None:
    failure = explain(error)

    assert (failure.exit, failure.kind) == (code, kind)


def test_what_and_remedy_are_two_lines_of_the_error() -> None:
    failure = explain(StoreError("store a.db: held by process 7\nStop it (kill 7)."))

    assert failure.what == "store a.db: held by process 7"
    assert failure.remedy == "Stop it (kill 7)."


def test_an_unknown_answer_carries_the_key_to_send_again_with() -> None:
    assert explain(Unknown("the engine went away", key="k")).key == "k"


def test_what_stopped_a_group_is_what_is_told() -> None:
    failure = explain(BaseExceptionGroup("tasks", [ExceptionGroup("inner", [StoreError("the disk is full")])]))

    assert failure.what == "the disk is full"
    assert failure.exit == Exit.FAILURE


def test_an_error_that_is_none_of_ours_names_its_type_and_how_to_see_more() -> None:
    failure = explain(ZeroDivisionError("division by zero"))

    assert failure.what == "ZeroDivisionError: division by zero"
    assert "PARTITA_DEBUG=1" in failure.remedy
