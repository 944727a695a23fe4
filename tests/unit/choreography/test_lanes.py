"""Lanes on a clock that stands still: one at a time for each group and case, in order, and nobody else waits."""

import pytest

from partita.choreography.lanes import Lane, Lanes
from partita.clock import US, Alarms
from partita.messages.envelope import Envelope
from partita.testing.virtual import ManualClock
from partita.transports.port import Owed


class Floor:
    """Lanes, the clock they look at, and what they have handed out and not got back."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.alarms = Alarms(self.clock)
        self.began: list[str] = []
        """Every message handed out so far."""
        self._out: dict[str, tuple[Lane, Owed]] = {}
        self.lanes = Lanes(self.clock, self.alarms, self._begin)

    def add(self, *names: str, case: str | None = "order:1", group: str = "stock") -> list[Owed]:
        """It is durably owed, and the transport brings it at once."""
        made = [owe(name, case=case, group=group) for name in names]
        for owed in made:
            self.take(owed)
        return made

    def take(self, owed: Owed) -> None:
        self.lanes.expect(owed)
        self.lanes.arrive(owed)

    def end(self, name: str) -> None:
        """It is handled."""
        lane, owed = self._out.pop(name)
        self.lanes.drop(owed)
        self.lanes.release(lane)

    def retry_in(self, name: str, seconds: int) -> None:
        """Its attempt failed."""
        lane, owed = self._out.pop(name)
        owed.due_at = self.clock.now_us() + seconds * US
        self.lanes.release(lane)

    def advance(self, seconds: int) -> None:
        self.clock.move_to(self.clock.now_us() + seconds * US)
        self.alarms.ring_due()

    def _begin(self, lane: Lane, owed: Owed) -> None:
        self.began.append(owed.envelope.id)
        self._out[owed.envelope.id] = lane, owed


def owe(name: str, *, case: str | None = "order:1", group: str = "stock", delayed_s: int = 0) -> Owed:
    envelope = Envelope(id=name, type="Placed", at=0, case=case)
    if not delayed_s:
        return Owed(envelope, group)
    return Owed(envelope, group, state="delayed", due_at=ManualClock().now_us() + delayed_s * US)


@pytest.fixture
def floor() -> Floor:
    return Floor()


# Order.


def test_one_of_a_case_is_handled_at_a_time_in_order(floor: Floor) -> None:
    floor.add("a", "b", "c")
    assert floor.began == ["a"]

    floor.end("a")
    assert floor.began == ["a", "b"]

    floor.end("b")
    assert floor.began == ["a", "b", "c"]


def test_two_cases_do_not_wait_for_each_other(floor: Floor) -> None:
    floor.add("a", case="order:1")
    floor.add("b", case="order:2")

    assert floor.began == ["a", "b"]


def test_two_groups_do_not_wait_for_each_other(floor: Floor) -> None:
    floor.add("a", group="stock")
    floor.add("b", group="mail")

    assert floor.began == ["a", "b"]


def test_what_has_no_case_has_no_order(floor: Floor) -> None:
    floor.add("a", "b", case=None)

    assert floor.began == ["a", "b"]


def test_a_retrying_head_blocks_its_case(floor: Floor) -> None:
    floor.add("a", "b")
    floor.retry_in("a", 10)
    floor.advance(9)
    assert floor.began == ["a"]

    floor.advance(1)
    assert floor.began == ["a", "a"]

    floor.end("a")
    assert floor.began == ["a", "a", "b"]


def test_a_retrying_head_blocks_no_other_case(floor: Floor) -> None:
    floor.add("a")
    floor.retry_in("a", 10)
    floor.add("b", case="order:2")

    assert floor.began == ["a", "b"]


def test_a_delayed_one_enters_when_it_is_due(floor: Floor) -> None:
    floor.take(owe("later", delayed_s=10))
    floor.add("a", "b")
    floor.end("a")
    floor.advance(10)
    assert floor.began == ["a", "b"], "it stands behind what was published before it was due"

    floor.end("b")
    assert floor.began == ["a", "b", "later"]


def test_a_delayed_one_keeps_nobody_waiting_before_it_is_due(floor: Floor) -> None:
    floor.take(owe("later", delayed_s=10))
    floor.add("a")

    assert floor.began == ["a"]


def test_a_double_is_ignored(floor: Floor) -> None:
    floor.add("a")
    floor.add("a")
    floor.end("a")

    assert (floor.began, len(floor.lanes)) == (["a"], 0)


def test_a_double_that_comes_late_is_owed_no_more(floor: Floor) -> None:
    (a,) = floor.add("a")
    floor.end("a")
    floor.lanes.arrive(owe("a"))
    floor.lanes.arrive(a)

    assert (floor.began, len(floor.lanes)) == (["a"], 0)


def test_what_overtakes_on_the_transport_waits_for_what_was_published_before_it(floor: Floor) -> None:
    first, second = owe("first"), owe("second")
    floor.lanes.expect(first)
    floor.lanes.expect(second)
    floor.lanes.arrive(second)
    assert floor.began == []
    assert [floor.lanes.has(name, "stock") for name in ("first", "second")] == [False, True]

    floor.lanes.arrive(first)
    floor.end("first")
    assert floor.began == ["first", "second"]


def test_what_was_lost_on_the_way_can_be_sent_again(floor: Floor) -> None:
    a = owe("a")
    floor.lanes.expect(a)
    assert not floor.lanes.has("a", "stock")

    floor.take(owe("a"))
    assert floor.began == ["a"]


def test_what_has_not_arrived_keeps_no_other_case_waiting(floor: Floor) -> None:
    floor.lanes.expect(owe("a"))
    floor.add("b", case="order:2")

    assert floor.began == ["b"]


def test_the_same_message_is_owed_once_by_each_group(floor: Floor) -> None:
    floor.add("a", group="stock")
    floor.add("a", group="mail")

    assert len(floor.lanes) == 2


# Dropping.


def test_what_is_dropped_is_never_handed_out(floor: Floor) -> None:
    _a, b = floor.add("a", "b")
    floor.lanes.drop(b)
    floor.end("a")

    assert (floor.began, len(floor.lanes)) == (["a"], 0)


def test_a_dropped_head_that_was_waiting_lets_the_next_one_go(floor: Floor) -> None:
    a, _b = floor.add("a", "b")
    floor.retry_in("a", 3_600)
    floor.lanes.drop(a)

    assert floor.began == ["a", "b"]


def test_a_lane_whose_only_message_was_dropped_is_idle(floor: Floor) -> None:
    (a,) = floor.add("a")
    floor.retry_in("a", 3_600)
    floor.lanes.drop(a)

    assert floor.lanes.reserve(("stock", "order:1")) is not None


def test_what_follows_a_dropped_head_is_handed_out_at_once(floor: Floor) -> None:
    a, _b = floor.add("a", "b")
    floor.retry_in("a", 3_600)
    floor.lanes.drop(a)
    floor.add("undo")
    floor.end("b")

    assert floor.began == ["a", "b", "undo"]


def test_the_alarm_of_a_dropped_head_breaks_no_later_order(floor: Floor) -> None:
    (a,) = floor.add("a")
    floor.retry_in("a", 10)
    floor.lanes.drop(a)
    floor.add("b")
    floor.advance(10)
    floor.add("c")

    assert floor.began == ["a", "b"]


def test_a_delayed_one_that_was_dropped_never_enters(floor: Floor) -> None:
    later = owe("later", delayed_s=10)
    floor.take(later)
    floor.lanes.drop(later)
    floor.advance(10)

    assert floor.began == []


# Pausing.


def test_a_paused_group_is_handed_nothing(floor: Floor) -> None:
    floor.lanes.pause("stock")
    floor.add("a")
    assert floor.began == []

    floor.lanes.resume("stock")
    assert floor.began == ["a"]


def test_what_is_being_handled_ends_while_its_group_is_paused(floor: Floor) -> None:
    floor.add("a", "b")
    floor.lanes.pause("stock")
    floor.end("a")
    assert floor.began == ["a"]

    floor.lanes.resume("stock")
    assert floor.began == ["a", "b"]


def test_a_pause_holds_no_other_group(floor: Floor) -> None:
    floor.lanes.pause("stock")
    floor.add("a", group="mail")

    assert floor.began == ["a"]


def test_a_retry_that_falls_due_in_a_pause_waits_for_its_end(floor: Floor) -> None:
    floor.add("a")
    floor.retry_in("a", 10)
    floor.lanes.pause("stock")
    floor.advance(10)
    assert floor.began == ["a"]

    floor.lanes.resume("stock")
    assert floor.began == ["a", "a"]


def test_resuming_hands_nothing_out_twice(floor: Floor) -> None:
    floor.add("a")
    floor.lanes.pause("stock")
    floor.lanes.resume("stock")

    assert floor.began == ["a"]


# Reserving.


def test_an_idle_lane_can_be_reserved(floor: Floor) -> None:
    lane = floor.lanes.reserve(("stock", "order:1"))
    assert lane is not None
    floor.add("a")
    assert floor.began == [], "nothing of it begins meanwhile"

    floor.lanes.release(lane)
    assert floor.began == ["a"]


def test_a_lane_is_reserved_once(floor: Floor) -> None:
    floor.lanes.reserve(("stock", "order:1"))

    assert floor.lanes.reserve(("stock", "order:1")) is None


def test_a_busy_lane_can_not_be_reserved(floor: Floor) -> None:
    floor.add("a")

    assert floor.lanes.reserve(("stock", "order:1")) is None


def test_a_lane_with_a_retrying_head_can_not_be_reserved(floor: Floor) -> None:
    floor.add("a")
    floor.retry_in("a", 10)

    assert floor.lanes.reserve(("stock", "order:1")) is None


def test_a_lane_of_a_paused_group_can_not_be_reserved(floor: Floor) -> None:
    floor.lanes.pause("stock")

    assert floor.lanes.reserve(("stock", "order:1")) is None


def test_a_blocked_lane_can_not_be_reserved(floor: Floor) -> None:
    floor.lanes.block(("stock", "order:1"), "dead")

    assert floor.lanes.reserve(("stock", "order:1")) is None


def test_a_lane_that_has_been_given_back_can_be_reserved(floor: Floor) -> None:
    lane = floor.lanes.reserve(("stock", "order:1"))
    assert lane is not None
    floor.lanes.release(lane)

    assert floor.lanes.reserve(("stock", "order:1")) is not None


# Blocking.


def test_a_blocked_lane_hands_nothing_out_until_it_is_unblocked(floor: Floor) -> None:
    floor.lanes.block(("stock", "order:1"), "dead")
    floor.add("a")
    assert floor.began == []

    floor.lanes.unblock(("stock", "order:1"), "dead")
    assert floor.began == ["a"]


def test_a_lane_with_two_dead_letters_waits_for_both(floor: Floor) -> None:
    for message in ("dead", "dead too"):
        floor.lanes.block(("stock", "order:1"), message)
    floor.add("a")

    floor.lanes.unblock(("stock", "order:1"), "dead")
    assert floor.began == []

    floor.lanes.unblock(("stock", "order:1"), "dead too")
    assert floor.began == ["a"]


def test_a_lane_may_be_blocked_while_it_is_busy(floor: Floor) -> None:
    floor.add("a", "b")
    floor.lanes.block(("stock", "order:1"), "dead")
    floor.end("a")

    assert floor.began == ["a"]


def test_a_block_holds_no_other_case(floor: Floor) -> None:
    floor.lanes.block(("stock", "order:1"), "dead")
    floor.add("a", case="order:2")

    assert floor.began == ["a"]


# The end.


def test_nothing_is_handed_out_after_the_stop(floor: Floor) -> None:
    floor.add("a", "b")
    floor.lanes.stop()
    floor.end("a")
    floor.add("c", case="order:2")

    assert floor.began == ["a"]


def test_busy_lanes_are_counted(floor: Floor) -> None:
    floor.add("a", "b")
    floor.add("c", case="order:2")
    assert floor.lanes.count_busy() == 2

    floor.end("c")
    assert floor.lanes.count_busy() == 1


def test_what_is_added_is_expected_and_has_arrived(floor: Floor) -> None:
    floor.lanes.add(owe("a"))

    assert (floor.began, floor.lanes.has("a", "stock"), floor.lanes.has("b", "stock")) == (["a"], True, False)
    assert list(floor.lanes.keys()) == [("a", "stock")]


def test_a_delayed_one_that_is_alone_enters_when_it_is_due(floor: Floor) -> None:
    floor.take(owe("later", delayed_s=10))
    floor.advance(9)
    assert floor.began == []

    floor.advance(1)
    assert floor.began == ["later"]


def test_a_delayed_one_whose_time_has_come_already_enters_at_once(floor: Floor) -> None:
    later = owe("later", delayed_s=10)
    floor.clock.move_to(later.due_at)
    floor.take(later)

    assert (floor.began, later.state) == (["later"], "open")


def test_what_an_earlier_process_died_with_is_known_until_it_is_claimed(floor: Floor) -> None:
    (a,) = floor.add("a")
    assert not floor.lanes.has_unclean()
    a.unclean = True

    assert floor.lanes.has_unclean()


def test_unblocking_what_is_not_blocked_changes_nothing(floor: Floor) -> None:
    floor.lanes.unblock(("stock", "order:9"), "dead")
    floor.add("a")

    assert floor.began == ["a"]
