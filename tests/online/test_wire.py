"""Pictures as files for a server: what is decoded of them is what is found in the picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from PIL import Image

from diffaug.errors import DefectError
from diffaug.online.wire import pack, unpack
from diffaug.pictures.codec import Decoded, decode, encode, picture, pixel_sha256
from tests.support.hostile import encoded
from tests.support.profiles import DISPLAY_P3, GREY_LINEAR, INK, SRGB
from tests.support.tiffs import WHITE_IS_ZERO, tiff

SIZE = (23, 17)
RANDOM = np.random.default_rng(1)


def made(mode: str, **info: object) -> Image.Image:
    """A noisy picture of a mode, with such metadata."""
    noise = Image.fromarray(RANDOM.integers(0, 256, (17, 23, 4), dtype=np.uint8), "RGBA")
    image = (
        noise.convert(mode)
        if mode != "I;16"
        else Image.fromarray(RANDOM.integers(0, 65536, (17, 23), dtype=np.uint16))
    )
    image.info.update(info)
    return image


def opened(image: Image.Image, format: str, **options: object) -> Image.Image:
    """A picture as it comes from a file."""
    found = Image.open(io.BytesIO(encoded(image, format, **options)))
    found.load()
    return found


def turned() -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = 6
    return opened(made("RGB"), "JPEG", exif=exif.tobytes())


def white_is_zero() -> Image.Image:
    values = RANDOM.integers(0, 65536, (17, 23), dtype=np.uint16)
    return Image.open(io.BytesIO(tiff(values, 16, photometric=WHITE_IS_ZERO)))


GIVEN: dict[str, Callable[[], Image.Image]] = {
    **{mode: partial(made, mode) for mode in ("1", "L", "RGB", "P", "I;16", "YCbCr", "CMYK")},
    **{mode: partial(made, mode) for mode in ("LA", "La", "RGBA", "RGBa", "PA")},
    "grey in colour": lambda: made("L").convert("RGB"),
    "grey in colour, transparent": lambda: made("LA").convert("RGBA"),
    "a grey that is transparent": lambda: made("L", transparency=7),
    "a palette's transparent entry": lambda: opened(made("P"), "PNG", transparency=7),
    "a transparent black of two": lambda: opened(made("1"), "PNG", transparency=0),
    "a colour profile": lambda: made("RGB", icc_profile=DISPLAY_P3),
    "a profile and alpha": lambda: made("RGBA", icc_profile=DISPLAY_P3),
    "a profile of greys": lambda: made("L", icc_profile=GREY_LINEAR),
    "a profile of greys and alpha": lambda: made("LA", icc_profile=GREY_LINEAR),
    "a profile of inks": lambda: made("CMYK", icc_profile=INK),
    "sRGB's own profile": lambda: made("RGB", icc_profile=SRGB),
    "a profile of other colours": lambda: made("RGB", icc_profile=INK),
    "a profile of two megabytes": lambda: made("RGB", icc_profile=DISPLAY_P3 + bytes(2**21)),
    "a broken profile": lambda: made("RGBA", icc_profile=b"none"),
    "turned by its metadata": turned,
    "a TIFF whose zero is white": white_is_zero,
}


def same(one: Image.Image, other: Image.Image) -> bool:
    return (one.mode, one.size, one.tobytes()) == (other.mode, other.size, other.tobytes())


@pytest.mark.parametrize("background", [None, "#3060c0"])
@pytest.mark.parametrize("given", GIVEN)
def test_a_server_finds_what_the_picture_holds(given: str, background: str | None) -> None:
    image = GIVEN[given]()
    here = picture(image, background)
    sent = pack(image, background)
    there: Decoded[Image.Image] = decode(sent.data, 10_000, background)
    assert sent.media_type == f"image/{'tiff' if sent.data[:2] == b'II' else 'png'}"
    assert sent.pixels == pixel_sha256(there.stored)
    assert same(there.stored, here.stored)
    assert same(there.shown, here.shown)
    assert (there.shown is there.stored, there.jpeg) == (here.shown is here.stored, False)
    for format in ("png", "webp", "jpg"):
        ours, theirs = here.transparency_in(format), there.transparency_in(format)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert ours.ground == theirs.ground
            assert same(ours.colours, theirs.colours)
            assert same(ours.alpha, theirs.alpha)


def test_the_pictures_above_are_of_every_kind() -> None:
    """A profile shows, alpha shows, and neither does, so that none is compared in vain."""
    kinds = {
        (found.shown is found.stored, found.transparency is None)
        for found in (picture(given()) for given in GIVEN.values())
    }
    assert kinds >= {(True, True), (False, True), (False, False)}


def test_a_picture_without_a_fixed_range_is_a_defect() -> None:
    with pytest.raises(DefectError, match="no fixed range"):
        pack(Image.new("F", SIZE))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_a_server_writes_comes_back(mode: str) -> None:
    image = made(mode)
    found = unpack(encode(image, "png"))
    assert same(found, image)
    assert not found.info


@pytest.mark.parametrize("data", [b"", b"nothing", encoded(Image.new("L", SIZE), "JPEG")])
def test_what_is_no_png_is_an_error(data: bytes) -> None:
    with pytest.raises(OSError, match="cannot identify"):
        unpack(data)
