"""Greys of every depth, sign and photometric interpretation, against closed forms."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffaug.errors import DefectError
from diffaug.pictures import depth
from diffaug.pictures.codec import decode, picture
from tests.support.tiffs import BLACK_IS_ZERO, SIGNED, UNSIGNED, WHITE_IS_ZERO, tiff

LEVELS = NDArray[np.uint8]


def read(data: bytes) -> LEVELS:
    found = decode(data, 1_000_000)
    assert found.shown is found.stored
    assert found.shown.mode == "L"
    return np.asarray(found.shown)


def values(bits: int) -> NDArray[np.int64]:
    """Of black, white and 33 others in between, of an odd width, so that packed rows are padded."""
    return np.linspace(0, (1 << bits) - 1, 35).round().astype(np.int64).reshape(5, 7)


def levels(stored: NDArray[np.int64], white: int) -> NDArray[np.int64]:
    """To the nearest of 255 steps, in whole numbers."""
    return (2 * 255 * stored + white) // (2 * white)


@pytest.mark.parametrize(
    ("bits", "order", "photometric"),
    [
        *((bits, order, zero) for bits in (1, 2, 4, 8) for order in "<>" for zero in (0, 1)),
        (12, "<", BLACK_IS_ZERO),
        (16, "<", BLACK_IS_ZERO),
        (16, ">", BLACK_IS_ZERO),
        (16, "<", WHITE_IS_ZERO),
    ],
)
def test_a_tiff_is_read_at_the_depth_that_it_declares(
    bits: int, order: str, photometric: int
) -> None:
    stored, white = values(bits), (1 << bits) - 1
    meant = white - stored if photometric == WHITE_IS_ZERO else stored
    found = read(tiff(stored, bits, photometric, order=order))
    np.testing.assert_array_equal(found, levels(meant, white))


@pytest.mark.parametrize("bits", [12, 16])
def test_so_is_a_compressed_one(bits: int) -> None:
    stored = values(bits)
    found = read(tiff(stored, bits, deflated=True))
    np.testing.assert_array_equal(found, levels(stored, (1 << bits) - 1))


@pytest.mark.parametrize(
    ("bits", "order", "photometric", "sample_format", "code"),
    [
        (8, "<", BLACK_IS_ZERO, SIGNED, "unsupported_pixels"),
        (16, "<", BLACK_IS_ZERO, SIGNED, "unsupported_pixels"),
        (16, ">", BLACK_IS_ZERO, SIGNED, "unsupported_pixels"),
        (32, "<", BLACK_IS_ZERO, SIGNED, "unsupported_pixels"),
        (32, "<", BLACK_IS_ZERO, UNSIGNED, "unsupported_pixels"),
        (8, "<", WHITE_IS_ZERO, SIGNED, "unreadable_image"),
        (16, ">", WHITE_IS_ZERO, UNSIGNED, "unreadable_image"),
        (12, ">", BLACK_IS_ZERO, UNSIGNED, "unreadable_image"),
        (12, "<", WHITE_IS_ZERO, UNSIGNED, "unreadable_image"),
        (10, "<", BLACK_IS_ZERO, UNSIGNED, "unreadable_image"),
        (14, "<", BLACK_IS_ZERO, UNSIGNED, "unreadable_image"),
    ],
)
def test_what_has_no_meaning_in_8_bits_is_refused(
    bits: int, order: str, photometric: int, sample_format: int, code: str
) -> None:
    with pytest.raises(DefectError) as caught:
        read(tiff(values(bits), bits, photometric, sample_format, order))
    assert caught.value.code == code
    assert ("TIFF" if code == "unreadable_image" else "no fixed range") in caught.value.reason


@pytest.mark.parametrize("white", [1, 3, 15, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_a_pgm_is_read_by_its_own_maximum(white: int, plain: bool) -> None:
    stored = np.linspace(0, white, 35).round().astype(np.int64).reshape(5, 7)
    if plain:
        body = " ".join(map(str, stored.ravel())).encode()
    else:
        body = stored.astype(">u2" if white > 255 else "u1").tobytes()
    found = read(f"{'P2' if plain else 'P5'} 7 5 {white}\n".encode() + body)
    assert np.abs(found.astype(float) - stored * 255 / white).max() <= 0.51


def test_a_loader_that_opened_the_file_gets_the_same() -> None:
    data = tiff(values(12), 12)
    opened = Image.open(io.BytesIO(data))
    opened.load()
    np.testing.assert_array_equal(np.asarray(picture(opened).stored), read(data))


def test_a_file_that_declares_16_bits_is_taken_at_its_word_aloud(
    caplog: pytest.LogCaptureFixture,
) -> None:
    depth._report_dark.cache_clear()
    with caplog.at_level(logging.WARNING, "diffaug"):
        np.testing.assert_array_equal(read(tiff(values(12), 16)), levels(values(12), 65535))
        read(tiff(values(12), 16))
        read(tiff(values(16), 16))
        read(tiff(values(12), 12))
    (record,) = caplog.records
    assert "has no value above 4095, so it comes out nearly black" in record.getMessage()
