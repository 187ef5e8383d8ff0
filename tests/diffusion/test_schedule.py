"""The schedule, against diffusers, closed forms and a simulated Markov chain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from diffaug.diffusion.schedule import Schedule

LINEAR = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_forward_noising_is_diffusers(name: str) -> None:
    reference: Any = DDPMScheduler(beta_schedule=name)
    random = torch.Generator().manual_seed(0)
    x_0 = torch.rand(7, 3, 8, 8, generator=random) * 2 - 1
    noise = torch.randn(x_0.shape, generator=random)
    t = torch.tensor([0, 1, 10, 250, 500, 998, 999])
    x_t = Schedule.variance_preserving(reference.alphas_cumprod.double()).add_noise(x_0, t, noise)
    assert (x_t - reference.add_noise(x_0, noise, t)).abs().max() < 1e-6


def test_forward_noising_is_the_markov_chain_of_its_betas() -> None:
    """x_0 = 1 sent through 60 single steps of variance beta has alpha_t's mean, sigma_t's std."""
    random, betas = np.random.default_rng(0), np.linspace(0.001, 0.05, 60)
    x = np.ones(20_000)
    for beta in betas:
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * random.standard_normal(x.shape)
    schedule, last = (
        Schedule.variance_preserving(torch.from_numpy(np.cumprod(1 - betas))),
        torch.tensor([59]),
    )
    assert x.mean() == pytest.approx(schedule.alpha(last).item(), abs=0.02)
    assert x.std() == pytest.approx(schedule.sigma(last).item(), abs=0.02)


def test_each_sample_has_its_own_time() -> None:
    schedule = Schedule.variance_preserving(torch.from_numpy(LINEAR))
    t = torch.tensor([999, 0, 400])
    ones, zeros = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    signal, noise = schedule.add_noise(ones, t, zeros), schedule.add_noise(zeros, t, ones)
    for i, time in enumerate([999, 0, 400]):
        assert signal[i].numpy() == pytest.approx(math.sqrt(LINEAR[time]), rel=1e-6)
        assert noise[i].numpy() == pytest.approx(math.sqrt(1 - LINEAR[time]), rel=1e-6)


def test_log_snr_in_closed_form() -> None:
    """The log SNR of alphas_cumprod = sigmoid(k) is k."""
    k = torch.tensor([6.0, 2.5, 0.0, -9.0], dtype=torch.float64)
    schedule = Schedule.variance_preserving(torch.sigmoid(k))
    assert schedule.num_train_timesteps == 4
    assert [schedule.log_snr(t) for t in range(4)] == pytest.approx(k.tolist(), abs=1e-9)


def test_a_terminal_time_without_signal() -> None:
    reference: Any = DDPMScheduler(rescale_betas_zero_snr=True)
    schedule, last = (
        Schedule.variance_preserving(reference.alphas_cumprod.double()),
        torch.tensor([999]),
    )
    assert schedule.alpha(last).item() == 0
    assert schedule.sigma(last).item() == 1
    assert schedule.log_snr(999) == -math.inf


@pytest.mark.parametrize("shape", [(1,), (10, 1), ()])
def test_a_table_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(T,\)"):
        Schedule.variance_preserving(torch.full(shape, 0.5))
