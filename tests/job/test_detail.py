"""Jobs on photographs that are larger than the model, or of other colours."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import diffaug
from diffaug.audit.replay import replay_rows
from diffaug.evaluation.plan import freeze_plan, plan_evaluation, read_plan
from diffaug.models import find_checkpoint, with_suggestions
from diffaug.output.run import the_run
from diffaug.pictures.medium import IMAGE
from tests.conftest import SHARDS
from tests.support import jobs, tiny
from tests.support.detail_sheet import photographs
from tests.support.guided import guided
from tests.support.hostile import encoded, fashion, write_files, write_samples
from tests.support.jobs import manifest, members, output_bytes, part, pixels
from tests.support.kept import Levels, chroma_change, finest, inside, steepness

DEFAULT = with_suggestions(diffaug.Recipe())
COLOUR: dict[str, Any] = {
    name: getattr(DEFAULT, name) for name in ("model", "strength", "sampler")
} | {"steps": 5}
GREY = COLOUR | {"model": "fashion-mnist-32"}
BATCH = 4  # photographs, at most
augmented = partial(jobs.augmented, batch_size=BATCH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Jobs of a colour model (`colour`, and without detail `none`) and of one of greys (`grey`)."""
    folder = tmp_path_factory.mktemp("detail")
    files = [(f"{n}.png", encoded(one, "PNG")) for n, one in enumerate(photographs())]
    write_files(folder / "s0.tar", files)
    augmented([folder / "s0.tar"], folder / "colour", **COLOUR)
    augmented([folder / "s0.tar"], folder / "small", **COLOUR, result="model")
    augmented([folder / "s0.tar"], folder / "none", **COLOUR, detail="none")
    augmented([folder / "s0.tar"], folder / "grey", **GREY)
    return folder


def results(output: Path) -> list[Levels]:
    found = manifest(output).sort_values("source_key")
    assert set(found["status"]) == {"ok"}
    return [pixels(output_bytes(output, row)).astype(float) for row in found.itertuples()]


def sources() -> list[Levels]:
    return [np.asarray(image, dtype=float) for image in photographs()]


def test_results_are_as_sharp_as_their_sources_and_not_the_same(folder: Path) -> None:
    before = [steepness(levels) for levels in sources()]
    for job, sharp in (("colour", True), ("none", False)):
        after = [steepness(levels) for levels in results(folder / job)]
        assert (abs(sum(after) / sum(before) - 1) < 0.05) is sharp
        for made, source in zip(results(folder / job), sources(), strict=True):
            assert made.shape == source.shape
            assert np.abs(made - source).mean() > 2


def test_results_differ_by_what_the_model_changed_and_by_nothing_else(folder: Path) -> None:
    """result - source = lift(edit - reduce(source)), with a filter that is no code of diffaug.

    The edit, which is rounded here, is what the same job writes at the model's size.
    """
    edits = results(folder / "small")
    cases = list(zip(results(folder / "colour"), edits, photographs(), strict=True))
    for made, edit, image in cases[1:3]:
        reduced = image.resize((32, 32), Image.Resampling.BICUBIC)
        change = (edit - np.asarray(reduced, dtype=float)).transpose(2, 0, 1)
        expected = np.asarray(image, dtype=float) + guided(image, change)
        off = np.abs(made - expected)[inside(made)]
        assert len(off) > made[..., 0].size * 0.8
        assert np.quantile(off, 0.999) < 1.01  # the result's rounding, and the edit's


def test_the_finest_detail_stays(folder: Path) -> None:
    """What a Gaussian of one pixel takes away."""
    for made, source in zip(results(folder / "colour"), sources(), strict=True):
        apart, fine = finest(made, source)
        assert apart.std() < 0.1 * fine.std()
        assert (np.abs(apart) <= 1.5).mean() > 0.9  # two roundings, and nearly all is that


def test_a_model_of_greys_leaves_the_colours(folder: Path) -> None:
    """Every channel changes by the same, so that Cb and Cr stay, but where one is clipped."""
    for made, image in zip(results(folder / "grey"), photographs(), strict=True):
        within = inside(made)
        assert within.mean() > 0.5
        change = (made - np.asarray(image, dtype=float))[within]
        assert np.abs(change - change[:, :1]).max() <= 1  # rounding
        assert chroma_change(made, np.asarray(image, dtype=float)).max() <= 1


@pytest.mark.parametrize("job", ["colour", "grey"])
def test_scores_are_of_the_image_that_is_written(folder: Path, job: str) -> None:
    rows = manifest(folder / job).sort_values("source_key").to_dict("records")
    for row, made, source in zip(rows, results(folder / job), sources(), strict=True):
        similar = structural_similarity(source, made, data_range=255, channel_axis=2)
        assert row["score_ssim"] == pytest.approx(similar, abs=1e-6)
        decibels = peak_signal_noise_ratio(source, made, data_range=255)
        assert row["score_psnr"] == pytest.approx(decibels, abs=1e-6)


def test_a_loader_makes_the_same_and_each_row_is_rebuilt(folder: Path) -> None:
    recipe = diffaug.Recipe(**COLOUR)
    online = diffaug.augment(photographs(), recipe, batch_size=BATCH)
    for made, expected in zip(online, results(folder / "colour"), strict=True):
        np.testing.assert_array_equal(np.asarray(made), expected)
    for job in ("colour", "none", "grey"):
        assert [one.verdict for one in replay_rows(*part(folder / job))] == ["equal"] * 4


def test_it_counts_for_identity_where_it_acts(folder: Path, tmp_path: Path) -> None:
    """And in the cache of a loader."""
    rows = [manifest(folder / job) for job in ("colour", "none")]
    assert set(rows[0]["recipe_digest"]) == set(rows[1]["recipe_digest"])
    assert set(rows[0]["sample_id"]).isdisjoint(rows[1]["sample_id"])
    write_samples(tmp_path / "s.tar", fashion(4))
    one, other = (augmented([tmp_path / "s.tar"], tmp_path / d, detail=d) for d in ("keep", "none"))
    pd.testing.assert_frame_equal(one, other)
    recipes = [diffaug.Recipe(**COLOUR, detail=detail) for detail in ("keep", "none", "keep")]
    loaders = [diffaug.Augment(recipe, cache=tmp_path / "cache") for recipe in recipes]
    kept, none, again = (loader(photographs()[0]).tobytes() for loader in loaders)
    assert kept == again != none


def test_a_job_begun_before_there_was_a_choice_goes_on_as_it_began(tmp_path: Path) -> None:
    source, output = tmp_path / "s.tar", tmp_path / "out"
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(photographs()[2])[:64, :80]).save(buffer, "PNG")
    write_files(source, [("a.png", buffer.getvalue())])
    augmented([source], output, **COLOUR, detail="none")
    written = json.loads((output / "run.json").read_text())
    del written["recipe"]["detail"]
    (output / "run.json").write_text(json.dumps(written))
    recipe = diffaug.Recipe(**COLOUR)
    assert diffaug.plan_run([str(source)], str(output), recipe) == the_run(str(output))
    assert the_run(str(output)).recipe.detail == "none"
    asked = diffaug.Recipe(**COLOUR, detail="keep")
    with pytest.raises(diffaug.ConfigError, match=r"detail \(none there, keep asked\)"):
        diffaug.plan_run([str(source)], str(output), asked)


def test_the_default_leaves_colour_in_colour_and_grey_grey(tmp_path: Path) -> None:
    colour = photographs()[1].resize((80, 60))
    files = [("a.png", encoded(colour, "PNG")), ("b.png", encoded(colour.convert("L"), "PNG"))]
    source, output = write_files(tmp_path / "s.tar", files), str(tmp_path / "out")
    job = diffaug.Job.plan([str(source)], output, {"sampler": "one-step"}, batch_size=4)
    list(job.run())
    assert the_run(output).recipe.model == "cifar10-32"
    made = [pixels(output_bytes(tmp_path / "out", row)) for row in manifest(output).itertuples()]
    assert [levels.shape for levels in made] == [(60, 80, 3), (60, 80)]
    for levels, before in zip(made, (colour, colour.convert("L")), strict=True):
        assert 0.5 < np.abs(levels.astype(float) - np.asarray(before)).mean() < 20


def test_a_job_begun_with_the_former_default_goes_on_with_it(tmp_path: Path) -> None:
    """Of a recorded recipe without a model, too; a model that is named is compared."""
    source, output = write_samples(tmp_path / "s.tar", fashion(1)), tmp_path / "out"
    augmented([source], output, **GREY)
    unnamed = {name: value for name, value in COLOUR.items() if name != "model"}
    recipe = diffaug.Recipe.of(unnamed)
    assert diffaug.plan_run([str(source)], str(output), recipe) == the_run(str(output))
    written = json.loads((output / "run.json").read_text())
    del written["recipe"]["model"]
    (output / "run.json").write_text(json.dumps(written))
    assert the_run(str(output)).recipe.model == "fashion-mnist-32"
    with pytest.raises(diffaug.ConfigError, match=r"model \(fashion-mnist-32 there, cifar10-32 as"):
        diffaug.plan_run([str(source)], str(output), diffaug.Recipe(**COLOUR))
    shutil.copytree(find_checkpoint("fashion-mnist-32").folder, tmp_path / "mine")
    augmented([source], tmp_path / "o", **COLOUR | {"model": str(tmp_path / "mine")})
    with pytest.raises(diffaug.ConfigError, match=r"model \(.*mine there, cifar10-32 asked"):
        diffaug.plan_run([str(source)], str(tmp_path / "o"), recipe)


def test_an_evaluation_begun_before_goes_on_too(tmp_path: Path) -> None:
    asked: Any = {"sources": [str(SHARDS[0])], "output": str(tmp_path), "test": [str(SHARDS[1])]}
    before = {"model": "fashion-mnist-32", "copies": 10, "steps": 10}
    freeze_plan(plan_evaluation(**asked, recipe=before), str(tmp_path))
    written = json.loads((tmp_path / "evaluation.json").read_text())
    del written["recipe"]["detail"]
    (tmp_path / "evaluation.json").write_text(json.dumps(written))
    assert plan_evaluation(**asked) == read_plan(str(tmp_path))
    assert read_plan(str(tmp_path)).recipe.detail == "none"


def test_a_form_does_not_send_a_choice_that_nobody_made() -> None:
    fields = diffaug.Recipe.model_json_schema()["properties"]
    assert "default" not in fields["detail"] | fields["model"]


def with_geometry(path: Path) -> tuple[Path, list[dict[str, bytes]]]:
    """A shard of photographs with a member of each kind that may hold places in them."""
    samples = []
    for number, image in enumerate(photographs()[:2]):
        points, mask = io.BytesIO(), Image.new("L", (192, 128))
        np.save(points, np.arange(6.0).reshape(3, 2))
        mask.paste(255, (8, 8, 40, 30))
        box = {"bbox": [8, 8, 32, 22]}
        samples.append(
            {
                "__key__": str(number).encode(),
                "jpg": encoded(image.resize((192, 128)), "JPEG"),
                "json": json.dumps({"annotations": [box]}).encode(),
                "txt": b"0 0.25 0.3 0.33 0.34",
                "npy": points.getvalue(),
                "png": encoded(mask, "PNG"),
            }
        )
    return write_samples(path, samples), samples


CARRIED = ("json", "txt", "npy", "png")


@pytest.mark.parametrize(
    ("fields", "geometry"),
    [
        ({}, {"in_place": 4, "redrawn": 0, "moved": 0}),
        ({"fit": "fit"}, {"in_place": 4, "redrawn": 0, "moved": 0}),
        ({"detail": "none"}, {"in_place": 0, "redrawn": 4, "moved": 0}),
        ({"detail": "none", "fit": "fit"}, {"in_place": 0, "redrawn": 0, "moved": 4}),
        ({"result": "model", "filters": "ssim >= 2"}, {"in_place": 0, "redrawn": 0, "moved": 4}),
    ],
)
def test_a_part_says_whether_pixels_moved(
    tmp_path: Path, fields: dict[str, Any], geometry: dict[str, int], caplog: Any
) -> None:
    """What holds boxes, masks and keypoints goes with every copy, and not a byte of it changes."""
    source, samples = with_geometry(tmp_path / "s0.tar")
    asked = {"copies": 2, "image_key": "jpg", "format": "webp", "carry": CARRIED} | fields
    one_step = {"sampler": "one-step", "model": "cifar10-32", "strength": 0.3}
    augmented([source], tmp_path / "out", **one_step, **asked)
    _, metadata = part(tmp_path / "out")
    assert metadata["report"]["geometry"] == geometry
    (tar,) = (tmp_path / "out").glob("*/*.tar")
    found = members(tar)
    for number, sample in enumerate(samples):
        for name in CARRIED:
            for copy in range(2):
                assert found[f"{number}-a{copy}.{name}"] == sample[name]
    warned = [one.getMessage() for one in caplog.records if "boxes" in one.getMessage()]
    assert len(warned) == (geometry["moved"] > 0)
    assert all("json, txt, npy and png" in one for one in warned)


def test_moved_images_beside_their_sources_are_warned_of(tmp_path: Path, caplog: Any) -> None:
    source, _ = with_geometry(tmp_path / "s0.tar")
    fields = {"image_key": "jpg", "sampler": "one-step", "model": "cifar10-32", "detail": "none"}
    for fit in ("fit", "resize"):
        augmented([source], tmp_path / fit, **fields, fit=fit, layout="paired")
    (warned,) = (one.getMessage() for one in caplog.records if "boxes" in one.getMessage())
    assert "s0.tar: 2 images are cut" in warned
    assert "the source beside them is unchanged" in warned


def cat() -> Image.Image:
    return photographs()[1].crop((80, 60, 272, 210))


@pytest.mark.parametrize(
    "make",
    [
        tiny.stable_diffusion,
        tiny.stable_diffusion_xl,
        tiny.lcm,
        tiny.stable_diffusion_3,
        partial(tiny.flux, dev=True),
        tiny.dit,
        tiny.consistency,
    ],
)
def test_every_family_keeps_detail(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """The result is the picture with the change that the model makes at its own size."""
    recipe = diffaug.Recipe(model=str(make(tmp_path)), strength=0.3, steps=4)
    edit, made = (
        diffaug.augment(cat(), recipe.model_copy(update=fields), batch_size=1)
        for fields in ({"result": "model"}, {})
    )
    assert (edit.size, made.size) == ((32, 32), cat().size)
    fit = IMAGE.fit(cat(), (3, 32, 32), "resize", "source", "keep")
    levels = np.asarray(edit, dtype=np.float32).transpose(2, 0, 1)
    expected = np.asarray(fit.from_model(levels / np.float32(127.5) - 1), dtype=int)
    assert np.abs(np.asarray(made) - expected).max() <= 2  # the edit was rounded
    assert np.abs(np.asarray(made) - np.asarray(cat(), dtype=int)).mean() > 2


def test_greys_of_16_bits_and_masks(tmp_path: Path) -> None:
    """Of 16 bits the picture is that of 8; grey stays grey; outside a mask nothing changes."""
    grey = cat().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    mask = Image.new("L", grey.size)
    mask.paste(255, (40, 30, 120, 110))
    files = [("a.png", encoded(grey, "PNG")), ("b.png", encoded(deep, "PNG"))]
    files += [("c.png", encoded(cat(), "PNG")), ("c.mask.png", encoded(mask, "PNG"))]
    write_files(tmp_path / "s0.tar", files)
    augmented([tmp_path / "s0.tar"], tmp_path / "out", **COLOUR, mask_key="mask.png", batch_size=3)
    eight, sixteen, masked = results(tmp_path / "out")
    assert eight.ndim == 2
    np.testing.assert_array_equal(eight, sixteen)
    assert np.abs(eight - np.asarray(grey)).mean() > 2
    change, within = masked - np.asarray(cat(), dtype=float), np.asarray(mask) > 0
    assert not change[~within].any()
    assert np.abs(change[within]).mean() > 2
    assert [one.verdict for one in replay_rows(*part(tmp_path / "out"))] == ["equal"] * 3
