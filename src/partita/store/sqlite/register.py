"""What the trail's rows refer to: this store's source, the kinds of facts, the topology in force, the trail's end."""

from __future__ import annotations

from typing import NamedTuple

import apsw
import msgspec

from partita.messages.topology import Topology
from partita.store.sqlite.chain import ORIGIN
from partita.store.sqlite.connection import select
from partita.store.sqlite.migrate import find_meta, read_generation

_SELECT_KINDS = "select name, id from kind"
_INSERT_KIND = "insert into kind (id, name) values (?, ?)"
_SELECT_SOURCE = "select id from source where name = ?"
_INSERT_SOURCE = "insert into source (name) values (?)"
_LAST_SEQ = "select coalesce(max(seq), 0) from trail"
_LAST_OF_SOURCE = "select n, chain from trail where source = ? order by seq desc limit 1"
_LAST_AT = "select coalesce(max(at), 0) from (select at from trail order by seq desc limit 1000)"
_SELECT_TOPOLOGY = "select version from topology where digest = ?"
_LAST_TOPOLOGY = "select coalesce(max(version), 0) from topology"
# An older topology comes into force again when a deploy is taken back.
_IN_FORCE = (
    "insert into meta (key, value) values ('topology', ?) on conflict (key) do update set value = excluded.value"
)
_INSERT_TOPOLOGY = "insert into topology (version, digest, app, at, body) values (?, ?, ?, ?, ?)"


class Tail(NamedTuple):
    """Where the trail ends: last seq; n, and link of the chain, of our own source; latest time given."""

    seq: int
    n: int
    at: int
    chain: bytes


class Register:
    """Numbers sources, kinds and topologies."""

    def __init__(self, connection: apsw.Connection, cursor: apsw.Cursor) -> None:
        self._cursor = cursor
        self._kinds: dict[str, int] = {}
        self.generation = read_generation(connection)
        self.source = f"{find_meta(connection, 'source')}/{self.generation}"
        self.source_id = self._get_source(self.source)
        self.code = 0
        """The topology version that facts are written under."""
        self._new: dict[str, int] = {}
        self._last_kind = 0

    def get_kind(self, name: str) -> int:
        """The number of a kind; a new one is inserted with the transaction."""
        found = self._kinds.get(name)
        if found is None:
            self._kinds = dict(select(self._cursor, _SELECT_KINDS)) | self._new
            found = self._kinds.get(name)
        if found is None:
            self._last_kind = max([self._last_kind, *self._kinds.values()]) + 1
            found = self._kinds[name] = self._new[name] = self._last_kind
        return found

    def store(self) -> None:
        """Write the kinds that this transaction met first."""
        if self._new:
            self._cursor.executemany(_INSERT_KIND, [(number, name) for name, number in self._new.items()])
            self._new.clear()

    def read_tail(self) -> Tail:
        """The end of the trail as it is stored."""
        seq: int = select(self._cursor, _LAST_SEQ)[0][0]
        at: int = select(self._cursor, _LAST_AT)[0][0]
        rows = select(self._cursor, _LAST_OF_SOURCE, (self.source_id,))
        n, chain = rows[0] if rows else (0, ORIGIN)
        return Tail(seq, n, at, chain)

    def add_topology(self, topology: Topology, at: int) -> Topology:
        """The topology under the number that the store has for it; the facts that follow are written under it."""
        digest = topology.digest()
        rows = select(self._cursor, _SELECT_TOPOLOGY, (digest,))
        version: int = rows[0][0] if rows else select(self._cursor, _LAST_TOPOLOGY)[0][0] + 1
        numbered = msgspec.structs.replace(topology, version=version)
        if not rows:
            body = msgspec.json.encode(numbered)
            self._cursor.execute(_INSERT_TOPOLOGY, (version, digest, topology.app, at, body))
        self._cursor.execute(_IN_FORCE, (str(version),))
        self.code = version
        return numbered

    def forget(self) -> None:
        """A transaction failed: a kind that it inserted is not there."""
        self._kinds.clear()
        self._new.clear()

    def _get_source(self, name: str) -> int:
        rows = select(self._cursor, _SELECT_SOURCE, (name,))
        if not rows:
            self._cursor.execute(_INSERT_SOURCE, (name,))
            rows = select(self._cursor, _SELECT_SOURCE, (name,))
        number: int = rows[0][0]
        return number
