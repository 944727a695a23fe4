"""The doctor: a store's file, format, lock and disk, looked at from outside while anybody may be writing.

Nothing is written and no lock is taken. The whole file is read, as it is at one moment: its pages and indexes by
SQLite's own check, its trail by the hash chain, everything beside the trail by what the facts come to. Users' tables
are looked at as pages only: what should stand in them nobody else knows.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

from partita.clock import SystemClock, to_rfc3339
from partita.errors import StoreError, one_line
from partita.store.audit import Shelves, audit
from partita.store.health import Finding
from partita.store.port import Projection, TrailReader
from partita.store.sqlite.bookkeeping import check_bookkeeping
from partita.store.sqlite.chain import find_break
from partita.store.sqlite.connection import Rows, open_connection
from partita.store.sqlite.lock import find_holder, lock_path
from partita.store.sqlite.migrate import (
    IF_BROKEN,
    UPGRADE,
    find_meta,
    list_migrations,
    read_format,
    read_generation,
    refuse_others,
)
from partita.store.sqlite.names import Names
from partita.store.sqlite.readers import SqliteCases, SqliteTrail, SqliteWork
from partita.store.sqlite.wal import count_lost, log_path

Projecting = Callable[[TrailReader], Projection]
"""Makes the projection that folds a store's cases, which needs that store's topologies."""

WAL_BYTE = 19
"""Of an SQLite file's header: 2 where it is read with a log."""
SAID_MAX = 3
FREE_BYTES_MIN = 200 * 1_048_576
LOG_BYTES_MAX = 256 * 1_048_576
"""A log that has grown this far is being kept from folding back by a reader that does not let go."""


def examine(path: Path, projecting: Projecting | None = None) -> list[Finding]:
    """Look a store over; its tables too, where `projecting` says how cases are folded.

    Raises StoreError where there is none, or none that this version can read.
    """
    connection = open_connection(path, readonly=True)
    try:
        try:
            refuse_others(path)
            found = read_format(connection, name=str(path))
        except StoreError as error:
            if IF_BROKEN not in str(error):
                raise
            return [_broken(path, error), _disk(path)]
        findings = [_file(path, connection), _format(path, connection, found), _lock(path, connection), _disk(path)]
        is_newer = found > list_migrations()[-1][0]  # what stands in it can be read; how it is kept is not known here
        return [*findings, *(_contents(connection, None if is_newer else projecting) if found else ())]
    finally:
        connection.close()


def _broken(path: Path, error: StoreError) -> Finding:
    """A file that can't even be asked which format it has."""
    said = f"{path.absolute()}, {_say_bytes(path.stat().st_size)}: {one_line(error.__cause__ or error)}"
    facts: dict[str, int | str | None] = {"path": str(path.absolute()), "size_bytes": path.stat().st_size}
    return Finding(name="file", well=False, said=said, remedy=_RESTORE, facts=facts)


def _file(path: Path, connection: apsw.Connection) -> Finding:
    size, log = path.stat().st_size, _size(log_path(path))
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    lost = _count_lost(connection, path) if writable else None  # only who may write can ask how far the log is good
    facts: dict[str, int | str | None] = {
        "path": str(path.absolute()),
        "size_bytes": size,
        "log_bytes": log,
        "commits_lost": lost,
    }
    said = f"{path.absolute()}, {_say_bytes(size)}, log {_say_bytes(log)}"
    if not writable:
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


def _format(path: Path, connection: apsw.Connection, found: int) -> Finding:
    newest = list_migrations()[-1][0]
    journal = _journal(path, connection)
    app = (find_meta(connection, "app") or "") if found else ""
    generation = read_generation(connection) if found else None
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
    if not found:
        remedy = f"It holds nothing. Start an engine on it: partita dev MODULE:APP --store {shlex.quote(str(path))}"
        return Finding(name="format", well=False, said=said, remedy=remedy, facts=facts)
    if found > newest:
        said += "; a newer partita has written it, and this one can only read it"
        return Finding(name="format", well=False, said=said, remedy=f"{UPGRADE}", facts=facts)
    if journal != "wal":
        said += f", journal mode {journal}"
        remedy = "Another program changed it: the next engine that opens the store sets it to wal again."
        return Finding(name="format", well=False, said=said, remedy=remedy, facts=facts)
    return Finding(name="format", well=True, said=said, facts=facts)


def _journal(path: Path, connection: apsw.Connection) -> str:
    """As the file's header has it: where nothing may be written, SQLite reads it without its log, and says so."""
    with path.open("rb") as file:
        header = file.read(WAL_BYTE + 1)
    return "wal" if header[WAL_BYTE:] == b"\x02" else str(connection.pragma("journal_mode"))


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


def _contents(connection: apsw.Connection, projecting: Projecting | None) -> Iterator[Finding]:
    """Pages, chain and tables, one after the other: what stands on something broken is not looked at."""
    broken: int | None = None
    try:
        connection.execute("begin")  # as it is at this moment, whoever writes meanwhile
        wrong = [str(row[0]) for row in connection.execute("pragma integrity_check(5)") if row[0] != "ok"]
        rows = Rows(connection)
        count = int(rows.select("select coalesce(max(seq), 0) from trail")[0][0])
        broken = find_break(rows, Names(rows), from_seq=1)
    except Exception as error:  # noqa: BLE001 - broken rows are read as anything, and break whatever reads them
        yield Finding(name="pages", well=False, said=f"they can't be read: {one_line(error)}", remedy=_RESTORE)
        return
    yield Finding(name="pages", well=not wrong, said="; ".join(wrong) or "whole", remedy=_RESTORE if wrong else "")
    said = f"{count:,} facts, unbroken" if broken is None else f"broken at fact {broken}: somebody changed the trail"
    facts: dict[str, int | str | None] = {"facts": count, "broken_at": broken}
    yield Finding(name="chain", well=broken is None, said=said, remedy="" if broken is None else _RESTORE, facts=facts)
    if projecting is not None and broken is None and not wrong:
        yield _tables(connection, projecting)


def _tables(connection: apsw.Connection, projecting: Projecting) -> Finding:
    rows = Rows(connection)
    trail = SqliteTrail(rows)
    projection = projecting(trail)
    cases = SqliteCases(rows, clock=SystemClock(), projection=projection)
    try:
        wrong = [*check_bookkeeping(connection, trail), *audit(Shelves(trail, SqliteWork(rows), cases), projection)]
    except Exception as error:  # noqa: BLE001 - as above
        wrong = [f"they can't be read: {type(error).__name__}: {one_line(error)}"]
    said = "as the facts say" if not wrong else "; ".join(wrong[:SAID_MAX])
    more = f"; and {len(wrong) - SAID_MAX} more" if len(wrong) > SAID_MAX else ""
    facts: dict[str, int | str | None] = {"differences": len(wrong)}
    return Finding(name="tables", well=not wrong, said=said + more, remedy=_RESTORE if wrong else "", facts=facts)


_RESTORE = "Stop the engine, keep a copy of this file, and restore the last backup."


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _say_bytes(count: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
