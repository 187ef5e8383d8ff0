"""Room: never more than there is, first come first served, and given back whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from diffaug.serve.room import Room


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_asks_first_is_served_first() -> None:
    """Even if what comes later would fit in before it."""

    async def main() -> None:
        room, order = Room(10), list[int]()

        async def hold(units: int) -> None:
            async with room.of(units):
                order.append(units)
                await turns()

        await asyncio.gather(*(hold(units) for units in (6, 7, 3, 4)))
        assert order == [6, 7, 3, 4]
        assert room.free == 10

    run(main())


def test_there_is_never_more_than_all() -> None:
    async def main() -> None:
        room, least = Room(10), [10]

        async def hold(units: int) -> None:
            async with room.of(units):
                least.append(room.free)
                await turns()

        await asyncio.gather(*(hold(units) for units in (3, 9, 1, 4, 100, 2, 10, 5)))
        assert min(least) == 0
        assert room.free == 10

    run(main())


def test_what_fails_gives_back() -> None:
    async def main() -> None:
        room = Room(10)
        with pytest.raises(ZeroDivisionError):
            async with room.of(10):
                1 / 0  # noqa: B018
        assert room.free == 10

    run(main())


@pytest.mark.parametrize("turned", [False, True], ids=["waiting", "just admitted"])
def test_who_no_longer_waits_keeps_nobody_waiting(turned: bool) -> None:
    async def main() -> None:
        room, done = Room(10), list[str]()

        async def hold(name: str, units: int) -> None:
            async with room.of(units):
                done.append(name)

        first = room.of(10)
        await first.__aenter__()
        gone = asyncio.create_task(hold("gone", 8))
        other = asyncio.create_task(hold("other", 5))
        await turns()
        if turned:
            await first.__aexit__(None, None, None)
            gone.cancel()  # it has its units, and does not know yet
        else:
            gone.cancel()
            await turns()
            await first.__aexit__(None, None, None)
        with suppress(asyncio.CancelledError):
            await gone
        await other
        assert done == ["other"]
        assert room.free == 10

    run(main())


def test_what_is_not_needed_is_given_back_early() -> None:
    async def main() -> None:
        room = Room(10)
        async with room.of(100) as held:
            held.keep(20)
            assert room.free == 0
            waiting = asyncio.create_task(room.of(7).__aenter__())
            await turns()
            assert not waiting.done()
            held.keep(3)
            await waiting
            assert room.free == 0
        assert room.free == 3

    run(main())
