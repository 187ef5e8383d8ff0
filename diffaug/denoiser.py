"""A pretrained network behind one call: `(x_t, t, condition) -> x_0 estimate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from diffaug.schedule import Schedule

__all__ = ["Clip", "Denoiser", "Network", "Prediction"]

Prediction = Literal["epsilon", "v_prediction", "sample"]
Network = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""`(x_t (B, C, H, W), t (B,), condition (B,)) -> prediction (B, C, H, W)`"""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """How a checkpoint's scheduler bounds the x_0 estimate.

    Attributes:
        bound: estimates are clamped to [-bound, bound]; None leaves them alone.
        quantile: with dynamic thresholding (Saharia et al. 2022, Imagen), the share of absolute
            values that sets each sample's own bound, between 1 and `bound`.
    """

    bound: float | None = None
    quantile: float | None = None

    def __call__(self, x_0: Tensor) -> Tensor:
        """Bound `x_0` (B, C, H, W), each sample on its own."""
        if self.bound is None:
            return x_0
        if self.quantile is None:
            return x_0.clamp(-self.bound, self.bound)
        own = x_0.abs().flatten(1).quantile(self.quantile, dim=1).clamp(1, self.bound)
        own = own.view(-1, 1, 1, 1)
        return x_0.clamp(-own, own) / own


@dataclass(frozen=True, kw_only=True)
class Denoiser:
    """A network, the schedule it was trained on, and what its output means.

    Calling it with `x_t` (B, C, H, W) in float32, times `t` (B,) and classes `condition` (B,)
    returns the estimate of the clean image, float32, of the same shape.

    Attributes:
        network: the network, in its own dtype and memory format.
        schedule: signal and noise at each time.
        prediction: what the network predicts: the noise, v (Salimans & Ho 2022), or x_0.
        clip: the checkpoint's bound on x_0.
        shape: (C, H, W) of one sample.
        classes: how many classes can condition it; 0 when none can.
        null_class: the class that means "no class"; None when it has none.
        device: where it runs.
    """

    network: Network
    schedule: Schedule
    prediction: Prediction
    clip: Clip
    shape: tuple[int, int, int]
    classes: int
    null_class: int | None
    device: torch.device

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Estimate x_0, float32 (B, C, H, W)."""
        output = self.network(x_t, t, condition).float()
        if self.prediction == "sample":
            return self.clip(output)
        alpha_t, sigma_t = self.schedule.alpha(t), self.schedule.sigma(t)
        if self.prediction == "v_prediction":
            return self.clip(alpha_t * x_t - sigma_t * output)
        return self.clip((x_t - sigma_t * output) / alpha_t)

    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is to predict of `x_0` noised by `noise` at times `t` (B,)."""
        if self.prediction == "sample":
            return x_0
        if self.prediction == "v_prediction":
            return self.schedule.alpha(t) * noise - self.schedule.sigma(t) * x_0
        return noise

    def loss_weight(self, t: Tensor, min_snr_gamma: float | None) -> Tensor:
        """What an error of the prediction at times `t` (B,) counts in the training loss: (B,).

        Min-SNR weighting (Hang et al. 2023, "Efficient diffusion training via min-SNR weighting
        strategy"): that for which an error of x_0 counts min(SNR, gamma). None: 1 at all times.
        """
        alpha_t, sigma_t = self.schedule.alpha(t).flatten(), self.schedule.sigma(t).flatten()
        if min_snr_gamma is None:
            return alpha_t.new_ones(t.shape)
        snr = (alpha_t / sigma_t).square()
        weight = snr.clamp(max=min_snr_gamma)
        if self.prediction == "v_prediction":
            return weight / (snr + 1)
        return weight if self.prediction == "sample" else weight / snr
