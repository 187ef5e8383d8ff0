"""What a training trains: the part that differs from kind to kind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from diffaug.execution import Execution
from diffaug.train.autoencoding import AutoencoderTask
from diffaug.train.data import Form, Position, batches
from diffaug.train.denoising import DenoiserTask
from diffaug.train.distill_recipe import DistillRecipe
from diffaug.train.latents import Latents, open_autoencoder, scale, scale_as, with_channels
from diffaug.train.pictures import Pictures, settle
from diffaug.train.recipe import LoopRecipe, TrainRecipe
from diffaug.train.student import StudentTask, settled
from diffaug.train.text_recipe import TextRecipe
from diffaug.train.text_task import TextTask
from diffaug.train.trainer import Trainer

__all__ = ["Prepared", "Task", "prepare"]

_MEASURED = 256
"""Number of images that the variance of latents is measured on."""


class Task(Protocol):
    """The network in training, and everything that depends on its kind."""

    @property
    def trainer(self) -> Trainer[Any]:
        """The optimizer's side of it."""
        ...

    @property
    def form(self) -> Form:
        """What is taken of a sample."""
        ...

    def inputs(self, x_0: NDArray[Any]) -> NDArray[Any]:
        """What the network is trained on, of the samples of a batch."""
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

    def preview(self, shown: NDArray[Any], folder: Path, stem: str) -> None:
        """Draw what the averaged weights make of a few samples of the first batch."""
        ...

    def save(self, folder: Path, trained: str) -> None:
        """Write the averaged weights as a folder of diffusers.

        Args:
            folder: created if necessary.
            trained: a sentence about the training, for its README.md.
        """
        ...


class Prepared(NamedTuple):
    """A training that can begin: its recipe with every field settled, its machine, its task."""

    recipe: LoopRecipe
    execution: Execution
    task: Task


def prepare(
    recipe: LoopRecipe,
    shards: list[str],
    checkpoint: Path | None = None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    held_back: list[str] | None = None,
) -> Prepared:
    """Settle a recipe, and build what it trains.

    Args:
        recipe: of the training.
        shards: of the training.
        checkpoint: the folder of a training to resume, which holds weights and the scale of
            latents; None for a new one, which starts from the recipe's `init`.
        dtype: None means the faster one on this machine.
        device: None means cuda if available.
        held_back: shards of held-out images, or None.

    Raises:
        ConfigError: an argument is invalid.
        OSError: a shard cannot be read.
    """
    task: Task
    if isinstance(recipe, DistillRecipe):
        recipe = settled(recipe, dtype, device)
        execution = Execution.choose(recipe.batch_size, dtype, device)
        return Prepared(recipe, execution, StudentTask(recipe, execution, held_back))
    if isinstance(recipe, TextRecipe):
        execution = Execution.choose(recipe.batch_size, dtype, device)
        task = TextTask.new(recipe, execution, shards, checkpoint, held_back)
        return Prepared(recipe, execution, task)
    assert isinstance(recipe, TrainRecipe)
    vae = None
    if recipe.autoencoder is not None:
        vae = open_autoencoder(recipe, checkpoint)
        recipe = with_channels(recipe, vae)
    recipe = settle(recipe, shards)
    execution = Execution.choose(recipe.batch_size, dtype, device)
    resumed = checkpoint is not None
    if vae is not None and not resumed:
        if recipe.init is None:
            scale(vae, recipe.shape, _pictures(recipe, shards), execution)
        else:
            scale_as(vae, recipe.init)
    if recipe.kind == "autoencoder":
        task = AutoencoderTask(recipe, execution, held_back)
    else:
        latents = None
        if vae is not None:
            latents = Latents(vae, recipe.shape, execution, keep=not recipe.crop)
        task = DenoiserTask.new(recipe, execution, latents, held_back)
    if recipe.init is not None and not resumed:
        task.begin_with(recipe.init)
    return Prepared(recipe, execution, task)


def _pictures(recipe: TrainRecipe, shards: list[str]) -> Iterator[NDArray[np.float32]]:
    """The training's first images, in its order."""
    count = -(-_MEASURED // recipe.batch_size)
    return (
        batch.x_0 for batch in islice(batches(shards, recipe, Pictures(recipe), Position()), count)
    )
