"""Clients that go away: what nobody waits for is not made, and what somebody does is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.conversations import Conversation, House, until
from tests.support.hostile import png
from tests.support.jobs import GREY

STEPS = 2


@pytest.fixture
def house() -> Iterator[House]:
    """A server with one lane."""
    house = House({"one": {"model": GREY, "strength": 1.0, "steps": STEPS}}, 1)
    yield house
    house.close()


def asked(house: House, index: int) -> Conversation:
    """A request for a copy of a picture, all of which was sent."""
    conversation = Conversation(house.app, content_type="image/png")
    conversation.give(png(index), is_last=True)
    return conversation


def test_a_picture_that_nobody_waits_for_is_not_made(house: House) -> None:
    async def talk() -> None:
        house.gate.close()
        held = asked(house, 0)
        await until(lambda: house.service.worker.load().held == 1)
        waiting = [asked(house, 1), asked(house, 1)]
        await until(lambda: house.service.worker.load().waiting == 1)
        for conversation in waiting:
            conversation.hang_up()
            await conversation.ended()
        assert house.state.active == 1
        house.gate.open()
        await held.ended()
        assert held.status == 200

    calls = house.gate.calls
    asyncio.run(talk())
    asyncio.run(until(lambda: house.service.worker.load().waiting == 0))
    assert house.gate.calls - calls == STEPS
    assert house.state.active == 0


def test_a_picture_that_another_one_waits_for_is_made(house: House) -> None:
    async def talk() -> None:
        house.gate.close()
        first, second = asked(house, 0), asked(house, 0)
        await until(lambda: house.state.active == 2 and house.service.worker.load().held == 1)
        await until(lambda: [one.waiting for one in house.service.under_way] == [2])
        first.hang_up()
        await first.ended()
        house.gate.open()
        await second.ended()
        assert (first.status, second.status) == (400, 200)

    calls = house.gate.calls
    asyncio.run(talk())
    assert house.gate.calls - calls == STEPS


def test_a_picture_is_asked_for_again_after_it_was_given_up(house: House) -> None:
    async def talk() -> None:
        house.gate.close()
        first = asked(house, 0)
        await until(lambda: house.service.worker.load().held == 1)
        first.hang_up()
        again = asked(house, 0)
        await first.ended()
        house.gate.open()
        await again.ended()
        assert again.status == 200

    asyncio.run(talk())
