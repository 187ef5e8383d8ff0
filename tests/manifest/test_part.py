"""The manifest as a user reads it, each column checked against the bytes it speaks of."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import diffaug
from diffaug.manifest.part import COLUMNS, Part
from tests.support.hostile import (
    broken_images,
    cut_in_image,
    fashion,
    kinds_of_image,
    write_samples,
)
from tests.support.jobs import GREY, augmented, members, output_bytes, pixels

CONTRACT = [
    *("sample_id", "copy"),
    *("source_shard", "source_key", "source_member", "source_offset", "source_sha256"),
    *("source_width", "source_height", "label", "label_text"),
    *("model", "model_revision", "model_digest", "recipe_digest", "sampler", "strength", "t_start"),
    *("log_snr", "steps", "calls", "guidance", "condition", "prompt", "seed", "batch_size"),
    *("dtype", "device", "diffaug_version", "torch_version", "diffusers_version", "pillow_version"),
    *("output_shard", "output_key", "output_member", "output_offset", "output_sha256"),
    *("output_pixel_sha256", "output_width", "output_height", "output_bytes"),
    *("score_ssim", "score_psnr"),
    *("status", "reason", "reason_code"),
]

INT64 = {"source_offset", "label", "seed", "output_offset", "output_bytes"}
INT32 = {
    *("copy", "source_width", "source_height", "t_start", "steps", "calls", "batch_size"),
    *("output_width", "output_height"),
}
FLOAT = {"strength", "log_snr", "guidance", "score_ssim", "score_psnr"}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job over a good shard, one with broken images and one cut short; two copies."""
    folder = tmp_path_factory.mktemp("manifest")
    sources = [write_samples(folder / "good.tar", fashion(6))]
    for make in (broken_images, cut_in_image, kinds_of_image):
        sources.append(folder / f"{make.__name__}.tar")
        make(sources[-1])
    fields = {"strength": "0.2:0.6", "copies": 2, "seed": 7, "steps": 10, "sampler": "ddim"}
    augmented(sources, folder / "out", **fields, format="png")
    return folder / "out"


@pytest.fixture(scope="module")
def rows(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output / "manifest")


@pytest.fixture(scope="module")
def ok(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "ok"]


def test_columns_are_the_contract(rows: pd.DataFrame) -> None:
    assert list(rows.columns) == CONTRACT
    assert list(COLUMNS) == CONTRACT


@pytest.mark.parametrize("part", [None, "good", "broken_images", "cut_in_image"])
def test_types_stay_with_failed_rows_and_without(output: Path, part: str | None) -> None:
    folder = output / "manifest"
    frame = pd.read_parquet(folder / f"{part}.parquet" if part else folder)
    for name, dtype in frame.dtypes.items():
        integer = "Int64" if name in INT64 else "Int32" if name in INT32 else None
        assert str(dtype) == (integer or ("float64" if name in FLOAT else "str")), name


def test_status_adds_up(rows: pd.DataFrame, output: Path) -> None:
    counts = rows["status"].value_counts()
    assert set(counts.index) == {"ok", "failed"}
    assert counts.sum() == len(rows)
    summary = diffaug.summarise(str(output))
    assert summary.planned == len(rows) == summary.ok + summary.filtered + summary.failed
    assert (summary.ok, summary.failed) == (counts["ok"], counts["failed"])


def test_a_row_has_a_reason_exactly_when_it_failed(rows: pd.DataFrame) -> None:
    failed = rows["status"] == "failed"
    for column in ("reason", "reason_code"):
        assert (rows[column].notna() == failed).all()
    assert (rows.loc[failed, "reason"].str.len() > 10).all()
    assert rows.loc[failed, "reason_code"].str.fullmatch("[a-z_]+").all()


def test_a_failed_row_names_no_output(rows: pd.DataFrame) -> None:
    out = [name for name in CONTRACT if name.startswith("output_")]
    worth = [name for name in CONTRACT if name.startswith("score_")]
    assert rows.loc[rows["status"] == "failed", out + worth].isna().all(axis=None)
    assert rows.loc[rows["status"] == "ok", out].notna().all(axis=None)


def test_rows_are_unique_by_who(rows: pd.DataFrame) -> None:
    assert not rows.duplicated(["source_shard", "source_key", "copy"]).any()


def test_source_columns_are_true_of_the_source(ok: pd.DataFrame) -> None:
    assert len(ok) > 20
    for row in ok.itertuples():
        raw = Path(str(row.source_shard)).read_bytes()
        offset: Any = row.source_offset
        if row.source_key == "a":  # of a tar that tarfile itself cannot read to its end
            assert raw[offset : offset + 4] == b"\x89PNG"
            continue
        data = members(Path(str(row.source_shard)))[str(row.source_member)]
        assert raw[offset : offset + len(data)] == data
        assert hashlib.sha256(data).hexdigest() == row.source_sha256


def test_source_size_is_that_of_the_upright_picture(rows: pd.DataFrame) -> None:
    sizes = rows.drop_duplicates("source_member").set_index("source_member")
    for member, size in {"wide.png": (61, 17), "turned.jpg": (20, 40), "dot.png": (1, 1)}.items():
        found = sizes.loc[member, ["source_width", "source_height"]]
        assert tuple(found) == size
        assert tuple(sizes.loc[member, ["output_width", "output_height"]]) == size


def test_output_columns_are_true_of_the_tar(ok: pd.DataFrame, output: Path) -> None:
    for row in ok.itertuples():
        data = output_bytes(output, row)
        assert members(output / str(row.output_shard))[str(row.output_member)] == data
        assert hashlib.sha256(data).hexdigest() == row.output_sha256
        image = pixels(data)
        assert image.shape[:2] == (row.output_height, row.output_width)
        mode = "L" if image.ndim == 2 else "RGB"
        header = f"{mode} {row.output_width}x{row.output_height}\n".encode()
        assert hashlib.sha256(header + image.tobytes()).hexdigest() == row.output_pixel_sha256


def test_names_follow_key_and_copy(ok: pd.DataFrame) -> None:
    key = ok["source_key"] + "-a" + ok["copy"].astype(str)
    assert (ok["output_key"] == key).all()
    assert (ok["output_member"] == key + ".png").all()


def test_scores_are_those_of_skimage(ok: pd.DataFrame, output: Path) -> None:
    good = ok[ok["source_shard"].str.endswith("good.tar")]
    assert len(good) == 12
    for row in good.itertuples():
        source = pixels(members(Path(str(row.source_shard)))[str(row.source_member)])
        made = pixels(output_bytes(output, row))
        assert row.score_ssim == pytest.approx(structural_similarity(source, made), abs=1e-12)
        assert row.score_psnr == pytest.approx(peak_signal_noise_ratio(source, made), abs=1e-9)


def test_a_picture_below_the_window_has_no_ssim(ok: pd.DataFrame) -> None:
    tiny = ok[ok["source_member"].isin(["tiny.png", "dot.png"])]
    assert len(tiny) == 4
    assert tiny["score_ssim"].isna().all()
    assert tiny["score_psnr"].notna().all()


def test_what_was_done_is_in_every_row(ok: pd.DataFrame, rows: pd.DataFrame) -> None:
    assert set(rows["seed"]) == {7}
    assert set(rows["sampler"]) == {"ddim"}
    assert set(rows["model"]) == {"fashion-mnist-32"}
    assert ok["strength"].between(0.2, 0.6).all()
    assert ok["strength"].nunique() == ok["sample_id"].nunique() > 20
    assert (ok["t_start"] == (ok["strength"] * 999).round()).all()
    assert (ok["calls"] == (ok["strength"] * 10).round()).all()


def test_log_snr_is_that_of_a_linear_schedule(ok: pd.DataFrame) -> None:
    alphas_cumprod = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    for row in ok.itertuples():
        signal = alphas_cumprod[int(str(row.t_start))]
        assert row.log_snr == pytest.approx(math.log(signal / (1 - signal)), rel=1e-4)


def test_labels_are_those_of_the_shard(ok: pd.DataFrame) -> None:
    good = ok[ok["source_shard"].str.endswith("good.tar")]
    for sample in fashion(6):
        own = good[good["source_key"] == sample["__key__"].decode()]
        assert set(own["label"]) == {int(sample["cls"])}
        assert set(own["label_text"]) == {sample["txt"].decode()}


def test_a_tar_cut_short_adds_one_row_that_names_the_offset(rows: pd.DataFrame) -> None:
    lost = rows[rows["source_key"].isna()]
    assert list(lost["source_shard"].str.rpartition("/")[2]) == ["cut_in_image.tar"]
    assert lost["copy"].isna().all()
    assert str(lost["source_offset"].item()) in lost["reason"].item()


def test_metadata_carries_report_recipe_and_environment(output: Path) -> None:
    for part in (output / "manifest").iterdir():
        metadata = pq.read_metadata(part).metadata
        report, recipe, environment = (
            json.loads(metadata[f"diffaug.{name}".encode()])
            for name in ("report", "recipe", "environment")
        )
        frame = pd.read_parquet(part)
        assert report["planned"] == len(frame)
        assert report["failed"] == (frame["status"] == "failed").sum()
        assert report["seconds"] >= 0
        assert report["started_at"][:2] == "20"
        assert diffaug.Recipe(**recipe) == diffaug.Recipe(
            model=GREY,
            strength="0.2:0.6",
            copies=2,
            seed=7,
            steps=10,
            sampler="ddim",
            format="png",
        )
        assert {"versions", "execution", "device_class"} <= environment.keys()
        assert json.loads(metadata[b"diffaug.schema"]) == 1


def test_rows_say_nothing_of_when_and_where(rows: pd.DataFrame, output: Path) -> None:
    metadata = pq.read_metadata(output / "manifest/good.parquet").metadata
    report = json.loads(metadata[b"diffaug.report"])
    text = rows.drop(columns="source_shard").to_csv()
    assert "shards/good-" in text
    for private in (f",{report['host']},", report["started_at"][:10], str(output)):
        assert private not in text


def test_equal_pictures_share_their_id(tmp_path: Path) -> None:
    (sample,) = fashion(1)
    twin = sample | {"__key__": b"twin", "cls": b"3"}
    rows = augmented([write_samples(tmp_path / "x.tar", [sample, twin])], tmp_path / "out")
    assert rows["sample_id"].nunique() == 1
    assert rows["output_pixel_sha256"].nunique() == 1


def test_a_column_the_schema_lacks_is_an_error(tmp_path: Path) -> None:
    part = Part(tmp_path / "x.arrow")
    with pytest.raises(KeyError, match="when_made"):
        part.add({"when_made": "today"})
    part.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 1, 511, 512, 1300])
def test_a_part_holds_any_number_of_rows(tmp_path: Path, count: int) -> None:
    part = Part(tmp_path / "x.arrow")
    for copy in range(count):
        part.add({"copy": copy, "output_key": "k" if copy % 2 else None})
    part.write(tmp_path / "x.parquet", "shards/x.tar", {"report": {}})
    part.close()
    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert list(frame["copy"]) == list(range(count))
    assert list(frame["output_shard"].notna()) == [bool(n % 2) for n in range(count)]


@pytest.mark.parametrize("stem", ["_underscore", ".dot", "-dash", "a b", "ü", "x.y.z"])
def test_pandas_sees_the_part_of_every_name(tmp_path: Path, stem: str) -> None:
    write_samples(tmp_path / f"{stem}.tar", fashion(1))
    rows = augmented([tmp_path / f"{stem}.tar"], tmp_path / "out")
    assert list(rows["status"]) == ["ok"]
