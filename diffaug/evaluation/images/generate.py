"""The augmented images of an evaluation: ordinary jobs, one per seed, family and strength."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from diffaug.errors import ConfigError
from diffaug.evaluation.arms import Arm, arms_of
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.job import Job
from diffaug.output.evaluation import EvaluationOutput
from diffaug.output.layout import Output
from diffaug.recipe import Recipe

__all__ = ["Generated", "generate", "pools_of"]


@dataclass(frozen=True, slots=True)
class Generated:
    """What one job made.

    Attributes:
        arm: the arm that its images are for.
        seed: the draw of labelled images that it augmented.
        images: augmented images, including those that filters reject.
        failed: images that could not be made.
        seconds: time spent, over all its runs.
    """

    arm: Arm
    seed: int
    images: int
    failed: int
    seconds: float


def pools_of(plan: EvaluationPlan) -> list[Arm]:
    """The arms whose images need a job per seed; filtered arms use those of reconstruct."""
    needed = {arm.pool for arm in arms_of(plan.settings) if arm.pool is not None}
    return sorted(needed, key=lambda arm: (arm.family == "one-step", arm.strength or 0))


def generate(
    plan: EvaluationPlan, output: str, seed: int, pools: Iterable[Arm]
) -> Iterator[Generated]:
    """Augment one seed's labelled images; images that exist are not made again.

    Args:
        plan: the evaluation.
        output: its OUTPUT.
        seed: which draw.
        pools: which jobs (see `pools_of`).

    Raises:
        ConfigError: the model is not the plan's, or cannot do what the recipe asks.
        UncommittedError: storage failed or memory ran out; run it again.
    """
    files = EvaluationOutput(output)
    for arm in pools:
        folder = files.pool(seed, arm.name)
        job = Job.plan(
            [str(files.labelled(seed))],
            folder,
            _recipe(plan.recipe, arm, plan.seed_of(seed)),
            **plan.execution.model_dump(),
            classes_as_numbered=True,  # `prepare` has compared them
        )
        for _ in job.run():
            pass
        summary = job.finish()
        if summary.failed == summary.planned:
            raise ConfigError(
                f"{arm.name} of seed {seed} made no {plan.settings.kind.noun}: all "
                f"{summary.planned} failed, the first because {_reason(folder)}"
            )
        images = summary.planned - summary.failed
        yield Generated(arm, seed, images, summary.failed, summary.seconds)


def _recipe(recipe: Recipe, arm: Arm, seed: int) -> Recipe:
    """The plan's recipe at the arm's strength, for shards that the evaluation wrote itself."""
    changes: dict[str, object] = {"strength": arm.strength, "label_key": "cls", "seed": seed}
    changes |= {"keep_rejects": True}  # other arms draw from rejected images too
    if recipe.medium == "text":
        return Recipe.of(recipe.model_dump(exclude_none=True) | changes | {"text_key": "txt"})
    key, format = ("npy", "mp4") if recipe.medium == "clip" else ("png", "png")
    changes |= {"image_key": key, "result": "source"}
    changes |= dict.fromkeys(("frames", "fps", "window"))  # they were taken already
    if arm.family == "one-step":
        changes |= {"sampler": "one-step", "eta": 0.0}
    changes |= {"format": format, "mask_key": None, "carry": (), "layout": "each"}
    changes |= {"background": None}  # the evaluation's own pictures are opaque
    return Recipe.of(recipe.model_dump() | changes)


def _reason(folder: str) -> str:
    rows = pd.read_parquet(Output(folder).manifest, columns=["reason"])
    return str(rows["reason"].iloc[0])
