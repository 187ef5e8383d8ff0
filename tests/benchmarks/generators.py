"""Generative models beside each other, on photographs that none of them has seen.

    python -m tests.benchmarks.generators --train 'train-*.tar' --held-back 'validation-*.tar' \
        --results FOLDER NAME=CHECKPOINT NAME=CHECKPOINT --plain NAME=CHECKPOINT

Each model, told the class (those after --plain are told none), edits every held-back photograph
twice at several strengths; at strength 1 nothing of it is left, and the picture is drawn from
noise. Photographs are cut square, and all is measured at 64x64, whatever size a model makes:

- kept: the share of pictures that a classifier, trained on the training photographs alone, gives
  their class; beside it, that of the photographs themselves;
- apart: root mean square difference of the two copies, in levels of 255; change: of an edit and its
  photograph;
- KID: kernel inception distance (Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401), but on
  the features of that classifier, between pictures and the held-back photographs. Times a thousand;
- nearest: the distance to the nearest training photograph or its mirror image, at 32x32 in levels,
  as a share of the same of held-back photographs. Far below 1, a model recites.

FOLDER keeps every figure as it is made, a grid a model, and for a blind reading a sheet of twelve
pictures of each model, mixed, with its key in blind-key.csv. Minutes a model on two cores.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

import diffaug
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.classifier import Task, new_classifier
from diffaug.evaluation.trials.training import Lesson, Trained, train_classifier
from diffaug.evaluation.trials.variants import Changed, Labelled, jitter
from diffaug.execution import Execution
from diffaug.pictures.codec import decode
from diffaug.pictures.grid import grid
from diffaug.shards import read_samples
from diffaug.shards.reading import Reading
from diffaug.storage import expand, open_read
from tests.benchmarks.card import Results, row

STRENGTHS = (0.2, 0.4, 0.6, 1.0)
SIDE, SMALL, LARGE = 64, 32, 128
FIGURES = ("kept", "change", "apart", "kid", "nearest")
SHOWN = 12

Arrays = NDArray[np.uint8]
"""(N, SIDE, SIDE, 3)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--held-back", nargs="+", required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--images", type=int, default=None, help="fewer photographs")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--classifier-steps", type=int, default=3000)
    parser.add_argument("--plain", nargs="*", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("checkpoints", nargs="+", metavar="NAME=CHECKPOINT")
    given = parser.parse_args()
    told, plain = (
        dict(one.split("=", 1) for one in some) for some in (given.checkpoints, given.plain)
    )
    named = told | plain
    given.results.mkdir(parents=True, exist_ok=True)
    train, train_labels = read(given.train)
    photographs, labels = read(given.held_back, given.images)
    judge = Judge(at(train, SIDE), train_labels, given.results, given.classifier_steps)
    ours = at(photographs, SIDE)
    results = Results(given.results / "figures.json")
    results.once("photographs kept", lambda: judge.agrees(ours, labels))
    features = judge.features(ours)
    fresh = nearest(photographs, train)

    def from_photographs(images: Arrays) -> float:
        return kid(judge.features(images), features)

    def from_known(images: list[Image.Image]) -> float:
        return nearest(images, train) / fresh

    sheets: dict[str, list[Image.Image]] = {}
    for name, checkpoint in named.items():
        for strength in STRENGTHS:
            key = f"{name} {strength:g}"
            kept = given.results / f"{name}-{strength:g}.npy"
            if not kept.exists():
                recipe = diffaug.Recipe(
                    model=checkpoint,
                    strength=strength,
                    steps=given.steps,
                    sampler="dpmsolver++",
                    condition="label" if name in told else "none",
                    guidance=given.guidance,
                    copies=2,
                    detail="none",
                    result="model",
                )
                found = diffaug.augment(photographs, recipe, labels=labels.tolist())
                made = np.stack([at([pair[copy] for pair in found], LARGE) for copy in range(2)])
                np.save(kept, made)
            pair = np.load(kept)
            pictures = [[Image.fromarray(one) for one in copy] for copy in pair]
            first, second = (at(copy, SIDE) for copy in pictures)
            sheets[key] = pictures[0]
            both = np.concatenate([first, second])
            measures: dict[str, Callable[[], float]] = {
                "kept": partial(judge.agrees, both, np.tile(labels, 2)),
                "change": partial(apart, first, ours),
                "apart": partial(apart, first, second),
                "kid": partial(from_photographs, first),
                "nearest": partial(from_known, pictures[0]),
            }
            for figure, measure in measures.items():
                results.once(f"{key} {figure}", measure)
        draw(name, photographs, labels, sheets, given.results / f"{name}.png")
    mixed(list(named), sheets, given.results)
    print(tables(results, list(named)))


def read(
    patterns: list[str], count: int | None = None
) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """The photographs of shards, cut square, and their classes; `count` spread over all of them."""
    images, labels, reading = [], [], Reading(("jpg", "png"), "cls")
    for url in expand(patterns):
        with open_read(url) as stream:
            for sample in read_samples(stream, reading.reads):
                shown = decode(reading.image(sample).data, 1 << 26).shown.convert("RGB")
                images.append(ImageOps.fit(shown, (LARGE, LARGE), Image.Resampling.LANCZOS))
                labels.append(reading.class_number(sample))
    some = np.linspace(0, len(images) - 1, count or len(images)).astype(int)
    return [images[n] for n in some], np.array(labels)[some]


def at(images: list[Image.Image], side: int) -> Arrays:
    """The images at a size."""
    size, filter = (side, side), Image.Resampling.LANCZOS
    return np.stack([np.asarray(one.convert("RGB").resize(size, filter)) for one in images])


class Judge:
    """A classifier of photographs, trained once and kept."""

    def __init__(self, images: Arrays, labels: NDArray[np.int64], folder: Path, steps: int) -> None:
        classes = int(labels.max()) + 1
        execution, path = Execution.choose(), folder / "classifier.pt"
        if path.exists():
            model = new_classifier("resnet", Task(3, classes, SIDE), 0).eval()
            model.load_state_dict(torch.load(path, weights_only=True))
            self._trained = Trained(model, execution)
        else:
            settings = Evaluation(classifier="resnet", train_steps=steps)
            lesson = Lesson(images, labels, classes, Changed(Labelled(images), [jitter]))
            self._trained = train_classifier(lesson, settings, 0, execution)
            torch.save(self._trained.model.state_dict(), path)

    def agrees(self, images: Arrays, labels: NDArray[np.int64]) -> float:
        """The share of images that are given their class."""
        return float((self._trained.confidences(images).argmax(axis=1) == labels).mean())

    @torch.inference_mode()
    def features(self, images: Arrays) -> NDArray[np.float64]:
        """(N, 96), what the last layer is given."""
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5
        found: torch.Tensor = self._trained.model.features(x)  # type: ignore[operator]
        return found.double().numpy()


def apart(ones: Arrays, others: Arrays) -> float:
    """Mean root mean square difference, in levels."""
    squares = np.square(ones.astype(np.float64) - others).mean(axis=(1, 2, 3))
    return float(np.sqrt(squares).mean())


def kid(ones: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """A thousand times the squared maximum mean discrepancy, unbiased, with the cubic kernel."""

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        cubes: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
        return cubes

    def within(x: NDArray[np.float64]) -> float:
        found = kernel(x, x)
        return float((found.sum() - np.trace(found)) / (len(x) * (len(x) - 1)))

    return 1000 * (within(ones) + within(others) - 2 * float(kernel(ones, others).mean()))


def nearest(images: list[Image.Image], known: list[Image.Image]) -> float:
    """The mean distance to the nearest of known images or its mirror image, in levels."""
    small = at(known, SMALL)
    flat = np.concatenate([small, small[:, :, ::-1]]).reshape(2 * len(known), -1)
    there = torch.from_numpy(flat.astype(np.float32))
    here = torch.from_numpy(at(images, SMALL).reshape(len(images), -1).astype(np.float32))
    return float(torch.cdist(here, there).min(dim=1).values.mean() / flat.shape[1] ** 0.5)


def draw(
    name: str,
    photographs: list[Image.Image],
    labels: NDArray[np.int64],
    sheets: dict[str, list[Image.Image]],
    path: Path,
) -> None:
    """The first photograph of each class, a row each, and what the model makes of it."""
    firsts = np.unique(labels, return_index=True)[1]
    columns = [photographs, *(sheets[f"{name} {strength:g}"] for strength in STRENGTHS)]
    rows = [column[first] for first in firsts for column in columns]
    grid([tile(one) for one in rows], len(columns), ["photograph", *map(str, STRENGTHS)]).save(path)


def tile(image: Image.Image) -> NDArray[np.float32]:
    """(C, H, W), in [-1, 1], as `grid` takes it."""
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1


def mixed(names: list[str], sheets: dict[str, list[Image.Image]], folder: Path) -> None:
    """Twelve pictures of each model drawn from noise, in an order that is drawn."""
    random = np.random.default_rng(1)
    count = len(sheets[f"{names[0]} 1"])
    shown = [(name, one) for name in names for one in random.permutation(count)[:SHOWN]]
    order = random.permutation(len(shown))
    tiles = [tile(sheets[f"{name} 1"][one]) for name, one in (shown[n] for n in order)]
    grid(tiles, 6, [""] * 6).save(folder / "blind.png")
    with (folder / "blind-key.csv").open("w", newline="") as stream:
        key = csv.writer(stream)
        key.writerow(["row", "column", "model"])
        key.writerows((n // 6 + 1, n % 6 + 1, shown[at][0]) for n, at in enumerate(order))


def tables(results: Results, names: list[str]) -> str:
    """Everything as Markdown."""
    lines = [
        f"photographs: kept {results['photographs kept']:.4f}",
        "",
        f"| model, strength | {' | '.join(FIGURES)} |",
        f"| :--- |{' ---: |' * len(FIGURES)}",
    ]
    for name in names:
        for strength in STRENGTHS:
            key = f"{name} {strength:g}"
            lines.append(row(key, [results[f"{key} {figure}"] for figure in FIGURES], 3))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
