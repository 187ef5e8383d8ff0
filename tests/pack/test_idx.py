"""Idx files as a source, and hostile ones."""

from __future__ import annotations

import gzip
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from diffaug import ConfigError
from diffaug.pack import open_source
from tests.support.jobs import pixels
from tests.support.packing import (
    LABELS,
    NAMES,
    as_idx,
    contents,
    entry_of,
    idx,
    packed,
    write,
)


@pytest.mark.parametrize("zipped", ["", ".gz"])
def test_idx_labels_lie_beside_or_are_asked_for(zipped: str, tmp_path: Path) -> None:
    images = as_idx(tmp_path, zipped)
    beside = tmp_path / f"all-labels-idx1-ubyte{zipped}"
    other = idx(tmp_path / "other", np.arange(6), 0x801)
    packed(open_source(str(images), labels=str(other)), tmp_path / "asked")
    assert [label for _, label, _ in contents(tmp_path / "asked")] == list(range(6))
    beside.unlink()
    packed(images, tmp_path / "none")
    assert {label for _, label, _ in contents(tmp_path / "none")} == {None}
    named = open_source(str(images), labels=str(other), classes=tuple("abcdef"))
    packed(named, tmp_path / "named")
    assert [name for *_, name in contents(tmp_path / "named")] == list("abcdef")
    with pytest.raises(ValueError, match="labels up to 5, but 3 classes are named: name 6"):
        open_source(str(images), labels=str(other), classes=NAMES)


def test_the_other_usual_spelling_of_idx_files_is_known(tmp_path: Path) -> None:
    shutil.move(as_idx(tmp_path, ""), tmp_path / "train-images.idx3-ubyte")
    shutil.move(tmp_path / "all-labels-idx1-ubyte", tmp_path / "train-labels.idx1-ubyte")
    packed(tmp_path / "train-images.idx3-ubyte", tmp_path / "out")
    assert [label for _, label, _ in contents(tmp_path / "out")] == LABELS


def test_idx_images_may_be_rgb(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), np.uint8)
    packed(idx(tmp_path / "rgb.idx", images, 0x804), tmp_path / "out")
    found = np.stack([pixels(data) for data, *_ in contents(tmp_path / "out")])
    assert np.array_equal(found, images)
    entry = entry_of(tmp_path / "out")
    assert (entry["colour"], entry["width"]) == ("RGB", {"min": 7, "max": 7})


GREY = struct.pack(">4I", 0x803, 2, 3, 5)
HOSTILE_IDX: dict[str, tuple[bytes, str]] = {
    "labels as images": (
        struct.pack(">2I", 0x801, 2) + b"ab",
        "expected it to begin with 0x00000803 or 0x00000804, found 0x00000801",
    ),
    "floats": (struct.pack(">4I", 0xD03, 2, 3, 5) + bytes(120), "found 0x00000d03"),
    "no idx": (b"hello, world", "found 0x68656c6c"),
    "empty": (b"", "found 0x"),
    "cut in the header": (GREY[:10], "in its header: expected 16 bytes, found 10"),
    "cut in the data": (GREY + bytes(29), "expected 30 bytes after it, found 29"),
    "too long": (GREY + bytes(31), "expected 30 bytes after it, found 31"),
    "huge": (
        struct.pack(">4I", 0x803, *[2**32 - 1] * 3),
        f"expected {(2**32 - 1) ** 3} bytes after it, found 0",
    ),
    "no images": (struct.pack(">4I", 0x803, 0, 3, 5), "its dimensions are 0x3x5"),
    "no width": (struct.pack(">4I", 0x803, 3, 3, 0), "its dimensions are 3x3x0"),
    "four channels": (
        struct.pack(">5I", 0x804, 1, 1, 1, 4) + bytes(4),
        "dimension of 4: expected 3",
    ),
}


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("case", HOSTILE_IDX)
def test_a_hostile_idx_file_is_refused_with_numbers(case: str, zipped: str, tmp_path: Path) -> None:
    data, sentence = HOSTILE_IDX[case]
    path = write(tmp_path / f"x{zipped}", gzip.compress(data) if zipped else data)
    with pytest.raises(ConfigError) as raised:
        open_source(str(path))
    assert sentence in str(raised.value)


@pytest.mark.parametrize("keep", [5, 200, -4])
def test_a_gzip_stream_cut_short_is_refused(keep: int, tmp_path: Path) -> None:
    path = as_idx(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="cut short"):
        open_source(str(path))


def test_a_gzip_stream_cut_after_its_last_pixel_is_refused(tmp_path: Path) -> None:
    """What is missing is the checksum, without which nothing says that the pixels are right."""
    path = idx(tmp_path / "x.gz", np.zeros((1, 256, 256)), 0x803)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        ValueError, match="expected 65536 bytes after its header, found about 65536"
    ):
        open_source(str(path))


def test_a_gzip_stream_that_is_corrupt_is_refused(tmp_path: Path) -> None:
    path = as_idx(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"broken gzip file|cut short"):
        open_source(str(path))
    path.write_bytes(b"not gzip at all")
    with pytest.raises(ValueError, match="broken gzip file"):
        open_source(str(path))


def test_labels_must_be_as_many_as_images(tmp_path: Path) -> None:
    images = as_idx(tmp_path)
    idx(tmp_path / "all-labels-idx1-ubyte.gz", np.arange(5), 0x801)
    with pytest.raises(ValueError, match="holds 5 labels, but there are 6 images"):
        open_source(str(images))
    cut = write(tmp_path / "cut", struct.pack(">2I", 0x801, 6) + b"abc")
    with pytest.raises(ValueError, match="expected 6 bytes after it, found 3"):
        open_source(str(images), labels=str(cut))


def test_a_zipped_idx_file_is_packed_in_constant_memory(tmp_path: Path) -> None:
    """Some 54 MB of pixels; a shard's headers and the pictures under way are all that is held."""
    path = tmp_path / "big-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(struct.pack(">4I", 0x803, 600, 300, 300))
        for _ in range(600):
            stream.write(bytes(300 * 300))
    tracemalloc.start()
    try:
        packed(path, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6
