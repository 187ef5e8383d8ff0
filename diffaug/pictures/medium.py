"""The medium of a sample: how it is read, identified, fitted, written and compared.

Shards, lanes and commits handle samples of any kind. Here is the medium `image`, in
`clips.medium` that of video, and in `texts.medium` that of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.pictures.codec import (
    Decoded,
    declared_pixels,
    decode,
    decode_mask,
    encode,
    pixel_sha256,
)
from diffaug.pictures.colour import Transparency
from diffaug.pictures.detail import KeepingDetail
from diffaug.pictures.fit import Fit, Geometry, Loss
from diffaug.pictures.similarity import scores

__all__ = ["IMAGE", "Fitted", "FittedPicture", "Medium", "PictureMedium", "Value"]

X = TypeVar("X")

Value = Any
"""A sample as its medium has it: a Pillow picture, a `Clip` or a `Text`."""


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

    def losses(self, x: X, /) -> tuple[Loss, ...]:
        """What results lose of the sample, where its detail is not kept."""

    def from_model(self, x_0: NDArray[Any], mask: Image.Image | None = None, /) -> X:
        """Convert a result of the model, made within the mask if there is one, to a sample."""

    def seen(self, x: X, /) -> X:
        """The sample in the form in which a result is compared with it."""

    def shown(self, result: X, /) -> X:
        """A result in the form in which it is compared with the sample."""


class FittedPicture(Fitted[X], Protocol[X]):
    """How a picture, or each frame of a clip, is fitted to a model's shape."""

    def to_model(self, x: X, /) -> NDArray[np.float32]:
        """The sample in the model's shape, in [-1, 1]."""

    def mask_to_model(self, mask: Image.Image, /) -> NDArray[np.float32]:
        """A mask in the model's shape with one channel: 1 where the sample may change, else 0."""

    def keep(self, result: X, source: X, mask: Image.Image, /) -> X:
        """The result with the source's own values outside the mask."""


class Medium(Protocol[X]):
    """A kind of sample, with the operations that depend on the kind.

    Attributes:
        name: its name in a recipe.
        offered: formats of results that a client of a service may ask for, whatever the recipe
            stores.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def offered(self) -> tuple[str, ...]:
        """See above."""

    def declared(self, data: bytes, max_pixels: int) -> int:
        """How many pixels `read` makes of a member at most, as far as that can be told before."""

    def pixels(self, x: X) -> int:
        """How many pixels a sample has."""

    def kept(self, x: X) -> str:
        """A digest of what results have of a sample besides its values; empty if they have none."""

    def read(self, data: bytes, max_pixels: int, background: str | None) -> Decoded[X]:
        """Decode a member, with this colour behind what is transparent (see `codec.picture`).

        Raises:
            DefectError: it cannot be decoded, or has more than `max_pixels` pixels.
        """

    def digest(self, x: X) -> str:
        """The sha256, in hex, that identifies a sample by its values, whatever its file."""

    def source_facts(self, x: X) -> dict[str, Any]:
        """What the manifest records of a source once it is decoded, by column."""

    def output_facts(self, x: X) -> dict[str, Any]:
        """What the manifest records of a result next to its digests, by column."""

    def write(self, x: X, format: str) -> bytes:
        """Encode the sample in this format; the bytes depend on the sample alone."""

    def read_back(self, data: bytes, max_pixels: int, background: str | None = None) -> X:
        """Decode what `write` made; raises what `read` raises."""

    def compare(self, pairs: Sequence[tuple[X, X]]) -> list[dict[str, float | None]]:
        """The scores `score_<name>` that every job records, for each (source, output)."""


@runtime_checkable
class PictureMedium(Medium[X], Protocol[X]):
    """A kind of sample that is a picture, or is made of pictures."""

    def read_mask(self, data: bytes, max_pixels: int) -> Image.Image:
        """Decode a mask; raises what `read` raises."""

    def frames(self, x: X) -> int | None:
        """How many samples of the model's shape it is made of; None: it is one."""

    def refuse_length(self, x: X, values: int, takes: int | None) -> None:
        """Refuse a sample of more or fewer frames than a model takes, or than fit into memory.

        Args:
            x: the sample.
            values: those that a frame and its noise have at the model's size.
            takes: how many frames the model takes as one sample; None: it takes pictures.

        Raises:
            DefectError: it is so.
        """

    def still(self, x: X) -> Image.Image:
        """The picture that stands for the sample where judges take pictures."""

    def fit(
        self,
        x: X,
        shape: tuple[int, ...],
        how: str,
        result: str,
        detail: str,
        transparency: Transparency | None = None,
    ) -> FittedPicture[X]:
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

    def levels(self, x: X) -> NDArray[np.uint8]:
        """The sample's values in RGB, in which two samples of one size can be compared."""


class _Image:
    """Still images: Pillow pictures, compared by SSIM and PSNR. See `Medium`."""

    name, offered = "image", ("png",)

    def declared(self, data: bytes, max_pixels: int) -> int:
        """See `Medium`."""
        found = declared_pixels(data)
        return found if found <= max_pixels else 0

    def pixels(self, x: Image.Image) -> int:
        """See `Medium`."""
        return x.width * x.height

    def kept(self, x: Image.Image) -> str:
        """See `Medium`."""
        return ""

    def read(self, data: bytes, max_pixels: int, background: str | None) -> Decoded[Image.Image]:
        """See `Medium`."""
        return decode(data, max_pixels, background)

    def read_mask(self, data: bytes, max_pixels: int) -> Image.Image:
        """See `Medium`."""
        return decode_mask(data, max_pixels)

    def digest(self, x: Image.Image) -> str:
        """See `Medium`."""
        return pixel_sha256(x)

    def source_facts(self, x: Image.Image) -> dict[str, Any]:
        """See `Medium`."""
        return {"source_width": x.width, "source_height": x.height}

    def output_facts(self, x: Image.Image) -> dict[str, Any]:
        """See `Medium`."""
        return {"output_width": x.width, "output_height": x.height}

    def frames(self, x: Image.Image) -> None:
        """See `Medium`."""

    def refuse_length(self, x: Image.Image, values: int, takes: int | None) -> None:
        """See `Medium`."""

    def still(self, x: Image.Image) -> Image.Image:
        """See `Medium`."""
        return x

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

    def read_back(self, data: bytes, max_pixels: int, background: str | None = None) -> Image.Image:
        """See `Medium`."""
        return decode(data, max_pixels, background).shown

    def levels(self, x: Image.Image) -> NDArray[np.uint8]:
        """See `Medium`."""
        return np.asarray(x.convert("RGB"))

    def compare(
        self, pairs: Sequence[tuple[Image.Image, Image.Image]]
    ) -> list[dict[str, float | None]]:
        """See `Medium`."""
        return scores(pairs)


IMAGE: PictureMedium[Image.Image] = _Image()
