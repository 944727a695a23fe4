"""The clock: time that never goes back, ids that sort by it, and alarms that ring in order."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partita.clock import US, Alarms, SystemClock, from_datetime, to_datetime, to_rfc3339, uuid7
from partita.testing.virtual import EPOCH_US, ManualClock

milliseconds = st.integers(0, 2**48 - 1)
entropies = st.integers(0, 2**74 - 1)


@given(milliseconds, milliseconds, entropies, entropies)
def test_ids_sort_by_time(earlier: int, later: int, one: int, other: int) -> None:
    if earlier > later:
        earlier, later = later, earlier
    if earlier != later:
        assert uuid7(earlier, one) < uuid7(later, other)


@given(milliseconds, entropies)
def test_an_id_is_a_uuid_of_version_7(at: int, entropy: int) -> None:
    made = uuid7(at, entropy)

    assert (len(made), made[12], made[16] in "89ab", int(made[:12], 16)) == (32, "7", True, at)


@given(milliseconds, entropies, entropies)
def test_ids_of_one_instant_differ_as_their_entropy_does(at: int, one: int, other: int) -> None:
    assert (uuid7(at, one) == uuid7(at, other)) == (one == other)


def test_a_thousand_ids_are_a_thousand() -> None:
    clock = SystemClock()

    assert len({clock.new_id() for _ in range(1_000)}) == 1_000


def test_a_clock_that_is_set_back_stands_still() -> None:
    clock = SystemClock()
    clock._last_us = ahead = clock.now_us() + 3_600 * US

    assert clock.now_us() == ahead


def test_chance_is_between_0_and_1() -> None:
    clock = SystemClock()

    assert all(0 <= clock.chance() < 1 for _ in range(100))


# Instants.


@given(st.integers(0, 253_402_300_799_999_999))
def test_an_instant_survives_the_way_through_a_datetime(at_us: int) -> None:
    assert from_datetime(to_datetime(at_us)) == at_us


@given(st.integers(0, 253_402_300_799_999_999))
def test_an_instant_outside_is_rfc_3339_with_z_and_loses_nothing(at_us: int) -> None:
    said = to_rfc3339(at_us)

    assert said.endswith("Z")
    assert from_datetime(datetime.fromisoformat(said)) == at_us


def test_a_zone_is_taken_into_account() -> None:
    there = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))

    assert from_datetime(there) == from_datetime(datetime(2026, 1, 1, tzinfo=UTC)) == EPOCH_US


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone\nAdd one: "):
        from_datetime(datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused


# Alarms.


def test_alarms_ring_by_time_then_by_the_order_in_which_they_were_set() -> None:
    clock, rung = ManualClock(), list[str]()
    alarms = Alarms(clock)
    for name, after_s in (("late", 20), ("first", 10), ("second", 10)):
        alarms.set(clock.now_us() + after_s * US, lambda name=name: rung.append(name))  # type: ignore[misc]

    clock.move_to(clock.now_us() + 15 * US)
    alarms.ring_due()

    assert (rung, alarms.next_at()) == (["first", "second"], EPOCH_US + 20 * US)


def test_an_alarm_may_set_one_that_is_due_already() -> None:
    clock, rung = ManualClock(), list[str]()
    alarms = Alarms(clock)
    alarms.set(clock.now_us(), lambda: alarms.set(clock.now_us(), lambda: rung.append("second")))

    alarms.ring_due()

    assert rung == ["second"]
    assert alarms.next_at() is None
