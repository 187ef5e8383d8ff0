"""Results kept in a folder: an image is generated once, and then read."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from contextlib import suppress
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffaug.execution import CHANGES_PIXELS, Execution, device_class, versions
from diffaug.pictures.codec import pixel_sha256

__all__ = ["Cache"]

_WORD = "diffaug"


class Cache:
    """A folder of PNG files, each named by all that makes its pixels what they are.

    Any number of processes can share one. A file tells its own name and the digest of its
    pixels; one that does not, be it torn or of somebody else, counts as missing and is written
    anew. Nothing is ever removed.

    Args:
        folder: a local path; it is made when the first file is written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).expanduser().resolve()

    def key(self, sample_id: str, execution: Execution) -> str:
        """The name of a copy made by this machine's kind of device and these versions."""
        here = versions()
        made = [
            f"{name} {here[name]}" for name in (*CHANGES_PIXELS, "transformers") if name in here
        ]
        made += [str(execution.batch_size), execution.dtype, device_class(execution.device)]
        return hashlib.sha256("|".join([sample_id, *made]).encode()).hexdigest()[:32]

    def read(self, key: str) -> Image.Image | None:
        """The picture of this name, L or RGB; None if there is none that is whole."""
        try:
            data = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        # of broken bytes, Pillow's readers raise nearly anything
        with suppress(Exception), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            said = image.info.get(_WORD)
            if isinstance(said, str) and said.startswith(key):
                found = image.copy()
                found.info.clear()
                if said == _said(key, found):
                    return found
        return None

    def write(self, key: str, image: Image.Image) -> None:
        """Keep a picture under this name, in the place of whatever is there.

        Raises:
            OSError: the folder cannot be written to.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        info.add_text(_WORD, _said(key, image))
        fresh = path.with_name(f".{key}-{uuid.uuid4().hex}")
        try:
            image.save(fresh, "PNG", compress_level=1, pnginfo=info)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key[2:4] / f"{key}.png"


def _said(key: str, image: Image.Image) -> str:
    return f"{key} {pixel_sha256(image)}"
