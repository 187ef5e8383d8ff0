"""TIFF files of grey pixels written byte by byte, of depths and kinds that Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed", "tiff"]

WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
UNSIGNED, SIGNED = 1, 2


def tiff(
    values: NDArray[Any],
    bits: int,
    photometric: int = BLACK_IS_ZERO,
    sample_format: int = UNSIGNED,
    order: str = "<",
    deflated: bool = False,
) -> bytes:
    """One strip of grey values.

    Args:
        values: integers (H, W), as they are to be stored.
        bits: of a value.
        photometric: what 0 means.
        sample_format: signed or not.
        order: `<` for a file of Intel's byte order, `>` for one of Motorola's.
        deflated: whether the strip is compressed.
    """
    height, width = values.shape
    strip = packed(values, bits, order)
    strip = zlib.compress(strip) if deflated else strip
    tags = {256: width, 257: height, 258: bits, 259: 8 if deflated else 1, 262: photometric, 273: 0}
    tags |= {277: 1, 278: height, 279: len(strip), 339: sample_format}
    begin = 8 + 2 + 12 * len(tags) + 4
    tags[273] = begin
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + strip


def packed(values: NDArray[Any], bits: int, order: str = "<") -> bytes:
    """Padded rows of values: whole bytes in the file's order, or bits from the highest."""
    if bits % 8 == 0:
        return values.astype(f"{order}i{bits // 8}").tobytes()
    each = (values[:, :, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(each.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()
