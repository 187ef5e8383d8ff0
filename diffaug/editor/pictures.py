"""Editing pictures and clips: noised, and denoised by the sampler's steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.frames import clip_noise, correlation_of, frame_by_frame
from diffaug.diffusion.guidance import reused_calls
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.samplers import timesteps, trajectory
from diffaug.diffusion.steps import Steps
from diffaug.editor.draft import Draft, Finish, Source, sample_id
from diffaug.editor.editor import Editor
from diffaug.errors import DefectError
from diffaug.execution import Execution
from diffaug.media import picture_medium_of
from diffaug.models import Checkpoint, load_model
from diffaug.models.pretrained import Pretrained
from diffaug.models.unfit import refuse_unfit
from diffaug.pictures.medium import FittedPicture, PictureMedium, Value
from diffaug.recipe import Recipe
from diffaug.shards.stream import Sample

__all__ = ["PictureEditor"]


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """What the copies of a picture share.

    Attributes:
        fit: how results return to the picture's size.
        x_0: the picture in the model's shape, or the frames of a clip.
        mask: where it may change, in the model's shape.
        pixels: the digest of the picture.
    """

    fit: FittedPicture[Value]
    x_0: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    pixels: str


class PictureEditor(Editor):
    """An `Editor` of pictures, and of clips of them.

    Raises:
        ConfigError: the recipe asks for what the model cannot do.
    """

    medium: PictureMedium[Value]
    model: Pretrained

    def __init__(self, recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> None:
        super().__init__(recipe, checkpoint, execution)
        self.medium = picture_medium_of(recipe)
        self.model = load_model(checkpoint, execution)
        refuse_unfit(recipe, self.model)

    @property
    def device(self) -> torch.device:
        """See `Editor`."""
        return self.model.denoiser.device

    @property
    def classes(self) -> int:
        """See `Editor`."""
        return self.model.denoiser.classes

    def read(self, sample: Sample) -> Source:
        """Decode a sample's picture and mask.

        A mask that cannot be used becomes the source's `defect`, so that the row still records the
        picture's size.

        Raises:
            DefectError: there is no picture that can be decoded.
        """
        source = super().read(sample)
        member = self.reading.mask(sample)
        if member is None:
            return source
        try:
            mask = self.medium.read_mask(member.data, self.recipe.max_pixels)
            return replace(source, mask=mask)
        except DefectError as defect:
            return replace(source, defect=defect)

    def steps(self) -> Steps[Any, Any]:
        """See `Editor`."""
        steps = self.model.steps(self.execution.batch_size)
        by_frame = self.recipe.medium == "clip" and self.model.frames is None
        return frame_by_frame(steps) if by_frame else steps

    def _ready(self, source: Source) -> _Ready:
        recipe, model, medium = self.recipe, self.model, self.medium
        fit = medium.fit(
            source.image, model.shape, recipe.fit, recipe.result, recipe.detail, source.transparency
        )
        medium.refuse_length(source.image, self._values_of_frame(), model.frames)
        x_0, pixels = fit.to_model(source.image), medium.digest(source.stored)
        if model.frames is not None:
            x_0 = x_0.reshape(-1, *x_0.shape[2:])
        mask = None
        if source.mask is not None:
            mask = fit.mask_to_model(source.mask).astype(np.bool_)
        return _Ready(fit, x_0, mask, pixels)

    def _draft(
        self, source: Source, ready: _Ready, copy: int, label: int | None, prompt: str | None
    ) -> Draft:
        recipe, denoiser = self.recipe, self.model.denoiser
        random = SampleRandom(recipe.seed, ready.pixels, copy)
        strength = self._strength(random)
        total = denoiser.schedule.num_train_timesteps
        times = timesteps(strength, recipe.steps, recipe.sampler, total, self.model.grid)
        way = trajectory(recipe.sampler, denoiser.schedule, times, recipe.eta)
        whole = self.model.frames is not None
        frames = None if whole else self.medium.frames(source.image)
        edit = Edit(
            x_0=ready.x_0,
            noise=self._noise(random, way.draws, frames),
            trajectory=way,
            condition=self.model.condition(label, prompt),
            mask=ready.mask,
            frames=frames,
        )
        detail, lossy = ready.fit.detail, recipe.format == "auto" and source.jpeg
        return Draft(
            edit=self._guided(edit),
            finish=Finish(source, ready.fit),
            sample_id=sample_id(
                self.recipe_digest, source, ready.pixels, copy, label, prompt, detail, lossy
            ),
            copy=copy,
            strength=strength,
            calls=way.calls,
            t_start=times[0],
            log_snr=denoiser.schedule.log_snr(times[0]),
            prompt=prompt,
        )

    def _values_of_frame(self) -> int:
        """How many values a clip's frame and its own noise have, at most."""
        recipe = self.recipe
        draws = recipe.steps if recipe.eta or recipe.sampler in ("ddpm", "lcm") else 0
        own = 0 if recipe.noise_time == "shared" else 1 + draws
        return math.prod(self.model.shape) * (1 + own)

    def _noise(self, random: SampleRandom, draws: int, frames: int | None) -> NDArray[np.float32]:
        shape = self.model.denoiser.shape
        if frames is None:
            return random.noise(shape, draws)
        correlation = correlation_of(str(self.recipe.noise_time))
        return clip_noise(random, shape, draws, frames, correlation)

    def _guided(self, edit: Edit) -> Edit:
        """The edit with its guidance: a scale for each call, or one that the network is given."""
        recipe, model = self.recipe, self.model
        if model.embed_guidance is not None:
            scale = model.embed_guidance(recipe.guidance)
            return replace(edit, condition=(*edit.condition, scale))
        if recipe.guidance == 1 or model.folded is not None:
            return edit
        away = model.condition(None, recipe.negative_prompt)
        scales, reused = self.guidance_at(edit.trajectory.timesteps)
        return replace(edit, away=away, scales=scales, reused=reused)

    def guidance_at(
        self, times: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """The guidance scale of calls at these times, and which of them reuse a difference."""
        last = self.model.denoiser.schedule.num_train_timesteps - 1
        scales = [self.recipe.scale_of(time / last) for time in times]
        return np.array(scales, np.float32), reused_calls(scales, self.recipe.guidance_every)
