"""Between bytes and pictures, against numpy and written-out files."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffaug.errors import DefectError
from diffaug.pictures.codec import decode, encode, picture, pixel_sha256

Pixels = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Pixels:
    image = decode(data, max_pixels=1_000_000).stored
    assert image.mode in ("L", "RGB")
    return np.asarray(image)


def defect(data: bytes, max_pixels: int = 1_000_000) -> str:
    with pytest.raises(DefectError) as caught:
        decode(data, max_pixels)
    assert caught.value.reason == str(caught.value)
    return caught.value.code


def png_header(width: int, height: int) -> bytes:
    """A grey PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(50))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# Decoding


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_plain_pictures_keep_their_pixels(format: str, shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    assert np.array_equal(decoded(saved(Image.fromarray(pixels), format)), pixels)


def test_one_bit_is_black_and_white() -> None:
    bits = noise(6, 9) > 127
    assert np.array_equal(decoded(saved(Image.fromarray(bits))), bits * 255)


def test_palette_is_looked_up() -> None:
    palette, index = noise(256, 3, seed=1), noise(6, 9)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    assert np.array_equal(decoded(saved(image)), palette[index])


@pytest.mark.filterwarnings("ignore:Palette images:UserWarning")  # Pillow's
def test_palette_with_alpha_is_looked_up() -> None:
    palette, index = noise(256, 3, seed=1), noise(6, 9)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    assert np.array_equal(decoded(saved(image, transparency=bytes(range(256)))), palette[index])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_not_what_identifies(mode: str) -> None:
    pixels = noise(6, 9, len(mode))
    assert np.array_equal(
        decoded(saved(Image.fromarray(pixels, mode))), np.squeeze(pixels[..., :-1])
    )


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(format: str) -> None:
    """Every 16-bit value, to the nearest of 255 steps of 257."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = (values.astype(int) + 128) // 257
    assert np.array_equal(decoded(saved(Image.fromarray(values), format)), expected)


def test_16_bits_in_a_pgm_are_scaled_to_8() -> None:
    values = np.array([[0, 257, 512, 65535]], dtype=">u2")
    assert np.array_equal(decoded(b"P5 4 1 65535\n" + values.tobytes()), [[0, 1, 2, 255]])


def test_floats_have_no_meaning_in_8_bits() -> None:
    image = Image.fromarray(np.ones((4, 4), dtype=np.float32))
    assert defect(saved(image, "TIFF")) == "unsupported_pixels"


def test_cmyk_jpeg_is_rgb() -> None:
    ink = (40, 120, 200, 60)
    pixels = decoded(saved(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100))
    expected = [(255 - colour) * (255 - ink[3]) / 255 for colour in ink[:3]]
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels - expected).max() < 4


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decoded(data) == (255, 0, 0)).all()


@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 3)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int, shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(saved(Image.fromarray(pixels), exif=exif), 1_000_000).shown
    assert np.array_equal(np.asarray(found), upright)
    assert pixel_sha256(found) == pixel_sha256(Image.fromarray(np.ascontiguousarray(upright)))


@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_wider_than_high_is_turned_and_whole(
    orientation: int, compression: str | None
) -> None:
    pixels = noise(4, 7, 3)
    data = saved(Image.fromarray(pixels), "TIFF", compression=compression)
    turned = saved(
        Image.fromarray(pixels), "TIFF", compression=compression, tiffinfo={0x0112: orientation}
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decoded(turned), decoded(saved(Image.fromarray(pixels), exif=exif)))
    assert np.array_equal(decoded(data), pixels)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")  # Pillow's
@pytest.mark.parametrize(
    "exif", [b"garbage", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\0\0\0\x08\0\x01\x01"]
)
def test_broken_exif_is_no_rotation(exif: bytes) -> None:
    data = saved(Image.fromarray(noise(6, 9)), "JPEG", exif=b"Exif\0\0" + exif)
    assert decoded(data).shape == (6, 9)


# Identity


@pytest.mark.parametrize(("shape", "mode"), [((4, 7), "L"), ((4, 7, 3), "RGB")])
def test_identity_is_of_mode_size_and_bytes(shape: tuple[int, ...], mode: str) -> None:
    pixels = noise(*shape)
    expected = hashlib.sha256(f"{mode} 7x4\n".encode() + pixels.tobytes()).hexdigest()
    assert pixel_sha256(picture(Image.fromarray(pixels)).stored) == expected


def test_colour_of_three_equal_channels_is_grey() -> None:
    """So a grey file is the same picture however a loader opened it."""
    grey = noise(5, 6)
    wide = np.stack([grey] * 3, axis=2)
    for image in (Image.fromarray(wide), Image.fromarray(grey).convert("RGBA")):
        found = picture(image).stored
        assert found.mode == "L"
        assert pixel_sha256(found) == pixel_sha256(Image.fromarray(grey))
    wide[4, 5, 2] ^= 1
    assert picture(Image.fromarray(wide)).stored.mode == "RGB"


def test_equal_bytes_in_another_shape_are_another_picture() -> None:
    pixels = noise(4, 6)
    one, other = Image.fromarray(pixels), Image.fromarray(pixels.reshape(6, 4))
    assert pixel_sha256(one) != pixel_sha256(other)


# Defects


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_image"),
        (b"a text file, not a picture\n", "unreadable_image"),
        (b"\x89PNG\r\n\x1a\n", "unreadable_image"),
        (saved(Image.fromarray(noise(64, 64)))[:2000], "unreadable_image"),
        (saved(Image.fromarray(noise(64, 64)), "JPEG")[:2000], "unreadable_image"),
        (saved(Image.fromarray(noise(64, 64)), "WEBP", lossless=True)[:2000], "unreadable_image"),
    ],
    ids=["empty", "text", "signature", "cut-png", "cut-jpeg", "cut-webp"],
)
def test_broken_bytes_are_a_defect(data: bytes, code: str) -> None:
    assert defect(data) == code


@pytest.mark.parametrize("seed", range(8))
def test_a_whole_file_is_not_taken_for_one_with_rows_missing(seed: int) -> None:
    """Of any size and depth, and of one colour to its end, as what libjpeg fills up is."""
    height, width = np.random.default_rng(seed).integers(1, 50, 2)
    pixels = noise(height, width, 3, seed=seed)
    pixels[height // 2 :] = 200 if seed % 2 else pixels[height // 2 :]
    image = Image.fromarray(pixels)
    for mode in ("1", "L", "RGB", "RGBA"):
        decoded(saved(image.convert(mode)))
    for colours in (2, 4, 16, 200):
        decoded(saved(image.quantize(colours)))
    for mode in ("L", "RGB", "CMYK"):
        for options in ({}, {"progressive": True}, {"restart_marker_blocks": 1}):
            decoded(saved(image.convert(mode), "JPEG", **options) + bytes(seed))
    for compression in (None, "tiff_lzw", "jpeg"):
        decoded(saved(image, "TIFF", compression=compression))


@pytest.mark.parametrize("size", [(1001, 1000), (10_000, 10_000), (50_000, 50_000)])
def test_size_is_checked_before_decoding(size: tuple[int, int]) -> None:
    """The pixels are not there: whoever decodes first finds a broken file instead."""
    assert defect(png_header(*size)) == "too_many_pixels"


def test_as_many_pixels_as_allowed_are_decoded() -> None:
    data = saved(Image.fromarray(noise(10, 12)))
    assert decode(data, max_pixels=120).shown.size == (12, 10)
    assert defect(data, max_pixels=119) == "too_many_pixels"


# Encoding


@pytest.mark.parametrize("shape", [(28, 28), (9, 13, 3)])
@pytest.mark.parametrize("format", ["png", "webp"])
def test_lossless_formats_come_back_equal(format: str, shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    data = encode(Image.fromarray(pixels), format)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == format.upper()
    assert np.array_equal(decoded(data), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close(channels: int) -> None:
    """Within three levels on a smooth picture."""
    pixels = np.add.outer(np.arange(28) * 6, np.arange(28) * 3).astype(np.uint8)
    shown = np.squeeze(np.stack([pixels // (c + 1) for c in range(channels)], axis=2))
    data = encode(Image.fromarray(shown), "jpg")
    assert data.startswith(b"\xff\xd8\xff")
    assert np.abs(decoded(data).astype(int) - shown).max() <= 3
