"""Keeping the detail of pictures, against closed forms and a filter worked out window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from diffaug.errors import DefectError
from diffaug.pictures.codec import picture
from diffaug.pictures.detail import KeepingDetail
from diffaug.pictures.fit import Fit
from diffaug.pictures.medium import IMAGE
from tests.pictures.test_fit import equal, noisy
from tests.support.blind_pairs import phase_randomised
from tests.support.guided import guided, resized

Floats = NDArray[np.floating[Any]]

GREY, RGB = (1, 32, 32), (3, 32, 32)
LUMA = np.array((0.299, 0.587, 0.114))


def photograph(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Noise over slow waves, nowhere near black or white."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    waves = np.stack([np.sin(x / 9 + n) + np.cos(y / 13 - n) for n in range(3)], axis=-1)
    grain = np.random.default_rng(0).normal(0, 6, waves.shape)
    image = Image.fromarray((128 + 25 * waves + grain).clip(40, 215).astype(np.uint8))
    return image.convert(mode)


def kept(image: Image.Image, shape: tuple[int, int, int], how: str = "resize") -> KeepingDetail:
    fit = IMAGE.fit(image, shape, how, "source", "keep")
    assert isinstance(fit, KeepingDetail)
    return fit


def changed(image: Image.Image, fit: KeepingDetail, change: Any) -> Floats:
    """What a change of what the model sees, in levels, makes of the picture's levels."""
    result = fit.from_model(fit.to_model(image) + np.float32(change) / np.float32(127.5))
    assert (result.mode, result.size) == (image.mode, image.size)
    return np.asarray(result, dtype=np.float64) - np.asarray(image, dtype=np.float64)


@pytest.mark.parametrize("shape", [GREY, RGB, (3, 24, 48)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(133, 100), (97, 61), (60, 200)])
@pytest.mark.parametrize("how", ["resize", "fit"])
def test_a_model_that_changes_nothing_gives_the_picture(
    shape: tuple[int, int, int], mode: str, size: tuple[int, int], how: str
) -> None:
    image = noisy(size, mode)
    fit = kept(image, shape, how)
    assert equal(fit.from_model(fit.to_model(image)), image)
    assert fit.seen(image) is image


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shape", [GREY, RGB])
def test_another_light_is_the_same_everywhere(mode: str, shape: tuple[int, int, int]) -> None:
    image = photograph((133, 100), mode)
    assert np.unique(changed(image, kept(image, shape), 12)).tolist() == [12]
    assert np.unique(changed(image, kept(image, shape), -9)).tolist() == [-9]


def test_levels_end_at_black_and_white() -> None:
    image = Image.fromarray(np.tile(np.array([0, 250], dtype=np.uint8), (64, 32)))
    levels = changed(image, kept(image, (1, 8, 8)), 10) + np.asarray(image)
    assert np.unique(levels).tolist() == [10, 255]


def test_a_model_of_greys_leaves_colours() -> None:
    image = photograph((133, 100))
    waves = 20 * np.sin(np.arange(32) / 5)[None, :, None] * np.ones((1, 32, 32))
    levels = changed(image, kept(image, GREY), waves)
    assert np.abs(levels - levels[..., :1]).max() <= 1  # rounding
    assert levels.min() < -10
    assert levels.max() > 10


def test_of_a_grey_picture_a_colour_model_changes_the_lightness() -> None:
    image = photograph((133, 100), "L")
    change = np.array((30, -6, 12))
    expected = np.rint(LUMA @ change)
    assert np.unique(changed(image, kept(image, RGB), change[:, None, None])) == [expected]


def test_channels_alone_are_enough_reason() -> None:
    """At the model's own size, and padded."""
    for size in ((32, 32), (28, 30)):
        colour = photograph(size)
        change = np.zeros((1, 32, 32))
        left, top = (32 - size[0]) // 2, (32 - size[1]) // 2
        change[0, top : top + size[1], left : left + size[0]] = np.arange(size[0]) - 15
        levels = changed(colour, kept(colour, GREY, "auto"), change)
        assert (levels == (np.arange(size[0]) - 15)[None, :, None]).all()


@pytest.mark.parametrize(
    ("size", "mode", "how", "result", "detail"),
    [
        ((32, 32), "RGB", "resize", "source", "keep"),
        ((28, 28), "RGB", "auto", "source", "keep"),
        ((20, 12), "RGB", "resize", "source", "keep"),
        ((100, 100), "RGB", "resize", "model", "keep"),
        ((100, 100), "RGB", "resize", "source", "none"),
    ],
)
def test_otherwise_the_result_is_the_models(
    size: tuple[int, int], mode: str, how: str, result: str, detail: str
) -> None:
    image = noisy(size, mode)
    fit = IMAGE.fit(image, RGB, how, result, detail)
    assert fit == Fit.of(image, RGB, how, result)
    assert fit.detail is None


@pytest.mark.parametrize(
    ("size", "mode", "how", "result", "detail", "geometry"),
    [
        ((100, 70), "RGB", "resize", "source", "keep", "in_place"),
        ((100, 70), "RGB", "fit", "source", "keep", "in_place"),
        ((100, 70), "RGB", "resize", "source", "none", "redrawn"),
        ((100, 70), "RGB", "fit", "source", "none", "moved"),
        ((100, 100), "RGB", "fit", "source", "none", "redrawn"),
        ((100, 70), "RGB", "resize", "model", "keep", "moved"),
        ((32, 32), "RGB", "resize", "model", "keep", "redrawn"),
        ((28, 28), "RGB", "pad", "source", "keep", "redrawn"),
        ((28, 28), "RGB", "pad", "model", "keep", "moved"),
        ((20, 12), "RGB", "fit", "source", "keep", "moved"),
        ((32, 32), "L", "resize", "source", "keep", "redrawn"),
    ],
)
def test_where_a_result_has_what_its_picture_has(
    size: tuple[int, int], mode: str, how: str, result: str, detail: str, geometry: str
) -> None:
    """Told by a bright dot: what the model was given, back in the result, is where it was."""
    image = Image.new(mode, size)
    x, y = size[0] // 4, size[1] // 2
    image.paste(255 if mode == "L" else (255, 255, 255), (x - 2, y - 2, x + 3, y + 3))
    fit = IMAGE.fit(image, RGB, how, result, detail)
    assert fit.geometry == geometry
    made = np.asarray(fit.from_model(fit.to_model(image)).convert("L"), dtype=float)
    top, left = ndimage.center_of_mass(made * (made > 64))
    moved = made.shape != size[::-1] or np.hypot(left - x, top - y) > 1
    assert bool(moved) is (geometry == "moved")


@pytest.mark.parametrize(("size", "axis"), [((200, 100), 1), ((100, 200), 0)])
def test_outside_the_part_the_picture_stays_and_no_edge_shows(
    size: tuple[int, int], axis: int
) -> None:
    """From the part's border the change grows over four pixels of the model, 12.5 of the picture.

    As t * t * (3 - 2 * t), so that it neither starts nor ends with a bend.
    """
    image = photograph(size)
    levels = changed(image, kept(image, RGB, "fit"), 20)
    along = levels if axis == 1 else levels.transpose(1, 0, 2)
    assert not along[:, :50].any()
    assert not along[:, 150:].any()
    assert (along[:, 63:137] == 20).all()
    t = (np.arange(12) + 0.5) / 12.5
    ramp = np.rint(20 * t * t * (3 - 2 * t))
    assert (along[:, 50:62] == ramp[None, :, None]).all()
    assert (along[:, 149:137:-1] == ramp[None, :, None]).all()


def test_what_a_mask_keeps_is_the_picture() -> None:
    image = photograph((133, 100))
    fit = kept(image, RGB)
    mask = Image.new("L", image.size)
    mask.paste(255, (20, 30, 70, 80))
    made = fit.from_model(fit.to_model(image) + np.float32(0.2))
    levels = np.asarray(fit.keep(made, image, mask), dtype=int) - np.asarray(image)
    assert (levels[30:80, 20:70] > 0).all()
    levels[30:80, 20:70] = 0
    assert not levels.any()


def test_a_result_that_is_not_finite_is_a_defect() -> None:
    fit = kept(photograph((64, 64)), RGB)
    with pytest.raises(DefectError, match="not finite"):
        fit.from_model(np.full(RGB, np.nan, dtype=np.float32))


def test_a_change_ends_where_the_object_does() -> None:
    """A bright object, made brighter by a model whose pixels lie across its edge."""
    pixels = np.full((96, 96), 60, dtype=np.uint8)
    pixels[:, 41:] = 180
    image = Image.fromarray(pixels)
    fit = kept(image, (1, 8, 8))
    before = fit.to_model(image)
    change = 30 * (before * 127.5 + 67.5) / 120  # 0 on the dark side, 30 on the bright one
    levels = changed(image, fit, change)
    plain = np.asarray(Image.fromarray(change[0]).resize(image.size, Image.Resampling.BICUBIC))
    halo = np.s_[:, 33:37]  # beside the object, four pixels from its edge
    assert np.abs(levels[halo]).mean() < 0.6 * np.abs(plain[halo]).mean()
    assert levels[:, 50:].min() >= 27


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_lift_is_the_guided_filter_of_the_paper(mode: str) -> None:
    image = photograph((90, 70), mode)
    change = np.random.default_rng(1).normal(0, 15, (len(image.getbands()), 8, 8))
    levels = changed(image, kept(image, (len(change), 8, 8)), change)
    expected = guided(image, change)
    assert np.abs(levels - (expected if mode == "RGB" else expected[..., 0])).max() < 0.51


@pytest.mark.parametrize("cells", [1, 3, 8, 32])
def test_what_is_changed_within_a_mask_is_not_diluted_by_what_could_not_change(cells: int) -> None:
    image = photograph((512, 512))
    mask = Image.new("L", image.size)
    mask.paste(255, (160, 160, 160 + 16 * cells, 160 + 16 * cells))
    fit = kept(image, RGB)
    change = 30 * fit.mask_to_model(mask)
    x_0 = fit.to_model(image) + change / np.float32(127.5)
    made = fit.keep(fit.from_model(x_0, mask), image, mask)
    levels = np.asarray(made, dtype=float) - np.asarray(image)
    inside = np.asarray(mask) > 0
    assert levels[inside].mean() > 20
    assert not levels[~inside].any()


def test_near_the_models_own_size_its_change_is_taken_as_it_is() -> None:
    image = photograph((33, 32), "L")
    change = np.zeros((1, 32, 32))
    change[0, 10:14, 10:14] = 40
    levels = changed(image, kept(image, GREY), change)
    plain = resized(change[0], image.size)
    assert np.abs(levels - plain).max() < 8
    wide = photograph((64, 64), "L")
    assert changed(wide, kept(wide, GREY), change).max() < 0.9 * levels.max()


@pytest.mark.parametrize("how", ["resize", "fit"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_transparent_picture_keeps_its_alpha(mode: str, how: str) -> None:
    """Over its background it is what an opaque one would be, with that much less of the change."""
    alpha = np.tile(np.linspace(0, 255, 133).round(), (100, 1)).astype(np.uint8)
    colours = photograph((133, 100), mode[:-1])
    image = colours.copy()
    image.putalpha(Image.fromarray(alpha))
    found = picture(image, "#204060" if mode == "RGBA" else "#404040")
    assert found.transparency is not None
    fit = IMAGE.fit(found.shown, RGB, how, "source", "keep", found.transparency)
    before = fit.to_model(found.shown)
    same, lighter = fit.from_model(before), fit.from_model(before + np.float32(20 / 127.5))
    for result in (same, lighter):
        assert result.mode == mode
        assert (np.asarray(result)[..., -1] == alpha).all()
    own = np.asarray(same)[..., :-1]
    own = own if mode == "RGBA" else own[..., 0]
    assert (own[alpha > 0] == np.asarray(colours)[alpha > 0]).all()
    assert (own[alpha == 0] == np.asarray(found.shown)[alpha == 0]).all()
    seen = [np.asarray(fit.shown(one), dtype=float) for one in (same, lighter)]
    assert np.abs(seen[0] - np.asarray(found.shown)).max() == 0
    opaque = kept(found.shown, RGB, how)
    change = changed(found.shown, opaque, 20)
    share = alpha / 255 if mode == "LA" else (alpha / 255)[..., None]
    assert np.abs(seen[1] - seen[0] - share * change).max() <= 1  # two roundings
    mask = Image.new("L", image.size)
    mask.paste(255, (60, 0, 80, 100))
    masked = np.asarray(fit.keep(lighter, found.shown, mask))
    inside = np.asarray(mask) > 0
    assert (masked[~inside] == np.asarray(same)[~inside]).all()
    assert (masked[inside] == np.asarray(lighter)[inside]).all()


def test_a_random_field_has_the_spectrum_of_a_change() -> None:
    """Within each channel and between them; only what no phase can turn keeps its sign."""
    change = np.random.default_rng(2).normal(3, 9, (3, 32, 32)).astype(np.float32)
    field = phase_randomised(change, np.random.default_rng(3))
    spectra = [np.fft.fft2(one) for one in (change, field)]
    for one, other in ((0, 0), (1, 1), (0, 2)):
        power = [spectrum[one] * spectrum[other].conj() for spectrum in spectra]
        np.testing.assert_allclose(power[0], power[1], rtol=1e-3, atol=1)
    np.testing.assert_allclose(field.mean((1, 2)), change.mean((1, 2)), rtol=1e-4)
    assert abs(np.corrcoef(change.ravel(), field.ravel())[0, 1]) < 0.3
