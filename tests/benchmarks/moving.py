"""What becomes of a clip's motion, by what its frames share of their noise.

    python -m tests.benchmarks.moving_clothes 'fashion-mnist/*.tar' moving --clips 8000
    python -m tests.benchmarks.moving_clothes 't10k/*.tar' moving-test --clips 300 --seed 1
    python -m tests.benchmarks.moving 'moving/*.tar' --test 'moving-test/*.tar' --results FOLDER

Two classifiers, whose input is the frames of a clip as channels, learn from clean clips: one what
moves, one where to. Then the test clips are edited by jobs, and of those that a classifier gets
right, the table has the share whose copy it still does. Flicker is the energy of the differences
of neighbouring frames, out over in; warp the error of each frame to the one before it, moved along
the optical flow of the source (TV-L1, Zach et al. 2007), out over in. `--smooth 0.7` has a row more
for each, in which the change that the model makes is smoothed along that flow. FOLDER keeps the
jobs; run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

import diffaug
from diffaug import storage
from diffaug.clips.arrays import clip_of_array
from diffaug.clips.clip import Clip, Selection
from diffaug.clips.decode import decode_clip
from diffaug.clips.measures import clip_scores
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.training import Lesson, Trained, train_classifier
from diffaug.execution import Execution
from diffaug.extensions import ANIMATED
from diffaug.shards import read_samples

ASKED = {"what moves": ("cls", 10), "direction": ("direction", 8)}
"""Of each classifier: the member that holds its classes, and how many there are."""

Clips = NDArray[np.uint8]
"""(N, T, H, W) of greys."""
Flow = NDArray[np.float32]
"""(2, H, W): where each pixel of a frame is in another, down and right."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="+")
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--model", default="fashion-mnist-32")
    parser.add_argument("--strengths", default="0.2,0.4,0.6,0.8")
    parser.add_argument("--noise", default="shared,mixed:0.8,mixed:0.5,independent")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--train-steps", type=int, default=2000)
    parser.add_argument("--smooth", type=float, help="the share of a change that comes from before")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--picture", type=Path, help="strips of two clips at strength 0.4")
    given = parser.parse_args()
    train, learned = read(storage.expand(given.source))
    test, truth = read(storage.expand(given.test))
    judges = {
        name: judge(train, learned[name], classes, given.train_steps)
        for name, (_, classes) in ASKED.items()
    }
    every = 1 if given.smooth else max(1, len(test) // 40)
    flows = [flow(clip) for clip in test[::every]]
    table = []

    def add(strength: float, noise: str, made: Clips) -> None:
        row: dict[str, Any] = {"strength": strength, "noise": noise}
        for name, one in judges.items():
            right = asked(one, test) == truth[name]
            kept = (asked(one, made) == truth[name])[right]
            row |= {name: 100 * float(kept.mean()), f"{name}, clean": 100 * right.mean()}
        row["warp"] = warped(made[::every], flows) / warped(test[::every], flows)
        row |= means(test, made)
        table.append(row)
        print(json.dumps(row), flush=True)

    ways = [flow(clip[::-1])[::-1] for clip in test] if given.smooth else []
    for strength in map(float, given.strengths.split(",")):
        for noise in given.noise.split(","):
            made = edited(given, strength, noise)
            add(strength, noise, made)
            if given.smooth:
                both = zip(test, made, flows, ways, strict=True)
                found = np.stack([smoothed(*one, given.smooth) for one in both])
                add(strength, f"{noise}, smoothed", found)
    (given.results / "moving.json").write_text(json.dumps(table, indent=1) + "\n")
    print(pd.DataFrame(table).round(3).to_string(index=False))
    if given.picture:
        draw(given, test)


def read(urls: list[str]) -> tuple[Clips, dict[str, NDArray[np.int64]]]:
    """Clips and their classes, in the order of their keys."""
    found: dict[str, tuple[Clips, list[int]]] = {}
    members = [member for member, _ in ASKED.values()]
    for url in urls:
        with storage.open_read(url) as stream:
            for one in read_samples(stream, {*ANIMATED, *members}.__contains__):
                name = next(name for name in ANIMATED if name in one.members)
                clip = decode_clip(one.members[name].data, 10**6, None, Selection())
                labels = [int(one.members[member].data) for member in members]
                found[str(one.key)] = greys(clip), labels
    clips, classes = zip(*(found[key] for key in sorted(found)), strict=True)
    every = np.array(classes, np.int64)
    return np.stack(clips), {name: every[:, place] for place, name in enumerate(ASKED)}


def greys(clip: Clip) -> Clips:
    return np.stack([np.asarray(frame.convert("L")) for frame in clip.frames])


def edited(given: argparse.Namespace, strength: float, noise: str) -> Clips:
    """The test clips as a job edits them."""
    output = str(given.results / f"{strength}-{noise}")
    recipe = diffaug.Recipe(
        model=given.model,
        strength=strength,
        steps=given.steps,
        noise_time=None if noise == "none" else noise,
        medium="clip",
        carry=("direction",),
    )
    run = diffaug.freeze(diffaug.plan_run(given.test, output, recipe), output)
    for _ in diffaug.augment_shards(run.sources, output, run=run):
        pass
    made, _ = read([f"{output}/shards/{path.name}" for path in Path(output, "shards").iterdir()])
    return made


def means(before: Clips, after: Clips) -> dict[str, float]:
    """Flicker, SSIM and PSNR, as the manifest has them, over all clips."""
    pairs = [(whole(one), whole(other)) for one, other in zip(before, after, strict=True)]
    scores = pd.DataFrame(clip_scores(pairs)).mean()
    return {name: float(scores[f"score_{name}"]) for name in ("flicker", "ssim", "psnr")}


def whole(frames: Clips) -> Clip:
    return clip_of_array(frames[..., None], Selection())


def smoothed(
    before: Clips, after: Clips, onward: list[Flow], backward: list[Flow], share: float
) -> Clips:
    """A copy whose change is smoothed along the motion, from both ends.

    Args:
        before: (T, H, W), the source.
        after: its copy.
        onward: from each frame of the source to the next one.
        backward: from each but the first to the one before it.
        share: how much of a frame's change comes from its neighbour's, moved along the motion.
    """
    change = after.astype(np.float32) - before
    one, other = change.copy(), change.copy()
    for at, way in enumerate(backward, start=1):
        one[at] += share * (moved(one[at - 1], way) - one[at])
    for at, way in reversed(list(enumerate(onward))):
        other[at] += share * (moved(other[at + 1], way) - other[at])
    return (before + (one + other) / 2).round().clip(0, 255).astype(np.uint8)


def draw(given: argparse.Namespace, test: Clips) -> None:
    """Every second frame of two clips, and below each its copies by what they share of noise."""
    made = [test, *(edited(given, 0.4, noise) for noise in given.noise.split(","))]
    strips = [np.concatenate([*clips[place][::2]], axis=1) for place in (0, 1) for clips in made]
    picture = Image.fromarray(np.concatenate(strips))
    scaled = picture.resize((3 * picture.width, 3 * picture.height), Image.Resampling.NEAREST)
    scaled.save(given.picture)


def judge(clips: Clips, targets: NDArray[np.int64], classes: int, steps: int) -> Trained:
    lesson = Lesson(channels(clips), targets, classes, moved=False)
    settings = Evaluation(train_steps=steps, classifier="resnet")
    return train_classifier(lesson, settings, 0, Execution.choose(device="cpu"))


def asked(judge: Trained, clips: Clips) -> NDArray[np.int64]:
    found: NDArray[np.int64] = judge.confidences(channels(clips)).argmax(axis=1)
    return found


def channels(clips: Clips) -> Clips:
    """(N, H, W, T)."""
    return np.ascontiguousarray(clips.transpose(0, 2, 3, 1))


def flow(clip: Clips) -> list[Flow]:
    """From each frame to the next."""
    from skimage.registration import optical_flow_tvl1

    pairs = pairwise(clip.astype(np.float32) / 255)
    return [np.asarray(optical_flow_tvl1(one, after)) for one, after in pairs]


def moved(picture: NDArray[np.float32], way: Flow) -> NDArray[np.float32]:
    """A picture (H, W) moved back along the flow that leads to it."""
    from scipy.ndimage import map_coordinates

    grid = np.indices(picture.shape, dtype=np.float32)
    found: NDArray[np.float32] = map_coordinates(picture, grid + way, order=1, mode="nearest")
    return found


def warped(clips: Clips, flows: list[list[Flow]]) -> float:
    """The mean squared error of a frame to the one behind it, moved back along the flow."""
    errors = []
    for clip, ways in zip(clips.astype(np.float32), flows, strict=True):
        for (one, after), way in zip(pairwise(clip), ways, strict=True):
            errors.append(np.square(moved(after, way) - one).mean())
    return float(np.mean(errors))


if __name__ == "__main__":
    main()
