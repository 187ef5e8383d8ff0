"""A pretrained model with all its parts: denoiser, autoencoder, and text encoders."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffaug.diffusion.batched import is_out_of_memory, side_by_side
from diffaug.diffusion.denoiser import Denoiser
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.latents import Autoencoder, LatentSteps, Stages
from diffaug.diffusion.ordered import Ordered
from diffaug.diffusion.process import Gaussian
from diffaug.diffusion.steps import Steps
from diffaug.errors import OutOfMemoryError

__all__ = ["Condition", "Pretrained", "Prompts"]

Condition = tuple[Tensor, ...]
"""What a network is given besides image and time, without the batch axis."""

_KEPT = 1 << 30
"""Bytes of prompt encodings to keep: one takes from a tenth of a megabyte to a few."""


class Prompts:
    """A model's text encoders; a prompt in use is encoded once.

    Args:
        encode: from a prompt, or None, to what conditions the network on it.
        device: where the encoders run.
    """

    def __init__(self, encode: Callable[[str | None], Condition], device: torch.device) -> None:
        self._device = device
        self._encode = encode
        self._lock = threading.Lock()
        self._known: OrderedDict[str | None, Condition] = OrderedDict()

    def __call__(self, prompt: str | None) -> Condition:
        """What conditions the network on `prompt`, always encoded alone.

        Raises:
            OutOfMemoryError: encoding it does not fit into memory.
        """
        with self._lock:
            if prompt not in self._known:
                self._known[prompt] = condition = self._encoded(prompt)
                if len(self._known) * sum(part.nbytes for part in condition) > _KEPT:
                    self._known.popitem(last=False)
            self._known.move_to_end(prompt)
            return self._known[prompt]

    def _encoded(self, prompt: str | None) -> Condition:
        try:
            (condition,) = side_by_side([lambda: self._encode(prompt)], self._device)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"out of memory on {self._device} while encoding a prompt: free some memory, or "
                "use a smaller model",
                device=str(self._device),
            ) from error
        return condition


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What a checkpoint's adapter loads.

    Attributes:
        denoiser: over pictures, or over latents.
        shape: (C, H, W) of a picture, or of a frame, C 1 or 3.
        autoencoder: between pictures and latents; None if the denoiser works on pictures.
        prompts: the text encoders; None if the model takes no prompts.
        embed_guidance: from a guidance scale to the network's embedding of it, if the network was
            distilled to do in one call what guidance does in two; else None.
        folded: the guidance scale that a distilled model has with a class, at the price of none;
            None if it can be guided by any.
        grid: the times at which a distilled model was trained, the only ones at which it is called;
            None if it can be called at any time.
        frames: how many frames a clip has that the denoiser takes as one sample of (frames * C, H,
            W), as Voleti et al. 2022 do (https://arxiv.org/abs/2205.09853); None: it takes
            pictures.
    """

    denoiser: Denoiser
    shape: tuple[int, int, int]
    autoencoder: Autoencoder | None = None
    prompts: Prompts | None = None
    embed_guidance: Callable[[float], Tensor] | None = None
    folded: float | None = None
    grid: tuple[int, ...] | None = None
    frames: int | None = None

    @classmethod
    def of_pictures(cls, denoiser: Denoiser, frames: int | None = None) -> Pretrained:
        """A model that is just a denoiser over pictures, unconditional or class-conditional.

        Args:
            denoiser: over pictures; with `frames`, over clips of so many.
            frames: see the attribute.
        """
        channels, height, width = denoiser.shape
        return cls(
            denoiser=denoiser, shape=(channels // (frames or 1), height, width), frames=frames
        )

    def condition(self, label: int | None, prompt: str | None) -> Condition:
        """What conditions the network on a class or a prompt, or on neither."""
        if self.prompts is not None:
            return self.prompts(prompt)
        return (torch.tensor(self.denoiser.no_class if label is None else label),)

    def lanes(self, batch_size: int) -> Lanes[Any]:
        """New lanes over the denoiser, for any policy; with an autoencoder, they take latents."""
        return Lanes(Gaussian(self.denoiser, batch_size))

    def steps(self, batch_size: int) -> Steps[Any, Edit]:
        """New lanes from picture to picture, under the policy of `Ordered`."""
        steps, stages = Ordered[Any](self.lanes(batch_size)), self.stages(batch_size)
        return steps if stages is None else LatentSteps(steps, stages)

    def stages(self, batch_size: int) -> Stages | None:
        """What stands around lanes over latents; None if the denoiser works on pictures."""
        if self.autoencoder is None:
            return None
        return Stages(self.autoencoder, self.shape[1:], batch_size, self.denoiser.device)
