"""Clips as arrays in npy and npz files."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.clips.clip import Clip, Selection, Shown, clip_of, refuse_long
from diffaug.errors import DefectError
from diffaug.pictures.colour import narrowed

__all__ = ["array", "clip_of_array"]

RATE = 25
"""Frames a second of arrays, which say nothing of it, unless the recipe has fps."""


def array(data: bytes, max_pixels: int, selection: Selection) -> Clip:
    """Decode uint8 (frames, height, width, channels), channels 1 or 3; see `decode.decode_clip`.

    An npz file must hold one array.
    """
    try:
        if not zipfile.is_zipfile(io.BytesIO(data)):
            return _clip(io.BytesIO(data), max_pixels, selection)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise DefectError(
                    "unreadable_clip", f"the npz file must hold one array, and holds {len(names)}"
                )
            with archive.open(names[0]) as stream:
                return _clip(stream, max_pixels, selection)
    except (DefectError, MemoryError):
        raise
    except Exception as error:  # zipfile and numpy raise nearly anything on broken bytes
        raise DefectError(
            "unreadable_clip", f"the array cannot be read: {type(error).__name__}: {error}"
        ) from None


def clip_of_array(frames: Iterable[NDArray[np.uint8]], selection: Selection) -> Clip:
    """A clip of frames (H, W, C), at the selection's fps or at RATE.

    Raises:
        DefectError: the selection takes none of them, or too many.
    """
    shown = _shown(frames, selection.fps or Fraction(RATE))
    return clip_of(Selection(selection.window, None, selection.frames).of(shown))


def _clip(stream: IO[bytes], max_pixels: int, selection: Selection) -> Clip:
    """Read an array, whose header is checked before its values, as far as it is taken."""
    version = np.lib.format.read_magic(stream)
    header: Any = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        header = np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or min(shape) < 1:
        raise DefectError(
            "unreadable_clip",
            "a clip must be uint8 of the shape (frames, height, width, channels) with 1 or 3 "
            f"channels, and the array is {dtype} {shape}",
        )
    count, height, width, _ = shape
    if width * height > max_pixels:
        raise DefectError(
            "too_many_pixels",
            f"the clip declares frames of {width}x{height} pixels, more than "
            f"max_pixels={max_pixels}",
        )
    if selection.all or fortran:
        refuse_long(count, (width, height))
    return clip_of_array(_whole(stream, shape) if fortran else _each(stream, shape), selection)


def _whole(stream: IO[bytes], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The frames of an array whose first axis comes last in the file."""
    return (
        np.frombuffer(_bytes(stream, math.prod(shape)), np.uint8).reshape(shape[::-1]).transpose()
    )


def _each(stream: IO[bytes], shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    for _ in range(shape[0]):
        yield np.frombuffer(_bytes(stream, math.prod(shape[1:])), np.uint8).reshape(shape[1:])


def _bytes(stream: IO[bytes], count: int) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise DefectError("truncated_clip", "the array is cut short: bytes are missing at its end")
    return found


def _shown(frames: Iterable[NDArray[np.uint8]], rate: Fraction) -> Iterator[Shown]:
    for number, frame in enumerate(frames):
        pixels = np.ascontiguousarray(frame[..., 0] if frame.shape[2] == 1 else frame)
        yield Shown(number / rate, (number + 1) / rate, narrowed(Image.fromarray(pixels)))
