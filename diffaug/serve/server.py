"""The process of a server: its socket, its signals, and how it ends."""

from __future__ import annotations

import asyncio
import socket
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
        http=Impatient,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=_HEAD,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config, state, drain)
    server.run(sockets=[listening])
    if state.failure is not None:
        raise state.failure
    return state.service.close(0 if state.active else None) and not state.active


class _Server(uvicorn.Server):
    """Ends only once the work is done: until then its health says that it is about to."""

    def __init__(self, config: uvicorn.Config, state: State, drain: float) -> None:
        super().__init__(config)
        self._state, self._drain = state, drain
        self._draining: Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._state.failure is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._state.draining or self._loop is None:  # the second signal does not wait
            self.should_exit = True
            return
        self._state.end(self._drain)
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._draining = asyncio.create_task(self._drained())

    async def _drained(self) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._drain
        while self._state.active and loop.time() < ends and not self.should_exit:
            await asyncio.sleep(0.05)
        self.should_exit = True
