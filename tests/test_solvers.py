"""The reconstruction, against diffusers' schedulers, with the shipped network on real images.

Our side is `Lanes` over the loaded checkpoint; the reference is diffusers' own network, loaded by
diffusers, driven by one of its schedulers, both channels last: in another memory format the same
convolution rounds otherwise, which from pure noise comes out multiplied by sigma / alpha = 158.
"""

from __future__ import annotations

import hashlib
import io
import math
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from PIL import Image
from torch import Tensor

import diffaug
from diffaug.denoiser import Clip, Denoiser
from diffaug.execution import Execution
from diffaug.lanes import Edit, Lanes
from diffaug.models import find_checkpoint, load_denoiser
from diffaug.rng import SampleRandom
from diffaug.schedule import CLEAN, Schedule, timesteps
from diffaug.solvers import ddim_step
from tests.conftest import SHARDS

MODEL = "fashion-mnist-32"
NO_CLASS = 10
BATCH = 2

Reference = Callable[[Tensor, int], Tensor]


def pictures() -> list[Image.Image]:
    with tarfile.open(SHARDS[0]) as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".png"))[:BATCH]
        files = [tar.extractfile(name) for name in names]
        return [Image.open(io.BytesIO(file.read())) for file in files if file]


def as_tensor(images: Sequence[Image.Image]) -> Tensor:
    """28x28 greys in 32x32 black, in [-1, 1]."""
    pixels = np.stack([np.pad(np.asarray(image), 2) for image in images])[:, None]
    return torch.from_numpy(pixels.astype(np.float32)) / 127.5 - 1


X_0 = as_tensor(pictures())
NOISE = torch.randn(X_0.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    execution = Execution(batch_size=BATCH, dtype="float32", device="cpu")
    return load_denoiser(find_checkpoint(MODEL), execution)


@pytest.fixture(scope="module")
def network() -> Reference:
    unet = UNet2DModel.from_pretrained(find_checkpoint(MODEL).folder / "unet").float().eval()
    unet.to(memory_format=torch.channels_last)

    def call(x_t: Tensor, t: int) -> Tensor:
        labels = torch.full((len(x_t),), NO_CLASS)
        with torch.inference_mode():
            x_t = x_t.to(memory_format=torch.channels_last)
            predicted: Tensor = unet(x_t, t, class_labels=labels).sample
        return predicted

    return call


def ours(denoiser: Denoiser, times: Sequence[int]) -> Tensor:
    edits = [
        (i, Edit(x_0=X_0[i].numpy(), noise=NOISE[i].numpy(), timesteps=tuple(times)))
        for i in range(BATCH)
    ]
    results = [result for _, result in Lanes[int](denoiser, BATCH).run(edits)]
    return torch.from_numpy(np.stack([result for result in results if result is not None]))


def noised(t_start: int) -> Tensor:
    scheduler: Any = DDPMScheduler()
    x_t: Tensor = scheduler.add_noise(X_0, NOISE, torch.tensor([t_start]))
    return x_t


def tolerance(times: Sequence[int]) -> float:
    """1e-4, or 16 roundings times sigma / alpha of the last call where that is more: so it is
    3e-4 for a single call from pure noise, at t = 999, and 1e-4 for all else."""
    scheduler: Any = DDPMScheduler()
    signal = float(scheduler.alphas_cumprod[times[-1]])
    return max(1e-4, 16 * torch.finfo().eps * math.sqrt((1 - signal) / signal))


def difference(one: Tensor, other: Tensor) -> float:
    """Largest difference, relative where values leave [-1, 1] (unclipped, from pure noise)."""
    return float(((one - other).abs() / other.abs().clamp(min=1)).max())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
@pytest.mark.parametrize("calls", [1, 2, 8])
@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_ddim_is_first_order_dpmsolver(
    strength: float, calls: int, denoiser: Denoiser, network: Reference
) -> None:
    times = timesteps(strength, round(calls / strength), "ddim", 1000)
    assert len(times) == calls
    reference: Any = DPMSolverMultistepScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        solver_order=1,
        algorithm_type="dpmsolver++",
        final_sigmas_type="zero",
    )
    reference.set_timesteps(timesteps=list(times))
    x_t = noised(times[0])
    for t in times:
        x_t = reference.step(network(x_t, t), t, x_t).prev_sample
    assert difference(ours(replace(denoiser, clip=Clip()), times), x_t) < tolerance(times)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(("steps", "skipped"), [(1, 0), (2, 0), (2, 1), (8, 0), (8, 4), (10, 7)])
def test_ddim_is_ddim(
    steps: int, skipped: int, clip: bool, denoiser: Denoiser, network: Reference
) -> None:
    """On diffusers' own grid, entered part-way: 999, 874, ... and from the last to clean."""
    reference: Any = DDIMScheduler(
        clip_sample=clip, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    reference.set_timesteps(steps)
    times = reference.timesteps[skipped:].tolist()
    x_t = noised(times[0])
    for t in times:
        x_t = reference.step(network(x_t, t), t, x_t, use_clipped_model_output=True).prev_sample
    bounded = replace(denoiser, clip=Clip(bound=1.0 if clip else None))
    assert difference(ours(bounded, times), x_t) < tolerance(times)


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_one_step_is_the_x_0_estimate_at_t_start(
    strength: float, denoiser: Denoiser, network: Reference
) -> None:
    times = timesteps(strength, 20, "one-step", 1000)
    reference: Any = DDPMScheduler(clip_sample=True)
    x_t, (t_start,) = noised(times[0]), times
    step = reference.step(network(x_t, t_start), t_start, x_t)
    assert difference(ours(denoiser, times), step.pred_original_sample) < tolerance(times)


def test_augment_is_what_diffusers_would_do(network: Reference) -> None:
    """From picture to picture by one clipped call, to one grey level of rounding."""
    images = pictures()
    recipe = diffaug.Recipe(model=MODEL, strength=0.5, sampler="one-step", seed=7)
    results = diffaug.augment(images, recipe, batch_size=BATCH, dtype="float32", device="cpu")

    digests = [hashlib.sha256(b"L 28x28\n" + image.tobytes()).hexdigest() for image in images]
    noise = np.stack([SampleRandom(7, digest, 0).normal((1, 32, 32)) for digest in digests])
    scheduler: Any = DDPMScheduler(clip_sample=True)
    x_t = scheduler.add_noise(X_0, torch.from_numpy(noise), torch.tensor([500]))
    x_0 = scheduler.step(network(x_t, 500), 500, x_t).pred_original_sample
    expected = ((x_0[:, 0, 2:30, 2:30] + 1) * 127.5).numpy()
    found = np.stack([np.asarray(result) for result in results])
    assert found.shape == (BATCH, 28, 28)
    assert np.abs(found - expected).max() < 0.51
    assert np.abs(found - np.stack([np.asarray(image) for image in images])).mean() > 1


def test_one_step_of_ddim_in_closed_form() -> None:
    """Every sample at its own times; the step to CLEAN gives x_0 itself."""
    signal = np.array([0.9, 0.5, 0.01])
    schedule = Schedule(torch.from_numpy(signal))
    x_t, x_0 = X_0[:1].expand(3, -1, -1, -1) * 2, NOISE[:1].expand(3, -1, -1, -1)
    t, s = torch.tensor([2, 2, 1]), torch.tensor([1, CLEAN, 0])
    x_s = ddim_step(schedule, x_t, x_0, t, s)
    for i, (start, end) in enumerate([(0.01, 0.5), (0.01, 1.0), (0.5, 0.9)]):
        noise = (x_t[i] - start**0.5 * x_0[i]) / (1 - start) ** 0.5
        expected = end**0.5 * x_0[i] + (1 - end) ** 0.5 * noise
        torch.testing.assert_close(x_s[i], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x_s[1], x_0[1])
