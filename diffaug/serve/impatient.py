"""Connections that no client holds: heads, and answers, have to move on."""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from diffaug.serve.bodies import PATIENCE, SLOWEST
from diffaug.serve.problems import ProblemError, problem_response

__all__ = ["Impatient"]


class Impatient(H11Protocol):
    """HTTP/1.1 over a connection that is closed where its client only keeps it.

    The head of the next request has to end within `PATIENCE` seconds of its first byte, and an
    answer that waits to be sent has to leave as quickly as a body has to come (see `read_body`).
    What is no HTTP is answered by a problem.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head = _Deadline(self.loop, self._end_head)
        self._answer = _Deadline(self.loop, self._end_answer)

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._head.clear()
        self._answer.clear()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._watch_answer()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._answer.clear()

    def on_response_complete(self) -> None:
        """All of an answer was handed to the connection."""
        super().on_response_complete()
        self._watch_answer()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless an answer is on its way already, and close."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_problem(str(sys.exception() or msg)))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # what works on it finds that nobody is there
            self.cycle.message_event.set()
        self.transport.close()
        self._watch_answer()

    def _should_upgrade(self) -> bool:
        return False

    def _watch_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._head.clear()
        elif not self._head.is_set and not self.transport.is_closing():
            self._head.set(PATIENCE)

    def _end_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _watch_answer(self) -> None:
        self._answer.clear()
        if size := self.transport.get_write_buffer_size():
            self._answer.set(PATIENCE + size / SLOWEST)

    def _end_answer(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # to close it would wait for the client


class _Deadline:
    """A moment at which something ends, unless it is cleared before."""

    def __init__(self, loop: AbstractEventLoop, end: Callable[[], None]) -> None:
        self._loop, self._end = loop, end
        self._timer: TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._timer is not None

    def set(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._pass)

    def clear(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self) -> None:
        self._timer = None
        self._end()


def _problem(why: str) -> bytes:
    """The whole answer to what is no HTTP."""
    problem = ProblemError(400, "bad_http", f"the request is no HTTP: {why}")
    response = problem_response(problem)
    head = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    body = bytes(response.body)
    return b"HTTP/1.1 400 Bad Request\r\n" + head + b"connection: close\r\n\r\n" + body
