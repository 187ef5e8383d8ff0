"""A shard of any length takes the same memory, to augment and to train on.

The network does next to nothing, since it is not about it. Images are of 48x48 pixels in colour, so
that their values would show if they were kept: all that is in hand, reading ahead and writing
behind, is a few megabytes however the threads happen to run, and what is looked at is the memory
that is in use.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image

from tests.support.forks import Forks
from tests.support.hostile import encoded, write_files
from tests.support.nothing import next_to_nothing

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="reads what is held from /proc"),
]

SIDE = 48
MEGABYTES = SIDE * SIDE * 3 * 4 / 2**20
"""Of an image's values in float32."""


def _distinct(count: int) -> Iterator[tuple[str, bytes]]:
    """Images of noise, which no two have alike and nothing compresses."""
    random = np.random.default_rng(0)
    for number in range(count):
        picture = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        yield f"{number:06d}.png", encoded(Image.fromarray(picture), "PNG")
        yield f"{number:06d}.cls", b"%d" % (number % 10)


def _held(forked: Forks, *arguments: str | Path) -> tuple[str, list[float]]:
    """What a command says, and the megabytes that it held at calls of its network."""
    process = forked.start(*arguments, entry="tests.support.memory:main")
    assert process.wait() == 0, process.err
    said, _, measured = process.out.strip().rpartition("\n")
    held: list[float] = json.loads(measured)
    print(said, held, sep="\n")
    return said, held


def _growth(held: list[float]) -> float:
    """By how much the last third of what was held is above the second, both taken in the middle."""
    third = len(held) // 3
    return median(held[2 * third :]) - median(held[third : 2 * third])


def test_five_times_the_images_take_the_same_memory(tmp_path: Path, forked: Forks) -> None:
    """Of each image, only its key is kept to the end of its shard."""
    model = next_to_nothing(tmp_path / "model", SIDE, channels=3)

    def augment(count: int) -> list[float]:
        shard = write_files(tmp_path / f"{count}.tar", _distinct(count))
        flags = ["--model", str(model), "--sampler", "one-step", "--batch-size", "8"]
        said, held = _held(forked, "augment", shard, tmp_path / f"out-{count}", *flags)
        assert f"{count} planned = {count} made" in said
        return held

    few, many = augment(200), augment(1000)
    assert median(many) - median(few) < 400 * MEGABYTES  # half of what keeping them would add
    assert _growth(many) < 170 * MEGABYTES


@pytest.mark.proof
def test_training_on_ten_times_the_images_takes_the_same_memory(
    tmp_path: Path, forked: Forks
) -> None:
    """As many steps either way: many epochs of the few, and more than one of the many."""

    def train(count: int) -> list[float]:
        shard = write_files(tmp_path / f"{count}.tar", _distinct(count))
        flags = ["--network", "tiny", "--size", "8", "--steps", "35", "--batch-size", "32"]
        flags += ["--shuffle", "100", "--preview-steps", "35"]
        said, held = _held(forked, "train", shard, tmp_path / f"model-{count}", *flags)
        assert "35 steps, 1120 images" in said
        return held

    few, many = train(100), train(1000)
    assert median(many) - median(few) < 450 * MEGABYTES
    assert _growth(many) < 170 * MEGABYTES
