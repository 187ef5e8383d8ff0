"""Pictures of which a model sees another than is stored: with a colour profile or transparency."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import diffaug
from diffaug.audit.replay import replay_rows
from diffaug.editor import Draft, PictureEditor, Source
from diffaug.execution import Execution
from diffaug.manifest.part import Row, read_metadata
from diffaug.models import checkpoint_of
from diffaug.pictures.codec import picture
from tests.support.hostile import encoded, write_files
from tests.support.jobs import BATCH, GREY, augmented, manifest, output_bytes, pixels, read_rows
from tests.support.profiles import DISPLAY_P3, from_p3

PIXELS = np.random.default_rng(0).integers(0, 256, (28, 28, 4), dtype=np.uint8)
COLOUR, ALPHA = PIXELS[..., :3].copy(), PIXELS[..., 3:] / 255
PICTURES = {
    "plain": encoded(Image.fromarray(COLOUR), "PNG"),
    "clear": encoded(Image.fromarray(PIXELS, "RGBA"), "PNG"),
    "grey": encoded(Image.fromarray(PIXELS[..., [0, 3]].copy(), "LA"), "PNG"),
    "p3": encoded(Image.fromarray(COLOUR), "PNG", icc_profile=DISPLAY_P3),
}
ORANGE = np.array((255, 128, 0))
FIELDS = {"model": GREY, "strength": 0.1, "steps": 2, "sampler": "ddim", "detail": "none"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job over the pictures in `out`, and one over an orange background in `orange`."""
    folder = tmp_path_factory.mktemp("shown")
    write_files(folder / "s.tar", [(f"{name}.png", data) for name, data in PICTURES.items()])
    augmented([folder / "s.tar"], folder / "out", **FIELDS)
    augmented([folder / "s.tar"], folder / "orange", **FIELDS, background="#ff8000")
    return folder


def rows(output: Path) -> pd.DataFrame:
    return manifest(output).set_index("source_key")


def grey(colours: np.ndarray) -> np.ndarray:
    """As the shipped model, of greys, is given colours (ITU-R 601)."""
    return np.asarray(colours @ np.array((0.299, 0.587, 0.114)))


SEEN = {
    "plain": grey(COLOUR),
    "clear": grey(COLOUR * ALPHA + 255 * (1 - ALPHA)),
    "grey": PIXELS[..., 0] * ALPHA[..., 0],
    "p3": grey(from_p3(COLOUR)),
}
SEEN_ON_ORANGE = SEEN | {
    "clear": grey(COLOUR * ALPHA + ORANGE * (1 - ALPHA)),
    "grey": grey(PIXELS[..., :1] * ALPHA + ORANGE * (1 - ALPHA)),
}


@pytest.mark.parametrize(("output", "seen"), [("out", SEEN), ("orange", SEEN_ON_ORANGE)])
def test_an_image_is_made_of_and_compared_with_what_is_seen(
    folder: Path, output: str, seen: dict[str, np.ndarray]
) -> None:
    """The score is that of the picture in closed form, within its rounding."""
    found = rows(folder / output)
    assert list(found["status"]) == ["ok"] * 4
    for name, expected in seen.items():
        row = found.loc[name]
        made = pixels(output_bytes(folder / output, row)).astype(float)
        assert made.shape == (28, 28)
        error = np.mean((made - expected) ** 2)
        assert row["score_psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.3)
        if name in ("clear", "grey"):
            hidden = grey(COLOUR) if name == "clear" else PIXELS[..., 0]
            assert error < np.mean((made - hidden) ** 2)


def test_the_background_changes_what_shows_it_and_nothing_else(folder: Path) -> None:
    white, orange = rows(folder / "out"), rows(folder / "orange")
    same = white["output_pixel_sha256"] == orange["output_pixel_sha256"]
    assert same.to_dict() == {"plain": True, "clear": False, "grey": False, "p3": True}
    assert set(white["recipe_digest"]).isdisjoint(orange["recipe_digest"])


def test_the_identity_is_as_ever_unless_another_picture_is_seen(folder: Path) -> None:
    """In 0.1.0 a copy's name was a hash of recipe, pixels as stored, and copy."""
    found = rows(folder / "out")
    stored = {"grey": (b"L", PIXELS[..., 0].tobytes())}
    for name, row in found.iterrows():
        mode, data = stored.get(str(name), (b"RGB", COLOUR.tobytes()))
        digest = hashlib.sha256(mode + b" 28x28\n" + data).hexdigest()
        before = hashlib.sha256(f"{row['recipe_digest']}|{digest}|0".encode()).hexdigest()[:32]
        assert (row["sample_id"] == before) is (name == "plain")
    assert found["sample_id"].is_unique


def test_noise_is_drawn_from_the_pixels_as_stored() -> None:
    recipe = diffaug.Recipe(**FIELDS)
    editor = PictureEditor(recipe, checkpoint_of(recipe), Execution.choose(BATCH))
    drafts = {}
    mask = Image.new("L", (28, 28), 255)
    mask.paste(0, (0, 0, 14, 28))
    for name in ("plain", "clear", "p3"):
        found = picture(Image.open(io.BytesIO(PICTURES[name])))
        source = Source(image=found.shown, stored=found.stored, mask=mask)
        (drafts[name],) = editor.plan(source, [0])
    plain, *others = (draft for draft in drafts.values() if isinstance(draft, Draft))
    assert len(others) == 2
    for draft in others:
        np.testing.assert_array_equal(draft.edit.noise, plain.edit.noise)
        assert not np.array_equal(np.asarray(draft.edit.x_0), np.asarray(plain.edit.x_0))
        assert draft.sample_id != plain.sample_id
    kept = np.asarray(others[0].finish.picture(np.zeros((1, 32, 32), dtype=np.float32)))
    assert np.abs(kept[:, :14] - SEEN["clear"][:, :14]).max() <= 1.5  # outside the mask


@pytest.mark.parametrize("output", ["out", "orange"])
def test_a_loader_makes_the_same_and_each_row_is_rebuilt(folder: Path, output: str) -> None:
    background = None if output == "out" else "#ff8000"
    recipe = diffaug.Recipe(**FIELDS, background=background)
    given = [Image.open(io.BytesIO(data)) for data in PICTURES.values()]
    made = diffaug.augment(given, recipe, batch_size=BATCH)
    found = rows(folder / output)
    for name, result in zip(PICTURES, made, strict=True):
        expected = pixels(output_bytes(folder / output, found.loc[name]))
        np.testing.assert_array_equal(np.asarray(result.convert("L")), expected)
    written, metadata = part(folder / output)
    verdicts = [replayed.verdict for replayed in replay_rows(written, metadata)]
    assert verdicts == ["equal"] * 4


def part(output: Path) -> tuple[list[Row], dict[str, object]]:
    path = output / "manifest/s.parquet"
    return read_rows(path), read_metadata(str(path))


def test_a_row_of_0_1_0_says_why_it_is_not_rebuilt(folder: Path) -> None:
    written, metadata = part(folder / "out")
    old = [row | {"sample_id": "0" * 32} for row in written]
    plain, *others = replay_rows(old, metadata)
    assert plain.reason.endswith("disagree on sample_id for this source")
    for replayed in others:
        assert replayed.verdict == "differs"
        assert "diffaug 0.1.0 did not apply" in replayed.reason
