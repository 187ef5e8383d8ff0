"""A training on disk: the checkpoint to use, and the state to resume from.

CHECKPOINT/model_index.json, unet/, scheduler/, README.md   the averaged weights, for diffusers
CHECKPOINT/vqvae/                                           the autoencoder, if it works on latents
CHECKPOINT/config.json, diffusion_pytorch_model.safetensors instead, if it is an autoencoder
CHECKPOINT/config.json, model.safetensors, tokenizer.json   instead, if it is a language model
CHECKPOINT/training/recipe.yaml                             the recipe, with every field settled
CHECKPOINT/training/state.pt                                everything that --resume needs
CHECKPOINT/training/skipped.jsonl                           unusable samples
CHECKPOINT/training/samples-*.png, reconstructions-*.png    previews; reconstructions-*.txt of texts
CHECKPOINT/training/events.out.tfevents.*                   for TensorBoard

A checkpoint replaces each file atomically, the state last. So whenever a process is killed, the
rest can be written again from the state.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.train.recipe import LoopRecipe

__all__ = ["begin", "check_folder", "read_state", "write_checkpoint"]


def check_folder(checkpoint: Path, recipe: LoopRecipe, resume: bool) -> None:
    """Refuse a folder that `begin` would refuse, before anything slow is done for it.

    Args:
        checkpoint: the folder of a training.
        recipe: of the training; a size and channels that are not settled yet fit any.
        resume: whether to continue the training that the folder holds.

    Raises:
        ConfigError: the folder holds anything else, or it holds this training and `resume` is
            False.
    """
    frozen = _frozen(checkpoint)
    if not frozen.exists():
        with _writable(checkpoint):
            if checkpoint.exists() and any(checkpoint.iterdir()):
                raise ConfigError(
                    f"{checkpoint} is not empty and holds no training: choose another CHECKPOINT"
                )
        return
    before = type(recipe).from_yaml(frozen)
    for name in type(recipe).model_fields:
        was, now = getattr(before, name), getattr(recipe, name)
        is_unsettled = name in recipe.settled and now == _default(recipe, name)
        if was != now and not is_unsettled:
            raise ConfigError(
                f"{checkpoint} holds a training with another recipe: {name} is {was!r} there and "
                f"{now!r} here; choose another CHECKPOINT"
            )
    if not resume:
        raise ConfigError(
            f"{checkpoint} already holds this training: continue it with --resume, or choose "
            "another CHECKPOINT"
        )


def _default(recipe: LoopRecipe, name: str) -> Any:
    return type(recipe).model_fields[name].default


def begin(checkpoint: Path, recipe: LoopRecipe, resume: bool) -> None:
    """Create the folder of a training, or check an existing one and clear leftovers of a kill.

    Raises:
        ConfigError: see `check_folder`, which is given the settled recipe here.
    """
    check_folder(checkpoint, recipe, resume)
    frozen = _frozen(checkpoint)
    if not frozen.exists():
        with _writable(checkpoint):
            storage.replace(recipe.as_yaml().encode(), str(frozen))
        return
    for path, held in storage.leftovers(str(checkpoint)).items():
        if not held:
            shutil.rmtree(path, ignore_errors=True)


def _frozen(checkpoint: Path) -> Path:
    """The file of a training's recipe."""
    return checkpoint / "training/recipe.yaml"


@contextlib.contextmanager
def _writable(checkpoint: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write to {checkpoint}: {error.strerror}: choose another CHECKPOINT"
        ) from None


def read_state(checkpoint: Path) -> dict[str, Any] | None:
    """The state that `write_checkpoint` last wrote; None if there is none.

    Raises:
        ConfigError: the file is broken.
    """
    path = checkpoint / "training/state.pt"
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch can raise almost anything on corrupt bytes
        raise ConfigError(f"{path} cannot be read ({error}): choose another CHECKPOINT") from error
    return state


def write_checkpoint(
    checkpoint: Path, state: dict[str, Any], save: Callable[[Path, str], None]
) -> None:
    """Write the model as a diffusers folder, then the state, each file atomically.

    Args:
        checkpoint: the folder.
        state: what `read_state` returns.
        save: writes the model to a folder, given a sentence about its training.

    Raises:
        OSError: the folder cannot be written; what was there before is whole.
    """
    with storage.scratch(str(checkpoint)) as scratch:
        folder = scratch / "checkpoint"
        save(folder, _trained(state))
        training = folder / "training"
        training.mkdir()
        lines = [json.dumps(skipped, ensure_ascii=False) + "\n" for skipped in state["skipped"]]
        (training / "skipped.jsonl").write_text("".join(lines), encoding="utf-8")
        _save(state, training / "state.pt")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        # without its index the folder is not a model, so the index follows the model's other files
        for path in sorted(files, key=lambda path: _LAST.get(path.name, 0)):
            storage.publish(path, str(checkpoint / path.relative_to(folder)))


def _save(state: dict[str, Any], path: Path) -> None:
    with storage.writing(path), path.open("wb") as stream:  # by a stream torch tells the reason
        torch.save(state, stream)


_LAST = {"model_index.json": 1, "config.json": 1, "state.pt": 2}


def _trained(state: dict[str, Any]) -> str:
    return (
        f"{state['trainer']['step']} steps, {state['images']} images; the recipe is "
        "`training/recipe.yaml`.\n"
    )
