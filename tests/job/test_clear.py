"""Jobs with detail kept on pictures that are partly transparent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import diffaug
from diffaug.audit.replay import replay_rows
from diffaug.recipe import Recipe
from diffaug.report.pictures import output_picture, source_picture
from tests.support.hostile import encoded, write_files
from tests.support.jobs import BATCH, augmented, differences, manifest, output_bytes, part, pixels

Levels = NDArray[np.float64]

FIELDS: dict[str, Any] = {"model": "cifar10-32", "strength": 0.3, "sampler": "one-step"}
WIDTH, HEIGHT = 90, 70
ORANGE = (255, 128, 0)


def drawn() -> NDArray[np.uint8]:
    """Waves in RGBA: clear on the left, opaque on the right, and one hidden colour in between."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    colours = [128 + 60 * np.sin(x / 9 + n) + 50 * np.cos(y / 7 - n) for n in range(3)]
    alpha = (6 * (x - 20)).clip(0, 255)
    return np.stack([*colours, alpha], axis=-1).clip(0, 255).astype(np.uint8)


RGBA = drawn()
COLOUR, ALPHA = RGBA[..., :3], RGBA[..., 3]
PICTURES = {
    "clear": Image.fromarray(RGBA),
    "grey": Image.fromarray(RGBA[..., [0, 3]].copy(), "LA"),
    "opaque": Image.fromarray(COLOUR),
}
JOBS: dict[str, dict[str, Any]] = {
    "png": {},
    "webp": {"format": "webp"},
    "jpg": {"format": "jpg"},
    "none": {"detail": "none"},
    "orange": {"background": "#ff8000"},
    "small": {"result": "model"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of each kind over the pictures, in a folder of its name."""
    folder = tmp_path_factory.mktemp("clear")
    pictures = [(f"{name}.png", encoded(one, "PNG")) for name, one in PICTURES.items()]
    write_files(folder / "s.tar", pictures)
    for job, fields in JOBS.items():
        augmented([folder / "s.tar"], folder / job, **FIELDS, **fields)
    return folder


def rows(output: Path) -> pd.DataFrame:
    found = manifest(output).set_index("source_key")
    assert set(found["status"]) == {"ok"}
    return found


def made(folder: Path, job: str, name: str) -> NDArray[np.uint8]:
    return pixels(output_bytes(folder / job, rows(folder / job).loc[name]))


def over(rgba: NDArray[np.uint8], ground: Any) -> Levels:
    """What is seen of it, in closed form."""
    share = rgba[..., -1:] / 255
    return rgba[..., :-1] * share + np.array(ground) * (1 - share)


@pytest.mark.parametrize(
    ("job", "name", "mode"),
    [
        ("png", "clear", "RGBA"),
        ("png", "grey", "LA"),
        ("png", "opaque", "RGB"),
        ("webp", "clear", "RGBA"),
        ("webp", "grey", "RGB"),
        ("jpg", "clear", "RGB"),
        ("jpg", "grey", "L"),
        ("none", "clear", "RGB"),
        ("none", "grey", "RGB"),
        ("orange", "clear", "RGBA"),
        ("orange", "grey", "RGBA"),
        ("small", "clear", "RGB"),
    ],
)
def test_a_result_is_as_transparent_as_its_source(
    folder: Path, job: str, name: str, mode: str
) -> None:
    """If its file can be, and detail is kept. WebP has no greys."""
    levels = made(folder, job, name)
    assert (levels.ndim == 2 and mode == "L") or levels.shape[-1] == len(mode)
    if mode.endswith("A"):
        assert (levels[..., -1] == ALPHA).all()


def test_formats_without_loss_hold_the_same(folder: Path) -> None:
    assert (made(folder, "webp", "clear") == made(folder, "png", "clear")).all()
    for name in ("png", "webp", "jpg", "orange", "none"):
        assert differences(folder / name) == []


@pytest.mark.parametrize(("job", "ground"), [("png", (255, 255, 255)), ("orange", ORANGE)])
def test_beneath_lies_the_sources_colour_or_what_is_behind_it(
    folder: Path, job: str, ground: tuple[int, ...]
) -> None:
    """Each with the change, which is small here."""
    levels = made(folder, job, "clear")[..., :3].astype(float)
    expected = np.where(ALPHA[..., None] > 0, COLOUR, np.array(ground))
    apart = np.abs(levels - expected)
    assert 0.5 < apart.mean() < 12
    assert np.percentile(apart, 99) < 40


@pytest.mark.parametrize(
    ("job", "name", "ground"),
    [
        ("png", "clear", (255, 255, 255)),
        ("png", "grey", (0,)),
        ("webp", "clear", (255, 255, 255)),
        ("orange", "clear", ORANGE),
        ("orange", "grey", ORANGE),
        ("png", "opaque", None),
    ],
)
def test_scores_are_of_what_is_seen_of_the_image_that_is_written(
    folder: Path, job: str, name: str, ground: tuple[int, ...] | None
) -> None:
    """Against scikit-image, on the pixels of the file over the background."""
    row, levels = rows(folder / job).loc[name], made(folder, job, name)
    source = np.asarray(PICTURES[name])
    pair = [source, levels] if ground is None else [over(one, ground) for one in (source, levels)]
    before, after = (one.astype(np.float64).round() for one in pair)
    similar = structural_similarity(before, after, data_range=255, channel_axis=-1)
    assert row["score_ssim"] == pytest.approx(similar, abs=2e-3)  # a blend may be rounded otherwise
    decibels = peak_signal_noise_ratio(before, after, data_range=255)
    assert row["score_psnr"] == pytest.approx(decibels, abs=0.05)


@pytest.mark.parametrize("job", JOBS)
def test_a_loader_its_cache_and_a_replay_make_the_same(
    folder: Path, job: str, tmp_path: Path
) -> None:
    recipe = diffaug.Recipe(**FIELDS, **JOBS[job])
    cached = diffaug.Augmenter(recipe, cache=tmp_path / "cache", batch_size=BATCH)
    samples = [{"__key__": name, "png": image} for name, image in PICTURES.items()]
    for results in (
        cached(samples),
        cached(samples),
        diffaug.Augmenter(recipe, batch_size=BATCH)(samples),
    ):
        for name, result in zip(PICTURES, results, strict=True):
            image = result["png"]
            expected = Image.fromarray(made(folder, job, name)).convert(image.mode)
            if job != "jpg":
                np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
            clear = made(folder, job, name).shape[2:] in ((2,), (4,))
            assert image.has_transparency_data is clear
    assert [one.verdict for one in replay_rows(*part(folder / job, "s"))] == ["equal"] * 3


def test_a_report_shows_source_and_image_over_one_background(folder: Path) -> None:
    for job, background in (("png", None), ("orange", "#ff8000")):
        for name in ("clear", "grey"):
            row: Any = rows(folder / job).loc[name].to_dict()
            shown = [
                source_picture(row, Recipe(background=background)),
                output_picture(str(folder / job), row, Recipe(background=background)),
            ]
            left = [np.asarray(one.convert("RGB"))[:, :20] for one in shown]  # wholly transparent
            assert len(np.unique(np.concatenate(left).reshape(-1, 3), axis=0)) == 1


def test_transparency_is_part_of_the_identity(folder: Path) -> None:
    """Also where what is stored beneath, and what is seen, are the same: here, all white."""
    clear = Image.new("RGBA", (WIDTH, HEIGHT), "white")
    clear.putalpha(Image.fromarray(ALPHA))
    half = clear.copy()
    half.putalpha(128)
    write_files(
        folder / "white.tar",
        [(f"{name}.png", encoded(one, "PNG")) for name, one in (("a", clear), ("b", half))],
    )
    kept = augmented([folder / "white.tar"], folder / "white", **FIELDS)
    assert kept["sample_id"].is_unique
    flat = augmented([folder / "white.tar"], folder / "flat", **FIELDS, detail="none")
    assert flat["sample_id"].nunique() == 1
