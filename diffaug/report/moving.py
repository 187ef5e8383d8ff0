"""Clips on a page: an animation, a still for as long as nobody looks, and a strip for print."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from diffaug.clips.clip import Clip

__all__ = ["animation", "frame_strip"]

_SMALL = 64
"""Up to which side frames are stored without loss, since they are enlarged pixel by pixel."""

_FRAMES, _STRIP = 40, 6
"""How many frames of a clip a page shows at most, moving and in print, spread evenly."""


def animation(clip: Clip, side: int) -> bytes:
    """An animated WebP of a clip, which lasts as long, of frames that are no larger than `side`."""
    places = _evenly(len(clip.frames), _FRAMES)
    ends = [*(clip.times[place] for place in places[1:]), clip.end]
    lasts = [float(end - clip.times[at]) for at, end in zip(places, ends, strict=True)]
    first, *others = (_reduced(clip.frames[place], side) for place in places)
    stored = io.BytesIO()
    first.save(
        stored,
        "webp",
        save_all=True,
        append_images=others,
        duration=[max(1, round(1000 * one)) for one in lasts],
        loop=0,
        lossless=max(clip.size) <= _SMALL,
        quality=80,
    )
    return stored.getvalue()


def frame_strip(clip: Clip, side: int) -> Image.Image:
    """A few frames of a clip, side by side."""
    frames = [_reduced(clip.frames[place], side) for place in _evenly(len(clip.frames), _STRIP)]
    width, height = frames[0].size
    strip = Image.new(clip.mode, (width * len(frames), height))
    for number, frame in enumerate(frames):
        strip.paste(frame, (number * width, 0))
    return strip


def _reduced(frame: Image.Image, side: int) -> Image.Image:
    found = frame.copy()
    found.thumbnail((side, side))
    return found


def _evenly(count: int, most: int) -> Sequence[int]:
    """At most so many places of `count`, the first among them."""
    some = min(count, most)
    return [place * count // some for place in range(some)]
