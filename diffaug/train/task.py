"""What a training trains: the part that differs between a denoiser and an autoencoder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffaug.execution import Execution
from diffaug.train.autoencoding import AutoencoderTask
from diffaug.train.data import Position, batches
from diffaug.train.denoising import DenoiserTask
from diffaug.train.latents import Latents, scale, scale_as
from diffaug.train.recipe import TrainRecipe
from diffaug.train.trainer import Trainer

__all__ = ["Task", "task_for"]

_MEASURED = 256
"""Number of images that the variance of latents is measured on."""


class Task(Protocol):
    """The network in training, and everything that depends on its kind."""

    @property
    def trainer(self) -> Trainer[Any]:
        """The optimizer's side of it."""
        ...

    def inputs(self, x_0: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network is trained on, of pictures (B, C, H, W) in [-1, 1]."""
        ...

    def begin_with(self, reference: str) -> None:
        """Start from the weights of a model.

        Raises:
            ConfigError: there is no such model, or its network differs.
        """
        ...

    def measured(self) -> float | None:
        """A measure of the averaged weights on the held-out images; None if there are none."""
        ...

    def preview(self, shown: NDArray[np.float32], folder: Path, stem: str) -> None:
        """Draw what the averaged weights make of pictures (B, C, H, W) in [-1, 1]."""
        ...

    def save(self, folder: Path, trained: str) -> None:
        """Write the averaged weights as a folder of diffusers.

        Args:
            folder: created if necessary.
            trained: a sentence about the training, for its README.md.
        """
        ...


def task_for(
    recipe: TrainRecipe,
    execution: Execution,
    shards: list[str],
    vae: Any,
    held_back: list[str] | None,
    resumed: bool,
) -> Task:
    """The task of a recipe, started from the recipe's `init` if it is not resumed.

    Args:
        recipe: settled.
        execution: device and dtype.
        shards: of the training, which latents are scaled by.
        vae: the autoencoder of the denoiser to train; None trains it on pictures.
        held_back: shards of held-out images, or None.
        resumed: whether the weights and the scale of latents come from a checkpoint.

    Raises:
        ConfigError: an argument is invalid.
        OSError: a shard cannot be read.
    """
    if vae is not None and not resumed:
        if recipe.init is None:
            scale(vae, recipe.shape, _pictures(recipe, shards), execution)
        else:
            scale_as(vae, recipe.init)
    task: Task
    if recipe.kind == "autoencoder":
        task = AutoencoderTask(recipe, execution, held_back)
    else:
        latents = None if vae is None else Latents(vae, recipe.shape, execution)
        task = DenoiserTask(recipe, execution, latents, held_back)
    if recipe.init is not None and not resumed:
        task.begin_with(recipe.init)
    return task


def _pictures(recipe: TrainRecipe, shards: list[str]) -> Iterator[NDArray[np.float32]]:
    """The training's first images, in its order."""
    count = -(-_MEASURED // recipe.batch_size)
    return (batch.x_0 for batch in islice(batches(shards, recipe, Position()), count))
