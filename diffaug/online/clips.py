"""The forms a clip is given in, and conversion between them and clips."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffaug.clips.arrays import clip_of_array
from diffaug.clips.clip import Clip
from diffaug.clips.encode import encode_clip
from diffaug.clips.medium import Clips
from diffaug.online.images import to_pil
from diffaug.online.wire import Packed
from diffaug.pictures.codec import Decoded, picture
from diffaug.recipe import Recipe

__all__ = ["ClipForm", "clip_like", "pack_clip", "to_clip"]


class ClipForm:
    """Clips: the bytes of a file, tensors, arrays or lists of pictures. See `forms.Form`.

    Args:
        recipe: says which frames are taken, and how a file is stored.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def decoded(self, given: Any) -> Decoded[Clip]:
        """See `Form`."""
        clip = to_clip(given, self._recipe)
        return Decoded(clip, clip)

    def like(self, result: Clip, given: Any) -> Any:
        """See `Form`."""
        return clip_like(result, given, self._recipe)

    def listed(self, given: Any) -> tuple[list[Any], bool]:
        """See `Form`; tensors and arrays of five dimensions are batches."""
        if isinstance(given, (Tensor, np.ndarray)):
            return ([given], True) if given.ndim == 4 else (list(given), False)
        if isinstance(given, Sequence) and not isinstance(given, (str, bytes, bytearray)):
            return ([given], True) if _are_frames(given) else (list(given), False)
        return [given], True


def to_clip(given: Any, recipe: Recipe) -> Clip:
    """A clip of what a sample holds, of which the recipe's frames are taken.

    Args:
        given: the bytes of a file; a tensor (T, C, H, W), uint8 or floating in [0, 1]; an array
            (T, H, W, C), uint8; or a list of pictures of one size. C is 1 or 3.
        recipe: says which frames are taken, and at which rate they are of what has none.

    Raises:
        DefectError: the file cannot be used.
        TypeError: it is none of these.
        ValueError: a tensor or an array has another shape, type or range.
    """
    medium = Clips.of(recipe)
    if isinstance(given, (bytes, bytearray)):
        return medium.read(bytes(given), recipe.max_pixels, recipe.background).shown
    return clip_of_array(_array(given, recipe.background), medium.selection)


def pack_clip(given: Any, recipe: Recipe) -> Packed:
    """A clip as a file that loses nothing, from which a server makes the clip that `to_clip` does.

    Raises:
        TypeError: see `to_clip`.
        ValueError: see there.
    """
    data = given
    if not isinstance(given, (bytes, bytearray)):
        buffer = io.BytesIO()
        np.save(buffer, _array(given, recipe.background))
        data = buffer.getvalue()
    return Packed(bytes(data), "application/octet-stream", hashlib.sha256(data).hexdigest())


def _array(given: Any, background: str | None) -> NDArray[np.uint8]:
    """The frames of what is no file: (T, H, W, C)."""
    if isinstance(given, np.ndarray):
        return _checked(given)
    if isinstance(given, Tensor) and given.ndim == 4:
        return _stacked([to_pil(frame, "frames") for frame in given], None)
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes, bytearray)) and given:
        return _stacked([to_pil(frame, "frames") for frame in given], background)
    raise TypeError(
        "a clip must be the bytes of a file, a tensor (T, C, H, W), an array (T, H, W, C) or a "
        f"list of pictures, got {type(given).__name__}"
    )


def _checked(given: NDArray[Any]) -> NDArray[np.uint8]:
    if given.dtype != np.uint8 or given.ndim != 4 or given.shape[3] not in (1, 3):
        raise ValueError(
            f"a clip as an array must be uint8 (T, H, W, 1 or 3), got {given.dtype} {given.shape}"
        )
    return given


def _stacked(given: Sequence[Image.Image], background: str | None) -> NDArray[np.uint8]:
    frames = [picture(frame, background).shown.convert("RGB") for frame in given]
    if len({frame.size for frame in frames}) > 1:
        raise ValueError("the frames of a clip must be of one size")
    return np.stack([np.asarray(frame) for frame in frames])


def _are_frames(given: Sequence[Any]) -> bool:
    pictures = (isinstance(one, Image.Image) or getattr(one, "ndim", 0) == 3 for one in given)
    return bool(given) and all(pictures)


def clip_like(result: Clip, given: Any, recipe: Recipe) -> Any:
    """The result in the form of what was given: bytes as a file in the recipe's format."""
    if isinstance(given, (bytes, bytearray)):
        return encode_clip(result, recipe.format_for(jpeg=False))
    if isinstance(given, Tensor):
        grey = given.shape[1] == 1
        frames = result.array("L" if grey else "RGB")
        tensor = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().to(given.device)
        return (tensor.float() / 255).to(given.dtype) if given.is_floating_point() else tensor
    if isinstance(given, np.ndarray):
        return result.array("L" if given.shape[3] == 1 else "RGB")
    mode = "L" if all(frame.mode == "L" for frame in given) else "RGB"
    return [frame.convert(mode) for frame in result.frames]
