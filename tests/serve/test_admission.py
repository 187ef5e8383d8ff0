"""Admission: a queue bounded in seconds, and promises that are kept."""

from __future__ import annotations

import asyncio
import gc
import heapq
import tracemalloc
from contextlib import suppress

import pytest

from diffaug.serve.admission import Admission, FullError


class Clock:
    """Stands still unless it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admission(clock: Clock, most: float = 10, pace: float = 1) -> Admission:
    return Admission(most, lambda: pace, clock)


def refused(queue: Admission, rows: float, who: str) -> int:
    with pytest.raises(FullError) as error:
        queue.enter(rows, who)
    return error.value.retry_after


def test_it_is_full_when_its_seconds_are(clock: Clock) -> None:
    queue = admission(clock, pace=0.5)
    for number in range(4):
        queue.enter(5, str(number))
    assert queue.seconds == 10
    assert refused(queue, 1, "more") == 6  # 5.5 in whole seconds, after which half is left
    queue.leave(5)
    assert queue.seconds == 7.5
    clock.now += 6
    queue.enter(5, "more")


def test_an_empty_queue_takes_anything(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(1000, "long")
    assert refused(queue, 1, "short") == 996
    queue.leave(1000)
    queue.enter(1, "short")


def test_a_place_is_given_up_whatever_happens(clock: Clock) -> None:
    queue = admission(clock)
    with pytest.raises(ZeroDivisionError), queue.place(10, "a"):
        1 / 0  # noqa: B018
    assert queue.seconds == 0


def test_newcomers_find_what_was_promised_to_others(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(10, "first")
    assert refused(queue, 4, "second") == 9
    assert refused(queue, 3, "third") == 12
    assert refused(queue, 2, "fourth") == 14
    queue.leave(4)
    clock.now += 9
    assert refused(queue, 1, "newcomer") == 11
    queue.enter(4, "second")


def test_who_comes_too_early_is_told_again(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(10, "first")
    assert refused(queue, 4, "second") == 9
    clock.now += 1
    assert refused(queue, 4, "second") == 8
    clock.now += 7.5
    assert refused(queue, 4, "second") == 1


def test_the_same_request_of_another_keeps_no_promise_from_being_kept(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(10, "first")
    assert refused(queue, 4, "same") == 9
    clock.now += 2
    assert refused(queue, 4, "same") == 7
    queue.leave(10)
    queue.enter(6, "third")
    clock.now += 7
    queue.enter(4, "same")


def test_what_is_more_than_the_queue_is_let_in_when_half_of_it_is_free(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(5, "first")
    told = refused(queue, 100, "long")
    clock.now += told
    queue.enter(100, "long")


def test_a_promise_that_nobody_redeems_is_forgotten(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(10, "first")
    refused(queue, 5, "gone")
    queue.leave(10)
    queue.enter(1, "one")
    assert refused(queue, 9, "other") >= 1
    clock.now += 60
    queue.enter(9, "other")


def test_promises_do_not_grow_without_end(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(10, "first")
    told = [refused(queue, 5, str(number)) for number in range(1000)]
    assert max(told) <= 10 * 10 + 10


@pytest.mark.parametrize("clients", [60, 100])
def test_who_obeys_is_let_in_the_second_time(clock: Clock, clients: int) -> None:
    """Many more clients than there is work for, each with one request at a time.

    The server does a row a second. A client is served, or told when to come again and does so,
    and then has its next request.
    """
    queue = admission(clock, most=10)
    events = [(clock.now + number / 100, number, 0) for number in range(clients)]
    ends, busy_until, again, admitted_again = list[tuple[float, int]](), clock.now, 0, 0
    request = dict.fromkeys(range(clients), 0)
    while events and clock.now < 2000:
        at, client, tries = heapq.heappop(events)
        while ends and ends[0][0] <= at:
            end, done = heapq.heappop(ends)
            queue.leave(1)
            clock.now = end
            request[done] += 1
            heapq.heappush(events, (end, done, 0))
        if events and events[0][0] < at:
            heapq.heappush(events, (at, client, tries))
            continue
        clock.now = at
        again += tries > 0
        try:
            queue.enter(1, f"{client} {request[client]}")
        except FullError as full:
            heapq.heappush(events, (at + full.retry_after, client, tries + 1))
            continue
        admitted_again += tries > 0
        busy_until = max(busy_until, at) + 1
        heapq.heappush(ends, (busy_until, client))
    assert again > 500
    assert admitted_again / again > 0.9
    assert min(request.values()) > 0


def test_a_shard_waits_for_the_room_that_a_picture_is_refused(clock: Clock) -> None:
    async def talk() -> None:
        queue = admission(clock)
        queue.enter(10, "picture")
        waiting = asyncio.create_task(queue.enter_of_shard(3, "a"))
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.leave(5)
        await waiting
        assert queue.seconds == 8

    asyncio.run(talk())


def test_shards_hold_half_of_the_queue_at_most(clock: Clock) -> None:
    async def talk() -> None:
        queue = admission(clock)
        await queue.enter_of_shard(3, "a")
        second = asyncio.create_task(queue.enter_of_shard(3, "a"))
        await asyncio.sleep(0)
        assert not second.done()
        queue.enter(4, "picture")
        queue.leave_of_shard(3)
        await second
        assert queue.seconds == 7

    asyncio.run(talk())


def test_room_is_kept_for_the_shard_that_waits(clock: Clock) -> None:
    async def talk() -> None:
        queue = admission(clock)
        queue.enter(10, "first")
        waiting = asyncio.create_task(queue.enter_of_shard(4, "a"))
        await asyncio.sleep(0)
        queue.leave(2)
        refused(queue, 1, "newcomer")
        queue.leave(2)
        await waiting

    asyncio.run(talk())


def test_owners_of_shards_take_turns(clock: Clock) -> None:
    async def talk() -> None:
        queue, order = admission(clock), list[str]()

        async def shard(owner: str) -> None:
            await queue.enter_of_shard(5, owner)
            order.append(owner)

        await queue.enter_of_shard(5, "a")
        tasks = [asyncio.create_task(shard(owner)) for owner in ("a", "a", "a", "b", "b")]
        for _ in range(5):
            await asyncio.sleep(0)
            queue.leave_of_shard(5)
        await asyncio.gather(*tasks)
        assert order == ["a", "a", "b", "a", "b"]  # the first was there before there was a b

    asyncio.run(talk())


def test_a_shard_that_waits_no_longer_holds_nothing(clock: Clock) -> None:
    async def talk() -> None:
        queue = admission(clock)
        await queue.enter_of_shard(5, "a")
        first = asyncio.create_task(queue.enter_of_shard(5, "a"))
        second = asyncio.create_task(queue.enter_of_shard(1, "a"))
        await asyncio.sleep(0)
        first.cancel()
        queue.leave_of_shard(5)
        await second
        late = asyncio.create_task(queue.enter_of_shard(5, "a"))
        await asyncio.sleep(0)
        queue.leave_of_shard(1)  # which gives the place to one that is cancelled before it has it
        late.cancel()
        await asyncio.gather(first, late, return_exceptions=True)
        assert queue.seconds == 0

    asyncio.run(talk())


def test_neither_pictures_nor_shards_starve(clock: Clock) -> None:
    """More pictures and shards than there is work for: the server does a row a second."""

    async def talk() -> tuple[int, int]:
        queue, line, done = admission(clock), list[str](), {"shard": 0, "picture": 0}
        again: list[tuple[float, str]] = [(clock.now, str(number)) for number in range(40)]

        async def shard() -> None:
            while True:
                await queue.enter_of_shard(1, "a")
                line.append("shard")

        shards = [asyncio.create_task(shard()) for _ in range(4)]
        for number in range(1000):
            for due, who in [one for one in again if one[0] <= clock.now]:
                again.remove((due, who))
                try:
                    queue.enter(1, who)
                except FullError as full:
                    again.append((due + full.retry_after, who))
                else:
                    line.append("picture")
                    again.append((clock.now + 1, f"{who.partition(' ')[0]} {number}"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if line:
                kind = line.pop(0)
                done[kind] += 1
                if kind == "shard":
                    queue.leave_of_shard(1)
                else:
                    queue.leave(1)
            clock.now += 1
        for task in shards:
            task.cancel()
        return done["shard"], done["picture"]

    shards, pictures = asyncio.run(talk())
    assert shards > 200
    assert pictures > 200


def test_a_look_takes_no_place_and_redeems_no_promise(clock: Clock) -> None:
    queue = admission(clock)
    queue.check(6, "slow")
    queue.enter(10, "first")
    with pytest.raises(FullError):
        queue.check(4, "second")
    queue.leave(10)
    queue.enter(6, "third")
    clock.now += 9
    queue.check(4, "second")
    assert refused(queue, 4, "newcomer") >= 1  # the place is still kept for the second
    queue.enter(4, "second")


def test_a_long_text_is_not_kept(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(10, "first")
    tracemalloc.start()
    for number in range(20):
        with suppress(FullError):
            queue.enter(1, f"{number}" + "x" * 1_000_000)
    gc.collect()  # a frame of the error may hold one
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 5_000_000


def test_only_so_many_are_promised_a_place(clock: Clock) -> None:
    queue = admission(clock, pace=0.01)
    queue.enter(1000, "first")
    told = [refused(queue, 0.5, str(number)) for number in range(11_000)]
    assert max(told) == 10 + 10_000 * 0.005 + 1 - 5


def test_the_progress_of_what_is_under_way_makes_room(clock: Clock) -> None:
    done = 0.0
    queue = Admission(10, lambda: 1, clock, progress=lambda: done)
    queue.enter(10, "first")
    assert refused(queue, 4, "second") == 9
    done = 4.0
    assert queue.seconds == 6
    clock.now += 9
    queue.enter(4, "second")


def test_a_flood_that_never_comes_again_leaves_no_seconds_unused(clock: Clock) -> None:
    """Five requests a second, where one can be done, and none of them comes a second time."""
    queue = admission(clock)
    ends, busy_until, served = list[float](), clock.now, 0
    for number in range(5 * 600):
        clock.now = 100 + number / 5
        while ends and ends[0] <= clock.now:
            heapq.heappop(ends)
            queue.leave(1)
            served += 1
        try:
            queue.enter(1, str(number))
        except FullError:
            continue
        busy_until = max(busy_until, clock.now) + 1
        heapq.heappush(ends, busy_until)
    assert served > 0.9 * 600


def test_who_obeys_is_let_in_beside_a_flood_that_does_not(clock: Clock) -> None:
    queue = admission(clock)
    ends, busy_until, told, let_in = list[float](), clock.now, dict[str, float](), list[bool]()
    for number in range(5 * 900):
        clock.now = 100 + number / 5
        while ends and ends[0] <= clock.now:
            heapq.heappop(ends)
            queue.leave(1)
        due = [who for who, when in told.items() if when <= clock.now]
        for who in [*due, f"obeys {number}" if number % 7 == 0 else f"floods {number}"]:
            again = told.pop(who, None) is not None
            try:
                queue.enter(1, who)
            except FullError as full:
                if who.startswith("obeys"):
                    told[who] = clock.now + full.retry_after
                    let_in += [False] * again
                continue
            let_in += [True] * again
            busy_until = max(busy_until, clock.now) + 1
            heapq.heappush(ends, busy_until)
    assert len(let_in) > 100
    assert sum(let_in) / len(let_in) > 0.9


def test_newcomers_are_let_in_before_the_lanes_are_idle(clock: Clock) -> None:
    queue = admission(clock)
    queue.enter(10, "first")
    for number in range(20):
        refused(queue, 5, str(number))
    queue.leave(10)
    queue.enter(1, "one")
    queue.enter(1, "newcomer")
    assert refused(queue, 1, "another") > 10


def test_clips_have_as_much_work_as_the_queue_or_are_alone(clock: Clock) -> None:
    queue = admission(clock)
    with queue.clip(100):
        with pytest.raises(FullError) as error, queue.clip(1):
            pass
        assert error.value.retry_after == 91
        with queue.clip(0):  # a picture
            pass
        queue.enter(5, "picture")
    with queue.clip(4), queue.clip(6), pytest.raises(FullError), queue.clip(1):
        pass
    with queue.clip(100):
        pass
