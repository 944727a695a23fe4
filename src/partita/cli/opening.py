"""Opening: a command finds its store, its app and its case, and asks whoever can answer."""

from __future__ import annotations

import asyncio
import shlex
import sysconfig
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import msgspec

from partita.cli.failures import Usage
from partita.cli.held import LastWord
from partita.cli.options import Looking, Sending, check_text
from partita.cli.output import print_note
from partita.cli.suggesting import Mends, as_typed, say_flags
from partita.dying import last_word
from partita.errors import CallFailed, NotFound, PartitaError, Rejected, Unknown, shortened
from partita.messages.topology import Topology
from partita.monitor.cases import Where
from partita.monitor.story import say_attempts, say_error
from partita.runtime.access import Access, Runnable, open_access
from partita.runtime.app import App, load_app
from partita.runtime.client import LocalClient
from partita.runtime.requests import Reply, Request, checked
from partita.runtime.settings import Settings, naming_store
from partita.store.facts import Requested

ANSWER_S = 30.0
"""How long an engine may take to answer, beyond what a call allows its handler."""
IDLE = "5s"
"""`--run` ends when nothing is due within this time."""
SAY_S = 5.0
"""How often a long `--run` says where it is."""
NEAR_MAX = 1_000
"""Among how many cases a near miss is looked for, and for a name of how many characters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: who took it, and where its case is after `--run`."""

    reply: Reply
    where: Where | None = None


@asynccontextmanager
async def open_store(options: Looking) -> AsyncGenerator[Access]:
    """The store that is meant, for reading and asking. Raises Usage where there is no such file."""
    settings = options.settings()
    if not settings.store.is_file():
        raise no_store(settings)
    async with open_access(settings.store) as access:
        yield access


def no_store(settings: Settings, *, run: bool = False) -> Usage:
    """There is no file where the store should be: what was looked for, and how to name one, or make it."""
    source = {"default": "the default"}.get(settings.store_source, settings.store_source)
    also = ", and so does the same again with --run" if run else ""
    return Usage(
        f"no store at {settings.store} ({source})",
        "Name one: --store FILE, PARTITA_STORE, or store = ... in partita.toml;"
        f" `partita dev MODULE:APP` makes one{also}.",
    )


def resolve(access: Access, name: str) -> str:
    """The case that a person means. Raises Usage for what can name none, Ambiguous, NotFound with the nearest name."""
    check_text("a case's name", name)
    try:
        return access.look.resolve(name)
    except NotFound as error:
        listed, _ = access.look.list_cases(limit=NEAR_MAX)
        near = near_case(name, [line.case for line in listed]) if len(name) <= NEAR_MAX else ""
        raise NotFound(shortened(error.why, NEAR_MAX), near or error.remedy) from error


def near_case(name: str, cases: Sequence[str]) -> str:
    """The nearest case, as it is typed; what two of one type share with each other makes them no more alike."""
    case_type, _, key = name.partition(":")
    of_type = {case.partition(":")[2]: case for case in cases if case.startswith(f"{case_type}:")}
    if key and of_type:
        near = get_close_matches(key, of_type, n=1)
        return f"Did you mean {shlex.quote(of_type[near[0]])}?" if near else ""
    near = get_close_matches(name, [*cases, *(case.partition(":")[2] for case in cases)], n=1)
    return f"Did you mean {shlex.quote(near[0])}?" if near else ""


def load(settings: Settings) -> App:
    """The app that is named. Raises Usage where none is, or there is none, Rejected where its code can't be run."""
    if settings.app is None:
        raise Usage("which app?", "Name it: --app module:name, PARTITA_APP, or app = ... in partita.toml.")
    try:
        return load_app(settings.app, settings.folder)
    except Rejected as error:
        raise Usage(error.why, error.remedy) from error
    except SystemExit as error:
        raise Rejected(
            f"app {settings.app!r} can't be imported: it calls sys.exit({error.code!r}){_where_raised(error)}",
            "A module that is imported goes on: put that under if __name__ == '__main__'.",
        ) from error
    except Exception as error:  # importing an app runs users' code
        known = isinstance(error, PartitaError)
        what, _, remedy = (str(error) if known else f"{type(error).__name__}: {error}").partition("\n")
        raise Rejected(
            f"app {settings.app!r} can't be imported: {what}{_where_raised(error)}",
            remedy if known else "Mend it, then try again; PARTITA_DEBUG=1 shows the whole traceback.",
        ) from error


def _where_raised(error: BaseException) -> str:
    """The last line of users' code on the way to an error."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and not _is_anothers(Path(file)):
            place = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _is_anothers(file: Path) -> bool:
    """Whether a file is ours, or Python's own: on the way through them, nobody has to look for the mistake."""
    return file.is_relative_to(_OURS) or (file.is_relative_to(_PYTHONS) and "site-packages" not in file.parts)


_OURS = Path(__file__).parents[1]
_PYTHONS = Path(sysconfig.get_path("stdlib"))


def topology_of(access: Access) -> Topology:
    """The app's topology: of the code where it is loaded, otherwise as the last engine wrote it."""
    return access.app.declared.topology if access.app is not None else access.look.topology


def prepare(access: Access, options: Looking) -> None:
    """Load the app where it will be needed: no engine runs, and one is named. A running engine judges by its own."""
    settings = options.settings()
    if settings.app is not None and not access.running:
        access.app = load(settings)


async def send(access: Access, request: Request, options: Sending) -> Outcome:
    """Ask the engine; without one, run the app here (`--run`) or leave the request.

    Raises what the reply stands for: Rejected, Unknown, CallFailed.
    """
    if not access.running and options.run:
        return await _run(access, request, access.app or load(options.settings()), options)
    reply = checked_reply(await _ask(access, request), request)
    if reply.queued:
        before = "it was asked before; " if reply.note.startswith("queued before") else ""
        note = f"{before}no engine is running: {dev_command(options)} does it, or the same again with --run"
        key = f" --key {request.key}" if options.key is None else ""
        reply = msgspec.structs.replace(reply, note=f"{note}{key}")
    return Outcome(reply)


async def _run(access: Access, request: Request, app: Runnable, options: Looking) -> Outcome:
    """Run the app here until it is idle: first what it owes, this request too where it was left before."""
    was_left = access.path.is_file() and _was_left(list(access.look.list_requests()), request)
    last = LastWord(request, access.path, mends_of(access, options), as_json=options.json)
    access.close()
    with naming_store(access.path), last_word(last.say):
        async with app.run(access.path) as client:
            if was_left:
                reply = Reply(status="accepted", key=request.key, case=request.case, note="as it was asked before")
            else:
                reply = await client.ask(request)
            last.reply = reply
            await _settle(client, reply.case)
            if reply.pending:  # its answer came later than it was waited for
                reply = await client.ask(request)
    reply = checked_reply(reply, request)
    case = reply.case or request.case
    return Outcome(reply, where=access.look.find_where(case) if case else None)


async def _settle(client: LocalClient, case: str) -> None:
    """Drive the app until it is idle; where that takes long, say meanwhile what the case is at."""
    async with asyncio.TaskGroup() as group:
        telling = group.create_task(_tell(client, case))
        await client.settle(horizon=IDLE)
        telling.cancel()


async def _tell(client: LocalClient, case: str) -> None:
    while True:
        await asyncio.sleep(SAY_S)
        what = f"{case} is at {(await client.where(case)).at}" if case else "something is being made"
        print_note(f"still running: {what}; Ctrl-C leaves it to the next engine")


def _was_left(left: list[Requested], request: Request) -> bool:
    """Whether a request that was left mends what this one does, with none behind it that may undo that."""
    about = {request.case, request.group, request.message} - {""}
    for one in reversed(left):
        if _is_same(one, request):
            return True
        asked = msgspec.json.decode(bytes(one.request), type=Request)
        if one.op not in _MENDS or about & {asked.case, asked.group, asked.message}:
            return False
    return False


def _is_same(left: Requested, request: Request) -> bool:
    """Whether a request that was left mends what this one does; messages are known by their key anyway."""
    if left.op != request.op or left.op not in _MENDS:
        return False
    asked = msgspec.json.decode(bytes(left.request), type=Request)
    return msgspec.structs.replace(asked, key="", by="", reason="") == msgspec.structs.replace(
        request, key="", by="", reason=""
    )


_MENDS = {"retry", "cancel", "redrive", "discard", "pause", "resume", "retire"}


def checked_reply(reply: Reply, request: Request) -> Reply:
    """The reply, or the error that it stands for; one without an answer in time names the key to ask again with."""
    if reply.status == "accepted" and reply.pending:
        raise Unknown(f"{request.type} for {reply.case} is accepted and has no answer yet", key=request.key)
    if reply.status == "accepted" and reply.failed:
        raise CallFailed(
            f"{request.type} for {reply.case} failed after {say_attempts(reply.attempts)}:"
            f" {say_error(reply.failed, reply.text)}\n"
            f"Look at it: partita show {shlex.quote(reply.case)}",
            kind=reply.failed,
            attempts=reply.attempts,
        )
    return checked(reply)


async def _ask(access: Access, request: Request) -> Reply:
    limit_s = ANSWER_S + (request.timeout_us or 0) / 1_000_000
    try:
        async with asyncio.timeout(limit_s):
            return await access.ask(request)
    except TimeoutError as error:
        raise Unknown(f"the engine has not answered for {limit_s:.0f} s", key=request.key) from error


def engine_hint(access: Access, options: Looking) -> str:
    """What to say where nothing moves because no engine runs."""
    return "" if access.running else f"no engine is running; start one: {dev_command(options)}"


def run_flags(access: Access, options: Looking) -> str:
    """What a suggested command needs besides: the same store and app, and `--run` where no engine would take it."""
    if access.running:
        return options.flags()
    app = "" if options.settings().app is not None else " --app MODULE:APP"
    return f"{options.flags()}{app} --run"


def mends_of(access: Access, options: Looking) -> Mends:
    """What the commands of the monitor's need here."""
    return Mends(looking=options.flags(), acting=run_flags(access, options), dev=dev_command(options))


def dev_command(options: Looking) -> str:
    """How the engine of this store is started."""
    settings = options.settings()
    app = shlex.quote(settings.app) if settings.app else "MODULE:APP"
    return as_typed(f"partita dev {app}{say_flags(store=options.store)}")
