"""A shard of any length takes the same memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile import encoded, fashion, write_files
from tests.jobs import pixels

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
sys.argv = ["diffaug", "augment", *sys.argv[1:], "--sampler", "one-step"]
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


def _measure(folder: Path, count: int) -> tuple[float, float, float]:
    """Peak, and what was held at the lowest in the second and in the last third; megabytes."""
    shard = write_files(folder / f"{count}.tar", _distinct(count))
    command = [sys.executable, "-c", SCRIPT, str(shard), str(folder / f"out-{count}")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert f"{count} planned = {count} ok" in ran.stdout
    peak, second, last = json.loads(ran.stdout.splitlines()[-1])
    return peak, second, last


@pytest.mark.services
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_ten_times_the_images_take_the_same_memory(tmp_path: Path) -> None:
    """Of each image, only its key is kept to the end of its shard."""
    (small, _, _), (large, second, last) = _measure(tmp_path, 500), _measure(tmp_path, 5000)
    print(
        f"peak resident memory: {small:.0f} MB for 500 images, {large:.0f} MB for 5,000; "
        f"held in the second and last third of these: {second:.0f} and {last:.0f} MB"
    )
    assert large < 1.10 * small
    assert last - second < 5
