"""A clip: the frames of a video, and when each is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.errors import DefectError

__all__ = [
    "MOST_PIXELS",
    "Clip",
    "Selection",
    "Shown",
    "Sound",
    "clip_of",
    "clip_sha256",
    "refuse_long",
]

MOST_PIXELS = 250_000_000
"""How many pixels the frames of one clip may have together: 270 frames of 1280x720."""

_LEAST = 4096
"""What a frame counts for at least, in pixels: small ones take memory, too."""

FINEST = 1_000_000
"""How many parts of a second are told apart."""

_LARGEST_SIDE = 16384
"""The most pixels of a side that the encoders take."""


class Shown(NamedTuple):
    """A frame, and from when to when it is shown, in seconds."""

    begin: Fraction
    end: Fraction
    frame: Image.Image


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """What is heard with a clip.

    Attributes:
        data: a file with the sound.
        format: of that file, as FFmpeg names it.
    """

    data: bytes
    format: str


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """The frames of a video.

    Attributes:
        frames: at least one, all of one size, and all of mode L or all RGB.
        times: when each is first shown, in seconds, rising; the first at 0.
        end: when the last one ends, in seconds.
        aspect: width / height of a pixel as it is to be shown.
        sound: what accompanies the frames; None without sound.
    """

    frames: tuple[Image.Image, ...]
    times: tuple[Fraction, ...]
    end: Fraction
    aspect: Fraction = Fraction(1)
    sound: Sound | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of every frame."""
        return self.frames[0].size

    @property
    def mode(self) -> str:
        """Of every frame: L or RGB."""
        return self.frames[0].mode

    @property
    def fps(self) -> float:
        """Frames a second, on average."""
        return float(len(self.frames) / self.end)

    @property
    def still(self) -> Image.Image:
        """The frame in the middle, which stands for the clip where one picture is asked for."""
        return self.frames[len(self.frames) // 2]

    def array(self, mode: str) -> NDArray[np.uint8]:
        """The frames in mode L or RGB: uint8 (T, H, W, C), C 1 or 3."""
        alike = (one if one.mode == mode else one.convert(mode) for one in self.frames)
        frames = np.stack([np.asarray(frame) for frame in alike])
        return frames[..., None] if frames.ndim == 3 else frames


def clip_sha256(clip: Clip) -> str:
    """A clip's identity: sha256, in hex, of "clip mode widthxheight frames\\n" and its raw bytes.

    When frames are shown does not enter, so a clip is the same to a loader that has only frames.
    """
    header = f"clip {clip.mode} {clip.size[0]}x{clip.size[1]} {len(clip.frames)}\n"
    total = hashlib.sha256(header.encode())
    for frame in clip.frames:
        total.update(frame.tobytes())
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which frames of a video make the clip.

    Attributes:
        window: begin and end, in seconds; None: all of it.
        fps: frames a second, each the last one that was shown by then; None: those that there are.
        frames: the most, from the first on; None: all.
    """

    window: tuple[Fraction, Fraction] | None = None
    fps: Fraction | None = None
    frames: int | None = None

    @property
    def all(self) -> bool:
        """Whether every frame is taken, each as long as it is."""
        return self == Selection()

    def of(self, shown: Iterable[Shown]) -> list[Shown]:
        """The frames that are taken, from 0 on.

        Args:
            shown: all frames in their order; none is asked for that comes after the last taken.

        Raises:
            DefectError: there are none, or they have too many pixels together.
        """
        taken: list[Shown] = []
        for one in islice(self._within(self._paced(shown)), self.frames):
            refuse_long(len(taken) + 1, one.frame.size)
            taken.append(one)
        if not taken:
            what = "no frame" if self.window is None else "no frame in the window"
            raise DefectError("no_frames", f"the video has {what}")
        first = taken[0].begin
        return [Shown(begin - first, end - first, frame) for begin, end, frame in taken]

    def _within(self, shown: Iterable[Shown]) -> Iterator[Shown]:
        begin, end = self.window or (Fraction(0), None)
        for one in shown:
            if end is not None and one.begin >= end:
                return
            if one.end > begin:
                until = one.end if end is None else min(one.end, end)
                yield Shown(max(one.begin, begin), until, one.frame)

    def _paced(self, shown: Iterable[Shown]) -> Iterator[Shown]:
        if self.fps is None:
            yield from shown
            return
        number = 0
        for one in shown:
            while (begin := number / self.fps) < one.end:
                number += 1
                yield Shown(begin, number / self.fps, one.frame)


def refuse_long(count: int, size: tuple[int, int]) -> None:
    """Refuse so many frames of this size.

    Raises:
        DefectError: they have more than MOST_PIXELS together.
    """
    most = MOST_PIXELS // max(_LEAST, size[0] * size[1])
    if count > most:
        raise DefectError(
            "too_long",
            f"more than {most} frames of {size[0]}x{size[1]}, which "
            "are too many for one clip: cut it, or take a part of it (window, frames, fps)",
        )


def clip_of(
    shown: Sequence[Shown], aspect: Fraction = Fraction(1), sound: Sound | None = None
) -> Clip:
    """A clip of frames that may be L and RGB in turn, as a film that fades from black is.

    Raises:
        DefectError: the frames are of different sizes, too large to be stored again, or not shown
            one after the other.
    """
    times = [round(time * FINEST) for time in (*(one.begin for one in shown), shown[-1].end)]
    if any(after <= time for time, after in pairwise(times)):
        raise DefectError(
            "unordered_frames", "two frames are to be shown at the same time, or in another order"
        )
    if max(shown[0].frame.size) > _LARGEST_SIDE:
        raise DefectError(
            "too_many_pixels",
            f"its frames are {shown[0].frame.width}x{shown[0].frame.height}, and a clip's side has "
            f"at most {_LARGEST_SIDE} pixels",
        )
    pictures = [one.frame for one in shown]
    sizes = dict.fromkeys(picture.size for picture in pictures)
    if len(sizes) > 1:
        (a, b), (c, d), *_ = sizes
        raise DefectError("changing_size", f"its frames change their size, from {a}x{b} to {c}x{d}")
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    alike = (one if one.mode == mode else one.convert(mode) for one in pictures)
    return Clip(tuple(alike), tuple(one.begin for one in shown), shown[-1].end, aspect, sound)
