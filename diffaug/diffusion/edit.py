"""Edit: one sample on its way into noise and back, with everything that its result depends on.

An edit carries its own trajectory, condition and guidance, so edits of different recipes can share
a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffaug.diffusion.samplers import Trajectory

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Edit", "calls_of_both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What a lane is given. Arrays and tensors have no batch axis.

    Attributes:
        x_0: the clean sample, float32, nominally in [-1, 1]: a picture (C, H, W), or its latents.
            None starts from the noise itself.
        noise: standard normal values (1 + draws, ...), float32: what the sample is noised with,
            then what its trajectory's steps add.
        trajectory: when the network is called, and what each step makes of its estimate.
        condition: what the network is given next to sample and time.
        away: the same, for what guidance leads away from.
        scales: (calls,), float32: the guidance scale of each call; None is 1 at every one.
        reused: (calls,): which guided calls reuse the difference between the two conditions of the
            last one that made both, and cost one row; the first may not. None: no call does.
        mask: (1, H, W), where the sample may change; elsewhere it stays as it is. None: everywhere.
        frames: how many frames a clip has of which a model of pictures edits each in a lane of its
            own: x_0 and noise then have a further first axis (see `frames.py`). None: it is one
            sample.
    """

    x_0: NDArray[np.float32] | None
    noise: NDArray[np.float32]
    trajectory: Trajectory
    condition: tuple[Tensor, ...] = ()
    away: tuple[Tensor, ...] = ()
    scales: NDArray[np.float32] | None = None
    reused: NDArray[np.bool_] | None = None
    mask: NDArray[np.bool_] | None = None
    frames: int | None = None

    @property
    def calls(self) -> int:
        """How often the network is called."""
        return self.trajectory.calls

    @property
    def rows(self) -> int:
        """How many rows of network calls it takes: one a call, two where it makes both."""
        each = self.trajectory.calls + calls_of_both(self.scales, self.reused)
        return each * (1 if self.frames is None else self.frames)

    @property
    def values(self) -> int:
        """How many values sample and noise have in memory; noise that frames share counts once."""
        shared = self.frames is not None and not self.noise.strides[0]
        noise = self.noise[0] if shared else self.noise
        return noise.size + (0 if self.x_0 is None else self.x_0.size)


def calls_of_both(scales: NDArray[np.float32] | None, reused: NDArray[np.bool_] | None) -> int:
    """How many of a trajectory's calls are made with both conditions (see `Edit`)."""
    if scales is None:
        return 0
    return int((scales != 1).sum() if reused is None else ((scales != 1) & ~reused).sum())
