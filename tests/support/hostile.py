"""Shards made of real fixture images, and a few that go wrong, for tests that want some of those.

Every way we know to go wrong is in `hostile_*.py`, one input each; see `test_hostile.py`.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from tests.conftest import SHARDS

BLOCK = 512
END = bytes(2 * BLOCK)

Files = Iterable[tuple[str, bytes]]


def fashion(count: int, start: int = 0) -> list[dict[str, bytes]]:
    """Real samples, from `start` on: `__key__`, `png`, `cls` and `txt`, as they lie in the tars."""
    return [dict(sample) for sample in _all_fashion()[start : start + count]]


@cache
def _all_fashion() -> list[dict[str, bytes]]:
    samples: dict[str, dict[str, bytes]] = {}
    for shard in SHARDS:
        with tarfile.open(shard) as tar:
            for info in tar:
                key, _, extension = info.name.partition(".")
                handle = tar.extractfile(info)
                assert handle is not None
                sample = samples.setdefault(key, {"__key__": key.encode()})
                sample[extension] = handle.read()
    return list(samples.values())


def png(index: int) -> bytes:
    """The bytes of one real image."""
    return fashion(1, index)[0]["png"]


def write_samples(path: Path, samples: Iterable[dict[str, bytes]]) -> Path:
    """A well-made shard of samples."""
    return write_files(path, _files(samples))


def write_files(path: Path, files: Files, encoding: str = "utf-8") -> Path:
    """A well-made tar of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding=encoding) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _files(samples: Iterable[dict[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    for sample in samples:
        for extension, data in sample.items():
            if extension != "__key__":
                yield f"{sample['__key__'].decode()}.{extension}", data


def blocks(files: Files) -> bytes:
    """The tar of `files` without its end-of-archive mark."""
    data = b""
    for name, content in files:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        data += info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % BLOCK)
    return data


def cut_in_image(path: Path) -> None:
    path.write_bytes(blocks([("a.png", png(0)), ("b.png", png(1))])[:-BLOCK])


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def broken_images(path: Path) -> None:
    files = [
        ("a.png", png(0)),
        ("half.png", png(1)[:200]),
        ("text.png", b"no image"),
        ("none.png", b""),
    ]
    write_files(path, [*files, ("z.png", png(2))])


LONG_KEYS = ("手袋/é-ß-🙂", "x" * 150, f"{'deep/' * 40}leaf", "ü" * 120, "with space & 'quotes'")


def kinds_of_image(path: Path) -> None:
    grey = Image.open(io.BytesIO(png(0)))
    rgb = Image.merge("RGB", [grey, grey.rotate(90), grey.rotate(180)])
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: a quarter turn
    files = {
        "rgb.jpg": encoded(rgb, "JPEG"),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "alpha.webp": encoded(rgb.convert("RGBA"), "WEBP"),
        "palette.gif": encoded(rgb.quantize(8), "GIF"),
        "bits.png": encoded(grey.convert("1"), "PNG"),
        "deep.png": encoded(grey.convert("I;16"), "PNG"),
        "upper.PNG": png(1),
        "wide.png": encoded(rgb.resize((61, 17)), "PNG"),
        "tiny.png": encoded(grey.resize((5, 3)), "PNG"),
        "dot.png": encoded(grey.resize((1, 1)), "PNG"),
        "turned.jpg": encoded(rgb.resize((40, 20)), "JPEG", exif=turned),
        "float.tiff": encoded(grey.convert("F"), "TIFF"),
        "bomb.png": _png_that_declares(60_000, 60_000),
    }
    write_files(path, files.items())


def _png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
