"""Small helpers for threads: a stage ahead of the main one, one behind it, several at once."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["ahead", "behind", "several"]

T = TypeVar("T")
U = TypeVar("U")


class _End:
    """Marks the end of a stream, with the error that ended it, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Channel(Generic[T]):
    """A queue on which waiting ends as soon as either side closes it."""

    def __init__(self, size: int) -> None:
        self._queue: queue.Queue[T | _End] = queue.Queue(size)
        self.closed = threading.Event()

    def put(self, item: T | _End) -> bool:
        """Put an item when there is room; return False if the other side is gone."""
        while not self.closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                item = self._queue.get(timeout=0.1)
            except queue.Empty:
                if self.closed.is_set():
                    return
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item


def ahead(items: Iterable[T], size: int) -> Generator[T, None, None]:
    """Yield `items`, which a thread reads up to `size` ahead.

    The items are handed over `size // 4` at a time, since every hand-over wakes the other thread,
    which then competes for the interpreter. An error in `items` is raised here, at its place in
    the stream. Closing this generator ends the thread.
    """
    at_once = max(1, size // 4)
    channel: _Channel[list[T]] = _Channel(size // at_once)

    def produce() -> None:
        end, chunk = _End(), list[T]()
        try:
            for item in items:
                chunk.append(item)
                if len(chunk) == at_once:
                    if not channel.put(chunk):
                        return
                    chunk = []
        except BaseException as error:
            end = _End(error)
        channel.put(chunk)
        channel.put(end)

    thread = threading.Thread(target=produce, name="diffaug-ahead", daemon=True)
    thread.start()
    try:
        for chunk in channel:
            yield from chunk
    finally:
        channel.closed.set()
        thread.join()


def behind(
    stage: Callable[[Iterator[T]], Iterator[U]], items: Iterable[T], size: int
) -> Iterator[U]:
    """Yield the results of `stage`, which runs in a thread up to `size` items behind `items`.

    An error in the stage is raised here as soon as it is noticed. An error in `items` ends the
    stage's input at once, so the stage must not take the end of its input for a complete stream.
    """
    channel: _Channel[T] = _Channel(size)
    made: queue.SimpleQueue[U | _End] = queue.SimpleQueue()

    def consume() -> None:
        try:
            for result in stage(iter(channel)):
                made.put(result)
            made.put(_End())
        except BaseException as error:
            made.put(_End(error))
        finally:
            channel.closed.set()

    thread = threading.Thread(target=consume, name="diffaug-behind", daemon=True)
    thread.start()
    end: _End | None = None
    try:
        for item in items:
            if not channel.put(item):
                break
            while end is None and not made.empty():
                result = made.get()
                if isinstance(result, _End):
                    end = result
                else:
                    yield result
        channel.put(_End())
        while end is None:
            result = made.get()
            if isinstance(result, _End):
                end = result
            else:
                yield result
        if end.error is not None:
            raise end.error
    finally:
        channel.closed.set()
        thread.join()


def several(work: Callable[[T], U], items: Iterable[T], count: int) -> Iterator[U]:
    """Yield `work(item)` for each item, in order, with `count` of them under way at once.

    This is for work that waits on a store. Items are taken no faster than results are consumed. One
    at once is done in the thread that asks.
    """
    if count == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(count, "diffaug-several") as pool:
        under_way: deque[Future[U]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) == count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
