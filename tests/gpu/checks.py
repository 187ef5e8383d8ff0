"""What must hold on any device, as checks of whole jobs there.

`test_device.py` asks for it on the device that DIFFAUG_TEST_DEVICE names, `python -m
tests.gpu.device` on a GPU, where neither pytest nor anything else of the development tools is.
"""

from __future__ import annotations

import io
import math
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

import diffaug
from diffaug.audit.replay import replay_parts
from diffaug.audit.verify import verify_shards
from diffaug.job import Job
from diffaug.output.select import image_counts, picked_rows, spread
from diffaug.train.loop import train
from tests.benchmarks.workloads import FIXTURES

__all__ = ["CHECKS", "MODELS", "Found", "Subject", "key", "made", "replayed", "write_shard"]

MODELS = ("pixels", "stable_diffusion", "dit")
"""The shipped model of greys, and two tiny random ones on latents."""

_WORDS = ("cat", "dog", "hen")
_PARTS = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is checked, and with how much.

    Attributes:
        model: one of MODELS.
        device: cpu, cuda or cuda:N.
        dtype: float32 or bfloat16.
        folder: an empty one.
        count: pictures.
        batch_size: rows of a network call.
    """

    model: str
    device: str
    dtype: str
    folder: Path
    count: int = 20
    batch_size: int = 8

    def recipe(self) -> dict[str, Any]:
        """Drawn strengths and guidance, so that the rows of a call differ in all that they can."""
        fields: dict[str, Any] = {"strength": "0.2:0.8", "steps": 5, "sampler": "ddim"}
        if self.model == "pixels":
            return fields | {"model": "fashion-mnist-32", "condition": "label", "guidance": 2.0}
        from tests.support import tiny  # transformers is slow to import

        folder = self.folder.parent / f"model-{self.model}"
        if not folder.exists():
            getattr(tiny, self.model)(folder)
        fields |= {"model": str(folder), "guidance": 3.0, "detail": "none"}
        told = {"prompt": "a photo of a {label_text}"}
        return fields | (told if self.model == "stable_diffusion" else {"condition": "label"})

    def job(self, name: str, shards: Sequence[Path], **options: Any) -> Path:
        """Run a whole job; its OUTPUT."""
        output = self.folder / name
        given: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        given["batch_size"] = self.batch_size
        job = Job.plan(list(map(str, shards)), str(output), self.recipe(), **(given | options))
        reports = list(job.run())
        summary = job.finish()
        assert summary.complete, summary
        assert not summary.failed, summary
        assert len(reports) == len(shards)
        return output

    def shards(self) -> list[Path]:
        """The pictures in as many shards as there are parts."""
        size = math.ceil(self.count / _PARTS)
        return [
            write_shard(self.folder / f"in/{part}.tar", range(self.count)[part * size :][:size])
            for part in range(_PARTS)
        ]

    def reference(self) -> Path:
        """The plain job over them, made once."""
        output = self.folder / "reference"
        return output if output.exists() else self.job("reference", self.shards())


@dataclass(kw_only=True)
class Found:
    """What a check found.

    Attributes:
        rows: how many were compared.
        equal: how many of them were equal, byte for byte.
        largest: the largest difference of a pixel, in levels of 255.
        more: other numbers.
    """

    rows: int
    equal: int
    largest: int = 0
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return 0 < self.rows == self.equal


def slots(subject: Subject) -> Found:
    """The same pictures backwards, each after another one: other slots, and other neighbours."""
    numbers = [n for own in reversed(range(subject.count)) for n in (subject.count + own, own)]
    shard = write_shard(subject.folder / "mixed.tar", numbers)
    return compared(made(subject.reference()), made(subject.job("mixed", [shard])))


def alone(subject: Subject) -> Found:
    """One picture in a job of its own, its call filled up with copies of itself."""
    shard = write_shard(subject.folder / "one.tar", [subject.count // 2])
    return compared(made(subject.reference()), made(subject.job("alone", [shard])), least=1)


def again(subject: Subject) -> Found:
    """The same job a second time: not a bit of its tars may differ."""
    once, twice = subject.reference(), subject.job("again", subject.shards())
    return same_tars(once, twice)


def workers(subject: Subject) -> Found:
    """Three processes over one OUTPUT, side by side, as a user starts them on a fleet."""
    output, recipe = subject.folder / "workers", subject.folder / "recipe.yaml"
    fields = subject.recipe()
    recipe.write_text("".join(f"{name}: {value!r}\n" for name, value in fields.items()))
    command = [sys.executable, "-m", "diffaug", "augment", *map(str, subject.shards()), output]
    command += ["--recipe", recipe, "--device", subject.device, "--dtype", subject.dtype]
    command += ["--batch-size", str(subject.batch_size)]
    running = [
        subprocess.Popen(
            [*map(str, command), "--part", f"{part}/{_PARTS}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for part in range(1, _PARTS + 1)
    ]
    said = [one.communicate()[0] for one in running]
    for one, words in zip(running, said, strict=True):
        assert one.returncode == 0, words
    return same_tars(subject.reference(), output)


def replay(subject: Subject) -> Found:
    """Every row rebuilt from itself, and the whole OUTPUT verified."""
    output = subject.reference()
    verdicts = replayed(output)
    return Found(rows=sum(verdicts.values()), equal=verdicts["equal"])


def in_memory(subject: Subject) -> Found:
    """`diffaug.augment` makes the pixels that the job made."""
    numbers = range(subject.count)
    words = [_WORDS[n % 3] if subject.model == "stable_diffusion" else n % 10 for n in numbers]
    images: Any = diffaug.augment(
        [picture(n) for n in numbers],
        subject.recipe(),
        labels=words,
        batch_size=subject.batch_size,
        dtype=subject.dtype,
        device=subject.device,
    )
    own = {key(n): encoded(image) for n, image in enumerate(images)}
    return compared(made(subject.reference()), own, pixels_alone=True)


def like_a_processor(subject: Subject) -> Found:
    """Close to what a processor makes in float32: nothing here can be equal to the bit."""
    where = {"device": "cpu", "dtype": "float32"}
    theirs = made(subject.job("processor", subject.shards(), **where))
    ours = made(subject.reference())
    apart = [rms(ours[name], theirs[name]) for name in theirs]
    close = sum(one <= (1.0 if subject.dtype == "float32" else 6.0) for one in apart)
    found = compared(ours, theirs)
    numbers = {"largest_rms": round(max(apart), 3), "median_rms": round(float(np.median(apart)), 3)}
    return Found(rows=len(apart), equal=close, largest=found.largest, more=numbers)


def trains(subject: Subject) -> Found:
    """A training of ten steps of a tiny denoiser, whose loss stays finite, and an edit by it."""
    folder = subject.folder / "trained"
    small = {"network": "tiny", "size": 32, "channels": 1, "batch_size": 4, "warmup_steps": 2}
    recipe = small | {"steps": 10, "shuffle": 20}
    shards = list(map(str, subject.shards()))
    losses = [
        step.loss
        for step in train(
            shards,
            folder,
            recipe,
            device=subject.device,
            dtype=subject.dtype,
            preview_steps=10_000,
        )
    ]
    edit: Any = diffaug.augment(
        picture(0),
        {"model": str(folder), "strength": 0.5, "steps": 4},
        device=subject.device,
        dtype=subject.dtype,
    )
    assert edit.size == picture(0).size
    finite = sum(map(math.isfinite, losses))
    return Found(rows=10, equal=finite, more={"last_loss": round(losses[-1], 4)})


CHECKS: dict[str, Callable[[Subject], Found]] = {
    check.__name__: check
    for check in (slots, alone, again, workers, replay, in_memory, like_a_processor, trains)
}


# --- pictures


def key(number: int) -> str:
    return f"{number:05}"


def picture(number: int) -> Image.Image:
    """A real picture of 28x28; every number's is another."""
    found = _pictures()
    image = found[number % len(found)].copy()
    image.putpixel((0, 0), number // len(found))
    return image


@cache
def _pictures() -> list[Image.Image]:
    found: list[Image.Image] = []
    for path in sorted(FIXTURES.glob("fashion-mnist-*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                handle = tar.extractfile(info)
                if handle is not None and info.name.endswith(".png"):
                    image = Image.open(io.BytesIO(handle.read()))
                    image.load()
                    found.append(image)
    return found


def write_shard(path: Path, numbers: Sequence[int], pictures: Any = picture) -> Path:
    """A shard of pictures by their numbers, with a class and a word."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            members = {
                "png": encoded(pictures(number)),
                "cls": str(number % 10).encode(),
                "txt": _WORDS[number % 3].encode(),
            }
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key(number)}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


# --- comparing


def made(output: Path) -> dict[str, bytes]:
    """The picture of each row, by its source's key, cut out of its tar by the row's own numbers."""
    found = {}
    for row in _rows(output):
        begin, length = row["output_offset"], row["output_bytes"]
        found[str(row["source_key"])] = Path(output, row["output_shard"]).read_bytes()[begin:][
            :length
        ]
    return found


def _rows(output: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(output.glob("manifest/*.parquet")):
        yield from pq.read_table(path).to_pylist()


def compared(
    one: Mapping[str, bytes],
    other: Mapping[str, bytes],
    *,
    least: int | None = None,
    pixels_alone: bool = False,
) -> Found:
    """The pictures that both have; at least `least`, or all of the first."""
    both = one.keys() & other.keys()
    assert len(both) >= (len(one) if least is None else least), (len(both), len(one))
    equal = 0
    largest = 0
    for name in both:
        apart = int(np.abs(levels(one[name]) - levels(other[name])).max())
        equal += not apart and (pixels_alone or one[name] == other[name])
        largest = max(largest, apart)
    return Found(rows=len(both), equal=equal, largest=largest)


def same_tars(one: Path, other: Path) -> Found:
    """As `compared`, and the tars themselves have to be equal."""
    found = compared(made(one), made(other))
    tars = [sorted(output.glob("shards/*.tar")) for output in (one, other)]
    assert [tar.name for tar in tars[0]] == [tar.name for tar in tars[1]]
    pairs = zip(*tars, strict=True)
    equal = sum(first.read_bytes() == second.read_bytes() for first, second in pairs)
    found.more = {"tars": len(tars[0]), "equal_tars": equal}
    if equal < len(tars[0]):
        found.equal = min(found.equal, found.rows - 1)
    return found


def levels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(np.int16)


def rms(one: bytes, other: bytes) -> float:
    """Root mean square of the difference, in levels of 255."""
    return float(np.sqrt(np.square((levels(one) - levels(other)).astype(float)).mean()))


def replayed(output: Path) -> dict[str, int]:
    """How many rows of an OUTPUT, which is verified first, were rebuilt and how."""
    from diffaug.output.run import the_run

    shards = the_run(str(output)).sources
    wrong = [str(one) for check in verify_shards(str(output), shards) for one in check.differences]
    assert not wrong, wrong
    counts = image_counts(str(output), [shard.stem for shard in shards])
    picks = spread(counts, sum(counts.values()))
    found = {"equal": 0, "near": 0, "differs": 0}
    for one in replay_parts(picked_rows(str(output), picks), str(output)):
        found[one.verdict] += 1
    return found
