"""Several servers, of which each request has its own first choice, and time for them to come back.

The choice is by rendezvous hashing (Thaler & Ravishankar, "Using name-based mappings to increase
hit rates", 1998): all clients ask the same server for the same copy, so that its cache is hit, and
one server less moves only the copies that it had.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx

from diffaug.errors import DiffaugError
from diffaug.online.address import Address
from diffaug.online.offer import Wanted
from diffaug.online.server import AwayError, BusyError, Request, Server

__all__ = ["Servers", "StoppedError", "UnansweredError"]

_CONNECT = 5.0
"""Seconds to connect, within which a machine that is there answers."""

_SHORTEST_WAIT = 60.0
"""Seconds for an answer, however little the patience."""

_IDLE = 2.0
"""Seconds for which an idle connection is kept: fewer than a server does."""

_BUSY = 1.0
"""Seconds after which to ask a busy server again, if it does not say."""

_SHORTEST_PAUSE = 0.05

_WATCHED = {
    "TCP_KEEPIDLE": 15,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 35_000,
}
"""How the system finds out that a machine is gone that owes an answer: within 35 seconds."""


class UnansweredError(DiffaugError, ConnectionError):
    """No server answered for as long as the patience lasts."""


class StoppedError(DiffaugError):
    """The pass has ended, and its requests with it."""


class Servers:
    """The servers of a pass, and the connections of this process to them.

    Args:
        places: their addresses.
        token: who this client is; None where nobody asks.
        patience: seconds without an answer of any server, after which a request fails.
        wanted: what all of them must agree on.
    """

    def __init__(
        self, places: Sequence[Address], token: str | None, patience: float, wanted: Wanted
    ) -> None:
        self._client = httpx.Client(
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(max(patience, _SHORTEST_WAIT), connect=_CONNECT, pool=None),
            limits=httpx.Limits(keepalive_expiry=_IDLE),
        )
        self._servers = [Server(place, self._client, wanted, self._look_at) for place in places]
        self._patience = patience
        self._answered = time.monotonic()
        self._process = os.getpid()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def ask(self, request: Request) -> bytes:
        """A copy, from whichever server makes it, however long that takes.

        Raises:
            UnansweredError: there was no answer for longer than the patience lasts.
            StoppedError: the pass has ended.
            ConfigError: see `Server.ask`.
            DefectError: see `Server.ask`.
        """
        ranked = sorted(self._servers, key=lambda one: one.rank(request.identity), reverse=True)
        began = time.monotonic()
        while not self._stop.is_set():
            server = next((one for one in ranked if one.rests() <= 0), None)
            if server is None:
                pause = min(one.rests() for one in ranked)
            else:
                try:
                    found = server.ask(request)
                except AwayError:
                    continue
                except BusyError as busy:
                    if busy.seconds is not None:
                        # it answers, and says when to come: neither earlier nor impatient then
                        self._answered = time.monotonic()
                        self._stop.wait(max(busy.seconds, _SHORTEST_PAUSE))
                        began = time.monotonic()
                        continue
                    pause = _BUSY
                else:
                    self._answered = time.monotonic()
                    return found
            left = max(began, self._answered) + self._patience - time.monotonic()
            if left <= 0 and not self._stop.is_set():
                raise self._unanswered()
            self._stop.wait(min(max(pause, _SHORTEST_PAUSE), left))
        raise StoppedError("the pass has ended")

    def stop(self) -> None:
        """End the requests under way; their threads raise an error soon.

        In a process that was forked from this one it does nothing: the connections are not its own.
        """
        if os.getpid() != self._process:
            return
        self._stop.set()
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):  # it is closed
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the requests under way, and close the connections."""
        self.stop()
        if os.getpid() == self._process:
            self._client.close()

    def _unanswered(self) -> UnansweredError:
        failed = "; ".join(f"{one.url}: {one.failure or 'not asked'}" for one in self._servers)
        return UnansweredError(
            f"no server answered within {self._patience:g} s ({failed}): see whether they run, or "
            "raise patience"
        )

    def _look_at(self, event: str, info: dict[str, Any]) -> None:
        """Take note of each new connection, so that it can be ended from another thread."""
        # of connection, proxy or socks
        if event.partition(".")[2] not in ("connect_tcp.complete", "start_tls.complete"):
            return
        one: socket.socket = info["return_value"].get_extra_info("socket")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _WATCHED.items():
            if hasattr(socket, name):  # Linux has them all
                one.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        with self._lock:
            self._sockets = [kept for kept in self._sockets if kept.fileno() >= 0] + [one]
        if self._stop.is_set():
            one.close()
            raise StoppedError("the pass has ended")
