"""Network calls at one batch shape, side by side, each in one thread: always the same bits.

Torch's kernels sum in an order that depends on the batch shape, and on the number of threads that
share a call. So every call has the same shape and one thread, and several calls at the same time
keep the cores busy. Between calls, too, nothing is shared by threads: those that share a small
computation wait for one another, and longest where a helper thread has the core of one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

import torch
from torch import Tensor

from diffaug.errors import OutOfMemoryError

__all__ = ["Batched", "at_once", "in_one_thread", "is_out_of_memory", "side_by_side"]

T = TypeVar("T")

_MOST = 8
"""More calls than this would wait for the interpreter; with more cores, run more jobs."""


def at_once(device: torch.device) -> int:
    """How many calls at the same time keep a device busy: one on a GPU, one a core on a CPU.

    The number of cores is the number of threads that torch may use in this process.
    """
    return min(torch.get_num_threads(), _MOST) if device.type == "cpu" else 1


def side_by_side(calls: Iterable[Callable[[], T]], device: torch.device) -> list[T]:
    """The results of `calls`, run at the same time on a CPU, one after the other on a GPU."""
    count = at_once(device)
    if count == 1:
        return [call() for call in calls]
    return list(_pool(count).map(_inferring, calls))


def in_one_thread(work: Callable[[], T], device: torch.device) -> T:
    """The result of `work`, for which torch uses one thread on a CPU; it must make no calls."""
    count = at_once(device)
    return work() if count == 1 else _pool(count).submit(_inferring, work).result()


class Batched:
    """A network for any number of rows, called at one batch shape whatever their number.

    Args:
        network: tensors (B, ...) in, a tensor (B, ...) out, each row independent of the others.
        batch_size: B of every call; the last call is padded with the first row of all.
        device: where it runs.
    """

    def __init__(
        self, network: Callable[..., Tensor], batch_size: int, device: torch.device
    ) -> None:
        self._network = network
        self.batch_size = batch_size
        self._device = device

    @property
    def rows(self) -> int:
        """How many rows keep the device busy: `at_once` calls of `batch_size`."""
        return self.batch_size * at_once(self._device)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's output (n, ...) for `inputs`, each (n, ...) with n at least 1.

        Raises:
            OutOfMemoryError: a call does not fit into memory.
        """
        try:
            return self._called(inputs, self.batch_size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            said = str(error).strip().partition("\n")[0]
        fits = self._fits(inputs)
        cure = (
            f"a batch_size of {fits} fits"
            if fits
            else "not even one fits; use a smaller model, or free some memory"
        )
        raise OutOfMemoryError(
            f"out of memory on {self._device} with {self.batch_size} images a call: {cure} "
            f"({said})",
            device=str(self._device),
            batch_size=self.batch_size,
            fits=fits,
        )

    def _fits(self, inputs: tuple[Tensor, ...]) -> int | None:
        """The first half, quarter, … of the batch size that fits; None where one does not."""
        size = self.batch_size // 2
        while size:
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            try:
                self._called(tuple(rows[: size * at_once(self._device)] for rows in inputs), size)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                size //= 2
            else:
                return size
        return None

    def _called(self, inputs: tuple[Tensor, ...], size: int) -> Tensor:
        count = len(inputs[0])
        padding = -count % size
        if padding:
            inputs = tuple(
                torch.cat([rows, rows[:1].expand(padding, *rows.shape[1:])]) for rows in inputs
            )
        batches = zip(*(torch.split(rows, size) for rows in inputs), strict=True)
        outputs = side_by_side([partial(self._network, *batch) for batch in batches], self._device)
        return torch.cat(outputs)[:count]


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory, the machine's or the device's, ran out."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        "can't allocate memory" in str(error)  # torch's allocator on the CPU has no type for it
    )


def _inferring(call: Callable[[], T]) -> T:
    with torch.inference_mode():
        return call()


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    """Threads in each of which torch computes alone; in others it uses as many as before."""
    threads, all_begun = torch.get_num_threads(), threading.Barrier(size)

    def begin(_: int) -> None:
        torch.get_num_threads()  # torch sets a thread up at its first call, which must not be later
        torch.set_num_threads(1)
        all_begun.wait()

    pool = ThreadPoolExecutor(size, "diffaug-call")
    list(pool.map(begin, range(size)))
    torch.set_num_threads(threads)  # also the number that later threads start with
    _prepare_for_forks()
    return pool


@cache
def _prepare_for_forks() -> None:
    """Let forks of this process use the engine too. One that never made a pool is left alone."""
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=_start_over)


def _start_over() -> None:
    """In a forked process the parent's threads do not exist, and OpenMP waits for its own forever.

    So torch has one thread here, as it has in the workers of a data loader.
    """
    _pool.cache_clear()
    torch.set_num_threads(1)
