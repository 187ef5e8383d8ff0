"""Shards over HTTP: a tar in, the augmented tar out, while it comes."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from diffaug.serve.gone import until_gone
from diffaug.serve.inflow import Inflow
from diffaug.serve.problems import ProblemError
from diffaug.serve.recipes import Registered
from diffaug.serve.shards import Shard
from diffaug.serve.spool import Spool
from diffaug.serve.state import State

__all__ = ["TAR", "answer_shard"]

TAR = "application/x-tar"
"""The media type of a shard."""

_OF_PICTURES = ("copy", "label", "label_text", "key")
"""Parameters that a shard's samples have themselves."""


async def answer_shard(state: State, request: Request, recipe: Registered, owner: str) -> Response:
    """The response to a shard: its head, as soon as the first sample was read.

    Raises:
        ProblemError: it is compressed (415), comes with a picture's parameters (400) or too slowly
            (408), or the server is ending (503).
        DefectError: it is not a tar.
        ClientDisconnect: the client went away.
    """
    _refuse(request)
    with ExitStack() as stack:
        turn = state.turn_of_shard(owner)
        await turn.acquire()
        reading = stack.enter_context(ExitStack())
        reading.callback(turn.release)
        state.refuse_unready()
        stack.enter_context(state.working())
        body = Inflow(request, lambda: shard.held > 0, lambda: state.reads_until)
        shard = Shard(state, recipe, owner, body)
        stack.callback(shard.close)
        await shard.begin()
        return _TarResponse(state, request, shard, body, reading, stack.pop_all())


class _TarResponse(Response):
    """Streams the tar, while the body is read.

    Args:
        state: of the server.
        request: whose body it is.
        shard: what is streamed.
        body: of the shard.
        reading: what is held while the body is read.
        holding: what is held until the response has ended.
    """

    def __init__(
        self,
        state: State,
        request: Request,
        shard: Shard,
        body: Inflow,
        reading: ExitStack,
        holding: ExitStack,
    ) -> None:
        self.status_code = 200
        self.init_headers({"Content-Type": TAR})
        self.background = None
        self._state, self._request = state, request
        self._shard, self._body = shard, body
        self._reading, self._holding = reading, holding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._holding:
            spool = Spool()
            self._holding.callback(spool.close)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._shard.run(spool))
                    watching = group.create_task(self._watch())
                    await self._send(spool, send)
                    watching.cancel()
            except* ClientDisconnect:
                self._state.metrics.refused("gone", self._shard.recipe.name)

    async def _send(self, spool: Spool, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        while data := await spool.read():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self) -> None:
        """Give back what only reading needs; then notice if the client goes away."""
        await self._body.ended.wait()
        self._reading.close()
        await until_gone(self._request)
        raise ClientDisconnect


def _refuse(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise ProblemError(
            415, "content_encoding", f"Content-Encoding: {coding} is not taken: send the tar itself"
        )
    given = [name for name in _OF_PICTURES if name in request.query_params]
    if given:
        raise ProblemError(
            400, "bad_request", f"{given[0]} is for a picture: the samples of a tar have their own"
        )
