"""Draws the held-back noise loss of trainings of which each began with the weights of the last.

    python -m tests.benchmarks.curve TABLE.csv PICTURE.png [CHECKPOINT]

What CHECKPOINT was told by `--held-back` is added to TABLE first, behind the images of the
trainings that are there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from diffaug.train.recipe import TrainRecipe
from tests.training import events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    given = parser.parse_args()
    parts = [pd.read_csv(given.table)] if given.table.exists() else []
    if given.checkpoint:
        begun = parts[0].images.max() if parts else 0
        parts.append(measured(given.checkpoint, int(begun)))
    table = pd.concat(parts)
    table.to_csv(given.table, index=False)
    draw(table, given.picture)


def measured(checkpoint: Path, begun: int) -> pd.DataFrame:
    """The losses of one training, which began after so many images."""
    batch_size = TrainRecipe.from_yaml(checkpoint / "training/recipe.yaml").batch_size
    losses = events(checkpoint).Scalars("held_back")
    images = [begun + event.step * batch_size for event in losses]
    return pd.DataFrame({"images": images, "held_back": [event.value for event in losses]})


def draw(table: pd.DataFrame, picture: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(table.images, table.held_back, marker=".")
    axes.set(xlabel="images trained on", ylabel="mean squared error of the noise, held back")
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
