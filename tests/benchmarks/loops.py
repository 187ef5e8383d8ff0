"""The loops that are written without diffaug: with diffusers' scheduler, and by hand.

They share everything but the loop: PNGs read from the tar, framed to the model's 32x32 in black
and cropped again, and written as PNGs at Pillow's compression level 1, as diffaug does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from PIL import Image
from torch import Tensor

from diffaug.models import find_checkpoint
from tests.benchmarks.workloads import STEPS, Task, Workload, read_images

__all__ = ["DiffusersLoop", "Loop", "Network", "StaticBatches", "load_network", "run_loop"]

_BORDER = 2
_FINISHED = -1


@dataclass(frozen=True)
class Network:
    """A shipped model as diffusers loads it; a call of it is without a class."""

    unet: Any
    scheduler: Any
    dtype: torch.dtype
    memory_format: torch.memory_format
    device: torch.device

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The v predicted of `x_t` (B, C, H, W) at `t` (B,), or one time for all."""
        no_class = torch.full((len(x_t),), self.unet.config.num_class_embeds - 1, device=x_t.device)
        x_t = x_t.to(self.dtype, memory_format=self.memory_format)
        v: Tensor = self.unet(x_t, t, class_labels=no_class).sample
        return v.float()


def load_network(
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    device: str,
    model: str = "fashion-mnist-32",
) -> Network:
    folder = find_checkpoint(model).folder
    unet = UNet2DModel.from_pretrained(
        folder / "unet", torch_dtype=dtype, use_safetensors=True, low_cpu_mem_usage=False
    )
    unet.eval().requires_grad_(False).to(device, memory_format=memory_format)
    scheduler = DDIMScheduler.from_config(DDPMScheduler.load_config(folder / "scheduler"))
    return Network(unet, scheduler, dtype, memory_format, torch.device(device))


class Loop(Protocol):
    """How some tasks are batched, and how one batch is edited."""

    @property
    def network(self) -> Network: ...

    def batches(self, tasks: Sequence[Task]) -> Iterator[Sequence[Task]]: ...

    def edit(self, x_0: Tensor, tasks: Sequence[Task]) -> Tensor:
        """Noise and reconstruct `x_0` (B, C, H, W), one image a task."""


@dataclass(frozen=True)
class DiffusersLoop:
    """Image to image as diffusers' pipelines do it: one time for all of a batch.

    Attributes:
        together: what tasks must agree in to share a batch; agreeing tasks make as many calls.
    """

    network: Network
    batch_size: int
    together: Callable[[Task], float]

    def batches(self, tasks: Sequence[Task]) -> Iterator[Sequence[Task]]:
        for _, group in itertools.groupby(sorted(tasks, key=self.together), key=self.together):
            yield from _batched(list(group), self.batch_size)

    def edit(self, x_0: Tensor, tasks: Sequence[Task]) -> Tensor:
        scheduler = self.network.scheduler
        scheduler.set_timesteps(STEPS)
        timesteps = scheduler.timesteps[STEPS - tasks[0].calls :]
        assert {task.calls for task in tasks} == {len(timesteps)}
        x_t: Tensor = scheduler.add_noise(x_0, torch.randn_like(x_0), timesteps[:1])
        for t in timesteps:
            x_t = scheduler.step(self.network(x_t, t), t, x_t).prev_sample
        return x_t


@dataclass(frozen=True)
class StaticBatches:
    """DDIM by hand with a time for each sample, a batch being as long as its slowest sample."""

    network: Network
    batch_size: int

    def batches(self, tasks: Sequence[Task]) -> Iterator[Sequence[Task]]:
        return _batched(tasks, self.batch_size)

    def edit(self, x_0: Tensor, tasks: Sequence[Task]) -> Tensor:
        signal = self.network.scheduler.alphas_cumprod.to(x_0.device)
        signal = torch.cat([signal, signal.new_ones(1)]).view(-1, 1, 1, 1)  # clean when finished
        alpha, sigma = signal.sqrt(), (1 - signal).sqrt()
        longest = max(task.calls for task in tasks)
        times = torch.tensor(
            [[*task.timesteps, *[_FINISHED] * (longest + 1 - task.calls)] for task in tasks],
            device=x_0.device,
        )
        made = (times != _FINISHED).sum(dim=1).tolist()
        assert made == [task.calls for task in tasks]
        x_t = alpha[times[:, 0]] * x_0 + sigma[times[:, 0]] * torch.randn_like(x_0)
        for t, s in itertools.pairwise(times.unbind(dim=1)):
            v = self.network(x_t, t.clamp(min=0))
            estimate = (alpha[t] * x_t - sigma[t] * v).clamp(-1, 1)
            noise = (x_t - alpha[t] * estimate) / sigma[t]
            running = (t != _FINISHED).view(-1, 1, 1, 1)
            x_t = torch.where(running, alpha[s] * estimate + sigma[s] * noise, x_t)
        return x_t


@torch.inference_mode()
def run_loop(loop: Loop, workload: Workload, tasks: Sequence[Task], folder: Path) -> None:
    """From the workload's tars to one PNG a task in `folder`."""
    wanted = 1 + max(task.source for task in tasks)
    images = list(itertools.islice(read_images(workload.shards), wanted))
    for batch in loop.batches(tasks):
        x_0 = _to_model([images[task.source] for task in batch]).to(loop.network.device)
        for task, image in zip(batch, _from_model(loop.edit(x_0, batch)), strict=True):
            image.save(folder / f"{task.source:06d}-a{task.copy}.png", compress_level=1)


def _batched(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    return (tasks[start : start + size] for start in range(0, len(tasks), size))


def _to_model(images: Sequence[Image.Image]) -> Tensor:
    """Grey 28x28 pictures as (B, 1, 32, 32) in [-1, 1], framed in black."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    x_0 = pixels.float().unsqueeze(1) / 127.5 - 1
    return torch.nn.functional.pad(x_0, [_BORDER] * 4, value=-1.0)


def _from_model(x_0: Tensor) -> Iterator[Image.Image]:
    pixels = ((x_0 + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    for image in pixels[:, 0, _BORDER:-_BORDER, _BORDER:-_BORDER]:
        yield Image.fromarray(image)
