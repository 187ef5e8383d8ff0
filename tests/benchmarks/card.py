"""The figures of a model's card, measured on test images, for several checkpoints side by side.

    python -m tests.benchmarks.card --test 'test-*.tar' --train 'train-*.tar' \
        --results card.json new=CHECKPOINT old=CHECKPOINT

- noise-prediction loss by timestep bucket: each image once in each bucket, mean squared error of
  the noise over the model's pixels;
- PSNR of reconstructions by one step, and by eight calls of dpmsolver++, on the 8-bit images, told
  no class, the image's own, or that with guidance 3;
- label kept: how often a classifier that has seen none of it (`classifier.py`) gives a
  reconstruction the image's own class, of all images and of those that it gets right itself.

Every figure is written to the results file as soon as it is known, and not measured again. The same
seed, hence the same noise, for every checkpoint. An hour or two a checkpoint on two cores. Beside
the results it leaves a picture a checkpoint, NAME.png: the first image of each class, edited.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from torch import nn

from diffaug import DiffusionModel, Recipe, storage
from diffaug.editor import PictureEditor
from diffaug.execution import Execution
from diffaug.judges import psnr
from diffaug.models import Pretrained, find_checkpoint
from diffaug.pictures.codec import decode
from diffaug.pictures.fit import Fit
from diffaug.pictures.grid import grid
from diffaug.shards import read_samples
from diffaug.shards.reading import Reading
from tests.benchmarks.classifier import (
    Images,
    Labels,
    new_classifier,
    predict,
    train_classifier,
)
from tests.support.drafts import draft_copies

STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
BUCKETS, BATCH = 10, 100
WAYS = {"one-step": 1, "dpmsolver++": 8}
CONDITIONS = ("none", "label")
TOLD: dict[str, dict[str, Any]] = {
    "none": {"condition": "none"},
    "label": {"condition": "label"},
    "guided": {"condition": "label", "guidance": 3},
}
IMAGE_KEYS = ("png", "jpg")

_say = Console(stderr=True).print


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--images", type=int, default=None, help="fewer, to try it out")
    parser.add_argument("checkpoints", nargs="+", metavar="NAME=CHECKPOINT")
    given = parser.parse_args()
    named = dict(one.split("=", 1) for one in given.checkpoints)
    test = read_pictures(given.test, given.images)
    results = Results(given.results)
    judge = Judge(given.train, given.results.with_suffix(".pt"))
    for condition, (name, checkpoint) in product(CONDITIONS, named.items()):
        for bucket in range(BUCKETS):
            loss = partial(noise_loss, checkpoint, *test, condition, bucket)
            results.once(f"{name} loss {condition} {bucket}", loss)
    right = judge.agrees(*test)
    results.once("classifier", lambda: float(right.mean()))
    for told, (name, checkpoint) in product(TOLD, named.items()):
        for sampler, strength in product(WAYS, STRENGTHS):
            made = partial(worth, checkpoint, *test, right, told, sampler, strength, judge)
            results.once(f"{name} {sampler} {told} {strength}", made)
    for name, checkpoint in named.items():
        picture = given.results.with_name(f"{name}.png")
        if not picture.exists():
            draw(checkpoint, *test, picture)
    print(tables(results, list(named)))


class Results:
    """Figures by name, kept in a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def once(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure unless it was measured before."""
        if name not in self._known:
            self._known[name] = measure()
            storage.replace(json.dumps(self._known, indent=1).encode(), str(self._path.resolve()))
            _say(name, self._known[name])

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> Any:
        return self._known[name]


class Judge:
    """The classifier, trained when it is first asked and then kept."""

    def __init__(self, train: list[str], path: Path) -> None:
        self._train = train
        self._path = path
        self._model: nn.Module | None = None

    def agrees(self, images: Images, labels: Labels) -> NDArray[np.bool_]:
        """Which of the images are given their label."""
        if self._model is None and self._path.exists():
            self._model = new_classifier(images)
            self._model.load_state_dict(torch.load(self._path, weights_only=True))
            self._model.eval()
        if self._model is None:
            self._model = train_classifier(*read_pictures(self._train, None))
            torch.save(self._model.state_dict(), self._path)
        agrees: NDArray[np.bool_] = predict(self._model, images) == labels
        return agrees


def read_pictures(patterns: list[str], count: int | None) -> tuple[Images, Labels]:
    """The images (N, H, W), of colours (N, H, W, 3), and classes (N,) of shards."""
    images, labels, reading = [], [], Reading(IMAGE_KEYS, "cls")
    for url in storage.expand(patterns):
        with storage.open_read(url) as stream:
            for sample in read_samples(stream, reading.reads):
                images.append(decode(reading.image(sample).data, 10_000).shown)
                labels.append(reading.class_number(sample))
    mode = "RGB" if any(image.mode == "RGB" for image in images) else "L"  # some JPEGs are grey
    pixels = [np.asarray(image.convert(mode)) for image in images]
    return np.stack(pixels)[:count], np.array(labels)[:count]


def noise_loss(
    reference: str, images: Images, labels: Labels, condition: str, bucket: int
) -> float:
    """Mean squared error of the noise, at times drawn evenly from a tenth of all."""
    dtype = Execution.choose(device="cpu").dtype
    model = DiffusionModel.from_pretrained(reference, dtype=dtype)
    denoiser, total = model.denoiser, 0.0
    width = denoiser.schedule.num_train_timesteps // BUCKETS
    generator = torch.Generator().manual_seed(bucket)
    shape = Pretrained.of_pictures(denoiser).shape
    with torch.inference_mode():
        for begin in range(0, len(images), BATCH):
            part = [_to_model(one, shape) for one in images[begin:][:BATCH]]
            x_0 = torch.from_numpy(np.stack(part))
            t = torch.randint(width, (len(x_0),), generator=generator) + bucket * width
            noise = torch.randn(x_0.shape, generator=generator)
            classes = torch.from_numpy(labels[begin:][:BATCH]) if condition == "label" else None
            terms = model(
                x_0,
                classes,
                t=t,
                noise=noise,
                min_snr_gamma=math.inf,  # weighs as the error of the noise does
            )
            total += float(terms.loss) * len(t)
    return total / len(images)


def _to_model(image: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    picture = Image.fromarray(image)
    return Fit.of(picture, shape, "auto").to_model(picture)


def worth(
    reference: str,
    images: Images,
    labels: Labels,
    right: NDArray[np.bool_],
    told: str,
    sampler: str,
    strength: float,
    judge: Judge,
) -> dict[str, float]:
    """Mean PSNR in dB, and the share of labels kept, of the images' reconstructions.

    Beside the share of all, that of those `right` (N,) that the classifier gets right themselves.
    """
    again = edited(reference, images, labels, told, sampler, strength)
    kept = judge.agrees(again, labels)
    return {
        "psnr": float(np.mean(psnr(images, again))),
        "kept": float(kept.mean()),
        "right": float(kept[right].mean()),
    }


def edited(
    reference: str, images: Images, labels: Labels, told: str, sampler: str, strength: float
) -> Images:
    """What diffaug makes of the images (N, H, W[, 3]), of the same shape."""
    steps = round(WAYS[sampler] / strength)
    recipe = Recipe.of(
        {
            "model": reference,
            "strength": strength,
            "steps": steps,
            "sampler": sampler,
            **TOLD[told],
        }
    )
    editor = PictureEditor(recipe, find_checkpoint(reference), Execution.choose())
    drafts = (
        draft_copies(editor, Image.fromarray(image), {"label": int(label)}, [0])[0]
        for image, label in zip(images, labels, strict=True)
    )
    made = editor.steps().run((draft, draft.edit) for draft in drafts)
    return np.stack([np.asarray(draft.finish.picture(x_0)) for draft, x_0 in made])


def draw(reference: str, images: Images, labels: Labels, path: Path) -> None:
    """The first image of each class, a row each, edited with guidance and without a class."""
    firsts = np.unique(labels, return_index=True)[1]
    shown = [(told, strength) for told in ("guided", "none") for strength in STRENGTHS]
    columns = [
        edited(reference, images[firsts], labels[firsts], told, "dpmsolver++", strength)
        for told, strength in shown
    ]
    rows = [image for row in zip(*columns, strict=True) for image in row]
    shape = (np.atleast_3d(rows[0]).shape[2], *rows[0].shape[:2])
    captions = [f"{told} {strength}" for told, strength in shown]
    grid([_to_model(image, shape) for image in rows], len(shown), captions).save(path)


def tables(results: Results, names: list[str]) -> str:
    """Everything as Markdown."""
    columns = list(product(CONDITIONS, names))
    lines = [f"classifier: {results['classifier']:.4f}", "", *head("timesteps", columns)]
    for bucket in range(BUCKETS):
        losses = [results[f"{name} loss {told} {bucket}"] for told, name in columns]
        lines.append(row(f"{100 * bucket} to {100 * bucket + 99}", losses, 5))
    columns = list(product(TOLD, names))
    for figure, digits in (("psnr", 2), ("kept", 4), ("right", 4)):
        lines += ["", *head(figure, columns)]
        for (sampler, calls), strength in product(WAYS.items(), STRENGTHS):
            keys = [f"{name} {sampler} {told} {strength}" for told, name in columns]
            figures = [results[key][figure] for key in keys]
            lines.append(row(f"{calls} calls, strength {strength}", figures, digits))
    return "\n".join(lines)


def head(first: str, columns: list[tuple[str, str]]) -> list[str]:
    cells = [first, *(f"{name}, {told}" for told, name in columns)]
    return [f"| {' | '.join(cells)} |", f"| :--- |{' ---: |' * len(columns)}"]


def row(first: str, figures: list[float], digits: int) -> str:
    return f"| {' | '.join([first, *(f'{one:.{digits}f}' for one in figures)])} |"


if __name__ == "__main__":
    main()
