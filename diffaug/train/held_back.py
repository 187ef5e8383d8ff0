"""How far off a model is on images that it is never trained on."""

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
    """Images kept in memory, each with a noise and, by default, a time of its own for every call.

    The times are spread evenly over the whole process, so that a few thousand images tell well.

    Args:
        shards: of the images. What cannot be used of them is left out.
        recipe: how images and classes are read, and how many are looked at together.

    Attributes:
        x_0: float32 (N, C, H, W), the images in [-1, 1].
        labels: int64 (N,), their classes.
        noise: what they are noised by, like `x_0`.

    Raises:
        ConfigError: none of the images can be used.
        OSError: a shard cannot be read.
    """

    def __init__(self, shards: list[str], recipe: TrainRecipe) -> None:
        found = list(usable(shards, recipe))
        if not found:
            names = ", ".join(map(storage.public_url, shards))
            raise ConfigError(f"held_back: no sample of {names} can be used")
        self._batch_size, self._is_told = recipe.batch_size, recipe.class_count > 0
        self.x_0 = torch.from_numpy(np.stack([image for image, _ in found]))
        self.labels = torch.tensor([label for _, label in found])
        generator = torch.Generator().manual_seed(recipe.seed)
        self.noise = torch.randn(self.x_0.shape, generator=generator)
        self._places = torch.randperm(len(found), generator=generator)

    def times(self, num_train_timesteps: int) -> Tensor:
        """The times (N,) that the images are noised to."""
        return ((self._places.double() + 0.5) / len(self.x_0) * num_train_timesteps).long()

    def noise_loss(self, model: DiffusionModel, t: Tensor | None = None) -> float:
        """The mean squared error of the noise that the model predicts, told what class it can be.

        That of pure guessing is 1, whatever it is that the network predicts.

        Args:
            model: of the size, channels and classes of the images.
            t: other times (N,) than its `times`.
        """
        device, count, errors = model.denoiser.device, len(self.x_0), 0.0
        if t is None:
            t = self.times(model.denoiser.schedule.num_train_timesteps)
        with torch.inference_mode():
            for begin in range(0, count, self._batch_size):
                part = slice(begin, begin + self._batch_size)
                condition = self.labels[part].to(device) if self._is_told else None
                terms = model(
                    self.x_0[part].to(device),
                    condition,
                    t=t[part].to(device),
                    noise=self.noise[part].to(device),
                    min_snr_gamma=math.inf,  # weighs as the error of the noise does
                )
                errors += float(terms.loss) * len(terms.t)
        return errors / count
