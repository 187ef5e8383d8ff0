"""The training loop: a generator that yields each step as it is made."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from diffaug import storage
from diffaug.errors import ConfigError, DivergedError
from diffaug.execution import Execution, device_class, versions
from diffaug.output.sources import source_shards
from diffaug.threads import ahead
from diffaug.train.data import NAMED, Batch, Position, Skipped, batches
from diffaug.train.events import Events
from diffaug.train.recipe import LoopRecipe, TrainRecipe
from diffaug.train.state import begin, check_folder, read_state, write_checkpoint
from diffaug.train.task import Task, prepare
from diffaug.train.trainer import Advance, NotFiniteError

__all__ = ["Step", "train"]

_log = logging.getLogger(__name__)

_BATCHES_AHEAD = 4
_PREVIEWED = 10
"""Number of images in the reconstruction grid: the first of the training's first batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a training.

    Attributes:
        step: number of steps made, from 1.
        loss: loss on this step's batch, before the step.
        learning_rate: learning rate of this step.
        grad_norm: norm of the gradient before clipping.
        images: number of images trained on so far.
        epoch: epoch of the data, from 0.
        skipped: number of unusable samples so far, counted again in every epoch.
        newly_skipped: those of them reported for the first time; at most a thousand in all.
        saved: whether a checkpoint was written after it.
        held_back: measure of the averaged weights on the held-out images after it: a denoiser's
            noise loss, an autoencoder's PSNR in dB; None if not measured.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    images: int
    epoch: int
    skipped: int
    newly_skipped: tuple[Skipped, ...]
    saved: bool
    held_back: float | None


def train(
    sources: str | list[str],
    checkpoint: str | Path,
    recipe: LoopRecipe | Mapping[str, Any],
    *,
    device: str | None = None,
    dtype: str | None = None,
    resume: bool = False,
    checkpoint_minutes: float = 10,
    preview_steps: int = 1000,
    held_back: list[str] | None = None,
) -> Iterator[Step]:
    """Train a denoiser, an autoencoder or a student, yielding each step as it is made.

    Randomness in step k is a function of (seed, k), and the order of the data one of (seed,
    position). So a resumed training continues as if it had not stopped, bit for bit on the same
    kind of CPU. (On CUDA, torch's backward passes are not deterministic by default.)

    Args:
        sources: shards: files, globs, brace ranges or lists, on any fsspec URL.
        checkpoint: a local folder (see `train.state`).
        recipe: what to train, and how: a `TrainRecipe` or a dict of its fields, or a
            `DistillRecipe`.
        device: cpu, cuda or cuda:N; None means cuda if available.
        dtype: float32, or bfloat16 for autocast; None means that of the resumed training, or the
            faster one on this machine.
        resume: continue the training in `checkpoint`, if there is one.
        checkpoint_minutes: minutes between two checkpoints; one is always written at the end.
        preview_steps: steps between two grids of samples and reconstructions.
        held_back: shards of held-out images, measured whenever the grids are made (see `Step`).

    Raises:
        ConfigError: an argument is invalid.
        DivergedError: the loss is not finite; the message names the last good checkpoint.
        OSError: a shard cannot be read, or the checkpoint cannot be written.
    """
    storage.refuse_root(str(checkpoint), "CHECKPOINT")
    if not isinstance(recipe, LoopRecipe):
        recipe = TrainRecipe.taken(recipe)
    if not storage.is_local(str(checkpoint)):
        raise ConfigError(f"CHECKPOINT must be a local folder, got {checkpoint}")
    if not checkpoint_minutes > 0 or preview_steps < 1:
        raise ConfigError("checkpoint_minutes and preview_steps must be more than 0")
    folder = Path(storage.tidy(str(checkpoint))).resolve()
    shards = sorted(source_shards(sources))
    check_folder(folder, recipe, resume)
    state = read_state(folder)
    recipe, execution, task = prepare(
        recipe,
        shards,
        None if state is None else folder,
        dtype=dtype or (state["dtype"] if state else None),
        device=device,
        held_back=source_shards(held_back) if held_back else None,
    )
    run = _Run(folder, recipe, execution, shards, task)
    begin(folder, recipe, resume)
    if state is not None:
        run.restore(state)
    return run.steps(60 * checkpoint_minutes, preview_steps)


class _Run:
    """A training in progress: its task, its counts, and its position in the data."""

    def __init__(
        self,
        folder: Path,
        recipe: LoopRecipe,
        execution: Execution,
        shards: list[str],
        task: Task,
    ) -> None:
        self._folder = folder
        self._recipe = recipe
        self._shards = shards
        self._task = task
        self._trainer = task.trainer
        self._dtype = execution.dtype
        self._made_by = versions() | {
            "webdataset": installed("webdataset"),
            "device": device_class(execution.device),
            "threads": str(torch.get_num_threads()),
        }
        self._saved = 0
        self._images = 0
        self._skips = 0
        self._skipped: dict[tuple[str, str | None], Skipped] = {}
        self._position = Position()
        self._shown: NDArray[Any] | None = None

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from where `state` was taken.

        Raises:
            ConfigError: its shards or its dtype differ.
        """
        here = {storage.identity(storage.public_url(shard)): shard for shard in self._shards}
        there = [storage.identity(shard) for shard in state["shards"]]
        if set(there) != set(here):
            raise ConfigError(
                f"{self._folder} holds a training on other shards ({len(state['shards'])} there, "
                f"{len(self._shards)} here): give the same SOURCE, or choose another CHECKPOINT"
            )
        if state["dtype"] != self._dtype:
            raise ConfigError(
                f"{self._folder} holds a training in {state['dtype']}: omit dtype, or choose "
                "another CHECKPOINT"
            )
        if state["made_by"] != self._made_by:
            _log.warning(
                "resumed on another kind of machine or with other versions (%s then, %s now): the "
                "training no longer continues bit for bit",
                state["made_by"],
                self._made_by,
            )
        self._shards = [here[shard] for shard in there]  # in that order, however they are spelled
        self._trainer.load_state_dict(state["trainer"])
        self._saved = self._trainer.step
        self._images, self._skips = state["images"], state["skips"]
        self._position = Position(**state["position"])
        skipped = [Skipped(**fields) for fields in state["skipped"]]
        self._skipped = {(one.shard, one.key): one for one in skipped}
        self._shown = state["shown"].numpy()

    def steps(self, seconds: float, preview_steps: int) -> Iterator[Step]:
        """Make the remaining steps."""
        recipe, trainer, last_saved = self._recipe, self._trainer, time.monotonic()
        if trainer.step == recipe.steps:
            return
        source = ahead(
            batches(self._shards, recipe, self._task.form, self._position), _BATCHES_AHEAD
        )
        with (
            contextlib.closing(source) as data,
            contextlib.closing(Events(self._folder / "training", trainer.step)) as events,
        ):
            for batch in data:
                advance = self._advance(batch)
                events.add(trainer.step, **asdict(advance))
                newly_skipped = self._count(batch)
                ended = trainer.step == recipe.steps
                saved = ended or time.monotonic() - last_saved >= seconds
                if saved:
                    self._save()
                    last_saved = time.monotonic()
                measured = None
                if ended or trainer.step % preview_steps == 0:
                    self._preview()
                    measured = self._task.measured()
                    if measured is not None:
                        events.add(trainer.step, held_back=measured)
                yield Step(
                    step=trainer.step,
                    **asdict(advance),
                    images=self._images,
                    epoch=self._position.epoch,
                    skipped=self._skips,
                    newly_skipped=newly_skipped,
                    saved=saved,
                    held_back=measured,
                )
                if ended:
                    return

    def _advance(self, batch: Batch) -> Advance:
        try:
            return self._trainer.advance(replace(batch, x_0=self._task.inputs(batch.x_0)))
        except NotFiniteError as error:
            raise self._diverged(error) from error

    def _count(self, batch: Batch) -> tuple[Skipped, ...]:
        """Update the counts after a step; return the skipped samples not reported before."""
        self._images += len(batch.x_0)
        self._position = batch.position
        self._skips += batch.skips
        new = [one for one in batch.skipped if (one.shard, one.key) not in self._skipped]
        new = new[: NAMED - len(self._skipped)]
        self._skipped |= {(one.shard, one.key): one for one in new}
        if self._shown is None:
            self._shown = batch.x_0[:_PREVIEWED]
        return tuple(new)

    def _diverged(self, error: NotFiniteError) -> DivergedError:
        kept = (
            f"the checkpoint of step {self._saved} in {self._folder} is the last good one"
            if self._saved
            else "no checkpoint was written yet"
        )
        return DivergedError(
            f"step {self._trainer.step + 1}: {error}: stopped; {kept}. Try a lower learning_rate "
            "or dtype float32, in another CHECKPOINT"
        )

    def _save(self) -> None:
        try:
            self._trainer.check()
        except NotFiniteError as error:
            raise self._diverged(error) from error
        assert self._shown is not None
        state = {
            "shards": self._public_shards(),
            "dtype": self._dtype,
            "made_by": self._made_by,
            "images": self._images,
            "skips": self._skips,
            "skipped": [asdict(one) for one in self._skipped.values()],
            "position": asdict(self._position),
            "shown": torch.from_numpy(self._shown),
            "trainer": self._trainer.state_dict(),
        }
        write_checkpoint(self._folder, state, self._task.save)
        self._saved = self._trainer.step

    def _preview(self) -> None:
        assert self._shown is not None
        self._task.preview(self._shown, self._folder / "training", f"{self._trainer.step:06d}")

    def _public_shards(self) -> list[str]:
        return [storage.public_url(shard) for shard in self._shards]
