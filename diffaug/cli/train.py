"""`diffaug train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from diffaug import storage
from diffaug.cli.app import OK, app
from diffaug.cli.flags import Flags
from diffaug.cli.folders import packed
from diffaug.cli.steps import advise, beside, command
from diffaug.cli.training import carry_out, refuse_dry_resume
from diffaug.errors import ConfigError, require_extra
from diffaug.train.recipe import OF_CLASSES, OF_DENOISERS, TrainRecipe
from diffaug.train.text_recipe import OF_TEXTS, TextRecipe, is_of_texts

__all__ = ["train"]


class RecipeFlags(Flags, of=TrainRecipe):
    """The flags of a training recipe."""


class TextFlags(Flags, of=TextRecipe, only=OF_TEXTS, group="Texts (with --medium text)"):
    """The flags of a training recipe that are about texts."""


_NONE_GIVEN, _NO_TEXT = RecipeFlags(), TextFlags()


@app.command(usage="diffaug train SOURCE... CHECKPOINT [OPTIONS]")
def train(
    *paths: Annotated[str, Parameter(name="SOURCE... CHECKPOINT", show_default=False)],
    recipe: Path | None = None,
    flags: RecipeFlags = _NONE_GIVEN,
    text_flags: TextFlags = _NO_TEXT,
    medium: Literal["image", "text"] | None = None,
    held_back: Annotated[list[str] | None, Parameter(negative=())] = None,
    dtype: str | None = None,
    device: str | None = None,
    checkpoint_minutes: float = 10,
    preview_steps: int = 1000,
    resume: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Train a denoiser on shards; CHECKPOINT is then what --model takes.

    With --kind autoencoder, train an autoencoder; CHECKPOINT is then what --autoencoder takes.

    Parameters
    ----------
    paths
        one or more shards (files, globs, brace ranges or lists, on any fsspec URL) or folders of
        pictures or of class folders, which are packed into CHECKPOINT-source first; then a local
        folder for the checkpoint
    recipe
        YAML file of recipe fields
    medium
        text: train a masked language model, which diffaug augment edits texts with [default: that
        of the recipe, else image]
    held_back
        shards or folders of held-out images, not in SOURCE; every preview reports the noise loss on
        them (of an autoencoder, the PSNR)
    dtype
        float32, or bfloat16 for autocast [default: the faster one on this machine]
    device
        cpu, cuda or cuda:N [default: cuda if available]
    checkpoint_minutes
        minutes between two checkpoints; one is always written at the end
    preview_steps
        steps between two grids of samples and reconstructions
    resume
        continue the training in CHECKPOINT, if there is one, as if it had not stopped
    dry_run
        make a few steps, discard them, and print how long the whole training will take; only
        folders among the sources are packed
    """
    if len(paths) < 2:
        raise ConfigError("train requires SOURCE... CHECKPOINT: at least one shard, then a folder")
    require_extra("train", "train", "tensorboardX", "webdataset")
    *sources, checkpoint = paths
    fields = flags.given()
    if medium == "text" or (medium is None and recipe and is_of_texts(recipe)):
        return _train_texts(
            recipe,
            fields | text_flags.given(),
            sources,
            checkpoint,
            held_back=held_back or [],
            dtype=dtype,
            device=device,
            checkpoint_minutes=checkpoint_minutes,
            preview_steps=preview_steps,
            resume=resume,
            dry_run=dry_run,
        )
    if others := [*text_flags.given()]:
        flag = others[0].replace("_", "-")
        raise ConfigError(f"--{flag} is for texts: give --medium text, or leave it out")
    made = TrainRecipe.from_yaml(recipe, **fields) if recipe else TrainRecipe.of(fields)
    is_denoiser = made.kind == "denoiser"
    if unused := [name for name in OF_DENOISERS if name in fields] if not is_denoiser else []:
        flag = unused[0].replace("_", "-")
        raise ConfigError(f"--{flag} does nothing with --kind autoencoder: leave one of them out")
    if not made.class_count and not resume:
        for name in OF_CLASSES:
            if name in fields:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} does nothing without --classes: give both or neither")

    refuse_dry_resume(dry_run, resume)

    from diffaug.models.classes import trained_classes

    shards, _ = packed(checkpoint, sources, held_back or [], max_pixels=made.max_pixels)
    if made.class_count:
        first, is_folder = storage.expand(shards[0])[0], shards[0][0] != sources[0]
        classes = trained_classes(made.classes, first, is_folder=is_folder)
        made = made.model_copy(update={"classes": classes})
    measure = ("loss", "noise loss {:.5f}") if is_denoiser else ("psnr", "PSNR {:.2f} dB")
    is_trained = carry_out(
        made,
        shards,
        checkpoint,
        *measure,
        dry_run=dry_run,
        dtype=dtype,
        device=device,
        resume=resume,
        checkpoint_minutes=checkpoint_minutes,
        preview_steps=preview_steps,
    )
    if not is_trained:
        return OK
    if is_denoiser:
        use = [*sources, beside(sources, "augmented"), "--model", checkpoint]
        advise(f"next: {command('augment', *use)}")
    else:
        use = [*sources, beside(sources, "model"), "--autoencoder", checkpoint]
        advise(f"next: {command('train', *use)}")
    return OK


def _train_texts(
    recipe: Path | None,
    fields: dict[str, Any],
    sources: list[str],
    checkpoint: str,
    *,
    held_back: list[str],
    dry_run: bool,
    resume: bool,
    **options: Any,
) -> int:
    """`diffaug train --medium text`."""
    for name in fields:
        if name not in TextRecipe.model_fields:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is for images: leave it out with --medium text")
    made = TextRecipe.from_yaml(recipe, **fields) if recipe else TextRecipe.of(fields)
    refuse_dry_resume(dry_run, resume)
    is_trained = carry_out(
        made,
        [sources, held_back],
        checkpoint,
        "loss",
        "loss {:.4f} nats a token",
        dry_run=dry_run,
        resume=resume,
        **options,
    )
    if is_trained:
        use = [*sources, beside(sources, "augmented"), "--model", checkpoint]
        advise(f"next: {command('augment', *use)}")
    return OK
