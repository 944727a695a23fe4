"""Looking: where, show, ps, why, next and flow. They read, and never write."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from partita.cli.failures import Exit, Usage
from partita.cli.opening import dev_command, engine_hint, load, mends_of, no_store, open_store, resolve, run_flags
from partita.cli.options import LOOKING, Looking, check_name
from partita.cli.output import print_json, print_lines
from partita.cli.render import When, list_lines, next_lines, show_lines, where_lines
from partita.cli.suggesting import as_typed
from partita.clock import SystemClock
from partita.errors import NotFound
from partita.messages.topology import Topology
from partita.monitor.cases import CaseLine, CaseView, Where
from partita.monitor.flow import declared, to_mermaid, to_text
from partita.monitor.verdict import BAD, Next, Verdict
from partita.runtime.access import Access

PAGE_MAX = 1_000

CaseName = Annotated[str, Parameter(name="CASE", help="type:key, a bare key, or type-key.")]


class Standing(CaseLine, frozen=True, kw_only=True):
    """What `where --json` says."""

    hint: str
    """What would make it move, with the command; empty where nothing is missing."""


class Story(CaseView, frozen=True, kw_only=True):
    """What `show --json` says."""

    hint: str


class Following(msgspec.Struct, frozen=True, kw_only=True):
    """What `next --json` says."""

    case: str
    verdict: Verdict
    next: tuple[Next, ...]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What `ps --json` says."""

    cases: list[CaseLine]
    next_cursor: str | None
    counts: dict[Verdict, int]


async def where(case: CaseName, /, *, options: Looking = LOOKING) -> int:
    """Where a case is, since when, what it waits for, and what is next."""
    async with open_store(options) as access:
        found = access.look.line(resolve(access, case))
        hint, mends = _hint(access, found, options), mends_of(access, options)
    if options.json:
        print_json(Standing(**_fields(found), hint=hint))
    else:
        print_lines(where_lines(found, _now(), stuck=[mends.complete_in(one) for one in found.stuck], hint=hint))
    return _verdict_code(found)


async def show(case: CaseName, /, *, options: Looking = LOOKING) -> int:
    """The whole story of a case, what is open in it and what has died."""
    async with open_store(options) as access:
        view = access.look.show(resolve(access, case))
        hint, flags = _hint(access, view, options), run_flags(access, options)
        stuck = tuple(map(mends_of(access, options).complete_in, view.stuck))
    if options.json:
        print_json(Story(**_fields(view), hint=hint))
    else:
        print_lines(show_lines(msgspec.structs.replace(view, stuck=stuck), _now(), hint=hint, flags=flags))
    return _verdict_code(view)


async def ps(
    *,
    stuck: Annotated[bool, Parameter(negative=(), help="What will not go on by itself, and why.")] = False,
    waiting: Annotated[bool, Parameter(negative=(), help="What waits for something from outside or later.")] = False,
    failed: Annotated[bool, Parameter(negative=(), help="What has failed.")] = False,
    limit: Annotated[int, Parameter(help=f"Cases on one page, at most {PAGE_MAX}.")] = 100,
    cursor: Annotated[str | None, Parameter(help="Where the page before ended.", show_default=False)] = None,
    options: Looking = LOOKING,
) -> int:
    """All cases, worst first."""
    if not 1 <= limit <= PAGE_MAX:
        raise Usage(f"--limit {limit} is not from 1 to {PAGE_MAX}", "Take the pages one after another: --cursor.")
    if stuck + waiting + failed > 1:
        raise Usage("--stuck, --waiting and --failed are three questions", "Ask one at a time.")
    async with open_store(options) as access:
        try:
            found, following = access.look.list_cases(
                stuck=stuck, waiting=waiting, failed=failed, cursor=cursor, limit=limit
            )
        except ValueError as error:
            raise Usage(f"--cursor {cursor!r} is none of ours", "Take it from the page before.") from error
        counts, mends = access.look.count_verdicts(), mends_of(access, options)
    if options.json:
        print_json(Page(cases=found, next_cursor=following, counts=counts))
        return Exit.OK
    flag = " --stuck" if stuck else " --waiting" if waiting else " --failed" if failed else ""
    more = f"partita ps{flag} --limit {limit} --cursor {shlex.quote(following)}{options.flags()}" if following else ""
    found = [msgspec.structs.replace(one, stuck=tuple(map(mends.complete_in, one.stuck))) for one in found]
    print_lines(list_lines(found, counts, _now(), stuck=stuck, more=as_typed(more)))
    return Exit.OK


async def why(
    case: CaseName,
    outcome: Annotated[
        str, Parameter(name="OUTCOME", help="An event, command, step, handler or workflow that is missing.")
    ],
    /,
    *,
    options: Looking = LOOKING,
) -> int:
    """Why something has not happened in a case, and the command that mends it."""
    from partita.cli.causes import why_lines

    check_name("the outcome's name", outcome)
    async with open_store(options) as access:
        name = resolve(access, case)
        if not access.look.topology.app:
            raise NotFound(f"no app has run on this store yet: {outcome} is unknown", f"Run it: {dev_command(options)}")
        tree = access.look.why(name, outcome)
        mends = mends_of(access, options)
    if options.json:
        print_json(tree)
    else:
        print_lines(why_lines(tree, _now(), mends))
    return Exit.OK


async def following(case: CaseName, /, *, options: Looking = LOOKING) -> int:
    """What may come next in a case, and on what grounds."""
    async with open_store(options) as access:
        found = access.look.where(resolve(access, case))
    if options.json:
        print_json(Following(case=found.case, verdict=found.verdict, next=found.next))
    else:
        print_lines(next_lines(found, _now()))
    return Exit.OK


async def flow(
    *,
    declared: Annotated[
        bool, Parameter(negative=(), help="As types and code declare it: the default, and all there is so far.")
    ] = True,
    format: Annotated[Literal["mermaid", "json", "text"], Parameter(help="How to draw it.")] = "text",
    options: Looking = LOOKING,
) -> int:
    """The state machine that services, wirings and workflows make together."""
    found = _flow_of(await _topology(options))
    if options.json or format == "json":
        print_json(found)
    else:
        print((to_mermaid(found) if format == "mermaid" else to_text(found)).rstrip("\n"))
    return Exit.OK


_flow_of = declared


async def _topology(options: Looking) -> Topology:
    """The app's, where one is named; otherwise that of the app that last ran on the store."""
    settings = options.settings()
    if options.app is not None or (settings.app is not None and not settings.store.is_file()):
        return load(settings).declared.topology
    if not settings.store.is_file():
        raise no_store(settings)
    async with open_store(options) as access:
        found = access.look.topology
    if not found.app and settings.app is not None:
        return load(settings).declared.topology
    if not found.app:
        raise Usage(f"no app has run on {settings.store} yet", "Name the app: --app module:name.")
    return found


def _fields(found: CaseLine) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


def _now() -> When:
    return When(SystemClock().now_us())


def _hint(access: Access, found: Where, options: Looking) -> str:
    return engine_hint(access, options) if found.verdict == "running" else ""


def _verdict_code(found: Where) -> int:
    return Exit.BAD if found.verdict in BAD else Exit.OK
