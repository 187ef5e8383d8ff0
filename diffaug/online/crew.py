"""Threads for requests, which neither an open pass nor an exit of the interpreter waits for."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

__all__ = ["Crew"]

_Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]
_Tasks = SimpleQueue[_Task | None]


class Crew:
    """Threads that carry out what they are given, and end when they are closed, at the latest at
    the exit of the interpreter.

    The threads of `concurrent.futures` are waited for at an exit before a generator that was left
    open could be closed, and so before anybody could end what they wait for.

    Args:
        size: threads at most; each starts when there is something to do.
        name: what theirs begin with.
        stop: ends what the threads are doing; it must not hold this object.
    """

    def __init__(self, size: int, name: str, stop: Callable[[], None]) -> None:
        self._size, self._name = size, name
        self._tasks: _Tasks = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._close = weakref.finalize(self, _end, self._tasks, self._threads, stop)

    def submit(self, do: Callable[..., Any], *args: Any) -> Future[Any]:
        """The future result of a call."""
        made = Future[Any]()
        self._tasks.put((made, do, args))
        if len(self._threads) < self._size:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=_work, args=(self._tasks,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return made

    def close(self) -> bool:
        """Stop the threads and wait for them, once; False if the exit of the interpreter has."""
        return bool(self._close())


def _work(tasks: _Tasks) -> None:
    while (task := tasks.get()) is not None:
        made, do, args = task
        try:
            result = do(*args)
        except BaseException as error:
            made.set_exception(error)
        else:
            made.set_result(result)
        del task, made, args


def _end(tasks: _Tasks, threads: list[threading.Thread], stop: Callable[[], None]) -> bool:
    stop()
    for _ in threads:
        tasks.put(None)
    for thread in threads:
        thread.join()
    return True
