"""Everything that is timed, (a) to (e) as `lanes.py` says them."""

from __future__ import annotations

import math
import tarfile
import tempfile
import time
from collections.abc import Sequence
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

__all__ = ["Arms"]

_BARE_SHARE = 8
_REPEATS = 8


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

    def run(self, arm: str, workload: Workload, share: int) -> float:
        """Run one arm; `share` is the part of the workload that a loop gets (2: half of it)."""
        if arm == "e":
            return self._convolution() / self.flop
        if arm == "d":
            return self._bare(workload)
        if arm == "c":
            return self._diffaug(workload)
        return self._loop(self._loops[arm], workload, workload.part(share))

    def _loop(self, loop: Loop, workload: Workload, tasks: Sequence[Task]) -> float:
        with tempfile.TemporaryDirectory(dir=self._folder) as output:
            started = time.perf_counter()
            run_loop(loop, workload, tasks, Path(output))
            seconds = time.perf_counter() - started
            assert len(list(Path(output).glob("*.png"))) == len(tasks)
        return sum(task.calls for task in tasks) / seconds

    def _diffaug(self, workload: Workload) -> float:
        """From tar to tar, the job being planned and the model loaded."""
        with tempfile.TemporaryDirectory(dir=self._folder) as output:
            run = diffaug.freeze(workload.plan, output)
            started = time.perf_counter()
            reports = list(diffaug.augment_shards(run.sources, output, run=run))
            seconds = time.perf_counter() - started
            images = len(workload.tasks)
            assert len(reports) == len(workload.shards)
            assert sum(report.ok for report in reports) == images == _count_pngs(output)
            rows = pd.read_parquet(Path(output, "manifest"), columns=["strength", "calls"])
            made = sorted(zip(rows["strength"], rows["calls"], strict=True))
            assert made == sorted((task.strength, task.calls) for task in workload.tasks)
        return workload.calls / seconds

    @torch.inference_mode()
    def _bare(self, workload: Workload) -> float:
        """The rate at which full batches, the last one rounded up, would do the whole workload."""
        full_batches = math.ceil(workload.calls / self.execution.batch_size)
        device = self._denoiser.device
        calls = [partial(self._denoiser, *self._resident())] * at_once(device)
        timed = max(1, full_batches // _BARE_SHARE // len(calls))
        started = time.perf_counter()
        for _ in range(timed):
            estimates = side_by_side(calls, device)
        _wait_for(estimates[-1])
        seconds_a_call = (time.perf_counter() - started) / (timed * len(calls))
        return workload.calls / (full_batches * seconds_a_call)

    @torch.inference_mode()
    def _convolution(self, channels: int = 256, size: int = 32, batch: int = 32) -> float:
        """FLOP a second of a convolution large enough to reach what the machine can do."""
        dtype, device = getattr(torch, self.execution.dtype), self.execution.device
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        x = torch.randn((batch, channels, size, size), **options)
        weight = torch.randn((channels, channels, 3, 3), **options)
        x = x.to(memory_format=torch.channels_last)
        weight = weight.to(memory_format=torch.channels_last)
        _wait_for(torch.nn.functional.conv2d(x, weight, padding=1))
        started = time.perf_counter()
        for _ in range(_REPEATS):
            y = torch.nn.functional.conv2d(x, weight, padding=1)
        _wait_for(y)
        flop = 2 * 9 * channels**2 * size**2 * batch
        return _REPEATS * flop / (time.perf_counter() - started)

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
