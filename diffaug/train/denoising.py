"""The task of training a denoiser, on pictures or on their latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffaug.diffusion.schedule import Schedule
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import find_checkpoint, read_denoiser, write_card
from diffaug.models.families import latent_unet2d, unet2d
from diffaug.models.families.saving import save
from diffaug.models.families.taef2 import LICENCE, TAEF2
from diffaug.models.module import DiffusionModel
from diffaug.train.held_back import HeldBack
from diffaug.train.latents import Latents
from diffaug.train.objective import Denoising, Objective
from diffaug.train.pictures import Pictures
from diffaug.train.preview import edit_grid, edits_of, sample_grid
from diffaug.train.recipe import PictureRecipe, TrainRecipe
from diffaug.train.trainer import Trainer

__all__ = ["DenoiserTask"]

_COPIED = """
`vqvae/` holds a copy of TAEF2 by Ollin Boer Bohan (https://github.com/madebyollin/taesd), under the
MIT licence in `vqvae/LICENSE`. diffusers loads it only where diffaug is installed.
"""


class DenoiserTask:
    """See `task.Task`.

    Args:
        model: what to train.
        objective: what each step minimises.
        recipe: of the training.
        execution: device and dtype.
        latents: of the pictures; None trains on the pictures themselves.
        held_back: shards of held-out images, or None.

    Raises:
        ConfigError: no held-out image is usable.
        OSError: a shard cannot be read.
    """

    def __init__(
        self,
        model: DiffusionModel,
        objective: Objective[DiffusionModel],
        recipe: PictureRecipe,
        execution: Execution,
        latents: Latents | None = None,
        held_back: list[str] | None = None,
    ) -> None:
        self._latents = latents
        self.form = Pictures(recipe)
        self.trainer = Trainer(model, recipe, execution, objective)
        encoded = self.inputs if latents else None
        self._held_back = HeldBack(held_back, recipe, encoded) if held_back else None

    @classmethod
    def new(
        cls,
        recipe: TrainRecipe,
        execution: Execution,
        latents: Latents | None = None,
        held_back: list[str] | None = None,
    ) -> DenoiserTask:
        """The task of a recipe, with an untrained network.

        Raises:
            ConfigError: diffusers cannot build or run the network, or no held-out image is usable.
            OSError: a shard cannot be read.
        """
        objective = Denoising(recipe.class_count, recipe.class_dropout, recipe.min_snr_gamma)
        return cls(_new(recipe, latents), objective, recipe, execution, latents, held_back)

    def inputs(self, x_0: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network is trained on: the pictures, or their latents."""
        return self._latents.encoded(x_0) if self._latents else x_0

    def begin_with(self, reference: str) -> None:
        """Start from the weights of a model; over latents, see also `latents.scale_as`.

        Raises:
            ConfigError: there is no such model, or its network differs.
        """
        checkpoint = find_checkpoint(reference)
        read = latent_unet2d.read if self._latents else read_denoiser
        denoiser = read(checkpoint, "cpu", "float32")
        try:
            self.trainer.begin_with(DiffusionModel(denoiser).state_dict())
        except RuntimeError as error:  # torch lists missing weights and shape mismatches
            raise ConfigError(
                f"init: the weights of {reference} do not fit this network: give the network, "
                "size, channels and classes that it was trained with"
            ) from error

    def measured(self) -> float | None:
        """The noise loss of the averaged weights on the held-out images, if there are any."""
        if self._held_back is None:
            return None
        with self.trainer.autocast:
            return self._held_back.noise_loss(self.trainer.ema_model)

    def preview(self, shown: NDArray[np.float32], folder: Path, stem: str) -> None:
        """Draw samples from noise, and the edits of some training images."""
        model = self.trainer.ema_model
        sample_grid(model, folder / f"samples-{stem}.png", self._latents)
        path = folder / f"reconstructions-{stem}.png"
        edit_grid(edits_of(model), shown, path, self._latents, frames=model.frames)

    def save(self, folder: Path, trained: str) -> None:
        """Write the averaged weights as a folder of diffusers."""
        model, readme = self.trainer.ema_model, f"# A denoiser trained by diffaug\n\n{trained}"
        if self._latents is None:
            model.save_pretrained(folder, readme)
            return
        vae = self._latents.vae
        save(model.denoiser, folder, vae)
        if isinstance(vae, TAEF2):
            (folder / "vqvae/LICENSE").write_bytes(LICENCE.read_bytes())
            readme += _COPIED
        write_card(folder, model.class_names, model.denoiser.null_class, readme)


def _new(recipe: TrainRecipe, latents: Latents | None) -> DiffusionModel:
    """An untrained model, after a trial run on two samples, at the first and the last time."""
    shape = latents.shape if latents else recipe.sample_shape
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        try:
            denoiser = unet2d.create(
                recipe.unet_config(shape),
                Schedule.from_config(recipe.schedule_config()),
                recipe.prediction_type,
                recipe.class_count,
                bound=None if latents else 1.0,
            )
            model = DiffusionModel(denoiser, recipe.class_names, recipe.frames)
            ends = torch.tensor([0, denoiser.schedule.num_train_timesteps - 1])
            with torch.inference_mode():
                found = model.denoise(torch.zeros((2, *shape)), ends)
            if not torch.isfinite(found).all():
                raise ValueError("its output is not finite")
        except Exception as error:  # a field of UNet2DModel can make it raise anything
            of = f" for latents of {shape[2]}x{shape[1]}" if latents else ""
            raise ConfigError(f"network: diffusers cannot build or run it{of}: {error}") from error
    return model
