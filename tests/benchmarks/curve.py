"""Draws the held-back noise loss of one training, or of several that began where the last ended.

    python -m tests.benchmarks.curve CHECKPOINT... PICTURE.png

Each must have been told `--held-back`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from diffaug.train.recipe import TrainRecipe
from tests.training import events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    before = 0
    for checkpoint in given.checkpoints:
        recipe = TrainRecipe.from_yaml(checkpoint / "training/recipe.yaml")
        measured = events(checkpoint).Scalars("held_back")
        images = [before + event.step * recipe.batch_size for event in measured]
        axes.plot(images, [event.value for event in measured], color="C0", marker=".")
        before += recipe.steps * recipe.batch_size
    axes.set(xlabel="images trained on", ylabel="mean squared error of the noise, held back")
    axes.grid(alpha=0.3)
    figure.savefig(given.picture, dpi=120)


if __name__ == "__main__":
    main()
