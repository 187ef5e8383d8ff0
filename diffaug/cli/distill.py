"""`diffaug distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diffaug.cli.app import OK, app
from diffaug.cli.flags import Flags
from diffaug.cli.folders import packed
from diffaug.cli.steps import advise, beside, command
from diffaug.cli.training import carry_out, refuse_dry_resume
from diffaug.errors import ConfigError, require_extra
from diffaug.train.distill_recipe import DistillRecipe

__all__ = ["distill"]

_NO_FLAGS = ("teacher", *DistillRecipe.settled)
_FIELDS = [name for name in DistillRecipe.model_fields if name not in _NO_FLAGS]


class RecipeFlags(Flags, of=DistillRecipe, only=_FIELDS):
    """The flags of a distillation recipe."""


_NONE_GIVEN = RecipeFlags()


@app.command(usage="diffaug distill TEACHER SOURCE... CHECKPOINT [OPTIONS]")
def distill(
    *paths: Annotated[str, Parameter(name="TEACHER SOURCE... CHECKPOINT", show_default=False)],
    recipe: Path | None = None,
    flags: RecipeFlags = _NONE_GIVEN,
    held_back: Annotated[list[str] | None, Parameter(negative=())] = None,
    dtype: str | None = None,
    device: str | None = None,
    checkpoint_minutes: float = 10,
    preview_steps: int = 1000,
    resume: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Teach a copy of a model to do in few calls what it does in many, guidance included.

    CHECKPOINT is then what --model takes.

    Parameters
    ----------
    paths
        the model to distil, as --model takes it; one or more shards (files, globs, brace ranges or
        lists, on any fsspec URL) or folders of pictures or of class folders, which are packed into
        CHECKPOINT-source first; then a local folder for the checkpoint
    recipe
        YAML file of recipe fields
    held_back
        shards or folders of held-out images, not in SOURCE; every preview reports how near the
        student's results are to its teacher's on them, in dB
    dtype
        float32, or bfloat16 for autocast [default: the faster one on this machine]
    device
        cpu, cuda or cuda:N [default: cuda if available]
    checkpoint_minutes
        minutes between two checkpoints; one is always written at the end
    preview_steps
        steps between two grids of edits
    resume
        continue the training in CHECKPOINT, if there is one, as if it had not stopped
    dry_run
        make a few steps, discard them, and print how long the whole training will take; only
        folders among the sources are packed
    """
    if len(paths) < 3:
        raise ConfigError(
            "distill requires TEACHER SOURCE... CHECKPOINT: a model, at least one shard, then a "
            "folder"
        )
    require_extra("distill", "train", "tensorboardX", "webdataset")
    teacher, *sources, checkpoint = paths
    fields = flags.given() | {"teacher": teacher}
    made = DistillRecipe.from_yaml(recipe, **fields) if recipe else DistillRecipe.of(fields)
    refuse_dry_resume(dry_run, resume)
    shards, _ = packed(checkpoint, sources, held_back or [], max_pixels=made.max_pixels)
    is_trained = carry_out(
        made,
        shards,
        checkpoint,
        "agreement",
        "agreement with the teacher {:.2f} dB",
        dry_run=dry_run,
        dtype=dtype,
        device=device,
        resume=resume,
        checkpoint_minutes=checkpoint_minutes,
        preview_steps=preview_steps,
    )
    if not is_trained:
        return OK
    use = [*sources, beside(sources, "augmented"), "--model", checkpoint]
    advise(f"next: {command('augment', *use)}")
    return OK
