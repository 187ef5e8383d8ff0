"""Whoever reads a picture sees the same: a job, a loader, a training, an evaluation, a report."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import diffaug
from diffaug.evaluation.images.pictures import LeftOut, each_picture
from diffaug.pictures.codec import decode, picture, pixel_sha256
from diffaug.recipe import Recipe
from diffaug.report.pictures import source_picture
from diffaug.train.data import usable
from diffaug.train.pictures import Pictures
from diffaug.train.recipe import TrainRecipe
from tests.support.hostile import encoded, write_files
from tests.support.hostile_pictures import chunk
from tests.support.outputs import write_output, write_shard
from tests.support.profiles import DISPLAY_P3, from_p3
from tests.support.tiffs import WHITE_IS_ZERO, tiff

SIDE = 16
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
COLOUR, GREY, ALPHA = PIXELS[..., :3], PIXELS[..., 0], PIXELS[..., 3]
UPRIGHT = np.rot90(COLOUR, -1)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/'
    '22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def _png(**options: object) -> bytes:
    return encoded(Image.fromarray(COLOUR), "PNG", **options)


def _xmp_in_a_png() -> bytes:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    return _png(pnginfo=info)


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _exif_after_the_pixels() -> bytes:
    """Where PNG allows it as well as before them."""
    data, end = _png(), chunk(b"IEND", b"")
    return data.removesuffix(end) + chunk(b"eXIf", _turned().tobytes()[6:]) + end


def _over(levels: NDArray[np.uint8], ground: int) -> NDArray[np.float64]:
    share = ALPHA / 255 if levels.ndim == 2 else ALPHA[..., None] / 255
    return levels * share + ground * (1 - share)


CASES: dict[str, tuple[str, Callable[[], bytes], NDArray[np.generic]]] = {
    "xmp in a png": ("png", _xmp_in_a_png, UPRIGHT),
    "xmp in a webp": (
        "webp",
        lambda: encoded(Image.fromarray(COLOUR), "WEBP", lossless=True, xmp=XMP.encode()),
        UPRIGHT,
    ),
    "exif": ("png", lambda: _png(exif=_turned()), UPRIGHT),
    "exif after the pixels": ("png", _exif_after_the_pixels, UPRIGHT),
    "a tiff's own orientation": (
        "tiff",
        lambda: encoded(Image.fromarray(COLOUR), "TIFF", tiffinfo={0x0112: 6}),
        UPRIGHT,
    ),
    "display p3": ("png", lambda: _png(icc_profile=DISPLAY_P3), from_p3(COLOUR)),
    "transparent colour": (
        "png",
        lambda: encoded(Image.fromarray(PIXELS, "RGBA"), "PNG"),
        _over(COLOUR, 255),
    ),
    "transparent grey": (
        "png",
        lambda: encoded(Image.fromarray(PIXELS[..., [0, 3]].copy(), "LA"), "PNG"),
        _over(GREY, 0),
    ),
    "12 bits": ("tif", lambda: tiff(GREY.astype(np.int64) * 16, 12), GREY * (16 * 255 / 4095)),
    "16 bits, white is zero": (
        "tif",
        lambda: tiff(GREY.astype(np.int64) * 257, 16, WHITE_IS_ZERO),
        255.0 - GREY,
    ),
}


def _output(folder: Path, **recipe: Any) -> Path:
    """An OUTPUT that holds one image, which is not asked for."""
    row: dict[str, Any] = {"tar": "shards", "output_member": "z-a0.png", "output_key": "z-a0"}
    row |= {"source_key": "z", "copy": 0}
    write_shard(write_output(folder, **recipe), "s", {"shards": [("z-a0.png", _png())]}, [row])
    return folder


@pytest.mark.parametrize("name", CASES)
def test_all_see_the_same_picture(name: str, tmp_path: Path) -> None:
    ending, make, expected = CASES[name]
    data = make()
    shard = write_files(tmp_path / "s.tar", [(f"a.{ending}", data), ("a.cls", b"1")])
    with tarfile.open(shard) as tar:
        row = {
            "source_shard": str(shard),
            "source_offset": tar.getmember(f"a.{ending}").offset_data,
        }
    found = decode(data, 1000).shown
    wide = np.broadcast_to(expected[..., None], (SIDE, SIDE, 3)) if expected.ndim == 2 else expected
    assert np.abs(np.asarray(found.convert("RGB")) - wide).max() <= 1

    def same(image: Image.Image) -> bool:
        return image.mode == found.mode and image.tobytes() == found.tobytes()

    with Image.open(io.BytesIO(data)) as opened:
        assert same(picture(opened).shown)  # as a loader is given it
    output = _output(tmp_path / "out")
    (sample,) = diffaug.AugmentedDataset(
        output, real=str(shard), p=0, train=False, image_key=ending
    )
    assert sample["image"].tobytes() == found.convert("RGB").tobytes()
    (one,) = each_picture([str(shard)], diffaug.Recipe(), LeftOut())
    assert same(one.image)
    assert one.pixels == pixel_sha256(found)  # so drawings of one hidden colour are several
    assert same(source_picture(row, Recipe()))
    channels = 1 if found.mode == "L" else 3
    recipe = TrainRecipe(size=SIDE, channels=channels, fit="exact")
    ((x_0, _),) = usable([str(shard)], Pictures(recipe))
    pixels = np.asarray(found, dtype=np.float32).reshape(SIDE, SIDE, channels)
    np.testing.assert_array_equal(x_0, pixels.transpose(2, 0, 1) / np.float32(127.5) - 1)


@pytest.mark.parametrize("background", ["black", "#ff8000"])
def test_all_see_it_over_the_same_background(background: str, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(PIXELS, "RGBA"), "PNG")
    shard = write_files(tmp_path / "s.tar", [("a.png", data), ("a.cls", b"1")])
    row = {"source_shard": str(shard), "source_offset": 512}
    found = decode(data, 1000, background).shown
    assert found.tobytes() != decode(data, 1000).shown.tobytes()
    output = _output(tmp_path / "out", background=background)
    (sample,) = diffaug.AugmentedDataset(output, real=str(shard), p=0, train=False)
    assert sample["image"].tobytes() == found.tobytes()
    fields = {"background": background}
    (one,) = each_picture([str(shard)], diffaug.Recipe(**fields), LeftOut())
    assert one.image.tobytes() == found.tobytes()
    assert source_picture(row, Recipe(background=background)).tobytes() == found.tobytes()
    recipe = TrainRecipe(size=SIDE, channels=3, fit="exact", **fields)
    ((x_0, _),) = usable([str(shard)], Pictures(recipe))
    pixels = np.asarray(found, dtype=np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(x_0, pixels / np.float32(127.5) - 1)
