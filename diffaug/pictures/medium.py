"""The medium of a sample: how it is read, identified, fitted, written and compared.

Shards, lanes and commits handle samples of any kind. So far there is one medium, the still image.
A second one also concerns the columns of widths and heights, `online`, which takes pictures in
hand, the judges, and `Pretrained.shape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.pictures.codec import Decoded, decode, decode_mask, encode, pixel_sha256
from diffaug.pictures.colour import Transparency
from diffaug.pictures.detail import KeepingDetail
from diffaug.pictures.fit import Fit, Geometry
from diffaug.pictures.similarity import scores

__all__ = ["IMAGE", "Fitted", "Medium"]

X = TypeVar("X")


class Fitted(Protocol[X]):
    """How one sample is fitted to a model's shape, and a result back to the sample.

    Attributes:
        detail: the version of what carries the model's change to the sample; None if the result is
            what the model made.
        geometry: where the result has what the sample has at a place (see `Fit.geometry`).
    """

    @property
    def detail(self) -> str | None:
        """See above."""

    @property
    def geometry(self) -> Geometry:
        """See above."""

    def to_model(self, x: X, /) -> NDArray[np.float32]:
        """The sample in the model's shape, in [-1, 1]."""

    def mask_to_model(self, mask: X, /) -> NDArray[np.float32]:
        """A mask in the model's shape with one channel: 1 where the sample may change, else 0."""

    def from_model(self, x_0: NDArray[np.float32], mask: X | None = None, /) -> X:
        """Convert a result of the model, made within the mask if there is one, to a sample."""

    def keep(self, result: X, source: X, mask: X, /) -> X:
        """The result with the source's own values outside the mask."""

    def seen(self, x: X, /) -> X:
        """The sample in the form in which a result is compared with it."""

    def shown(self, result: X, /) -> X:
        """A result in the form in which it is compared with the sample."""


class Medium(Protocol[X]):
    """A kind of sample, with the operations that depend on the kind.

    Attributes:
        name: its name in a recipe.
    """

    @property
    def name(self) -> str:
        """See above."""

    def read(self, data: bytes, max_pixels: int, background: str | None) -> Decoded[X]:
        """Decode a member, with this colour behind what is transparent (see `codec.picture`).

        Raises:
            DefectError: it cannot be decoded, or has more than `max_pixels` pixels.
        """

    def read_mask(self, data: bytes, max_pixels: int) -> X:
        """Decode a mask; raises what `read` raises."""

    def digest(self, x: X) -> str:
        """The sha256, in hex, that identifies a sample by its values, whatever its file."""

    def facts(self, x: X) -> dict[str, int]:
        """The size that the manifest records, by column name without the prefix `source_`."""

    def fit(
        self,
        x: X,
        shape: tuple[int, ...],
        how: str,
        result: str,
        detail: str,
        transparency: Transparency | None = None,
    ) -> Fitted[X]:
        """Fit the sample to a model's shape.

        Args:
            x: the sample.
            shape: of the model's input, channels first.
            how: the recipe's `fit`.
            result: the recipe's `result`.
            detail: the recipe's `detail`.
            transparency: the sample's, for results to keep; None: they are opaque.

        Raises:
            DefectError: the sample cannot be fitted as the recipe asks.
        """

    def write(self, x: X, format: str) -> bytes:
        """Encode the sample in this format; the bytes depend on the sample alone."""

    def compare(self, pairs: Sequence[tuple[X, X]]) -> list[dict[str, float | None]]:
        """The scores `score_<name>` that every job records, for each (source, output)."""


class _Image:
    """Still images: Pillow pictures, compared by SSIM and PSNR. See `Medium`."""

    name = "image"

    def read(self, data: bytes, max_pixels: int, background: str | None) -> Decoded[Image.Image]:
        """See `Medium`."""
        return decode(data, max_pixels, background)

    def read_mask(self, data: bytes, max_pixels: int) -> Image.Image:
        """See `Medium`."""
        return decode_mask(data, max_pixels)

    def digest(self, x: Image.Image) -> str:
        """See `Medium`."""
        return pixel_sha256(x)

    def facts(self, x: Image.Image) -> dict[str, int]:
        """See `Medium`."""
        return {"width": x.width, "height": x.height}

    def fit(
        self,
        x: Image.Image,
        shape: tuple[int, ...],
        how: str,
        result: str,
        detail: str,
        transparency: Transparency | None = None,
    ) -> Fit | KeepingDetail:
        """See `Medium`."""
        channels, height, width = shape
        fit = Fit.of(x, (channels, height, width), how, result)
        keeps = detail == "keep" and fit.loses_detail(x)
        return KeepingDetail(fit, x, transparency) if keeps else fit

    def write(self, x: Image.Image, format: str) -> bytes:
        """See `Medium`."""
        return encode(x, format)

    def compare(
        self, pairs: Sequence[tuple[Image.Image, Image.Image]]
    ) -> list[dict[str, float | None]]:
        """See `Medium`."""
        return scores(pairs)


IMAGE: Medium[Image.Image] = _Image()
