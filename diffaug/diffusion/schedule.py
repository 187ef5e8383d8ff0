"""Schedules: how much signal and noise there is at each time.

A schedule maps times t = 0 … T - 1 to (alpha_t, sigma_t), and with them noises a sample:

    x_t = alpha_t x_0 + sigma_t z,    z ~ N(0, I).

Variance-preserving diffusion (Ho et al. 2020), flow matching (Lipman et al. 2023; Liu et al. 2023)
and variance-exploding diffusion (Karras et al. 2022) differ in these two tables alone, so nothing
else needs to know which of them a model was trained on.

https://arxiv.org/abs/2006.11239, https://arxiv.org/abs/2210.02747,
https://arxiv.org/abs/2209.03003, https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Schedule", "along"]

_CONFIG_FIELDS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


def along(values: Tensor, x: Tensor) -> Tensor:
    """One value a sample, `values` (B,), shaped (B, 1, …) to multiply `x` (B, *) of any rank."""
    return values.view(-1, *(1,) * (x.ndim - 1))


class Schedule:
    """`t -> (alpha_t, sigma_t)` with `x_t = alpha_t * x_0 + sigma_t * noise`, t = 0 … T - 1.

    Args:
        alpha: (T,): how much of the sample is left at each time.
        sigma: (T,), rising: how much noise there is.
        config: the fields of the diffusers scheduler that it came from; None if it came from none.

    Attributes:
        alpha_t: alpha, float64.
        sigma_t: sigma, float64.
        config: as given.
    """

    def __init__(
        self, alpha: Tensor, sigma: Tensor, config: Mapping[str, Any] | None = None
    ) -> None:
        if alpha.ndim != 1 or len(alpha) < 2 or alpha.shape != sigma.shape:
            raise ValueError("alpha and sigma must have the shape (T,) with T at least 2")
        self.alpha_t: NDArray[np.float64] = alpha.double().cpu().numpy()
        self.sigma_t: NDArray[np.float64] = sigma.double().cpu().numpy()
        self.config = dict(config or {})
        self._alpha = alpha.float()
        self._sigma = sigma.float()

    @classmethod
    def variance_preserving(
        cls, alphas_cumprod: Tensor, config: Mapping[str, Any] | None = None
    ) -> Schedule:
        """The discrete forward Markov process of DDPM (Ho et al. 2020).

        `alpha_t = sqrt(alphas_cumprod[t])`, `sigma_t = sqrt(1 - alphas_cumprod[t])`.

        Args:
            alphas_cumprod: (T,), falling, in [0, 1], as a checkpoint's scheduler has it.
            config: as of the class.
        """
        if alphas_cumprod.ndim != 1 or len(alphas_cumprod) < 2:
            raise ValueError("alphas_cumprod must have the shape (T,) with T at least 2")
        table = alphas_cumprod.double()
        return cls(table.sqrt(), (1 - table).sqrt(), config)

    @classmethod
    def flow(cls, sigma: Tensor) -> Schedule:
        """Flow matching, a straight line from sample to noise: `alpha_t = 1 - sigma_t`.

        Args:
            sigma: (T,), rising, in (0, 1].
        """
        table = sigma.double()
        return cls(1 - table, table)

    @classmethod
    def exploding(cls, sigma: Tensor) -> Schedule:
        """Noise added to a sample that is not scaled down (Karras et al. 2022): `alpha_t = 1`.

        Args:
            sigma: (T,), rising, positive.
        """
        table = sigma.double()
        return cls(table.new_ones(table.shape), table)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """The schedule of a diffusers scheduler's betas; its other fields are ignored.

        Raises:
            ValueError, TypeError, NotImplementedError: diffusers cannot make a schedule of it.
        """
        from diffaug.diffusion.betas import alphas_cumprod

        config = {name: value for name, value in config.items() if name in _CONFIG_FIELDS}
        return cls.variance_preserving(alphas_cumprod(config), config)

    @property
    def num_train_timesteps(self) -> int:
        """T: times run from 0 (almost clean) to T - 1 (almost noise)."""
        return len(self._alpha)

    @property
    def noisiest(self) -> float:
        """The scale of the pure noise that images are generated from: sigma at the last time of an
        exploding schedule, else 1.
        """
        return max(1.0, float(self.sigma_t[-1]))

    def to(self, device: torch.device) -> Schedule:
        """The same schedule with its tables on `device`."""
        import torch

        return Schedule(
            torch.from_numpy(self.alpha_t).to(device),
            torch.from_numpy(self.sigma_t).to(device),
            self.config,
        )

    def alpha(self, t: Tensor) -> Tensor:
        """Signal at times `t` (B,): (B,), float32."""
        return self._alpha[t]

    def sigma(self, t: Tensor) -> Tensor:
        """Noise at times `t` (B,): (B,), float32."""
        return self._sigma[t]

    def log_snr(self, t: int) -> float:
        """Log of alpha_t² / sigma_t², in nats: how much of the sample is left at time t."""
        with np.errstate(divide="ignore"):  # minus infinity where no signal is left
            return float(2 * (np.log(self.alpha_t[t]) - np.log(self.sigma_t[t])))

    def add_noise(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Noise samples along the forward process.

        Args:
            x_0: clean samples (B, ...), nominally in [-1, 1].
            t: times (B,), integers in [0, T).
            noise: standard normal values of the same shape.

        Returns:
            `x_t`, of the shape of `x_0`.
        """
        return along(self.alpha(t), x_0) * x_0 + along(self.sigma(t), x_0) * noise
