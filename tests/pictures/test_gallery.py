"""Generated images as grids, folders and shards, read by Pillow and webdataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffaug.errors import ConfigError
from diffaug.pack import open_source
from diffaug.pictures.codec import to_picture
from diffaug.pictures.gallery import write_images
from diffaug.pictures.grid import grid
from tests.support.jobs import pixels, webdataset


def levels(count: int, channels: int = 1) -> list[NDArray[np.float32]]:
    """Flat images whose 8-bit values are 10, 20, …"""
    values = [np.float32(10 * (index + 1) / 127.5 - 1) for index in range(count)]
    return [np.full((channels, 4, 4), value, np.float32) for value in values]


def test_a_picture_is_the_nearest_eight_bits() -> None:
    ramp = np.linspace(-1.2, 1.2, 16, dtype=np.float32).reshape(1, 4, 4)
    expected = np.clip(np.round((ramp[0] + 1) * 127.5), 0, 255)
    np.testing.assert_array_equal(np.asarray(to_picture(ramp)), expected)
    colours = np.stack([np.full((2, 3), value, np.float32) for value in (-1, 0, 1)])
    assert to_picture(colours).mode == "RGB"
    assert to_picture(colours).size == (3, 2)
    assert to_picture(colours).getpixel((2, 1)) == (0, 128, 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_image_in_its_place(channels: int) -> None:
    sheet = grid(levels(5, channels), columns=2)
    cell = 16 * 4 + 2  # images are enlarged to 64 pixels, with a gap of 2
    assert sheet.size == (2 * cell + 2, 3 * cell + 2)
    for index in range(5):
        at = ((index % 2) * cell + 2 + 30, (index // 2) * cell + 2 + 30)
        assert sheet.getpixel(at) == (10 * (index + 1),) * 3
    assert sheet.getpixel((cell + 32, 2 * cell + 32)) == (255, 255, 255)


def test_captions_stand_above_their_columns() -> None:
    plain, captioned = grid(levels(2), 2), grid(levels(2), 2, ["one", "two"])
    assert captioned.size == (plain.width, plain.height + 16)
    ink = np.asarray(captioned.convert("L"))[:16]
    assert (ink[:, :66] < 128).any()
    assert (ink[:, 66:] < 128).any()


@pytest.mark.parametrize("output", ["", " ", "/"])
def test_an_output_that_is_nowhere_is_refused(output: str) -> None:
    with pytest.raises(ConfigError, match="is a variable unset"):
        write_images(levels(1), [None], output, 8)


def test_a_folder_of_images(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert list(write_images(levels(3), [None] * 3, str(output), 8)) == [1, 2, 3]
    assert sorted(path.name for path in output.iterdir()) == [
        f"{index:08d}.png" for index in range(3)
    ]
    with Image.open(output / "00000001.png") as image:
        assert image.getextrema() == (20, 20)
    with pytest.raises(ConfigError, match="not empty"):
        list(write_images(levels(1), [None], str(output), 8))


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    list(write_images(levels(3), [4, 0, 4], str(tmp_path / "out"), 8))
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*.png"))
    assert found == ["0/00000001.png", "4/00000000.png", "4/00000002.png"]


def test_folders_of_many_classes_sort_as_their_numbers(tmp_path: Path) -> None:
    list(write_images(levels(3), [2, 10, 0], str(tmp_path / "out"), 8))
    found = [path.name for path in sorted((tmp_path / "out").iterdir())]
    assert found == ["00", "02", "10"]
    assert open_source(str(tmp_path / "out")).classes == ("00", "02", "10")


def test_shards_share_the_images_out(tmp_path: Path) -> None:
    urls = str(tmp_path / "g-{0..2}.tar")
    assert list(write_images(levels(8), [7] * 8, urls, 8))[-1] == 8
    found = [webdataset(tmp_path / f"g-{shard}.tar") for shard in range(3)]
    assert [len(samples) for samples in found] == [2, 3, 3]
    samples = [sample for shard in found for sample in shard]
    assert [sample["__key__"] for sample in samples] == [f"{index:08d}" for index in range(8)]
    assert [pixels(sample["png"])[0, 0] for sample in samples] == list(range(10, 90, 10))
    assert {sample["cls"] for sample in samples} == {b"7"}
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ConfigError, match=r"g-0.tar already exists"):
        list(write_images(levels(8), [7] * 8, urls, 8))


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("{tmp}/x.jpg", "use .png for a grid"),
        ("memory://x.png", "only shards"),
        ("{tmp}/g-{{0..2}.tar", "braces do not match"),
    ],
)
def test_another_kind_of_output_is_refused_before_any_image_is_made(
    output: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        write_images(iter(()), [None], output.replace("{tmp}", str(tmp_path)), 8)
