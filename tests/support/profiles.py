"""ICC profiles written byte by byte (ICC.1:2001-04), with their mathematics in closed form."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["DISPLAY_P3", "GREY_LINEAR", "INK", "SRGB", "from_p3", "levels"]

_SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410))
_P3 = ((0.51512, 0.29198, 0.15710), (0.24120, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407))
"""XYZ (rows) of red, green and blue (columns), adapted to D50."""


def _linear(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The light of sRGB's levels, both in [0, 1]; Display P3 has the same curve."""
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def levels(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """The levels of sRGB that show so much light, both in [0, 1]."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def from_p3(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The levels of sRGB, in [0, 255], that show the colours of Display P3's levels (..., 3)."""
    light = _linear(pixels / 255) @ np.array(_P3).T @ np.linalg.inv(np.array(_SRGB)).T
    return levels(light) * 255


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _curve(points: Sequence[float]) -> bytes:
    """A tone curve of points in [0, 1]; none is the identity."""
    table = b"".join(struct.pack(">H", round(point * 65535)) for point in points)
    return b"curv" + bytes(4) + struct.pack(">I", len(points)) + table


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    name = b"a test\0"
    words = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(8 + 3 + 67)
    tags = {b"desc": words, b"cprt": b"text" + bytes(4) + b"none\0"} | tags
    tags[b"wtpt"] = b"XYZ " + bytes(4) + _fixed(0.9642, 1, 0.8249)
    at, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", at + len(data), len(content))
        data += content
    size = at + len(data)
    head = struct.pack(">I4sI4s4s", size, b"", 0x02400000, kind, space)
    head += connection + bytes(12) + b"acsp"
    head += bytes(28) + _fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def _screen(matrix: Sequence[Sequence[float]]) -> bytes:
    curve = _curve(_linear(np.linspace(0, 1, 1024)).tolist())
    tags = {
        f"{name}XYZ".encode(): b"XYZ " + bytes(4) + _fixed(*column)
        for name, column in zip("rgb", zip(*matrix, strict=True), strict=True)
    }
    return _profile(
        b"mntr", b"RGB ", b"XYZ ", tags | {f"{name}TRC".encode(): curve for name in "rgb"}
    )


def _ink() -> bytes:
    """A press whose black ink alone can be seen: L is 100 without it, and 0 with all of it."""
    identity = bytes(range(256))
    corners = b"".join(bytes([0 if k else 255, 128, 128]) for _ in range(8) for k in (0, 1))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += identity * 4 + corners + identity * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


SRGB = _screen(_SRGB)
"""sRGB as most files spell it: a matrix, and a curve of 1024 points."""

DISPLAY_P3 = _screen(_P3)

GREY_LINEAR = _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(())})
"""Greys whose levels are proportional to light."""

INK = _ink()
