"""A request's body as a file: a thread reads it, while it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from starlette.requests import ClientDisconnect, Request

from diffaug.serve.bodies import PATIENCE, SLOWEST, slow_body
from diffaug.serve.problems import ProblemError, ending

__all__ = ["Inflow"]

_LOOK = 1.0
"""Seconds after which a body that does not come is looked at again."""


class Inflow:
    """The body of a request, read no faster than it is asked for.

    A client may pause for as long as the server owes it something. What comes too slowly ends
    where it is, as if the body had been cut off there.

    Args:
        request: its body has not been read.
        owes: whether the server has work of this request left, so that the client may be waiting.
        until: the time of the loop until which bodies are read; None: there is no end.

    Attributes:
        stopped: why the body was not read to its end; None if it was, or is being read.
        ended: whether nothing more is read.
        start: its first bytes.
    """

    def __init__(
        self, request: Request, owes: Callable[[], bool], until: Callable[[], float | None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._parts = request.stream()
        self._owes, self._until = owes, until
        self._rest = memoryview(b"")
        self._size, self._waited, self._pause = 0, 0.0, 0.0
        self._asked: Future[bytes] | None = None
        self._coming: asyncio.Task[bytes | None] | None = None
        self._is_closed = False
        self.stopped: ProblemError | None = None
        self.ended = asyncio.Event()
        self.start = b""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. To be called in another thread than the loop's.

        Raises:
            ClientDisconnect: the client went away.
        """
        if not self._rest:
            self._asked = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            self._rest = memoryview(self._asked.result())
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    def close(self) -> None:
        """Read no more; a thread that waits in `read` gets an error."""
        self._is_closed = True
        if self._asked is not None:
            self._asked.cancel()
        if self._coming is not None:
            self._coming.cancel()

    async def _next(self) -> bytes:
        """The next part of the body; empty at its end."""
        self._pause = 0.0
        while True:
            if self._is_closed:
                raise ClientDisconnect
            self._stop_late()
            if self.ended.is_set():
                return b""
            if self._coming is None:
                self._coming = asyncio.ensure_future(self._part())
            began = self._loop.time()
            await asyncio.wait({self._coming}, timeout=_LOOK)
            if not self._owes():
                self._waited += self._loop.time() - began
                self._pause += self._loop.time() - began
            if self._coming.done():
                part, self._coming = self._coming.result(), None
                if part is None:
                    raise ClientDisconnect
                self._size += len(part)
                if not part:
                    self.ended.set()
                self.start = self.start or part[:8]
                return part

    async def _part(self) -> bytes | None:
        """What comes next, empty at the end of the body; None if the client went away."""
        try:
            return await anext(self._parts, b"")
        except ClientDisconnect:
            return None

    def _stop_late(self) -> None:
        """Stop if the client has been waited for too long, or the server ends."""
        until = self._until()
        if self.ended.is_set():
            return
        if until is not None and self._loop.time() >= until:
            self._stop(ending())
        elif self._pause > PATIENCE or self._waited > PATIENCE + self._size / SLOWEST:
            self._stop(slow_body(self._size))

    def _stop(self, problem: ProblemError) -> None:
        self.stopped = problem
        if self._coming is not None:
            self._coming.cancel()
        self.ended.set()
