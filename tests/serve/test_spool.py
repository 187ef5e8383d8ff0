"""A spool: every byte in order, whoever is faster, and no more of it in memory than allowed."""

from __future__ import annotations

import asyncio
import random

import pytest

from diffaug.serve.spool import Spool


async def _all(spool: Spool) -> bytes:
    found = b""
    while part := await spool.read():
        found += part
    return found


@pytest.mark.parametrize("seed", range(5))
def test_bytes_come_out_as_they_went_in(seed: int) -> None:
    chance = random.Random(seed)
    parts = [chance.randbytes(chance.randrange(50)) for _ in range(200)]
    found = b""

    async def talk() -> None:
        nonlocal found
        spool = Spool(100)
        waiting = 0
        for part in parts:
            await spool.write(part)
            waiting += len(part)
            assert spool.held <= 100
            while waiting and chance.random() < 0.5:
                read = await spool.read()
                found += read
                waiting -= len(read)
        spool.end()
        found += await _all(spool)
        assert (spool.held, spool.on_disk) == (0, 0)
        spool.close()

    asyncio.run(talk())
    assert found == b"".join(parts)


def test_a_reader_waits_for_a_writer_and_never_the_other_way_round() -> None:
    async def talk() -> None:
        spool = Spool(10)
        reading = asyncio.create_task(_all(spool))
        for _ in range(100):
            await spool.write(b"0123456789")
        spool.end()
        assert await reading == b"0123456789" * 100
        spool.close()

    asyncio.run(talk())
