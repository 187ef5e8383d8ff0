"""The forms an image is given in, PIL or tensor, and conversion between them and PIL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffaug.pictures.codec import Decoded, picture
from diffaug.pictures.depth import GREYS

__all__ = ["ImageForm", "like", "not_pictures", "to_pil"]

ImageLike = TypeVar("ImageLike", Image.Image, Tensor)


class ImageForm:
    """Images, as PIL images or tensors. See `forms.Form`.

    Args:
        background: the colour behind what is transparent (see `codec.picture`).
    """

    def __init__(self, background: str | None) -> None:
        self._background = background

    def decoded(self, given: Any) -> Decoded[Image.Image]:
        """See `Form`."""
        return picture(to_pil(given), self._background)

    def like(self, result: Image.Image, given: Any) -> Any:
        """See `Form`."""
        return like(result, given)

    def listed(self, given: Any) -> tuple[list[Any], bool]:
        """See `Form`; a tensor (B, C, H, W) is a batch."""
        if isinstance(given, Tensor) and given.ndim == 4:
            return list(given), False
        if isinstance(given, (Tensor, Image.Image)):
            return [given], True
        if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
            return list(given), False
        raise not_pictures(given)


def to_pil(image: Any, what: str = "images") -> Image.Image:
    """A PIL image unchanged; a tensor (1 or 3, H, W), uint8 or floating in [0, 1], as a PIL image.

    Args:
        image: what was given.
        what: what errors call it.

    Raises:
        TypeError: it is neither.
        ValueError: a tensor has another shape, type or range.
    """
    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, Tensor):
        raise not_pictures(image, what)
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"an image tensor must be (1 or 3, H, W), got {tuple(image.shape)}")
    if image.is_floating_point():
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"a float image must be in [0, 1], got [{low:g}, {high:g}]")
        image = (image.float() * 255).round()
    elif image.dtype != torch.uint8:
        raise ValueError(f"an image tensor must be uint8 or floating, got {image.dtype}")
    pixels = image.to("cpu", torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def not_pictures(given: Any, what: str = "images") -> TypeError:
    """The error for what is neither a PIL image nor a tensor, with the cure for its kind.

    Args:
        given: what was given.
        what: what the error calls it.
    """
    cures: dict[Any, str] = {
        np.ndarray: "PIL.Image.fromarray makes an image of an array; webdataset's decode does so "
        'with "pil", and makes tensors with "torchrgb"',
        (str, PathLike): "open the file with PIL.Image.open",
        (bytes, bytearray): 'let webdataset decode("pil"), or open them with PIL.Image.open',
        (tuple, list): "give the image of each, or samples (dicts) instead of tuples: webdataset's "
        "map_tuple(Augment(recipe)) is for tuples",
        dict: "samples (dicts) are for Augment and Augmenter",
        Iterator: "give a list",
        type(None): "give an image",
    }
    cure = next((cure for kinds, cure in cures.items() if isinstance(given, kinds)), "")
    said = f"{what} must be PIL images or tensors, got {type(given).__name__}"
    return TypeError(f"{said}: {cure}" if cure else said)


def like(result: Image.Image, given: ImageLike) -> ImageLike:
    """The result in the form of what was given; grey becomes RGB if RGB was given.

    A PIL image stays as transparent as the result is where its mode can say so: with alpha, or with
    a palette. An L or RGB that only its metadata call transparent comes back as L or RGB.
    """
    if isinstance(given, Image.Image):
        if result.mode in ("LA", "RGBA") and not _has_alpha(given):
            result = result.convert(result.mode[:-1])
        if given.mode in GREYS or result.mode == "RGBA":
            return result
        return result.convert("RGB")
    pixels = np.asarray(result if given.shape[0] == 1 else result.convert("RGB"))
    tensor = torch.from_numpy(np.array(pixels.reshape(*pixels.shape[:2], -1))).permute(2, 0, 1)
    tensor = tensor.to(given.device)
    if given.is_floating_point():
        return (tensor.float() / 255).to(given.dtype)
    return tensor.contiguous()


def _has_alpha(image: Image.Image) -> bool:
    """Whether pixels of its mode can be transparent."""
    return image.mode == "P" or image.getbands()[-1] in ("A", "a")
