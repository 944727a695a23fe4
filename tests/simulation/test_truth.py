"""The story tells the truth about trouble of every kind, in every form; and bugs planted in the monitor make it lie."""

import shlex
from collections.abc import Callable
from typing import Any, get_args

import pytest

from partita.cli import main as command_line
from partita.monitor import fold, handlings, leaves, verdict, why
from partita.monitor.leaves import Leaf
from partita.monitor.verdict import VERDICTS
from partita.runtime.look import Look
from partita.store import facts
from partita.testing.expected import EXPECTED
from partita.testing.hire import Form
from partita.testing.stage import Astray, Stage
from partita.testing.troubles import BRING
from partita.testing.truth import Told, confusion, run_rows, tell

pytestmark = pytest.mark.simulation
SEEDS = range(1, 41)
ALL_SEEDS = range(1, 101)
ROWS = list(EXPECTED)
each_row = pytest.mark.parametrize(("kind", "form"), ROWS, ids=[f"{kind}-{form}" for kind, form in ROWS])


@each_row
def test_the_story_tells_the_truth_and_its_command_mends(kind: str, form: Form) -> None:
    assert lies(kind, form, SEEDS) == []


@pytest.mark.slow
@each_row
def test_it_does_so_with_every_seed(kind: str, form: Form) -> None:
    assert lies(kind, form, ALL_SEEDS) == []


def lies(kind: str, form: Form, seeds: range) -> list[str]:
    return [f"seed {told.seed}: {fault}" for told in run_rows([(kind, form)], seeds) for fault in told.faults]


# The table itself.


def test_the_table_has_a_row_for_each_kind_of_trouble_and_no_other() -> None:
    assert {kind for kind, _ in EXPECTED} == set(BRING)
    assert len(BRING) >= 16


def test_the_table_has_every_verdict_but_blind() -> None:
    assert {row.verdict for row in EXPECTED.values()} == set(VERDICTS) - {"blind"}, "one store loses no fact of its own"


def test_the_table_has_every_leaf_that_one_store_can_come_to() -> None:
    beyond = {"in_outbox", "never_produced", "other_case"}  # of a broker, of a typing error, of a second case

    assert {row.leaf for row in EXPECTED.values()} == set(get_args(Leaf)) - beyond


def test_what_it_prints_counts_what_was_right() -> None:
    said = {"verdict": "dead-ended", "leaf": "noop", "command": "-", "after": "dead-ended"}
    right = Told("choreography", "noop", 1, said)
    wrong = Told("choreography", "noop", 2, said | {"verdict": "done"})
    lines = list(confusion([right, wrong]))

    assert lines[1].split()[:7] == ["noop", "choreography", "2", "1!", "2", "2", "2"]
    assert lines[2].strip() == "1 times, first with seed 2: verdict is 'done', not 'dead-ended'"


def test_the_same_seed_tells_the_same_story() -> None:
    assert tell("call-held", "hybrid", 7) == tell("call-held", "hybrid", 7)


def test_a_scene_leaves_no_run_behind_it() -> None:
    stage = Stage("hybrid", "person", 1)

    async def scene() -> None:
        stage.start()
        await stage.bring(BRING["person"], calm=True)

    stage.run(scene())

    assert stage.life is not None
    assert stage.life.ended, "a run that is only dropped ends when the garbage is collected, in the middle of another"


def test_a_trouble_stands_when_nothing_else_is_owed() -> None:
    assert lies("no-subscriber", "hybrid", range(49, 50)) == []  # its engine dies before the mail has gone out


def test_a_run_that_waited_too_long_says_what_did_not_come_in_time() -> None:
    stage = Stage("orchestration", "after-end", 1)

    async def scene() -> str:
        stage.start()
        await stage.bring(BRING["after-end"], calm=False)
        with stage.looking() as look:
            return look.why(stage.case, "HireConfirmed").leading.sentence

    assert "after HireAgreed or HireRefused did not come in time" in stage.run(scene())


def test_a_stopped_run_is_not_cancelled_and_says_what_has_to_be_done_first() -> None:
    stage = Stage("orchestration", "bug", 1)

    async def scene() -> None:
        stage.start()
        await stage.bring(BRING["bug"], calm=False)
        with pytest.raises(Astray, match="is stopped: its code could not meet the cancellation"):
            await stage.ask("cancel", case=stage.case)

    stage.run(scene())


# What is printed can be typed.

COMMANDS = sorted({row.command for row in EXPECTED.values()} - {"-"})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_printed_command_is_one_that_partita_takes(command: str) -> None:
    words = shlex.split(command.replace("CASE", "hire:1").replace("ID", "m1", 1).replace("KEY", "1"))
    if words == ["dev"]:
        words.append("module:app")
    _, bound, _ = command_line._commands().parse_args([*words, "--run"] if words[0] != "dev" else words)

    assert bound.arguments


# Bugs planted in the monitor: each makes the story lie, and the table says so.


def forget(kind: type[facts.Body]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.delitem(fold._ACTS, kind)


def swap(one: Leaf, other: Leaf) -> Callable[[pytest.MonkeyPatch], None]:
    """One leaf is taken for another."""
    made = leaves.Asking.leaf

    def leaf(self: leaves.Asking, leaf: Leaf, what: str, sentence: str, **more: Any) -> leaves.WhyNode:
        return made(self, other if leaf == one else leaf, what, sentence, **more)

    return lambda patch: patch.setattr(leaves.Asking, "leaf", leaf)


def let(room: Any, name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(room, name, value)


def worst_first(patch: pytest.MonkeyPatch) -> None:
    """Waiting goes before running."""
    patch.setattr(verdict, "_RUNNING", 5)
    patch.setattr(verdict, "_WAITING", 4)


def no_command(patch: pytest.MonkeyPatch) -> None:
    """A dead letter is to be given up where it should be redriven."""
    made = leaves.Asking.leaf

    def leaf(self: leaves.Asking, *words: Any, command: str = "", **more: Any) -> leaves.WhyNode:
        return made(self, *words, command=command.replace("redrive", "discard"), **more)

    patch.setattr(leaves.Asking, "leaf", leaf)


def observers_count(patch: pytest.MonkeyPatch) -> None:
    """What an observer owes counts as what others owe."""
    made = fold._owed

    def owed(*words: Any) -> Any:
        found = made(*words)
        found.observer = False
        return found

    patch.setattr(fold, "_owed", owed)


def hasty(patch: pytest.MonkeyPatch) -> None:
    """What is delayed counts as being handled."""
    patch.setattr(verdict, "_weigh_owed", lambda walk, owed: walk.find(4, owed.since, owed.type))


PLANTED: list[tuple[str, str, Form, Callable[[pytest.MonkeyPatch], None]]] = [
    ("dead taken for discarded", "dead-letter", "choreography", swap("dead", "discarded")),
    ("held taken for dead", "call-held", "orchestration", swap("call_held", "dead")),
    ("withdrawn taken for discarded", "withdrawn", "hybrid", swap("withdrawn", "discarded")),
    ("a fold that forgets dead letters", "dead-letter", "hybrid", forget(facts.Dead)),
    ("a fold that forgets retries", "retrying", "choreography", forget(facts.Retrying)),
    ("a fold that forgets incidents", "bug", "orchestration", forget(facts.Incident)),
    ("a fold that forgets quarantine", "undecodable", "choreography", forget(facts.Quarantined)),
    ("a fold that forgets requests", "request-left", "hybrid", forget(facts.Requested)),
    ("a fold that forgets ends of runs", "cancelled", "orchestration", forget(facts.Returned)),
    ("a fold that forgets what was withdrawn", "withdrawn", "orchestration", forget(facts.Withdrawn)),
    ("a fold that forgets what was discarded", "discarded", "choreography", forget(facts.Discarded)),
    ("a fold that forgets messages without a run", "no-run", "orchestration", forget(facts.NoRun)),
    ("waiting before running", "retrying", "orchestration", worst_first),
    ("no deadline", "overdue", "choreography", let(verdict._Walk, "limit", lambda *_words, **_more: None)),
    ("no delay", "delayed", "orchestration", hasty),
    ("no wait is doomed", "doomed", "choreography", let(handlings, "doomed_waits", lambda *_words: [])),
    ("a paused group works", "group-paused", "orchestration", let(handlings, "cannot_move", lambda *_words: None)),
    ("a vanished group works", "group-gone", "choreography", let(handlings, "cannot_move", lambda *_words: None)),
    ("nothing is in the way", "blocked", "choreography", let(handlings, "_blocker", lambda *_words: None)),
    ("an engine always runs", "engine-gone", "hybrid", let(Look, "engine_running", property(lambda _: True))),
    ("the furthest cause leads", "doomed", "orchestration", let(why, "_key", lambda node, depth: (0, 0, -depth))),
    ("nothing was left behind", "group-gone", "choreography", let(why, "_left_behind", lambda *_words: [])),
    ("nobody came too early", "no-run", "hybrid", let(why, "_strays", lambda *_words: [])),
    ("nothing was turned down", "turned-down", "choreography", let(why, "_turned_down", lambda *_words: [])),
    ("give up where to redrive", "dead-notice", "choreography", no_command),
    ("observers count", "dead-observer", "orchestration", observers_count),
]


@pytest.mark.parametrize(("kind", "form", "plant"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_a_bug_in_the_monitor_turns_the_table_wrong(
    kind: str, form: Form, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        told = run_rows([(kind, form)], range(1, 4))

    assert any(one.said and one.faults for one in told)
