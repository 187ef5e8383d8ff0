"""How results are stored: by default as JPEGs where the source was one, else as PNGs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, JpegImagePlugin

import diffaug
from diffaug.audit.replay import replay_rows
from diffaug.manifest.part import read_metadata
from diffaug.output.run import the_run
from tests.conftest import Cli
from tests.support.detail_sheet import photographs
from tests.support.hostile import encoded, fashion, write_samples
from tests.support.jobs import augmented, differences, manifest, output_bytes, read_rows

FIELDS: dict[str, Any] = {"copies": 2, "strength": 0.3}


def kinds() -> Iterator[tuple[str, bytes, bool]]:
    """Member, bytes, and whether they are a JPEG."""
    photograph, other = (image.crop((0, 0, 90, 60)) for image in photographs()[:2])
    grey = photograph.convert("L")
    yield "jpg", encoded(photograph, "JPEG"), True
    yield "jpeg", encoded(grey, "JPEG", quality=20), True
    yield "jpe", encoded(photograph.convert("CMYK"), "JPEG"), True
    yield "png", encoded(other, "JPEG"), True  # a wrong name
    yield "jpg", encoded(photograph, "MPO", save_all=True, append_images=[other]), True
    yield "jpg", encoded(photograph, "PNG"), False
    yield "png", encoded(photograph.convert("RGBA"), "PNG"), False
    yield "png", encoded(grey.convert("I;16"), "PNG"), False
    yield "webp", encoded(photograph, "WEBP", quality=80), False
    yield "gif", encoded(photograph, "GIF"), False


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of everything."""
    samples = [
        {"__key__": str(n).encode(), extension: data, "cls": b"1"}
        for n, (extension, data, _) in enumerate(kinds())
    ]
    return write_samples(tmp_path_factory.mktemp("format") / "s0.tar", samples)


@pytest.fixture(scope="module")
def auto(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auto") / "out"
    augmented([source], folder, **FIELDS)
    return folder


@pytest.fixture(scope="module")
def png(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("png") / "out"
    augmented([source], folder, **FIELDS, format="png")
    return folder


def is_jpeg(rows: pd.DataFrame) -> pd.Series:
    return rows["source_key"].map({f"{n}": jpeg for n, (_, _, jpeg) in enumerate(kinds())})


def test_a_jpeg_gives_jpegs_and_anything_else_pngs(auto: Path) -> None:
    rows = manifest(auto)
    assert (rows["status"] == "ok").all()
    for row, jpeg in zip(rows.itertuples(), is_jpeg(rows), strict=True):
        ending = "jpg" if jpeg else "png"
        assert row.output_member == f"{row.source_key}-a{row.copy}.{ending}"
        with Image.open(io.BytesIO(output_bytes(auto, row))) as image:
            assert image.format == ("JPEG" if jpeg else "PNG")
            if not jpeg:
                continue
            assert isinstance(image, JpegImagePlugin.JpegImageFile)
            reference = io.BytesIO()
            Image.new(image.mode, (8, 8)).save(reference, "JPEG", quality=95)
            with Image.open(reference) as of_quality_95:
                assert isinstance(of_quality_95, JpegImagePlugin.JpegImageFile)
                assert image.quantization == of_quality_95.quantization
            assert image.mode == "L" or JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


def test_only_how_results_of_jpegs_are_stored_differs_from_png(auto: Path, png: Path) -> None:
    ours, theirs = manifest(auto), manifest(png)
    place = ["output_shard", "output_offset"]
    other = is_jpeg(ours)
    pd.testing.assert_frame_equal(
        ours[~other].drop(columns=place), theirs[~other].drop(columns=place)
    )
    file = ["sample_id", "output_member", "output_sha256", "output_bytes"]
    assert (ours[other][file] != theirs[other][file]).all(axis=None)
    same = [*place, *file]
    pd.testing.assert_frame_equal(ours[other].drop(columns=same), theirs[other].drop(columns=same))
    assert ours[other]["output_bytes"].sum() < theirs[other]["output_bytes"].sum() / 2
    for one, lossless in zip(ours[other].itertuples(), theirs[other].itertuples(), strict=True):
        stored, made = (
            np.asarray(Image.open(io.BytesIO(output_bytes(output, row))), dtype=float)
            for output, row in ((auto, one), (png, lossless))
        )
        assert np.sqrt(np.mean((stored - made) ** 2)) < 4


def test_every_image_is_made_again_bit_for_bit(auto: Path) -> None:
    (path,) = auto.glob("manifest/*.parquet")
    metadata = read_metadata(path)
    found = list(replay_rows(read_rows(path), metadata))
    assert {one.verdict for one in found} == {"equal"}
    assert [one.name for one in found] == [one.row["output_member"] for one in found]
    assert "libjpeg" in metadata["environment"]["versions"]
    assert not differences(auto)


def test_a_job_that_stored_pngs_goes_on_with_pngs(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    augmented([source], output, **FIELDS, format="png")
    (tmp_path / "s1.tar").write_bytes(source.read_bytes())
    rows = augmented([source, tmp_path / "s1.tar"], output, **FIELDS)
    assert the_run(str(output)).recipe.format == "png"
    assert rows["output_member"].str.endswith(".png").all()
    asked = diffaug.Recipe(sampler="one-step", **FIELDS, format="auto")
    with pytest.raises(diffaug.ConfigError, match=r"format \(png there, auto asked\)"):
        diffaug.plan_run(str(source), str(output), asked)


def test_a_rejected_jpeg_is_replayed_under_the_name_it_would_have(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.open(io.BytesIO(fashion(1)[0]["png"]))
    samples = [{"__key__": b"a", "jpg": encoded(picture, "JPEG")}]
    fields = {"filters": "ssim >= 1", "keep_rejects": False}
    rows = augmented([write_samples(tmp_path / "s.tar", samples)], tmp_path / "out", **fields)
    assert list(rows["status"]) == ["filtered"]
    monkeypatch.chdir(tmp_path)
    said = cli("replay", tmp_path / "out", rows["sample_id"][0])
    assert said.code == 0, said
    with Image.open("a-a0.jpg") as image:
        assert image.format == "JPEG"


def test_a_form_sends_no_format_that_nobody_chose() -> None:
    field = diffaug.Recipe.model_json_schema()["properties"]["format"]
    assert "default" not in field
    assert json.dumps(field).count("auto") == 2  # the value, and what it means
