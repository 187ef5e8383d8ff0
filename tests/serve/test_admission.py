"""Admission: a queue bounded in seconds, and promises that are kept."""

from __future__ import annotations

import heapq

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
    assert refused(queue, 4, "second") == 9


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
