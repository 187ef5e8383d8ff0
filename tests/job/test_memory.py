"""A shard of any length takes the same memory, to augment and to train on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.support.hostile import encoded, fashion, write_files
from tests.support.jobs import pixels

# VmHWM, not getrusage: a child's ru_maxrss begins with what its parent had at the fork. What is
# held at the lowest, between two network calls, says more of growth than the peak does.
SCRIPT = """
import atexit, json, pathlib, sys, threading
from diffaug.cli import main

def megabytes(name):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition(name + ":")[2].split()[0]) / 1024

def watch():
    while not ended.wait(0.02):
        held.append(megabytes("RssAnon"))

def say():
    ended.set()
    third = len(held) // 3
    lowest = min(held[third : 2 * third]), min(held[2 * third :])
    print(json.dumps([megabytes("VmHWM"), *lowest]))

held, ended = [], threading.Event()
threading.Thread(target=watch, daemon=True).start()
atexit.register(say)
sys.argv[0] = "diffaug"
main()
"""


def _distinct(count: int) -> Iterator[tuple[str, bytes]]:
    """Fixture images, each with its number written into its corner."""
    pictures = [pixels(sample["png"]) for sample in fashion(120)]
    for number in range(count):
        picture = np.array(pictures[number % len(pictures)])
        picture[0, :4] = np.frombuffer(number.to_bytes(4, "big"), np.uint8)
        yield f"{number:06d}.png", encoded(Image.fromarray(picture), "PNG")
        yield f"{number:06d}.cls", b"%d" % (number % 10)


class Held(NamedTuple):
    """Megabytes: the peak, and the lowest of the second and the last third."""

    peak: float
    second: float
    last: float


def _measure(command: str, *arguments: object) -> tuple[str, Held]:
    """What a command says, and what it held."""
    line = [sys.executable, "-c", SCRIPT, command, *map(str, arguments)]
    ran = subprocess.run(line, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    said, _, measured = ran.stdout.strip().rpartition("\n")
    held = Held(*json.loads(measured))
    print(said, held, sep="\n")
    return said, held


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_five_times_the_images_take_the_same_memory(tmp_path: Path) -> None:
    """Of each image, only its key is kept to the end of its shard."""

    def augment(count: int) -> Held:
        shard = write_files(tmp_path / f"{count}.tar", _distinct(count))
        arguments = [shard, tmp_path / f"out-{count}", "--sampler", "one-step"]
        said, held = _measure("augment", *arguments)
        assert f"{count} planned = {count} ok" in said
        return held

    few, many = augment(1200), augment(6000)  # with 500, it has not come yet to what it holds
    assert many.peak < 1.10 * few.peak
    assert many.last - many.second < 12  # a picture's values and its noise, kept, would be 15


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_training_on_ten_times_the_images_takes_the_same_memory(tmp_path: Path) -> None:
    """As many steps either way: eleven epochs of the few, and more than one of the many."""

    def train(count: int) -> Held:
        shard = write_files(tmp_path / f"{count}.tar", _distinct(count))
        arguments = [shard, tmp_path / f"model-{count}", "--network", "tiny", "--size", "8"]
        flags = ["--steps", "70", "--shuffle", "200", "--preview-steps", "35"]
        said, held = _measure("train", *arguments, *flags)
        assert "70 steps, 4480 images" in said
        return held

    few, many = train(400), train(4000)
    assert many.peak < 1.10 * few.peak
    assert many.last < 1.05 * few.last
