"""The noise loss of a model on held-out images."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.models.module import DiffusionModel
from diffaug.train.data import usable
from diffaug.train.recipe import TrainRecipe

__all__ = ["HeldBack"]


class HeldBack:
    """Held-out images in memory, each with fixed noise and, by default, a fixed time of its own.

    The times are spread evenly over the whole process, so a few thousand images give a precise
    mean.

    Args:
        shards: shards of the images; unusable samples are left out.
        recipe: how images and classes are read, and the batch size.

    Attributes:
        x_0: float32 (N, C, H, W), the images in [-1, 1].
        labels: int64 (N,), their classes.
        noise: float32 (N, C, H, W), standard normal.

    Raises:
        ConfigError: no image is usable.
        OSError: a shard cannot be read.
    """

    def __init__(self, shards: list[str], recipe: TrainRecipe) -> None:
        found = list(usable(shards, recipe))
        if not found:
            names = ", ".join(map(storage.public_url, shards))
            raise ConfigError(f"held_back: no sample of {names} can be used")
        self._batch_size, self._is_conditional = recipe.batch_size, recipe.class_count > 0
        self.x_0 = torch.from_numpy(np.stack([image for image, _ in found]))
        self.labels = torch.tensor([label for _, label in found])
        generator = torch.Generator().manual_seed(recipe.seed)
        self.noise = torch.randn(self.x_0.shape, generator=generator)
        self._places = torch.randperm(len(found), generator=generator)

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
