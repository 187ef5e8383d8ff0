"""The task of training an autoencoder: diffusers' `AutoencoderKL`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.addons import find_autoencoder
from diffaug.models.families.latent_unet2d import read_autoencoder
from diffaug.models.families.saving import tidy
from diffaug.train.held_back import held_out
from diffaug.train.objective import Reconstruction
from diffaug.train.pictures import Pictures
from diffaug.train.preview import columns
from diffaug.train.recipe import TrainRecipe
from diffaug.train.trainer import Trainer

__all__ = ["AutoencoderTask", "psnr"]

_BATCH_SIZE = 8


class AutoencoderTask:
    """See `task.Task`.

    Args:
        recipe: what to train.
        execution: device and dtype.
        held_back: shards of held-out images, or None.

    Raises:
        ConfigError: diffusers cannot build or run the network, or no held-out image is usable.
        OSError: a shard cannot be read.
    """

    def __init__(
        self, recipe: TrainRecipe, execution: Execution, held_back: list[str] | None = None
    ) -> None:
        self._device = torch.device(execution.device)
        self.form = Pictures(recipe)
        self.trainer = Trainer(_new(recipe), recipe, execution, Reconstruction())
        self._held_back = held_out(held_back, recipe)[0] if held_back else None

    def inputs(self, x_0: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network is trained on: the pictures."""
        return x_0

    def begin_with(self, reference: str) -> None:
        """Start from the weights of an autoencoder.

        Raises:
            ConfigError: there is no such autoencoder, or its network differs.
        """
        vae = read_autoencoder(f"init: {reference}", find_autoencoder(reference))
        try:
            self.trainer.begin_with(vae.state_dict())
        except RuntimeError as error:  # torch lists missing weights and shape mismatches
            raise ConfigError(
                f"init: the weights of {reference} do not fit this network: give the network and "
                "channels that it was trained with"
            ) from error

    def measured(self) -> float | None:
        """The mean PSNR of held-out images, in dB, if there are any."""
        if self._held_back is None:
            return None
        made = self._reconstructed(self._held_back)
        return float(psnr(self._held_back, made).mean())

    def preview(self, shown: NDArray[np.float32], folder: Path, stem: str) -> None:
        """Draw some training images next to their reconstructions."""
        x_0 = torch.from_numpy(shown)
        made = self._reconstructed(x_0)
        columns([x_0, made], ["image", "made"], folder / f"reconstructions-{stem}.png")

    def save(self, folder: Path, trained: str) -> None:
        """Write the averaged weights as diffusers does."""
        with storage.writing(folder):
            self.trainer.ema_model.save_pretrained(folder)
            tidy(folder)
        readme = f"# An autoencoder trained by diffaug\n\n{trained}"
        (folder / "README.md").write_text(readme, encoding="utf-8")

    def _reconstructed(self, x_0: Tensor) -> Tensor:
        """What the averaged weights make of the most likely latents of images, float32."""
        model, made = self.trainer.ema_model, []
        with torch.inference_mode(), self.trainer.autocast:
            for part in torch.split(x_0, _BATCH_SIZE):
                pictures = part.to(self._device, memory_format=torch.channels_last)
                latents = model.encode(pictures).latent_dist.mode()
                made.append(model.decode(latents).sample.float().cpu())
        return torch.cat(made)


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """The peak signal-to-noise ratio (B,) of images (B, C, H, W) in [-1, 1], in dB.

    Args:
        images: the sources.
        others: their reconstructions, which are clipped to the range.
    """
    error = (images - others.clamp(-1, 1)).double().square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error)


def _new(recipe: TrainRecipe) -> Any:
    """An untrained autoencoder, after a trial run on two black images."""
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        try:
            vae: Any = AutoencoderKL(**recipe.autoencoder_config(), scaling_factor=1.0)
            vae = vae.to(memory_format=torch.channels_last).eval()
            images = torch.zeros((2, *recipe.shape))
            with torch.inference_mode():
                made = vae(images).sample
            if made.shape != images.shape:
                raise ValueError(
                    f"it makes {made.shape[3]}x{made.shape[2]} of {images.shape[3]}x"
                    f"{images.shape[2]}; give a size that it can halve as often as it does"
                )
        except Exception as error:  # a field of AutoencoderKL can make it raise anything
            raise ConfigError(f"network: diffusers cannot build or run it: {error}") from error
    return vae
