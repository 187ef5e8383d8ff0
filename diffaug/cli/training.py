"""What `diffaug train` and `diffaug distill` share: the forecast, the training, its progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from diffaug.cli.app import err, out
from diffaug.cli.progress import Pace, counted
from diffaug.cli.steps import advise
from diffaug.errors import ConfigError
from diffaug.train.recipe import LoopRecipe

if TYPE_CHECKING:
    from diffaug.train.loop import Step

__all__ = ["carry_out", "refuse_dry_resume"]

_PRINT_EVERY = 100
"""Steps between two lines on standard error if there is no live line."""


def refuse_dry_resume(dry_run: bool, resume: bool) -> None:
    """Refuse --dry-run with --resume.

    Raises:
        ConfigError: both were given.
    """
    if dry_run and resume:
        raise ConfigError("--dry-run does nothing with --resume: leave one of them out")


def carry_out(
    made: LoopRecipe,
    shards: Sequence[list[str]],
    checkpoint: str,
    name: str,
    measure: str,
    *,
    dry_run: bool,
    dtype: str | None,
    device: str | None,
    **options: Any,
) -> bool:
    """Train, and show how far it is; with `dry_run`, print what it takes instead.

    Args:
        made: the recipe.
        shards: of the training, and the held-out ones.
        checkpoint: its folder.
        name: of what is measured on held-out images, in the log.
        measure: the same for people, with a place for the number.
        dry_run: whether to forecast only.
        dtype: as of `train.loop.train`, and so are the others.
        device: likewise.
        options: likewise.

    Returns:
        Whether it was carried out.
    """
    from diffaug.train.forecast import forecast
    from diffaug.train.loop import train

    source, held_back = shards
    if dry_run:
        out.print(str(forecast(source, made, device=device, dtype=dtype)))
        advise("next: the same command without --dry-run")
        return False
    options |= {"device": device, "dtype": dtype, "held_back": held_back}
    _follow(train(source, checkpoint, made, **options), made, checkpoint, name, measure)
    return True


def _follow(
    steps_made: Iterable[Step], made: LoopRecipe, checkpoint: str, name: str, measure: str
) -> None:
    """Make the steps, and show how far it is."""
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
