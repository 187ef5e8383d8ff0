"""The extensions of image files, as Pillow registers them."""

from __future__ import annotations

import pytest
from PIL import Image

from diffaug.errors import DefectError
from diffaug.extensions import READ, USUAL, is_picture
from diffaug.pictures.codec import decode
from tests.support.hostile import encoded

REGISTERED = {
    extension.removeprefix("."): format
    for extension, format in Image.registered_extensions().items()
}
"""Pillow's format by extension."""


def reads(format: str) -> bool:
    """Whether the codec decodes a file of this format that Pillow writes."""
    try:
        data = encoded(Image.new("RGB", (4, 4)), format)
        return decode(data, 16).shown.size == (4, 4)
    except (KeyError, ValueError, OSError, DefectError, DeprecationWarning):
        return False


def test_every_extension_of_every_format_that_is_read_is_known() -> None:
    formats = {format for format in set(REGISTERED.values()) if reads(format)}
    assert {"PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"} <= formats
    missing = {name for name, format in REGISTERED.items() if format in formats} - {*READ}
    assert not missing
    assert {REGISTERED[name] for name in READ} - formats <= {"DIB"}  # often BMPs all the same
    assert len({*READ}) == len(READ)
    assert {*USUAL} < {*READ}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("png", True), ("0.jfif", True), ("heic", True), ("npy", True), ("txt", False), ("", False)],
)
def test_a_picture_is_known_by_what_follows_the_last_dot(name: str, is_one: bool) -> None:
    assert is_picture(name) is is_one
