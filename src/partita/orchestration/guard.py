"""The guard: workflow code that reaches for the world outside is stopped, and told where that belongs.

It is an audit hook, not a sandbox: it catches what is easily done by mistake, in the thread that drains a run and only
while it does. Imports, reads of files and logging are allowed. Python tells of threads since 3.12 and of `time.sleep`
since 3.13; before that only the static check does.
"""

from __future__ import annotations

import os
import sys
from threading import get_ident
from types import FrameType

from partita.errors import DefinitionError

_FORBIDDEN = {
    "_thread.start_joinable_thread": "started a thread",
    "_thread.start_new_thread": "started a thread",
    "ftplib.connect": "opened a connection",
    "http.client.connect": "opened a connection",
    "open": "opened a file for writing",
    "os.exec": "started a program",
    "os.fork": "forked",
    "os.forkpty": "forked",
    "os.kill": "sent a signal",
    "os.link": "changed a file",
    "os.mkdir": "made a folder",
    "os.posix_spawn": "started a program",
    "os.remove": "removed a file",
    "os.rename": "moved a file",
    "os.rmdir": "removed a folder",
    "os.spawn": "started a program",
    "os.startfile": "started a program",
    "os.symlink": "changed a file",
    "os.system": "started a program",
    "os.truncate": "changed a file",
    "shutil.copyfile": "copied a file",
    "shutil.move": "moved a file",
    "shutil.rmtree": "removed a folder",
    "smtplib.connect": "opened a connection",
    "socket.__new__": "opened a socket",
    "socket.connect": "opened a connection",
    "socket.getaddrinfo": "asked for an address",
    "socket.gethostbyname": "asked for an address",
    "sqlite3.connect": "opened a database",
    "subprocess.Popen": "started a program",
    "tempfile.mkdtemp": "made a folder",
    "tempfile.mkstemp": "made a file",
    "time.sleep": "blocked the engine with time.sleep",
    "urllib.Request": "sent a request",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ALLOWED_ROOMS = ("importlib.", "_frozen_importlib", "logging")  # importing writes byte code, a log may open its file
_LOOP = "partita.orchestration.loop"

_thread = 0
_run = ""
_installed = False


def install() -> None:
    """Put the hook into this process, once; there is no way to take one out."""
    global _installed  # noqa: PLW0603 - a process has one list of hooks
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def watch(run: str) -> tuple[int, str]:
    """Watch this thread on behalf of a run; returns what to hand back to `release`."""
    global _run, _thread
    before = _thread, _run
    _run, _thread = run, get_ident()
    return before


def release(before: tuple[int, str]) -> None:
    """Watch what was watched before."""
    global _run, _thread
    _thread, _run = before


def _hook(event: str, args: tuple[object, ...]) -> None:
    if not _thread or event not in _FORBIDDEN or _thread != get_ident():
        return
    if event == "open" and not _writes(args):
        return
    if _is_allowed(sys._getframe(1)):  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - frames alone tell who asked
        return
    remedy = "Wait with asyncio.sleep()" if event == "time.sleep" else "Do it in a @step"
    raise DefinitionError(
        f"run {_run}: workflow code {_FORBIDDEN[event]}\n{remedy}: a workflow is run again from its history."
    )


def _writes(args: tuple[object, ...]) -> bool:
    path, mode, flags = (*args, None, None, None)[:3]
    if isinstance(path, int):
        return False  # a file that is open already
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & _WRITING)


def _is_allowed(frame: FrameType | None) -> bool:
    while frame is not None:
        room = str(frame.f_globals.get("__name__", ""))
        if room.startswith(_ALLOWED_ROOMS):
            return True
        if room == _LOOP:
            return False
        frame = frame.f_back
    return False
