"""Shards of a long tail: classes thinned until the last has a hundredth of the first.

    python -m tests.benchmarks.long_tailed 'cifar10/train-*.tar' long-tail

Writes labelled.tar, of whose classes, in the order of their numbers, each has less than the one
before by the same factor (Cao et al. 2019, https://arxiv.org/abs/1906.07413); and of the images
that are left, validation.tar and test.tar with as many of every class. The draw is by `--seed`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from diffaug import storage
from diffaug.recipe import Recipe
from tests.benchmarks.half_labelled import read, write


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="+")
    parser.add_argument("output", type=Path)
    parser.add_argument("--imbalance", type=float, default=100, help="first class / last class")
    parser.add_argument("--validation", type=int, default=100, help="images a class")
    parser.add_argument("--test", type=int, default=500, help="images a class")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    samples = read(storage.expand(given.source), {*Recipe().image_key, "cls"})
    labels = np.array([int(sample.members["cls"].data) for sample in samples])
    classes, counts = np.unique(labels, return_counts=True)
    first = int(counts.min()) - given.validation - given.test
    random = np.random.default_rng(given.seed)
    parts: dict[str, list[int]] = {"labelled": [], "validation": [], "test": []}
    for place, label in enumerate(classes.tolist()):
        order = random.permutation(np.flatnonzero(labels == label)).tolist()
        share = given.imbalance ** (-place / max(1, len(classes) - 1))
        parts["labelled"] += order[: int(first * share)]
        kept = order[len(order) - given.validation - given.test :]
        parts["validation"] += kept[: given.validation]
        parts["test"] += kept[given.validation :]
    for name, places in parts.items():
        write(given.output / f"{name}.tar", [samples[place] for place in sorted(places)])
    found = np.unique(labels[parts["labelled"]], return_counts=True)[1].tolist()
    print(f"{sum(found)} labelled images: {', '.join(map(str, found))}")


if __name__ == "__main__":
    main()
