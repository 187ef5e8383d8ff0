"""What is seen of a picture: its colours in sRGB and, where it is transparent, a background.

A file's numbers are colours only under its ICC profile; without one they are taken for sRGB, the
space that models are trained on. Pixels that are partly transparent hide a colour that nobody is
meant to see.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageColor

from diffaug.pictures.depth import GREYS

__all__ = ["Transparency", "narrowed", "shown"]

_log = logging.getLogger(__name__)

_WHITE, _BLACK = "#ffffff", "#000000"
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""The mode of the pixels that a profile of a colour space describes."""

_ANY = [0] + 255 * [255]
"""A table that makes opaque whatever is not wholly transparent."""

_SAME = 2
"""A profile that moves no colour by more levels, of 255, is a spelling of sRGB."""


@dataclass(frozen=True, slots=True, eq=False)
class Transparency:
    """How a picture is transparent.

    Attributes:
        colours: those of its pixels in sRGB, whatever is behind them: mode L, if the file stores
            greys and what is behind is grey, or RGB. Where nothing is seen of them, they are the
            colour behind, so that a reader that drops `alpha` does not uncover what it hides.
        alpha: how opaque each pixel is, mode L.
        ground: the colour behind.
    """

    colours: Image.Image
    alpha: Image.Image
    ground: tuple[int, ...]

    def of(self, colours: Image.Image) -> Image.Image:
        """Colours with this transparency: mode LA or RGBA."""
        found = colours.copy()
        found.putalpha(self.alpha)
        return found

    def seen(self, image: Image.Image) -> Image.Image:
        """What is seen of a picture `of` other colours: mode L or RGB, opaque."""
        colours = image.convert("L" if image.mode == "LA" else "RGB")
        return _over(colours, self.ground, self.alpha)


def shown(
    image: Image.Image, stored: Image.Image, background: str | None
) -> tuple[Image.Image, Transparency | None]:
    """What is seen of a picture: mode L or RGB, in sRGB and opaque; and how it is transparent.

    A profile is applied by its relative colorimetric intent with black point compensation. A broken
    one, and one of another colour space than the pixels', is ignored, and the log reports it once.

    Args:
        image: with the mode and the metadata of its file, upright.
        stored: its pixels as mode L or RGB, without alpha.
        background: the colour behind it; None is white, or black if the file stores greys.

    Returns:
        what is seen, `stored` itself where neither a profile nor transparency changes a pixel; the
        transparency is None if every pixel is opaque.
    """
    seen, transparency = _in_srgb(image, stored), None
    if (alpha := _alpha(image)) is not None:
        ground = ImageColor.getrgb(background or (_BLACK if image.mode in GREYS else _WHITE))
        colours, seen = seen, _over(seen, ground, alpha)
        mode = "L" if image.mode in GREYS and seen.mode == "L" else "RGB"
        colours = Image.composite(colours.convert(mode), seen.convert(mode), alpha.point(_ANY))
        transparency = Transparency(colours, alpha, ground)
    if seen is stored:
        return stored, None
    seen = narrowed(seen)
    same = seen.mode == stored.mode and seen.tobytes() == stored.tobytes()
    return stored if same else seen, transparency


def narrowed(image: Image.Image) -> Image.Image:
    """Colour whose three channels are equal everywhere as grey; any other picture unchanged."""
    if image.mode != "RGB":
        return image
    x, y = image.width // 2, image.height // 2
    if len(set(image.crop((x, y, x + 1, y + 1)).tobytes())) > 1:  # one pixel tells most colour
        return image
    red, green, blue = (band.tobytes() for band in image.split())
    return image.getchannel(0) if red == green == blue else image


def _in_srgb(image: Image.Image, stored: Image.Image) -> Image.Image:
    """The stored picture in sRGB; itself where its file has no profile, or that of sRGB."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return stored
    transform = _to_srgb(profile)
    if transform is None:
        return stored
    mode = transform.input_mode
    fits = (mode == "CMYK") == (image.mode == "CMYK") and (mode != "L" or stored.mode == "L")
    if not fits:
        _report(f"it describes {mode} and the pixels are {image.mode}")
        return stored
    found = transform.apply(image if mode == "CMYK" else stored.convert(mode))
    # rounding must not tint what was grey
    return _grey(found) if stored.mode == "L" else found


def _grey(image: Image.Image) -> Image.Image:
    """A picture that is grey but for rounding as mode L; any other one unchanged."""
    red, green, blue = image.split()
    apart = (ImageChops.difference(green, other).histogram() for other in (red, blue))
    return image if any(sum(counts[_SAME + 1 :]) for counts in apart) else green


@lru_cache(maxsize=32)
def _to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None if it is broken, or is sRGB."""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(given.profile.xcolor_space.strip())
        if mode is None:
            _report(f"it describes {given.profile.xcolor_space.strip()}")
            return None
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        if mode == "L":  # Little CMS's table is up to ten levels off in dark greys
            flags |= ImageCms.Flags.NOOPTIMIZE
        transform = ImageCms.ImageCmsTransform(
            given,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=flags,
        )
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError) as error:
        _report(f"it is broken ({error})")
        return None
    return None if _is_srgb(transform) else transform


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether it leaves colours as they are, whatever its profile is called."""
    mode = transform.input_mode
    if mode == "CMYK":
        return False
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    cube = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3), axis=-1)
    colours = ramp[None] if mode == "L" else np.concatenate([ramp, cube.reshape(-1, 3)])[None]
    found = np.asarray(transform.apply(Image.fromarray(colours).convert(mode)))
    return bool(np.abs(found.astype(np.int16) - colours).max() <= _SAME)


@lru_cache(maxsize=256)
def _report(why: str) -> None:
    """Log, once for each reason, that profiles are ignored."""
    _log.warning("a colour profile is ignored, and its picture taken for sRGB: %s", why)


def _alpha(image: Image.Image) -> Image.Image | None:
    """How opaque each pixel is, mode L; None if all are."""
    if not image.has_transparency_data:
        return None
    bands = image.getbands()
    if image.mode in ("P", "PA"):
        alpha = image.convert("RGBA").getchannel("A")
    elif bands[-1] in ("A", "a"):
        alpha = image.getchannel(len(bands) - 1)
    else:
        alpha = _unlike(image, image.info["transparency"])
    return None if alpha.getextrema() == (255, 255) else alpha


def _unlike(image: Image.Image, key: object) -> Image.Image:
    """Opaque except where the pixels are of the one grey or colour that means transparent."""
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    same = np.zeros(pixels.shape[:2], dtype=np.bool_)
    if image.mode in GREYS and isinstance(key, int):
        same = pixels == key
    elif image.mode == "RGB" and isinstance(key, (tuple, list)) and len(key) == 3:
        same = (pixels == np.array(key)).all(axis=2)
    return Image.fromarray(np.where(same, 0, 255).astype(np.uint8))


def _over(image: Image.Image, ground: tuple[int, ...], alpha: Image.Image) -> Image.Image:
    """The picture over one colour, blended in the space of its levels as browsers do."""
    neutral = len(set(ground)) == 1
    mode = "L" if image.mode == "L" and neutral else "RGB"
    behind = Image.new(mode, image.size, ground[0] if mode == "L" else ground)
    return Image.composite(image.convert(mode), behind, alpha)
