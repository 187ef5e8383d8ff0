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
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from PIL import Image
from torch import Tensor

import diffaug
from diffaug.diffusion.denoiser import Clip, Denoiser, Prediction
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.samplers import timesteps, trajectory
from diffaug.diffusion.schedule import Schedule
from diffaug.execution import Execution
from diffaug.models import Pretrained, find_checkpoint, load_model
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
NONE = torch.zeros(0, *X_0.shape)


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    execution = Execution(batch_size=BATCH, dtype="float32", device="cpu")
    return load_model(find_checkpoint(MODEL), execution).denoiser


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


def ours(
    denoiser: Denoiser, sampler: str, times: Sequence[int], fresh: Tensor = NONE, eta: float = 0.0
) -> Tensor:
    """What the lanes make of the pictures; `fresh` (calls, B, C, H, W) is added on the way."""
    way = trajectory(sampler, denoiser.schedule, tuple(times), eta)
    noise = torch.cat([NOISE[None], fresh])[: 1 + way.draws]
    no_class = (torch.tensor(denoiser.no_class),)
    edits = [
        (
            i,
            Edit(x_0=X_0[i].numpy(), noise=noise[:, i].numpy(), trajectory=way, condition=no_class),
        )
        for i in range(BATCH)
    ]
    results = [result for _, result in Pretrained.of_pictures(denoiser).steps(BATCH).run(edits)]
    return torch.from_numpy(np.stack([result for result in results if result is not None]))


def noised(t_start: int) -> Tensor:
    scheduler: Any = DDPMScheduler()
    x_t: Tensor = scheduler.add_noise(X_0, NOISE, torch.tensor([t_start]))
    return x_t


def tolerance(times: Sequence[int], prediction: str = "epsilon") -> float:
    """1e-4, or 16 roundings times sigma / alpha of the last call where that is more: so it is
    3e-4 for a single epsilon from pure noise, at t = 999, and 1e-4 for all else."""
    scheduler: Any = DDPMScheduler()
    signal = float(scheduler.alphas_cumprod[times[-1]])
    rounding = 16 * torch.finfo().eps * math.sqrt((1 - signal) / signal)
    return max(1e-4, rounding if prediction == "epsilon" else 0)


def difference(one: Tensor, other: Tensor) -> float:
    """Largest difference, relative where values leave [-1, 1] (unclipped, from pure noise)."""
    return float(((one - other).abs() / other.abs().clamp(min=1)).max())


SHORT = [(0.5, 1), (0.5, 2), (0.5, 3), (0.5, 8), (1.0, 1), (1.0, 2), (1.0, 8)]
GRIDS = [(1, 0), (2, 0), (4, 1), (8, 0), (8, 4), (10, 7)]
PREDICTIONS = ["epsilon", "v_prediction", "sample"]


def ways(sizes: list[tuple[Any, int]], long: tuple[Any, int]) -> list[Any]:
    """Each size with each prediction in turn; all others, and a long way, at length."""
    pairs = [(*size, prediction) for size in sizes for prediction in PREDICTIONS]
    short = [(*size, prediction) for size, prediction in zip(sizes, cycle(PREDICTIONS))]
    rest = [*(pair for pair in pairs if pair not in short), (*long, "v_prediction")]
    return [*short, *(pytest.param(*each, marks=pytest.mark.proof) for each in rest)]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
@pytest.mark.parametrize(("strength", "calls", "prediction"), ways(SHORT, (0.5, 20)))
@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmsolver++", 2)])
def test_is_diffusers_dpmsolver(
    sampler: str,
    order: int,
    strength: float,
    calls: int,
    prediction: Prediction,
    denoiser: Denoiser,
    network: Reference,
) -> None:
    """DDIM is DPM-Solver++ of first order, whose scheduler takes any timesteps."""
    times = timesteps(strength, round(calls / strength), sampler, 1000)
    assert len(times) == calls
    reference: Any = DPMSolverMultistepScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type=prediction,
        solver_order=order,
        algorithm_type="dpmsolver++",
        final_sigmas_type="zero",
    )
    reference.set_timesteps(timesteps=list(times))
    x_t = noised(times[0])
    for t in times:
        x_t = reference.step(network(x_t, t), t, x_t).prev_sample
    free = replace(denoiser, clip=Clip(), prediction=prediction)
    assert difference(ours(free, sampler, times), x_t) < tolerance(times, prediction)


@pytest.mark.parametrize(("strength", "calls", "prediction"), ways(SHORT, (0.5, 20)))
def test_ddpm_is_diffusers_ddpm(
    strength: float, calls: int, prediction: Prediction, denoiser: Denoiser, network: Reference
) -> None:
    """With the noise that diffusers draws, one a step."""
    times = timesteps(strength, round(calls / strength), "ddpm", 1000)
    reference: Any = DDPMScheduler(prediction_type=prediction)
    reference.set_timesteps(timesteps=list(times))
    random = torch.Generator().manual_seed(1)
    fresh = torch.stack([torch.randn(X_0.shape, generator=random) for _ in times])
    x_t, random = noised(times[0]), torch.Generator().manual_seed(1)
    for t in times:
        x_t = reference.step(network(x_t, t), t, x_t, generator=random).prev_sample
    bounded = replace(denoiser, prediction=prediction)
    assert difference(ours(bounded, "ddpm", times, fresh), x_t) < tolerance(times, prediction)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("steps", "skipped", "prediction"), ways(GRIDS, (20, 0)))
def test_ddim_is_diffusers_ddim(
    steps: int,
    skipped: int,
    eta: float,
    prediction: Prediction,
    denoiser: Denoiser,
    network: Reference,
) -> None:
    """On diffusers' own grid, entered part-way: 999, 874, ... and from the last to clean."""
    reference: Any = DDIMScheduler(
        prediction_type=prediction, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    reference.set_timesteps(steps)
    times = reference.timesteps[skipped:].tolist()
    fresh = torch.randn((len(times), *X_0.shape), generator=torch.Generator().manual_seed(1))
    x_t = noised(times[0])
    for t, z in zip(times, fresh, strict=True):
        x_t = reference.step(
            network(x_t, t), t, x_t, eta=eta, use_clipped_model_output=True, variance_noise=z
        ).prev_sample
    bounded = replace(denoiser, prediction=prediction)
    found = ours(bounded, "ddim", times, fresh, eta)
    assert difference(found, x_t) < tolerance(times, prediction)


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_one_step_is_the_x_0_estimate_at_t_start(
    strength: float, denoiser: Denoiser, network: Reference
) -> None:
    times = timesteps(strength, 20, "one-step", 1000)
    reference: Any = DDPMScheduler(clip_sample=True, prediction_type=denoiser.prediction)
    x_t, (t_start,) = noised(times[0]), times
    step = reference.step(network(x_t, t_start), t_start, x_t)
    found = ours(denoiser, "one-step", times)
    assert difference(found, step.pred_original_sample) < tolerance(times, denoiser.prediction)


def test_augment_is_what_diffusers_would_do(denoiser: Denoiser, network: Reference) -> None:
    """From picture to picture by one clipped call, to one grey level of rounding."""
    images = pictures()
    recipe = diffaug.Recipe(model=MODEL, strength=0.5, sampler="one-step", seed=7)
    results = diffaug.augment(images, recipe, batch_size=BATCH, dtype="float32", device="cpu")

    digests = [hashlib.sha256(b"L 28x28\n" + image.tobytes()).hexdigest() for image in images]
    noise = np.stack([SampleRandom(7, digest, 0).normal((1, 32, 32)) for digest in digests])
    scheduler: Any = DDPMScheduler(clip_sample=True, prediction_type=denoiser.prediction)
    x_t = scheduler.add_noise(X_0, torch.from_numpy(noise), torch.tensor([500]))
    x_0 = scheduler.step(network(x_t, 500), 500, x_t).pred_original_sample
    expected = ((x_0[:, 0, 2:30, 2:30] + 1) * 127.5).numpy()
    found = np.stack([np.asarray(result) for result in results])
    assert found.shape == (BATCH, 28, 28)
    assert np.abs(found - expected).max() < 0.51
    assert np.abs(found - np.stack([np.asarray(image) for image in images])).mean() > 1


def test_weights_in_closed_form() -> None:
    """On a schedule of three times: the posterior of Ho et al. (2020, eq. 6 and 7), DDIM of Song
    et al. (eq. 12), and the last step, which is the estimate itself."""
    signal = np.array([0.9, 0.5, 0.01])
    schedule = Schedule.variance_preserving(torch.from_numpy(signal))
    for sampler in ("ddim", "ddpm", "dpmsolver++"):
        way = trajectory(sampler, schedule, (2, 1, 0))
        assert way.timesteps == (2, 1, 0)
        assert way.weights[-1].tolist() == [0, 1, 0, 0]
        assert way.draws == (2 if sampler == "ddpm" else 0)
        assert way.looks_back == (sampler == "dpmsolver++")
    for now, then, row in ((0.01, 0.5, 0), (0.5, 0.9, 1)):
        beta = 1 - now / then
        mean_x_0 = then**0.5 * beta / (1 - now)
        mean_x_t = (1 - beta) ** 0.5 * (1 - then) / (1 - now)
        variance = (1 - then) / (1 - now) * beta
        ancestral = trajectory("ddpm", schedule, (2, 1, 0)).weights[row]
        np.testing.assert_allclose(ancestral, [mean_x_t, mean_x_0, 0, variance**0.5], rtol=1e-6)
        a, b, c, d = trajectory("ddim", schedule, (2, 1, 0)).weights[row]
        # x_t = sqrt(now) x_0 + sqrt(1 - now) e becomes sqrt(then) x_0 + sqrt(1 - then) e
        assert (c, d) == (0, 0)
        assert a * (1 - now) ** 0.5 == pytest.approx((1 - then) ** 0.5, rel=1e-6)
        assert a * now**0.5 + b == pytest.approx(then**0.5, rel=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmsolver++", 2)])
def test_every_schedule_is_that_of_diffusers(betas: str, sampler: str, order: int) -> None:
    """Around a network in closed form, which predicts v as 0.3 of what it sees."""
    settings = {"beta_schedule": betas, "prediction_type": "v_prediction"}
    reference: Any = DPMSolverMultistepScheduler(
        **settings, solver_order=order, algorithm_type="dpmsolver++", final_sigmas_type="zero"
    )
    times = timesteps(0.9, 9, sampler, 1000)
    reference.set_timesteps(timesteps=list(times))
    forward: Any = DDPMScheduler(**settings)
    x_t = forward.add_noise(X_0, NOISE, torch.tensor([times[0]]))
    toy = Denoiser(
        network=lambda x, t, condition: 0.3 * x,
        schedule=Schedule.variance_preserving(forward.alphas_cumprod),
        prediction="v_prediction",
        clip=Clip(),
        shape=(1, 32, 32),
        classes=0,
        null_class=None,
        device=torch.device("cpu"),
    )
    for t in times:
        x_t = reference.step(0.3 * x_t, t, x_t).prev_sample
    assert difference(ours(toy, sampler, times), x_t) < 1e-4


def test_second_order_needs_three_calls(denoiser: Denoiser) -> None:
    ddim, second = (
        [trajectory(sampler, denoiser.schedule, times).weights for times in WAYS]
        for sampler in ("ddim", "dpmsolver++")
    )
    assert [np.array_equal(a, b) for a, b in zip(ddim, second, strict=True)] == [True, True, False]


WAYS: list[tuple[int, ...]] = [(999,), (800, 300), (800, 500, 200)]


def test_a_schedule_that_ends_without_signal() -> None:
    """From pure noise the first step forgets it: finite weights, and no x_t in x_0's part."""
    reference: Any = DDPMScheduler(rescale_betas_zero_snr=True)
    schedule = Schedule.variance_preserving(reference.alphas_cumprod.double())
    for sampler in ("ddim", "ddpm", "dpmsolver++"):
        weights = trajectory(sampler, schedule, (999, 600, 300)).weights
        assert np.isfinite(weights).all()
        assert weights[0, 1] == pytest.approx(float(reference.alphas_cumprod[600]) ** 0.5, rel=1e-6)
