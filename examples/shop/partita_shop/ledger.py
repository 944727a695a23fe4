"""The world outside, as a process of its own: it keeps the books (`books.py`) behind a port of this machine.

    python -m partita_shop.ledger serve FILE [--idle SECONDS]    run it in the background until nobody asks any more
    python -m partita_shop.ledger check FILE                     count what was asked and done

One process serves one file: a lock beside the file sees to that. It outlives whoever asks it, and is started again by
whoever asks next, so neither side's `kill -9` loses a line. It knows nothing of partita.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets  # noqa: TID251 - a token, so that only this user's processes are answered
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from partita_shop.books import Answer, Asked, Books, read_entries, tally

IDLE_S = 20.0
"""How long it waits for another request before it closes."""
_LINE_MAX = 65_536
_TRIES = 3


class Address(msgspec.Struct, frozen=True):
    """Where a ledger listens, as it stands in a file beside its book."""

    port: int
    token: str
    pid: int


class _Request(msgspec.Struct, frozen=True):
    token: str
    asked: Asked | None = None
    """None asks the ledger to close."""


# Whoever asks.


@asynccontextmanager
async def outside(path: Path) -> AsyncGenerator[Address]:
    """A ledger on that file while the block lasts. One that runs already is used; in the end it is closed."""
    address = await _reach(path, _find_address(path))
    try:
        yield address
    finally:
        await close(path)


async def ask(path: Path, asked: Asked) -> Answer:
    """Ask the ledger of that file, starting it where it does not run.

    Raises ConnectionError where the line went dead: whether it was done, nobody knows then.
    """
    address = _find_address(path)
    for _ in range(_TRIES):
        try:
            if address is None:
                address = await _reach(path, None)
            reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        except ConnectionRefusedError:
            address = await _reach(path, address)
            continue
        return await _ask(reader, writer, _Request(address.token, asked))
    raise ConnectionError(f"the world outside does not open\n{_remedy(path)}")


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: _Request) -> Answer:
    try:
        writer.write(msgspec.json.encode(request) + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line.endswith(b"\n"):
        raise ConnectionError("the line went dead before the answer came")
    return msgspec.json.decode(line, type=Answer)


async def close(path: Path) -> None:
    """Close the ledger of that file, if it runs."""
    address = _find_address(path)
    if address is None:
        return
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    except ConnectionRefusedError:
        return
    try:
        writer.write(msgspec.json.encode(_Request(address.token)) + b"\n")
        await reader.read()  # It hangs up when it is gone.
    finally:
        writer.close()


async def _reach(path: Path, dead: Address | None) -> Address:
    """Where the ledger of that file listens, which is not where it `dead`ly did not."""
    await asyncio.to_thread(_start, path, dead)
    address = _find_address(path)
    if address is None:
        raise ConnectionError(f"the world outside does not open\n{_remedy(path)}")
    return address


_starting = threading.Lock()


def _start(path: Path, dead: Address | None) -> None:
    """Start a ledger; returns when one listens."""
    with _starting:  # Of many that ask at once, the first starts it.
        if _find_address(path) not in {None, dead}:
            return
        packages = str(Path(__file__).resolve().parents[1])
        known = os.environ.get("PYTHONPATH")
        subprocess.run(  # noqa: S603 - our own module, on a path that we chose
            [sys.executable, "-m", "partita_shop.ledger", "serve", str(path)],
            env={**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{known}" if known else packages},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=30,
        )


def _remedy(path: Path) -> str:
    return f"See why: python -m partita_shop.ledger serve {path}"


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _find_address(path: Path) -> Address | None:
    try:
        return msgspec.json.decode(_beside(path, "address").read_bytes(), type=Address)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


# The process.


def serve(path: Path, idle_s: float = IDLE_S) -> int:
    """Serve a file in the background; returns when it is served, by a new process or by one that was there before."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _beside(path, "lock").open("ab")
    with _beside(path, "gate.lock").open("ab") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)  # One at a time starts one.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _find_address(path) is not None:
                return 0
            fcntl.flock(lock, fcntl.LOCK_EX)  # It is on its way down.
        told, tell = os.pipe()
        if os.fork():
            os.close(tell)
            return 0 if os.read(told, 1) else 70
    os.setsid()
    try:
        asyncio.run(_serve(path, idle_s, tell))
    finally:
        os._exit(0)  # The lock goes with the process.


async def _serve(path: Path, idle_s: float, tell: int) -> None:
    books = Books(path)
    closing = asyncio.Event()
    loop = asyncio.get_running_loop()
    idle = loop.call_later(idle_s, closing.set)
    token = secrets.token_hex(16)

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal idle
        try:
            request = msgspec.json.decode(await reader.readline(), type=_Request)
        except (msgspec.DecodeError, ValueError, ConnectionError):
            writer.close()
            return
        if request.token != token:
            writer.close()
        elif request.asked is None:
            closing.set()
        else:
            idle.cancel()
            idle = loop.call_later(idle_s, closing.set)
            answer = books.take(request.asked)
            if answer is not None:
                writer.write(msgspec.json.encode(answer) + b"\n")
            writer.close()

    server = await asyncio.start_server(visit, "127.0.0.1", 0, limit=_LINE_MAX)
    port: int = server.sockets[0].getsockname()[1]
    fresh = _beside(path, "address.new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(msgspec.json.encode(Address(port, token, os.getpid())))
    fresh.rename(_beside(path, "address"))
    os.write(tell, b"!")
    os.close(tell)
    await closing.wait()
    _beside(path, "address").unlink(missing_ok=True)
    server.close()
    books.close()


def check(path: Path) -> int:
    """Print what a file says was asked and done; 2 where something was done twice."""
    counted = tally(read_entries(path))
    print(msgspec.json.format(msgspec.json.encode(counted)).decode())
    return 2 if counted.twice else 0


def main(arguments: list[str]) -> int:
    """The command line."""
    match arguments:
        case ["serve", path]:
            return serve(Path(path))
        case ["serve", path, "--idle", seconds]:
            return serve(Path(path), float(seconds))
        case ["check", path]:
            return check(Path(path))
        case _:
            print(__doc__, file=sys.stderr)
            return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
