"""The doctor: a store's file, format, lock and disk, looked at from outside while anybody may be writing.

Nothing is written and no lock is taken. The whole file is read once: its pages by SQLite's own check, its trail by the
hash chain.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw

from partita.clock import to_rfc3339
from partita.store.health import Finding
from partita.store.sqlite.chain import find_break
from partita.store.sqlite.connection import Rows, open_connection
from partita.store.sqlite.lock import find_holder, lock_path
from partita.store.sqlite.migrate import find_meta, list_migrations, read_format
from partita.store.sqlite.names import Names
from partita.store.sqlite.wal import count_lost, log_path

FREE_BYTES_MIN = 200 * 1_048_576
LOG_BYTES_MAX = 256 * 1_048_576
"""A log that has grown this far is being kept from folding back by a reader that does not let go."""


def examine(path: Path) -> list[Finding]:
    """Look a store over. Raises StoreError where there is none, or none that this version can read."""
    connection = open_connection(path, readonly=True)
    try:
        found = read_format(connection, name=str(path))
        findings = [_file(path, connection), _format(connection, found), _lock(path, connection), _disk(path)]
        return [*findings, *(_trail(connection) if found else ())]
    finally:
        connection.close()


def _file(path: Path, connection: apsw.Connection) -> Finding:
    size, log = path.stat().st_size, _size(log_path(path))
    lost = _count_lost(connection, path)
    facts: dict[str, int | str | None] = {
        "path": str(path.absolute()),
        "size_bytes": size,
        "log_bytes": log,
        "commits_lost": lost,
    }
    said = f"{path.absolute()}, {_say_bytes(size)}, log {_say_bytes(log)}"
    if not os.access(path, os.W_OK):
        remedy = "Give this user the right to write the file and its directory."
        return Finding(name="file", well=False, said=f"{said}, cannot be written", remedy=remedy, facts=facts)
    if lost:
        said += f"; {lost} acknowledged commits lie behind a broken part of the log"
        return Finding(name="file", well=False, said=said, remedy=_RESTORE, facts=facts)
    if log > LOG_BYTES_MAX:
        remedy = "Some reader keeps the file open: end it, and the log shrinks at the next checkpoint."
        return Finding(name="file", well=False, said=said, remedy=remedy, facts=facts)
    return Finding(name="file", well=True, said=said, facts=facts)


def _count_lost(connection: apsw.Connection, path: Path) -> int:
    """Looked at again where a commit may have come between the two looks that it takes."""
    return min(count_lost(connection, path) for _ in range(3))


def _format(connection: apsw.Connection, found: int) -> Finding:
    newest = list_migrations()[-1][0]
    journal = str(connection.pragma("journal_mode"))
    app = (find_meta(connection, "app") or "") if found else ""
    generation = int(find_meta(connection, "generation") or 1) if found else None
    said = f"format {found} of {newest}" if found else "empty: no engine has opened it yet"
    said += f", app {app}, generation {generation}" if app else ""
    said += f", SQLite {apsw.sqlite_lib_version()}"
    facts: dict[str, int | str | None] = {
        "format": found,
        "format_newest": newest,
        "app": app or None,
        "generation": generation,
        "sqlite": apsw.sqlite_lib_version(),
        "journal": journal,
    }
    if found and journal != "wal":
        said += f", journal mode {journal}"
        remedy = "Another program changed it: the next engine that opens the store sets it to wal again."
        return Finding(name="format", well=False, said=said, remedy=remedy, facts=facts)
    return Finding(name="format", well=True, said=said, facts=facts)


def _lock(path: Path, connection: apsw.Connection) -> Finding:
    holder = find_holder(path)
    clean = find_meta(connection, "clean") != "0" if read_format(connection, name=str(path)) else True
    facts: dict[str, int | str | None] = {"pid": None, "socket": None, "since": None, "clean": int(clean)}
    if holder is None:
        ended = "closed cleanly" if clean else "the last engine ended without closing it; the next one takes it up"
        return Finding(name="lock", well=True, said=f"free: no engine is running; {ended}", facts=facts)
    facts |= {"pid": holder.pid, "socket": holder.socket, "since": to_rfc3339(holder.since)}
    said = f"held by process {holder.pid} since {to_rfc3339(holder.since)}, which listens at {holder.socket}"
    if not Path(holder.socket).is_socket():
        remedy = f"It may be starting. Otherwise end it (kill {holder.pid}) and start it again: nothing is lost."
        return Finding(
            name="lock", well=False, said=f"held by process {holder.pid}, no socket", remedy=remedy, facts=facts
        )
    if lock_path(path).stat().st_mode & 0o077:
        remedy = f"chmod 600 {lock_path(path)}"
        return Finding(name="lock", well=False, said=f"{said}; others may read it", remedy=remedy, facts=facts)
    return Finding(name="lock", well=True, said=said, facts=facts)


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(path.absolute().parent).free
    facts: dict[str, int | str | None] = {"free_bytes": free}
    return Finding(
        name="disk",
        well=free >= FREE_BYTES_MIN,
        said=f"{_say_bytes(free)} free",
        remedy="" if free >= FREE_BYTES_MIN else "Make room: an engine that can't write stops.",
        facts=facts,
    )


def _trail(connection: apsw.Connection) -> Iterator[Finding]:
    try:
        wrong = [str(row[0]) for row in connection.execute("pragma quick_check(5)") if row[0] != "ok"]
        rows = Rows(connection)
        broken = find_break(rows, Names(rows), from_seq=1)
        count = int(rows.select("select coalesce(max(seq), 0) from trail")[0][0])
    except apsw.Error as error:
        yield Finding(name="pages", well=False, said=str(error), remedy=_RESTORE)
        return
    yield Finding(name="pages", well=not wrong, said="; ".join(wrong) or "whole", remedy=_RESTORE if wrong else "")
    said = f"{count:,} facts, unbroken" if broken is None else f"broken at fact {broken}: somebody changed the trail"
    facts: dict[str, int | str | None] = {"facts": count, "broken_at": broken}
    yield Finding(name="chain", well=broken is None, said=said, remedy="" if broken is None else _RESTORE, facts=facts)


_RESTORE = "Stop the engine, keep a copy of this file, and restore the last backup."


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _say_bytes(count: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
