"""Bugs to be planted in the core, each a named mutation that the simulation has to find."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from partita.choreography.dispatch import Dispatch
from partita.choreography.lanes import Lane, Lanes
from partita.choreography.relay import Relay
from partita.clock import US, Alarms
from partita.errors import PartitaError, Rejected
from partita.monitor import fold
from partita.orchestration import run
from partita.orchestration.executor import Executor
from partita.orchestration.replay import read_record
from partita.orchestration.roster import Roster
from partita.orchestration.run import LiveRun
from partita.orchestration.saga import Undoing, saga
from partita.runtime.desk import Desk
from partita.runtime.requests import Reply, Request, message_id_of
from partita.store import work
from partita.store.facts import Discarded, Handled, Received
from partita.store.port import Lost
from partita.store.sqlite import folding, operations
from partita.transports.outbox import Draft
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
    patch.setattr(Lanes, "block", lambda _lanes, _key: None)


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


PLANTED: dict[Plant, str] = {
    acknowledge_before_commit: "was accepted",
    dispatch_before_commit: "before that was decided",
    step_before_commit: "before that was decided",
    no_inbox: "does not owe",
    retry_time_only_in_memory: "again before it was due",
    timer_lost_at_eviction: "nothing is left that could move it",
    buffered_message_lost_at_eviction: "can't be replayed",
    replay_skips_a_drain: "its replay comes to",
    undo_not_registered: "its table holds",
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
}
"""Bugs that are found within 200 seeds, and what the checkers say of them."""
RARE: dict[Plant, str] = {uncleanness_forgotten: "is compensated"}
"""Found within some thousand seeds: several things have to come together."""
