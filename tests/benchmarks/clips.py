"""Frames a second: a job of clips next to loops around diffusers, with the same model.

    python -m tests.benchmarks.moving_clothes 'fashion-mnist/*.tar' moving --clips 96
    python -m tests.benchmarks.clips 'moving/*.tar' --rounds 4

Arms: the loop that most people write, which gives diffusers' network one frame after the other; one
that gives it the frames of a clip together; and diffaug's job, with its manifest and its commit.
All read arrays, edit frames of 32x32 in as many calls, with one noise a clip, and write lossless
H.264. They take turns, a share of the clips each; a line gives the frames a second of all turns
together, by the clock and by the processor, and their ratios to the first.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

import diffaug
from diffaug import storage
from diffaug.execution import Execution
from diffaug.shards import Sample, read_samples
from tests.benchmarks.half_labelled import write
from tests.benchmarks.loops import Network, load_network

MODEL, STRENGTH, STEPS = "fashion-mnist-32", 0.4, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="+")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    samples = list(read(storage.expand(given.source)))
    parts = [samples[turn :: given.rounds] for turn in range(given.rounds)]
    dtype = Execution.choose(device="cpu").dtype
    network = load_network(getattr(torch, dtype), torch.channels_last, "cpu", MODEL)
    arms = {
        "a frame a call": Arm(lambda part, out: loop(network, part, out, together=1)),
        "a clip a call": Arm(lambda part, out: loop(network, part, out, together=None)),
        "diffaug": Arm(job),
    }
    for arm in arms.values():
        arm.turn(parts[0][:2], count=False)  # what is done once
    for part in parts:
        for arm in arms.values():
            arm.turn(part)
    first = next(iter(arms.values()))
    for name, arm in arms.items():
        print(
            f"{name:16} {arm.frames / arm.wall:7.1f} frames/s ({first.wall / arm.wall:.2f}), "
            f"{arm.frames / arm.processor:7.1f} a second of processor "
            f"({first.processor / arm.processor:.2f})"
        )


@dataclass
class Arm:
    """A way to edit clips, and what it took so far."""

    work: Callable[[Sequence[Sample], Path], None]
    frames: int = 0
    wall: float = 0.0
    processor: float = 0.0

    def turn(self, part: Sequence[Sample], *, count: bool = True) -> None:
        with tempfile.TemporaryDirectory() as folder:
            wall, processor = time.perf_counter(), time.process_time()
            self.work(part, Path(folder))
            if count:
                self.wall += time.perf_counter() - wall
                self.processor += time.process_time() - processor
                self.frames += sum(len(frames_of(sample)) for sample in part)


def read(urls: list[str]) -> Iterator[Sample]:
    for url in urls:
        with storage.open_read(url) as stream:
            yield from read_samples(stream, {"npy", "cls"}.__contains__)


def frames_of(sample: Sample) -> NDArray[np.uint8]:
    """(T, H, W, 1)."""
    found: NDArray[np.uint8] = np.load(io.BytesIO(sample.members["npy"].data))
    return found


@torch.inference_mode()
def loop(network: Network, part: Sequence[Sample], out: Path, together: int | None) -> None:
    """Image to image as diffusers' pipelines do it, so many frames a call (None: all)."""
    scheduler = network.scheduler
    scheduler.set_timesteps(STEPS)
    timesteps = scheduler.timesteps[STEPS - round(STRENGTH * STEPS) :]
    for sample in part:
        frames = torch.from_numpy(frames_of(sample)).permute(0, 3, 1, 2).float() / 127.5 - 1
        noise = torch.randn_like(frames[:1])
        made = []
        for x_0 in torch.split(frames, together or len(frames)):
            x_t = scheduler.add_noise(x_0, noise.expand_as(x_0), timesteps[:1])
            for t in timesteps:
                x_t = scheduler.step(network(x_t, t), t, x_t).prev_sample
            made.append(x_t)
        levels = ((torch.cat(made) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        encode(levels[:, 0].numpy(), out / f"{sample.key}.mp4")


def encode(frames: NDArray[np.uint8], path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264rgb", rate=25, options={"qp": "0", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "rgb24"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 25)
        for frame in frames:
            shown = np.repeat(frame[..., None], 3, axis=2)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        file.mux(stream.encode())


def job(part: Sequence[Sample], out: Path) -> None:
    shutil.rmtree(out)
    out.mkdir()
    write(out / "part.tar", list(part))
    recipe = diffaug.Recipe(
        model=MODEL, strength=STRENGTH, steps=STEPS, sampler="ddim", medium="clip"
    )
    run = diffaug.freeze(
        diffaug.plan_run(str(out / "part.tar"), str(out / "out"), recipe), str(out / "out")
    )
    for _ in diffaug.augment_shards(run.sources, str(out / "out"), run=run):
        pass


if __name__ == "__main__":
    main()
