"""A power cut at any moment: every acknowledged fact is on the disk (the technique is reliability A.2 and A.3).

A virtual file system records what SQLite writes and syncs. What had not been synced when the power failed is kept, lost
or torn at 512 bytes by chance.
"""

import random  # noqa: TID251 - a seeded dice that chooses what the disk keeps
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from partita.clock import SystemClock
from partita.store.port import Accepted, Answer, Unit
from partita.store.sqlite.store import open_store
from tests.conformance.store_desk import Counting, published, together
from tests.unit.store.sqlite_desk import opened

IMAGES = 40


@dataclass
class Disk:
    """What was asked of it: ("write", file, offset, bytes), ("truncate", file, size), ("sync" or "delete", file)."""

    log: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])

    def image(self, cut: int, dice: random.Random) -> dict[str, bytes]:
        """The files as the disk may hold them if power fails after `cut` operations."""
        files: dict[str, bytearray] = {}
        pending: dict[str, list[tuple[Any, ...]]] = {}
        for act in self.log[:cut]:
            name = act[1]
            body = files.setdefault(name, bytearray())
            if act[0] == "sync":
                for earlier in pending.pop(name, []):
                    apply(body, earlier)
            elif act[0] == "delete":
                del files[name]
                pending.pop(name, None)
            else:
                pending.setdefault(name, []).append(act)
        for name, acts in pending.items():
            for act in acts:
                if (chance := dice.random()) > 0.4:
                    torn = act[0] == "write" and chance < 0.6
                    apply(files[name], (*act[:3], act[3][: 512 * dice.randrange(1, 9)]) if torn else act)
        return {name: bytes(body) for name, body in files.items()}


def apply(body: bytearray, act: tuple[Any, ...]) -> None:
    if act[0] == "truncate":
        del body[act[2] :]
        return
    body.extend(bytes(max(0, act[2] + len(act[3]) - len(body))))
    body[act[2] : act[2] + len(act[3])] = act[3]


class RecordingFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk, self._name = disk, Path(path or "temporary").name
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's word
        self._disk.log.append(("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802 - SQLite's word
        self._disk.log.append(("truncate", self._name, size))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's word
        self._disk.log.append(("sync", self._name))
        super().xSync(flags)


class RecordingSystem(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__("recording", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> RecordingFile:  # noqa: N802 - SQLite's word
        return RecordingFile(self._disk, name, flags)

    def xDelete(self, name: str, sync_dir: bool) -> None:  # noqa: N802 - SQLite's word
        self._disk.log.append(("delete", Path(name).name))
        super().xDelete(name, sync_dir)


@contextmanager
def recording() -> Iterator[Disk]:
    """Everything that SQLite opens meanwhile is on this disk."""
    disk = Disk()
    system = RecordingSystem(disk)
    try:
        yield disk
    finally:
        system.unregister()
        apsw.set_default_vfs("unix")


async def write(path: Path, disk: Disk) -> list[tuple[int, int]]:
    """(operations recorded by then, facts acknowledged by then) after each batch."""
    told: list[tuple[int, int]] = []
    async with opened(path, clock=SystemClock()) as desk:
        for batch in range(30):
            units = [Unit(facts=[published(f"order:{batch % 5}", "x" * 700)] * 3) for _ in range(4)]
            answers: list[Answer] = await together(desk, *units)
            assert all(isinstance(answer, Accepted) for answer in answers)
            told.append((len(disk.log), 12 * (batch + 1)))
        desk.store.abandon()
    return told


@pytest.mark.crash
async def test_every_acknowledged_fact_survives_a_power_cut(tmp_path: Path) -> None:
    with recording() as disk:
        told = await write(tmp_path / "shop.db", disk)
    dice = random.Random(3)
    assert disk.log

    for number in range(IMAGES):
        cut = dice.randrange(told[0][0], told[-1][0] + 1)
        after = tmp_path / f"after{number}"
        after.mkdir()
        for name, body in disk.image(cut, dice).items():
            if name.startswith("shop.db") and not name.endswith("-shm"):
                (after / name).write_bytes(body)
        store = open_store(after / "shop.db", clock=SystemClock(), projection=Counting())
        facts = store.trail.list_facts()
        acknowledged = max(count for operations, count in told if operations <= cut)

        assert len(facts) >= acknowledged
        assert [fact.n for fact in facts] == list(range(1, len(facts) + 1))
        assert store.trail.check_chain() is None
        assert sum(len(row.state.split()) for row in store.cases.list_cases()[0]) == len(facts)
        store.abandon()
