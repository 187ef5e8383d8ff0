"""Conversion between the forms an image is given in, PIL or tensor, and PIL."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffaug.pictures.depth import GREYS

__all__ = ["like", "not_pictures", "to_pil"]

ImageLike = TypeVar("ImageLike", Image.Image, Tensor)


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

    A PIL image stays as transparent as the result is.
    """
    if isinstance(given, Image.Image):
        if given.mode in GREYS or result.mode == "RGBA":
            return result
        return result.convert("RGB")
    pixels = np.asarray(result if given.shape[0] == 1 else result.convert("RGB"))
    tensor = torch.from_numpy(np.array(pixels.reshape(*pixels.shape[:2], -1))).permute(2, 0, 1)
    tensor = tensor.to(given.device)
    if given.is_floating_point():
        return (tensor.float() / 255).to(given.dtype)
    return tensor.contiguous()
