"""Shards that go wrong in every way we know, made of real fixture images.

Every function of `HOSTILE` writes one shard to a path. What a job must make of each is said where
it is tested.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from tests.conftest import SHARDS

BLOCK = 512
END = bytes(2 * BLOCK)

Files = Iterable[tuple[str, bytes]]
Make = Callable[[Path], None]


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


def _blocks(files: Files) -> bytes:
    """The tar of `files` without its end-of-archive mark."""
    data = b""
    for name, content in files:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        data += info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % BLOCK)
    return data


def cut_in_image(path: Path) -> None:
    path.write_bytes(_blocks([("a.png", png(0)), ("b.png", png(1))])[:-BLOCK])


def cut_in_header(path: Path) -> None:
    whole = _blocks([("a.png", png(0)), ("b.png", png(1))])
    path.write_bytes(whole + _blocks([("c.png", png(2))])[:200])


def cut_between_members(path: Path) -> None:
    path.write_bytes(_blocks([("a.png", png(0)), ("b.png", png(1))]))


def corrupt_header(path: Path) -> None:
    first, second = _blocks([("a.png", png(0))]), _blocks([("b.png", png(1))])
    third = _blocks([("c.png", png(2))])
    path.write_bytes(first + second + b"?" + third[1:] + END)


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def no_tar(path: Path) -> None:
    path.write_bytes(b"<html>404: the shard is not here</html>" * 50)


def no_members(path: Path) -> None:
    write_files(path, [])


def broken_images(path: Path) -> None:
    files = [
        ("a.png", png(0)),
        ("half.png", png(1)[:200]),
        ("text.png", b"no image"),
        ("none.png", b""),
    ]
    write_files(path, [*files, ("z.png", png(2))])


def no_image(path: Path) -> None:
    write_files(path, [("a.cls", b"3"), ("a.txt", b"dress"), ("b.png", png(1)), ("b.cls", b"1")])


def labels(path: Path) -> None:
    names = [
        ("none", None),
        ("word", b"trouser"),
        ("real", b"1.5"),
        ("far", b"10"),
        ("minus", b"-1"),
    ]
    files = [("good.png", png(0)), ("good.cls", b" 9\n")]
    for place, (name, label) in enumerate(names, 1):
        files.append((f"{name}.png", png(place)))
        if label is not None:
            files.append((f"{name}.cls", label))
    write_files(path, files)


def key_twice_apart(path: Path) -> None:
    write_files(path, [("a.png", png(0)), ("b.png", png(1)), ("a.png", png(2)), ("c.png", png(3))])


def key_twice_adjacent(path: Path) -> None:
    write_files(path, [("a.png", png(0)), ("a.png", png(1)), ("b.png", png(2))])


def unsafe_names(path: Path) -> None:
    names = ["../../climbs.png", "/absolute.png", "in/../side.png", "._mac.png", "a..b/fine.png"]
    write_files(
        path, [(name, png(place)) for place, name in enumerate(names)] + [("z.png", png(9))]
    )


def links_and_folders(path: Path) -> None:
    kinds = {
        "folder.png": tarfile.DIRTYPE,
        "soft.png": tarfile.SYMTYPE,
        "hard.png": tarfile.LNKTYPE,
    }
    with tarfile.open(path, "w") as tar:
        for name, kind in {**kinds, "pipe.png": tarfile.FIFOTYPE}.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, data in {"a.png": png(0), "soft.cls": b"1"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


LONG_KEYS = ("手袋/é-ß-🙂", "x" * 150, f"{'deep/' * 40}leaf", "ü" * 120, "with space & 'quotes'")


def odd_names(path: Path) -> None:
    write_files(path, [(f"{key}.png", png(place)) for place, key in enumerate(LONG_KEYS)])


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


HOSTILE: dict[str, Make] = {
    make.__name__: make
    for make in (
        cut_in_image,
        cut_in_header,
        cut_between_members,
        corrupt_header,
        zero_bytes,
        no_tar,
        no_members,
        broken_images,
        no_image,
        labels,
        key_twice_apart,
        key_twice_adjacent,
        unsafe_names,
        links_and_folders,
        odd_names,
        kinds_of_image,
    )
}


# What follows is meant for a tar reader: each once made Python's tarfile raise what is no TarError.


def latin_1_name(path: Path) -> None:
    """A name that is no UTF-8, as tar writes it on a system with another encoding."""
    write_files(path, [("a.png", png(0)), ("\xe9t\xe9.png", png(1)), ("z.png", png(2))], "latin-1")


def _with_pax(path: Path, headers: dict[str, str]) -> None:
    info = tarfile.TarInfo("b.png")
    info.pax_headers = headers
    odd = info.tobuf(tarfile.PAX_FORMAT)
    path.write_bytes(_blocks([("a.png", png(0))]) + odd + _blocks([("z.png", png(2))]) + END)


def garbled_sparse_map(path: Path) -> None:
    _with_pax(path, {"GNU.sparse.map": "x,y", "GNU.sparse.size": "10"})


def petabyte_of_holes(path: Path) -> None:
    """A 4 kB file that declares a sparse member of a petabyte."""
    _with_pax(
        path,
        {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 50), "GNU.sparse.name": "b.png"},
    )


def header_upon_header(path: Path) -> None:
    """3,000 extended headers in a row, one level of tarfile's recursion each."""
    record = b"11 path=abc\n"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    one = info.tobuf() + record.ljust(BLOCK, b"\0")
    path.write_bytes(_blocks([("a.png", png(0))]) + 3000 * one + _blocks([("z.png", png(2))]) + END)


TRAPS: dict[str, Make] = {
    make.__name__: make
    for make in (latin_1_name, garbled_sparse_map, petabyte_of_holes, header_upon_header)
}
