"""Latents: pictures are encoded before the lanes and decoded behind them.

A latent diffusion model (Rombach et al. 2022) noises and denoises what an autoencoder makes of a
picture, which is smaller. The two stages here stand around any policy, each at a batch shape of its
own, so a result depends no more on its neighbours than the lanes' does. A picture is encoded once
for all its copies, which follow one another and share its array.

https://arxiv.org/abs/2112.10752
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.batched import Batched
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.steps import Finished, Steps
from diffaug.diffusion.transfer import upload

__all__ = ["Autoencoder", "LatentSteps", "Stages"]

T = TypeVar("T")

_PIXELS = 4 * 512 * 512
"""How many pixels an autoencoder's call has at most, or one picture: its feature maps are large."""


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """Between pictures (B, 3, H, W) in [-1, 1] and latents (B, C, H / factor, W / factor).

    Attributes:
        encode: a picture's most likely latents, scaled and shifted as the denoiser knows them.
        decode: float32 latents as pictures.
        factor: how many pixels a latent is wide and high.
    """

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    factor: int


class Stages:
    """An autoencoder before and behind whatever runs edits of latents.

    Args:
        autoencoder: of the same model.
        size: (H, W) of a picture.
        batch_size: of the denoiser's calls, which the autoencoder's do not exceed.
        device: where it runs.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        size: tuple[int, int],
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._device = device
        self._factor = autoencoder.factor
        pictures = min(batch_size, max(1, _PIXELS // (size[0] * size[1])))
        self._encode = Batched(autoencoder.encode, pictures, device)
        self._decode = Batched(autoencoder.decode, pictures, device)

    def encoded(
        self, edits: Iterable[tuple[T, Edit | None]], most: int
    ) -> Iterator[tuple[T, Edit | None]]:
        """Yield edits of latents for edits of pictures, their masks coarser to match.

        Args:
            edits: (tag, edit of a picture), in order.
            most: how many of them are read before the first is yielded, at most.
        """
        picture = latents = None
        for group, new in self._groups(edits, most):
            encoded = iter(self._latents(new))
            for tag, edit in group:
                if edit is None or edit.x_0 is None:
                    yield tag, edit
                    continue
                if edit.x_0 is not picture:
                    picture, latents = edit.x_0, next(encoded)
                mask = None if edit.mask is None else _coarse(edit.mask, self._factor)
                yield tag, replace(edit, x_0=latents, mask=mask)

    def decoded(self, steps: Iterable[Finished[T]], most: int) -> Iterator[Finished[T]]:
        """Yield pictures for latents, a list of what was decoded together.

        Args:
            steps: what was finished together, in order.
            most: how many results are held back to be decoded together, at most.
        """
        waiting: Finished[T] = []
        latents = 0
        for finished in steps:
            for item in finished:
                waiting.append(item)
                latents += item[1] is not None
                if latents == self._decode.rows or len(waiting) == most:
                    yield self._pictures(waiting)
                    waiting, latents = [], 0
        if waiting:
            yield self._pictures(waiting)

    def _groups(
        self, edits: Iterable[tuple[T, Edit | None]], most: int
    ) -> Iterator[tuple[list[tuple[T, Edit | None]], list[NDArray[np.float32]]]]:
        """No more than `most` edits together, with the pictures not met before."""
        group: list[tuple[T, Edit | None]] = []
        new: list[NDArray[np.float32]] = []
        last = None
        for tag, edit in edits:
            if edit is not None and edit.x_0 is not None and edit.x_0 is not last:
                if len(new) == self._encode.rows:
                    yield group, new
                    group, new = [], []
                last = edit.x_0
                new.append(last)
            group.append((tag, edit))
            if len(group) == most:
                yield group, new
                group, new = [], []
        yield group, new

    @torch.inference_mode()
    def _latents(self, pictures: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        if not pictures:
            return []
        return list(self._encode(upload(np.stack(pictures), self._device)).float().cpu().numpy())

    @torch.inference_mode()
    def _pictures(self, finished: Finished[T]) -> Finished[T]:
        found = [latents for _, latents in finished if latents is not None]
        if not found:
            return finished
        pictures = iter(self._decode(upload(np.stack(found), self._device)).float().cpu().numpy())
        return [(tag, None if one is None else next(pictures)) for tag, one in finished]


class LatentSteps(Steps[T, Edit]):
    """Steps over latents that take pictures and give pictures.

    Args:
        steps: over the denoiser.
        stages: the autoencoder of the same model.
    """

    def __init__(self, steps: Steps[T, Edit], stages: Stages) -> None:
        self._steps = steps
        self._stages = stages

    @property
    def count(self) -> int:
        """How many latents are worked on at the same time."""
        return self._steps.count

    def run_steps(self, edits: Iterable[tuple[T, Edit | None]]) -> Iterator[Finished[T]]:
        """As of `Steps`: a list of what was decoded together."""
        encoded = self._stages.encoded(edits, self.count)
        return self._stages.decoded(self._steps.run_steps(encoded), self.count)


def _coarse(mask: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """A latent may change where any of its pixels may."""
    _, height, width = mask.shape
    blocks = mask.reshape(1, height // factor, factor, width // factor, factor)
    return np.asarray(blocks.any(axis=(2, 4)))
