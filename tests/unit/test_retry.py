"""Durations and delays: what is read as how long, and how long until the next attempt."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partita.clock import US
from partita.errors import DefinitionError, RetryLater
from partita.retry import Retry, delay_after, duration_us, optional_us, say_duration


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("7us", 7),
        ("200ms", 200_000),
        ("30s", 30 * US),
        ("5m", 300 * US),
        ("2h", 7_200 * US),
        ("7d", 604_800 * US),
        ("2w", 1_209_600 * US),
        ("1h30m", 5_400 * US),
        ("1h 30m", 5_400 * US),
        ("0.5s", 500_000),
        ("0s", 0),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, us: int) -> None:
    assert duration_us(text) == us


@pytest.mark.parametrize("text", ["", "soon", "5", "-5s", "5 apples", "1h30", "s5", "1.5.5s", "5S", "ms", "1e3s"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        duration_us(text)

    assert str(refused.value).split("\n")[1].startswith('Write it as "200ms", "30s"')


def test_a_timedelta_is_a_duration() -> None:
    assert duration_us(timedelta(days=1, microseconds=3)) == 86_400 * US + 3


def test_a_negative_timedelta_is_refused() -> None:
    with pytest.raises(DefinitionError, match="is negative\nGive a length of time"):
        duration_us(timedelta(seconds=-1))


def test_no_duration_stays_none() -> None:
    assert optional_us(None) is None


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3_660)))
def test_a_timedelta_loses_nothing(length: timedelta) -> None:
    assert timedelta(microseconds=duration_us(length)) == length


@pytest.mark.parametrize(
    ("us", "said"),
    [
        (0, "0 ms"),
        (200_000, "200 ms"),
        (30 * US, "30 s"),
        (90 * US, "1 min 30 s"),
        (3_600 * US, "1 h"),
        (90_061 * US, "1 d 1 h"),
    ],
)
def test_a_length_of_time_is_said_in_its_two_largest_units(us: int, said: str) -> None:
    assert say_duration(us) == said


# Delays.


def test_delays_grow_by_the_factor() -> None:
    retry = Retry(first="1s", factor=3, most="1h")

    assert [retry.delay_us(attempt, 0.0) for attempt in (1, 2, 3)] == [US, 3 * US, 9 * US]


def test_no_delay_is_longer_than_most() -> None:
    assert Retry(first="1s", factor=10, most="30s").delay_us(50, 0.0) == 30 * US


def test_a_first_delay_is_not_longer_than_most_either() -> None:
    assert Retry(first="1m", most="1s").delay_us(1, 0.0) == US


@given(st.integers(1, 1_000_000), st.floats(0, 1, exclude_max=True), st.floats(1, 1_000))
def test_jitter_takes_up_to_a_quarter_and_adds_nothing(attempt: int, chance: float, factor: float) -> None:
    retry = Retry(first="200ms", factor=factor, most="1m")

    whole = retry.delay_us(attempt, 0.0)
    assert 0.75 * whole - 1 <= retry.delay_us(attempt, chance) <= whole


def test_retry_later_has_a_delay_of_its_own() -> None:
    assert delay_after(RetryLater("busy", after="10s"), 1, Retry(), 0.5) == 10 * US


def test_retry_later_without_one_follows_the_policy() -> None:
    assert delay_after(RetryLater("busy"), 1, Retry(first="1s"), 0.0) == US


def test_any_other_error_follows_the_policy() -> None:
    assert delay_after(OSError(), 2, Retry(first="1s"), 0.0) == 2 * US


def test_retry_later_after_what_is_no_duration_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'soon' is not a duration"):
        delay_after(RetryLater("busy", after="soon"), 1, Retry(), 0.0)


@pytest.mark.parametrize(
    "policy", [{"attempts": 0}, {"factor": 0.5}, {"first": "soon"}, {"most": "late"}, {"attempts": -1}]
)
def test_a_policy_that_can_not_run_is_refused_where_it_is_made(policy: dict[str, object]) -> None:
    with pytest.raises(DefinitionError):
        Retry(**policy)  # type: ignore[arg-type]
