"""Mending: dead letters and groups, for the operator."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from partita.cli.causes import dead_letter_lines, dead_lines, group_lines
from partita.cli.failures import Exit, Usage
from partita.cli.opening import open_store, prepare, resolve, run_flags, send
from partita.cli.options import LOOKING, SENDING, Looking, Sending, by_whom, check_name, check_text
from partita.cli.output import print_json, print_lines
from partita.cli.render import When
from partita.cli.sending import Reason, tell
from partita.clock import SystemClock
from partita.runtime.look import DeadView, GroupLine
from partita.runtime.requests import Op, Request

dead = App(name="dead", help="Dead letters, held calls and quarantined messages: list, show, redrive, discard.")
group = App(name="group", help="Consumer groups: list, pause, resume, retire.")

DeadId = Annotated[str, Parameter(name="ID", help="As `dead list` has it, or the beginning of it.")]
OfCase = Annotated[str | None, Parameter(name="--case", help="All of this case.", show_default=False)]
GroupName = Annotated[str, Parameter(name="GROUP", help="As `group list` has it.")]


class DeadPage(msgspec.Struct, frozen=True, kw_only=True):
    """What `dead list --json` says."""

    dead: list[DeadView]
    next_cursor: str | None = None


class GroupPage(msgspec.Struct, frozen=True, kw_only=True):
    """What `group list --json` says."""

    groups: list[GroupLine]
    next_cursor: str | None = None


@dead.command(name="list")
async def list_dead(*, case: OfCase = None, options: Looking = LOOKING) -> int:
    """Every dead letter, oldest first."""
    async with open_store(options) as access:
        found = access.look.list_dead(None if case is None else resolve(access, case))
    if options.json:
        print_json(DeadPage(dead=[_printable(letter) for letter in found]))
    else:
        print_lines(dead_lines(found, _now()))
    return Exit.OK


@dead.command(name="show")
async def show_dead(name: DeadId, /, *, options: Looking = LOOKING) -> int:
    """One dead letter: its error, the traceback, and the message's body."""
    check_text("the dead letter's id", name)
    async with open_store(options) as access:
        found = access.look.get_dead(name)
        flags = run_flags(access, options)
    if options.json:
        print_json(_printable(found))
    else:
        print_lines(dead_letter_lines(found, _now(), flags=flags))
    return Exit.OK


def _printable(letter: DeadView) -> DeadView:
    """Bytes that are no JSON leave a dead letter without a body: in JSON, null."""
    return letter if bytes(letter.body) else msgspec.structs.replace(letter, body=msgspec.Raw(b"null"))


@dead.command(name="redrive")
async def redrive(
    name: DeadId | None = None,
    /,
    *,
    case: OfCase = None,
    options: Sending = SENDING,
) -> int:
    """Have it handled again, with attempts from the first."""
    return await _mend("redrive", name, case, options, reason="")


@dead.command(name="discard")
async def discard(
    name: DeadId | None = None,
    /,
    *,
    case: OfCase = None,
    reason: Reason = "",
    options: Sending = SENDING,
) -> int:
    """Give it up; a caller that waits for it is told that it failed."""
    return await _mend("discard", name, case, options, reason=reason)


async def _mend(op: Op, name: str | None, case: str | None, options: Sending, *, reason: str) -> int:
    if (name is None) == (case is None):
        raise Usage("which dead letter?", "Name its id, or --case; `partita dead list` has them.")
    request = Request(op=op, key=options.request_key(), reason=reason, by=by_whom())
    async with open_store(options) as access:
        prepare(access, options)
        if name is not None:
            check_text("the dead letter's id", name)
            found = access.look.get_dead(name)
            request = msgspec.structs.replace(request, message=found.message, group=found.group)
        else:
            request = msgspec.structs.replace(request, case=resolve(access, case or ""))
        return tell(request, await send(access, request, options), options)


@group.command(name="list")
async def list_groups(*, options: Looking = LOOKING) -> int:
    """Every group: whether it works, and what it owes."""
    async with open_store(options) as access:
        found = access.look.list_groups()
    if options.json:
        print_json(GroupPage(groups=found))
    else:
        print_lines(group_lines(found, _now()))
    return Exit.OK


@group.command(name="pause")
async def pause(name: GroupName, /, *, options: Sending = SENDING) -> int:
    """Hand a group nothing until it is resumed."""
    return await _group("pause", name, options)


@group.command(name="resume")
async def resume(name: GroupName, /, *, options: Sending = SENDING) -> int:
    """Let a paused group go on."""
    return await _group("resume", name, options)


@group.command(name="retire")
async def retire(name: GroupName, /, *, options: Sending = SENDING) -> int:
    """Give up what a group owes that is no longer in the code."""
    return await _group("retire", name, options)


async def _group(op: Op, name: str, options: Sending) -> int:
    check_name("the group's name", name)
    request = Request(op=op, key=options.request_key(), group=name, by=by_whom())
    async with open_store(options) as access:
        prepare(access, options)
        return tell(request, await send(access, request, options), options)


def _now() -> When:
    return When(SystemClock().now_us())
