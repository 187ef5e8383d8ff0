"""Bodies of requests, by a clock that stands still: too slow, too long, and of two lengths."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from diffaug.serve.bodies import PATIENCE, SLOWEST, length_of, read_body
from diffaug.serve.problems import ProblemError
from tests.support.clock import Clock, on_a_clock

MOST = 10_000_000


def request(*headers: tuple[str, str], body: asyncio.Queue[Message] | None = None) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}
    return Request(scope, body.get) if body is not None else Request(scope)


def body_of(parts: Sequence[tuple[float, bytes]], ends: bool = True) -> bytes:
    """What is read of parts that come after so many seconds each."""

    async def main(clock: Clock) -> bytes:
        body = asyncio.Queue[Message]()
        reading = asyncio.create_task(read_body(request(body=body), MOST))
        await clock.advance(0)
        for seconds, part in parts:
            await clock.advance(seconds)
            body.put_nowait({"type": "http.request", "body": part, "more_body": True})
            await clock.advance(0)
        if ends:
            body.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        else:
            await clock.advance(PATIENCE)
        return await reading

    return on_a_clock(main)


def refusal(parts: Sequence[tuple[float, bytes]], ends: bool = True) -> tuple[int, str]:
    with pytest.raises(ProblemError) as error:
        body_of(parts, ends)
    return error.value.status, error.value.code


def test_a_body_may_come_in_parts_with_pauses() -> None:
    part = bytes(10 * SLOWEST)
    assert body_of([(0, part), (PATIENCE - 1, part), (PATIENCE - 1, part)]) == 3 * part


@pytest.mark.parametrize(
    ("parts", "ends"),
    [
        ([], False),
        ([(0, bytes(1000))], False),
        ([(0, bytes(100 * SLOWEST))], False),  # ahead of its pace, it may pause no longer
        ([(PATIENCE / 2, b"x")] * 3, True),  # a byte now and then
    ],
    ids=["none", "half", "much, then none", "trickle"],
)
def test_a_body_that_is_too_slow_is_given_up(parts: list[tuple[float, bytes]], ends: bool) -> None:
    assert refusal(parts, ends) == (408, "slow_body")


def test_a_body_of_no_stated_length_ends_at_the_limit() -> None:
    assert refusal([(0, bytes(MOST)), (0, b"x")]) == (413, "too_large_body")
    assert refusal([]) == (400, "empty_body")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([("content-length", str(MOST + 1))], "too_large_body"),
        ([("content-length", "-1")], "bad_length"),
        ([("content-length", "1.0")], "bad_length"),
        ([("content-length", "5"), ("transfer-encoding", "chunked")], "bad_length"),
    ],
)
def test_a_length_that_cannot_be_is_refused(headers: list[tuple[str, str]], code: str) -> None:
    with pytest.raises(ProblemError) as error:
        length_of(request(*headers), MOST)
    assert error.value.code == code


def test_a_length_may_be_left_out() -> None:
    assert length_of(request(("transfer-encoding", "chunked")), MOST) is None
    assert length_of(request(("content-length", str(MOST))), MOST) == MOST
