"""Schedules by name against diffusers' own, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from diffaug.diffusion.betas import alphas_cumprod

NAMES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_train_timesteps": 7},
        {"beta_start": 0.00085, "beta_end": 0.012},
        {"num_train_timesteps": 50, "rescale_betas_zero_snr": True},
    ],
    ids=["usual", "few", "of Stable Diffusion", "rescaled"],
)
def test_they_are_those_of_diffusers(name: str, fields: dict[str, Any]) -> None:
    config = {"beta_schedule": name, **fields}
    theirs: Any = DDPMScheduler(**config)
    assert torch.equal(alphas_cumprod(config), theirs.alphas_cumprod)


def test_betas_may_be_given() -> None:
    found = alphas_cumprod({"trained_betas": [0.5, 0.5, 0.5], "beta_schedule": "linear"})
    assert found.tolist() == [0.5, 0.25, 0.125]


def test_what_diffusers_does_not_know_is_refused_by_it() -> None:
    with pytest.raises(NotImplementedError, match="zigzag is not implemented"):
        alphas_cumprod({"beta_schedule": "zigzag"})
