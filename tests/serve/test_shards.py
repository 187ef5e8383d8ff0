"""A shard on its way: what is held at a time, and what happens when either side ends early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from diffaug.serve import inflow
from tests.support.conversations import Conversation, House, contents, until
from tests.support.hostile import END, blocks, png
from tests.support.jobs import GREY

STEPS = 2
BATCH = 4
RECIPE: dict[str, Any] = {"model": GREY, "strength": 1.0, "steps": STEPS, "copies": 2}


@pytest.fixture(scope="module")
def whole() -> Iterator[House]:
    house = House({"one": RECIPE}, BATCH)
    yield house
    house.close()


@pytest.fixture
def house(whole: House) -> Iterator[House]:
    """A server with nothing to do, before and after."""
    yield whole
    whole.gate.open()
    state = whole.state
    state.draining, state.reads_until = False, None
    assert (state.active, state.shard_copies, state.admission.seconds) == (0, 0, 0)
    assert all(room.free > 0 for room in state.shard_memory.values())


def pieces(count: int) -> list[bytes]:
    """A shard, a sample a piece."""
    return [blocks([(f"{number:04d}.png", png(number % 100))]) for number in range(count)]


def said(answer: bytes) -> dict[str, str]:
    """The reason of each copy without a picture, by its member."""
    rows = {name: json.loads(data) for name, data in contents(answer).items() if "json" in name}
    return {name: row["reason_code"] for name, row in rows.items() if "status" in row}


def _has_come(conversation: Conversation, part: bytes) -> bool:
    return part in conversation.answer and not conversation.is_complete


def test_copies_leave_while_the_body_comes(house: House) -> None:
    async def talk() -> None:
        conversation = Conversation(house.app)
        for sent, piece in enumerate(pieces(5)):
            conversation.give(piece)  # a sample ends where the next one begins
            for copy in range(2 if sent else 0):
                name = f"{sent - 1:04d}-a{copy}.png".encode()
                await until(partial(_has_come, conversation, name))
        conversation.give(END, is_last=True)
        await conversation.ended()
        assert conversation.is_complete
        assert len(contents(conversation.answer)) == 20

    asyncio.run(talk())


def test_a_long_body_is_read_as_far_as_there_is_room_for_its_copies(house: House) -> None:
    count, lanes = 30, BATCH
    settled = house.count("diffaug_served_total")
    most_held = most_ahead = 0

    def look(conversation: Conversation) -> None:
        nonlocal most_held, most_ahead
        done = (house.count("diffaug_served_total") - settled) / 2
        most_held = max(most_held, house.state.shard_copies)
        most_ahead = max(most_ahead, conversation.taken - int(done))

    async def talk() -> bytes:
        conversation = Conversation(house.app)
        conversation.on_taken = partial(look, conversation)
        conversation.give(*pieces(count), END, is_last=True)
        await conversation.ended()
        return conversation.answer

    assert len(contents(asyncio.run(talk()))) == 4 * count
    assert most_held <= 2 * lanes
    assert most_ahead <= lanes + 4  # of samples, which have two copies each


def _all_are_there(house: House) -> bool:
    """Whether all copies of three samples wait, but for those that had a lane at once."""
    load = house.service.worker.load()
    return load.held > 0 and load.waiting + load.held == 6


def test_what_waits_when_the_client_goes_away_is_never_run(house: House) -> None:
    async def talk() -> None:
        house.gate.close()
        conversation = Conversation(house.app)
        conversation.give(*pieces(3), END, is_last=True)
        await until(partial(_all_are_there, house))
        conversation.hang_up()
        await conversation.ended()
        assert not conversation.is_complete
        assert house.state.active == 0

    before = house.gate.calls
    asyncio.run(talk())
    house.gate.open()
    asyncio.run(until(lambda: house.service.worker.load().waiting == 0))
    asyncio.run(until(lambda: house.service.worker.load().held == 0))
    assert house.gate.calls - before == STEPS  # those of whoever had a lane


def test_a_body_that_breaks_off_ends_the_work(house: House) -> None:
    async def talk() -> None:
        conversation = Conversation(house.app)
        conversation.give(*pieces(2))
        await until(lambda: b"0000-a1.png" in conversation.answer)
        conversation.hang_up()
        await conversation.ended()
        assert not conversation.is_complete

    gone = house.count("diffaug_refused_total")
    asyncio.run(talk())
    assert house.count("diffaug_refused_total") == gone + 1


def test_what_is_read_while_the_server_ends_is_answered_without_work(house: House) -> None:
    async def talk() -> bytes:
        conversation = Conversation(house.app)
        conversation.give(*pieces(2))
        await until(lambda: b"0000-a1.png" in conversation.answer)
        house.state.end(10**6)
        conversation.give(*pieces(4)[2:], END, is_last=True)
        await conversation.ended()
        assert conversation.is_complete
        return conversation.answer

    answer = asyncio.run(talk())
    assert len(contents(answer)) == 2 * 2 + 3 * 2
    assert said(answer) == {
        f"{number:04d}-a{copy}.diffaug.json": "not_ready"
        for number in range(1, 4)
        for copy in range(2)
    }


def test_a_body_without_an_end_stops_in_time_for_the_servers(house: House) -> None:
    async def talk() -> bytes:
        conversation = Conversation(house.app)
        conversation.give(*pieces(2))
        await until(lambda: b"0000-a1.png" in conversation.answer)
        house.state.end(0)
        await conversation.ended()
        assert conversation.is_complete
        return conversation.answer

    found = said(asyncio.run(talk()))
    assert found["0001-a0.diffaug.json"] == "truncated_tar"
    assert found["failed-000002.diffaug.json"] == "not_ready"


def test_a_body_that_does_not_come_is_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflow, "_LOOK", 0.01)

    async def talk() -> tuple[Conversation, Conversation]:
        begun = Conversation(house.app)
        begun.give(*pieces(2))
        await until(lambda: b"0000-a1.png" in begun.answer)
        monkeypatch.setattr(inflow, "PATIENCE", 0)
        nothing = Conversation(house.app)
        await asyncio.gather(begun.ended(), nothing.ended())
        return begun, nothing

    begun, nothing = asyncio.run(talk())
    assert begun.is_complete
    assert [*said(begun.answer).values()][-1] == "slow_body"
    assert (nothing.status, nothing.problem["code"]) == (408, "slow_body")


def test_an_owners_fifth_shard_waits_for_one_of_the_others(house: House) -> None:
    async def talk() -> None:
        first = [Conversation(house.app) for _ in range(4)]
        for conversation in first:
            conversation.give(pieces(1)[0])
        await until(lambda: house.state.active == 4)
        fifth = Conversation(house.app)
        fifth.give(END, is_last=True)
        for _ in range(1000):  # turns of the loop, of which a request takes a few to begin
            await asyncio.sleep(0)
        assert (house.state.active, fifth.taken) == (4, 0)
        first[0].give(END, is_last=True)
        await fifth.ended()
        assert fifth.is_complete
        for conversation in first[1:]:
            conversation.give(END, is_last=True)
        for conversation in first:
            await conversation.ended()

    asyncio.run(talk())
