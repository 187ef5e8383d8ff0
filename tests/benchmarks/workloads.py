"""What the arms of the benchmark are given: real images in shards, and what to make of each."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import diffaug
from diffaug.diffusion.samplers import timesteps
from diffaug.job.binding import Binding
from diffaug.output.run import Run
from tests.support.drafts import draft_copies

__all__ = [
    "FIXTURES",
    "LEAST",
    "NAMES",
    "STEPS",
    "Task",
    "Workload",
    "make_workload",
    "read_images",
    "write_shards",
]

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
STEPS = 20
LEAST = 32
"""Fewer images make no batch."""

NAMES = ("one", "mixed", "range", "tiny")
_STRENGTHS: dict[str, float | tuple[float, ...] | str] = {
    "one": 0.4,
    "mixed": (0.25, 0.5, 0.75, 1.0),
    "range": "0.2:0.8",
    "tiny": 0.4,
}
_TINY_SHARD = 10


@dataclass(frozen=True, slots=True)
class Task:
    """One image to make: a copy of a source image, with the times diffaug calls the network at."""

    source: int
    copy: int
    strength: float
    timesteps: tuple[int, ...]

    @property
    def calls(self) -> int:
        return len(self.timesteps)


@dataclass(frozen=True)
class Workload:
    """Source shards, diffaug's plan for them, and the same plan as tasks for the other arms."""

    name: str
    plan: Run
    tasks: tuple[Task, ...]

    @property
    def shards(self) -> list[str]:
        return [source.url for source in self.plan.sources]

    @property
    def calls(self) -> int:
        """Image-calls: how often the network sees an image, over all images."""
        return sum(task.calls for task in self.tasks)

    def part(self, share: int) -> tuple[Task, ...]:
        """The first tasks: one in `share` of them, but no fewer than LEAST."""
        return self.tasks[: max(LEAST, len(self.tasks) // share)]


def make_workload(
    name: str,
    folder: Path,
    images: int,
    *,
    batch_size: int | None,
    dtype: str | None,
    device: str | None = None,
) -> Workload:
    """Write the shards of a workload of `images` outputs, and draft every one of them."""
    strength = _STRENGTHS[name]
    copies = len(strength) if isinstance(strength, tuple) else 1
    shards = write_shards(folder, images // copies, _TINY_SHARD if name == "tiny" else images)
    recipe = diffaug.Recipe(
        model="fashion-mnist-32",
        strength=strength,
        steps=STEPS,
        sampler="ddim",
        copies=copies,
        seed=0,
    )
    plan = diffaug.plan_run(
        shards,
        str(folder / "plan"),
        recipe,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
    )
    editor = Binding.of_run(plan).editor()
    times = editor.model.denoiser.schedule.num_train_timesteps
    tasks = tuple(
        Task(source, draft.copy, draft.strength, timesteps(draft.strength, STEPS, "ddim", times))
        for source, image in enumerate(read_images(shards))
        for draft in draft_copies(editor, image, {}, range(copies))
    )
    assert len(tasks) == images
    assert all(task.calls == max(1, round(task.strength * STEPS)) for task in tasks)
    return Workload(name, plan, tasks)


def read_images(shards: list[str]) -> Iterator[Image.Image]:
    """Decode every PNG of some tars, in order."""
    for shard in shards:
        with tarfile.open(shard) as tar:
            for info in tar:
                handle = tar.extractfile(info)
                if handle is not None and info.name.endswith(".png"):
                    image = Image.open(handle)
                    image.load()
                    yield image


def write_shards(folder: Path, images: int, per_shard: int) -> list[str]:
    """Write tars of PNGs, all of them different; their paths."""
    folder.mkdir(parents=True)
    source = itertools.islice(_distinct_images(), images)
    shards: list[str] = []
    while batch := list(itertools.islice(source, per_shard)):
        path = folder / f"source-{len(shards):06d}.tar"
        with tarfile.open(path, "w") as tar:
            for index, image in enumerate(batch):
                buffer = io.BytesIO()
                image.save(buffer, "PNG")
                info = tarfile.TarInfo(f"{index:06d}.png")
                info.size = buffer.tell()
                buffer.seek(0)
                tar.addfile(info, buffer)
        shards.append(str(path))
    return shards


def _distinct_images() -> Iterator[Image.Image]:
    """The fixtures over and over, each time with another corner pixel."""
    fixtures = [str(path) for path in sorted(FIXTURES.glob("fashion-mnist-*.tar"))]
    for corner in range(256):
        for image in read_images(fixtures):
            image.putpixel((0, 0), corner)
            yield image
