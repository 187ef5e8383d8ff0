"""The medium `clip` (see `pictures.medium`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.clips.clip import MOST_PIXELS, Clip, Selection, clip_sha256
from diffaug.clips.decode import decode_clip
from diffaug.clips.encode import encode_clip
from diffaug.clips.fit import ClipFit
from diffaug.clips.measures import clip_scores
from diffaug.errors import DefectError
from diffaug.extensions import MADE_CLIPS
from diffaug.manifest.part import Row
from diffaug.pictures.codec import Decoded, decode_mask
from diffaug.pictures.colour import Transparency
from diffaug.pictures.medium import IMAGE
from diffaug.recipe import Recipe

__all__ = ["Clips"]

MOST_VALUES = 1 << 27
"""How many values frames and noise of a clip may have at a model's size: half a gigabyte."""


class Clips:
    """Video clips: frames of pictures, compared by SSIM, PSNR and flicker. See `Medium`.

    Attributes:
        selection: which frames of a file make the clip.
    """

    name, offered = "clip", MADE_CLIPS

    def __init__(self, selection: Selection) -> None:
        self.selection = selection

    @classmethod
    def of(cls, recipe: Recipe) -> Clips:
        """The medium of a recipe."""
        begin, _, end = (recipe.window or "").partition(":")
        return cls(
            Selection(
                window=(Fraction(begin), Fraction(end)) if recipe.window else None,
                fps=Fraction(recipe.fps) if recipe.fps else None,
                frames=recipe.frames,
            )
        )

    def declared(self, data: bytes, max_pixels: int) -> int:
        """See `Medium`. What files say of it need not be so."""
        return MOST_PIXELS

    def pixels(self, x: Clip) -> int:
        """See `Medium`."""
        return len(x.frames) * x.size[0] * x.size[1]

    def kept(self, x: Clip) -> str:
        """See `Medium`: when frames are shown, how wide a pixel is, and the sound."""
        sound = b"" if x.sound is None else x.sound.data
        shown = f"{list(map(str, x.times))} {x.end} {x.aspect} {hashlib.sha256(sound).hexdigest()}"
        return hashlib.sha256(shown.encode()).hexdigest()

    def read(self, data: bytes, max_pixels: int, background: str | None) -> Decoded[Clip]:
        """See `Medium`. What is transparent is seen over the background, and stays opaque."""
        clip = decode_clip(data, max_pixels, background, self.selection)
        return Decoded(clip, clip)

    def read_mask(self, data: bytes, max_pixels: int) -> Image.Image:
        """See `Medium`; one mask for all frames."""
        return decode_mask(data, max_pixels)

    def digest(self, x: Clip) -> str:
        """See `Medium`."""
        return clip_sha256(x)

    def source_facts(self, x: Clip) -> Row:
        """See `Medium`."""
        width, height = x.size
        return {
            "source_width": width,
            "source_height": height,
            "frames": len(x.frames),
            "fps": x.fps,
        }

    def output_facts(self, x: Clip) -> Row:
        """See `Medium`."""
        width, height = x.size
        return {"output_width": width, "output_height": height, "output_frames": len(x.frames)}

    def frames(self, x: Clip) -> int:
        """See `Medium`."""
        return len(x.frames)

    def refuse_length(self, x: Clip, values: int, takes: int | None) -> None:
        """See `Medium`."""
        frames, most = len(x.frames), MOST_VALUES // values
        if frames > most:
            raise DefectError(
                "too_long",
                f"the clip has {frames} frames, and at the size of the model {most} fit into "
                "memory: take fewer (frames, window, fps)",
            )
        if takes is not None and frames != takes:
            raise DefectError(
                "other_length",
                f"the clip has {frames} frames, and the model takes {takes}: take as many by "
                "frames, fps or window, or use a model of pictures",
            )

    def still(self, x: Clip) -> Image.Image:
        """See `Medium`."""
        return x.still

    def fit(
        self,
        x: Clip,
        shape: tuple[int, ...],
        how: str,
        result: str,
        detail: str,
        transparency: Transparency | None = None,
    ) -> ClipFit:
        """See `Medium`."""
        return ClipFit(x, (IMAGE.fit(one, shape, how, result, detail) for one in x.frames))

    def write(self, x: Clip, format: str) -> bytes:
        """See `Medium`."""
        return encode_clip(x, format)

    def read_back(self, data: bytes, max_pixels: int, background: str | None = None) -> Clip:
        """See `Medium`."""
        return decode_clip(data, max_pixels, background, Selection())

    def levels(self, x: Clip) -> NDArray[np.uint8]:
        """See `Medium`."""
        return x.array("RGB")

    def compare(self, pairs: Sequence[tuple[Clip, Clip]]) -> list[dict[str, float | None]]:
        """See `Medium`."""
        return clip_scores(pairs)
