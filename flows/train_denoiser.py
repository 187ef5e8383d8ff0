"""The flow `train-denoiser`: one task trains, and the flow reports its metrics."""

from __future__ import annotations

import shlex
import time
from typing import Annotated, Any, cast
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.runtime import task_run
from prefect.states import Failed
from pydantic import Field

from diffaug import ConfigError, DivergedError, storage
from diffaug.models.classes import trained_classes
from diffaug.output.markdown import code, text
from diffaug.train.loop import Step, train
from diffaug.train.recipe import TrainRecipe
from flows.folders import packed
from flows.groups import RETRIES, Count, run_name
from flows.paths import listed, require_absolute, require_absolute_models

DEFAULT_RECIPE = TrainRecipe()

ROWS = 50
"""Maximum number of rows in the table of metrics."""
SECONDS = 10
"""Time between two updates of the progress artifact."""


@task(task_run_name="train {checkpoint}", **RETRIES)
def train_steps(
    sources: list[str],
    checkpoint: str,
    recipe: TrainRecipe,
    dtype: str | None,
    device: str | None,
    checkpoint_minutes: float,
    preview_steps: int,
    resume: bool,
    held_back: list[str] | None,
) -> list[dict[str, float]]:
    """Make the remaining steps, and return a few dozen of them as rows of metrics."""
    steps = train(
        sources,
        checkpoint,
        recipe,
        dtype=dtype,
        device=device,
        resume=resume or cast(int, task_run.run_count) > 1,
        checkpoint_minutes=checkpoint_minutes,
        preview_steps=preview_steps,
        held_back=held_back,
    )
    progress = cast(UUID, create_progress_artifact(0.0, key="train-progress"))
    rows, every = list[dict[str, float]](), max(1, recipe.steps // ROWS)
    moved = started = time.monotonic()
    losses, apart = list[float](), dict[str, float]()
    for count, step in enumerate(steps, start=1):
        losses.append(step.loss)
        if step.held_back is not None:
            apart = {"held_back": step.held_back}
        for skipped in step.newly_skipped:
            get_run_logger().warning("skipped %s", skipped)
        if time.monotonic() - moved >= SECONDS:
            update_progress_artifact(progress, 100 * step.step / recipe.steps)
            moved = time.monotonic()
        if step.step % every == 0 or step.step == recipe.steps:
            rate = count * recipe.batch_size / (time.monotonic() - started)
            rows.append(_row(step, losses, rate) | apart)
            losses = []
    update_progress_artifact(progress, 100.0)
    return rows


@flow(name="train-denoiser", flow_run_name=run_name("train", "source", "checkpoint"))
def train_denoiser(
    source: str | list[str],
    checkpoint: str,
    recipe: TrainRecipe = DEFAULT_RECIPE,
    dtype: str | None = None,
    device: str | None = None,
    resume: bool = False,
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10,
    preview_steps: Count = 1000,
    held_back: str | list[str] | None = None,
) -> dict[str, float] | State[Any]:
    """Train a denoiser on sharded images; a recipe's `model` then takes the checkpoint.

    Or an autoencoder, which a training recipe's `autoencoder` then takes.

    Args:
        source: shards: files, globs, brace ranges or lists, on any fsspec URL; or folders of
            pictures or of class folders, which are packed into `checkpoint`-source.
        checkpoint: the folder of the checkpoint, on the worker's machine.
        recipe: what to train, and how.
        dtype: float32, or bfloat16 for autocast; by default the faster one on the machine.
        device: cpu, cuda or cuda:N; by default cuda if available.
        resume: continue the training in `checkpoint`, if there is one.
        checkpoint_minutes: minutes between two checkpoints; one is always written at the end.
        preview_steps: steps between two grids of samples and reconstructions.
        held_back: shards or a folder of held-out images; their noise loss (of an autoencoder, the
            PSNR) is measured with the grids.
    """
    try:
        require_absolute(source=source, checkpoint=checkpoint, held_back=held_back)
        require_absolute_models(init=recipe.init, autoencoder=recipe.autoencoder)
        shards, _ = packed(checkpoint, source, held_back, max_pixels=recipe.max_pixels)
        if recipe.class_count:
            first, is_folder = storage.expand(shards[0])[0], shards[0][0] != listed(source)[0]
            classes = trained_classes(recipe.classes, first, is_folder=is_folder)
            recipe = recipe.model_copy(update={"classes": classes})
        rows = train_steps(
            shards[0],
            checkpoint,
            recipe,
            dtype=dtype,
            device=device,
            checkpoint_minutes=checkpoint_minutes,
            preview_steps=preview_steps,
            resume=resume,
            held_back=shards[1],
        )
    except (ConfigError, DivergedError) as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=f"storage failed: {error}. Run it again with resume to continue")
    if not rows:
        get_run_logger().info("%s is already trained", checkpoint)
        return {"steps": recipe.steps}
    create_table_artifact(rows, key="train-metrics", description=text(checkpoint))
    create_markdown_artifact(_markdown(rows[-1], checkpoint, recipe.kind), key="train-summary")
    return rows[-1]


def _row(step: Step, losses: list[float], images_a_second: float) -> dict[str, float]:
    return {
        "step": step.step,
        "loss": sum(losses) / len(losses),
        "learning_rate": step.learning_rate,
        "images": step.images,
        "skipped": step.skipped,
        "images_a_second": round(images_a_second, 1),
    }


def _markdown(last: dict[str, float], checkpoint: str, kind: str) -> str:
    use = {
        "denoiser": ["diffaug", "augment", "SOURCE", "OUTPUT", "--model", checkpoint],
        "autoencoder": ["diffaug", "train", "SOURCE", "CHECKPOINT", "--autoencoder", checkpoint],
    }[kind]
    made = code(f"{checkpoint}/training")
    return f"""\
# {text(checkpoint)}

| steps | images | skipped | last loss |
| ---: | ---: | ---: | ---: |
| {last["step"]} | {last["images"]} | {last["skipped"]} | {last["loss"]:.4f} |

Grids of samples and reconstructions, and TensorBoard events, are in {made}.
Use it: {code(shlex.join(use))}.
"""
