"""What is seen of a picture: its profile applied and its background filled, in closed form."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from diffaug.pictures import colour
from diffaug.pictures.codec import Decoded, decode, decode_mask, picture, pixel_sha256
from tests.support.hostile import encoded
from tests.support.hostile_pictures import chunk, png_file, rows_of
from tests.support.profiles import DISPLAY_P3, GREY_LINEAR, INK, SRGB, from_p3

Pixels = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def image(*shape: int, mode: str | None = None) -> Image.Image:
    return Image.fromarray(noise(*shape), mode)


def read(data: bytes, background: str | None = None) -> Decoded[Image.Image]:
    return decode(data, 1_000_000, background)


def shown(data: bytes, background: str | None = None) -> Pixels:
    """What is seen; its pixels as stored still identify the picture."""
    found = read(data, background)
    assert not found.shown.info
    return np.asarray(found.shown)


def blended(front: NDArray[Any], alpha: Pixels, back: float | NDArray[Any]) -> NDArray[np.float64]:
    share = (alpha / 255)[..., None] if front.ndim == 3 else alpha / 255
    return front * share + back * (1 - share)


# Transparency


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("background", "behind"),
    [(None, (255, 255, 255)), ("black", (0, 0, 0)), ("#ff8000", (255, 128, 0))],
)
def test_colour_is_over_white_unless_another_background_is_given(
    format: str, background: str | None, behind: tuple[int, ...]
) -> None:
    pixels = noise(6, 9, 4)
    data = encoded(
        Image.fromarray(pixels, "RGBA"),
        format,
        **({"lossless": True, "exact": True} if format == "WEBP" else {}),
    )
    expected = blended(pixels[..., :3], pixels[..., 3], np.array(behind))
    assert np.abs(shown(data, background) - expected).max() <= 0.51
    assert pixel_sha256(read(data, background).stored) == pixel_sha256(
        Image.fromarray(pixels[..., :3].copy())
    )


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize(("background", "behind"), [(None, 0), ("white", 255), ("#808080", 128)])
def test_greys_are_over_black_unless_another_background_is_given(
    format: str, background: str | None, behind: int
) -> None:
    pixels = noise(6, 9, 2)
    found = shown(encoded(Image.fromarray(pixels, "LA"), format), background)
    assert found.ndim == 2
    assert np.abs(found - blended(pixels[..., 0], pixels[..., 1], behind)).max() <= 0.51


def test_greys_over_a_colour_are_colour() -> None:
    pixels = noise(6, 9, 2)
    found = shown(encoded(Image.fromarray(pixels, "LA"), "PNG"), "red")
    wide = np.repeat(pixels[..., :1], 3, axis=2)
    assert np.abs(found - blended(wide, pixels[..., 1], np.array((255, 0, 0)))).max() <= 0.51


def test_a_black_drawing_in_a_file_of_colours_is_on_white() -> None:
    """By the file's mode, not by its hidden colours: over black there would be nothing to see."""
    pixels = noise(6, 9, 4)
    pixels[..., :3] = 0
    found = read(encoded(Image.fromarray(pixels, "RGBA"), "PNG"))
    assert found.stored.getextrema() == (0, 0)
    np.testing.assert_array_equal(np.asarray(found.shown), 255 - pixels[..., 3])


@pytest.mark.parametrize("palette", [bytes(range(256)), 3])
def test_a_palettes_transparency(palette: bytes | int) -> None:
    colours, index = noise(256, 3, seed=1), noise(6, 9)
    index[0, :4] = 3
    drawn = Image.fromarray(index, "P")
    drawn.putpalette(colours.tobytes())
    alpha = index if isinstance(palette, bytes) else np.where(index == 3, 0, 255)
    expected = blended(colours[index], alpha.astype(np.uint8), 255)
    found = shown(encoded(drawn, "PNG", transparency=palette))
    assert np.abs(found - expected).max() <= 0.51


def test_the_transparent_index_of_a_gif() -> None:
    drawn = Image.new("P", (4, 3), 1)
    drawn.putpalette([255, 0, 0, 0, 0, 255])
    drawn.putpixel((2, 1), 0)
    found = shown(encoded(drawn, "GIF", transparency=0))
    assert tuple(found[1, 2]) == (255, 255, 255)
    assert tuple(found[0, 0]) == (0, 0, 255)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_one_grey_of_a_png_that_means_transparent(bits: int) -> None:
    """It is stored at the depth of the pixels; that grey becomes the background, and no other."""
    white = (1 << bits) - 1
    levels = np.linspace(0, white, min(white + 1, 16)).round().astype(np.int64)[None]
    key = int(levels[0, -1])
    if bits >= 8:
        rows = rows_of(levels.astype(np.uint8 if bits == 8 else np.uint16))
    else:
        each = (levels[0, :, None] >> np.arange(bits)[::-1]) & 1
        rows = b"\0" + np.packbits(each.ravel().astype(np.uint8)).tobytes()
    extra = chunk(b"tRNS", key.to_bytes(2, "big"))
    found = shown(png_file(levels.shape[1], 1, rows, bits, 0, extra))
    expected = (levels * 255 / white).round()
    expected[0, -1] = 0
    assert np.abs(found - expected).max() <= 0.51


def test_one_colour_that_means_transparent_among_greys_stored_as_colours() -> None:
    levels = np.arange(0, 160, 8, dtype=np.uint8).reshape(4, 5)
    picture = Image.fromarray(np.stack([levels] * 3, axis=-1))
    found = shown(encoded(picture, "PNG", transparency=(64, 64, 64)))
    assert np.array_equal(found, np.where(levels == 64, 255, levels))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_one_colour_of_a_png_that_means_transparent(bits: int) -> None:
    scale = 257 if bits == 16 else 1
    pixels = noise(4, 5, 3)
    key = b"".join((int(level) * scale).to_bytes(2, "big") for level in pixels[2, 3])
    deep = (pixels * np.uint16(scale)).astype(np.uint16) if bits == 16 else pixels
    data = png_file(5, 4, rows_of(deep), bits, 2, chunk(b"tRNS", key))
    expected = pixels.copy()
    expected[2, 3] = 255
    np.testing.assert_array_equal(shown(data), expected)
    np.testing.assert_array_equal(np.asarray(read(data).stored), pixels)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_where_all_is_opaque_or_hides_the_background_nothing_changes(mode: str) -> None:
    pixels = noise(6, 9, len(mode))
    pixels[..., -1] = 255
    for background in (None, "red"):
        found = read(encoded(Image.fromarray(pixels, mode), "PNG"), background)
        assert found.shown is found.stored
    pixels[2, 3] = (0, 0) if mode == "LA" else (255, 255, 255, 0)
    found = read(encoded(Image.fromarray(pixels, mode), "PNG"))
    assert found.shown is found.stored


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_a_loaders_images_of_rarer_modes(mode: str) -> None:
    whole = Image.fromarray(noise(6, 9, 4) // 2 + 100, "RGBA")
    given = whole.convert("LA").convert("La") if mode == "La" else whole.convert(mode)
    plain = given.convert("LA" if mode == "La" else "RGBA")
    found, expected = picture(given), picture(plain)
    np.testing.assert_array_equal(np.asarray(found.shown), np.asarray(expected.shown))
    assert found.shown is not found.stored


def test_a_mask_is_read_without_profile_and_transparency() -> None:
    pixels = noise(6, 9, 4)
    data = encoded(Image.fromarray(pixels, "RGBA"), "PNG", icc_profile=DISPLAY_P3)
    np.testing.assert_array_equal(np.asarray(decode_mask(data, 1000)), pixels[..., :3])


# Profiles


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_display_p3_is_converted_to_srgb(format: str) -> None:
    pixels = noise(16, 16, 3)
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(Image.fromarray(pixels), format, icc_profile=DISPLAY_P3, **options)
    assert np.abs(shown(data) - from_p3(pixels)).max() <= 1
    assert np.abs(from_p3(pixels) - pixels).max() > 14  # as much as is lost without it
    np.testing.assert_array_equal(np.asarray(read(data).stored), pixels)


def test_so_is_a_jpeg_with_a_profile_in_several_parts() -> None:
    """A marker of JPEG holds 64 kB at most."""
    pixels = np.full((16, 16, 3), (200, 30, 60), dtype=np.uint8)
    data = encoded(
        Image.fromarray(pixels), "JPEG", quality=100, icc_profile=DISPLAY_P3 + bytes(100_000)
    )
    assert np.abs(shown(data) - from_p3(pixels)).max() <= 4


def test_a_profile_is_applied_before_the_background() -> None:
    pixels = noise(16, 16, 4)
    data = encoded(Image.fromarray(pixels, "RGBA"), "PNG", icc_profile=DISPLAY_P3)
    expected = blended(from_p3(pixels[..., :3]), pixels[..., 3], 255)
    assert np.abs(shown(data) - expected).max() <= 1.5


def test_so_is_that_of_a_palette() -> None:
    colours, index = noise(256, 3, seed=1), noise(6, 9)
    drawn = Image.fromarray(index, "P")
    drawn.putpalette(colours.tobytes())
    found = shown(encoded(drawn, "PNG", icc_profile=DISPLAY_P3))
    assert np.abs(found - from_p3(colours[index])).max() <= 1


def test_greys_by_their_own_profile() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = shown(encoded(Image.fromarray(pixels), "PNG", icc_profile=GREY_LINEAR))
    light = pixels / 255
    levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert found.ndim == 2
    assert np.abs(found - levels * 255).max() <= 0.51


def test_greys_stay_greys_by_a_profile_of_colours(caplog: pytest.LogCaptureFixture) -> None:
    """As Pillow leaves it in a file that was converted to grey; Display P3 has sRGB's curve."""
    found = read(encoded(image(6, 9), "PNG", icc_profile=DISPLAY_P3))
    assert found.shown is found.stored
    assert not caplog.records


def test_cmyk_by_its_profile_and_without_one() -> None:
    """All of one ink that cannot be seen, and half of the one that can."""
    inks = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    inks.paste((0, 0, 0, 255), (0, 0, 2, 4))
    plain = read(encoded(inks, "TIFF"))
    assert plain.shown is plain.stored
    assert plain.stored.getpixel((3, 0)) == (0, 255, 255)
    found = read(encoded(inks, "TIFF", icc_profile=INK))
    assert (found.shown.mode, found.shown.getextrema()) == ("L", (0, 255))
    assert found.shown.getpixel((3, 0)) == 255
    assert pixel_sha256(found.stored) == pixel_sha256(plain.stored)


@pytest.mark.parametrize(
    "profile",
    [SRGB, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
    ids=["a curve of 1024 points", "a formula"],
)
@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 3)])
def test_srgb_in_any_spelling_changes_nothing(shape: tuple[int, ...], profile: bytes) -> None:
    found = read(encoded(image(*shape), "PNG", icc_profile=profile))
    assert found.shown is found.stored


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        (b"not a profile" * 20, "it is broken"),
        (DISPLAY_P3[:600], "it is broken"),
        (DISPLAY_P3[:16] + b"Lab " + DISPLAY_P3[20:], "it describes Lab"),
        (GREY_LINEAR, "it describes L and the pixels are RGB"),
        (INK, "it describes CMYK and the pixels are RGB"),
        (DISPLAY_P3[:12] + b"link" + DISPLAY_P3[16:], "it is broken"),
    ],
    ids=["junk", "cut", "lab", "grey", "inks", "link"],
)
def test_a_profile_that_cannot_be_of_the_pixels_is_ignored_aloud(
    profile: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    for remembered in (colour._report, colour._to_srgb):
        remembered.cache_clear()
    data = encoded(image(6, 9, 3), "PNG", icc_profile=profile)
    with caplog.at_level(logging.WARNING, "diffaug"):
        for _ in range(3):
            found = read(data)
            assert found.shown is found.stored
    (record,) = caplog.records
    assert "a colour profile is ignored, and its picture taken for sRGB" in record.getMessage()
    assert why in record.getMessage()


def test_inks_with_a_profile_of_colours_are_as_without(caplog: pytest.LogCaptureFixture) -> None:
    colour._report.cache_clear()
    inks = Image.new("CMYK", (4, 4), (40, 120, 200, 60))
    with caplog.at_level(logging.WARNING, "diffaug"):
        found = read(encoded(inks, "TIFF", icc_profile=DISPLAY_P3))
    assert found.shown is found.stored
    assert "it describes RGB and the pixels are CMYK" in caplog.text


def test_a_profile_is_not_handed_on() -> None:
    """Written to a file, the pixels would be converted once more."""
    given = image(6, 9, 3)
    given.info["icc_profile"] = DISPLAY_P3
    found = picture(given)
    assert not found.shown.info
    assert not found.stored.info
    assert given.info
    again = io.BytesIO()
    found.shown.save(again, "PNG")
    np.testing.assert_array_equal(shown(again.getvalue()), np.asarray(found.shown))
