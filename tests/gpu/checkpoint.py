"""A public checkpoint on this machine, in one JSON that can be sent back.

`python -m tests.gpu.checkpoint DIR --device cuda --out OUT`. Photographs are edited by a whole job:
how many were made, images a second, peak memory; every row is replayed; a few pictures are compared
with diffusers' own pipeline. OUT/checkpoint.json has no path and no name but the folder's; it holds
small copies of eight photographs and of their edits, which are also in OUT/checkpoint.jpg. The last
line printed is that JSON.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps

from diffaug.errors import ConfigError, OutOfMemoryError, UncommittedError
from diffaug.job import Job
from diffaug.models import find_checkpoint
from tests.benchmarks.workloads import FIXTURES
from tests.gpu.checks import key, made, replayed, write_shard
from tests.gpu.machine import machine
from tests.gpu.reference import difference

__all__ = ["main", "measured", "photographs"]

COMPARED = 2
"""Pictures a call of diffusers' pipeline in float32."""

SHOWN, SIDE = 8, 128
_OWN_SIZE = (640, 480)
_TOLD = {"strength", "steps", "sampler", "prompt", "condition", "guidance", "detail", "seed"}
_CLOSE = 0.01
"""Of a range of 1: the tests' tiny checkpoints are within 1e-5."""


def main() -> int:
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    images = photographs(asked.photographs, asked.count)
    with tempfile.TemporaryDirectory(prefix="diffaug-checkpoint-") as name:
        found, sheet = measured(asked.checkpoint, images, Path(name), asked.device, _fields(asked))
    sheet.save(asked.out / "checkpoint.jpg", quality=85)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    found["pictures"] = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    (asked.out / "checkpoint.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found | {"pictures": "in checkpoint.json"}))
    return int(not found["ok"])


def measured(
    folder: Path,
    images: Sequence[Image.Image],
    scratch: Path,
    device: str,
    given: Mapping[str, Any],
) -> tuple[dict[str, Any], Image.Image]:
    """What there is to say of a checkpoint, and a sheet of photographs over their edits.

    Args:
        folder: that a diffusers pipeline saved.
        images: photographs.
        scratch: an empty folder.
        device: cpu, cuda or cuda:N.
        given: fields of the recipe, and batch_size.
    """
    checkpoint = find_checkpoint(str(folder))
    fields = _recipe(checkpoint.pipeline, given)
    batch_size = given.get("batch_size")
    shard = write_shard(scratch / "in.tar", range(len(images)), images.__getitem__)
    first = write_shard(scratch / "first.tar", [0], images.__getitem__)
    recipe = {"model": str(folder), **fields}
    left_out: list[int] = []
    started = time.perf_counter()
    while True:  # until a call fits
        options: dict[str, Any] = {"device": device, "batch_size": batch_size}
        output = str(scratch / f"out-{len(left_out)}")
        try:
            job = Job.plan([str(shard)], output, recipe, **options)
            options["batch_size"] = job.planned.execution.batch_size
            list(Job.plan([str(first)], f"{output}-first", recipe, **options).run())
            loaded = time.perf_counter() - started
            _reset_peak(device)
            started = time.perf_counter()
            (report,) = job.run()
            seconds = time.perf_counter() - started
            break
        except UncommittedError as error:
            cause = error.__cause__
            if not isinstance(cause, OutOfMemoryError) or not cause.fits:
                raise
            left_out.append(cause.batch_size)
            batch_size = cause.fits
    peak = _peak(device)
    job.finish()
    run = job.planned
    exactly = fields | {"strength": run.recipe.strength, "steps": run.recipe.steps}
    found: dict[str, Any] = {
        "checkpoint_report": 1,
        "checkpoint": {
            "folder": folder.resolve().name,
            "pipeline": checkpoint.pipeline,
            "digest": run.model.digest,
        },
        "machine": machine(device),
        "recipe": run.recipe.model_dump(mode="json", include=_TOLD),
        "execution": run.execution.model_dump(mode="json"),
        "out_of_memory_at": left_out,
        "photographs": len(images),
        "made": report.ok,
        "seconds_to_load": round(loaded, 2),
        "seconds": round(seconds, 2),
        "images_a_second": round(report.ok / seconds, 3),
        "peak_memory_mib": peak,
        "replay": replayed(Path(output)),
        "difference": _difference(folder, checkpoint.pipeline, device, images, exactly),
    }
    apart = found["difference"].get("largest", 0.0)
    found["ok"] = bool(
        found["made"] == found["replay"]["equal"] == len(images)
        and "error" not in found["difference"]
        and apart < _CLOSE
    )
    return found, _sheet(images, made(Path(output)))


def photographs(folder: Path | None, count: int) -> list[Image.Image]:
    """The first so many of a folder, by name; without one, of the fixtures, enlarged."""
    if folder is None:
        stamps = list(_stamps())
        return [_varied(stamps[n % len(stamps)], n // len(stamps)) for n in range(count)]
    found: list[Image.Image] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") and len(found) < count:
            with Image.open(path) as image:
                found.append(ImageOps.exif_transpose(image).convert("RGB"))
    if not found:
        raise ConfigError(f"{folder} has no JPEG, PNG or WebP")
    return found


def _stamps() -> Iterator[Image.Image]:
    for path in sorted(FIXTURES.glob("stamps-*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                handle = tar.extractfile(info)
                if handle is not None and info.name.endswith((".jpg", ".png")):
                    yield Image.open(io.BytesIO(handle.read())).convert("RGB")


def _varied(image: Image.Image, number: int) -> Image.Image:
    """The picture, mirrored at odd numbers, and nearer from two on."""
    if number % 2:
        image = ImageOps.mirror(image)
    return ImageOps.fit(image, _OWN_SIZE, bleed=min(0.1 * (number // 2), 0.4))


def _recipe(pipeline: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and by what the model is conditioned and led where nothing is."""
    fields: dict[str, Any] = {}
    if pipeline == "DiTPipeline":
        fields = {"condition": "label", "guidance": 4.0}
    elif pipeline.startswith("StableDiffusion"):
        fields = {"prompt": "a photo", "guidance": 7.5}
    elif pipeline.startswith(("Flux", "LatentConsistency")):
        fields = {"prompt": "a photo"}
    names = ("strength", "steps", "guidance")
    return fields | {name: given[name] for name in names if given.get(name) is not None}


def _difference(
    folder: Path,
    pipeline: str,
    device: str,
    images: Sequence[Image.Image],
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """As `difference`; what went wrong there leaves the rest of the report as it is."""
    try:
        return difference(folder, pipeline, device, images[:COMPARED], **fields)
    except Exception as error:  # diffusers' errors are of all kinds, out of memory among them
        return {"error": f"{type(error).__name__}: {error}"[:2000]}


def _reset_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> dict[str, int]:
    """MiB at the peak: of the process, and of what torch took of the card during the job."""
    found = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    if device.startswith("cuda"):
        found["card_allocated"] = torch.cuda.max_memory_allocated(device) >> 20
        found["card_reserved"] = torch.cuda.max_memory_reserved(device) >> 20
    return found


def _sheet(images: Sequence[Image.Image], edits: Mapping[str, bytes]) -> Image.Image:
    shown = min(SHOWN, len(images))
    sheet = Image.new("RGB", (SIDE * shown, 2 * SIDE), "white")
    for place in range(shown):
        number = place * len(images) // shown
        with Image.open(io.BytesIO(edits[key(number)])) as edit:
            for y, image in enumerate((images[number], edit)):
                small = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE))
                sheet.paste(small, (place * SIDE, y * SIDE))
    return sheet


def _fields(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "strength": asked.strength,
        "steps": asked.steps,
        "guidance": asked.guidance,
        "batch_size": asked.batch_size,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, metavar="DIR")
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--strength", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--batch-size", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
