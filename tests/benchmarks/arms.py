"""Everything that is timed, (a) to (e) as `lanes.py` says them."""

from __future__ import annotations

import math
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

import diffaug
from diffaug.diffusion.batched import at_once, side_by_side
from diffaug.job.binding import Binding
from diffaug.output.run import Run
from tests.benchmarks.loops import DiffusersLoop, Loop, StaticBatches, load_network, run_loop
from tests.benchmarks.workloads import Task, Workload

__all__ = ["Arms", "Rate", "timed"]

_BARE_SHARE = 8
_REPEATS = 8


@dataclass(frozen=True, slots=True)
class Rate:
    """How much an arm does in a second.

    Attributes:
        wall: a second on the clock, which other work on the machine makes longer.
        processor: a second of this process's own processor time, with all its threads.
    """

    wall: float
    processor: float

    def times(self, factor: float) -> Rate:
        return Rate(self.wall * factor, self.processor * factor)

    @property
    def processors(self) -> float:
        """How many processors it had."""
        return self.wall / self.processor


def timed(work: Callable[[], object]) -> Rate:
    """How often a second the work is done."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Rate(1 / (time.perf_counter() - wall), 1 / (time.process_time() - processor))


class Arms:
    """The arms by name. Each gives a rate, having checked that it made all that it should.

    A rate is in image-calls a second: calls that images needed, over all the arm's time. That of
    (e) is what the denoiser would reach if its FLOPs ran as fast as a dense convolution's.
    """

    def __init__(self, plan: Run, folder: Path) -> None:
        self.execution = plan.execution
        self._folder = folder
        self._denoiser = Binding.of_run(plan).editor().model.denoiser
        device, batch = self.execution.device, self.execution.batch_size
        plain = load_network(torch.float32, torch.contiguous_format, device)
        tuned = load_network(getattr(torch, self.execution.dtype), torch.channels_last, device)
        self._loops: dict[str, Loop] = {
            "a": DiffusersLoop(plain, batch, together=lambda task: task.strength),
            "b": DiffusersLoop(tuned, batch, together=lambda task: task.strength),
            "b_grid": DiffusersLoop(tuned, batch, together=lambda task: task.calls),
            "b2": StaticBatches(tuned, batch),
        }
        self.flop = self._flop()

    def run(self, arm: str, workload: Workload, share: int) -> Rate:
        """Run one arm; `share` is the part of the workload that a loop gets (2: half of it)."""
        if arm == "e":
            return self._convolution().times(1 / self.flop)
        if arm == "d":
            return self._bare(workload)
        if arm == "c":
            return self._diffaug(workload)
        return self._loop(self._loops[arm], workload, workload.part(share))

    def _loop(self, loop: Loop, workload: Workload, tasks: Sequence[Task]) -> Rate:
        with tempfile.TemporaryDirectory(dir=self._folder) as output:
            rate = timed(lambda: run_loop(loop, workload, tasks, Path(output)))
            assert len(list(Path(output).glob("*.png"))) == len(tasks)
        return rate.times(sum(task.calls for task in tasks))

    def _diffaug(self, workload: Workload) -> Rate:
        """From tar to tar, the job being planned and the model loaded."""
        reports: list[diffaug.ShardReport] = []
        with tempfile.TemporaryDirectory(dir=self._folder) as output:
            run = diffaug.freeze(workload.plan, output)
            rate = timed(
                lambda: reports.extend(diffaug.augment_shards(run.sources, output, run=run))
            )
            images = len(workload.tasks)
            assert len(reports) == len(workload.shards)
            assert sum(report.ok for report in reports) == images == _count_pngs(output)
            rows = pd.read_parquet(Path(output, "manifest"), columns=["strength", "calls"])
            made = sorted(zip(rows["strength"], rows["calls"], strict=True))
            assert made == sorted((task.strength, task.calls) for task in workload.tasks)
        return rate.times(workload.calls)

    @torch.inference_mode()
    def _bare(self, workload: Workload) -> Rate:
        """The rate at which full batches, the last one rounded up, would do the whole workload."""
        full_batches = math.ceil(workload.calls / self.execution.batch_size)
        device = self._denoiser.device
        calls = [partial(self._denoiser, *self._resident())] * at_once(device)
        times = max(1, full_batches // _BARE_SHARE // len(calls))

        def work() -> None:
            for _ in range(times):
                estimates = side_by_side(calls, device)
            _wait_for(estimates[-1])

        return timed(work).times(times * len(calls) * workload.calls / full_batches)

    @torch.inference_mode()
    def _convolution(self, channels: int = 256, size: int = 32, batch: int = 32) -> Rate:
        """FLOP a second of a convolution large enough to reach what the machine can do."""
        dtype, device = getattr(torch, self.execution.dtype), self.execution.device
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        x = torch.randn((batch, channels, size, size), **options)
        weight = torch.randn((channels, channels, 3, 3), **options)
        x = x.to(memory_format=torch.channels_last)
        weight = weight.to(memory_format=torch.channels_last)
        _wait_for(torch.nn.functional.conv2d(x, weight, padding=1))

        def work() -> None:
            for _ in range(_REPEATS):
                y = torch.nn.functional.conv2d(x, weight, padding=1)
            _wait_for(y)

        return timed(work).times(_REPEATS * 2 * 9 * channels**2 * size**2 * batch)

    @torch.inference_mode()
    def _flop(self) -> float:
        """Of the denoiser, for one image-call: a sample's share of a batch."""
        with FlopCounterMode(display=False) as counter:
            self._denoiser(*self._resident())
        return float(counter.get_total_flops()) / self.execution.batch_size

    def _resident(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A batch (x_t, t, condition) on the device."""
        batch, denoiser = self.execution.batch_size, self._denoiser
        x_t = torch.randn((batch, *denoiser.shape), device=denoiser.device)
        t = torch.full((batch,), 300, device=denoiser.device)
        return x_t, t, torch.full_like(t, denoiser.no_class)


def _count_pngs(output: str) -> int:
    count = 0
    for path in Path(output, "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            count += sum(name.endswith(".png") for name in tar.getnames())
    return count


def _wait_for(result: torch.Tensor) -> None:
    """Let a device that runs behind catch up."""
    result.flatten()[0].item()
