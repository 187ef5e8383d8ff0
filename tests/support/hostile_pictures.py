"""The pictures that hostile images show, and what their files are made with."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.hostile import png
from tests.support.hostile_case import Case, between
from tests.support.profiles import from_p3, levels

GREY = Image.open(io.BytesIO(png(1)))
COLOUR = Image.merge("RGB", [GREY, GREY.rotate(90), GREY.rotate(180)])
PIXELS = np.asarray(GREY)
CLEAR = Image.fromarray(255 - PIXELS)
"""How opaque the transparent pictures are: the less, the brighter `grey` is."""

PICTURES: dict[str, Image.Image] = {
    "grey": GREY,
    "colour": COLOUR,
    "bits": GREY.point(lambda level: 255 * (level > 127)),
    "oblong": COLOUR.resize((40, 20)),
    "upright": COLOUR.resize((20, 40)),
    "dot": GREY.resize((1, 1)),
    "line": GREY.resize((1, 500)),
    "cut_off": GREY.crop((0, 0, 28, 20)),
    "grey_on_white": Image.composite(GREY, Image.new("L", (28, 28), 255), GREY),
    "grey_on_black": Image.composite(GREY, Image.new("L", (28, 28), 0), CLEAR),
    "colour_on_white": Image.composite(COLOUR, Image.new("RGB", (28, 28), "white"), CLEAR),
    "colour_in_p3": Image.fromarray(from_p3(np.asarray(COLOUR)).round().astype(np.uint8)),
    "grey_in_light": Image.fromarray((levels(PIXELS / 255) * 255).round().astype(np.uint8)),
    "no_black": GREY.point(lambda level: level or 255),
    "no_white": GREY.point(lambda level: level % 255),
}
"""What the good images show, by name: grey or RGB, upright."""


def image_case(
    name: str,
    what: str,
    data: bytes | Callable[[], bytes],
    code: str | None = None,
    *,
    ending: str = "png",
    **more: Any,
) -> Case:
    """An image file between two good ones. What it shows is `grey`, if nothing else is said."""
    outcome = (("a", None), ("b", code), ("z", None))

    def make() -> bytes:
        return between([(f"b.{ending}", data() if callable(data) else data)])

    return Case(name, what, make, outcome, **more)


def png_file(
    width: int,
    height: int,
    rows: bytes,
    depth: int = 8,
    colour: int = 0,
    extra: bytes = b"",
    interlaced: int = 0,
) -> bytes:
    """A PNG by its own account: `rows` are what is compressed, filter bytes included."""
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    end = chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + start + extra + end


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def rows_of(pixels: NDArray[Any]) -> bytes:
    """The rows of a PNG, unfiltered."""
    return b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)


def patched(data: bytes, at: int, patch: bytes) -> bytes:
    return data[:at] + patch + data[at + len(patch) :]
