"""Bodies of requests, read within limits of bytes and time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from diffaug.serve.problems import ProblemError

__all__ = ["PATIENCE", "SLOWEST", "length_of", "read_body", "slow_body"]

PATIENCE = 10.0
"""Seconds that a body may pause, before the request is given up."""

SLOWEST = 4096
"""Bytes a second that a body must come with, on average."""


def length_of(request: Request, most: int) -> int | None:
    """The length that a request states for its body; None where it states none.

    Raises:
        ProblemError: it is more than `most` bytes (413), no number, or stated in two ways (400).
    """
    stated = request.headers.get("content-length")
    if stated is None:
        return None
    if "transfer-encoding" in request.headers:  # where proxies disagree, requests are smuggled
        raise ProblemError(
            400,
            "bad_length",
            "Content-Length and Transfer-Encoding are both there: send one of them",
            {"Connection": "close"},
        )
    if not stated.isascii() or not stated.isdecimal():
        raise ProblemError(400, "bad_length", f"Content-Length: {stated!r} is no number of bytes")
    if int(stated) > most:
        raise _too_large(most)
    return int(stated)


async def read_body(request: Request, most: int) -> bytes:
    """The whole body.

    Raises:
        ProblemError: it is empty (400), longer than `most` bytes (413), or too slow (408).
        ClientDisconnect: the client went away.
    """
    parts, size = list[bytes](), 0
    began = asyncio.get_running_loop().time()
    stream = request.stream().__aiter__()
    while True:
        left = PATIENCE + size / SLOWEST - (asyncio.get_running_loop().time() - began)
        try:
            part = await asyncio.wait_for(anext(stream, None), min(max(left, 0), PATIENCE))
        except TimeoutError:
            raise slow_body(size) from None
        if part is None:
            break
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    if not size:
        raise ProblemError(400, "empty_body", "the body is empty: send a picture's file, or a tar")
    return b"".join(parts)


def slow_body(size: int) -> ProblemError:
    """The problem of a body of which so many bytes came, and no more for too long."""
    said = f"the body came too slowly: {size} bytes so far, and none for a while"
    return ProblemError(408, "slow_body", said)


def _too_large(most: int) -> ProblemError:
    return ProblemError(413, "too_large_body", f"the body has more than {most} bytes")
