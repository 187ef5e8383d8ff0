"""One image's edit: everything between a picture and the lanes, the same for every way in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.codec import Frame, pixel_sha256
from diffaug.denoiser import Denoiser
from diffaug.errors import ConfigError, DefectError
from diffaug.execution import Execution
from diffaug.lanes import Edit, Lanes
from diffaug.models import Checkpoint, load_denoiser
from diffaug.recipe import Recipe
from diffaug.rng import NOISE_VERSION, SampleRandom
from diffaug.schedule import timesteps
from diffaug.solvers import trajectory

__all__ = ["Draft", "Editor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One planned copy of a picture.

    Attributes:
        edit: what goes into the lanes.
        frame: how the result comes back to the picture's size.
        sample_id: hash of recipe digest, source pixels, copy, and the class where one conditions.
        copy: which copy.
        strength: in (0, 1].
        log_snr: at the time the copy starts from, in nats.
    """

    edit: Edit
    frame: Frame
    sample_id: str
    copy: int
    strength: float
    log_snr: float


class Editor:
    """A recipe bound to a loaded model: it plans edits and turns results back into pictures.

    Raises:
        ConfigError: the recipe asks for what the model cannot do.
    """

    def __init__(self, recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> None:
        self.recipe = recipe
        self.execution = execution
        self.denoiser: Denoiser = load_denoiser(checkpoint, execution)
        self.recipe_digest = recipe.digest(checkpoint.digest, NOISE_VERSION)
        if recipe.condition == "label" and not self.denoiser.classes:
            raise ConfigError(f"condition: model {recipe.model} takes no class; use condition=none")
        if (
            recipe.condition == "none"
            and self.denoiser.classes
            and self.denoiser.null_class is None
        ):
            raise ConfigError(
                f"condition: model {recipe.model} wants a class for every image and its card "
                "names no null_class; use condition=label"
            )

    def drafts(self, image: Image.Image, label: int | None, copies: Iterable[int]) -> list[Draft]:
        """Plan the copies of one picture (see `codec.picture`).

        Args:
            image: mode L or RGB, upright.
            label: its class, needed under `condition: label`.
            copies: which copies; a loader's epochs move them.

        Raises:
            DefectError: the picture cannot meet the model, or its label is missing or unknown.
        """
        condition = self._condition(label)
        frame = Frame.of(image, self.denoiser.shape, self.recipe.fit)
        x_0, pixels = frame.to_model(image), pixel_sha256(image)
        return [self._draft(x_0, frame, pixels, copy, condition) for copy in copies]

    def lanes(self) -> Lanes[Any]:
        """New lanes over the model, at the execution's batch size."""
        return Lanes(self.denoiser, self.execution.batch_size)

    def _condition(self, label: int | None) -> int | None:
        if self.recipe.condition == "none":
            return None
        if label is None:
            raise DefectError("no_label", "condition is label, and the sample has no integer class")
        if not 0 <= label < self.denoiser.classes:
            raise DefectError(
                "unknown_label",
                f"class {label} is not one of the model's {self.denoiser.classes} (0 to "
                f"{self.denoiser.classes - 1})",
            )
        return label

    def _draft(
        self,
        x_0: NDArray[np.float32],
        frame: Frame,
        pixels: str,
        copy: int,
        condition: int | None,
    ) -> Draft:
        recipe, schedule = self.recipe, self.denoiser.schedule
        random = SampleRandom(recipe.seed, pixels, copy)
        u = random.uniform() if recipe.draws_strength else 0.0
        strength = recipe.strength_of(copy, u)
        times = timesteps(strength, recipe.steps, recipe.sampler, schedule.num_train_timesteps)
        way = trajectory(recipe.sampler, schedule, times, recipe.eta)
        noise = random.noise(x_0.shape, way.draws)
        identity = [self.recipe_digest, pixels, str(copy)]
        if condition is not None:
            identity.append(str(condition))
        return Draft(
            edit=Edit(x_0=x_0, noise=noise, trajectory=way, condition=condition),
            frame=frame,
            sample_id=hashlib.sha256("|".join(identity).encode()).hexdigest()[:32],
            copy=copy,
            strength=strength,
            log_snr=schedule.log_snr(times[0]),
        )
