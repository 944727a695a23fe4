"""The operations on work tables as SQLite statements, one each; those on open runs are in `runs`."""

from __future__ import annotations

from typing import Final

from partita.store import work

STATEMENTS: Final[dict[str, str]] = {
    work.KNOW_MESSAGE: "insert into message (id, digest, seq) values (?1, ?2, ?3) on conflict do nothing",
    work.OPEN_OBLIGATION: (
        'insert into obligation (message, grp, type, "case", state, due_at, caller, step, retry, seq, position)'
        " values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10) on conflict do nothing"
    ),
    work.CLOSE_OBLIGATION: "delete from obligation where message = ?1 and grp = ?2 and state in ('open', 'delayed')",
    work.PUT_OFF_OBLIGATION: (
        "update obligation set attempts = ?1, due_at = ?2, state = 'open'"  # a delayed one has entered its lane
        " where message = ?3 and grp = ?4 and state in ('open', 'delayed')"
    ),
    work.CLAIM_OBLIGATION: (
        "update obligation set claims = claims + 1 where message = ?1 and grp = ?2 and state in ('open', 'delayed')"
    ),
    work.BAR_OBLIGATION: "update obligation set barred = 1 where message = ?1 and grp = ?2",
    work.KILL_OBLIGATION: (
        "update obligation set state = ?1, attempts = ?2"
        " where message = ?3 and grp = ?4 and state in ('open', 'delayed')"
    ),
    work.REOPEN_OBLIGATION: (
        "update obligation set state = 'open', attempts = 0, claims = 0, due_at = 0, late = 1, position = ?3"
        " where message = ?1 and grp = ?2 and state in ('dead', 'held')"
    ),
    work.RENEW_OBLIGATION: (
        'insert into obligation (message, grp, type, "case", caller, step, retry, seq, position, state)'
        " values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'open') on conflict do nothing"
    ),
    work.DISCARD_OBLIGATION: "delete from obligation where message = ?1 and grp = ?2 and state in ('dead', 'held')",
    work.RETIRE_OBLIGATIONS: "delete from obligation where grp = ?1",
    work.SET_GROUP: (
        "insert into grp (name, state, since, by) values (?1, ?2, ?3, ?4)"
        " on conflict (name) do update set state = excluded.state, since = excluded.since, by = excluded.by"
    ),
    work.CLEAR_GROUP: "delete from grp where name = ?1",
    work.OWE_REQUEST: "insert into request (id, seq) values (?1, ?2) on conflict do nothing",
    work.CLOSE_REQUEST: "delete from request where id = ?1",
    work.SET_META: (
        "insert into meta (key, value) values (?1, ?2) on conflict (key) do update set value = excluded.value"
    ),
}

RUN_OPERATIONS: Final = frozenset({work.ADD_RUN, work.MOVE_RUN, work.RESUME_RUN, work.RAISE_EPOCH})


def message_key(message_id: str) -> bytes | str:
    """How a message's id is kept: 32 hex digits as 16 bytes, anything else as it is."""
    if len(message_id) == 32:
        try:
            raw = bytes.fromhex(message_id)
        except ValueError:
            return message_id
        if raw.hex() == message_id:
            return raw
    return message_id
