"""What an arm draws from: pools, matched controls, changes at random, images made elsewhere."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from diffaug.errors import ConfigError
from diffaug.evaluation.images.elsewhere import (
    load_elsewhere,
    pool_of,
    read_elsewhere,
    save_elsewhere,
)
from diffaug.evaluation.images.pictures import Form, Pictures
from diffaug.evaluation.images.pool import Pool
from diffaug.evaluation.trials import variants
from diffaug.evaluation.trials.matched import in_turn, matched_blur, matched_field, matched_noise
from diffaug.evaluation.trials.trivial_augment import OPERATIONS, trivial_augment
from diffaug.evaluation.trials.variants import Changed, Labelled, fixed, flips_and_crops, jitter
from tests.support.hostile import write_samples
from tests.support.small_pictures import PIXELS, pictures


@pytest.fixture
def pool() -> Pool:
    """Two copies of each image, at 14 to 30 dB, of which one is missing."""
    random, images = np.random.default_rng(0), pictures().astype(float)
    deviation = np.linspace(8, 50, 12).reshape(6, 2, 1, 1, 1)
    noisy = images[:, None] + deviation * random.standard_normal((6, 2, 28, 28, 1))
    copies = np.clip(noisy, 0, 255).astype(np.uint8)
    there = np.ones((6, 2), dtype=bool)
    there[3, 1] = False
    psnr = np.array([[_psnr(copies[n, k], pictures()[n]) for k in range(2)] for n in range(6)])
    return Pool(copies, there, np.where(there, psnr, np.nan))


def _psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(peak_signal_noise_ratio(other, one, data_range=255))


def test_controls_are_as_far_from_their_images_as_the_copies_they_are_matched_to(
    pool: Pool,
) -> None:
    images = pictures()
    noise = matched_noise(images, tuple(PIXELS[:6]), pool)
    blur = matched_blur(images, pool)
    strongest = _psnr(blur.copies[5, 1], images[5])
    for n, k in np.argwhere(pool.there):
        assert _psnr(noise.copies[n, k], images[n]) == pytest.approx(pool.psnr[n, k], abs=0.3)
        # a blur comes in steps, and at its strongest it is a grey plane
        target = max(pool.psnr[n, k], strongest)
        assert _psnr(blur.copies[n, k], images[n]) == pytest.approx(target, abs=2)
    assert np.array_equal(noise.there, pool.there)
    alone = Pool(pool.copies[[2]], pool.there[[2]], pool.psnr[[2]])
    other = matched_noise(images[[2]], (PIXELS[2],), alone)
    assert np.array_equal(other.copies[0], noise.copies[2])


def test_a_pool_draws_what_is_there_of_the_image_at_each_place(pool: Pool) -> None:
    random = np.random.default_rng(0)
    places = np.array([0, 3] * 50)
    whose, drawn, _ = pool.draw(places, random)
    assert np.array_equal(whose, places)
    found = [{k for k in range(2) if np.array_equal(pool.copies[n, k], image)} for n, image in
             zip(places, drawn, strict=True)]  # fmt: skip
    assert set.union(*found[0::2]) == {0, 1}
    assert set.union(*found[1::2]) == {0}
    none_of_3 = pool.kept(np.arange(6)[:, None] != [3, 3])
    whose, others, _ = none_of_3.draw(np.full(40, 3), random)
    for owner, image in zip(whose, others, strict=True):
        assert any(np.array_equal(pool.copies[owner, k], image) for k in range(2))
    assert 3 not in whose
    assert len(set(whose)) > 2


@pytest.mark.parametrize("channels", [1, 3])
def test_flips_and_crops_move_and_mirror(channels: int) -> None:
    images = pictures(64, channels)
    moved = flips_and_crops(images, np.random.default_rng(0))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    kinds = set()
    for source, made in zip(padded, moved, strict=True):
        for flipped in (False, True):
            seen = made[:, ::-1] if flipped else made
            for down in range(5):
                for right in range(5):
                    if np.array_equal(source[down : down + 28, right : right + 28], seen):
                        kinds.add((down, right, flipped))
    assert len({kind[:2] for kind in kinds}) > 20
    assert {kind[2] for kind in kinds} == {False, True}


def test_trivial_augment_changes_most_images_by_something_else_each_time() -> None:
    made = trivial_augment(pictures(1).repeat(200, axis=0), np.random.default_rng(0))
    assert len({one.tobytes() for one in made}) > 100
    assert made.shape == (200, 28, 28, 1)


def by_pillow(operation: str, image: Image.Image, strength: float, way: bool) -> Image.Image:
    """An operation of TrivialAugment."""
    signed, (width, height) = strength if way else -strength, image.size
    factor = 1 - 0.99 * strength if way else 1 + 0.99 * strength
    affine = {
        "shear-x": (1, 0.99 * signed, 0, 0, 1, 0),
        "shear-y": (1, 0, 0, 0.99 * signed, 1, 0),
        "translate-x": (1, 0, signed * width, 0, 1, 0),
        "translate-y": (1, 0, 0, 0, 1, signed * height),
    }
    match operation:
        case "identity":
            return image
        case "autocontrast" | "equalize":
            made: Image.Image = getattr(ImageOps, operation)(image)
        case "posterize":
            made = ImageOps.posterize(image, 8 - round(6 * strength))
        case "solarize":
            made = ImageOps.solarize(image, 256 - round(256 * strength))
        case "rotate":
            made = image.rotate(135 * signed)
        case "brightness" | "contrast" | "sharpness" | "color":
            made = getattr(ImageEnhance, operation.title())(image).enhance(factor)
        case _:
            made = image.transform(image.size, Image.Transform.AFFINE, affine[operation])
    return made


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_are_pillows(operation: str, channels: int) -> None:
    """A place between two pixels may be rounded to either, and a level by one."""
    random, images = np.random.default_rng(0), pictures(4, channels).repeat(5, axis=0)[:, :24]
    images[4:8] = images[4:8] // 4 + 40
    images[8] = 7
    strengths, ways = random.random(len(images)), random.random(len(images)) < 0.5
    made = OPERATIONS[operation](images, strengths, ways)
    for image, strength, way, found in zip(images, strengths, ways, made, strict=True):
        seen = by_pillow(operation, Image.fromarray(image.squeeze()), float(strength), bool(way))
        expected = np.asarray(seen, dtype=int).reshape(found.shape)
        assert (np.abs(found - expected) > 1).mean() < 0.005
        assert np.abs(found - expected).mean() < 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_what_pillow_does_with_the_same_factors(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "_JITTER", (0.4, 0.0))
    images = pictures(channels=channels)
    made = jitter(images, np.random.default_rng(3))
    factors = 1 + 0.4 * np.random.default_rng(3).uniform(-1, 1, (3, 6))
    for image, changed, (bright, contrast, colour) in zip(images, made, factors.T, strict=True):
        seen = ImageEnhance.Brightness(Image.fromarray(image.squeeze())).enhance(bright)
        seen = ImageEnhance.Contrast(seen).enhance(contrast)
        seen = ImageEnhance.Color(seen).enhance(colour) if channels == 3 else seen
        expected = np.asarray(seen, dtype=float).reshape(changed.shape)
        assert np.abs(changed - expected).max() <= 4  # Pillow rounds after each


def test_hue_is_turned_and_lightness_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "_JITTER", (0.0, 0.1))
    images = np.clip(pictures(channels=3), 100, 150)  # nothing is clipped
    made = jitter(images, np.random.default_rng(0))
    luma = [np.array(one, dtype=float) @ [0.299, 0.587, 0.114] for one in (images, made)]
    assert np.abs(luma[0] - luma[1]).max() < 1
    assert np.abs(images.astype(int) - made).max() > 5
    grey = np.full((4, 8, 8, 3), 90, dtype=np.uint8)
    assert np.array_equal(jitter(grey, np.random.default_rng(0)), grey)


def test_a_copy_is_changed_whenever_it_is_drawn(pool: Pool) -> None:
    places, darker = np.zeros(5, dtype=np.int64), lambda images, random: images // 2
    _, plain, _ = pool.draw(places, np.random.default_rng(0))
    whose, changed, _ = Changed(pool, [darker, darker]).draw(places, np.random.default_rng(0))
    assert np.array_equal(whose, places)
    assert np.array_equal(changed, plain // 2 // 2)
    _, own, _ = Changed(Labelled(pictures()), [darker]).draw(places, np.random.default_rng(0))
    assert np.array_equal(own, pictures()[places] // 2)


def test_a_fixed_copy_is_changed_once() -> None:
    pool = fixed(pictures(), jitter, 3, np.random.default_rng(0))
    assert pool.copies.shape == (6, 3, 28, 28, 1)
    assert pool.psnr[4, 2] == pytest.approx(_psnr(pool.copies[4, 2], pictures()[4]))
    _, drawn, _ = pool.draw(np.repeat(4, 100), np.random.default_rng(1))
    assert {one.tobytes() for one in drawn} == {one.tobytes() for one in pool.copies[4]}


def test_what_comes_in_turn_is_of_each_for_every_image_and_every_copy(pool: Pool) -> None:
    blurred, noisy = matched_blur(pictures(), pool), matched_noise(pictures(), tuple(PIXELS), pool)
    of_each = [blurred, noisy, pool]
    made = in_turn(of_each)
    assert made.there is pool.there
    for image, copy in product(range(6), range(2)):
        own = of_each[(image + copy) % 3]
        np.testing.assert_array_equal(made.copies[image, copy], own.copies[image, copy])
        np.testing.assert_equal(made.psnr[image, copy], own.psnr[image, copy])


def test_a_field_has_the_spectrum_of_the_change_it_stands_for() -> None:
    """In each channel, between channels, and in PSNR; where it is bright is another matter."""
    random, images = np.random.default_rng(0), np.full((3, 32, 32, 3), 128, dtype=np.uint8)
    smooth = gaussian_filter(random.normal(0, 1, (3, 2, 32, 32, 3)), (0, 0, 3, 3, 0.5), mode="wrap")
    copies = np.clip(128 + 150 * smooth, 0, 255).astype(np.uint8)
    errors = np.square(copies - images[:, None].astype(float)).mean((2, 3, 4))
    like = Pool(copies, np.ones((3, 2), dtype=bool), 10 * np.log10(255**2 / errors))
    field = matched_field(images, tuple(PIXELS[:3]), like)
    assert np.allclose(field.psnr, like.psnr, atol=0.1)
    changes = [one.copies.astype(float) - 128 for one in (like, field)]
    one, other = (np.fft.fft2(change, axes=(2, 3)) for change in changes)
    for first, second in product(range(3), repeat=2):  # rounding to bytes adds a little
        cross = [each[..., first] * each[..., second].conj() for each in (one, other)]
        assert np.abs(cross[0] - cross[1]).max() < 0.1 * np.abs(cross[0]).max()
    assert abs(np.corrcoef(changes[0].ravel(), changes[1].ravel())[0, 1]) < 0.5


def elsewhere(folder: Path, images: dict[str, NDArray[np.uint8]]) -> str:
    """A shard of images under these keys."""
    samples = []
    for key, image in images.items():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        samples.append({"__key__": key.encode(), "png": file.getvalue()})
    return str(write_samples(folder / "made.tar", samples))


def test_images_made_elsewhere_are_those_that_are_named_after_a_source(tmp_path: Path) -> None:
    grey = np.arange(6, dtype=np.uint8) * 20 + 50
    of = Pictures(np.tile(grey[:, None, None, None], (1, 8, 8, 1)), np.arange(6), tuple("abcdef"))
    made = {
        "cat": np.full((8, 8), 51, np.uint8),
        "cat-a0": np.full((16, 16), 52, np.uint8),
        "cat-7-x": np.full((8, 8), 71, np.uint8),
        "dog": np.zeros((8, 8), np.uint8),
        "cats-1": np.zeros((8, 8), np.uint8),
        "cat-9-1": np.zeros((8, 8), np.uint8),
    }
    keys = ["cat", "cat-7", "c", "d", "e", "f"]
    known = [*keys, "cat-9"]  # which is not labelled
    form, shard = Form(8, 8, "L"), elsewhere(tmp_path, made)
    found = read_elsewhere("other", shard, form, keys, known, {})
    pool = pool_of(found, "other", shard, of, keys, {})
    (tmp_path / "seed-0").mkdir()
    save_elsewhere(pool, str(tmp_path), 0, "other", None)
    kept = load_elsewhere(str(tmp_path), 0, "other", 20)
    assert np.array_equal(kept.copies, pool.copies)
    assert pool.there.tolist() == [[True, True], [True, False], *[[False, False]] * 4]
    assert pool.copies[0, :, 0, 0, 0].tolist() == [51, 52]
    assert pool.copies[1, 0, 0, 0, 0] == 71
    assert pool.psnr[0].tolist() == pytest.approx([48.13, 42.11], abs=0.01)
    with pytest.raises(
        ConfigError, match=r"augmented other: no sample of .*such as hat/x: name each"
    ):
        pool_of(found, "other", shard, of, list("xyzuvw"), {"hat/x": "x"})
    with pytest.raises(ConfigError, match="several samples of the source have the same key"):
        read_elsewhere("other", shard, form, keys, [*keys, "cat"], {})


def test_pictures_of_a_folder_are_those_of_the_files_they_are_named_after(tmp_path: Path) -> None:
    """Of a source that was a folder, too, or of a shard's samples by the name of the file alone."""
    shades = {"hat/a-1": 10, "hat/a": 20, "t-shirt/b-0": 30, "t-shirt/c": 40, "hat/00000009-x": 50}
    for name, shade in shades.items():
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), shade, np.uint8)).save(path)
    known = [f"{number:08d}" for number in range(10)]
    paths: dict[str, str | None] = {"hat/a": known[0], "t-shirt/b": known[1], "t-shirt/d": known[2]}
    form = Form(8, 8, "L")

    def found(paths: dict[str, str | None]) -> dict[str, list[int]]:
        made = read_elsewhere("other", str(tmp_path), form, known, known, paths)
        return {key: sorted(int(image[0, 0, 0]) for image in some) for key, some in made.items()}

    assert found(paths) == {known[0]: [10, 20], known[1]: [30]}
    assert found({}) == {known[9]: [50]}  # the source was shards
    with pytest.raises(ConfigError, match=r"several pictures of the source have the name of hat/a"):
        read_elsewhere("other", str(tmp_path), form, known, known, {**paths, "hat/a": None})
