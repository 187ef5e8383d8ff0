"""What the whole job costs over the network alone: run by `make bench`.

Two arms, interleaved in one process: (c) diffaug from tar to tar, and (d) the bare denoiser on
resident tensors, same batch, dtype and number of calls, at full batches. The last line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

import diffaug
from diffaug.edit import Editor
from diffaug.execution import device_class
from diffaug.plan import Run, SourceShard

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=320, help="a round, a multiple of 32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--strength", type=float, default=0.4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dtype", help="float32 or bfloat16; by default as a job would choose")
    asked = parser.parse_args()
    recipe = diffaug.Recipe(strength=asked.strength, steps=asked.steps)
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder, "shard.tar")
        write_shard(shard, asked.images)
        plan = diffaug.plan_run([str(shard)], f"{folder}/plan", recipe, dtype=asked.dtype)
        editor = plan.editor()
        calls = max(1, round(asked.strength * asked.steps))
        run_denoiser(editor, asked.images, 1)  # warm up
        job, bare = [], []
        for index in range(asked.rounds):
            bare.append(asked.images / run_denoiser(editor, asked.images, calls))
            job.append(asked.images / run_job(plan, f"{folder}/out-{index}"))
            print(
                f"round {index + 1}: job {job[-1]:.2f}/s, bare denoiser {bare[-1]:.2f}/s",
                flush=True,
            )
    ratios = [c / d for c, d in zip(job, bare, strict=True)]
    execution = plan.execution
    print(
        f"\n{asked.images} images, {calls} calls each, batch {execution.batch_size}, "
        f"{execution.dtype} on {device_class(execution.device)}, {torch.get_num_threads()} threads"
    )
    for name, values in (("c job", job), ("d bare denoiser", bare), ("c/d", ratios)):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:16} median {middle:8.3f}   range {low:.3f} to {high:.3f}")
    print(json.dumps({"c_over_d": round(statistics.median(ratios), 4), "dtype": execution.dtype}))


def write_shard(path: Path, images: int) -> None:
    """A shard of `images` real ones: the fixtures over and over, a corner pixel differing."""
    members = []
    for fixture in sorted(FIXTURES.glob("fashion-mnist-*.tar")):
        with tarfile.open(fixture) as tar:
            for info in tar:
                handle = tar.extractfile(info)
                if handle is not None and info.name.endswith(".png"):
                    members.append(handle.read())
    with tarfile.open(path, "w") as tar:
        for index in range(images):
            image = Image.open(io.BytesIO(members[index % len(members)]))
            image.putpixel((0, 0), index // len(members) % 256)
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            info = tarfile.TarInfo(f"{index:06d}.png")
            info.size = len(buffer.getvalue())
            tar.addfile(info, io.BytesIO(buffer.getvalue()))


def run_job(plan: Run, output: str) -> float:
    """Seconds from tar to tar, the model being loaded."""
    run = diffaug.freeze(plan, output)
    started = time.perf_counter()
    shards: tuple[SourceShard, ...] = run.sources
    reports = list(diffaug.augment_shards(shards, output, run=run))
    seconds = time.perf_counter() - started
    assert sum(report.ok for report in reports) == sum(report.planned for report in reports) > 0
    return seconds


@torch.inference_mode()
def run_denoiser(editor: Editor, images: int, calls: int) -> float:
    """Seconds of the network alone for as many calls as the images need at full batches."""
    batch = editor.execution.batch_size
    x_t = torch.randn((batch, *editor.denoiser.shape))
    t = torch.full((batch,), 300)
    condition = torch.full((batch,), editor.denoiser.null_class or 0)
    started = time.perf_counter()
    for _ in range(calls * -(-images // batch)):
        editor.denoiser(x_t, t, condition)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
