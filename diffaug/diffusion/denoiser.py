"""Denoisers: a pretrained network behind one call, `(x_t, t, *condition) -> x_0 estimate`.

Networks are trained to predict different things of `x_t = alpha_t x_0 + sigma_t z`. Each gives an
estimate of the clean sample:

    epsilon (z)                       x_0 = (x_t - sigma_t output) / alpha_t
    v (alpha_t z - sigma_t x_0)       x_0 = alpha_t x_t - sigma_t output
    flow (z - x_0)                    x_0 = x_t - sigma_t output
    sample (x_0)                      x_0 = output

so samplers and guidance know nothing of predictions (Ho et al. 2020; Salimans & Ho 2022; Lipman et
al. 2023).

https://arxiv.org/abs/2006.11239, https://arxiv.org/abs/2202.00512,
https://arxiv.org/abs/2210.02747
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from diffaug.diffusion.schedule import Schedule, along
from diffaug.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Boundary", "Clip", "Denoiser", "Network", "Prediction"]

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
Network = Callable[..., "Tensor"]
"""`(x_t (B, *), t (B,), *condition) -> prediction (B, *)`: the condition is
one or more tensors (B, ...), such as classes (B,), or a prompt's embeddings (B, tokens, width)."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """How a checkpoint's scheduler bounds the x_0 estimate.

    Attributes:
        bound: estimates are clamped to [-bound, bound]; None leaves them alone.
        quantile: for dynamic thresholding (Saharia et al. 2022, https://arxiv.org/abs/2205.11487):
            the quantile of absolute values that sets each sample's own bound, between 1 and
            `bound`.
    """

    bound: float | None = None
    quantile: float | None = None

    def __call__(self, x_0: Tensor) -> Tensor:
        """Bound `x_0` (B, *), each sample on its own."""
        if self.bound is None:
            return x_0
        if self.quantile is None:
            return x_0.clamp(-self.bound, self.bound)
        own = x_0.abs().flatten(1).quantile(self.quantile, dim=1).clamp(1, self.bound)
        own = along(own, x_0)
        return x_0.clamp(-own, own) / own


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """What makes a consistency model's estimate approach the sample itself as noise vanishes.

    `x_0 = skip_t * x_t + out_t * estimate` (Song et al. 2023, eq. 5,
    https://arxiv.org/abs/2303.01469).

    Attributes:
        skip: (T,), float32.
        out: (T,), float32.
    """

    skip: Tensor
    out: Tensor

    def __call__(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> Tensor:
        """Blend estimates `x_0` (B, *) at times `t` (B,)."""
        return along(self.skip[t], x_t) * x_t + along(self.out[t], x_0) * x_0


@dataclass(frozen=True, kw_only=True)
class Denoiser:
    """A network, the schedule it was trained on, and what its output means.

    Calling it with `x_t` (B, ...) in float32, times `t` (B,) and what conditions it returns the
    estimate of the clean image, float32, of the same shape.

    Attributes:
        network: the network, in its own dtype and memory format.
        schedule: signal and noise at each time.
        prediction: what the network predicts: the noise, v (Salimans & Ho 2022), x_0, or the
            flow from image to noise (Lipman et al. 2023).
        clip: the checkpoint's bound on x_0.
        shape: of one sample, without the batch's axis: (C, H, W) of a picture or of its latents.
        classes: how many classes can condition it; 0 when none can.
        null_class: the class that means "no class"; None when it has none.
        device: where it runs.
        boundary: of consistency models; None elsewhere.
    """

    network: Network
    schedule: Schedule
    prediction: Prediction
    clip: Clip
    shape: tuple[int, ...]
    classes: int
    null_class: int | None
    device: torch.device
    boundary: Boundary | None = None

    @property
    def no_class(self) -> int:
        """What the network is given for "no class"; one that takes no classes ignores it."""
        return self.null_class or 0

    @property
    def requires_class(self) -> bool:
        """Whether every sample needs a class: it knows classes, and none that means "no class"."""
        return self.classes > 0 and self.null_class is None

    def check_classes(self, given: bool, guidance: float = 1.0) -> None:
        """Check that it can run with classes, or without, at this guidance scale.

        Args:
            given: whether each sample has a class.
            guidance: the scale.

        Raises:
            ConfigError: it requires a class, or has none to guide towards or away from.
        """
        if self.requires_class and not given:
            raise ConfigError("condition: the model requires a class for every image; give classes")
        if guidance != 1 and (not given or self.null_class is None):
            raise ConfigError(
                "guidance: the model is given no class to guide towards, or knows none that means "
                "no class; give classes, or use guidance=1"
            )

    def __call__(self, x_t: Tensor, t: Tensor, *condition: Tensor) -> Tensor:
        """Estimate x_0, float32 (B, ...)."""
        return self.estimate(x_t, t, self.network(x_t, t, *condition).float())

    def estimate(self, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """The x_0 that the network's `output`, float32 (B, ...), means."""
        if self.prediction == "sample":
            x_0 = output
        else:
            alpha_t, sigma_t = self._signal_and_noise(x_t, t)
            if self.prediction == "v_prediction":
                x_0 = alpha_t * x_t - sigma_t * output
            elif self.prediction == "flow":
                x_0 = x_t - sigma_t * output
            else:
                x_0 = (x_t - sigma_t * output) / alpha_t
        return self.clip(x_0 if self.boundary is None else self.boundary(x_t, t, x_0))

    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is to predict of `x_0` noised by `noise` at times `t` (B,)."""
        if self.prediction == "sample":
            return x_0
        if self.prediction == "v_prediction":
            alpha_t, sigma_t = self._signal_and_noise(x_0, t)
            return alpha_t * noise - sigma_t * x_0
        return noise - x_0 if self.prediction == "flow" else noise

    def loss_weight(self, t: Tensor, min_snr_gamma: float | None) -> Tensor:
        """The weight of the prediction's error at times `t` (B,) in the training loss: (B,).

        Min-SNR weighting (Hang et al. 2023, https://arxiv.org/abs/2303.09556): the weight under
        which an error of x_0 counts min(SNR, gamma). None: 1 at all times.
        """
        alpha_t, sigma_t = self.schedule.alpha(t), self.schedule.sigma(t)
        if min_snr_gamma is None:
            return alpha_t.new_ones(t.shape)
        snr = (alpha_t / sigma_t).square()
        weight = snr.clamp(max=min_snr_gamma)
        if self.prediction == "v_prediction":
            return weight / (snr + 1)
        return weight if self.prediction == "sample" else weight / snr

    def _signal_and_noise(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t at times `t` (B,), shaped to multiply `x` (B, *)."""
        return along(self.schedule.alpha(t), x), along(self.schedule.sigma(t), x)
