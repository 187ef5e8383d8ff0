"""The task of distilling a model: a student that starts as its teacher, on pictures or latents."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import Checkpoint, find_checkpoint, load_model, read_denoiser, write_card
from diffaug.models.families import latent_unet2d
from diffaug.models.module import DiffusionModel
from diffaug.recipe.checks import interval_of
from diffaug.train.denoising import DenoiserTask
from diffaug.train.distill_recipe import DistillRecipe
from diffaug.train.distilling import Consistency, Distillation, Progressive, Teacher
from diffaug.train.held_back import held_out
from diffaug.train.latents import Latents
from diffaug.train.preview import edit_grid
from diffaug.train.recipe import PictureRecipe

__all__ = ["StudentTask", "settled"]

_MEASURED = 256
"""How many held-out images the student is measured on at most."""

_SUGGESTED = 0.3
"""The strength that a card suggests, or the nearest that was taught."""

_STEPS = 20
"""Calls of a whole trajectory that a card suggests: from a strength of 0.1 on, the two that a
distilled model makes at most."""

_TRAINED = ("DDPMPipeline", "DDIMPipeline", "LDMPipeline")


def settled(recipe: DistillRecipe, dtype: str | None, device: str | None) -> DistillRecipe:
    """The recipe with what its teacher determines.

    Raises:
        ConfigError: there is no such model, or it cannot be distilled, or it is another than the
            training began with.
    """
    checkpoint = find_checkpoint(recipe.teacher)
    if checkpoint.pipeline not in _TRAINED:
        raise ConfigError(
            f"teacher {recipe.teacher}: {checkpoint.pipeline} cannot be distilled here; only "
            f"{', '.join(_TRAINED)} can"
        )
    if recipe.teacher_digest not in (None, checkpoint.digest):
        raise ConfigError(
            f"teacher: the weights of {recipe.teacher} are not those that this training began with "
            f"({checkpoint.digest[:8]} here, {str(recipe.teacher_digest)[:8]} there)"
        )
    if checkpoint.card is not None and checkpoint.card.taught is not None:
        raise ConfigError(
            f"teacher {recipe.teacher}: it is a student itself, taught at few times: give its "
            "teacher"
        )
    if checkpoint.frames is not None:
        raise ConfigError(f"teacher {recipe.teacher}: it takes clips, and students take pictures")
    model = load_model(checkpoint, Execution.choose(recipe.batch_size, dtype, device))
    denoiser, (channels, height, width) = model.denoiser, model.shape
    if height != width:
        raise ConfigError(f"teacher {recipe.teacher}: only square models can be trained")
    if recipe.guidance != 1 and (not denoiser.classes or denoiser.null_class is None):
        raise ConfigError(
            f"guidance: {recipe.teacher} knows no class to guide towards, or none that means no "
            "class: leave it out"
        )
    if denoiser.requires_class:
        raise ConfigError(
            f"teacher {recipe.teacher}: it requires a class for every image, since its card names "
            "no null_class, and a student is shown some without: give another"
        )
    names = checkpoint.card.classes if checkpoint.card else ()
    named = len(names) == denoiser.classes
    update = {
        "teacher_digest": checkpoint.digest,
        "size": height,
        "channels": channels,
        "classes": tuple(names) if named and names else denoiser.classes,
    }
    for name in ("size", "channels", "classes"):
        given = getattr(recipe, name)
        if given not in (type(recipe).model_fields[name].default, update[name]):
            raise ConfigError(
                f"{name}: the teacher determines it ({update[name]!r}), got {given!r}: leave it out"
            )
    return recipe.model_copy(update=update)


class StudentTask(DenoiserTask):
    """See `task.Task`.

    Args:
        recipe: settled by `settled`.
        execution: device and dtype.
        held_back: shards of held-out images, or None.

    Attributes:
        objective: what is taught.

    Raises:
        ConfigError: no held-out image is usable.
        OSError: a shard cannot be read.
    """

    def __init__(
        self, recipe: DistillRecipe, execution: Execution, held_back: list[str] | None = None
    ) -> None:
        checkpoint = find_checkpoint(recipe.teacher)
        teacher, latents = load_model(checkpoint, execution).denoiser, None
        if checkpoint.pipeline == "LDMPipeline":
            vae = latent_unet2d.read_autoencoder(recipe.teacher, checkpoint.part("vqvae"))
            latents = Latents(vae, recipe.shape, execution, keep=not recipe.crop)
        total = teacher.schedule.num_train_timesteps
        gap = max(1, round(total / recipe.teacher_steps))
        kind = Consistency if recipe.objective == "consistency" else Progressive
        imitated = Teacher(teacher, recipe.guidance, gap)
        dropout = 0.0 if teacher.null_class is None else recipe.class_dropout
        self.objective: Distillation = kind(imitated, recipe.span(total), dropout)
        model = DiffusionModel(_student(checkpoint), recipe.class_names)
        super().__init__(model, self.objective, recipe, execution, latents)
        self._recipe = recipe
        self._fidelity = None
        if held_back:
            self._fidelity = _Fidelity(held_back, recipe, self, execution)

    def measured(self) -> float | None:
        """How near the student's way ends to its teacher's, on held-out images, in dB."""
        if self._fidelity is None:
            return None
        with self.trainer.autocast:
            return self._fidelity.agreement(self.trainer.ema_model)

    def preview(self, shown: NDArray[np.float32], folder: Path, stem: str) -> None:
        """Draw the edits of some training images."""
        model, (first, last) = self.trainer.ema_model, self.objective.span
        low, high = interval_of(self._recipe.strength)
        strengths = [round(low + (high - low) * part, 3) for part in (0.25, 0.5, 0.75, 1.0)]
        edit = partial(
            model.edit,
            steps=_STEPS,
            sampler="ddim",
            grid=tuple(range(first, last + 1)),
        )
        path = folder / f"reconstructions-{stem}.png"
        edit_grid(edit, shown, path, self._latents, strengths)

    def save(self, folder: Path, trained: str) -> None:
        """Write the averaged weights as a folder of diffusers, whose card says what was taught."""
        super().save(folder, trained)
        recipe, model, (low, high) = self._recipe, self.trainer.ema_model, self.objective.span
        taught = {
            "teacher": recipe.teacher,
            "teacher_digest": recipe.teacher_digest,
            "objective": recipe.objective,
            "guidance": recipe.guidance,
            "times": f"{low}:{high}",
        }
        last = model.denoiser.schedule.num_train_timesteps - 1
        nearest = min(max(_SUGGESTED, low / last), high / last)
        suggested = {"strength": round(nearest, 3), "steps": _STEPS, "sampler": "ddim"}
        readme = (
            f"# A student of {recipe.teacher}, made by diffaug\n\n{trained}\nIt was taught the "
            f"strengths {recipe.strength} by {recipe.objective} distillation.\n"
        )
        card = {"taught": taught, "suggested": suggested}
        write_card(folder, model.class_names, model.denoiser.null_class, readme, card)


def _student(checkpoint: Checkpoint) -> Any:
    """The teacher's network once more, to be trained."""
    read = latent_unet2d.read if checkpoint.pipeline == "LDMPipeline" else read_denoiser
    return read(checkpoint, "cpu", "float32")


class _Fidelity:
    """Held-out images, noised once, and where the teacher's way from there ends."""

    def __init__(
        self, shards: list[str], recipe: PictureRecipe, task: StudentTask, execution: Execution
    ) -> None:
        x_0, labels = held_out(shards, recipe)
        x_0 = torch.from_numpy(task.inputs(x_0[:_MEASURED].numpy())).to(execution.device)
        self._task, self._batch = task, recipe.batch_size
        self._time = sum(task.objective.span) // 2
        self._classes = labels[:_MEASURED].to(execution.device)
        teacher = task.objective.teacher
        noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(recipe.seed))
        times = torch.full((len(x_0),), self._time, device=x_0.device)
        self._x_t = teacher.denoiser.schedule.add_noise(x_0, times, noise.to(x_0.device))
        ends = []
        for x_t, classes in self._parts():
            now = torch.full((len(x_t),), self._time, device=x_t.device)
            ends.append(teacher.arrive(x_t, now, classes))
        self._end = torch.cat(ends)

    def agreement(self, model: DiffusionModel) -> float:
        """The power of the teacher's result over that of the difference to it of what one call of
        the student makes, in dB."""
        with torch.no_grad():
            found = [
                model.denoiser(x_t, torch.full((len(x_t),), self._time, device=x_t.device), classes)
                for x_t, classes in self._parts()
            ]
        error = (torch.cat(found) - self._end).square().mean()
        return 10 * math.log10(float(self._end.square().mean() / error.clamp(min=1e-12)))

    def _parts(self) -> list[tuple[Tensor, Tensor]]:
        places = range(0, len(self._x_t), self._batch)
        return [
            (self._x_t[n : n + self._batch], self._classes[n : n + self._batch]) for n in places
        ]
