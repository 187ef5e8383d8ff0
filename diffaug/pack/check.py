"""Checking listed pictures: each is read and decoded, in a few threads, before it is packed."""

from __future__ import annotations

import errno
import io
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from PIL import Image

from diffaug.clips.clip import Selection
from diffaug.clips.decode import decode_clip
from diffaug.errors import DefectError, as_os_error
from diffaug.extensions import CLIPS, TEXTS, USUAL
from diffaug.pack.source import Listed
from diffaug.pictures.codec import decode
from diffaug.texts.text import read_text

__all__ = ["Checked", "checked"]

_THREADS = min(8, os.cpu_count() or 1)
_AT_ONCE = 8  # pictures a task: one by one, handing small ones over costs more than checking them

_EXTENSIONS = {
    "PNG": "png",
    "JPEG": "jpg",
    "MPO": "jpg",
    "WEBP": "webp",
    "BMP": "bmp",
    "GIF": "gif",
    "TIFF": "tif",
    "PPM": "ppm",
    "AVIF": "avif",
    "JPEG2000": "jp2",
}
"""The usual extension of each format that the codec reads, by Pillow's name of the format."""

_FIRST = Selection(frames=1)
"""Of a clip one frame is decoded, since jobs may take a part of it."""

_NO_FILE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class Checked:
    """A listed picture that was read, with what it holds or why it cannot be packed.

    Attributes:
        picture: as the source lists it.
        defect: why it cannot be packed; None for a good picture, and only then is the rest set.
        data: the file's bytes.
        extension: the file's, in lower case, without the dot, if it is a usual one (see
            `extensions.USUAL`); else the usual one of its format.
        mode: L (grey) or RGB; empty for a text.
        size: (width, height), upright; zeros for a text.
    """

    picture: Listed
    defect: DefectError | None = None
    data: bytes = b""
    extension: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)


def checked(pictures: Iterator[Listed], max_pixels: int) -> Generator[Checked, None, None]:
    """Check every picture in order, with a few in memory at a time.

    Raises:
        OSError: storage failed, which is not a defect of a picture.
    """

    def check(some: list[Listed]) -> list[Checked]:
        return [_check(picture, max_pixels) for picture in some]

    waiting: deque[Future[list[Checked]]] = deque()
    with ThreadPoolExecutor(_THREADS, "diffaug-pack") as pool:
        while some := list(islice(pictures, _AT_ONCE)):
            waiting.append(pool.submit(check, some))
            if len(waiting) > _THREADS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _check(picture: Listed, max_pixels: int) -> Checked:
    if picture.defect is not None:
        return Checked(picture, picture.defect)
    try:
        data, named = _load(picture), picture.extension
        if named in TEXTS:
            if not read_text(data).strip():
                raise DefectError("empty_text", "the text is empty")
            return Checked(picture, data=data, extension=named)
        if named in CLIPS:
            clip = decode_clip(data, max_pixels, None, _FIRST)
            return Checked(picture, None, data, named, clip.mode, clip.size)
        image = decode(data, max_pixels).shown
        extension = named if named in USUAL else _extension(data)
    except DefectError as defect:
        return Checked(picture, defect)
    return Checked(picture, None, data, extension, image.mode, image.size)


def _load(picture: Listed) -> bytes:
    try:
        return picture.load()
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in _NO_FILE:
            where = error.filename or "of that name"
            raise DefectError("missing_file", f"there is no file {where}") from None
        raise
    except ValueError as error:
        raise DefectError("missing_file", f"it cannot be read: {error}") from None
    except Exception as error:
        raise as_os_error(error) from error


def _extension(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        return _EXTENSIONS[str(image.format)]
