"""`diffaug train`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from diffaug import storage
from diffaug.cli.app import OK, app, err, out
from diffaug.cli.flags import Flags
from diffaug.cli.folders import packed
from diffaug.cli.progress import Pace, counted
from diffaug.cli.steps import advise, beside, command
from diffaug.errors import ConfigError, require_extra
from diffaug.train.recipe import OF_CLASSES, OF_DENOISERS, LoopRecipe, TrainRecipe

if TYPE_CHECKING:
    from diffaug.train.loop import Step

__all__ = ["follow", "train"]

_PRINT_EVERY = 100
"""Steps between two lines on standard error if there is no live line."""


class RecipeFlags(Flags, of=TrainRecipe):
    """The flags of a training recipe."""


_NONE_GIVEN = RecipeFlags()


@app.command(usage="diffaug train SOURCE... CHECKPOINT [OPTIONS]")
def train(
    *paths: Annotated[str, Parameter(name="SOURCE... CHECKPOINT", show_default=False)],
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

    if dry_run and resume:
        raise ConfigError("--dry-run does nothing with --resume: leave one of them out")

    from diffaug.models.classes import trained_classes
    from diffaug.train.forecast import forecast
    from diffaug.train.loop import train as start

    shards, _ = packed(checkpoint, sources, held_back or [], max_pixels=made.max_pixels)
    if made.class_count:
        first, is_folder = storage.expand(shards[0])[0], shards[0][0] != sources[0]
        classes = trained_classes(made.classes, first, is_folder=is_folder)
        made = made.model_copy(update={"classes": classes})
    if dry_run:
        out.print(str(forecast(shards[0], made, device=device, dtype=dtype)))
        advise("next: the same command without --dry-run")
        return OK
    steps_made = start(
        shards[0],
        checkpoint,
        made,
        device=device,
        dtype=dtype,
        resume=resume,
        checkpoint_minutes=checkpoint_minutes,
        preview_steps=preview_steps,
        held_back=shards[1],
    )
    measure = ("loss", "noise loss {:.5f}") if is_denoiser else ("psnr", "PSNR {:.2f} dB")
    follow(steps_made, made, checkpoint, *measure)
    if is_denoiser:
        use = [*sources, beside(sources, "augmented"), "--model", checkpoint]
        advise(f"next: {command('augment', *use)}")
    else:
        use = [*sources, beside(sources, "model"), "--autoencoder", checkpoint]
        advise(f"next: {command('train', *use)}")
    return OK


def follow(
    steps_made: Iterable[Step], made: LoopRecipe, checkpoint: str, name: str, measure: str
) -> None:
    """Make the steps of a training, and show how far it is.

    Args:
        steps_made: makes them.
        made: its recipe.
        checkpoint: its folder.
        name: of what is measured on held-out images, in the log.
        measure: the same for people, with a place for the number.
    """
    pace, last = Pace(), None
    watched = counted(
        steps_made, made.steps, "training steps", err, pace, done=lambda step: step.step
    )
    for last in watched:
        pace.add(last)
        for skipped in last.newly_skipped:
            err.print(f"skipped {skipped}")
        if last.held_back is not None:
            line = f"step {last.step}: held-out {measure.format(last.held_back)}"
            err.print(line, "held_back", step=last.step, **{name: last.held_back})
        if not err.is_live and (last.step % _PRINT_EVERY == 0 or last.step == made.steps):
            left = pace.left((made.steps - last.step) * made.batch_size)
            err.print(f"step {last.step} of {made.steps}: {pace}  {left} left")
    if last is None:
        out.print(f"{checkpoint} is already trained: {made.steps} steps")
    else:
        out.print(f"{last.step} steps, {last.images} images, {last.skipped} skipped; {pace}")
