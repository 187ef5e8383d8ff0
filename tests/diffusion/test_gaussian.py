"""The whole method on data whose optimal denoiser is known: a Gaussian of known moments.

For x_0 ~ N(mu, C), x_t ~ N(alpha mu, S) with S = alpha² C + sigma² I, and the best estimate is the
posterior mean E[x_0 | x_t] = mu + alpha C S⁻¹ (x_t - alpha mu). With that for a network, every
result of `denoise`, `edit` and `sample` has moments in closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffaug import DiffusionModel
from diffaug.diffusion.denoiser import Clip, Denoiser, Prediction
from diffaug.diffusion.samplers import SamplerName, timesteps
from diffaug.diffusion.schedule import Schedule

Array = NDArray[np.float64]

SIDE = 2
MU = np.array([0.5, -0.3, 0.0, 1.0])
_HALF = np.array([[0.6, 0, 0, 0], [0.3, 0.4, 0, 0], [-0.2, 0.1, 0.3, 0], [0.1, 0.2, -0.1, 0.2]])
C = _HALF @ _HALF.T
EYE = np.eye(len(MU))
COUNT = 1024
STEPS = 120
MANY = [
    ("ddim", 0.0),
    ("dpmsolver++", 0.0),
    # these draw noise at every step, which takes its time
    pytest.param("ddim", 1.0, marks=pytest.mark.numerics),
    pytest.param("ddpm", 0.0, marks=pytest.mark.numerics),
]


def linear() -> Schedule:
    return Schedule.from_config({"num_train_timesteps": 1000, "beta_end": 0.02})


class Optimal(nn.Module):
    """The posterior mean, said as a prediction of any kind."""

    def __init__(self, schedule: Schedule, prediction: Prediction) -> None:
        super().__init__()
        self.prediction = prediction
        self.alpha = schedule.alpha_t
        self.sigma = schedule.sigma_t
        gains = [
            alpha * C @ np.linalg.inv(alpha**2 * C + sigma**2 * EYE)
            for alpha, sigma in zip(self.alpha, self.sigma, strict=True)
        ]
        self.gain = torch.from_numpy(np.stack(gains))

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        alpha, sigma = (torch.from_numpy(table)[t][:, None] for table in (self.alpha, self.sigma))
        x, mu = x_t.double().flatten(1), torch.from_numpy(MU)
        x_0 = mu + torch.einsum("bij,bj->bi", self.gain[t], x - alpha * mu)
        noise = (x - alpha * x_0) / sigma
        said = {"sample": x_0, "epsilon": noise, "v_prediction": alpha * noise - sigma * x_0}
        return said[self.prediction].view(x_t.shape).float()


def optimal(prediction: Prediction = "v_prediction") -> DiffusionModel:
    schedule = linear()
    return DiffusionModel(
        Denoiser(
            network=Optimal(schedule, prediction),
            schedule=schedule,
            prediction=prediction,
            clip=Clip(),
            shape=(1, SIDE, SIDE),
            classes=0,
            null_class=None,
            device=torch.device("cpu"),
        )
    )


def drawn(count: int, seed: int = 1) -> Tensor:
    """Samples of the data, (count, 1, 2, 2), float32."""
    values = np.random.default_rng(seed).multivariate_normal(MU, C, count)
    return torch.from_numpy(values.reshape(count, 1, SIDE, SIDE)).float()


def flat(images: Tensor) -> Array:
    return images.double().flatten(1).numpy()


def close(found: Array, expected: Array, error: Array) -> None:
    """Every entry within five standard errors."""
    assert (np.abs(found - expected) < 5 * error).all(), (found, expected, error)


def has_moments(values: Array, mean: Array, covariance: Array) -> None:
    variance = np.diag(covariance)
    close(values.mean(0), mean, np.sqrt(variance / len(values)))
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / len(values))
    close(np.cov(values.T), covariance, error)


def has_cross(before: Array, after: Array, expected: Array) -> None:
    """What was put in and what came out vary together as they must."""
    found = (before - before.mean(0)).T @ (after - after.mean(0)) / (len(before) - 1)
    error = np.sqrt((np.outer(before.var(0), after.var(0)) + expected**2) / len(before))
    close(found, expected, error)


def root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    made: Array = vectors * np.sqrt(values) @ vectors.T
    return made


def at(t: int) -> tuple[float, float, Array, Array]:
    """alpha, sigma, covariance S of x_t, and the gain of the posterior mean, at a time."""
    signal = linear().alpha_t[t] ** 2
    s = signal * C + (1 - signal) * EYE
    return np.sqrt(signal), np.sqrt(1 - signal), s, np.sqrt(signal) * C @ np.linalg.inv(s)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("t", [10, 300, 800])
def test_denoise_is_the_posterior_mean(prediction: Prediction, t: int) -> None:
    """Against Gaussian conditioning of the joint (x_0, x_t), which no schedule has a part in."""
    alpha, sigma, *_ = at(t)
    noisy = alpha * flat(drawn(64)) + sigma * np.random.default_rng(2).standard_normal((64, 4))
    joint = np.block([[C, alpha * C], [alpha * C, alpha**2 * C + sigma**2 * EYE]])
    solved = np.linalg.solve(joint[4:, 4:], (noisy - alpha * MU).T)
    expected = MU + (joint[:4, 4:] @ solved).T

    x_t = torch.from_numpy(noisy.reshape(64, 1, SIDE, SIDE)).float()
    found = optimal(prediction).denoise(x_t, torch.full((64,), t))
    np.testing.assert_allclose(flat(found), expected, atol=2e-5 / alpha)


@pytest.mark.parametrize(("sampler", "eta"), MANY)
def test_samples_have_the_moments_of_the_data(sampler: SamplerName, eta: float) -> None:
    made = optimal().sample(COUNT, steps=STEPS, sampler=sampler, eta=eta, batch_size=512)
    has_moments(flat(made), MU, C)


def test_a_one_step_sample_is_the_posterior_mean_of_pure_noise() -> None:
    made = flat(optimal().sample(COUNT, sampler="one-step", batch_size=512))
    alpha, _, _, gain = at(999)
    has_moments(made, MU - gain @ (alpha * MU), gain @ gain.T)


@pytest.mark.parametrize("strength", [0.3, pytest.param(0.6, marks=pytest.mark.proof)])
@pytest.mark.parametrize(("sampler", "eta"), MANY)
def test_edited_images_have_the_moments_of_the_data(
    sampler: SamplerName, eta: float, strength: float
) -> None:
    """And keep of each image just as much as the way there and back keeps.

    Ancestral sampling draws from the posterior: it keeps Cov(x_0, E[x_0 | x_t]). A way without
    fresh noise is the probability flow, which maps N(alpha mu, S) onto N(mu, C) by C^½ S^-½ where
    the two commute, as they do: both are functions of C.
    """
    before = drawn(COUNT)
    after = optimal().edit(before, strength, steps=STEPS, sampler=sampler, eta=eta, batch_size=512)
    has_moments(flat(after), MU, C)
    alpha, _, s, gain = at(timesteps(strength, STEPS, sampler, 1000)[0])
    ancestral = sampler == "ddpm" or eta == 1
    kept = alpha * C @ gain.T if ancestral else alpha * C @ np.linalg.inv(root(s)) @ root(C)
    has_cross(flat(before), flat(after), kept)


@pytest.mark.parametrize("strength", [0.3, 0.6])
def test_a_one_step_edit_is_the_posterior_mean(strength: float) -> None:
    before = drawn(COUNT)
    after = flat(optimal().edit(before, strength, sampler="one-step", batch_size=512))
    alpha, _, s, gain = at(round(strength * 999))
    has_moments(after, MU, gain @ s @ gain.T)
    has_cross(flat(before), after, alpha * C @ gain.T)


def test_the_moments_can_tell_a_wrong_denoiser() -> None:
    """The same checks refuse a denoiser that is a twentieth off."""

    class Wrong(Optimal):
        def forward(self, *arguments: Any) -> Tensor:
            return 1.05 * super().forward(*arguments)

    model = optimal("sample")
    model.network = Wrong(linear(), "sample")
    made = flat(model.sample(COUNT, steps=STEPS, batch_size=512))
    with pytest.raises(AssertionError):
        has_moments(made, MU, C)
