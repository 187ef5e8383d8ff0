"""The training loop: a generator that yields what became of each step."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from diffaug import storage
from diffaug.errors import ConfigError, DivergedError
from diffaug.execution import Execution, device_class, versions
from diffaug.model import DiffusionModel
from diffaug.models import unet2d
from diffaug.schedule import Schedule
from diffaug.threads import ahead
from diffaug.train.data import Batch, Position, Skipped, batches, settle
from diffaug.train.events import Events
from diffaug.train.preview import reconstruction_grid, sample_grid
from diffaug.train.recipe import TrainRecipe
from diffaug.train.state import begin, read_state, write_checkpoint

__all__ = ["Step", "train"]

_log = logging.getLogger(__name__)

_BATCHES_AHEAD = 4
_PREVIEWED = 10
"""How many images the reconstruction grid shows: the first of the training's first batch."""
_NAMED = 1000
"""How many skipped samples are kept by name; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What became of one step.

    Attributes:
        step: how many have been made, from 1.
        loss: of this step's batch, before it.
        learning_rate: that it was made with.
        grad_norm: of the gradient before it was bounded.
        images: how many have been trained on.
        epoch: of the data, from 0.
        skipped: how many samples could not be used so far; one is counted in every epoch.
        newly_skipped: those met on the way to this step.
        saved: whether a checkpoint was written after it.
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


def train(
    sources: list[str],
    checkpoint: str | Path,
    recipe: TrainRecipe,
    *,
    device: str | None = None,
    dtype: str | None = None,
    resume: bool = False,
    checkpoint_minutes: float = 10,
    preview_steps: int = 1000,
) -> Iterator[Step]:
    """Train a denoiser on shards, yielding each step as it is made.

    Everything random in step k is a function of (seed, k), and the order of the data of (seed,
    position): so a training that is resumed goes on as if it had not stopped, bit for bit on a
    like machine.

    Args:
        sources: shards: files, globs, brace ranges or lists, on any fsspec URL.
        checkpoint: a local folder (see `train.state`).
        recipe: what to train, and how.
        device: cpu, cuda or cuda:N; cuda where there is one if None.
        dtype: float32, or bfloat16 for autocast; what the machine is fast at if None.
        resume: go on with the training in `checkpoint`, if there is one.
        checkpoint_minutes: how long between two checkpoints; one is always written at the end.
        preview_steps: how many steps between two grids of samples and reconstructions.

    Raises:
        ConfigError: a mistake in what was asked.
        DivergedError: the loss is no longer finite; the last good checkpoint is kept and named.
        OSError: a shard cannot be read.
    """
    folder = Path(checkpoint)
    shards = storage.expand(sources)
    recipe = settle(recipe, shards)
    execution = Execution.choose(recipe.batch_size, dtype, device)
    run = _Training(folder, recipe, execution)
    begin(folder, recipe, resume)
    run.restore(read_state(folder))
    return run.steps(shards, 60 * checkpoint_minutes, preview_steps)


class _Training:
    """A training as it stands: weights, optimizer, average, counts, and place in the data."""

    def __init__(self, folder: Path, recipe: TrainRecipe, execution: Execution) -> None:
        self._folder = folder
        self._recipe = recipe
        self._device = torch.device(execution.device)
        self._autocast = execution.dtype == "bfloat16"
        self._made_by = versions() | {"device": device_class(execution.device)}
        self._model = _new_model(recipe).to(self._device)
        self._averaged = AveragedModel(self._model, multi_avg_fn=_averaging(recipe.ema))
        self._averaged.eval().requires_grad_(False)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._step = 0
        self._saved = 0
        self._images = 0
        self._skips = 0
        self._skipped: dict[tuple[str, str | None], Skipped] = {}
        self._position = Position()
        self._shown: NDArray[np.float32] | None = None

    def restore(self, state: dict[str, Any] | None) -> None:
        """Stand where `state` was taken; where None, at the beginning."""
        if state is None:
            return
        if state["made_by"] != self._made_by:
            _log.warning(
                "resumed on another kind of machine or other versions (%s there, %s here): what "
                "follows is not bit for bit what it would have been",
                state["made_by"],
                self._made_by,
            )
        self._model.load_state_dict(state["model"])
        self._averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step = self._saved = state["step"]
        self._images, self._skips = state["images"], state["skips"]
        self._position = Position(**state["position"])
        skipped = [Skipped(**fields) for fields in state["skipped"]]
        self._skipped = {(one.shard, one.key): one for one in skipped}
        self._shown = state["shown"].numpy()

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        return {
            "step": self._step,
            "images": self._images,
            "skips": self._skips,
            "skipped": [asdict(one) for one in self._skipped.values()],
            "position": asdict(self._position),
            "shown": torch.from_numpy(self._shown),
            "model": self._model.state_dict(),
            "averaged": self._averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "made_by": self._made_by,
        }

    def steps(self, shards: list[str], seconds: float, preview_steps: int) -> Iterator[Step]:
        """Make the steps that are left."""
        recipe, last_saved = self._recipe, time.monotonic()
        if self._step == recipe.steps:
            return
        source = ahead(batches(shards, recipe, self._position), _BATCHES_AHEAD)
        with (
            contextlib.closing(source) as data,
            contextlib.closing(Events(self._folder / "training", self._step)) as events,
        ):
            for batch in data:
                loss, grad_norm, learning_rate = self._advance(batch)
                events.add(self._step, loss=loss, grad_norm=grad_norm, learning_rate=learning_rate)
                ended = self._step == recipe.steps
                saved = ended or time.monotonic() - last_saved >= seconds
                if ended or self._step % preview_steps == 0:
                    self._preview()
                if saved:
                    events.flush()
                    self._save()
                    last_saved = time.monotonic()
                yield Step(
                    step=self._step,
                    loss=loss,
                    learning_rate=learning_rate,
                    grad_norm=grad_norm,
                    images=self._images,
                    epoch=self._position.epoch,
                    skipped=self._skips,
                    newly_skipped=tuple(batch.skipped),
                    saved=saved,
                )
                if ended:
                    return

    def _advance(self, batch: Batch) -> tuple[float, float, float]:
        """One step of the optimizer: loss, norm of the gradient, learning rate."""
        recipe = self._recipe
        learning_rate = recipe.learning_rate * _pace(self._step, recipe)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        x_0 = torch.from_numpy(batch.x_0).to(self._device)
        labels = torch.from_numpy(batch.labels)
        self._model.train()
        with torch.random.fork_rng():
            torch.manual_seed(_seed(recipe, self._step))
            hidden = torch.rand(len(labels)) < recipe.class_dropout
            condition = labels.masked_fill(hidden, recipe.class_count).to(self._device)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
                loss: Tensor = self._model(x_0, condition, min_snr=recipe.min_snr).loss
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), recipe.clip_norm)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise self._diverged(loss.item(), norm.item())
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._averaged.update_parameters(self._model)
        self._count(batch)
        return loss.item(), norm.item(), learning_rate

    def _count(self, batch: Batch) -> None:
        self._step += 1
        self._images += len(batch.x_0)
        self._position = batch.position
        self._skips += len(batch.skipped)
        for skipped in batch.skipped:
            if len(self._skipped) < _NAMED:
                self._skipped.setdefault((skipped.shard, skipped.key), skipped)
        if self._shown is None:
            self._shown = batch.x_0[:_PREVIEWED]

    def _diverged(self, loss: float, norm: float) -> DivergedError:
        kept = (
            f"the checkpoint of step {self._saved} in {self._folder} is the last good one"
            if self._saved
            else "no checkpoint had been written yet"
        )
        return DivergedError(
            f"step {self._step + 1}: the loss is {loss:g} and its gradient's norm {norm:g}: "
            f"stopped; {kept}. Try a lower learning_rate or dtype float32, in another CHECKPOINT"
        )

    @property
    def _best(self) -> DiffusionModel:
        """The model with averaged weights."""
        assert isinstance(self._averaged.module, DiffusionModel)
        return self._averaged.module

    def _save(self) -> None:
        write_checkpoint(self._folder, self.state(), self._best)
        self._saved = self._step

    def _preview(self) -> None:
        averaged, folder = self._best, self._folder / "training"
        assert self._shown is not None
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            sample_grid(averaged, folder / f"samples-{self._step:06d}.png")
            reconstruction_grid(
                averaged, self._shown, folder / f"reconstructions-{self._step:06d}.png"
            )


def _new_model(recipe: TrainRecipe) -> DiffusionModel:
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        try:
            denoiser = unet2d.create(
                recipe.unet_config(),
                Schedule.from_config(recipe.schedule_config()),
                recipe.prediction_type,
                recipe.class_count,
            )
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(f"network: diffusers cannot build it: {error}") from error
    return DiffusionModel(denoiser, recipe.class_names)


def _averaging(decay: float) -> Any:
    """Exponential averaging whose decay grows as (1 + n) / (10 + n) until it is `decay`."""

    def average(averaged: Any, current: Any, count: Tensor) -> None:
        n = int(count)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return average


def _pace(step: int, recipe: TrainRecipe) -> float:
    """The share of the learning rate at a step: a linear warm-up, then half a cosine to 0."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    left = recipe.steps - recipe.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warmup) / left))


def _seed(recipe: TrainRecipe, step: int) -> int:
    """A seed of this step's own."""
    entropy = np.random.SeedSequence([recipe.seed, step + 1])
    return int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))
