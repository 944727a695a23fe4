"""The door: a private socket that answers everything, and never takes a bad line for a request."""

import asyncio
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from partita.limits import LIMITS
from partita.runtime.door import ask_door, open_door
from partita.runtime.requests import Reply, Request

REQUEST = Request(op="ping", key="k")


async def accept(request: Request) -> Reply:
    return Reply(status="accepted", key=request.key, note=request.reason)


@asynccontextmanager
async def line_to(path: Path) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_a_request_is_answered(tmp_path: Path) -> None:
    async with open_door(tmp_path / "s", accept):
        assert await ask_door(tmp_path / "s", REQUEST) == Reply(status="accepted", key="k")


async def test_the_socket_belongs_to_its_user(tmp_path: Path) -> None:
    async with open_door(tmp_path / "s", accept):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


async def test_the_socket_goes_with_the_door(tmp_path: Path) -> None:
    async with open_door(tmp_path / "s", accept):
        pass

    assert not (tmp_path / "s").exists()


async def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").touch()

    async with open_door(tmp_path / "s", accept):
        assert (await ask_door(tmp_path / "s", REQUEST)).status == "accepted"


async def test_several_requests_fit_through_one_line(tmp_path: Path) -> None:
    async with open_door(tmp_path / "s", accept), line_to(tmp_path / "s") as (reader, writer):
        for key in ("a", "b"):
            writer.write(msgspec.json.encode(Request(op="ping", key=key)) + b"\n")
            assert msgspec.json.decode(await reader.readline(), type=Reply).key == key


@pytest.mark.parametrize(
    "line", [b"", b"hello", b"{}", b'{"op":"format disk","key":"k"}', b'{"op":"ping"}', b"\xff\xfe", b"[1]"]
)
async def test_a_line_that_is_no_request_is_rejected_and_the_next_one_heard(tmp_path: Path, line: bytes) -> None:
    async with open_door(tmp_path / "s", accept), line_to(tmp_path / "s") as (reader, writer):
        writer.write(line + b"\n")
        reply = msgspec.json.decode(await reader.readline(), type=Reply)
        assert (reply.status, reply.why[:18]) == ("rejected", "that is no request")

        writer.write(msgspec.json.encode(REQUEST) + b"\n")
        assert msgspec.json.decode(await reader.readline(), type=Reply).status == "accepted"


TOO_LONG = f"the request has more than {LIMITS.request_bytes_max:,} bytes; the limit is {LIMITS.request_bytes_max:,}"
"""What is said of a line that is not read to its end."""


@pytest.mark.parametrize("times", [1, 3])
async def test_a_request_over_the_limit_is_rejected_with_the_limit(tmp_path: Path, times: int) -> None:
    request = Request(op="ping", key="k", reason="x" * (times * LIMITS.request_bytes_max))
    async with open_door(tmp_path / "s", accept):
        reply = await ask_door(tmp_path / "s", request)

    assert (reply.status, reply.key) == ("rejected", "k")
    size = len(msgspec.json.encode(request))
    assert reply.why == f"the request has {size:,} bytes; the limit is {LIMITS.request_bytes_max:,}"
    assert "limits.request_bytes_max" in reply.remedy


@pytest.mark.parametrize("times", [1, 3])
async def test_a_line_over_the_limit_is_rejected_whoever_sends_it(tmp_path: Path, times: int) -> None:
    async with open_door(tmp_path / "s", accept), line_to(tmp_path / "s") as (reader, writer):
        writer.write(b"x" * (times * LIMITS.request_bytes_max + 1) + b"\n")
        await writer.drain()
        reply = msgspec.json.decode(await reader.readline(), type=Reply)

    assert (reply.status, reply.why) == ("rejected", TOO_LONG)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_line_over_the_limit_is_rejected_before_it_ends_and_the_next_one_heard(
    tmp_path: Path, times: int
) -> None:
    async with open_door(tmp_path / "s", accept), line_to(tmp_path / "s") as (reader, writer):
        writer.write(b"x" * (times * LIMITS.request_bytes_max + 1))
        await writer.drain()
        async with asyncio.timeout(20):
            reply = msgspec.json.decode(await reader.readline(), type=Reply)
        assert (reply.status, reply.why) == ("rejected", TOO_LONG)

        writer.write(b"x\n" + msgspec.json.encode(REQUEST) + b"\n")
        assert msgspec.json.decode(await reader.readline(), type=Reply).status == "accepted"


async def test_a_broken_connection_is_unknown_and_names_the_key(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"status":')
        writer.close()

    server = await asyncio.start_unix_server(hang_up, path=str(tmp_path / "s"))
    async with server:
        reply = await ask_door(tmp_path / "s", REQUEST)

    assert (reply.status, reply.key) == ("unknown", "k")


async def test_a_door_that_closes_while_it_decides_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def think(_request: Request) -> Reply:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with asyncio.TaskGroup() as group, open_door(tmp_path / "s", think):
        asking = group.create_task(ask_door(tmp_path / "s", REQUEST))
        await asked.wait()

    assert asking.result().status == "unknown"


async def test_nobody_behind_the_door_is_an_error_of_the_world(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await ask_door(tmp_path / "s", REQUEST)
