"""Shards of moving clothes: clips of 16 frames of 32x32, made from Fashion-MNIST.

    python -m tests.benchmarks.moving_clothes 'fashion-mnist/*.tar' moving --clips 8000

A garment, reduced to 20x20, goes straight through the frame in one of eight directions, at half a
pixel or a pixel a frame. A sample has .npy (frames, height, width, channels), .cls (what moves, 0
to 9), .direction (0 to 7: right, then clockwise in eighths) and .json with both and the speed. The
draw is by `--seed`, and clips come in the order of their keys. With `--stills`, a sample is one
frame instead, for a model of pictures to learn from.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug import storage
from diffaug.evaluation.images.pictures import each_picture
from diffaug.recipe import Recipe
from diffaug.shards import Member, Sample
from tests.benchmarks.half_labelled import write

FRAMES, SIDE, GARMENT, DIRECTIONS = 16, 32, 20, 8
SPEEDS = (0.5, 1.0)
PER_SHARD = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="+")
    parser.add_argument("output", type=Path)
    parser.add_argument("--clips", type=int, default=8000)
    parser.add_argument("--skip", type=int, default=0, help="pictures of the source to leave out")
    parser.add_argument("--stills", action="store_true", help="one frame of each, as .png")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    random = np.random.default_rng(given.seed)
    samples: list[Sample] = []
    for number, picture in enumerate(each_picture(storage.expand(given.source), Recipe())):
        if number < given.skip:
            continue
        made = sample(number, picture.image, int(picture.label or 0), random)
        samples.append(still(made, random) if given.stills else made)
        if len(samples) == given.clips:
            break
    for number, begin in enumerate(range(0, len(samples), PER_SHARD)):
        write(given.output / f"moving-{number:06d}.tar", samples[begin : begin + PER_SHARD])


def sample(number: int, image: Image.Image, label: int, random: np.random.Generator) -> Sample:
    direction, speed = int(random.integers(DIRECTIONS)), float(random.choice(SPEEDS))
    frames = moved(image, direction, speed, random.uniform(-3, 3, 2))
    buffer = io.BytesIO()
    np.save(buffer, frames[..., None])
    said = {"class": label, "direction": direction, "speed": speed}
    members = {
        "npy": buffer.getvalue(),
        "cls": str(label).encode(),
        "direction": str(direction).encode(),
        "json": json.dumps(said).encode(),
    }
    key = f"{number:06d}"
    return Sample(key, {name: Member(name, 0, data) for name, data in members.items()})


def still(clip: Sample, random: np.random.Generator) -> Sample:
    """A frame of a clip, as a picture."""
    frames = np.load(io.BytesIO(clip.members["npy"].data))
    buffer = io.BytesIO()
    Image.fromarray(frames[random.integers(FRAMES), ..., 0]).save(buffer, "PNG")
    members = {"png": Member("png", 0, buffer.getvalue()), "cls": clip.members["cls"]}
    return Sample(clip.key, members)


def moved(
    image: Image.Image, direction: int, speed: float, away: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """(T, H, W): the garment passes by the middle, `away` from it, halfway through the clip."""
    garment = image.convert("L").resize((GARMENT, GARMENT), Image.Resampling.BICUBIC)
    angle = 2 * np.pi * direction / DIRECTIONS
    way = speed * np.array([np.cos(angle), np.sin(angle)])
    frames = np.empty((FRAMES, SIDE, SIDE), np.uint8)
    for time in range(FRAMES):
        left, top = (SIDE - GARMENT) / 2 + away + (time - (FRAMES - 1) / 2) * way
        # where each pixel of the frame comes from, to a fraction of a pixel
        shift = (1, 0, -left, 0, 1, -top)
        placed = garment.transform(
            (SIDE, SIDE), Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR
        )
        frames[time] = np.asarray(placed)
    return frames


if __name__ == "__main__":
    main()
