"""From a file to a clip, whatever its format: the one reading of all commands.

Every limit is checked before the pixels that would break it are decoded.
"""

from __future__ import annotations

from diffaug.clips.animations import animation
from diffaug.clips.arrays import array
from diffaug.clips.clip import Clip, Selection
from diffaug.clips.containers import container
from diffaug.errors import DefectError

__all__ = ["decode_clip"]

_NUMPY = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
_MATROSKA = b"\x1aE\xdf\xa3"
_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
"""How a QuickTime or MP4 file can begin, behind the size of its first atom."""


def decode_clip(data: bytes, max_pixels: int, background: str | None, selection: Selection) -> Clip:
    """Decode a file: MP4, WebM or Matroska; GIF, APNG or animated WebP; npy or npz.

    Frames come as a player shows them: upright, 8 bits, from the first one shown, at time 0.

    Args:
        data: the file.
        max_pixels: the most pixels that a frame may declare.
        background: the colour behind transparent pixels; None as in `pictures.codec.picture`.
        selection: which frames are taken.

    Raises:
        DefectError: it cannot be decoded, not to its end, or is too large.
    """
    if not data:
        raise DefectError("empty_clip", "the clip's member has zero bytes")
    if data.startswith((_NUMPY, _ZIP)):
        return array(data, max_pixels, selection)
    if data.startswith(_MATROSKA):
        return container(data, "matroska", max_pixels, background, selection)
    if data[4:8] in _ATOMS:
        return container(data, "mov", max_pixels, background, selection)
    return animation(data, max_pixels, background, selection)
