"""The optimizer's side of a training: model, average of its weights, and steps; no files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from diffaug.errors import DiffaugError
from diffaug.execution import Execution
from diffaug.train.data import Batch
from diffaug.train.objective import Objective
from diffaug.train.recipe import LoopRecipe

__all__ = ["Advance", "NotFiniteError", "Trainer"]

M = TypeVar("M", bound=nn.Module)


class NotFiniteError(DiffaugError, ArithmeticError):
    """A loss, a gradient or a weight is not finite."""


@dataclass(frozen=True, slots=True)
class Advance:
    """One step: loss before it, gradient norm before clipping, and learning rate."""

    loss: float
    grad_norm: float
    learning_rate: float


class Trainer(Generic[M]):
    """A model in training, and the exponential average of its weights.

    Randomness in step k is a function of (seed, k), so the state holds no generator's state.

    Args:
        model: the network to train, in the mode for inference.
        recipe: optimizer and seed.
        execution: device and dtype.
        objective: what each step minimises.

    Attributes:
        step: number of steps made.
        autocast: the context in which the network is called, in the training's dtype.
    """

    def __init__(
        self, model: M, recipe: LoopRecipe, execution: Execution, objective: Objective[M]
    ) -> None:
        self.step = 0
        self._objective = objective
        self._recipe = recipe
        self._device = torch.device(execution.device)
        self._model = model.to(self._device)
        self._averaged = AveragedModel(self._model, multi_avg_fn=_averaging(recipe.ema_decay))
        self._averaged.eval().requires_grad_(False)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.autocast = torch.autocast(
            self._device.type, torch.bfloat16, enabled=execution.dtype == "bfloat16"
        )

    @property
    def ema_model(self) -> M:
        """The model with the averaged weights."""
        return cast(M, self._averaged.module)

    def advance(self, batch: Batch) -> Advance:
        """Make one step.

        Raises:
            NotFiniteError: the loss or its gradient is not finite; no step was made.
        """
        recipe = self._recipe
        learning_rate = recipe.learning_rate * _lr_factor(self.step, recipe)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        x_0, labels = torch.from_numpy(batch.x_0).to(self._device), torch.from_numpy(batch.labels)
        self._model.train()
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(_seed(recipe, self.step))
            with self.autocast:
                loss = self._objective.loss(self._model, x_0, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), recipe.clip_norm)
        made = Advance(loss.item(), norm.item(), learning_rate)
        if not math.isfinite(made.loss) or not math.isfinite(made.grad_norm):
            raise NotFiniteError(f"the loss is {made.loss:g}, its gradient norm {norm:g}")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._averaged.update_parameters(self._model)
        self.step += 1
        return made

    def begin_with(self, weights: dict[str, Tensor]) -> None:
        """Start from the weights of a model.

        Raises:
            RuntimeError: they are of another network; torch lists how they differ.
        """
        for model in (self._model, self.ema_model):
            model.load_state_dict(weights)

    def check(self) -> None:
        """Check that the averaged weights can be saved.

        Raises:
            NotFiniteError: a weight is not finite.
        """
        for name, weight in self._averaged.named_parameters():
            if not torch.isfinite(weight).all():
                raise NotFiniteError(f"the weight {name.removeprefix('module.')} is not finite")

    def state_dict(self) -> dict[str, Any]:
        """The state from which `load_state_dict` continues, bit for bit."""
        return {
            "step": self.step,
            "model": self._model.state_dict(),
            "averaged": self._averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from where `state` was taken."""
        self.step = state["step"]
        self._model.load_state_dict(state["model"])
        self._averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])


def _averaging(decay: float) -> Any:
    """Exponential averaging whose decay grows as (1 + n) / (10 + n) up to `decay`."""

    def average(averaged: Any, current: Any, count: Tensor) -> None:
        n = int(count)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return average


def _lr_factor(step: int, recipe: LoopRecipe) -> float:
    """Factor on the learning rate at a step: linear warm-up, then a half cosine to 0."""
    warmup = min(recipe.warmup_steps, recipe.steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (recipe.steps - warmup)))


def _seed(recipe: LoopRecipe, step: int) -> int:
    """The seed of one step."""
    entropy = np.random.SeedSequence([recipe.seed, step + 1])
    return int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))
