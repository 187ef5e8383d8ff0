"""A latent model beside diffusers' own pipeline, called as its documentation shows.

`python -m tests.benchmarks.latent`. Pictures in, pictures out, of the same random Stable Diffusion
checkpoint, with the same prompts, calls an image, guidance and four copies of each:

copies   `StableDiffusionImg2ImgPipeline` in float32: eight pictures and prompts a call, with
         `num_images_per_prompt=4`, so that its UNet sees 32 rows.
plain    the same, eight pictures a call without copies, four times over: 8 rows.
tuned    as `copies`, in the dtype that diffaug would choose here, channels last.
eight    `diffaug.augment` with batches of eight, in float32.
float32  `diffaug.augment` with its own batches, of 32, in float32.
diffaug  `diffaug.augment` as it chooses itself, dtype included.

Models: `tiny`, that of the tests, which is nearly all overhead, `small`, whose calls do some work,
and, if asked for, `medium`, whose calls do enough for a GPU. Two scales: 1, where a sample is one
row a call, and 7.5, where it is two. The arms take turns in one process, in alternating order,
after a round that is not measured. A rate is in images a second, a ratio the median of the rounds'
own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

import diffaug
from diffaug.execution import Execution
from tests.support import tiny

COPIES, BATCH, STRENGTH, STEPS = 4, 8, 0.5, 20
MODELS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {"sample_size": 16, "block_out_channels": (64, 128), "attention_head_dim": 8},
    "medium": {"sample_size": 32, "block_out_channels": (256, 512), "attention_head_dim": 8},
}
SCALES = (1.0, 7.5)
RATIOS = (
    ("diffaug", "copies"),
    ("diffaug", "plain"),
    ("diffaug", "tuned"),
    ("float32", "copies"),
    ("float32", "plain"),
    ("eight", "plain"),
)

Arm = Callable[[list[Image.Image], list[str]], int]


def main() -> None:
    """Run the arms, and print their rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=32, help="pictures of the tiny model a round")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["tiny", "small"])
    parser.add_argument("--device", help="of all arms; by default as a job would choose")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # diffusers' deprecations
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="diffaug-bench-") as name:
        for model in asked.models:
            config = MODELS[model]
            folder = tiny.stable_diffusion(Path(name) / model, **config)
            images = pictures(asked.images if model == "tiny" else asked.images // 2, config)
            for scale in SCALES:
                found[f"{model}, guidance {scale:g}"] = measure(
                    arms(folder, scale, asked.device), images, asked.rounds
                )
    for what, ratios in found.items():
        print(what, " ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    print(json.dumps(found))


def arms(folder: Path, scale: float, device: str | None = None) -> dict[str, Arm]:
    """Each takes pictures and their prompts, and returns how many pictures it made."""
    execution = Execution.choose(device=device)
    chosen, device = execution.dtype, execution.device
    plain = pipeline(folder, torch.float32, device)
    tuned = pipeline(folder, getattr(torch, chosen), device)
    for part in (tuned.unet, tuned.vae):
        part.to(memory_format=torch.channels_last)
    recipe = diffaug.Recipe(
        model=str(folder),
        strength=STRENGTH,
        steps=STEPS,
        copies=COPIES,
        prompt=("a photo of a {label_text}",),
        guidance=scale,
    )

    def call(pipe: Any, images: list[Image.Image], prompts: list[str], **more: Any) -> Any:
        return pipe(
            prompt=prompts,
            image=images,
            strength=STRENGTH,
            num_inference_steps=STEPS,
            guidance_scale=scale,
            **more,
        ).images

    def batches(pipe: Any, copies: int) -> Arm:
        def run(images: list[Image.Image], words: list[str]) -> int:
            made = 0
            for _ in range(COPIES // copies):
                for begin in range(0, len(images), BATCH):
                    part = slice(begin, begin + BATCH)
                    prompts = [f"a photo of a {word}" for word in words[part]]
                    found = call(pipe, images[part], prompts, num_images_per_prompt=copies)
                    made += len(found)
            return made

        return run

    def ours(dtype: str, batch_size: int | None = None) -> Arm:
        def run(images: list[Image.Image], words: list[str]) -> int:
            found = diffaug.augment(
                images, recipe, labels=words, batch_size=batch_size, dtype=dtype, device=device
            )
            return sum(map(len, found))

        return run

    return {
        "copies": batches(plain, COPIES),
        "plain": batches(plain, 1),
        "tuned": batches(tuned, COPIES),
        "eight": ours("float32", BATCH),
        "float32": ours("float32"),
        "diffaug": ours(chosen),
    }


def pipeline(folder: Path, dtype: torch.dtype, device: str) -> Any:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline

    pipe: Any = StableDiffusionImg2ImgPipeline.from_pretrained(
        folder, dtype=dtype, safety_checker=None
    )
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def pictures(count: int, config: dict[str, Any]) -> list[Image.Image]:
    size = 4 * config.get("sample_size", 8)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((size, size)) for one in coarse]


def measure(arms: dict[str, Arm], images: list[Image.Image], rounds: int) -> dict[str, float]:
    """Ratios of rates, the rates printed on the way."""
    words = ["cat" if number % 2 else "dog" for number in range(len(images))]
    rates: list[dict[str, float]] = []
    for number in range(rounds + 1):
        order = list(arms.items())[:: 1 if number % 2 else -1]
        rate = {}
        for name, arm in order:
            started = time.perf_counter()
            made = arm(images, words)
            rate[name] = made / (time.perf_counter() - started)
            assert made == COPIES * len(images)
        if number:
            rates.append(rate)
            print(" ".join(f"{name} {rate[name]:.1f}" for name in arms), flush=True)
    return {
        f"{one}/{other}": median(rate[one] / rate[other] for rate in rates) for one, other in RATIOS
    }


if __name__ == "__main__":
    main()
