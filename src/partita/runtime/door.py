"""The door: a Unix socket beside the store, by which other processes ask the one that holds it.

One request or reply a line, as JSON. The socket belongs to the user who runs the engine (0600). A line over the limit,
or one that is no request, gets a rejection and nothing else happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from partita.errors import one_line
from partita.limits import LIMITS
from partita.runtime.requests import Reply, Request
from partita.telemetry import Log

log = Log(__name__)
Take = Callable[[Request], Awaitable[Reply]]


@asynccontextmanager
async def open_door(path: Path, take: Take) -> AsyncGenerator[None]:
    """Listen at `path` while the block runs. A socket left behind by a dead process is replaced."""
    _remove(path)
    visitors: set[asyncio.StreamWriter] = set()

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.add(writer)
        try:
            if len(visitors) > LIMITS.visitors_max:
                await _send(writer, _too_many())
                return
            await _serve(reader, writer, take)
        except (ConnectionError, asyncio.CancelledError):
            log.debug("door.visitor_left")
        finally:
            visitors.discard(writer)
            writer.close()

    server = await asyncio.start_unix_server(visit, path=str(path), limit=LIMITS.request_bytes_max)
    _make_private(path)
    try:
        yield
    finally:
        server.close()
        for writer in list(visitors):
            writer.close()
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _make_private(path: Path) -> None:
    path.chmod(0o600)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, take: Take) -> None:
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            # At once: whoever forgot the line's end would wait for ever.
            await _send(writer, _too_long("", f"more than {LIMITS.request_bytes_max:,}"))
            if not await _skip_line(reader):
                return
            continue
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            why = f"that is no request: {one_line(error)}"
            await _send(writer, Reply(status="rejected", why=why, remedy="Use the partita command or Client."))
            continue
        await _send(writer, await take(request))


async def _skip_line(reader: asyncio.StreamReader) -> bool:
    """Read to the line's end, and nothing of the next; whether there was one."""
    while True:
        try:
            await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await reader.readexactly(max(error.consumed, 1))
        except asyncio.IncompleteReadError:
            return False
        else:
            return True


def _too_long(key: str, size: str) -> Reply:
    return Reply(
        status="rejected",
        key=key,
        why=f"the request has {size} bytes; the limit is {LIMITS.request_bytes_max:,}",
        remedy="Make it smaller, or raise limits.request_bytes_max.",
    )


def _too_many() -> Reply:
    return Reply(
        status="rejected",
        why=f"{LIMITS.visitors_max:,} others are connected to the engine already",
        remedy="Try again when some have gone, or raise limits.visitors_max.",
    )


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(msgspec.json.encode(reply) + b"\n")
    await writer.drain()


async def ask_door(path: Path, request: Request) -> Reply:
    """Ask the process behind a socket; the reply is "unknown" where the connection breaks before the answer."""
    line = msgspec.json.encode(request)
    if len(line) > LIMITS.request_bytes_max:
        return _too_long(request.key, f"{len(line):,}")
    reader, writer = await asyncio.open_unix_connection(str(path), limit=4 * LIMITS.request_bytes_max)
    try:
        writer.write(line + b"\n")
        await writer.drain()
        return msgspec.json.decode(await reader.readuntil(b"\n"), type=Reply)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, msgspec.MsgspecError) as error:
        return Reply(status="unknown", key=request.key, why=f"the engine went away: {one_line(error)}")
    finally:
        writer.close()
