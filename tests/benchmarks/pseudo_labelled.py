"""Shards for a denoiser that learns from few labels, and from what they say of all other images.

    python -m tests.benchmarks.pseudo_labelled 'shards/*.tar' pseudo --labels 50
    diffaug train pseudo/pseudo.tar pseudo/labelled.tar model --classes 10
    diffaug sample model -o drawn.tar --label all --number 10000 --guidance 2
    diffaug evaluate pseudo/labelled.tar evaluation --labels 50 --test 'test/*.tar' \
        --validation-source pseudo/validation.tar --control pseudo=pseudo/pseudo.tar \
        --further drawn=drawn.tar

Writes labelled.tar; validation.tar; and pseudo.tar, all other images with the classes that a
classifier gives them which was trained on the labelled ones alone (as DPT begins, You et al. 2023,
https://arxiv.org/abs/2302.10586). Prints how many of these are right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from diffaug import storage
from diffaug.evaluation.images.pictures import as_array
from diffaug.evaluation.images.split import draw
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.training import Lesson, train_classifier
from diffaug.evaluation.trials.variants import Changed, Labelled, jitter
from diffaug.execution import Execution
from diffaug.pictures.codec import decode, pixel_sha256
from diffaug.recipe import Recipe
from diffaug.shards import Member, Sample
from tests.benchmarks.half_labelled import read, write

VALIDATION = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="+")
    parser.add_argument("output", type=Path)
    parser.add_argument("--labels", type=int, default=50, help="of each class")
    parser.add_argument("--classifier", default="cnn", help="cnn or resnet")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0, help="of the draw, and of the classifier")
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    samples = read(storage.expand(given.source), {*Recipe().image_key, "cls"})
    key = next(name for name in samples[0].members if name != "cls")
    pictures = [decode(sample.members[key].data, 50_000_000).shown for sample in samples]
    mode = "RGB" if pictures[0].mode == "RGB" else "L"
    images = np.stack([as_array(picture, mode) for picture in pictures])
    labels = np.array([int(sample.members["cls"].data) for sample in samples])
    split = draw(
        labels, [pixel_sha256(one) for one in pictures], given.seed, given.labels, VALIDATION
    )
    write(given.output / "labelled.tar", [samples[place] for place in split.labelled])
    write(given.output / "validation.tar", [samples[place] for place in split.validation])

    known, classes = split.labelled, int(labels.max()) + 1
    variants = Changed(Labelled(images[known]), [jitter])
    lesson = Lesson(images[known], labels[known], classes, variants)
    settings = Evaluation(train_steps=given.steps, classifier=given.classifier)
    model = train_classifier(lesson, settings, given.seed, Execution.choose(device="cpu"))
    rest = np.delete(np.arange(len(samples)), np.concatenate([known, split.validation]))
    found = model.confidences(images[rest]).argmax(axis=1)
    right = (found == labels[rest]).mean()
    print(f"{len(known)} labelled images; of {len(rest)} others, {right:.1%} get their class")
    write(
        given.output / "pseudo.tar",
        [called(samples[place], label) for place, label in zip(rest, found.tolist(), strict=True)],
    )


def called(sample: Sample, label: int) -> Sample:
    """A sample with this class in place of its own."""
    members = sample.members | {"cls": Member("cls", 0, str(label).encode())}
    return Sample(sample.key, members)


if __name__ == "__main__":
    main()
