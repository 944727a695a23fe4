"""The operations on work tables: the whole vocabulary in which the rooms above change what is open.

Each name is one statement in every backend. Parameters stand in the comment; a trailing `seq` is filled in by the
writer from the unit's fact.
"""

from __future__ import annotations

from typing import Final

# Messages: what this store has taken. Inserting a known id touches no row.
KNOW_MESSAGE: Final = "know_message"  # id, digest, seq

# Obligations. Closing, moving and reopening are guarded by state, so that a second handling finds no row.
# message, group, type, case, state, due_at, caller, step, retry, seq (also position)
OPEN_OBLIGATION: Final = "open_obligation"
CLOSE_OBLIGATION: Final = "close_obligation"  # message, group            open or delayed only
PUT_OFF_OBLIGATION: Final = "put_off_obligation"  # attempts, due_at, message, group
CLAIM_OBLIGATION: Final = "claim_obligation"  # message, group            claims + 1
BAR_OBLIGATION: Final = "bar_obligation"  # message, group
KILL_OBLIGATION: Final = "kill_obligation"  # state (dead | held), attempts, message, group
# Of a dead or held one; attempts and claims are 0 again, late is 1: message, group, seq (position)
REOPEN_OBLIGATION: Final = "reopen_obligation"
# A closed one anew: message, group, type, case, caller, step, retry, seq of the published fact, seq (position)
RENEW_OBLIGATION: Final = "renew_obligation"
DISCARD_OBLIGATION: Final = "discard_obligation"  # message, group        dead or held only
RETIRE_OBLIGATIONS: Final = "retire_obligations"  # group                 all of a group

# Runs.
# run, workflow, case, number, parent, parent_step, on_close; its status is open; touches no row if it exists
ADD_RUN: Final = "add_run"
MOVE_RUN: Final = "move_run"  # status, wakes_at, run
RESUME_RUN: Final = "resume_run"  # run            stopped -> open
RAISE_EPOCH: Final = "raise_epoch"  # run

# Groups.
SET_GROUP: Final = "set_group"  # name, state, since, by
CLEAR_GROUP: Final = "clear_group"  # name

# Requests.
OWE_REQUEST: Final = "owe_request"  # id, seq
CLOSE_REQUEST: Final = "close_request"  # id

# Meta.
SET_META: Final = "set_meta"  # key, value
