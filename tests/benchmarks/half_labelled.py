"""Shards for a denoiser that sees every image and few classes (docs/evaluation.md).

    diffaug pack train-images-idx3-ubyte.gz shards --name fashion-mnist-train
    python -m tests.benchmarks.half_labelled 'shards/*.tar' half

writes labelled.tar and validation.tar, and all-000000.tar, …: every image but those of the
validation split, of which only the labelled ones have a class. So that the denoiser meets a class
in about one image of ten, the labelled ones come again in repeat-00.tar, ….
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

import numpy as np

from diffaug import storage
from diffaug.evaluation.images.split import draw
from diffaug.pictures.codec import decode, pixel_sha256
from diffaug.shards import Sample, ShardWriter, read_samples

SEED, PER_CLASS, VALIDATION = 0, 50, 100
PER_SHARD, REPEATS = 5000, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="+")
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    samples = read(storage.expand(given.source))
    labels = np.array([int(sample.members["cls"].data) for sample in samples])
    stored = [decode(sample.members["png"].data, 50_000_000).stored for sample in samples]
    pixels = [pixel_sha256(image) for image in stored]
    split = draw(labels, pixels, SEED, PER_CLASS, VALIDATION)
    labelled = [samples[place] for place in split.labelled]
    write(given.output / "labelled.tar", labelled)
    write(given.output / "validation.tar", [samples[place] for place in split.validation])
    known = set(split.labelled.tolist())
    rest = np.delete(np.arange(len(samples)), split.validation).tolist()
    for number, begin in enumerate(range(0, len(rest), PER_SHARD)):
        part = rest[begin : begin + PER_SHARD]
        seen = [samples[n] if n in known else without_class(samples[n]) for n in part]
        write(given.output / f"all-{number:06d}.tar", seen)
    for number in range(REPEATS):
        write(given.output / f"repeat-{number:02d}.tar", labelled)


def read(urls: list[str], wanted: Collection[str] = ("png", "cls")) -> list[Sample]:
    samples = []
    for url in urls:
        with storage.open_read(url) as stream:
            samples += list(read_samples(stream, wanted.__contains__))
    return samples


def without_class(sample: Sample) -> Sample:
    return Sample(sample.key, {"png": sample.members["png"]})


def write(path: Path, samples: list[Sample]) -> None:
    with path.open("wb") as stream:
        tar = ShardWriter(stream)
        for sample in samples:
            for extension, member in sample.members.items():
                tar.add(f"{sample.key}.{extension}", member.data)
        tar.close()


if __name__ == "__main__":
    main()
