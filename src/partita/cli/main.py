"""The command `partita`: which words it knows, and what becomes of an error.

A command's room is imported when that command is given, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper

from cyclopts import App, CycloptsError, Group
from msgspec.structs import replace

from partita.cli.failures import Exit, Usage, explain, first_of, is_debugging
from partita.cli.output import print_failure
from partita.runtime.process import leave

_CODES = (
    "Exit codes: 0 ok or found, 1 not found, 2 the verdict is bad, 64 usage, 65 rejected, 70 failure, "
    "75 unknown (send it again with the key that is printed)."
)
_ASK = Group("Ask", sort_key=1)
_ACT = Group("Act", sort_key=2)
_RUN = Group("Run", sort_key=3)


def _commands() -> App:
    app = App(
        name="partita",
        help="Durable workflows and choreography on SQLite, with one story for every case.",
        help_epilogue=_CODES,
        version=_version,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        help_format="plaintext",
    )
    for name, place, group, said in (
        ("where", "looking:where", _ASK, "Where a case is, since when, what it waits for, and what is next."),
        ("show", "looking:show", _ASK, "The whole story of a case, what is open in it and what has died."),
        ("why", "looking:why", _ASK, "Why something has not happened in a case, and the command that mends it."),
        ("next", "looking:following", _ASK, "What may come next in a case, and on what grounds."),
        ("ps", "looking:ps", _ASK, "All cases, worst first."),
        ("flow", "looking:flow", _ASK, "The state machine that services, wirings and workflows make together."),
        ("start", "sending:start", _ACT, "Start a run of a workflow."),
        ("emit", "sending:emit", _ACT, "Publish an event that happened outside."),
        ("signal", "sending:signal", _ACT, "Publish an event for a case, or send it a command and print the answer."),
        ("retry", "sending:retry", _ACT, "Let a case go on: its stopped runs, its dead letters, its held calls."),
        ("cancel", "sending:cancel", _ACT, "Ask the open runs of a case to cancel; their sagas undo."),
        ("dead", "mending:dead", _ACT, "Dead letters, held calls and quarantined messages."),
        ("group", "mending:group", _ACT, "Consumer groups: list, pause, resume, retire."),
        ("demo", "running:demo", _RUN, "The shop, end to end, on real orders."),
        ("dev", "running:dev", _RUN, "Everything in one process on a SQLite file, until Ctrl-C."),
        ("doctor", "machine:doctor", _RUN, "The file, its version, its lock and its disk."),
        ("version", "machine:version", _RUN, "Which partita this is."),
    ):
        app.command(f"partita.cli.{place}", name=name, help=said, group=group)
    return app


def _version() -> str:
    from partita.cli.machine import find_version

    return f"partita {find_version()}"


def main() -> None:
    """The entry point: run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal has no letter for is no reason to fail after the deed
            stream.reconfigure(errors="backslashreplace")
    leave(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run one command line; the exit code. Never raises: an error is two lines on standard error, or JSON."""
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read has had enough; Python's own flush at the end has to find a place that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:  # noqa: BLE001 - the edge of the program
        return _fail(error, words)


def _run(words: Sequence[str]) -> int:
    try:
        code: object = _commands()(list(words), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise _usage(error) from error
    return code if isinstance(code, int) else Exit.OK


def _usage(error: CycloptsError) -> Usage:
    from cyclopts.exceptions import UnusedCliTokensError

    command = " ".join(("partita", *(error.command_chain or ())))
    if isinstance(error, UnusedCliTokensError):
        extra = " ".join(error.unused_tokens or ())
        return Usage(f"what is {extra!r}? it is more than {command} takes", "JSON has to stand in quotes: '{...}'")
    what = " ".join(str(error).split()).rstrip(".")
    return Usage(what, f"See: {command} --help")


def _fail(error: BaseException, words: Sequence[str]) -> int:
    from partita.cli.suggesting import meant_by

    failure = explain(error)
    failure = replace(failure, remedy=meant_by(words).complete_in(failure.remedy))
    if is_debugging():
        import traceback

        traceback.print_exception(first_of(error))
    with suppress(BrokenPipeError):  # nobody reads any more; the exit code still says it
        sys.stdout.flush()
        print_failure(failure, as_json="--json" in words)
    return failure.exit
