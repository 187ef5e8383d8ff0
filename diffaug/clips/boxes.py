"""What the index of an MP4 declares, before FFmpeg makes room for it.

FFmpeg keeps a record of every sample, about 35 bytes, as soon as it opens a file, and where all
samples have one size their number is a single number in the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffaug.errors import DefectError

__all__ = ["refuse_fabricated"]

_INSIDE = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
"""The boxes that lead to a track's sizes (ISO/IEC 14496-12)."""


def refuse_fabricated(data: bytes) -> None:
    """Refuse a file whose index declares more samples than the file has bytes.

    Raises:
        DefectError: it does.
    """
    for kind, begin, _ in _boxes(data, 0, len(data)):
        if kind == b"stsz":
            samples = int.from_bytes(data[begin + 8 : begin + 12], "big")
            if samples > len(data):
                raise DefectError(
                    "unreadable_clip",
                    f"the clip declares {samples} samples, and has {len(data)} bytes",
                )


def _boxes(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of what boxes hold, also of those inside the ones that lead to sizes."""
    while begin + 8 <= end:
        size, kind, inside = (
            int.from_bytes(data[begin : begin + 4], "big"),
            data[begin + 4 : begin + 8],
            begin + 8,
        )
        if size == 1:
            size, inside = int.from_bytes(data[begin + 8 : begin + 16], "big"), begin + 16
        until = end if size == 0 else begin + size
        if until < inside or until > end:
            return
        yield kind, inside, until
        if kind in _INSIDE:
            yield from _boxes(data, inside, until)
        begin = until
