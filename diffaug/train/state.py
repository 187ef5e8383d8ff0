"""A training on disk: the checkpoint people use, and the state it goes on from.

CHECKPOINT/model_index.json, unet/, scheduler/, README.md   the averaged weights, for diffusers
CHECKPOINT/training/recipe.yaml                             the recipe, every field settled
CHECKPOINT/training/state.pt                                all that --resume needs
CHECKPOINT/training/skipped.jsonl                           samples that could not be used
CHECKPOINT/training/samples-*.png, reconstructions-*.png    how it came along
CHECKPOINT/training/events.out.tfevents.*                   for TensorBoard

Each file is replaced whole, the state first: a kill between two of them loses nothing.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.model import DiffusionModel
from diffaug.train.recipe import TrainRecipe

__all__ = ["begin", "read_state", "write_checkpoint"]


def begin(checkpoint: Path, recipe: TrainRecipe, resume: bool) -> None:
    """Make the folder of a training, or see that it is this recipe's.

    Raises:
        ConfigError: another training is there, or this one and `resume` is not set.
    """
    frozen = checkpoint / "training/recipe.yaml"
    if not frozen.exists():
        if (checkpoint / "model_index.json").exists():
            raise ConfigError(f"{checkpoint} holds a model already: choose another CHECKPOINT")
        frozen.parent.mkdir(parents=True, exist_ok=True)
        recipe.to_yaml(frozen)
        return
    before = TrainRecipe.from_yaml(frozen)
    for name in TrainRecipe.model_fields:
        was, now = getattr(before, name), getattr(recipe, name)
        if was != now:
            raise ConfigError(
                f"{checkpoint} holds a training with another recipe: {name} is {was!r} there and "
                f"{now!r} here; choose another CHECKPOINT"
            )
    if not resume:
        raise ConfigError(
            f"{checkpoint} holds this training already: go on with --resume, or choose another "
            "CHECKPOINT"
        )


def read_state(checkpoint: Path) -> dict[str, Any] | None:
    """What `write_checkpoint` was last given; None when nothing has been written yet."""
    path = checkpoint / "training/state.pt"
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read ({error}): choose another CHECKPOINT") from error
    return state


def write_checkpoint(checkpoint: Path, state: dict[str, Any], averaged: DiffusionModel) -> None:
    """Write the state, then the averaged weights as a diffusers folder, each file atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    storage.replace(buffer.getvalue(), str(checkpoint / "training/state.pt"))
    lines = [json.dumps(skipped, ensure_ascii=False) + "\n" for skipped in state["skipped"]]
    storage.replace("".join(lines).encode(), str(checkpoint / "training/skipped.jsonl"))
    with storage.scratch(str(checkpoint)) as folder:
        averaged.save_pretrained(folder, _readme(state))
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix]
        # the index comes last: without it the folder is no model
        for path in sorted(files, key=lambda path: path.name == "model_index.json"):
            target = checkpoint / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def _readme(state: dict[str, Any]) -> str:
    return (
        f"# A denoiser trained by diffaug\n\n{state['step']} steps, {state['images']} images; the "
        "recipe is `training/recipe.yaml`.\n"
    )
