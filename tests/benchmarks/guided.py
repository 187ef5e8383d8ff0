"""Guided edits: the loop most people write, a model in diffaug, and its student; also `make bench`.

    python -m tests.benchmarks.guided

Pictures of 32x32 are edited at strength 0.4 with guidance 3 and eight calls, from tar to files:

- loop: diffusers' UNet2DModel and DDIMScheduler in float32, 32 pictures at a time, the network
  called for both conditions at once, as diffusers' pipelines do;
- tuned: the same in the dtype that a job would choose here, channels last;
- teacher: diffaug, the same calls;
- kept: diffaug with `guidance_every=2`, four of the eight calls being made with both conditions;
- student: diffaug with the shipped student, in the two calls that its card suggests.

Workloads: `many` pictures in one shard; `small`, shards of three; `alone`, one picture, as a job of
few makes it. The arms take turns, a few seconds each, in alternating order, after a round that is
not measured; see `lanes.py`. A ratio is the median of the rounds' own, with its range, by the clock
and of processor time.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffaug.execution import Execution
from diffaug.job.job import Job
from tests.benchmarks.arms import Rate, timed
from tests.benchmarks.loops import load_network
from tests.benchmarks.workloads import FIXTURES, read_images
from tests.support.hostile import encoded, write_samples

MODELS = {"fashion-mnist-32": "L", "cifar10-32": "RGB"}
GUIDANCE, STRENGTH, STEPS, BATCH = 3.0, 0.4, 20, 32
SIZE, MANY, SMALL = 32, 96, 3
CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=MANY)
    given = parser.parse_args()
    print("| model | pictures | ratio | by the clock | of processor time |")
    print("| :--- | :--- | :--- | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="diffaug-guided-") as name:
        for model, mode in MODELS.items():
            bench = Bench(model, mode, Path(name) / model, given.images)
            for workload in ("many", "small", "alone"):
                bench.compare(workload, given.rounds)


class Bench:
    """The arms of one model.

    Args:
        model: the teacher.
        mode: of its pictures.
        folder: for shards and results.
        count: pictures of `many`.
    """

    def __init__(self, model: str, mode: str, folder: Path, count: int) -> None:
        self._model, self._folder = model, folder
        images = read_images([str(path) for path in sorted(FIXTURES.glob("fashion-*.tar"))])
        pictures = [
            image.convert(mode).resize((SIZE, SIZE)) for image in itertools.islice(images, count)
        ]
        self._shards = {
            "many": [write(folder / "many.tar", pictures)],
            "small": [
                write(folder / f"small-{number}.tar", pictures[number : number + SMALL])
                for number in range(0, count, SMALL)
            ],
            "alone": [write(folder / "alone.tar", pictures[:1])],
        }
        self._numbers = itertools.count()

    def compare(self, workload: str, rounds: int) -> None:
        told = {"guidance": GUIDANCE, "steps": STEPS}
        teacher = partial(self._job, workload, self._model, **told)
        arms: dict[str, Callable[[], object]] = {
            "teacher": teacher,
            "kept": partial(teacher, guidance_every=2),
            "student": partial(self._job, workload, f"{self._model}-fast"),
        }
        if workload == "many":
            plain = load_network(torch.float32, torch.contiguous_format, "cpu", self._model)
            dtype = getattr(torch, Execution.choose(device="cpu").dtype)
            tuned = load_network(dtype, torch.channels_last, "cpu", self._model)
            arms |= {"loop": partial(self._loop, plain), "tuned": partial(self._loop, tuned)}
        found: dict[str, list[Rate]] = {name: [] for name in arms}
        for number in range(rounds + 1):
            for name in list(arms)[:: 1 if number % 2 else -1]:
                rate = timed(arms[name])
                if number:
                    found[name].append(rate)
        pairs = [("student", other) for other in arms if other != "student"]
        pairs += [("teacher", other) for other in ("loop", "tuned") if other in arms]
        for one, other in [*pairs, ("kept", "teacher")]:
            rates = list(zip(found[one], found[other], strict=True))
            wall = spread([first.wall / second.wall for first, second in rates])
            processor = spread([first.processor / second.processor for first, second in rates])
            print(f"| {self._model} | {workload} | {one} / {other} | {wall} | {processor} |")

    def _job(self, workload: str, model: str, **fields: Any) -> None:
        """From tar to tar, with scores, lineage, hashes and commits."""
        recipe = {"model": model, "condition": "label", "strength": STRENGTH, **fields}
        shards, output = self._shards[workload], self._folder / f"out-{next(self._numbers)}"
        job = Job.plan(shards, str(output), recipe, device="cpu")
        made = sum(report.ok for report in job.run())
        assert made == sum(len(list(read_images([shard]))) for shard in shards)

    @torch.inference_mode()
    def _loop(self, network: Any) -> None:
        scheduler = network.scheduler
        images, labels = list(read_images(self._shards["many"])), itertools.cycle(range(CLASSES))
        folder = self._folder / f"out-{next(self._numbers)}"
        folder.mkdir()
        for begin in range(0, len(images), BATCH):
            batch = images[begin : begin + BATCH]
            x_0 = to_model(batch)
            classes = torch.tensor(list(itertools.islice(labels, len(batch))))
            both = torch.cat([classes, torch.full_like(classes, CLASSES)])
            scheduler.set_timesteps(STEPS)
            times = scheduler.timesteps[STEPS - round(STRENGTH * STEPS) :]
            x_t: Tensor = scheduler.add_noise(x_0, torch.randn_like(x_0), times[:1])
            for t in times:
                given = torch.cat([x_t, x_t]).to(network.dtype, memory_format=network.memory_format)
                towards, away = network.unet(given, t, class_labels=both).sample.float().chunk(2)
                x_t = scheduler.step(away + GUIDANCE * (towards - away), t, x_t).prev_sample
            for number, image in enumerate(from_model(x_t), begin):
                image.save(folder / f"{number}.png", compress_level=1)


def write(path: Path, pictures: Sequence[Image.Image]) -> str:
    """A shard of these pictures, with classes."""
    samples = [
        {
            "__key__": f"{number:04}".encode(),
            "png": encoded(picture, "PNG"),
            "cls": str(number % CLASSES).encode(),
        }
        for number, picture in enumerate(pictures)
    ]
    return str(write_samples(path, samples))


def to_model(images: Sequence[Image.Image]) -> Tensor:
    pixels = torch.from_numpy(np.stack([np.atleast_3d(np.asarray(image)) for image in images]))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def from_model(x_0: Tensor) -> list[Image.Image]:
    pixels = ((x_0.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(one.squeeze()) for one in pixels]


def spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
