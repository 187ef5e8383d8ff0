"""A diffusion model as a torch module, for training, noising, denoising, editing and sampling."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diffaug.diffusion.denoiser import Denoiser
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.samplers import SamplerName, timesteps, trajectory
from diffaug.errors import ConfigError
from diffaug.execution import DEFAULT_BATCH_SIZE, Execution
from diffaug.models import Pretrained, find_checkpoint, read_denoiser, write_card
from diffaug.models.generate import generate
from diffaug.recipe import Recipe
from diffaug.storage import local_path

__all__ = ["DiffusionModel", "LossTerms"]

Conditions = Sequence[int] | Tensor | None


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The training loss of a batch, and its terms.

    Attributes:
        loss: scalar to minimise: the mean over the batch of weight times error.
        error: (B,), mean squared error of the prediction over each image's values.
        weight: (B,), of each error in the loss.
        t: (B,), the times drawn.
    """

    loss: Tensor
    error: Tensor
    weight: Tensor
    t: Tensor


class DiffusionModel(nn.Module):
    """A network and its noise schedule.

    Images are float32 (B, C, H, W) in [-1, 1], times are integers (B,) in [0, T), and classes are
    integers (B,). If no classes are given, a conditional model is asked for "no class". `edit` and
    `sample` run through the lanes, so an image does not depend on the rest of its batch.

    Example:
        >>> model = DiffusionModel.from_pretrained("fashion-mnist-32")
        >>> model.sample(4, steps=10).shape
        torch.Size([4, 1, 32, 32])

    Args:
        denoiser: network, schedule, prediction and bound; its network must be a torch module.
        class_names: the names of its classes, in order, if they have any.
        frames: how many frames a clip has that is one sample, of (B, frames * C, H, W); None: its
            samples are pictures.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        class_names: Sequence[str] = (),
        frames: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(denoiser.network, nn.Module):
            raise TypeError("the denoiser's network must be a torch.nn.Module")
        self.network = denoiser.network
        self.class_names = tuple(class_names)
        self.frames = frames
        self._parts = denoiser

    @classmethod
    def from_pretrained(
        cls, reference: str | Path, *, device: str = "cpu", dtype: str = "float32"
    ) -> DiffusionModel:
        """Load a shipped name, a local diffusers folder, or org/name[@revision] on the hub.

        Raises:
            ConfigError: there is no such model, or diffaug does not know its family.
        """
        checkpoint = find_checkpoint(str(reference))
        if checkpoint.card is not None and checkpoint.card.taught is not None:
            raise ConfigError(
                f"model {reference}: it is a student, called at the times it was taught alone: use "
                "diffaug.augment, or its teacher"
            )
        names = checkpoint.card.classes if checkpoint.card else ()
        execution = Execution.choose(dtype=dtype, device=device)
        denoiser = read_denoiser(checkpoint, execution.device, execution.dtype)
        return cls(denoiser, names, checkpoint.frames)

    def save_pretrained(self, folder: str | Path, readme: str = "") -> None:
        """Write a folder that diffusers' `DDPMPipeline` and `--model` load, in the network's dtype.

        Args:
            folder: created if necessary; a model saved there before is overwritten.
            readme: text for people, written to README.md below the card that diffaug reads.

        Raises:
            OSError: the folder cannot be written.
            TypeError: the network is not a UNet2D, or the schedule came from no configuration.
        """
        from diffaug.models.families.saving import save

        folder = local_path(folder)
        save(self.denoiser, folder)
        more = {} if self.frames is None else {"frames": self.frames}
        write_card(folder, self.class_names, self._parts.null_class, readme, more)

    @property
    def denoiser(self) -> Denoiser:
        """The network as the lanes run it, on its current device."""
        device = next((weight.device for weight in self.network.parameters()), self._parts.device)
        if device != self._parts.device:
            moved = self._parts.schedule.to(device)
            self._parts = replace(self._parts, device=device, schedule=moved)
        return replace(self._parts, network=self.network)

    def forward(
        self,
        x_0: Tensor,
        condition: Conditions = None,
        *,
        t: Tensor | None = None,
        noise: Tensor | None = None,
        min_snr_gamma: float | None = None,
    ) -> LossTerms:
        """The training loss (Ho et al. 2020): the network's error on noised images.

        Args:
            x_0: clean images (B, C, H, W).
            condition: their classes (B,).
            t: times (B,); None draws them uniformly from torch's global generator.
            noise: standard normal values shaped like `x_0`; None draws them likewise.
            min_snr_gamma: weighs times as described in `Denoiser.loss_weight`; None weighs all
                equally.
        """
        denoiser = self.denoiser
        if t is None:
            steps = denoiser.schedule.num_train_timesteps
            t = torch.randint(steps, (len(x_0),)).to(x_0.device)
        if noise is None:
            noise = torch.randn(x_0.shape).to(x_0.device)
        x_t = denoiser.schedule.add_noise(x_0, t, noise)
        output = self.network(x_t, t, self._classes(condition, len(x_0))).float()
        error = (output - denoiser.target(x_0, noise, t)).square().flatten(1).mean(1)
        weight = denoiser.loss_weight(t, min_snr_gamma)
        return LossTerms((weight * error).mean(), error, weight, t)

    def add_noise(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """`x_t` (B, C, H, W): images noised along the forward Markov process to times `t`."""
        return self.denoiser.schedule.add_noise(x_0, t, noise)

    def denoise(self, x_t: Tensor, t: Tensor, condition: Conditions = None) -> Tensor:
        """The estimate of x_0 (B, C, H, W), clipped as the checkpoint defines; differentiable."""
        return self.denoiser(x_t, t, self._classes(condition, len(x_t)))

    def edit(
        self,
        x_0: Tensor,
        strength: float,
        *,
        steps: int = 20,
        sampler: SamplerName = "dpmsolver++",
        eta: float = 0.0,
        condition: Conditions = None,
        seed: int = 0,
        batch_size: int = DEFAULT_BATCH_SIZE,
        grid: tuple[int, ...] | None = None,
    ) -> Tensor:
        """Noise images part-way and reconstruct them (SDEdit, Meng et al. 2022).

        Each image's noise is its own, a function of (seed, its values). For pictures, shards and
        records, use `diffaug.augment` and the pipeline.

        Args:
            x_0: clean images (B, C, H, W).
            strength: in (0, 1]: how far the images are noised.
            steps: network calls that strength 1 would make.
            sampler: `ddim`, `ddpm`, `dpmsolver++`, `lcm` or `one-step`.
            eta: of `ddim`: how much fresh noise each step adds, 0 to 1.
            condition: their classes (B,).
            seed: of all randomness.
            batch_size: lanes in the one fixed batch shape.
            grid: the only times at which a distilled model is called; None: any.

        Returns:
            (B, C, H, W), float32, on the device of `x_0`.

        Raises:
            ValueError: an argument is out of range, or the images do not have the model's shape.
        """
        Recipe.of({"strength": strength, "steps": steps, "sampler": sampler, "eta": eta})
        self._check(x_0.shape[1:], batch_size)
        schedule = self._parts.schedule
        times = timesteps(strength, steps, sampler, schedule.num_train_timesteps, grid)
        way = trajectory(sampler, schedule, times, eta)
        classes = self._classes(condition, len(x_0)).cpu()

        def edits() -> Iterator[tuple[None, Edit]]:
            for image, label in zip(x_0.float().cpu().numpy(), classes, strict=True):
                random = SampleRandom(seed, hashlib.sha256(image.tobytes()).hexdigest(), 0)
                noise = random.noise(image.shape, way.draws)
                yield None, Edit(x_0=image, noise=noise, trajectory=way, condition=(label,))

        with self._evaluating():
            done = Pretrained.of_pictures(self.denoiser).steps(batch_size).run(edits())
            edited = [image for _, image in done if image is not None]
        return torch.from_numpy(np.stack(edited)).to(x_0.device) if edited else x_0.clone()

    def sample(
        self,
        n: int,
        *,
        steps: int = 20,
        sampler: SamplerName = "dpmsolver++",
        eta: float = 0.0,
        condition: Conditions = None,
        guidance: float = 1.0,
        seed: int = 0,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Tensor:
        """Generate `n` images from pure noise: (n, C, H, W), float32, on the network's device.

        The arguments are those of `edit`. `condition` (n,) gives each image's class. A `guidance`
        scale other than 1 guides the image towards its class and away from no class
        (Ho & Salimans 2022).

        Raises:
            ConfigError: a value is out of range, or the model requires classes and none are given.
        """
        asked = {"steps": steps, "sampler": sampler, "eta": eta, "guidance": guidance, "seed": seed}
        Recipe.of(asked)
        self._parts.check_classes(condition is not None, guidance)
        self._check(torch.Size(self._parts.shape), batch_size)
        with self._evaluating():
            images = list(
                generate(
                    Pretrained.of_pictures(self.denoiser),
                    [(label,) for label in self._classes(condition, n).cpu()],
                    steps=steps,
                    sampler=sampler,
                    eta=eta,
                    guidance=guidance,
                    seed=seed,
                    batch_size=batch_size,
                )
            )
        made = np.stack(images) if images else np.empty((0, *self._parts.shape), np.float32)
        return torch.from_numpy(made).to(self.denoiser.device)

    def _classes(self, condition: Conditions, count: int) -> Tensor:
        """The classes (B,) as the network takes them; "no class" if none are given."""
        device, parts = self.denoiser.device, self._parts
        if condition is None:
            parts.check_classes(False)
            return torch.full((count,), parts.no_class, device=device)
        classes = torch.as_tensor(condition, dtype=torch.long)
        if classes.shape != (count,):
            raise ValueError(
                f"condition must have one class for each of {count} images, got the shape "
                f"{tuple(classes.shape)}"
            )
        known = parts.classes + (parts.null_class is not None)
        if not classes.is_cuda and count and not 0 <= classes.min() <= classes.max() < known:
            raise ValueError(f"condition: the model has {known} classes, counted from 0")
        return classes.to(device)

    def _check(self, shape: torch.Size, batch_size: int) -> None:
        if tuple(shape) != self._parts.shape:
            raise ValueError(
                f"images must have the model's shape {self._parts.shape}, got {tuple(shape)}"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Turn dropout off within the context."""
        training = self.network.training
        self.network.eval()
        try:
            yield
        finally:
            self.network.train(training)
