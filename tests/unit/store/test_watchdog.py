"""The watch over the writer: what is said of slow work, when it is interrupted, and when the process ends."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic  # noqa: TID251 - how long the dog really waited

import pytest

from partita.limits import LIMITS, Limits
from partita.store.sqlite.watchdog import Watch, Watchdog
from tests.conformance.store_desk import SetClock

QUICK = replace(LIMITS, writer_warn_s=10, writer_interrupt_s=0.1, writer_dead_s=1_000)
SOON = 10
"""Seconds within which a thread does what it should."""


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def watch(clock: SetClock) -> Watch:
    return Watch(clock=clock, limits=replace(LIMITS, writer_warn_s=0.01, writer_interrupt_s=2.5))


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


# What is said.


def test_work_that_takes_longer_than_it_should_is_told_with_its_time(
    watch: Watch, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        watch.begin("handling shop Quick")
        clock.us += 10_000
        watch.end()
        assert caplog.text == ""
        watch.begin("handling shop Slow")
        clock.us += 1_234_567
        watch.end()

    assert "writer.slow unit=handling shop Slow took_ms=1235 limit=limits.writer_warn_s" in caplog.text


# What is done.


class Kennel:
    """A dog, and how often it has barked."""

    def __init__(self, limits: Limits) -> None:
        self.watch = Watch(clock=SetClock(), limits=limits)
        self.barks = 0
        self.barked = threading.Event()
        self.dog = Watchdog(self.watch, interrupt=self.bark)

    def bark(self) -> None:
        self.barks += 1
        self.barked.set()


@contextmanager
def watching(limits: Limits = QUICK) -> Iterator[Kennel]:
    kennel = Kennel(limits)
    kennel.dog.start()
    try:
        yield kennel
    finally:
        kennel.dog.stop()


def until(holds: Callable[[], bool]) -> None:
    end = monotonic() + SOON
    while not holds():
        assert monotonic() < end, "this should have come to pass by now"
        wait(0.005)


def test_work_that_goes_on_is_interrupted_when_its_time_is_up() -> None:
    with watching() as kennel:
        began = monotonic()
        kennel.watch.begin("handling shop Slow")

        assert kennel.barked.wait(SOON)
        assert 0.1 <= monotonic() - began < SOON
        assert kennel.watch.overdue
        until(lambda: kennel.barks > 2)  # as long as it goes on
        kennel.watch.end()


def test_work_that_ends_in_time_is_left_alone_however_much_of_it_there_is() -> None:
    with watching() as kennel:
        began = monotonic()
        while monotonic() - began < 0.3:
            kennel.watch.begin("handling shop Quick")
            wait(0.002)
            kennel.watch.end()

        assert kennel.barks == 0
        assert not kennel.watch.overdue


def test_a_writer_without_work_is_left_alone() -> None:
    with watching() as kennel:
        kennel.watch.begin("handling shop Quick")
        kennel.watch.end()
        wait(0.2)

        assert kennel.barks == 0


def test_the_dog_sleeps_while_there_is_no_work_and_wakes_with_the_next() -> None:
    with watching() as kennel:
        kennel.watch.begin("handling shop Quick")
        kennel.watch.end()
        began = monotonic()
        until(lambda: not kennel.watch.stirred.is_set())
        assert monotonic() - began > 0.15, "work that comes in a stream need not wake it each time"

        kennel.watch.begin("handling shop Slow")
        assert kennel.barked.wait(SOON)
        kennel.watch.end()


def test_the_dog_does_not_sleep_while_work_goes_on() -> None:
    with watching() as kennel:
        kennel.watch.begin("handling shop Slow")
        until(lambda: kennel.barks > 30)

        assert kennel.watch.stirred.is_set()
        kennel.watch.end()


def test_work_that_ends_while_the_dog_makes_up_its_mind_is_not_interrupted() -> None:
    with watching() as kennel:
        kennel.watch.begin("handling shop Late")
        with kennel.watch.lock:
            wait(0.2)  # its time is up, and the dog waits for the lock
            kennel.watch.turn += 1

        wait(0.05)
        assert kennel.barks == 0
        assert not kennel.watch.overdue


def test_a_dog_that_is_stopped_is_gone() -> None:
    before = set(threading.enumerate())  # another test's store may still be letting go of its own
    with watching() as kennel:
        (dog,) = [thread for thread in threading.enumerate() if thread not in before]
        assert (dog.name, dog.daemon) == ("partita-watchdog", True)
        kennel.watch.begin("handling shop Slow")

    assert not dog.is_alive()


def test_work_that_no_interrupt_ends_ends_the_process_and_shows_every_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[tuple[int, int]] = []
    over = threading.Event()

    def end(code: int) -> None:
        ended.append((code, kennel.barks))
        over.set()

    monkeypatch.setattr(os, "_exit", end)
    with caplog.at_level(logging.ERROR), watching(replace(QUICK, writer_dead_s=0.245)) as kennel:
        kennel.watch.begin("handling shop Spin")
        assert over.wait(SOON)
        kennel.watch.end()

    assert ended[0] == (70, 16), "interrupted at the 10th tick, and at each one up to the 25th"
    assert "writer.dead unit=handling shop Spin held_s=0.2" in caplog.text
    assert "test_work_that_no_interrupt_ends" in caplog.text
