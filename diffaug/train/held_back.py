"""Held-out images, and the noise loss of a model on them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.models.module import DiffusionModel
from diffaug.train.data import usable
from diffaug.train.pictures import Pictures
from diffaug.train.recipe import PictureRecipe

__all__ = ["HeldBack", "held_out"]


def held_out(shards: list[str], recipe: PictureRecipe) -> tuple[Tensor, Tensor]:
    """The images (N, C, H, W) in [-1, 1] of shards, float32, and their classes (N,).

    Unusable samples are left out.

    Raises:
        ConfigError: no image is usable.
        OSError: a shard cannot be read.
    """
    found = list(usable(shards, Pictures(recipe)))
    if not found:
        names = ", ".join(map(storage.public_url, shards))
        raise ConfigError(f"held_back: no sample of {names} can be used")
    x_0 = torch.from_numpy(np.stack([image for image, _ in found]))
    return x_0, torch.tensor([label for _, label in found])


class HeldBack:
    """Held-out images in memory, each with fixed noise and, by default, a fixed time of its own.

    The times are spread evenly over the whole process, so a few thousand images give a precise
    mean.

    Args:
        shards: shards of the images; unusable samples are left out.
        recipe: how images and classes are read, and the batch size.
        encoded: from images to their latents, if the model works on latents.

    Attributes:
        x_0: float32 (N, C, H, W), the images in [-1, 1], or their latents.
        labels: int64 (N,), their classes.
        noise: float32 (N, C, H, W), standard normal.

    Raises:
        ConfigError: no image is usable.
        OSError: a shard cannot be read.
    """

    def __init__(
        self,
        shards: list[str],
        recipe: PictureRecipe,
        encoded: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
    ) -> None:
        self.x_0, self.labels = held_out(shards, recipe)
        if encoded is not None:
            self.x_0 = torch.from_numpy(encoded(self.x_0.numpy()))
        self._batch_size, self._is_conditional = recipe.batch_size, recipe.class_count > 0
        generator = torch.Generator().manual_seed(recipe.seed)
        self.noise = torch.randn(self.x_0.shape, generator=generator)
        self._places = torch.randperm(len(self.x_0), generator=generator)

    def times(self, num_train_timesteps: int) -> Tensor:
        """The time (N,) that each image is noised to."""
        return ((self._places.double() + 0.5) / len(self.x_0) * num_train_timesteps).long()

    def noise_loss(self, model: DiffusionModel, t: Tensor | None = None) -> float:
        """Mean squared error of the model's noise prediction, given the class if it takes one.

        Always predicting zero noise gives 1, whichever quantity the network predicts.

        Args:
            model: a model with the images' size, channels and classes.
            t: times (N,); None means `times`.
        """
        device, count, errors = model.denoiser.device, len(self.x_0), 0.0
        if t is None:
            t = self.times(model.denoiser.schedule.num_train_timesteps)
        with torch.inference_mode():
            for begin in range(0, count, self._batch_size):
                part = slice(begin, begin + self._batch_size)
                condition = self.labels[part].to(device) if self._is_conditional else None
                terms = model(
                    self.x_0[part].to(device),
                    condition,
                    t=t[part].to(device),
                    noise=self.noise[part].to(device),
                    min_snr_gamma=math.inf,  # weighs errors as errors of the noise
                )
                errors += float(terms.loss) * len(terms.t)
        return errors / count
