"""A power cut at any moment of a whole run, checkpoints included: every acknowledged fact is on the disk."""

import random  # noqa: TID251 - a seeded dice that chooses when the power fails, and what the disk keeps
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from partita.clock import SystemClock
from partita.errors import StoreError
from partita.monitor.fold import CaseProjection
from partita.runtime.backends import Shelf
from partita.store.sqlite.store import SqliteStore, open_store
from partita.testing import checkers
from tests.crash import killable
from tests.crash.disk import iter_images
from tests.crash.recording import Recording, read_chain, record
from tests.crash.report import Summary
from tests.crash.victim import Nursery, Victim, opened_nursery

pytestmark = pytest.mark.crash
FORMS = list(killable.FORMS)
IMAGES = 170
IMAGES_IN_FULL = 700
BIRTH_ACTS = 10
"""While the file is made, each moment has its own kind of trouble."""
EVERY = 12
"""Of so many images, one is looked at as closely as a simulation."""


@pytest.mark.parametrize("form", FORMS)
def test_every_acknowledged_fact_survives_a_power_cut(form: str, folder: Path, summary: Summary) -> None:
    recording = record(form, folder, orders=6)

    assert look_at_images(recording, IMAGES, seed=len(form), summary=summary) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("form", FORMS)
def test_every_acknowledged_fact_survives_twenty_thousand_power_cuts(
    form: str, seed: int, folder: Path, summary: Summary
) -> None:
    recording = record(form, folder, orders=4 + seed)

    assert look_at_images(recording, IMAGES_IN_FULL, seed=seed, summary=summary) == []


@pytest.mark.parametrize("form", FORMS)
def test_after_a_power_cut_the_shop_goes_on_where_it_was(form: str, folder: Path, summary: Summary) -> None:
    recording = record(form, folder, orders=4)
    dice = random.Random(len(form))
    cuts = sorted(dice.randrange(len(recording.log)) for _ in range(6))
    with opened_nursery() as nursery:
        for cut, files in iter_images(recording.log, cuts, dice):
            with laid_out(files) as after:
                assert go_on(recording, cut, after, nursery) == []
                summary.count("lives after a power cut", Counter({"ended well": 1}))


@pytest.mark.parametrize("synchronous", ["normal", "off"])
def test_a_writer_that_does_not_sync_is_found(synchronous: str, folder: Path) -> None:
    recording = record("choreography", folder, orders=3, synchronous=synchronous)

    assert look_at_images(recording, 120, seed=1, summary=Summary())


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A directory in memory, where the machine has one: what is simulated here needs no real disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@contextmanager
def laid_out(files: dict[str, bytearray]) -> Iterator[Path]:
    """The files of an image, as whoever starts next finds them; what shared memory held is gone with the power."""
    with quick_folder() as after:
        for name, body in files.items():
            if name.startswith(killable.STORE) and not name.endswith("-shm"):
                (after / name).write_bytes(body)
        yield after


def look_at_images(recording: Recording, count: int, *, seed: int, summary: Summary) -> list[str]:
    """Cut the power so many times; what is wrong with what is left."""
    dice = random.Random(seed)
    birth = range(min(count, BIRTH_ACTS))
    cuts = sorted([*birth, *(dice.randrange(len(recording.log) + 1) for _ in range(count - len(birth)))])
    wrong: list[str] = []
    for index, (cut, files) in enumerate(iter_images(recording.log, cuts, dice)):
        with laid_out(files) as after:
            try:
                wrong += look_at(after / killable.STORE, recording, cut, closely=index % EVERY == 0)
            except Exception as error:  # noqa: BLE001 - what is broken breaks whatever reads it
                wrong.append(f"after {cut} acts it can't be read: {error!r}")
    found = Counter({"images": count, "wrong": len(wrong)})
    found["acknowledged facts looked for"] = sum(recording.acknowledged(cut) for cut in cuts)
    summary.count("power cuts", found)
    return wrong


def look_at(path: Path, recording: Recording, cut: int, *, closely: bool) -> Iterator[str]:
    """What is wrong with one image."""
    shelf = Shelf()
    try:
        store = open_store(path, clock=SystemClock(), projection=CaseProjection(shelf.get))
    except StoreError as error:
        yield f"after {cut} acts it does not open: {error}"
        return
    shelf.trail = store.trail
    try:
        pages = store._executor.connection.execute("pragma integrity_check").fetchall()
        if pages != [("ok",)]:
            yield f"after {cut} acts its pages are broken: {pages}"
        chain, told = read_chain(path), recording.acknowledged(cut)
        if len(chain) < told:
            yield f"after {cut} acts {len(chain)} facts are left of {told} that were acknowledged"
        if chain != recording.chain[: len(chain)] or store.trail.check_chain() is not None:
            yield f"after {cut} acts what is left is not what was said, from the first fact on"
        if closely:
            yield from look_closely(store)
    finally:
        store.abandon()


def look_closely(store: SqliteStore) -> Iterator[str]:
    """Whether the work tables and the cases say what the facts say."""
    facts = checkers.read_all(store.trail)
    yield from checkers.check_numbers(facts, store.trail)
    yield from checkers.check_obligations(checkers.Obligations(facts), store.work)
    yield from checkers.check_cases(facts, store.trail, store.cases, store.work)


def go_on(recording: Recording, cut: int, after: Path, nursery: Nursery) -> list[str]:
    """Start the shop on an image, the world outside being as it was then; what is wrong when it has ended."""
    for moment, book, line in recording.said:
        if moment <= cut and book in {killable.LEDGER, killable.ACKNOWLEDGED}:
            killable.append(after / book, line)
    victim = Victim(nursery, after, recording.form, orders=recording.orders)
    wrong = victim.end()
    shutil.rmtree(after / "copy")
    return wrong
