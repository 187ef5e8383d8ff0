"""The idx format of MNIST: a big-endian header, then unsigned bytes, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO

import numpy as np
from PIL import Image

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.pack.source import Listed, cover, order
from diffaug.pictures.codec import encode

__all__ = ["IdxSource"]

_LABELS, _GREY, _RGB = 0x0801, 0x0803, 0x0804
_BLOCK = 1 << 16
_USUAL_NAME = re.compile(r"images([-.])idx[34]-ubyte(\.gz)?$")


class IdxSource:
    """An idx file of 8-bit images, (N, H, W) grey or (N, H, W, 3) RGB, and one of labels (N,).

    Images become PNG files. Opening the source reads the files once from start to end, so that
    defects are found before anything is written. Memory holds one image and the labels.
    """

    def __init__(self, url: str, labels: str | None, classes: tuple[str, ...] | None) -> None:
        """Open `url`; `labels` is by default the file of the usual name next to it, if any.

        Raises:
            ConfigError: a file is not an idx file of the right kind or is cut short, or the
                counts or classes do not match.
        """
        self.url = url
        self.notes: list[str] = []
        self._shape = _images_shape(url)
        labels = labels or _usual_labels(url)
        self._labels = _read_labels(labels, len(self)) if labels else None
        if self._labels is not None:
            cover(classes, max(self._labels), storage.public_url(labels or ""))
        elif classes is not None:
            raise ConfigError(
                f"{storage.public_url(url)} has no labels for --classes to name: give --labels"
            )
        self.classes = classes

    def __len__(self) -> int:
        return self._shape[0]

    def pictures(self, shuffle: int | None) -> Iterator[Listed]:
        """Every image once, as PNG."""
        shape = self._shape[1:]
        size = math.prod(shape)
        with self._open(seekable=shuffle is not None) as stream:
            begin = stream.tell()
            for index in order(len(self), shuffle):
                if shuffle is not None:
                    stream.seek(begin + index * size)
                pixels = stream.read(size)
                if len(pixels) != size:
                    raise ConfigError(
                        f"{storage.public_url(self.url)} changed while it was being read"
                    )
                label = None if self._labels is None else self._labels[index]
                yield Listed(f"image {index}", partial(_png, pixels, shape), "png", label)

    @contextmanager
    def _open(self, seekable: bool) -> Iterator[IO[bytes]]:
        """The file's bytes from the first pixel on, unpacked to disk if seeking must be fast."""
        with storage.open_read(self.url) as stream, tempfile.TemporaryFile() as unpacked:
            if seekable and self.url.endswith(".gz"):
                shutil.copyfileobj(stream, unpacked)
                unpacked.seek(0)
                stream = unpacked
            stream.read(_header_length(self._shape))
            yield stream


def _png(pixels: bytes, shape: tuple[int, ...]) -> bytes:
    return encode(Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape)), "png")


def _usual_labels(url: str) -> str | None:
    """The labels file that by its usual name belongs to an images file, if it exists."""
    for zipped in (r"\2", "", ".gz"):
        labels, known = _USUAL_NAME.subn(rf"labels\1idx1-ubyte{zipped}", url)
        if known and storage.exists(labels):
            return labels
    return None


def _images_shape(url: str) -> tuple[int, ...]:
    """(N, H, W) or (N, H, W, 3), after checking that the file is whole."""
    shape = _shape(url, {_GREY: 3, _RGB: 4})
    if len(shape) == 4 and shape[3] != 3:
        raise ConfigError(
            f"{storage.public_url(url)} has a fourth dimension of {shape[3]}: expected 3, for RGB"
        )
    if 0 in shape:
        size = "x".join(map(str, shape))
        raise ConfigError(f"{storage.public_url(url)} holds no image: its dimensions are {size}")
    return shape


def _read_labels(url: str, count: int) -> bytes:
    """The labels of `count` images, one byte each."""
    (found,) = _shape(url, {_LABELS: 1})
    if found != count:
        raise ConfigError(
            f"{storage.public_url(url)} holds {found} labels, but there are {count} images: give "
            "the file of their labels with --labels"
        )
    with storage.open_read(url) as stream:
        stream.read(_header_length((found,)))
        return stream.read(count)


def _shape(url: str, kinds: dict[int, int]) -> tuple[int, ...]:
    """The dimensions of an idx file, after checking its magic number and its length.

    `kinds` gives the number of dimensions for each accepted magic number.
    """
    with _reading(url) as stream:
        shape = _read_header(stream, url, kinds)
        _check_length(stream, math.prod(shape), url)
    return shape


def _header_length(shape: tuple[int, ...]) -> int:
    return 4 + 4 * len(shape)


@contextmanager
def _reading(url: str) -> Iterator[IO[bytes]]:
    try:
        with storage.open_read(url) as stream:
            yield stream
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"no such file: {storage.public_url(url)}") from None
    except EOFError:
        raise ConfigError(f"{storage.public_url(url)} is a gzip file cut short") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{storage.public_url(url)} is a broken gzip file: {error}") from None


def _read_header(stream: IO[bytes], url: str, kinds: dict[int, int]) -> tuple[int, ...]:
    """The dimensions in the header; `kinds` gives their number for each magic number."""
    expected = " or ".join(f"0x{magic:08x}" for magic in kinds)
    what, hint = "labels", ""
    if _LABELS not in kinds:
        what, hint = "images", "; SOURCE may also be a folder, or a .csv or .parquet table"
    start = stream.read(4)
    dimensions = kinds.get(int.from_bytes(start, "big"))
    if dimensions is None or len(start) < 4:
        raise ConfigError(
            f"{storage.public_url(url)} is not an idx file of {what}: expected it to begin with "
            f"{expected}, found 0x{start.hex()}{hint}"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ConfigError(
            f"{storage.public_url(url)} is cut short in its header: expected {4 + 4 * dimensions} "
            f"bytes, found {4 + len(sizes)}"
        )
    return struct.unpack(f">{dimensions}I", sizes)


def _check_length(stream: IO[bytes], expected: int, url: str) -> None:
    """Read to the end, and compare the length with the header's."""
    where = storage.public_url(url)
    found = 0
    try:
        while block := stream.read(_BLOCK):
            found += len(block)
    except EOFError:
        raise ConfigError(
            f"{where} is cut short: expected {expected} bytes after its header, found about "
            f"{found} before its gzip stream breaks off"
        ) from None
    if found != expected:
        raise ConfigError(
            f"{where} is cut short or does not match its header: expected {expected} bytes after "
            f"it, found {found}"
        )
