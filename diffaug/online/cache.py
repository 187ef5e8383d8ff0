"""A cache of results in a folder: each image is generated once, then read."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from contextlib import suppress
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffaug import storage
from diffaug.execution import CHANGES_PIXELS, Execution, device_class, versions
from diffaug.pictures.codec import pixel_sha256

__all__ = ["Cache"]

_KEYWORD = "diffaug"
"""The PNG text chunk that holds a file's mark."""


class Cache:
    """A folder of PNG files, each named by a digest of everything that determines its pixels.

    Any number of processes can share one. A file holds its own name and the digest of its pixels.
    A file without them, whether truncated or foreign, counts as missing and is written again.
    Nothing is ever removed.

    Args:
        folder: a local path; it is created when the first file is written.

    Raises:
        ConfigError: the folder is blank, or the root of the disk.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        storage.refuse_root(os.fspath(folder), "cache")
        self._folder = storage.local_path(folder).resolve()

    @staticmethod
    def key(sample_id: str, execution: Execution) -> str:
        """The name of a copy made on this kind of device with the installed versions."""
        here = versions()
        made = [
            f"{name} {here[name]}" for name in (*CHANGES_PIXELS, "transformers") if name in here
        ]
        made += [str(execution.batch_size), execution.dtype, device_class(execution.device)]
        return hashlib.sha256("|".join([sample_id, *made]).encode()).hexdigest()[:32]

    def read(self, key: str) -> Image.Image | None:
        """The picture of this name, L, LA, RGB or RGBA; None if it is missing or damaged."""
        try:
            data = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        # on damaged bytes, Pillow's readers raise nearly anything
        with suppress(Exception), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mark = image.info.get(_KEYWORD)
            if isinstance(mark, str) and mark.startswith(key):
                found = image.copy()
                found.info.clear()
                if mark == _mark(key, found):
                    return found
        return None

    def write(self, key: str, image: Image.Image) -> None:
        """Store a picture under this name, replacing any file that is there.

        Raises:
            OSError: the folder cannot be written to.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        info.add_text(_KEYWORD, _mark(key, image))
        fresh = path.with_name(f".{key}-{uuid.uuid4().hex}")
        try:
            image.save(fresh, "PNG", compress_level=1, pnginfo=info)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key[2:4] / f"{key}.png"


def _mark(key: str, image: Image.Image) -> str:
    return f"{key} {pixel_sha256(image)}"
