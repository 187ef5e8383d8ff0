"""Between pictures and the model's arrays, against numpy and Pillow's ImageOps."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from diffaug.errors import DefectError
from diffaug.judges import scores
from diffaug.pictures.codec import decode, encode, pixel_sha256
from diffaug.pictures.fit import Fit

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
Shape = tuple[int, int, int]

GREY = (1, 32, 32)
RGB = (3, 32, 32)
WIDE = (1, 24, 64)
TALL = (3, 32, 16)
BICUBIC = Image.Resampling.BICUBIC


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def noisy(size: Size, mode: str = "L", seed: int = 0) -> Image.Image:
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    return Image.fromarray(noise(*shape, seed=seed))


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def equal(one: Image.Image, other: Image.Image) -> bool:
    return pixel_sha256(one) == pixel_sha256(other)


def mode_of(shape: Shape) -> str:
    return "L" if shape[0] == 1 else "RGB"


def taken(frame: Fit, image: Image.Image) -> Pixels:
    """What the model takes, in levels."""
    levels: Pixels = np.rint((frame.to_model(image) + 1) * 127.5).astype(np.uint8)
    return levels


def given_back(frame: Fit, image: Image.Image) -> Image.Image:
    """The result, of a model that makes this picture."""
    return frame.from_model(bands(image).astype(np.float32) / np.float32(127.5) - np.float32(1))


def bands(image: Image.Image) -> Pixels:
    """A picture with its channels first."""
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


# To the model and back

sides = st.integers(24, 32)


@settings(max_examples=50, deadline=None)
@given(width=sides, height=sides, shape=st.sampled_from([GREY, RGB]), seed=st.integers(0, 9))
def test_padding_is_undone_exactly(
    width: int, height: int, shape: tuple[int, int, int], seed: int
) -> None:
    image = Image.fromarray(np.squeeze(noise(height, width, shape[0], seed=seed)))
    frame = Fit.of(image, shape, "auto")
    assert frame.pad
    back = frame.from_model(frame.to_model(image))
    assert (back.mode, back.size) == (image.mode, image.size)
    assert np.array_equal(np.asarray(back), np.asarray(image))


@pytest.mark.parametrize(("width", "height"), [(28, 28), (27, 31), (24, 32)])
def test_padding_is_a_black_border(width: int, height: int) -> None:
    pixels = noise(height, width)
    image = Image.fromarray(pixels)
    x_0 = Fit.of(image, GREY, "auto").to_model(image)
    top, left = (32 - height) // 2, (32 - width) // 2
    around = ((top, 32 - height - top), (left, 32 - width - left))
    expected = np.pad(pixels, around)[None] / 127.5 - 1
    assert x_0.dtype == np.float32
    assert x_0.shape == GREY
    assert np.abs(x_0 - expected).max() < 1e-6
    assert x_0.min() >= -1
    assert x_0.max() <= 1


def test_channels_come_first() -> None:
    pixels = noise(32, 32, 3)
    image = Image.fromarray(pixels)
    x_0 = Fit.of(image, RGB, "auto").to_model(image)
    for channel in range(3):
        assert np.abs(x_0[channel] - (pixels[:, :, channel] / 127.5 - 1)).max() < 1e-6


@pytest.mark.parametrize(
    ("size", "fit", "pad"),
    [
        ((32, 32), "auto", True),
        ((24, 24), "auto", True),
        ((23, 32), "auto", False),  # more than a quarter smaller
        ((32, 23), "auto", False),
        ((33, 28), "auto", False),  # larger
        ((8, 100), "auto", False),
        ((8, 9), "pad", True),
        ((28, 28), "resize", False),
        ((100, 60), "resize", False),
    ],
)
@pytest.mark.parametrize("shape", [GREY, RGB])
def test_fit(size: tuple[int, int], fit: str, pad: bool, shape: tuple[int, int, int]) -> None:
    image = Image.fromarray(np.squeeze(noise(size[1], size[0], shape[0])))
    frame = Fit.of(image, shape, fit)
    assert frame.pad == pad
    assert frame.to_model(image).shape == shape
    assert frame.from_model(frame.to_model(image)).size == size


def test_a_model_need_not_be_square() -> None:
    image = Image.fromarray(noise(20, 50))
    frame = Fit.of(image, (1, 24, 64), "auto")
    assert frame.to_model(image).shape == (1, 24, 64)
    assert np.array_equal(np.asarray(frame.from_model(frame.to_model(image))), np.asarray(image))


@pytest.mark.parametrize("size", [(33, 32), (32, 33), (500, 10)])
def test_a_larger_picture_cannot_be_padded(size: tuple[int, int]) -> None:
    with pytest.raises(
        DefectError, match=rf"{size[0]}x{size[1]} .* 32x32: use fit=resize"
    ) as caught:
        Fit.of(Image.new("L", size), GREY, "pad")
    assert caught.value.code == "too_large_to_pad"


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (50, 90)])
def test_resizing_keeps_a_flat_picture(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (10, 128, 250))
    frame = Fit.of(image, RGB, "resize")
    back = frame.from_model(frame.to_model(image))
    assert (np.asarray(back) == (10, 128, 250)).all()


def test_resizing_to_half_is_near_the_mean_of_four() -> None:
    smooth = np.add.outer(np.arange(64) * 2, np.arange(64)).astype(np.uint8)
    image = Image.fromarray(smooth)
    x_0 = Fit.of(image, GREY, "resize").to_model(image)[0]
    expected = smooth.reshape(32, 2, 32, 2).mean(axis=(1, 3)) / 127.5 - 1
    assert np.abs(x_0 - expected)[1:-1, 1:-1].max() < 1.5 / 127.5


def test_colours_become_the_models() -> None:
    colour, grey = noise(32, 32, 3), noise(32, 32)
    to_grey = Fit.of(Image.fromarray(colour), GREY, "auto").to_model(Image.fromarray(colour))
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs((to_grey[0] + 1) * 127.5 - luma).max() < 1
    to_rgb = Fit.of(Image.fromarray(grey), RGB, "auto").to_model(Image.fromarray(grey))
    assert all(np.abs((band + 1) * 127.5 - grey).max() < 1e-4 for band in to_rgb)


def test_what_a_model_makes_is_rounded_and_clipped() -> None:
    """-1.2, -1, half a level above level 100, and beyond 1."""
    frame = Fit.of(Image.new("L", (2, 2)), (1, 2, 2), "auto")
    x_0 = np.array([[[-1.2, -1.0], [100.6 / 127.5 - 1, 1.3]]], dtype=np.float32)
    assert np.asarray(frame.from_model(x_0)).tolist() == [[0, 0], [101, 255]]


@pytest.mark.parametrize("size", [(100, 60), (23, 32), (31, 90)])
@pytest.mark.parametrize("shape", [GREY, RGB, WIDE])
def test_resizing_is_pillows_bicubic_both_ways(size: Size, shape: Shape) -> None:
    """After the colours are the model's."""
    frame = Fit.of(noisy(size, "RGB"), shape, "resize")
    assert frame.result == "source"
    mode, model_size = mode_of(shape), (shape[2], shape[1])
    expected = noisy(size, "RGB").convert(mode).resize(model_size, BICUBIC)
    assert np.array_equal(taken(frame, noisy(size, "RGB")), bands(expected))
    made = noisy(model_size, mode, seed=1)
    assert equal(given_back(frame, made), made.resize(size, BICUBIC))


def test_what_is_not_finite_is_a_defect() -> None:
    frame = Fit.of(noisy((32, 32)), GREY, "auto")
    x_0 = frame.to_model(noisy((32, 32)))
    x_0[0, 3, 4] = np.nan
    with pytest.raises(DefectError) as caught:
        frame.from_model(x_0)
    assert caught.value.code == "non_finite"


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_same_pixels_same_bytes(format: str) -> None:
    """No time, profile or resolution of the source's file goes along, though pixels be kept."""
    pixels, exif = noise(28, 28, 3), Image.Exif()
    exif[0x010E] = "a description"
    plain = saved(Image.fromarray(pixels))
    laden = saved(Image.fromarray(pixels), dpi=(300, 300), icc_profile=b"profile", exif=exif)
    encoded, kept = [], []
    for data in (plain, laden, plain):
        image = decode(data, 1_000_000).shown
        frame = Fit.of(image, RGB, "auto")
        result = frame.from_model(frame.to_model(image))
        encoded.append(encode(result, format))
        kept.append(encode(frame.keep(result, image, Image.new("L", image.size)), format))
    assert len(set(encoded)) == 1
    assert len(set(kept)) == 1


# The model's size, and no other


@pytest.mark.parametrize("shape", [GREY, RGB, WIDE])
def test_exact_takes_pixels_as_they_are(shape: Shape) -> None:
    image = noisy((shape[2], shape[1]), mode_of(shape))
    frame = Fit.of(image, shape, "exact")
    assert np.array_equal(taken(frame, image), bands(image))
    assert equal(frame.from_model(frame.to_model(image)), image)
    assert frame.seen(image) is image


@pytest.mark.parametrize("size", [(64, 25), (63, 24), (24, 64), (1, 1)])
def test_exact_refuses_any_other_size(size: Size) -> None:
    with pytest.raises(DefectError, match=rf"is {size[0]}x{size[1]}.* 64x24: .*use fit=") as caught:
        Fit.of(noisy(size), WIDE, "exact")
    assert caught.value.code == "not_exact_size"


# The largest part of the model's aspect ratio


@pytest.mark.parametrize(
    ("size", "shape", "part"),
    [
        ((100, 60), RGB, (20, 0, 80, 60)),
        ((60, 101), RGB, (0, 20, 60, 80)),
        ((20, 10), GREY, (5, 0, 15, 10)),
        ((64, 64), GREY, (0, 0, 64, 64)),
        ((40, 32), GREY, (4, 0, 36, 32)),
        ((128, 98), WIDE, (0, 25, 128, 73)),
        ((50, 20), WIDE, (0, 0, 50, 19)),
        ((1, 9), WIDE, (0, 4, 1, 5)),
        ((1000, 1), GREY, (499, 0, 500, 1)),
        ((20, 11), TALL, (7, 0, 13, 11)),
        ((9, 1), TALL, (4, 0, 5, 1)),
    ],
)
def test_the_part_a_model_sees(size: Size, shape: Shape, part: tuple[int, ...]) -> None:
    frame = Fit.of(noisy(size), shape, "fit")
    assert frame.part == part
    assert frame.from_model(frame.to_model(noisy(size))).size == (
        part[2] - part[0],
        part[3] - part[1],
    )


@settings(max_examples=80, deadline=None)
@given(
    scale=st.integers(1, 70),
    cut=st.integers(0, 40),
    upright=st.booleans(),
    shape=st.sampled_from([GREY, RGB, TALL]),
)
def test_fit_is_imageops_fit(scale: int, cut: int, upright: bool, shape: Shape) -> None:
    """Bit for bit, wherever it begins at a whole pixel."""
    width, height = scale * (1 if shape == TALL else 2), scale * 2
    size = (width, height + 2 * cut) if upright else (width + 2 * cut, height)
    image = noisy(size, mode_of(shape))
    expected = ImageOps.fit(image, (shape[2], shape[1]), BICUBIC)
    assert np.array_equal(taken(Fit.of(image, shape, "fit"), image), bands(expected))


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(1, 120), height=st.integers(1, 120), shape=st.sampled_from([GREY, TALL, WIDE])
)
def test_fit_is_within_a_pixel_of_imageops_fit(width: int, height: int, shape: Shape) -> None:
    """On a slope of one level a pixel each way, for what begins between pixels."""
    slope = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    image = Image.fromarray(slope).convert(mode_of(shape))
    expected = bands(ImageOps.fit(image, (shape[2], shape[1]), BICUBIC))
    apart = taken(Fit.of(image, shape, "fit"), image).astype(int) - expected
    assert np.abs(apart).max() <= 2


@pytest.mark.parametrize("size", [(101, 60), (60, 100), (20, 33)])
@pytest.mark.parametrize("shape", [GREY, RGB, WIDE])
def test_a_fitted_result_has_the_scale_of_its_part(size: Size, shape: Shape) -> None:
    frame = Fit.of(noisy(size), shape, "fit")
    made = noisy((shape[2], shape[1]), mode_of(shape), seed=1)
    part = noisy(size).crop(frame.part)
    assert equal(given_back(frame, made), made.resize(part.size, BICUBIC))


# Left at the model's size


@pytest.mark.parametrize("size", [(28, 30), (32, 32), (100, 60), (9, 50)])
@pytest.mark.parametrize("fit", ["auto", "resize", "fit"])
@pytest.mark.parametrize("shape", [GREY, RGB, WIDE])
def test_a_result_may_be_left_as_the_model_made_it(size: Size, fit: str, shape: Shape) -> None:
    """What the model takes is the same."""
    image, made = noisy(size), noisy((shape[2], shape[1]), mode_of(shape), seed=1)
    frame = Fit.of(image, shape, fit, "model")
    assert equal(given_back(frame, made), made)
    assert np.array_equal(taken(frame, image), taken(Fit.of(image, shape, fit), image))


def test_padding_is_left_on_at_the_models_size() -> None:
    image = noisy((20, 9), "RGB")
    frame = Fit.of(image, RGB, "pad", "model")
    expected = np.pad(np.asarray(image), ((11, 12), (6, 6), (0, 0)))
    assert np.array_equal(np.asarray(frame.from_model(frame.to_model(image))), expected)
    assert np.array_equal(np.asarray(frame.seen(image)), expected)


# What of the source the result is compared with


@pytest.mark.parametrize(
    ("size", "fit"),
    [
        ((28, 30), "auto"),
        ((100, 60), "auto"),
        ((5, 5), "pad"),
        ((100, 60), "resize"),
        ((64, 64), "fit"),
    ],
)
@pytest.mark.parametrize("shape", [GREY, RGB])
def test_the_source_itself_where_nothing_is_cut(size: Size, fit: str, shape: Shape) -> None:
    image = noisy(size, "RGB")
    assert Fit.of(image, shape, fit).seen(image) is image


@pytest.mark.parametrize("fit", ["auto", "pad", "resize", "fit"])
def test_the_source_itself_where_it_has_the_models_size(fit: str) -> None:
    image = noisy((32, 32), "RGB")
    assert Fit.of(image, GREY, fit, "model").seen(image) is image


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shape", [GREY, RGB])
def test_the_part_of_the_source_and_its_colours(mode: str, shape: Shape) -> None:
    image = noisy((101, 60), mode)
    expected = Image.fromarray(np.asarray(image)[:, 20:80])
    assert equal(Fit.of(image, shape, "fit").seen(image), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shape", [GREY, RGB])
def test_the_source_at_the_models_size_and_its_colours(mode: str, shape: Shape) -> None:
    image = noisy((100, 60), mode)
    resized = Fit.of(image, shape, "resize", "model").seen(image)
    assert equal(resized, image.resize((32, 32), BICUBIC))
    fitted = Fit.of(image, shape, "fit", "model").seen(image)
    assert equal(fitted, ImageOps.fit(image, (32, 32), BICUBIC))


@pytest.mark.parametrize("size", [(28, 30), (32, 32), (101, 60), (9, 50)])
@pytest.mark.parametrize("fit", ["auto", "resize", "fit"])
@pytest.mark.parametrize("result", ["source", "model"])
@pytest.mark.parametrize("shape", [GREY, RGB, WIDE])
def test_source_and_result_can_be_scored(size: Size, fit: str, result: str, shape: Shape) -> None:
    """At the model's size a perfect model gives the source back; elsewhere it is resized twice."""
    image = noisy(size)
    frame = Fit.of(image, shape, fit, result)
    back = frame.from_model(frame.to_model(image))
    assert frame.seen(image).size == back.size
    [worth] = scores([(frame.seen(image), back)])
    if result == "model":
        assert worth["score_psnr"] == np.inf


# Masks


def grown(changeable: NDArray[np.bool_], model_size: Size) -> NDArray[np.bool_]:
    """Each pixel of the model by itself: does any that shares area with it change?"""
    height, width = changeable.shape
    found = np.zeros(model_size[::-1], dtype=bool)
    for y, x in np.argwhere(changeable):
        for row in range(model_size[1]):
            for column in range(model_size[0]):
                down = min((y + 1) * model_size[1], (row + 1) * height)
                across = min((x + 1) * model_size[0], (column + 1) * width)
                found[row, column] |= down > max(y * model_size[1], row * height) and across > max(
                    x * model_size[0], column * width
                )
    return found


def spots(size: Size, seed: int, share: float = 0.02) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(size[::-1]) < share


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 60), height=st.integers(1, 60), seed=st.integers(0, 9))
@pytest.mark.parametrize("fit", ["resize", "fit"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 16)])
def test_whatever_touches_what_may_change_may(
    width: int, height: int, seed: int, fit: str, shape: Shape
) -> None:
    """In the picture's own geometry, with neither a spot lost nor one grown by a pixel."""
    may = spots((width, height), seed)
    frame = Fit.of(Image.new("L", (width, height)), shape, fit)
    found = frame.mask_to_model(Image.fromarray(may))
    left, top, right, bottom = frame.part
    expected = grown(may[top:bottom, left:right], (shape[2], shape[1]))
    assert found.dtype == np.float32
    assert found.shape == (1, *shape[1:])
    assert found.flags.c_contiguous
    assert np.array_equal(found[0], expected)


def test_a_thin_line_is_not_lost() -> None:
    """One pixel of 1024, which is a 32nd of a level in the mean of those it is made of."""
    mask = Image.new("L", (1024, 1024))
    mask.putpixel((500, 700), 255)
    found = Fit.of(mask, GREY, "resize").mask_to_model(mask)
    assert np.argwhere(found).tolist() == [[0, 700 // 32, 500 // 32]]


def test_a_large_area_is_not_lost() -> None:
    """Of as many pixels as would begin to be counted from 0 again in 16 bits."""
    mask = Image.new("L", (1, 1 << 16), 255)
    assert Fit.of(mask, (1, 1, 1), "resize").mask_to_model(mask) == 1


@pytest.mark.parametrize("fit", ["auto", "exact", "resize", "fit"])
def test_a_mask_of_the_models_size_is_taken_as_it_is(fit: str) -> None:
    may = spots((32, 32), 0, 0.5)
    found = Fit.of(Image.new("L", (32, 32)), RGB, fit).mask_to_model(Image.fromarray(may))
    assert np.array_equal(found[0], may)


def test_padding_may_change() -> None:
    mask = Image.new("L", (20, 9))
    mask.putpixel((3, 4), 255)
    expected = np.pad(np.asarray(mask) > 0, ((11, 12), (6, 6)), constant_values=True)
    assert np.array_equal(Fit.of(mask, RGB, "pad").mask_to_model(mask)[0], expected)


def test_grey_of_128_may_change() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frame = Fit.of(Image.fromarray(levels), (1, 16, 16), "exact")
    assert np.array_equal(frame.mask_to_model(Image.fromarray(levels))[0], levels > 127)


def masks() -> dict[str, Image.Image]:
    """One mask in every mode."""
    may = spots((12, 9), 0, 0.5)
    grey = Image.fromarray(may).convert("L")
    palette = Image.fromarray((~may).astype(np.uint8), "P")
    palette.putpalette([255] * 3 + [0] * 3)
    return {mode: grey.convert(mode) for mode in ("1", "L", "LA", "RGB", "RGBA", "CMYK")} | {
        "P": palette,
        "I;16": Image.fromarray(np.where(may, 40_000, 20_000).astype(np.uint16)),
    }


@pytest.mark.parametrize("mode", list(masks()))
def test_a_mask_may_be_of_any_mode(mode: str) -> None:
    mask = masks()[mode]
    assert mask.mode == mode
    found = Fit.of(mask, (1, 9, 12), "exact").mask_to_model(mask)
    assert np.array_equal(found[0], spots((12, 9), 0, 0.5))


@pytest.mark.parametrize("fit", ["resize", "fit", "pad"])
@pytest.mark.parametrize("result", ["source", "model"])
@pytest.mark.parametrize("size", [(20, 30), (30, 21), (31, 20), (32, 32)])
def test_a_mask_of_another_size_is_a_defect(fit: str, result: str, size: Size) -> None:
    image, mask = noisy((30, 20)), Image.new("L", size)
    frame = Fit.of(image, GREY, fit, result)
    with pytest.raises(DefectError, match=rf"{size[0]}x{size[1]} .* 30x20: supply") as caught:
        frame.mask_to_model(mask)
    assert caught.value.code == "mask_size"
    with pytest.raises(DefectError) as caught:
        frame.keep(frame.from_model(frame.to_model(image)), image, mask)
    assert caught.value.code == "mask_size"


def test_a_mask_of_floats_is_a_defect() -> None:
    mask = Image.fromarray(np.ones((32, 32), dtype=np.float32))
    with pytest.raises(DefectError) as caught:
        Fit.of(mask, GREY, "exact").mask_to_model(mask)
    assert caught.value.code == "unsupported_pixels"


# What is kept


@pytest.mark.parametrize("size", [(28, 30), (32, 32), (101, 60), (9, 50)])
@pytest.mark.parametrize("fit", ["auto", "resize", "fit"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shape", [GREY, RGB, WIDE])
def test_what_is_kept_is_the_sources_to_the_pixel(
    size: Size, fit: str, mode: str, shape: Shape
) -> None:
    image, may = noisy(size, mode), spots(size, 1, 0.5)
    frame = Fit.of(image, shape, fit)
    result = given_back(frame, noisy((shape[2], shape[1]), mode_of(shape), seed=1))
    before = result.copy()
    left, top, right, bottom = frame.part
    own = np.asarray(image.convert(mode_of(shape)))[top:bottom, left:right]
    may = may[top:bottom, left:right]
    wide = may if mode_of(shape) == "L" else may[:, :, None]
    expected = np.where(wide, np.asarray(result), own)
    found = frame.keep(result, image, Image.fromarray(spots(size, 1, 0.5)))
    assert found.mode == mode_of(shape)
    assert np.array_equal(np.asarray(found), expected)
    assert equal(result, before)


@pytest.mark.parametrize("size", [(28, 30), (32, 32), (101, 60), (9, 50)])
@pytest.mark.parametrize("fit", ["auto", "resize", "fit"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shape", [GREY, RGB, WIDE])
def test_what_is_kept_at_the_models_size(size: Size, fit: str, mode: str, shape: Shape) -> None:
    """What the mask for the model keeps, which holds nothing of a pixel that may change."""
    image, mask = noisy(size, mode), Image.fromarray(spots(size, 1, 0.01))
    frame = Fit.of(image, shape, fit, "model")
    result = noisy((shape[2], shape[1]), mode_of(shape), seed=1)
    may = frame.mask_to_model(mask)[0] == 1
    wide = may if mode_of(shape) == "L" else may[:, :, None]
    own = np.asarray(frame.seen(image).convert(mode_of(shape)))
    found = frame.keep(result, image, mask)
    assert np.array_equal(np.asarray(found), np.where(wide, np.asarray(result), own))


@pytest.mark.parametrize("result", ["source", "model"])
@pytest.mark.parametrize("fit", ["auto", "resize", "fit"])
def test_a_black_mask_keeps_all_and_a_white_one_nothing(fit: str, result: str) -> None:
    image = noisy((101, 60), "RGB")
    frame = Fit.of(image, RGB, fit, result)
    made = given_back(frame, noisy((32, 32), "RGB", seed=1))
    assert equal(frame.keep(made, image, Image.new("L", image.size)), frame.seen(image))
    assert equal(frame.keep(made, image, Image.new("L", image.size, 128)), made)


def test_a_mask_that_is_nowhere_white_is_not_taken_for_black() -> None:
    """Such as one of zeros and ones, which would keep everything."""
    frame = Fit.of(noisy((32, 32), "RGB"), RGB, "auto")
    with pytest.raises(DefectError, match="nowhere brighter than 1: mark what may change in white"):
        frame.mask_to_model(Image.new("L", (32, 32), 1))
