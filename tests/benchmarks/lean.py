"""What the lean UNet2D, whole rounds of calls, and a start without diffusers save.

    python -m tests.benchmarks.lean

- forward: a call of 32 rows by the UNet2DModel of diffusers, as it would be run without ours, and
  by ours; processor time, the arms taking turns.
- guided: so many guided edits of eight calls, each through lanes that step all of them at once and
  through lanes that step as many as fill whole rounds; seconds, the arms taking turns.
- start: the processor time of `diffaug augment` with one picture and eight calls, in a process of
  its own, and that of `import torch`.

Three minutes on two cores.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.ordered import Ordered
from diffaug.diffusion.process import Gaussian
from diffaug.diffusion.samplers import timesteps, trajectory
from diffaug.execution import Execution
from diffaug.models import find_checkpoint
from diffaug.models.families import unet2d
from diffaug.models.families.parts import activate_in_place
from tests.support.hostile import fashion, write_samples

MODELS, DTYPES = ("fashion-mnist-32", "cifar10-32"), ("float32", "bfloat16")
ROUNDS = 9


def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for model in MODELS:
        for dtype in DTYPES:
            forward(model, dtype)
    for count in (20, 33, 40, 64):
        guided(count)
    start()


def ratios(arms: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> tuple[str, str]:
    """The median of each arm in ms, and the ratio of the first to the second, with its range."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name in list(arms)[:: 1 if number % 2 else -1]:
            found[name].append(arms[name]())
    first, second = (values[1:] for values in found.values())
    each = sorted(one / other for one, other in zip(first, second, strict=True))
    medians = ", ".join(
        f"{name} {1000 * median(values[1:]):.0f} ms" for name, values in found.items()
    )
    return medians, f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"


def forward(model: str, dtype: str) -> None:
    checkpoint, execution = find_checkpoint(model), Execution.choose(dtype=dtype, device="cpu")
    ours = unet2d.load_denoiser(checkpoint, execution)
    theirs = unet2d.read(checkpoint, "cpu", dtype)
    assert isinstance(theirs.network, torch.nn.Module)
    activate_in_place(theirs.network.requires_grad_(False))
    inputs = (torch.randn(32, *ours.shape), torch.randint(0, 1000, (32,)), torch.arange(32) % 10)

    def call(network: Any) -> Callable[[], float]:
        def timed() -> float:
            before = time.process_time()
            with torch.inference_mode():
                network(*inputs)
            return time.process_time() - before

        return timed

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    medians, ratio = ratios({"diffusers": call(theirs.network), "lean": call(ours.network)})
    torch.set_num_threads(threads)
    print(f"forward, {model}, {dtype}: {medians}; {ratio}", flush=True)


class AllAtOnce(Lanes[Any]):
    """Lanes all of which step at each step."""

    def _stepping(self, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return held


def guided(count: int) -> None:
    execution = Execution.choose(dtype="bfloat16", device="cpu")
    denoiser = unet2d.load_denoiser(find_checkpoint("cifar10-32"), execution)
    way = trajectory("ddim", denoiser.schedule, timesteps(0.4, 20, "ddim", 1000))
    random = np.random.default_rng(0)
    edits = [
        Edit(
            x_0=random.uniform(-1, 1, denoiser.shape).astype(np.float32),
            noise=random.standard_normal((1, *denoiser.shape)).astype(np.float32),
            trajectory=way,
            condition=(torch.tensor(number % 10),),
            away=(torch.tensor(10),),
            scales=np.full(way.calls, 3, np.float32),
        )
        for number in range(count)
    ]

    def run(kind: type[Lanes[Any]]) -> Callable[[], float]:
        steps = Ordered[int](kind(Gaussian(denoiser, 32)))

        def timed() -> float:
            before = time.monotonic()
            assert len(list(steps.run(enumerate(edits)))) == count
            return time.monotonic() - before

        return timed

    medians, ratio = ratios({"all at once": run(AllAtOnce), "whole rounds": run(Lanes)}, 3)
    print(f"{count} guided edits of {way.calls} calls: {medians}; {ratio}", flush=True)


def start() -> None:
    with tempfile.TemporaryDirectory() as name:
        source = write_samples(Path(name) / "s.tar", fashion(1))
        diffaug = str(Path(sys.executable).with_name("diffaug"))
        numbers = iter(range(100))

        def augment() -> float:
            output = f"{name}/{next(numbers)}"
            flags = ["--model", "cifar10-32", "--strength", "0.4", "--steps", "20"]
            return processor([diffaug, "augment", str(source), output, *flags])

        torch_alone = [sys.executable, "-c", "import torch"]
        medians, ratio = ratios(
            {"one picture": augment, "torch": lambda: processor(torch_alone)}, 3
        )
    print(f"start: {medians}; {ratio}")


def processor(command: list[str]) -> float:
    """The processor seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
