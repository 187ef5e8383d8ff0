"""The x_0 estimate and its bounds, against diffusers' schedulers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from diffaug.diffusion.denoiser import Clip, Denoiser, Prediction
from diffaug.diffusion.schedule import Schedule

TIMES = torch.tensor([0, 1, 200, 500, 999])
RANDOM = torch.Generator().manual_seed(0)
X_T = torch.randn(len(TIMES), 3, 8, 8, generator=RANDOM)
OUTPUT = torch.randn(X_T.shape, generator=RANDOM)

CLIPS: dict[str, tuple[Clip, dict[str, Any]]] = {
    "unclipped": (Clip(), {"clip_sample": False}),
    "clipped": (Clip(bound=1.0), {"clip_sample": True}),
    "clipped-at-2.5": (Clip(bound=2.5), {"clip_sample": True, "clip_sample_range": 2.5}),
    "thresholded": (
        Clip(bound=1.0, quantile=0.995),
        {"thresholding": True, "clip_sample": True},
    ),
    "thresholded-at-3": (
        Clip(bound=3.0, quantile=0.9),
        {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 3.0},
    ),
}


def scheduler(**config: Any) -> Any:
    made: Any = DDIMScheduler(**config)
    made.set_timesteps(10)
    return made


def denoiser(output: Tensor, prediction: Prediction, clip: Clip) -> Denoiser:
    return Denoiser(
        network=lambda x_t, t, condition: output,
        schedule=Schedule.variance_preserving(scheduler().alphas_cumprod.double()),
        prediction=prediction,
        clip=clip,
        shape=(3, 8, 8),
        classes=0,
        null_class=None,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_x_0_is_that_of_diffusers(prediction: Prediction, clip: str) -> None:
    ours, config = CLIPS[clip]
    reference = scheduler(prediction_type=prediction, **config)
    x_0 = denoiser(OUTPUT, prediction, ours)(X_T, TIMES, torch.zeros_like(TIMES))
    for i, t in enumerate(TIMES.tolist()):
        step = reference.step(OUTPUT[i : i + 1], t, X_T[i : i + 1])
        torch.testing.assert_close(x_0[i : i + 1], step.pred_original_sample, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(("bound", "quantile"), [(1.0, 0.5), (2.0, 0.995), (50.0, 0.9)])
def test_dynamic_thresholding_is_that_of_diffusers(bound: float, quantile: float) -> None:
    """Samples on very different scales: each is bounded by its own quantile."""
    x_0 = X_T * torch.tensor([0.1, 1.0, 3.0, 10.0, 100.0]).view(-1, 1, 1, 1)
    reference = scheduler(sample_max_value=bound, dynamic_thresholding_ratio=quantile)
    expected = reference._threshold_sample(x_0)
    torch.testing.assert_close(Clip(bound=bound, quantile=quantile)(x_0), expected)


def test_network_is_given_its_arguments_as_they_are() -> None:
    seen: list[Tensor] = []

    def network(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        seen.extend([x_t, t, condition])
        return torch.zeros_like(x_t)

    condition = torch.tensor([4, 3, 2, 1, 0])
    replace(denoiser(OUTPUT, "epsilon", Clip()), network=network)(X_T, TIMES, condition)
    assert all(torch.equal(*pair) for pair in zip(seen, [X_T, TIMES, condition], strict=True))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_half_precision_network_gives_float32(prediction: Prediction) -> None:
    """Half precision ends at the network's output: the arithmetic after it is float32."""
    half = denoiser(OUTPUT.bfloat16(), prediction, Clip())(X_T, TIMES, TIMES)
    whole = denoiser(OUTPUT.bfloat16().float(), prediction, Clip())(X_T, TIMES, TIMES)
    assert half.dtype == torch.float32
    assert torch.equal(half, whole)
