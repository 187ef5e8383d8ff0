"""The way from noise to image. Every sampler's step is one linear combination,

    x_s = a x_t + b x_0 + c x_0' + d z,

of where the image is, the estimate of the clean image, the estimate before it, and fresh noise.
The four numbers depend on the timesteps alone, so they are computed beforehand, in float64, and a
batch in which every sample has its own times takes its step in a few multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diffaug.diffusion.schedule import Schedule

__all__ = ["Sampler", "Trajectory", "trajectory"]

Sampler = Literal["ddim", "ddpm", "dpmsolver++", "lcm", "one-step"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One image's way: when the network is called, and what each step makes of its estimate.

    Attributes:
        timesteps: the calls' times, falling; the last step goes to the clean image.
        weights: (calls, 4), float32: a, b, c, d of each step.
        ends: (calls, 2), float32: alpha and sigma where each step ends.
    """

    timesteps: tuple[int, ...]
    weights: NDArray[np.float32]
    ends: NDArray[np.float32]

    @property
    def calls(self) -> int:
        """How often the network is called."""
        return len(self.timesteps)

    @property
    def looks_back(self) -> bool:
        """Whether a step uses the estimate before it."""
        return bool(self.weights[:, 2].any())

    @property
    def draws(self) -> int:
        """How many steps add fresh noise: all but the last, or none."""
        return self.calls - 1 if self.weights[:, 3].any() else 0


@lru_cache(maxsize=4096)
def trajectory(
    sampler: Sampler, schedule: Schedule, timesteps: tuple[int, ...], eta: float = 0.0
) -> Trajectory:
    """The way through `timesteps` by a sampler.

    The last step goes to the clean image and is its estimate, whatever the sampler: so `one-step`
    is any of them with a single call, and `dpmsolver++` ends in first order.

    Args:
        sampler: `ddim` (Song et al. 2021, "Denoising diffusion implicit models", eq. 12 and 16),
            `ddpm` (ancestral, Ho et al. 2020, with the posterior's own variance: it is `ddim` with
            eta 1), `dpmsolver++` (second-order multistep, Lu et al. 2022, the midpoint form of
            algorithm 2; its first step is first order, which is `ddim`), `lcm` (each estimate is
            noised anew to the next time: the multistep sampling of consistency models, Song et al.
            2023, algorithm 1, and of Luo et al. 2023, "Latent consistency models"), or `one-step`.
        schedule: signal and noise at each time.
        timesteps: the calls' times, falling, at least one.
        eta: of `ddim`: how much of the posterior's noise is added, 0 to 1.
    """
    alpha, sigma = schedule.alpha_t[list(timesteps)], schedule.sigma_t[list(timesteps)]
    weights = np.zeros((len(timesteps), 4))
    if sampler == "dpmsolver++":
        weights[:-1, :3] = _second_order(alpha, sigma)
    elif sampler == "lcm":
        weights[:-1, 1], weights[:-1, 3] = alpha[1:], sigma[1:]
    else:
        weights[:-1, [0, 1, 3]] = _implicit(alpha, sigma, 1.0 if sampler == "ddpm" else eta)
    weights[-1, 1] = 1
    ends = np.stack([np.append(alpha[1:], 1), np.append(sigma[1:], 0)], axis=1)
    return Trajectory(timesteps, weights.astype(np.float32), ends.astype(np.float32))


def _implicit(alpha: _Array, sigma: _Array, eta: float) -> _Array:
    """a, b and d from each time to the next, by DDIM."""
    kept = (alpha[:-1] / alpha[1:]) ** 2
    now, then = sigma[:-1] ** 2, sigma[1:] ** 2
    d = eta * np.sqrt(np.maximum(then / now * (now - kept * then), 0))
    a = np.sqrt(np.maximum(then - d**2, 0) / now)
    return np.stack([a, alpha[1:] - a * alpha[:-1], d], axis=1)


def _second_order(alpha: _Array, sigma: _Array) -> _Array:
    """a, b and c from each time to the next, by DPM-Solver++(2M)."""
    a = sigma[1:] / sigma[:-1]
    k = alpha[1:] - a * alpha[:-1]
    with np.errstate(divide="ignore"):  # no signal at all: lambda is -inf, its step infinite
        half_log_snr = np.log(alpha) - np.log(sigma)
    h = np.diff(half_log_snr)
    back = np.zeros_like(k)
    back[1:] = k[1:] * h[1:] / (2 * h[:-1])
    return np.stack([a, k + back, -back], axis=1)
