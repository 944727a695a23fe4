"""Bookkeeping: what only this backend keeps, beside the rows that every store has, held against itself.

Its schema, its `meta`, the topologies under their digests, known messages, and the partition of each case.
"""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import msgspec

from partita.messages.envelope import body_digest, partition_of
from partita.messages.topology import Topology
from partita.store.facts import Published, Started
from partita.store.port import TrailReader
from partita.store.sqlite.connection import select
from partita.store.sqlite.migrate import find_meta, list_migrations
from partita.store.sqlite.operations import message_key

PAGE = 5_000

_SCHEMA = "select type, name, sql from sqlite_schema where name not like 'sqlite_%'"
_SOURCES = "select name from source"
_TOPOLOGIES = "select version, digest, app, body from topology"
_CASES = "select id, case_type || ':' || case_key, partition from cases where id > ? order by id limit ?"
_MESSAGES = "select id, digest, seq from message where id > ? order by id limit ?"


def check_bookkeeping(connection: apsw.Connection, trail: TrailReader) -> Iterator[str]:
    """Yield a sentence for each thing that is not as it was written."""
    yield from _check_schema(connection)
    yield from _check_meta(connection)
    for version, digest, app, body in select(connection, _TOPOLOGIES):
        found = msgspec.json.decode(body, type=Topology)
        if (found.version, found.digest(), found.app) != (version, digest, app):
            yield f"topology {version} is not what its digest says"
    yield from _check_partitions(connection)
    yield from _check_messages(connection, trail)


def _check_schema(connection: apsw.Connection) -> Iterator[str]:
    blank = apsw.Connection(":memory:")
    for _number, sql in list_migrations():
        blank.execute(sql).fetchall()
    made = {(kind, name): sql for kind, name, sql in select(connection, _SCHEMA)}
    for kind, name, sql in select(blank, _SCHEMA):
        if made.get((kind, name)) != sql:
            yield f"{kind} {name} is not as it was made"
    blank.close()


def _check_meta(connection: apsw.Connection) -> Iterator[str]:
    newest = list_migrations()[-1][0]
    if find_meta(connection, "format") != str(newest):
        yield f"meta says format {find_meta(connection, 'format')}, and this is {newest}"
    if find_meta(connection, "clean") not in {"0", "1"}:
        yield "meta does not say whether it was closed cleanly"
    source = f"{find_meta(connection, 'source')}/{find_meta(connection, 'generation')}"
    if (source,) not in select(connection, _SOURCES):
        yield f"meta says source {source}, which has never numbered a fact"
    apps = {app for _version, _digest, app, _body in select(connection, _TOPOLOGIES)}
    app = find_meta(connection, "app")
    if app is None or (apps and app and app not in apps):
        yield f"meta says app {app!r}, and it was run by {', '.join(sorted(apps))}"


def _check_partitions(connection: apsw.Connection) -> Iterator[str]:
    after = 0
    while rows := select(connection, _CASES, (after, PAGE)):
        for _id, case, partition in rows:
            if partition != partition_of(case):
                yield f"case {case} is in partition {partition}, and belongs to {partition_of(case)}"
        after = rows[-1][0]


def _check_messages(connection: apsw.Connection, trail: TrailReader) -> Iterator[str]:
    """Each id that is known stands in the fact that its row names."""
    after: int | str | bytes = -1  # numbers come before texts, and those before bytes
    while rows := select(connection, _MESSAGES, (after, PAGE)):
        for key, digest, seq in rows:
            fact = trail.find_fact(seq)
            body = None if fact is None else fact.body
            if isinstance(body, Started):
                known = key == message_key(body.correlation)
            else:
                known = isinstance(body, Published) and key == message_key(body.id)
            if not known or not isinstance(body, Published | Started) or digest != body_digest(bytes(body.data)):
                yield f"message {key!r} is known by fact {seq}, which does not say so"
        after = rows[-1][0]
