"""Network calls side by side, each in one thread: the same bits however many cores there are.

Threads that share a call share out its sums, and torch's kernels add them up in another order for
another number of threads. So a call has one thread, and several calls keep the cores busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

__all__ = ["at_once", "side_by_side"]

T = TypeVar("T")

_MOST = 8
"""More calls than this would wait for the interpreter; a machine of more cores runs more jobs."""


def at_once(device: torch.device) -> int:
    """How many calls a device is kept busy with: a GPU with one, a processor with one a core.

    Cores are counted by the threads that torch may use here.
    """
    return min(torch.get_num_threads(), _MOST) if device.type == "cpu" else 1


def side_by_side(calls: Iterable[Callable[[], T]], device: torch.device) -> list[T]:
    """The results of `calls`, which run at the same time; on a GPU one after the other."""
    count = at_once(device)
    if count == 1:
        return [call() for call in calls]
    return list(_pool(count).map(_inferring, calls))


def _inferring(call: Callable[[], T]) -> T:
    with torch.inference_mode():
        return call()


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    """Threads in each of which torch uses no others; elsewhere it goes on using what it did."""
    threads, all_begun = torch.get_num_threads(), threading.Barrier(size)

    def begin(_: int) -> None:
        torch.get_num_threads()  # torch sets up a thread when it is first asked: before, not after
        torch.set_num_threads(1)
        all_begun.wait()

    pool = ThreadPoolExecutor(size, "diffaug-call")
    list(pool.map(begin, range(size)))
    torch.set_num_threads(threads)  # it is also what threads yet to come begin with
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)
