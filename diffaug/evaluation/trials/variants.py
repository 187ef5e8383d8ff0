"""Variants of labelled images, drawn while a classifier trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.images.corruptions import Images, as_bytes
from diffaug.evaluation.images.pictures import Samples
from diffaug.evaluation.images.pool import Draw, Places, Pool, psnr_of
from diffaug.evaluation.trials.trivial_augment import away_from, trivial_augment

__all__ = [
    "CHANGED",
    "Change",
    "Changed",
    "Labelled",
    "Variants",
    "fixed",
    "flips_and_crops",
    "held",
    "jitter",
]

_JITTER = 0.4, 0.1
"""How far brightness, contrast and saturation are changed, as a share, and hue, as one of a turn:
the strength that is usual for small images."""


Change = Callable[[Samples, np.random.Generator], Samples]
"""Takes samples and what is random, and changes each."""


class Variants(Protocol):
    """A source of variants of the labelled images, such as a `Pool`."""

    def draw(self, places: Places, random: np.random.Generator) -> Draw:
        """One variant of the image at each place."""
        ...


def flips_and_crops(images: Images, random: np.random.Generator) -> Images:
    """Flip half of the images, and shift each by up to a fourteenth of its size over black."""
    count, height, width, _ = images.shape
    down, right = height // 14, width // 14
    padded = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    top, left = random.integers(0, 2 * down + 1, count), random.integers(0, 2 * right + 1, count)
    moved: Images = windows[np.arange(count), top, left].transpose(0, 2, 3, 1).copy()
    flipped = random.random(count) < 0.5
    moved[flipped] = moved[flipped, :, ::-1]
    return moved


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labelled samples themselves.

    Attributes:
        images: N of them.
    """

    images: Samples

    def draw(self, places: Places, random: np.random.Generator) -> Draw:
        """The image at each place."""
        return Draw(places, self.images[places])


@dataclass(frozen=True, slots=True)
class Changed:
    """Variants that are changed at random whenever they are drawn.

    Attributes:
        variants: what is changed.
        changes: applied in turn.
    """

    variants: Variants
    changes: Sequence[Change]

    def draw(self, places: Places, random: np.random.Generator) -> Draw:
        """One changed variant of the image at each place."""
        drawn = self.variants.draw(places, random)
        images = drawn.images
        for change in self.changes:
            images = change(images, random)
        return drawn._replace(images=images)


def fixed(images: Images, change: Change, copies: int, random: np.random.Generator) -> Pool:
    """Copies that are changed once, and not whenever they are drawn.

    Args:
        images: uint8 (N, H, W, C).
        change: function of images and a generator.
        copies: of each image.
        random: what changes them.
    """
    made = np.stack([change(images, random) for _ in range(copies)], axis=1)
    psnr = np.stack(
        [psnr_of(some, image) for some, image in zip(made, images.astype(float), strict=True)]
    )
    return Pool(made, np.ones(psnr.shape, dtype=bool), psnr)


def jitter(images: Images, random: np.random.Generator) -> Images:
    """Brightness, contrast, saturation and hue, each changed at random, in this order.

    Grey images have neither saturation nor hue. Hue is turned in the plane of YIQ's chroma.
    """
    x = images.astype(np.float32)
    factors = 1 + _JITTER[0] * random.uniform(-1, 1, (3, len(x), 1, 1, 1))
    brightness, contrast, saturation = factors.astype(np.float32)
    turn = 2 * np.pi * _JITTER[1] * random.uniform(-1, 1, len(x))
    x *= brightness
    np.clip(x, 0, 255, out=x)
    means = x.mean(axis=(1, 2)) @ _LUMA if x.shape[3] == 3 else x.mean(axis=(1, 2))[:, 0]
    away_from(means[:, None, None, None], contrast, x)
    if x.shape[3] == 3:
        away_from((x @ _LUMA)[..., None], saturation, x)
        x = np.matmul(x.reshape(len(x), -1, 3), _hue(turn).transpose(0, 2, 1)).reshape(x.shape)
    return as_bytes(x)


def _hue(turn: NDArray[np.float64]) -> NDArray[np.float32]:
    """(N, 3, 3), which turn the hue of RGB by angles (N,) and leave the luma as it is."""
    rotations = np.zeros((len(turn), 3, 3))
    rotations[:, 0, 0] = 1
    rotations[:, 1, 1] = rotations[:, 2, 2] = np.cos(turn)
    rotations[:, 1, 2], rotations[:, 2, 1] = -np.sin(turn), np.sin(turn)
    turned: NDArray[np.float32] = (np.linalg.inv(_YIQ) @ rotations @ _YIQ).astype(np.float32)
    return turned


_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_LUMA = _YIQ[0].astype(np.float32)


def held(change: Change, channels: int) -> Change:
    """The change for clips, which changes all frames of one in the same way.

    Args:
        change: of images.
        channels: of each frame, which are behind one another.
    """

    def changed(clips: Images, random: np.random.Generator) -> Images:
        state, made = random.bit_generator.state, []
        for frame in np.split(clips, clips.shape[3] // channels, axis=3):
            random.bit_generator.state = state
            made.append(change(frame, random))
        return np.concatenate(made, axis=3)

    return changed


CHANGED: dict[str, Change] = {"trivial-augment": trivial_augment, "jitter": jitter}
"""The changes, by the names of their arms."""
