"""Shards in which every image is a test image once.

    python -m tests.benchmarks.folds 'clothes/*.tar' folds

Writes folds/fold-0.tar to fold-4.tar, each with as near a fifth of every class as can be, drawn by
`--seed`. An evaluation has four of them as its source, and the fifth as its test.
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
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    samples = read(storage.expand(given.source), {*Recipe().image_key, "cls"})
    labels = np.array([int(sample.members["cls"].data) for sample in samples])
    shuffled = np.random.default_rng(given.seed).permutation(len(samples))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    for fold in range(given.folds):
        places = sorted(by_class[fold :: given.folds].tolist())
        write(given.output / f"fold-{fold}.tar", [samples[place] for place in places])
        print(f"fold-{fold}.tar: {len(places)} images")


if __name__ == "__main__":
    main()
