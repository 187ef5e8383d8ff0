"""Calls side by side: one thread each, in their order, and nothing changed for anybody else."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest
import torch

from diffaug.calls import at_once, side_by_side
from tests.jobs import threads

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [2, 3])
def test_each_call_has_one_thread_and_they_run_at_the_same_time(count: int) -> None:
    together = threading.Barrier(count)

    def call(index: int) -> tuple[int, int, bool]:
        together.wait(timeout=60)
        return index, torch.get_num_threads(), torch.is_inference_mode_enabled()

    with threads(count):
        assert at_once(CPU) == count
        found = side_by_side([partial(call, index) for index in range(count)], CPU)
        assert found == [(index, 1, True) for index in range(count)]
        assert torch.get_num_threads() == count
        fresh: list[int] = []
        other = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert fresh == [count]


def test_a_machine_of_many_cores_makes_no_more_than_eight() -> None:
    with threads(40):
        assert at_once(CPU) == 8
    assert at_once(torch.device("cuda")) == 1


def test_an_error_comes_out() -> None:
    def call() -> None:
        raise RuntimeError("out of memory")

    for count in (1, 2):
        with threads(count), pytest.raises(RuntimeError, match="out of memory"):
            side_by_side([call, lambda: None], CPU)


def test_a_forked_process_has_threads_of_its_own() -> None:
    """As the workers of a data loader are: the parent's threads are not there."""
    with threads(2):
        assert side_by_side([lambda: 1, lambda: 2], CPU) == [1, 2]
        child = os.fork()
        if child == 0:
            os._exit(0 if side_by_side([lambda: 1, lambda: 2], CPU) == [1, 2] else 1)
        assert os.waitpid(child, 0)[1] == 0
