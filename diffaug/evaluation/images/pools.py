"""The augmented images of an evaluation: ordinary jobs, one for each seed, family and strength."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.arms import Arm, arms_of
from diffaug.evaluation.images.scored import labelled_shard
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.job import Job
from diffaug.output.layout import Output
from diffaug.recipe import Recipe

__all__ = ["Generated", "generate", "pool_folder", "pools_of"]


@dataclass(frozen=True, slots=True)
class Generated:
    """What one job made.

    Attributes:
        arm: for which arm.
        seed: of which labelled images.
        images: augmented ones, those that filters turn away among them.
        failed: those that could not be made.
        seconds: of work, over all its runs.
    """

    arm: Arm
    seed: int
    images: int
    failed: int
    seconds: float


def pool_folder(output: str, seed: int, family: str, strength: float) -> str:
    """The OUTPUT of one of the jobs."""
    return storage.join(output, f"seed-{seed}", f"{family}-{strength:g}")


def pools_of(plan: EvaluationPlan) -> list[Arm]:
    """The jobs there are for each seed; filters take from those of reconstruct."""
    needed = [arm for arm in arms_of(plan.settings) if arm.is_diffusion]
    made = {Arm("reconstruct", a.strength) if a.family == "filtered" else a for a in needed}
    return sorted(made, key=lambda arm: (arm.family == "one-step", arm.strength or 0))


def generate(
    plan: EvaluationPlan, output: str, seed: int, pools: Iterable[Arm]
) -> Iterator[Generated]:
    """Make augmented images of one seed's labelled ones; what is there is not made again.

    Args:
        plan: the evaluation.
        output: its OUTPUT.
        seed: which draw.
        pools: which jobs (see `pools_of`).

    Raises:
        ConfigError: the model is not the plan's, or cannot do what the recipe asks.
        UncommittedError: storage or memory failed; run it again.
    """
    for arm in pools:
        assert arm.strength is not None
        folder = pool_folder(output, seed, arm.family, arm.strength)
        job = Job.plan(
            [labelled_shard(output, seed)],
            folder,
            _recipe(plan.recipe, arm, seed),
            **plan.execution.model_dump(),
        )
        for _ in job.run():
            pass
        summary = job.finish()
        if summary.failed == summary.planned:
            raise ConfigError(
                f"{arm.name} of seed {seed} made no image: all {summary.planned} failed, the first "
                f"because {_reason(folder)}"
            )
        images = summary.planned - summary.failed
        yield Generated(arm, seed, images, summary.failed, summary.seconds)


def _recipe(recipe: Recipe, arm: Arm, seed: int) -> Recipe:
    """The plan's recipe at the arm's strength, on shards that the evaluation wrote itself."""
    changes: dict[str, object] = {"strength": arm.strength, "image_key": "png", "label_key": "cls"}
    changes |= {"seed": recipe.seed + seed, "result": "source"}
    if arm.family == "one-step":
        changes |= {"sampler": "one-step", "eta": 0.0}
    changes |= {"format": "png", "mask_key": None, "carry": (), "layout": "each"}
    changes |= {"keep_rejects": True}  # other arms draw from what filters turn away too
    return Recipe.of(recipe.model_dump() | changes)


def _reason(folder: str) -> str:
    rows = pd.read_parquet(Output(folder).manifest, columns=["reason"])
    return str(rows["reason"].iloc[0])
