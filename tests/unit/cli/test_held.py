"""The last word of a command with `--run`: what is known of the request when its process is about to end."""

from pathlib import Path

import msgspec

from partita.cli.held import LastWord
from partita.cli.suggesting import Mends
from partita.dying import Held
from partita.runtime.requests import Reply, Request

HELD = Held("the handler of Ship in shipping", 10.04, "limits.turn_dead_s")
EMIT = Request(op="emit", key="k1", type="Shipped")
MENDS = Mends(acting=" --run", dev="partita dev shop:app")


def test_what_was_answered_was_accepted(tmp_path: Path) -> None:
    last = LastWord(EMIT, tmp_path / "none.db", MENDS, as_json=True)
    last.reply = Reply(status="accepted", case="order:1")
    failure = last.failure(HELD)

    assert (failure.kind, failure.exit, failure.key) == ("failure", 70, "k1")
    assert failure.what == (
        "the handler of Ship in shipping held the process for 10.0 s, and it ended;"
        " Shipped for order:1 was accepted before, under the key k1, and is not lost"
    )
    assert failure.remedy.endswith("then this goes on with it: partita dev shop:app")


def test_what_no_store_knows_may_have_been_lost(tmp_path: Path) -> None:
    for request in (EMIT, msgspec.structs.replace(EMIT, op="retry")):
        failure = LastWord(request, tmp_path / "none.db", MENDS, as_json=True).failure(HELD)

        assert (failure.kind, failure.exit, failure.key) == ("unknown", 75, "k1")


def test_a_stopped_run_is_retried_by_its_case() -> None:
    last = LastWord(EMIT, Path("none.db"), MENDS, as_json=True)
    last.reply = Reply(status="accepted", case="order:1")
    failure = last.failure(Held("run ship/order:a/b/1", 10, "limits.turn_dead_s", run="ship/order:a/b/1"))

    assert failure.remedy == "The run is stopped. Mend its code, then: partita retry order:a/b --run"
