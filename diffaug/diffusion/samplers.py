"""Samplers: when a network is called on the way from noise to image, and what each step does.

Every sampler's step from time t to time s is one linear combination,

    x_s = a x_t + b x_0 + c x_0' + d z,

of where the sample is, the network's estimate of the clean sample, the estimate before it, and
fresh noise. The four weights depend on the times alone, so they are computed beforehand, in
float64, and a batch in which every sample has its own times takes its step in a few
multiplications.

To add one: subclass `Sampler`, and name it in `SamplerName` and `SAMPLERS`. Its name is also in the
description of the column `sampler` (manifest/columns.py) and in docs/samplers.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diffaug.diffusion.schedule import Schedule

__all__ = [
    "SAMPLERS",
    "Sampler",
    "SamplerName",
    "TextSamplerName",
    "Trajectory",
    "timesteps",
    "trajectory",
]

SamplerName = Literal["ddim", "ddpm", "dpmsolver++", "lcm", "one-step"]
"""The keys of SAMPLERS."""

TextSamplerName = Literal["random", "confident"]
"""In which order hidden tokens of a text are committed (see `masked.py`)."""

_Array = NDArray[np.float64]

_TAUGHT_CALLS = 2
"""The most calls of a distilled model."""


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One sample's way: when the network is called, and what each step makes of its estimate.

    Attributes:
        timesteps: the calls' times, falling; the last step goes to the clean sample.
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


class Sampler(ABC):
    """A way from noise to image: at which times, and by which steps."""

    def times(
        self,
        strength: float,
        steps: int,
        num_train_timesteps: int,
        grid: tuple[int, ...] | None = None,
    ) -> tuple[int, ...]:
        """The times at which the network is called, falling, at least one.

        `calls = max(1, round(strength * steps))` and `t_start = round(strength * (T - 1))`; call i
        of n happens at `round(t_start * (n - i) / n)`. No time is visited twice: n is at most
        t_start, and times that meet on a grid are one call.

        A distilled model arrives with its first call, a second one refines what is there, and
        more lead it astray (docs/samplers.md): n is at most two, and calls come late, at
        `round(t_start * ((n - i) / n)²)`, the quadratic times of Song et al. 2021.

        Args:
            strength: how far a sample is taken into noise, in (0, 1].
            steps: calls that strength 1 would make.
            num_train_timesteps: T of the schedule.
            grid: the times that a distilled model was taught at, rising, not empty; each call is
                moved to the nearest of them, to the earlier of two as near. None: any time.
        """
        t_start = round(strength * (num_train_timesteps - 1))
        calls = max(1, min(round(strength * steps), t_start))
        if grid is None:
            return tuple(round(t_start * (calls - i) / calls) for i in range(calls))
        calls = min(calls, _TAUGHT_CALLS)
        times = [round(t_start * ((calls - i) / calls) ** 2) for i in range(calls)]
        return tuple(dict.fromkeys(_nearest(grid, time) for time in times))

    @abstractmethod
    def weights(self, alpha: _Array, sigma: _Array, eta: float) -> _Array:
        """a, b, c and d of the steps from each time to the next: (calls - 1, 4).

        Args:
            alpha: (calls,): signal at the times of the calls.
            sigma: (calls,): noise at them.
            eta: how much of the posterior's noise is added, 0 to 1; only DDIM reads it.
        """


def _nearest(grid: tuple[int, ...], time: int) -> int:
    place = bisect_left(grid, time)
    return min(grid[max(0, place - 1) : place + 1], key=lambda taught: abs(taught - time))


class DDIM(Sampler):
    """Denoising diffusion implicit models (Song et al. 2021), eq. 12 and 16.

        x_s = alpha_s x_0 + sqrt(sigma_s² - d²) (x_t - alpha_t x_0) / sigma_t + d z

    with `d = eta * sqrt(sigma_s² / sigma_t² * (sigma_t² - (alpha_t / alpha_s)² sigma_s²))`.

    https://arxiv.org/abs/2010.02502
    """

    def weights(self, alpha: _Array, sigma: _Array, eta: float) -> _Array:
        """As of `Sampler`; c is 0."""
        kept = (alpha[:-1] / alpha[1:]) ** 2
        now, then = sigma[:-1] ** 2, sigma[1:] ** 2
        d = eta * np.sqrt(np.maximum(then / now * (now - kept * then), 0))
        a = np.sqrt(np.maximum(then - d**2, 0) / now)
        return np.stack([a, alpha[1:] - a * alpha[:-1], np.zeros_like(a), d], axis=1)


class DDPM(DDIM):
    """Ancestral sampling with the posterior's own variance (Ho et al. 2020): DDIM with eta 1.

    https://arxiv.org/abs/2006.11239
    """

    def weights(self, alpha: _Array, sigma: _Array, eta: float) -> _Array:
        """As of `Sampler`; `eta` is not read."""
        return super().weights(alpha, sigma, 1.0)


class DPMSolver(Sampler):
    """DPM-Solver++(2M), the second-order multistep solver of Lu et al. 2022 in its midpoint form
    (algorithm 2). With `lambda = log(alpha / sigma)`, `h = lambda_s - lambda_t` and h' that of the
    step before,

        x_s = sigma_s / sigma_t x_t + k ((1 + h / 2h') x_0 - h / 2h' x_0'),
        k = alpha_s - alpha_t sigma_s / sigma_t.

    Its first step is of first order, which is DDIM.

    https://arxiv.org/abs/2211.01095
    """

    def weights(self, alpha: _Array, sigma: _Array, eta: float) -> _Array:
        """As of `Sampler`; d is 0, and `eta` is not read."""
        a = sigma[1:] / sigma[:-1]
        k = alpha[1:] - a * alpha[:-1]
        with np.errstate(divide="ignore"):  # no signal at all: lambda is -inf, its step infinite
            half_log_snr = np.log(alpha) - np.log(sigma)
        h = np.diff(half_log_snr)
        back = np.zeros_like(k)
        back[1:] = k[1:] * h[1:] / (2 * h[:-1])
        return np.stack([a, k + back, -back, np.zeros_like(a)], axis=1)


class LCM(Sampler):
    """The multistep sampling of consistency models: each estimate is noised again, to the next
    time, `x_s = alpha_s x_0 + sigma_s z` (Song et al. 2023, algorithm 1; for latents, Luo et al.
    2023).

    https://arxiv.org/abs/2303.01469, https://arxiv.org/abs/2310.04378
    """

    def weights(self, alpha: _Array, sigma: _Array, eta: float) -> _Array:
        """As of `Sampler`; a and c are 0, and `eta` is not read."""
        none = np.zeros(len(alpha) - 1)
        return np.stack([none, alpha[1:], none, sigma[1:]], axis=1)


class OneStep(DDIM):
    """One call, whose estimate is the result, whatever `steps` says."""

    def times(
        self,
        strength: float,
        steps: int,
        num_train_timesteps: int,
        grid: tuple[int, ...] | None = None,
    ) -> tuple[int, ...]:
        """As of `Sampler`; `steps` is not read."""
        return super().times(strength, 1, num_train_timesteps, grid)


SAMPLERS: dict[str, Sampler] = {
    "ddim": DDIM(),
    "ddpm": DDPM(),
    "dpmsolver++": DPMSolver(),
    "lcm": LCM(),
    "one-step": OneStep(),
}
"""Every sampler by the name that a recipe gives it."""


def timesteps(
    strength: float,
    steps: int,
    sampler: str,
    num_train_timesteps: int,
    grid: tuple[int, ...] | None = None,
) -> tuple[int, ...]:
    """The times at which the network is called by the sampler of this name; see `Sampler.times`."""
    return SAMPLERS[sampler].times(strength, steps, num_train_timesteps, grid)


@lru_cache(maxsize=4096)
def trajectory(
    sampler: str, schedule: Schedule, timesteps: tuple[int, ...], eta: float = 0.0
) -> Trajectory:
    """The way through `timesteps` by the sampler of this name.

    The last step goes to the clean sample and is its estimate, whatever the sampler: so `one-step`
    is any of them with a single call, and `dpmsolver++` ends in first order.

    Args:
        sampler: one of SAMPLERS.
        schedule: signal and noise at each time.
        timesteps: the calls' times, falling, at least one.
        eta: of `ddim`: how much of the posterior's noise is added, 0 to 1.
    """
    alpha, sigma = schedule.alpha_t[list(timesteps)], schedule.sigma_t[list(timesteps)]
    weights = np.concatenate([SAMPLERS[sampler].weights(alpha, sigma, eta), [[0, 1, 0, 0]]])
    ends = np.stack([np.append(alpha[1:], 1), np.append(sigma[1:], 0)], axis=1)
    return Trajectory(timesteps, weights.astype(np.float32), ends.astype(np.float32))
