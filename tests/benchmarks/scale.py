"""What ten thousand shards cost beside their images: planning, resuming, counting, compacting.

    python -m tests.benchmarks.scale [--shards 100 1000 10000]

Every shard holds one 8x8 image, and the model is a network of a few hundred weights, so that nearly
all of the time is the job's own. A process of its own begins a job, does all of it, and is followed
by another that finds it finished, as `diffaug augment` does; that one's time and peak memory, above
what the imports and the model take, are what `resume` means. Two minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import diffaug
from diffaug.job.job import Job
from diffaug.output.compact import compact
from tests.support.hostile import write_files
from tests.support.nothing import next_to_nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        print(json.dumps(_job(*given.job)))
        return
    print(
        "| shards | job, ms a shard | resume, s | resume, ms a shard | MB above imports |", end=""
    )
    print(" compact, s |\n| ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in given.shards:
        with tempfile.TemporaryDirectory(prefix="diffaug-scale-") as name:
            _measure(count, Path(name))


def _measure(count: int, folder: Path) -> None:
    next_to_nothing(folder / "model", 8, channels=1)
    buffer = io.BytesIO()
    for number in range(count):
        buffer.seek(0)
        Image.new("L", (8, 8), number % 256).save(buffer, "PNG")
        shard = write_files(folder / f"in/{number:06}.tar", [(f"{number}.png", buffer.getvalue())])
        os.utime(shard, (0, 0))  # one written within the last minute would be hashed again
    made, again = (_run(folder) for _ in range(2))
    begun = time.perf_counter()
    rows = sum(compact(f"{folder}/out"))
    seconds = time.perf_counter() - begun
    assert rows == made["planned"] == again["planned"] == count
    print(
        f"| {count:,} | {1000 * made['seconds'] / count:.1f} | {again['seconds']:.2f} "
        f"| {1000 * again['seconds'] / count:.2f} | {again['megabytes']:.0f} | {seconds:.1f} |",
        flush=True,
    )


def _run(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--job", f"{folder}/in/*.tar"]
    done = subprocess.run(
        [*command, f"{folder}/out"],
        env=os.environ | {"DIFFAUG_SCALE_MODEL": f"{folder}/model"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _job(source: str, output: str) -> dict[str, float]:
    """What `diffaug augment` does, timed from when it has its imports and its model."""
    recipe = diffaug.Recipe(model=os.environ["DIFFAUG_SCALE_MODEL"], sampler="one-step")
    diffaug.augment([Image.new("L", (8, 8))], recipe)
    before, begun = _memory("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    job = Job.plan([source], output, recipe)
    for _ in job.run():
        pass
    summary = job.finish()
    assert summary.complete
    seconds = time.perf_counter() - begun
    return {"planned": summary.planned, "seconds": seconds, "megabytes": _memory("VmHWM") - before}


def _memory(what: str) -> float:
    """Of this process, in MB: VmRSS, what it has; VmHWM, the most it had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[what].split()[0]) / 1024


if __name__ == "__main__":
    main()
