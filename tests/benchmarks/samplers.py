"""Fewer calls at equal quality: how far each sampler is from the exact reconstruction.

The exact one is what 200 calls of DDIM make of the same noised image; the table gives the mean PSNR
in dB and SSIM to it, over the fixtures' real images in float32. `ddpm` adds noise of its own, so it
goes elsewhere however many calls it gets. The table stands in docs/samplers.md.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.samplers import SamplerName, timesteps, trajectory
from diffaug.execution import Execution
from diffaug.judges import psnr, ssim
from diffaug.models import Pretrained, find_checkpoint, load_model
from diffaug.pictures.codec import pixel_sha256
from diffaug.pictures.fit import Fit
from tests.benchmarks.workloads import FIXTURES, read_images

SHARDS = [str(path) for path in sorted(FIXTURES.glob("fashion-mnist-*.tar"))]
STRENGTHS = (0.3, 0.5, 0.8)
CALLS = (1, 2, 4, 8, 16, 50)
SAMPLERS: tuple[SamplerName, ...] = ("ddim", "dpmsolver++", "ddpm")
EXACT = 200

Picture = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    images = list(itertools.islice(read_images(SHARDS), parser.parse_args().images))
    execution = Execution(batch_size=32, dtype="float32", device="cpu")
    model = load_model(find_checkpoint("fashion-mnist-32"), execution)
    lines = []
    for strength in track(STRENGTHS, description="strengths"):
        exact = reconstruct(model, images, "ddim", strength, EXACT)
        for sampler in SAMPLERS:
            made = [reconstruct(model, images, sampler, strength, calls) for calls in CALLS]
            cells = " | ".join(closeness(exact, some) for some in made)
            lines.append(f"| {strength} | {sampler} | {cells} |")
    print(f"| strength | sampler | {' | '.join(f'{n} calls' for n in CALLS)} |")
    print("| ---: | :--- |" + " ---: |" * len(CALLS))
    print("\n".join(lines))


def reconstruct(
    model: Pretrained,
    images: Sequence[Image.Image],
    sampler: SamplerName,
    strength: float,
    calls: int,
) -> list[Picture]:
    """Each image noised with its own noise and reconstructed in so many calls."""
    times = timesteps(strength, round(calls / strength), sampler, 1000)
    assert len(times) == calls
    denoiser = model.denoiser
    way = trajectory(sampler, denoiser.schedule, times)

    def edits() -> list[tuple[Fit, Edit]]:
        found = []
        for image in images:
            frame = Fit.of(image, model.shape, "auto")
            random = SampleRandom(0, pixel_sha256(image), 0)
            noise = random.noise(denoiser.shape, way.draws)
            edit = Edit(
                x_0=frame.to_model(image),
                noise=noise,
                trajectory=way,
                condition=(torch.tensor(denoiser.no_class),),
            )
            found.append((frame, edit))
        return found

    results = model.steps(32).run(edits())
    return [np.asarray(frame.from_model(x_0)) for frame, x_0 in results if x_0 is not None]


def closeness(exact: Sequence[Picture], made: Sequence[Picture]) -> str:
    pairs = list(zip(exact, made, strict=True))
    decibels = np.minimum([psnr(*pair) for pair in pairs], 60.0)  # equal ones count as 60
    similarity = [ssim(*pair) for pair in pairs]
    return f"{decibels.mean():.1f} / {np.mean(np.array(similarity, dtype=float)):.3f}"


if __name__ == "__main__":
    main()
