"""What the size of photographs costs: python -m tests.benchmarks.photographs.

First what each step takes of the processor for one colour photograph of 400x533, in one thread:
the median over the photographs of all rounds. Then whole jobs with `cifar10-32`, from tar to tar,
in images a second and in milliseconds of processor an image: photographs of 32x32, which the model
sees as they are, beside the same ones of 400x533, with detail kept, in each format. The jobs take
turns in one process, in alternating order, after one of each that is not measured; a ratio is the
median of the rounds' own ratios. What the network alone takes is timed between them.

The photographs are cut from those that come with scikit-image, or are those of the tars given
with `--tars`, and are stored as JPEGs of quality 90; `--png` stores PNGs.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

import diffaug
from diffaug.diffusion.batched import at_once, side_by_side
from diffaug.execution import device_class, versions
from diffaug.job.binding import Binding
from diffaug.output.run import Run
from diffaug.pictures.codec import decode, encode, pixel_sha256
from diffaug.pictures.medium import IMAGE
from diffaug.pictures.similarity import psnr, ssim
from diffaug.shards import ShardWriter
from tests.support.detail_sheet import photographs

SMALL, LARGE = (32, 32), (400, 533)
RECIPE = diffaug.Recipe(model="cifar10-32", strength=0.4, steps=20, sampler="dpmsolver++")
FORMATS = ("png", "jpg", "webp")

Image_ = Image.Image


def main() -> None:
    asked = _arguments()
    pictures = list(itertools.islice(_pictures(asked.tars), asked.images))
    with tempfile.TemporaryDirectory(prefix="diffaug-bench-") as name:
        folder = Path(name)
        sources = {size: folder / f"{size[0]}x{size[1]}.tar" for size in (SMALL, LARGE)}
        for size, path in sources.items():
            _write(path, pictures, size, "PNG" if asked.png else "JPEG")
        found: dict[str, Any] = {"ms": stages(sources[LARGE], asked.rounds)}
        print(json.dumps(found["ms"], indent=1), flush=True)
        plans = {
            name: _plan(sources[size], folder / f"plan-{name}", format)
            for name, size, format in (
                ("32x32", SMALL, "png"),
                *((f"400x533 {format}", LARGE, format) for format in asked.formats),
            )
        }
        found |= rates(plans, folder, asked.images, asked.rounds)
    run = next(iter(plans.values()))
    found |= {"device_class": device_class("cpu"), "threads": torch.get_num_threads()}
    print(json.dumps(found | {"dtype": run.execution.dtype, "versions": versions()}))


def stages(source: Path, rounds: int) -> dict[str, float]:
    """Milliseconds of processor for one image, by step."""
    taken: dict[str, list[float]] = defaultdict(list)

    def timed(step: str, work: Callable[[], Any]) -> Any:
        started = time.thread_time()
        result = work()
        taken[step].append(1000 * (time.thread_time() - started))
        return result

    shape, random = (3, *SMALL), np.random.default_rng(0)
    for data in _members(source) * rounds:
        image = timed("decode", partial(decode, data, 10**9)).shown
        fit = timed("reduce", partial(IMAGE.fit, image, shape, "auto", "source", "keep"))
        edit = fit.to_model(image) + random.normal(0, 0.15, shape).astype(np.float32)
        result = timed("enlarge", partial(fit.from_model, edit))
        pair = [np.asarray(one) for one in (image, result)]
        timed("score: SSIM", partial(ssim, *pair))
        timed("score: PSNR", partial(psnr, *pair))
        timed("digest of the pixels", partial(pixel_sha256, result))
        for format in FORMATS:
            timed(f"encode: {format}", partial(encode, result, format))
    return {step: round(median(values), 2) for step, values in taken.items()}


def rates(plans: dict[str, Run], folder: Path, images: int, rounds: int) -> dict[str, Any]:
    """Images a second and milliseconds of processor of each job, and ratios to the first."""
    for plan in plans.values():
        _job(plan, folder, images)
    measured: list[dict[str, tuple[float, float]]] = []
    for number in range(rounds):
        order = list(plans) if number % 2 == 0 else list(plans)[::-1]
        network = _network(plans[order[0]], images)
        measured.append({name: _job(plans[name], folder, images) for name in order})
        measured[-1]["the network alone"] = network
        print(number + 1, {k: f"{v:.1f}/s {c:.0f} ms" for k, (v, c) in measured[-1].items()})
    first = next(iter(plans))
    names = ["the network alone", *plans]
    return {
        "images_a_second": {n: round(median(one[n][0] for one in measured), 2) for n in names},
        "processor_ms_an_image": {
            n: round(median(one[n][1] for one in measured), 1) for n in names
        },
        "rate_to_32x32": {
            n: _spread([one[n][0] / one[first][0] for one in measured]) for n in names
        },
        "processor_to_32x32": {
            n: _spread([one[n][1] / one[first][1] for one in measured]) for n in names
        },
    }


def _spread(values: list[float]) -> tuple[float, float, float]:
    return round(median(values), 3), round(min(values), 3), round(max(values), 3)


def _job(plan: Run, folder: Path, images: int) -> tuple[float, float]:
    """A job from tar to tar: images a second, and milliseconds of processor an image."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        run = diffaug.freeze(plan, output)
        wall, processor = time.perf_counter(), time.process_time()
        reports = list(diffaug.augment_shards(run.sources, output, run=run))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        assert sum(report.ok for report in reports) == images
    return images / wall, 1000 * processor / images


@torch.inference_mode()
def _network(plan: Run, images: int) -> tuple[float, float]:
    """The same for the calls of the network alone, on full batches that are there already."""
    denoiser = Binding.of_run(plan).editor().model.denoiser
    rows, device = plan.execution.batch_size, denoiser.device
    t = torch.full((rows,), 300)
    call = partial(denoiser, torch.randn((rows, *denoiser.shape)), t, torch.full_like(t, 10))
    calls = max(1, round(0.4 * RECIPE.steps)) * images // rows // at_once(device)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(calls):
        side_by_side([call] * at_once(device), device)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return images / wall, 1000 * processor / images


def _plan(source: Path, output: Path, format: str) -> Run:
    return diffaug.plan_run(str(source), str(output), RECIPE.model_copy(update={"format": format}))


def _pictures(tars: list[Path]) -> Iterator[Image_]:
    """Photographs of 400x533, all different."""
    if tars:
        for tar in tars:
            for data in _members(tar):
                upright = decode(data, 10**9).shown.convert("RGB")
                yield ImageOps.fit(upright, LARGE, Image.Resampling.LANCZOS)
        return
    random = np.random.default_rng(0)
    while True:
        for image in photographs():
            height = int(random.integers(image.height // 2, image.height))
            width = height * LARGE[0] // LARGE[1]
            left = int(random.integers(image.width - width + 1))
            top = int(random.integers(image.height - height + 1))
            part = image.crop((left, top, left + width, top + height))
            yield part.resize(LARGE, Image.Resampling.LANCZOS)


def _write(path: Path, pictures: list[Image_], size: tuple[int, int], format: str) -> None:
    with path.open("wb") as stream:
        writer = ShardWriter(stream)
        for number, picture in enumerate(pictures):
            data = io.BytesIO()
            picture.resize(size, Image.Resampling.LANCZOS).save(data, format, quality=90)
            writer.add(f"{number:06d}.{'jpg' if format == 'JPEG' else 'png'}", data.getvalue())
        writer.close()


def _members(source: Path) -> list[bytes]:
    with tarfile.open(source) as tar:
        found = (tar.extractfile(one) for one in tar if one.name.endswith((".jpg", ".png")))
        return [stream.read() for stream in found if stream is not None]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=128, help="a multiple of 64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--formats", nargs="*", default=["jpg", "png"], choices=FORMATS)
    parser.add_argument("--tars", nargs="*", type=Path, default=[])
    parser.add_argument("--png", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
