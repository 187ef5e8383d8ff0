"""Small trainings that differ in one choice each, and what becomes of it: pictures and a table.

    python -m tests.benchmarks.choices 'fashion-mnist-train-*.tar' 'fashion-mnist-test-*.tar' FOLDER

Each trains the preset `tiny` for `--steps` steps of 64 images, or goes on with what is in FOLDER.
The table gives the mean PSNR in dB of one-step estimates of test images, at the noise that strength
0.2, 0.4, 0.6 and 0.8 mean on the linear schedule, whatever the schedule: so that rows compare. The
pictures are samples from the same noise by 20 calls, a row for each choice. Both stand in
docs/training.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug import DiffusionModel
from diffaug.cli.console import PlainConsole
from diffaug.cli.progress import Log, Pace, counted
from diffaug.diffusion.schedule import Schedule
from diffaug.pictures.fit import Fit
from diffaug.pictures.grid import grid
from diffaug.train.loop import train
from diffaug.train.recipe import TrainRecipe
from tests.benchmarks.workloads import read_images

STRENGTHS = (0.2, 0.4, 0.6, 0.8)
IMAGES, SHOWN = 500, 10

CHOICES: dict[str, dict[str, Any]] = {
    "linear, epsilon": {"prediction": "epsilon"},
    "linear, x_0": {"prediction": "x_0"},
    "linear, v": {},
    "linear, v, min-SNR 5": {"min_snr_gamma": 5},
    "scaled-linear, v": {"schedule": "scaled-linear"},
    "cosine, v": {"schedule": "cosine"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("train", help="shards to train on")
    parser.add_argument("test", help="one shard to measure on")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    rows, samples = [], list[NDArray[np.float32]]()
    images = held_out(given.test)
    for name, fields in CHOICES.items():
        folder = given.folder / name.replace(", ", "-").replace(" ", "-")
        recipe = TrainRecipe.of({"network": "tiny", "steps": given.steps, "size": 32} | fields)
        model = trained(given.train, folder, recipe)
        cells = " | ".join(
            f"{one_step_psnr(model, images, strength):.2f}" for strength in STRENGTHS
        )
        rows.append(f"| {name} | {cells} |")
        samples += [*model.sample(SHOWN, steps=20, seed=1).numpy()]
    grid(samples, SHOWN).save(given.folder / "choices.png")
    print(f"| choice | {' | '.join(map(str, STRENGTHS))} |")
    print("| :--- |" + " ---: |" * len(STRENGTHS))
    print("\n".join(rows))


def trained(shards: str, folder: Path, recipe: TrainRecipe) -> DiffusionModel:
    """Train, or finish what is there."""
    pace = Pace()
    steps = train([shards], folder, recipe, resume=True, checkpoint_minutes=1)
    log = Log(PlainConsole(stderr=True))
    for step in counted(steps, recipe.steps, "steps", log, pace, done=lambda step: step.step):
        pace.add(step)
    return DiffusionModel.from_pretrained(folder)


def held_out(shard: str) -> Tensor:
    """The first images of a shard as a model takes them: (N, 1, 32, 32)."""
    pictures = [image for image, _ in zip(read_images([shard]), range(IMAGES), strict=False)]
    return torch.from_numpy(
        np.stack([Fit.of(one, (1, 32, 32), "auto").to_model(one) for one in pictures])
    )


def one_step_psnr(model: DiffusionModel, x_0: Tensor, strength: float) -> float:
    """Of the estimate at the noise which `strength` means on the linear schedule."""
    linear = Schedule.from_config(TrainRecipe().schedule_config())
    wanted = linear.log_snr(round(strength * 999))
    signal = model.denoiser.schedule.alpha_t**2
    t = torch.full((len(x_0),), int(np.abs(np.log(signal / (1 - signal)) - wanted).argmin()))
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        estimate = model.denoise(model.add_noise(x_0, t, noise), t)
    error = ((estimate - x_0) / 2).square().flatten(1).mean(1)
    return float((-10 * torch.log10(error)).mean())


if __name__ == "__main__":
    main()
