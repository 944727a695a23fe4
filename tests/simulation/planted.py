"""Bugs to be planted in the core, each a named mutation that the simulation has to find."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from partita.choreography import handling
from partita.choreography.dispatch import Dispatch
from partita.choreography.lanes import Lane, Lanes
from partita.choreography.relay import Relay
from partita.clock import US, Alarms
from partita.errors import PartitaError, Rejected
from partita.messages.envelope import derive_id
from partita.monitor import fold
from partita.orchestration import run
from partita.orchestration.asks import AskChild
from partita.orchestration.children import Children
from partita.orchestration.consequences import Consequences
from partita.orchestration.executor import Executor
from partita.orchestration.mailbox import Mailbox
from partita.orchestration.replay import read_record
from partita.orchestration.roster import Roster
from partita.orchestration.run import LiveRun
from partita.orchestration.saga import Undoing, saga
from partita.runtime import mending
from partita.runtime.desk import Desk
from partita.runtime.requests import Reply, Request, message_id_of
from partita.store import work
from partita.store.facts import CancelAsked, Discarded, Handled, Received, Retried, Started
from partita.store.port import Lost
from partita.store.sqlite import chain, folding, operations, writer
from partita.store.sqlite.folding import NEVER_FOLDED, Folder
from partita.store.sqlite.runs import RunHeads
from partita.store.sqlite.writer import Executor as Deciding
from partita.testing.rounds import go_round
from partita.testing.simulation import simulate
from partita.transports.outbox import Draft, owed_from
from partita.transports.port import Owed

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledge_before_commit(patch: pytest.MonkeyPatch) -> None:
    publish = Desk._publish

    async def told_too_early(desk: Desk, request: Request) -> Reply:
        async def later() -> None:
            with suppress(PartitaError):
                await publish(desk, request)

        desk._spawn(later())
        return Reply(status="accepted", key=request.key, id=message_id_of(request))

    patch.setattr(Desk, "_publish", told_too_early)


def dispatch_before_commit(patch: pytest.MonkeyPatch) -> None:
    submit = Executor._submit

    def sent_too_early(executor: Executor, cell: Any, draft: Draft, effects: Any) -> None:
        for _, owed in draft.owed:
            executor._around.send(owed)
        submit(executor, cell, draft, effects)

    patch.setattr(Executor, "_submit", sent_too_early)


def step_before_commit(patch: pytest.MonkeyPatch) -> None:
    submit = Executor._submit

    def begun_too_early(executor: Executor, cell: Any, draft: Draft, effects: Any) -> None:
        for ask in effects.steps:
            cell.running.add(ask.step)
            executor._steps.begin(cell, ask, executor._stepped)
        effects.steps = []
        submit(executor, cell, draft, effects)

    patch.setattr(Executor, "_submit", begun_too_early)


def no_inbox(patch: pytest.MonkeyPatch) -> None:
    """A double is handled again, and closing what is closed already is not refused."""
    arrive, write = Lanes.arrive, Draft.write

    def taken_again(lanes: Lanes, owed: Owed) -> None:
        lanes.expect(owed)
        arrive(lanes, owed)

    def unguarded(draft: Draft, op: str, *params: object, must: str | None = None, fact: int | None = None) -> None:
        write(draft, op, *params, must=None if must in {"closed", "known message"} else must, fact=fact)

    patch.setattr(Lanes, "arrive", taken_again)
    patch.setattr(Draft, "write", unguarded)


def retry_time_only_in_memory(patch: pytest.MonkeyPatch) -> None:
    sql = operations.STATEMENTS[work.PUT_OFF_OBLIGATION].replace("due_at = ?2", "due_at = 0 * ?2")
    patch.setitem(operations.STATEMENTS, work.PUT_OFF_OBLIGATION, sql)


def timer_lost_at_eviction(patch: pytest.MonkeyPatch) -> None:
    evict = Roster.evict_idle

    def forgetful(roster: Roster, **how: Any) -> int:
        before = set(roster._cells)
        gone = evict(roster, **how)
        for name in before - set(roster._cells):
            roster._wakes.pop(name, None)
        return gone

    patch.setattr(Roster, "evict_idle", forgetful)


def buffered_message_lost_at_eviction(patch: pytest.MonkeyPatch) -> None:
    def forgetful(history: Any) -> Any:
        return read_record([fact for fact in history if not isinstance(fact.body, Received)])

    patch.setattr(run, "read_record", forgetful)


def replay_skips_a_drain(patch: pytest.MonkeyPatch) -> None:
    meet = LiveRun._meet

    def hasty(live: LiveRun, at: int, body: Any, message: Any, run_n: int | None) -> None:
        if run_n is not None and isinstance(body, Handled):
            live._deliver(body, message, run_n)
        else:
            meet(live, at, body, message, run_n)

    patch.setattr(LiveRun, "_meet", hasty)


def undo_not_registered(patch: pytest.MonkeyPatch) -> None:
    def register(self: saga, call: Any, undo: Any, expect: Any) -> Undoing:
        return Undoing(f"{call.step}/undo", undo, self._retry, call.command, call.step, expect=expect)

    patch.setattr(saga, "register", register)


def undo_before_its_command(patch: pytest.MonkeyPatch) -> None:
    enter = Lanes._enter

    def pushy(lanes: Lanes, owed: Owed) -> None:
        enter(lanes, owed)
        lane = lanes._lanes.get(owed.lane)
        if (owed.step or "").endswith("/undo") and lane is not None and owed in lane.queue:
            lane.queue.remove(owed)
            lane.queue.appendleft(owed)
            if lane.busy:
                lane.busy = False
                lanes.pump(lane)

    patch.setattr(Lanes, "_enter", pushy)


def withdrawn_though_begun(patch: pytest.MonkeyPatch) -> None:
    bar = Dispatch.bar

    def careless(dispatch: Dispatch, message: str, group: str) -> Any:
        found = bar(dispatch, message, group)
        return "withdrawn" if found == "closed" else found

    patch.setattr(Dispatch, "bar", careless)


def uncleanness_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lanes, "has_unclean", lambda _lanes: False)


def fold_forgets_a_kind(patch: pytest.MonkeyPatch) -> None:
    patch.delitem(fold._ACTS, Discarded)


def stale_case(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(folding, "_UPDATE_UNLISTED", folding._UPDATE_UNLISTED.replace("where id = ?", "where id = -?"))


def claim_not_counted(patch: pytest.MonkeyPatch) -> None:
    sql = operations.STATEMENTS[work.CLAIM_OBLIGATION].replace("claims = claims + 1", "claims = claims")
    patch.setitem(operations.STATEMENTS, work.CLAIM_OBLIGATION, sql)


def retrying_head_lets_others_pass(patch: pytest.MonkeyPatch) -> None:
    pump = Lanes.pump

    def impatient(lanes: Lanes, lane: Lane) -> None:
        if lane.queue and not lane.busy and lane.queue[0].due_at > lanes._clock.now_us():
            lane.queue.rotate(-1)
        pump(lanes, lane)

    patch.setattr(Lanes, "pump", impatient)


def overtaken_on_the_way(patch: pytest.MonkeyPatch) -> None:
    arrive = Lanes.arrive

    def as_it_comes(lanes: Lanes, owed: Owed) -> None:
        lanes.expect(owed)
        arrive(lanes, owed)

    patch.setattr(Lanes, "arrive", as_it_comes)
    patch.setattr(Relay, "send", lambda relay, owed: relay._transport.send(owed))


def dead_letter_holds_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lanes, "block", lambda _lanes, _key, _message: None)


def delayed_at_once(patch: pytest.MonkeyPatch) -> None:
    expect = Lanes.expect

    def hasty(lanes: Lanes, owed: Owed) -> None:
        if owed.state == "delayed":
            owed.state, owed.due_at = "open", 0
        expect(lanes, owed)

    patch.setattr(Lanes, "expect", hasty)


def unknown_told_as_rejected(patch: pytest.MonkeyPatch) -> None:
    again = Desk._again

    def too_sure(desk: Desk, request: Request, message_id: str, digest: bytes, answer: Any) -> None:
        if isinstance(answer, Lost):
            raise Rejected("the store did not take it")
        again(desk, request, message_id, digest, answer)

    patch.setattr(Desk, "_again", too_sure)


def timer_rings_early(patch: pytest.MonkeyPatch) -> None:
    wake = Roster.set_wake

    class Hasty:
        def __init__(self, alarms: Alarms) -> None:
            self._alarms = alarms

        def set(self, at_us: int, ring: Callable[[], None]) -> None:
            self._alarms.set(at_us - 2 * US, ring)

    def early(roster: Roster, cell: Any, wakes_at: int | None) -> None:
        alarms: Any = roster._alarms
        roster._alarms = Hasty(alarms)  # type: ignore[assignment]
        wake(roster, cell, wakes_at)
        roster._alarms = alarms

    patch.setattr(Roster, "set_wake", early)


def no_guard_on_run_n(patch: pytest.MonkeyPatch) -> None:
    """A turn is begun while a unit that names its run is unanswered, and nobody asks where the run stands."""
    patch.setattr(Deciding, "_expect", lambda _writer, _unit: None)
    named = Executor.named
    unseen: Counter[tuple[Executor, str]] = Counter()

    def blind(executor: Executor, run: str) -> None:
        unseen[executor, run] += 1

    def unnamed(executor: Executor, run: str, recorded: Any, body: Any) -> None:
        cell = executor.roster.find_or_load(run)
        if cell is not None and unseen[executor, run]:
            unseen[executor, run] -= 1
            cell.unanswered += 1  # the one that `named` takes off
        named(executor, run, recorded, body)

    patch.setattr(Executor, "naming", blind)
    patch.setattr(Executor, "named", unnamed)


def chain_not_linked(patch: pytest.MonkeyPatch) -> None:
    link = writer.link
    patch.setattr(writer, "link", lambda _previous, head, digest: link(chain.ORIGIN, head, digest))


def obligation_closed_by_a_failure(patch: pytest.MonkeyPatch) -> None:
    sql = "delete from obligation where coalesce(?1, ?2) is not null and message = ?3 and grp = ?4"
    patch.setitem(operations.STATEMENTS, work.PUT_OFF_OBLIGATION, sql)


def key_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A request that is sent again with its key is taken again."""
    write = Draft.write

    def unguarded(draft: Draft, op: str, *params: object, must: str | None = None, fact: int | None = None) -> None:
        write(draft, op, *params, must=None if must == "known message" else must, fact=fact)

    patch.setattr(Draft, "write", unguarded)


def message_consumed_twice(patch: pytest.MonkeyPatch) -> None:
    take = Mailbox.take

    def copied(mailbox: Mailbox, *how: Any) -> Any:
        letter = take(mailbox, *how)
        if letter is not None:
            mailbox._buffer(letter).appendleft(letter)
        return letter

    patch.setattr(Mailbox, "take", copied)


def voided_completion_replayed(patch: pytest.MonkeyPatch) -> None:
    def mindful(history: Any) -> Any:
        return read_record([_unvoided(fact) for fact in history])

    patch.setattr(run, "read_record", mindful)


def _unvoided(fact: Any) -> Any:
    return replace(fact, body=replace(fact.body, voids=())) if isinstance(fact.body, Retried) else fact


def withdrawn_command_still_run(patch: pytest.MonkeyPatch) -> None:
    """What is withdrawn stays in its lane, and closing what is closed already is not refused."""
    write = Draft.write

    def unguarded(draft: Draft, op: str, *params: object, must: str | None = None, fact: int | None = None) -> None:
        write(draft, op, *params, must=None if must == "closed" else must, fact=fact)

    patch.setattr(Draft, "write", unguarded)
    patch.setattr(Dispatch, "bar", lambda _dispatch, _message, _group: "withdrawn")
    patch.setattr(Dispatch, "drop", lambda _dispatch, _message, _group: None)


def wake_up_dropped(patch: pytest.MonkeyPatch) -> None:
    """An answer reaches its run, and nobody takes the turn."""
    named = Executor.named

    def asleep(executor: Executor, name: str, recorded: Any, body: Any) -> None:
        with pytest.MonkeyPatch.context() as quiet:
            quiet.setattr(executor, "pump", lambda _cell: None)
            named(executor, name, recorded, body)

    patch.setattr(Executor, "named", asleep)


def refused_turn_keeps_its_numbers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RunHeads, "put_back", RunHeads.keep)


def left_request_forgotten(patch: pytest.MonkeyPatch) -> None:
    sql = operations.STATEMENTS[work.OWE_REQUEST].replace("values (?1, ?2)", "select ?1, ?2 where 0")
    patch.setitem(operations.STATEMENTS, work.OWE_REQUEST, sql.replace(" on conflict do nothing", ""))


def left_request_never_closed(patch: pytest.MonkeyPatch) -> None:
    sql = operations.STATEMENTS[work.CLOSE_REQUEST] + " and 0"
    patch.setitem(operations.STATEMENTS, work.CLOSE_REQUEST, sql)


def paused_for_ever(patch: pytest.MonkeyPatch) -> None:
    sql = operations.STATEMENTS[work.CLEAR_GROUP] + " and 0"
    patch.setitem(operations.STATEMENTS, work.CLEAR_GROUP, sql)


def child_started_twice(patch: pytest.MonkeyPatch) -> None:
    write = Consequences.write

    def twice(consequences: Consequences, ask: Any) -> None:
        write(consequences, ask)
        if isinstance(ask, AskChild):
            write(consequences, ask)

    patch.setattr(Consequences, "write", twice)


def undo_sent_to_nobody(patch: pytest.MonkeyPatch) -> None:
    """The list of a saga inside of another is dropped where the inner one ends well."""
    hand_over = saga._hand_over

    def careless(self: saga, ledger: Any) -> None:
        self._outer = None
        hand_over(self, ledger)

    patch.setattr(saga, "_hand_over", careless)


def duplicate_start(patch: pytest.MonkeyPatch) -> None:
    """A start that is sent again once its run has ended starts another one."""
    write = Draft.write

    def unguarded(draft: Draft, op: str, *params: object, must: str | None = None, fact: int | None = None) -> None:
        starts = must == "known message" and isinstance(draft.unit.facts[0].body, Started)
        write(draft, op, *params, must=None if starts else must, fact=fact)

    patch.setattr(Draft, "write", unguarded)
    patch.setattr(go_round, "restart", "after-end")


def retired_group_still_owing(patch: pytest.MonkeyPatch) -> None:
    sql = operations.STATEMENTS[work.RETIRE_OBLIGATIONS] + " and 0"
    patch.setitem(operations.STATEMENTS, work.RETIRE_OBLIGATIONS, sql)


def timer_only_in_memory(patch: pytest.MonkeyPatch) -> None:
    """A timer rings in the process that set it; the next one takes it for set."""
    wake = Roster.set_wake

    def set_once(roster: Roster, cell: Any, wakes_at: int | None) -> None:
        if wakes_at is None or wakes_at != cell.row.wakes_at:
            wake(roster, cell, wakes_at)

    patch.setattr(Roster, "set_wake", set_once)


def stale_case_after_refold(patch: pytest.MonkeyPatch) -> None:
    """A case is folded anew into its row; in memory it stays what another release made of it."""
    store = Folder.store

    def forgetful(folder: Folder) -> None:
        stale = [
            (folded, folded.state)
            for folded in folder._touched.values()
            if folded.stored and folded.fold not in {NEVER_FOLDED, folder._projection.version}
        ]
        store(folder)
        for folded, state in stale:
            folded.state = state

    patch.setattr(Folder, "store", forgetful)


def redriven_under_a_new_id(patch: pytest.MonkeyPatch) -> None:
    def renamed(fact: Any, group: str, row: Any) -> Owed:
        owed = owed_from(fact, group, row)
        owed.envelope = replace(owed.envelope, id=derive_id(owed.envelope.id, "again"))
        return owed

    patch.setattr(mending, "owed_from", renamed)


def late_answer_not_marked(patch: pytest.MonkeyPatch) -> None:
    say = handling.say_handled

    def unmarked(draft: Draft, owed: Owed, body: Handled, *, at: int | None = None) -> None:
        say(draft, owed, replace(body, late=False), at=at)

    patch.setattr(handling, "say_handled", unmarked)


def cancellation_lost(patch: pytest.MonkeyPatch) -> None:
    """Whoever cancels is told so before it is durable."""
    cancel = Executor.cancel

    def told_too_early(executor: Executor, run: str, *, by: str, reason: str = "", settled: Any = None) -> None:
        if settled is not None:
            settled(None)
        executor._around.spawn(later(executor, run, by, reason))

    async def later(executor: Executor, run: str, by: str, reason: str) -> None:
        cancel(executor, run, by=by, reason=reason)

    patch.setattr(Executor, "cancel", told_too_early)


def cancellation_never_met(patch: pytest.MonkeyPatch) -> None:
    """It is written down, and the workflow's code does not hear of it."""
    deliver = LiveRun._deliver

    def deaf(live: LiveRun, body: Any, message: Any, run_n: int | None) -> None:
        if not isinstance(body, CancelAsked):
            deliver(live, body, message, run_n)

    patch.setattr(LiveRun, "_deliver", deaf)


def child_left_behind(patch: pytest.MonkeyPatch) -> None:
    """A cancellation, or the end, of a run reaches none of its children."""
    patch.setattr(Children, "ask", lambda _children, _row: None)
    patch.setattr(Children, "take_up", lambda _children, cells, _rows: cells)


PLANTED: dict[Plant, str] = {
    acknowledge_before_commit: "was accepted",
    dispatch_before_commit: "before that was decided",
    step_before_commit: "before that was decided",
    no_inbox: "does not owe",
    retry_time_only_in_memory: "again before it was due",
    timer_lost_at_eviction: "nothing is left that could move it",
    buffered_message_lost_at_eviction: "can't be replayed",
    replay_skips_a_drain: "its replay comes to",
    undo_not_registered: "and kept",
    undo_before_its_command: "took what it owed",
    withdrawn_though_begun: "is compensated",
    fold_forgets_a_kind: "folds to owed",
    stale_case: "its facts fold to",
    claim_not_counted: "the claims were not counted",
    retrying_head_lets_others_pass: "took what it owed",
    overtaken_on_the_way: "took what it owed",
    dead_letter_holds_nothing: "took what it owed",
    delayed_at_once: "before the time it was delayed to",
    unknown_told_as_rejected: "was rejected",
    timer_rings_early: "before it was due",
    no_guard_on_run_n: "its replay waits for",
    chain_not_linked: "the hash chain breaks",
    obligation_closed_by_a_failure: "there is no row",
    key_forgotten: "times in the trail",
    message_consumed_twice: "received the notes",
    voided_completion_replayed: "waits for nothing that has a name",
    withdrawn_command_still_run: "does not owe",
    wake_up_dropped: "takes no turn",
    refused_turn_keeps_its_numbers: "is number",
    left_request_forgotten: "was accepted",
    left_request_never_closed: "is still owed",
    paused_for_ever: "still owes",
    child_started_twice: "waits for nothing that has a name",
    undo_sent_to_nobody: "and kept",
    duplicate_start: "times in the trail",
    retired_group_still_owing: "does not owe",
    timer_only_in_memory: "nothing is left that could move it",
    stale_case_after_refold: "its facts fold to",
    redriven_under_a_new_id: "no fact has asked for",
    late_answer_not_marked: "is marked not late",
    cancellation_lost: "was never asked",
    cancellation_never_met: "was asked to cancel, and has",
    child_left_behind: "was never asked to cancel",
    uncleanness_forgotten: "is compensated",
}
"""Each is found within 2,000 seeds; with what a checker says of it."""


def find(words: str, seeds: int) -> tuple[int, str] | None:
    """The first seed of which a checker says so, from the first on, and its sentence."""
    for seed in range(1, seeds + 1):
        for sentence in simulate(seed).wrong:
            if words in sentence:
                return seed, sentence
    return None


def main() -> None:
    """Print each bug, the first seed that finds it, and what a checker says of it."""
    for plant, words in PLANTED.items():
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            seed, sentence = find(words, 10_000) or (None, "not found")
        print(f"{plant.__name__:36} {seed!s:>6}  {sentence[:140]}", flush=True)


if __name__ == "__main__":
    main()
