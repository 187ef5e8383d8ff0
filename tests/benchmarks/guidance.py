"""What kept guidance costs and saves: rows of the network, and how far results move.

python -m tests.benchmarks.guidance cifar10-test.tar

Images of a shard with the model's classes are edited with guidance 3 from the same noise, in
float32. The exact result is what 200 calls make, all with both conditions; the table gives the mean
PSNR in dB and SSIM to it. It stands in docs/samplers.md.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
from rich.progress import track

from diffaug.editor import Draft, PictureEditor
from diffaug.execution import Execution
from diffaug.models import checkpoint_of
from diffaug.recipe import Recipe
from diffaug.shards import Sample, read_samples
from tests.benchmarks.samplers import Picture, closeness

STRENGTHS = (0.2, 0.3, 0.5)
WAYS = ((8, 1), (8, 2), (8, 4), (4, 1), (4, 2), (2, 1), (2, 2), (1, 1))
"""Calls, and of how many the first is made with both conditions."""
EXACT = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shard", type=Path)
    parser.add_argument("--model", default="cifar10-32")
    parser.add_argument("--images", type=int, default=32)
    given = parser.parse_args()
    with given.shard.open("rb") as stream:
        samples = list(islice(read_samples(stream, lambda _: True), given.images))
    print("| strength | calls | with both | rows | PSNR / SSIM |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for strength in track(STRENGTHS, description="strengths"):
        exact, _ = edited(given.model, samples, strength, EXACT, 1)
        for calls, every in WAYS:
            made, rows = edited(given.model, samples, strength, calls, every)
            cells = f"{strength} | {calls} | {-(-calls // every)} | {rows:g}"
            print(f"| {cells} | {closeness(exact, made)} |", flush=True)


def edited(
    model: str, samples: list[Sample], strength: float, calls: int, every: int
) -> tuple[list[Picture], float]:
    """The edited pictures, and how many rows of the network each took."""
    recipe = Recipe(
        model=model,
        condition="label",
        guidance=3,
        guidance_every=every,
        strength=strength,
        steps=round(calls / strength),
        sampler="dpmsolver++",
        result="model",
    )
    editor = PictureEditor(recipe, checkpoint_of(recipe), Execution(batch_size=32, dtype="float32"))
    drafts: list[Draft] = []
    for sample in samples:
        drafts += [
            draft for draft in editor.plan(editor.read(sample), [0]) if isinstance(draft, Draft)
        ]
    assert {draft.edit.trajectory.calls for draft in drafts} == {calls}
    made = editor.steps().run((draft, draft.edit) for draft in drafts)
    pictures = [np.asarray(draft.finish.picture(x_0)) for draft, x_0 in made if x_0 is not None]
    return pictures, float(np.mean([draft.edit.rows for draft in drafts]))


if __name__ == "__main__":
    main()
