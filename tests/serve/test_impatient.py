"""Connections that a client only keeps, over real sockets, by a clock that stands still."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from diffaug.serve.bodies import PATIENCE, SLOWEST
from diffaug.serve.impatient import Impatient
from tests.support.clock import Clock, on_a_clock

LARGE = 12 * 2**20
"""Bytes of an answer that no socket's buffers hold."""

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class App:
    """Reads a request's body, then answers so many bytes."""

    size: int = 0
    asked: int = 0
    gone: int = 0
    events: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        self.events.set()
        try:
            await Request(scope, receive).body()
        except ClientDisconnect:
            self.gone += 1
        await Response(bytes(self.size))(scope, receive, send)
        self.events.set()


class Served:
    """A server of an application, and its clients."""

    def __init__(self, clock: Clock, app: App) -> None:
        self.clock, self.app, self.state = clock, app, ServerState()
        self.connections: list[Impatient] = []
        self._config = uvicorn.Config(
            app, http=Impatient, ws="none", lifespan="off", log_config=None, access_log=False
        )
        self._config.load()

    def protocol(self) -> Impatient:
        self.connections.append(Impatient(self._config, self.state, {}, self.clock))
        return self.connections[-1]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A client whose socket holds little, once the server knows it."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        before = len(self.state.connections)
        await self.clock.sock_connect(connection, self.address)
        reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
        await until(lambda: len(self.state.connections) > before)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Served]:
        server = await self.clock.create_server(self.protocol, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()
        try:
            yield self
        finally:
            server.close()
            for one in list(self.state.connections):
                one.transport.abort()
            await until(lambda: not self.state.connections and not self.state.tasks)


async def until(so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    while not so():
        await asyncio.sleep(0)


def test_a_head_that_does_not_end_ends_its_connection() -> None:
    async def main(clock: Clock) -> None:
        async with Served(clock, App()).listening() as served, served.client() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\n")
            connection = served.connections[-1]
            for _ in range(3):  # a drip does not buy more time
                await clock.advance(PATIENCE / 4)
                writer.write(b"X-Y: z\r\n")
                assert not connection.transport.is_closing()
            await clock.advance(PATIENCE / 4)
            assert await reader.read() == b""
            assert served.app.asked == 0

    on_a_clock(main)


def test_a_head_behind_an_answer_has_as_much_time() -> None:
    async def main(clock: Clock) -> None:
        async with Served(clock, App()).listening() as served, served.client() as (reader, writer):
            writer.write(GET)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            connection = served.connections[-1]
            writer.write(b"GET")
            await until(lambda: connection._head.is_set)
            await clock.advance(PATIENCE)
            assert await reader.read() == b""

    on_a_clock(main)


def test_a_body_is_not_a_head() -> None:
    """How slowly it may come is for the one who reads it to say."""

    async def main(clock: Clock) -> None:
        served = Served(clock, App(size=5))
        async with served.listening(), served.client() as (reader, writer):
            writer.write(CHUNKED + b"5\r\nhello\r\n")
            await served.app.events.wait()
            await clock.advance(100 * PATIENCE)
            writer.write(b"0\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")

    on_a_clock(main)


@pytest.mark.parametrize("requests", [1, 5], ids=["one", "pipelined"])
def test_who_does_not_read_an_answer_is_cut_off(requests: int) -> None:
    async def main(clock: Clock) -> None:
        served = Served(clock, App(size=LARGE))
        async with served.listening(), served.client() as (_, writer):
            connection = served.connections[-1]
            writer.write(GET * requests)
            await until(lambda: connection.transport.get_write_buffer_size() > 0)
            await clock.advance(PATIENCE + LARGE / SLOWEST + 1)
            await until(lambda: not served.state.connections and not served.state.tasks)

    on_a_clock(main)


def test_who_reads_slowly_gets_all_of_it() -> None:
    async def main(clock: Clock) -> None:
        served = Served(clock, App(size=LARGE))
        async with served.listening(), served.client() as (reader, writer):
            connection = served.connections[-1]
            writer.write(GET)
            await until(lambda: connection.transport.get_write_buffer_size() > 0)
            await clock.advance(10 * PATIENCE)  # longer than a connection may idle
            await reader.readuntil(b"\r\n\r\n")
            assert len(await reader.readexactly(LARGE)) == LARGE

    on_a_clock(main)


@pytest.mark.parametrize(
    ("sent", "answers", "gone"),
    [
        (b"what is this\r\n\r\n", 1, 0),
        (b"GET / HTTP/1.1\r\n\r\n", 1, 0),  # without a host
        (GET + b"what is this\r\n\r\n", 2, 0),
        (CHUNKED + b"what is this\r\n", 1, 1),
        (CHUNKED + b"5\r\nhello\r\nwhat is this\r\n", 1, 1),
    ],
    ids=["no head", "no host", "behind a request", "no chunk", "no second chunk"],
)
def test_what_is_no_http_is_a_problem(
    sent: bytes, answers: int, gone: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(clock: Clock) -> bytes:
        async with Served(clock, App()).listening() as served, served.client() as (reader, writer):
            writer.write(sent)
            received = await reader.read()
            await until(lambda: not served.state.tasks)
            assert served.app.gone == gone
            return received

    with caplog.at_level(logging.ERROR):
        received = on_a_clock(main)
    assert received.count(b"HTTP/1.1 ") == answers
    head, _, body = received[received.rindex(b"HTTP/1.1 400") :].partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["code"] == "bad_http"
    assert not caplog.records


def test_what_is_no_http_ends_an_answer_that_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async def main(clock: Clock) -> bytes:
        served = Served(clock, App())
        served._config.loaded_app = app
        async with served.listening(), served.client() as (reader, writer):
            writer.write(CHUNKED)
            first = await reader.readuntil(b"begun\r\n")
            writer.write(b"what is this\r\n")
            return first + await reader.read()

    with caplog.at_level(logging.ERROR):
        assert on_a_clock(main).count(b"HTTP/1.1 ") == 1
    assert not [one for one in caplog.records if one.exc_info]
