"""Calls side by side: one thread each, in their order, and nothing changed for anybody else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial

import pytest
import torch

from diffaug.diffusion.batched import at_once, side_by_side
from tests.support.jobs import threads

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


FORKS = """
import os, torch
from diffaug.diffusion.batched import side_by_side

def threads_in_a_fork():
    child = os.fork()
    if child == 0:
        os._exit(torch.get_num_threads())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

torch.set_num_threads(3)
found = [threads_in_a_fork()]
for _ in range(2):
    side_by_side([lambda: 1, lambda: 2], torch.device("cpu"))
    found.append(threads_in_a_fork())
print(*found, torch.get_num_threads())
"""


def test_forks_are_left_alone_until_the_engine_has_threads() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True)
    assert ran.stdout == "3 1 1 3\n", ran


SHORT = """
import resource, sys
import torch
from diffaug.diffusion.batched import Batched
from diffaug.errors import OutOfMemoryError

def network(x):
    torch.empty(len(x) * (GIGABYTES << 30), dtype=torch.uint8)
    return x

batched = Batched(network, 8, torch.device("cpu"))
torch.set_num_threads(1)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (5 << 30),) * 2)
try:
    batched(torch.zeros(8))
except OutOfMemoryError as error:
    print(error, error.device, error.batch_size, error.fits)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sets the limit of address space")
@pytest.mark.parametrize(
    ("gigabytes", "cure", "fits"),
    [
        (1, "a batch_size of 4 fits", 4),
        (9, "not even one", None),
        pytest.param(0, "", None, marks=pytest.mark.proof),
        pytest.param(2, "a batch_size of 2 fits", 2, marks=pytest.mark.proof),
    ],
)
def test_too_little_memory_says_what_fits(gigabytes: int, cure: str, fits: int | None) -> None:
    script = SHORT.replace("GIGABYTES", str(gigabytes))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    if not cure:
        assert ran.stdout == ""
        return
    assert "out of memory on cpu with 8 images a call" in ran.stdout
    assert cure in ran.stdout
    assert "can't allocate memory" in ran.stdout
    assert ran.stdout.endswith(f" cpu 8 {fits}\n")
