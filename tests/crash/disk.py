"""A disk under SQLite that remembers what it was asked for, fails, or loses its power: an apsw VFS over the real one.

What SQLite writes and syncs is recorded in order. What had not been synced when the power failed is kept, lost, or torn
at 512 bytes, by chance; what had been synced is there.
"""

import random  # noqa: TID251 - a seeded dice that chooses what the disk keeps
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import apsw

SECTOR = 512


class Act(NamedTuple):
    """What was asked of the disk: write, truncate, sync or delete."""

    what: str
    name: str
    at: int = 0
    """Where it writes, or the size that it truncates to."""
    body: bytes = b""


@dataclass
class Disk:
    """Everything opened on it is recorded; `meet` is called before each act, and may raise or end the process."""

    meet: Callable[[Act], None] = lambda _act: None
    log: list[Act] = field(default_factory=list[Act])

    def take(self, act: Act) -> None:
        """It is asked to do something."""
        self.meet(act)
        self.log.append(act)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk, self._name = disk, Path(path or "temporary").name
        super().__init__("unix", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's word
        self._disk.meet(Act("read", self._name, offset))
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's word
        self._disk.take(Act("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802 - SQLite's word
        self._disk.take(Act("truncate", self._name, size))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's word
        self._disk.take(Act("sync", self._name))
        super().xSync(flags)

    def xLock(self, level: int) -> None:  # noqa: N802 - SQLite's word
        try:
            super().xLock(level)
        except apsw.IOError as error:  # whoever may only read can't lock out others: no news, and no trouble
            raise apsw.BusyError("locked") from error


class _System(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__("watched", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802 - SQLite's word
        return _File(self._disk, name, flags)

    def xDelete(self, name: str, sync_dir: bool) -> None:  # noqa: N802 - SQLite's word
        self._disk.take(Act("delete", Path(name).name))
        super().xDelete(name, sync_dir)


@contextmanager
def watched(disk: Disk) -> Iterator[Disk]:
    """Everything that SQLite opens meanwhile is on this disk."""
    system = _System(disk)
    try:
        yield disk
    finally:
        system.unregister()
        apsw.set_default_vfs("unix")


def iter_images(
    log: Sequence[Act], cuts: Sequence[int], dice: random.Random
) -> Iterator[tuple[int, dict[str, bytearray]]]:
    """The files as the disk may hold them if power fails after so many acts, for each of `cuts` in rising order."""
    files: dict[str, bytearray] = {}
    pending: dict[str, list[Act]] = {}
    done = 0
    for cut in cuts:
        for act in log[done:cut]:
            body = files.setdefault(act.name, bytearray())
            if act.what == "sync":
                for earlier in pending.pop(act.name, []):
                    _apply(body, earlier)
            elif act.what == "delete":
                del files[act.name]
                pending.pop(act.name, None)
            else:
                pending.setdefault(act.name, []).append(act)
        done = cut
        yield cut, _cut_power(files, pending, dice)


def _cut_power(files: dict[str, bytearray], pending: dict[str, list[Act]], dice: random.Random) -> dict[str, bytearray]:
    image = {name: bytearray(body) for name, body in files.items()}
    keeps_none = dice.random() < 0.25
    for name, acts in pending.items():
        for act in acts:
            chance = dice.random()
            if keeps_none or chance < 0.4:
                continue
            if act.what == "write" and chance < 0.6 and len(act.body) > SECTOR:
                act = act._replace(body=act.body[: SECTOR * dice.randrange(1, len(act.body) // SECTOR + 1)])  # noqa: PLW2901 - torn
            _apply(image[name], act)
    return image


def _apply(body: bytearray, act: Act) -> None:
    if act.what == "truncate":
        del body[act.at :]
        return
    body.extend(bytes(max(0, act.at + len(act.body) - len(body))))
    body[act.at : act.at + len(act.body)] = act.body
