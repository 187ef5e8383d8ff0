"""The two threads: order, bounds, errors from either side, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from diffaug.threads import ahead, behind, several


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def _numbers(seen: list[int], count: int = 1000) -> Iterator[int]:
    for number in range(count):
        seen.append(number)
        yield number


def _breaks_at(number: int) -> Iterator[int]:
    yield from range(number)
    raise LookupError(f"broke at {number}")


def _same(items: Iterator[int]) -> Iterator[int]:
    yield from items


def _reader(size: int) -> Iterator[int]:
    return ahead(_numbers([]), size)


def _writer(size: int) -> Iterator[int]:
    return behind(_same, _numbers([]), size)


both = pytest.mark.parametrize("stage", [_reader, _writer])


@both
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_order_is_kept(stage: Callable[[int], Iterator[int]], size: int) -> None:
    assert list(stage(size)) == list(range(1000))


@both
def test_closing_early_ends_the_thread(stage: Callable[[int], Iterator[int]]) -> None:
    items = stage(4)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]


@both
def test_no_thread_starts_before_the_first_item(stage: Callable[[int], Iterator[int]]) -> None:
    before = threading.active_count()
    items = stage(4)
    assert threading.active_count() == before
    del items


def test_ahead_reads_no_further_than_its_size() -> None:
    seen: list[int] = []
    items = ahead(_numbers(seen), 5)
    for _ in range(10):
        next(items)
    items.close()
    assert 10 <= len(seen) <= 10 + 5 + 1  # what is queued, and one in the thread's hands


def test_ahead_raises_an_error_in_its_place() -> None:
    items = ahead(_breaks_at(3), 10)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="broke at 3"):
        next(items)


def test_ahead_raises_even_what_is_no_exception() -> None:
    def stops() -> Iterator[int]:
        yield 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(ahead(stops(), 1))


def test_behind_takes_no_more_than_its_size_ahead_of_the_stage() -> None:
    seen: list[int] = []
    go = threading.Event()

    def waits(items: Iterator[int]) -> Iterator[int]:
        go.wait()
        yield from items

    def feeds() -> Iterator[int]:
        for number in _numbers(seen, 50):
            if number == 5:
                go.set()  # five wait in the queue; without room for a sixth this would hang
            yield number

    assert list(behind(waits, feeds(), 5)) == list(range(50))


def test_behind_passes_on_what_a_slow_stage_makes_at_its_end() -> None:
    def sums(items: Iterator[int]) -> Iterator[int]:
        yield sum(items)

    assert list(behind(sums, range(100), 3)) == [4950]


def test_behind_may_make_several_of_one() -> None:
    def doubles(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            yield from (item, item)

    assert list(behind(doubles, [1, 2], 1)) == [1, 1, 2, 2]


@pytest.mark.parametrize("at", [0, 3, 999])
def test_an_error_of_the_stage_is_raised(at: int) -> None:
    def breaks(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            if item == at:
                raise LookupError(f"broke at {at}")
            yield item

    got: list[int] = []
    with pytest.raises(LookupError, match=f"broke at {at}"):
        got.extend(behind(breaks, _numbers([]), 2))
    assert got == list(range(len(got)))
    assert len(got) <= at


def test_a_stage_that_breaks_stops_an_endless_input() -> None:
    def breaks(items: Iterator[int]) -> Iterator[int]:
        yield next(items)
        raise LookupError

    def endless() -> Iterator[int]:
        while True:
            yield 0

    with pytest.raises(LookupError):
        list(behind(breaks, endless(), 2))


def test_an_error_of_the_input_is_raised_and_ends_the_stage() -> None:
    ended: list[str] = []

    def notes(items: Iterator[int]) -> Iterator[int]:
        try:
            yield from items
        finally:
            ended.append("yes")

    with pytest.raises(LookupError, match="broke at 3"):
        list(behind(notes, _breaks_at(3), 10))
    assert ended == ["yes"]


def test_one_stage_on_another_raises_the_first_error() -> None:
    with pytest.raises(LookupError, match="broke at 5"):
        list(behind(_same, ahead(_breaks_at(5), 2), 2))


def test_several_are_worked_on_at_once_and_come_in_order() -> None:
    met = threading.Barrier(4)

    def square(number: int) -> int:
        met.wait(timeout=60)  # passed only where four are there together
        return number * number

    assert list(several(square, range(40), 4)) == [number * number for number in range(40)]


def test_several_take_no_more_than_they_are_asked_for() -> None:
    seen: list[int] = []
    results = several(str, _numbers(seen), 4)
    assert next(results) == "0"
    assert len(seen) == 4
    results.close()  # type: ignore[attr-defined]


def test_an_error_of_one_of_several_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(several(lambda number: 1 // (5 - number), range(20), 3))
