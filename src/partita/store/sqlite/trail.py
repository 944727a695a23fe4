"""The trail's rows as facts, for whoever has a connection: the readers, and the writer where it folds a case anew."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from partita.messages.envelope import Cause
from partita.store.facts import Body, Fact, Unread, decode_body
from partita.store.sqlite.codec import CODEC_ERASED, unpack
from partita.store.sqlite.connection import Rows
from partita.store.sqlite.names import Names

_FACTS = "select seq, source, n, kind, at, case_id, also, run, run_n, causes, code, codec, body from trail "
_OF_CASE = _FACTS + (  # noqa: S608 - constants only
    "where seq in (select seq from trail where case_id = ?1 and seq > ?2"
    " union all select seq from case_ref where case_id = ?1 and seq > ?2)"
    " order by seq limit ?3"
)
_OF_RUN = _FACTS + "where run = ? order by run_n"
_AFTER = _FACTS + "where seq > ? order by seq limit ?"
_ONE = _FACTS + "where seq = ?"

_causes = msgspec.json.Decoder(tuple[Cause, ...])
_also = msgspec.json.Decoder(tuple[str, ...])

ALL = 2**62


class TrailRows:
    """Selects facts over one connection."""

    def __init__(self, rows: Rows) -> None:
        self.names = Names(rows)
        self._rows = rows

    def list_case(self, case_id: int, *, after_seq: int = 0, limit: int = ALL) -> list[Fact]:
        """Facts of a case, its own and those that touch it, by seq."""
        return self._read(_OF_CASE, (case_id, after_seq, limit))

    def list_history(self, run_id: int) -> list[Fact]:
        """Facts of a run, by run_n."""
        return self._read(_OF_RUN, (run_id,))

    def list_facts(self, *, after_seq: int, limit: int) -> list[Fact]:
        """Facts by seq."""
        return self._read(_AFTER, (after_seq, limit))

    def find_fact(self, seq: int) -> Fact | None:
        """One fact, or None."""
        found = self._read(_ONE, (seq,))
        return found[0] if found else None

    def _read(self, sql: str, params: tuple[int, ...]) -> list[Fact]:
        return [self._fact(row) for row in self._rows.select(sql, *params)]

    def _fact(self, row: tuple[Any, ...]) -> Fact:
        seq, source, n, kind, at, case_id, also, run, run_n, causes, code, codec, body = row
        names = self.names
        name = names.get_kind(kind)
        return Fact(
            seq=seq,
            source=names.get_source(source),
            n=n,
            kind=name,
            at=at,
            case=None if case_id is None else names.get_case(case_id),
            also=_also.decode(also) if also else (),
            run=None if run is None else names.get_run(run),
            run_n=run_n,
            causes=_causes.decode(causes) if causes else (),
            code=code,
            body=_body(name, codec, body),
        )


def _body(kind: str, codec: int, body: bytes) -> Body:
    if codec == CODEC_ERASED:
        return Unread(raw=Raw(b"null"), name=kind)
    return decode_body(kind, unpack(codec, body))
