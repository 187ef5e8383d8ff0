"""Draws the held-back noise loss of trainings of which each began with the weights of the last.

    python -m tests.benchmarks.curve TABLE.csv PICTURE.png [CHECKPOINT --held-back SHARD...]

What CHECKPOINT was told by `--held-back` is added to TABLE first, behind the images of the
trainings that are there. Losses under different schedules are of different noise and are not one
line: so where CHECKPOINT has another schedule than the last training, the model that it began with
is measured at the nearest noise to that of CHECKPOINT's times, on the same images, in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffaug import storage
from diffaug.diffusion.schedule import Schedule
from diffaug.models.module import DiffusionModel
from diffaug.train.held_back import HeldBack
from diffaug.train.recipe import TrainRecipe
from tests.support.training import events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--held-back", nargs="+", default=[])
    given = parser.parse_args()
    if given.checkpoint and not given.held_back:
        parser.error("CHECKPOINT wants --held-back: the shards that its training was given")
    table = pd.read_csv(given.table) if given.table.exists() else pd.DataFrame()
    if given.checkpoint:
        shards = storage.expand(given.held_back)  # in the order that the training read them in
        table = pd.concat([table, measured(given.checkpoint, shards, table)])
    table.to_csv(given.table, index=False)
    draw(table, given.picture)


def measured(checkpoint: Path, held_back: list[str], before: pd.DataFrame) -> pd.DataFrame:
    """The losses of one training, behind the images of those before it."""
    recipe = TrainRecipe.from_yaml(checkpoint / "training/recipe.yaml")
    begun = before.images.iloc[-1] if len(before) else 0
    rows = [
        (begun + event.step * recipe.batch_size, event.value)
        for event in events(checkpoint).Scalars("held_back")
    ]
    if len(before) and before.schedule.iloc[-1] != recipe.schedule:
        schedule = DiffusionModel.from_pretrained(checkpoint).denoiser.schedule
        rows.insert(0, (begun, loss_at_noise_of(schedule, recipe, held_back)))
    return pd.DataFrame(rows, columns=["images", "held_back"]).assign(schedule=recipe.schedule)


def loss_at_noise_of(schedule: Schedule, recipe: TrainRecipe, held_back: list[str]) -> float:
    """The held-back loss of the model that a training began with, at the noise of its times."""
    assert recipe.init
    model, images = DiffusionModel.from_pretrained(recipe.init), HeldBack(held_back, recipe)
    own = log_snr(model.denoiser.schedule)
    wanted = log_snr(schedule)[images.times(schedule.num_train_timesteps)]
    return images.noise_loss(model, (own - wanted[:, None]).abs().argmin(1))


def log_snr(schedule: Schedule) -> Tensor:
    return torch.tensor([schedule.log_snr(t) for t in range(schedule.num_train_timesteps)])


def draw(table: pd.DataFrame, picture: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for schedule, part in table.groupby("schedule", sort=False):
        axes.plot(part.images, part.held_back, marker=".", label=f"{schedule} schedule")
    axes.set(xlabel="images trained on", ylabel="mean squared error of the noise, held back")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
