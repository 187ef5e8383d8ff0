"""One step of the way from noise to image, for a batch in which every sample has its own times."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from diffaug.schedule import Schedule

__all__ = ["ddim_step"]


def ddim_step(schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The deterministic DDIM update (Song et al. 2021, eq. 12 with eta 0).

    The noise is re-derived from the (clipped) estimate of x_0, so that the two agree. A step to
    CLEAN returns `x_0` itself, which makes `one-step` the same update with a single call.

    Args:
        schedule: signal and noise at each time.
        x_t: noisy images (B, C, H, W), float32.
        x_0: their estimated clean images, same shape.
        t: the time of each (B,).
        s: the time each goes to (B,), below t; CLEAN for the last step.
    """
    noise = (x_t - schedule.alpha(t) * x_0) / schedule.sigma(t)
    return schedule.alpha(s) * x_0 + schedule.sigma(s) * noise
