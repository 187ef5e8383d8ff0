"""What a training takes, measured before it begins."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from statistics import median
from typing import Any

from diffaug.output.sources import source_shards
from diffaug.train.data import Position, batches
from diffaug.train.recipe import LoopRecipe, PictureRecipe, TrainRecipe
from diffaug.train.task import prepare

__all__ = ["Forecast", "forecast"]

_STEPS = 3, 25
"""Steps that are measured, after one that is not: as many as fit into the time, of these."""
_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a training takes.

    Attributes:
        recipe: with every field settled.
        parameters: of the network that is trained.
        images_per_second: in the steps alone, once pictures are read.
    """

    recipe: LoopRecipe
    parameters: int
    images_per_second: float

    @property
    def seconds(self) -> float:
        """Of all steps, on this machine as it was just now."""
        return self.recipe.steps * self.recipe.batch_size / self.images_per_second

    def __str__(self) -> str:
        what, samples = "texts", "texts"
        if isinstance(self.recipe, PictureRecipe):
            channels, height, width = self.recipe.shape
            colours = "grey" if channels == 1 else "colour"
            what, samples = f"pictures of {width}x{height} in {colours}", "images"
        return (
            f"{self.parameters / 1e6:.1f} M parameters, {what}\n"
            f"{self.recipe.steps} steps of {self.recipe.batch_size} {samples} take "
            f"{timedelta(seconds=round(self.seconds))} (hours, minutes, seconds) at "
            f"{self.images_per_second:.3g} {samples}/s, as measured just now; reading, previews "
            "and measuring come on top"
        )


def forecast(
    sources: str | list[str],
    recipe: LoopRecipe | Mapping[str, Any],
    *,
    device: str | None = None,
    dtype: str | None = None,
) -> Forecast:
    """Make a few steps of a training, and drop them; nothing is written.

    Args:
        sources: as for `train.loop.train`, and so are the others.
        recipe: what to train, and how.
        device: on which device.
        dtype: float32, or bfloat16 for autocast.

    Raises:
        ConfigError: an argument is invalid.
        OSError: a shard cannot be read.
    """
    shards = sorted(source_shards(sources))
    if not isinstance(recipe, LoopRecipe):
        recipe = TrainRecipe.taken(recipe)
    settled, _, task = prepare(recipe, shards, dtype=dtype, device=device)
    batch = next(batches(shards, settled, task.form, Position()))
    inputs, taken = task.inputs(batch.x_0), list[float]()
    task.trainer.advance(replace(batch, x_0=inputs))
    while len(taken) < _STEPS[0] or (sum(taken) < _SECONDS and len(taken) < _STEPS[1]):
        began = time.perf_counter()
        if isinstance(settled, PictureRecipe) and settled.crop:  # no picture comes again
            inputs = task.inputs(batch.x_0)
        task.trainer.advance(replace(batch, x_0=inputs))
        taken.append(time.perf_counter() - began)
    parameters = sum(weight.numel() for weight in task.trainer.ema_model.parameters())
    return Forecast(settled, parameters, settled.batch_size / median(taken))
