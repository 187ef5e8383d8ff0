"""The process of a server: its socket, its signals, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio import Task
from types import FrameType
from typing import Any

import uvicorn

from diffaug.errors import ConfigError
from diffaug.serve.impatient import Impatient
from diffaug.serve.state import State

__all__ = ["listen", "run_server"]

_CONNECTIONS = 1000
"""Connections at the same time; beyond them, 503."""

_LAST = 5
"""Seconds that clients have to read the last answers, once the work is done or its time is over."""

_HEAD = 2**18
"""Bytes of a request's head that are taken however it comes: with a text of the longest size."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigError: it cannot.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
        # its connections inherit it; asyncio sets it only for sockets of its own making
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error}: give another --host or --port"
        ) from None


def run_server(app: Any, state: State, listening: socket.socket, drain: float) -> bool:
    """Serve until SIGTERM or SIGINT, then end what is under way.

    Args:
        app: the ASGI application.
        state: of the application.
        listening: see `listen`.
        drain: seconds for that end; requests that come meanwhile are sent elsewhere.

    Returns:
        Whether everything was done by then.

    Raises:
        OutOfMemoryError: a network call does not fit into memory.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",  # however it was installed: uvloop has sockets of its own
        http=Impatient,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=_HEAD,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_LAST,
    )
    server = _Server(config, state, drain)
    server.run(sockets=[listening])
    if state.failure is not None:
        raise state.failure
    left = max(0.0, server.ends - time.monotonic())
    return state.service.close(left) and not server.is_unfinished


class _Server(uvicorn.Server):
    """Ends only once the work is done: until then its health says that it is about to.

    Attributes:
        ends: when it ends at the latest, of time.monotonic; the past without a signal.
        is_unfinished: whether something was not done by then.
    """

    def __init__(self, config: uvicorn.Config, state: State, drain: float) -> None:
        super().__init__(config)
        self._state, self._drain = state, drain
        self._draining: Task[None] | None = None
        self.ends, self.is_unfinished = 0.0, False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._state.failure is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._state.draining or self._loop is None:  # the second signal does not wait
            self._end()
            return
        self.ends = time.monotonic() + self._drain
        self._state.end(self._drain)
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._draining = asyncio.create_task(self._drained())

    async def _drained(self) -> None:
        while self._state.active and time.monotonic() < self.ends and not self.should_exit:
            await asyncio.sleep(0.05)
        self._end()

    def _end(self) -> None:
        if not self.should_exit:
            self.is_unfinished = self._state.active > 0
            self.should_exit = True
