"""What results keep of photographs of one's own, with the defaults and with a model of greys.

python -m tests.benchmarks.kept photographs.tar --images 60

The bars of `tests/job/test_detail.py`, over many photographs: the mean gradient of the results over
that of the sources; the share of values whose finest detail is the source's within rounding, where
nothing is clipped, and how many values that leaves out; by how much the results differ; and of the
model of greys, the share of values whose colour is the source's within rounding.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

import diffaug
from diffaug.pictures.codec import decode
from tests.support.blind_pairs import MOST_PIXELS, files
from tests.support.kept import chroma_change, finest, inside, levels, steepness

ROUNDED = 1.5
"""Levels: two roundings, with a little to spare."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="a tar, or a folder of pictures")
    parser.add_argument("--images", type=int, default=60)
    given = parser.parse_args()
    found = itertools.islice(files(given.source), given.images)
    pictures = [decode(data, MOST_PIXELS).shown.convert("RGB") for _, data in found]
    print("| model | gradient | fine detail kept | clipped | mean change | colour kept |")
    print("| :--- | ---: | ---: | ---: | ---: | ---: |")
    for name, recipe in (
        ("default", diffaug.Recipe()),
        ("fashion-mnist-32", diffaug.Recipe(model="fashion-mnist-32")),
    ):
        made = list(map(levels, diffaug.augment(pictures, recipe)))
        pairs = list(zip(made, map(levels, pictures), strict=True))
        steep = np.sum([[steepness(one) for one in pair] for pair in pairs], axis=0)
        fine = np.concatenate([finest(*pair)[0].ravel() for pair in pairs])
        change = np.mean([np.abs(one - source).mean() for one, source in pairs])
        clipped = 1 - np.mean([inside(one).mean() for one, _ in pairs])
        colour = np.concatenate([chroma_change(*pair).ravel() for pair in pairs])
        print(
            f"| {name} | {steep[0] / steep[1]:.3f} | {(np.abs(fine) <= ROUNDED).mean():.2%} | "
            f"{clipped:.1%} | {change:.1f} | {(colour <= 1).mean():.2%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
