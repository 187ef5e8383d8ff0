"""Jobs with judges and filters: what is turned away, why, where it goes; and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

import diffaug
from diffaug.audit.clean import clean
from diffaug.audit.replay import replay_parts, replay_rows
from diffaug.judges.phash import perceptual_hash
from diffaug.manifest.part import COLUMNS, Row
from diffaug.output.compact import compact
from diffaug.output.select import find_sample, image_counts, picked_rows, spread
from diffaug.recipe.filters import Bound, Filters, Ranking
from diffaug.report import contact_sheet
from tests.conftest import SHARDS, Cli
from tests.support import networks
from tests.support.hostile import broken_images, encoded, fashion, write_files, write_samples
from tests.support.jobs import (
    GREY,
    augmented,
    by_identity,
    differences,
    manifest,
    members,
    output_bytes,
    part,
    pixels,
    planned,
    tars,
    threads,
    tree,
    webdataset,
)

PHASH = {"score_phash_source", "score_phash_copies"}


def rejects(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob("rejects/*"))}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two shards of real images, and one of which three are broken."""
    folder = tmp_path_factory.mktemp("sources")
    found = [write_samples(folder / f"s{n}.tar", fashion(8, 8 * n)) for n in range(2)]
    broken_images(folder / "s2.tar")
    return [*found, folder / "s2.tar"]


@pytest.fixture(scope="module")
def whole(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job without filters, its judges all the same."""
    output = tmp_path_factory.mktemp("whole") / "out"
    augmented(sources, output, copies=3, strength="0.2,0.5,0.8", judges="phash")
    return output


@pytest.fixture(scope="module")
def finished(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with bounds, and the best two of three copies."""
    output = tmp_path_factory.mktemp("filters") / "out"
    augmented(sources, output, **FILTERED)
    return output


FILTERED: dict[str, Any] = {
    **{"copies": 3, "strength": "0.2,0.5,0.8", "judges": "phash", "carry": "txt"},
    **{"filters": ["ssim >= 0.2", "psnr > 9"], "keep_best": 2, "keep_best_by": "-phash_source"},
}


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


# What a filter says


def test_a_bound_passes_as_python_compares() -> None:
    row = {"score_ssim": 0.4, "score_psnr": float("inf"), "score_clip": None}
    for text, passes in {
        "ssim >= 0.4": True,
        "ssim > 0.4": False,
        "ssim <= 0.4": True,
        "ssim < 0.4": False,
        "ssim == 0.4": True,
        "psnr < inf": False,
        "psnr >= 30": True,
        "clip > -9": False,
        "clip < 9": False,
    }.items():
        assert Bound.parse(text, ["clip"]).passes(row) is passes, text
    assert not Bound("score_ssim", ">", 0).passes({"score_ssim": float("nan")})


def test_a_reason_is_not_rounded_to_what_would_pass() -> None:
    bound = Bound("score_ssim", ">=", 0.4)
    assert bound.refusal({"score_ssim": 0.39999999}) == "score_ssim is 0.39999999, not >= 0.4"


def test_the_best_are_told_ties_going_to_the_lower_copy() -> None:
    rows = [{"score_ssim": score} for score in (0.5, 0.7, None, 0.7, 0.5, 0.1)]
    assert Ranking("score_ssim", False).best(rows, 3) == [1, 3, 0]
    assert Ranking("score_ssim", True).best(rows, 2) == [5, 0]
    assert Ranking("score_ssim", False).best(rows, 9) == [1, 3, 0, 4, 5]


def test_verdicts_of_a_sources_copies() -> None:
    filters = Filters(
        bounds=(Bound("score_psnr", ">=", 10.0),), keep_best=1, by=Ranking("score_ssim", False)
    )
    rows: list[Row] = [
        {"score_psnr": 9.0, "score_ssim": 0.9},
        {"score_psnr": None, "score_ssim": 0.8},
        {"score_psnr": 20.0, "score_ssim": 0.6},
        {"score_psnr": 30.0, "score_ssim": 0.7},
        {"score_psnr": 30.0, "score_ssim": None},
    ]
    found = filters.verdicts(rows)
    assert [verdict.get("reason_code") for verdict in found] == [
        *("bound", "bound", "not_best", None, "not_best")
    ]
    assert [verdict.get("reason") for verdict in found] == [
        "score_psnr is 9, not >= 10",
        "score_psnr is null, which passes no bound (score_psnr >= 10)",
        "score_ssim is 0.6, not among the best 1 of its source's copies",
        None,
        "score_ssim is null, which is never among the best",
    ]


# What a job makes of it


def test_rows_are_those_without_filters_but_for_the_verdict(finished: Path, whole: Path) -> None:
    """The images and the scores are the very same: another bound is a query, not a generation."""
    verdict = ["status", "reason", "reason_code"]
    place = ["output_shard", "output_offset"]
    same = [name for name in manifest(whole).columns if name not in verdict + place]
    pd.testing.assert_frame_equal(manifest(finished)[same], manifest(whole)[same])
    assert set(same) >= PHASH


def test_what_is_turned_away_is_what_pandas_says(finished: Path, whole: Path) -> None:
    rows = manifest(whole)
    rows = rows[rows["status"] == "ok"]
    bound = rows[(rows["score_ssim"] >= 0.2) & (rows["score_psnr"] > 9)]
    best = bound.sort_values(["score_phash_source", "copy"], kind="stable")
    kept = best.groupby(["source_shard", "source_key"]).head(2)
    found = manifest(finished)
    assert set(found[found["status"] == "ok"].index) == set(kept.index)
    codes = found.loc[rows.index.difference(kept.index), "reason_code"]
    assert set(codes.index[codes == "bound"]) == set(rows.index.difference(bound.index))
    assert set(codes) == {"bound", "not_best"}
    counts = found["status"].value_counts()
    assert set(counts.index) == {"ok", "filtered", "failed"}
    summary = diffaug.summarise(str(finished))
    assert (summary.ok, summary.filtered, summary.failed) == tuple(
        counts[["ok", "filtered", "failed"]]
    )
    assert summary.planned == len(found) == summary.ok + summary.filtered + summary.failed


def test_a_filtered_row_says_why_and_keeps_its_scores(finished: Path) -> None:
    rows = manifest(finished)
    filtered = rows[rows["status"] == "filtered"]
    assert filtered["reason"].str.contains(r"score_\w+ is -?[\d.e-]+, not ").all()
    out = [name for name in rows.columns if name.startswith("output_")]
    assert filtered[[*out, "score_ssim", "score_psnr", "score_phash_source"]].notna().all(axis=None)
    dark = filtered[filtered["score_ssim"] < 0.2].iloc[0]
    assert f"score_ssim is {dark['score_ssim']:.6g}, not >= 0.2" in dark["reason"]


def test_rejects_are_tars_as_of_images_that_are_kept(finished: Path, whole: Path) -> None:
    rows = manifest(finished)
    filtered = rows[rows["status"] == "filtered"]
    assert set(filtered["output_shard"]) == {f"rejects/{name}" for name in rejects(finished)}
    assert set(rows[rows["status"] == "ok"]["output_shard"]) == {
        f"shards/{name}" for name in tars(finished)
    }
    known = {row.output_key: output_bytes(whole, row) for row in _good(whole)}
    for row in filtered.itertuples():
        data = output_bytes(finished, row)
        assert hashlib.sha256(data).hexdigest() == row.output_sha256
        assert data == known[row.output_key]
    for folder, status in (("shards", "ok"), ("rejects", "filtered")):
        for path in finished.glob(f"{folder}/*"):
            assert path.name.endswith(f"-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.tar")
            keys = [sample["__key__"] for sample in webdataset(path)]
            mine = rows[rows["output_shard"] == f"{folder}/{path.name}"]
            assert keys == list(mine.sort_values("output_offset")["output_key"])
            assert set(mine["status"]) == {status}
    sample = next(iter(webdataset(next(finished.glob("rejects/s0-*")))))
    assert {"png", "cls", "txt", "diffaug.json"} <= sample.keys()


def _good(output: Path) -> Any:
    rows = manifest(output)
    return rows[rows["status"] != "failed"].itertuples()


def test_shards_txt_lists_no_rejects(finished: Path) -> None:
    listed = (finished / "shards.txt").read_text().splitlines()
    assert listed == [f"shards/{name}" for name in tars(finished)]


def test_scores_are_what_they_say(finished: Path) -> None:
    rows = manifest(finished)
    rows = rows[rows["status"] != "failed"]
    for _, copies in rows[rows["source_shard"].str.endswith("s0.tar")].groupby("source_key"):
        first = copies.iloc[0]
        source = Image.fromarray(
            pixels(members(Path(first["source_shard"]))[first["source_member"]])
        )
        made = [Image.fromarray(pixels(output_bytes(finished, row))) for row in copies.itertuples()]
        codes = [perceptual_hash(image) for image in made]
        near = [(code ^ perceptual_hash(source)).bit_count() for code in codes]
        assert list(copies["score_phash_source"]) == near
        between = [
            min((code ^ other).bit_count() for other in codes[:place])
            for place, code in enumerate(codes)
            if place
        ]
        assert list(copies["score_phash_copies"].iloc[1:]) == between
        assert first["score_phash_copies"] == 64


def test_columns_of_judges_stand_with_the_scores(finished: Path) -> None:
    names = list(pd.read_parquet(finished / "manifest").columns)
    assert [name for name in names if name not in PHASH] == list(COLUMNS)
    place = names.index("score_psnr")
    assert names[place + 1 : place + 3] == ["score_phash_source", "score_phash_copies"]
    assert names[place + 3] == "status"
    for path in (finished / "manifest").iterdir():
        schema = pq.read_schema(path)
        assert schema.field("score_phash_source").metadata is None
        assert str(schema.field("score_phash_source").type) == "double"
        assert json.loads(schema.metadata[b"diffaug.judges"]) == {"phash": "phash-1"}
        assert str(schema.field("score_phash_copies").type) == "double"
    run = json.loads((finished / "run.json").read_text())
    assert run["judges"] == {"phash": "phash-1"}
    assert list(run["columns"]) == names


def test_verify_compact_and_clean_know_rejects(output: Path) -> None:
    assert differences(output) == []
    list(compact(str(output)))
    lineage = by_identity(pd.read_parquet(output / "lineage"))
    pd.testing.assert_frame_equal(lineage, manifest(output))
    before = tree(output)
    stray = f"rejects/{next(iter(rejects(output)))[:-12]}00000000.tar"
    (output / stray).write_bytes(b"stray")
    assert differences(output) == [f"{stray}: no manifest part names this tar"]
    assert [str(one) for one in clean(str(output))] == [f"{stray}: no manifest part names this tar"]
    assert {name: what[1] for name, what in tree(output).items()} == {
        name: what[1] for name, what in before.items()
    }


def test_a_spoilt_or_missing_reject_is_named(output: Path) -> None:
    first, second, *_ = sorted(output.glob("rejects/*"))
    data = bytearray(first.read_bytes())
    data[700] ^= 0x10
    first.write_bytes(data)
    second.unlink()
    found = differences(output)
    assert any(line.startswith(f"rejects/{first.name}: its sha256 is") for line in found)
    assert any("its bytes or offset differ from its row" in line for line in found)
    assert f"rejects/{second.name}: missing" in found


def test_filtered_rows_are_rebuilt_bit_for_bit(finished: Path) -> None:
    stems = ["s0", "s1", "s2"]
    counts = image_counts(str(finished), stems)
    assert sum(counts.values()) == 54
    picks = spread(counts, 20)
    found = list(replay_parts(picked_rows(str(finished), picks), str(finished)))
    assert {one.verdict for one in found} == {"equal"}
    assert {one.row["status"] for one in found} == {"ok", "filtered"}


def test_the_contact_sheet_shows_rejects(finished: Path, tmp_path: Path) -> None:
    assert contact_sheet(str(finished), tmp_path / "sheet.png", sources=4) == 4
    colours = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).reshape(-1, 3)
    assert (colours == (0xB3, 0x26, 0x1E)).all(axis=1).any()


def test_rejects_that_are_not_kept_can_still_be_rebuilt(
    sources: list[Path], finished: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    rows = augmented(sources, output, **FILTERED, keep_rejects=False)
    assert not (output / "rejects").exists()
    places = ["output_shard", "output_key", "output_member", "output_offset"]
    filtered = rows["status"] == "filtered"
    assert rows.loc[filtered, places].isna().all(axis=None)
    rest = [name for name in rows.columns if name not in places]
    pd.testing.assert_frame_equal(rows[rest], manifest(finished)[rest])
    assert tars(output) == tars(finished)
    assert differences(output) == []
    found, metadata = part(output, "s0")
    gone = [row for row in found if row["status"] == "filtered"]
    assert {one.verdict for one in replay_rows(gone, metadata, str(output))} == {"equal"}
    monkeypatch.chdir(tmp_path)
    said = cli("replay", output, gone[0]["sample_id"])
    name = f"{gone[0]['source_key']}-a{gone[0]['copy']}.png"
    assert said.out == f"wrote {name}\nequal: its bytes and pixels match the manifest\n"
    assert hashlib.sha256(Path(name).read_bytes()).hexdigest() == gone[0]["output_sha256"]
    assert find_sample(str(output), gone[0]["sample_id"])[1] == gone[0]


def test_raising_copies_keeps_rows_but_for_the_best(sources: list[Path], tmp_path: Path) -> None:
    fields: dict[str, Any] = {"judges": "phash", "filters": "ssim > 0.6", "strength": "0.2:0.8"}
    few = augmented(sources[:1], tmp_path / "few", copies=2, **fields)
    many = augmented(sources[:1], tmp_path / "many", copies=4, **fields)
    same = [name for name in few.columns if name not in ("output_shard", "output_offset")]
    more = many[many["copy"] < 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(more[same], few[same])


def test_the_very_same_bytes_in_any_order_and_after_a_stop(
    sources: list[Path], finished: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run = planned(sources, output, **FILTERED)
    reports = diffaug.augment_shards(run.sources[::-1], str(output), run=run)
    next(reports)
    reports.close()
    list(diffaug.augment_shards(run.sources, str(output), run=run))
    diffaug.finish(run, str(output))
    assert tars(output) == tars(finished)
    assert rejects(output) == rejects(finished)
    pd.testing.assert_frame_equal(manifest(output), manifest(finished))


def test_a_shard_of_which_nothing_is_kept(sources: list[Path], tmp_path: Path) -> None:
    (source, *_), output = sources, tmp_path / "out"
    run = planned([source], output, filters="ssim > 2")
    (report,) = diffaug.augment_shards(run.sources, str(output), run=run)
    assert (report.planned, report.ok, report.filtered, report.failed) == (8, 0, 8, 0)
    assert (report.output_shard, report.output_bytes) == (None, 0)
    ((name, data),) = rejects(output).items()
    assert (report.rejects_shard, report.rejects_bytes) == (f"rejects/{name}", len(data))
    summary = diffaug.finish(run, str(output))
    assert summary.rejects_bytes == len(data)
    assert (output / "shards.txt").read_text() == ""
    assert differences(output) == []


def test_a_picture_without_a_score_passes_no_bound(tmp_path: Path) -> None:
    (sample,) = fashion(1)
    small = Image.new("L", (5, 5), 100)
    source = write_files(
        tmp_path / "s.tar", [("a.png", encoded(small, "PNG")), ("b.png", sample["png"])]
    )
    rows = augmented([source], tmp_path / "out", filters="ssim > -2", fit="resize")
    assert list(rows["status"]) == ["filtered", "ok"]
    assert rows["reason"][0] == "score_ssim is null, which passes no bound (score_ssim > -2)"


# Judges of a job


def _mislabelled(source: Path, path: Path) -> Path:
    """A shard as it is, but for its classes."""
    files = members(source)
    for name in files:
        if name.endswith(".cls"):
            files[name] = str((int(files[name]) + 3) % 10).encode()
    return write_files(path, files.items())


def test_a_planted_mislabelled_shard_is_caught(tmp_path: Path, cli: Cli) -> None:
    """By the label judge: its rows score low, those of the others high, and the filter keeps it
    out."""
    planted = _mislabelled(SHARDS[1], tmp_path / "planted.tar")
    flags = ["--model", GREY, "--sampler", "one-step", "--strength", "0.1", "--batch-size", "8"]
    judge = ["--judges", "label=tests.support.ridge:classify", "--filters", "label == 1"]
    said = cli("augment", SHARDS[0], planted, SHARDS[2], tmp_path / "out", *flags, *judge)
    assert said.code == 0, said
    rows = pd.read_parquet(tmp_path / "out/manifest")
    of_shard = rows.groupby(rows["source_shard"].str.rpartition("/")[2])
    agreement, confidence = (
        of_shard[score].mean() for score in ("score_label", "score_label_confidence")
    )
    assert agreement["planted.tar"] < 0.2
    assert confidence["planted.tar"] < 0.2
    assert agreement.drop("planted.tar").min() > 0.8
    kept = (rows["status"] == "ok").groupby(rows["source_shard"].str.rpartition("/")[2]).mean()
    assert (kept == agreement).all()
    assert (rows["status"] == "ok").equals(rows["score_label"] == 1)
    filtered = int((rows["status"] == "filtered").sum())
    assert f"120 planned = {120 - filtered} made + {filtered} filtered + 0 failed" in said.out
    away = round((1 - kept["planted.tar"]) * 40)
    assert f"planted: {40 - away} made, {away} filtered, 0 failed\n" in said.err


def test_networks_in_a_job_score_as_alone(sources: list[Path], tmp_path: Path) -> None:
    """In a job of several shards and steps, what a judge says of a picture is what it says of it
    by itself; also where only one shard is done, by another number of cores."""
    vit, clip = networks.vit(tmp_path / "vit"), networks.clip(tmp_path / "clip")
    judges = [f"label={vit}", f"clip={clip}", "phash"]
    fields: dict[str, Any] = {"copies": 2, "strength": "0.2:0.8", "sampler": "ddim", "steps": 6}
    rows = augmented(sources[:2], tmp_path / "out", judges=judges, **fields)
    scores = [name for name in rows.columns if name.startswith("score_")]
    assert len(scores) == 7
    assert rows[scores].notna().all(axis=None)
    with threads(1):
        one = augmented(sources[1:2], tmp_path / "one", judges=judges, **fields)
    both = rows[rows["source_shard"] == str(sources[1])].reset_index(drop=True)
    pd.testing.assert_frame_equal(one[scores], both[scores], check_exact=True)
    assert set(json.loads((tmp_path / "out/run.json").read_text())["judges"]) == {
        *("label", "clip", "phash")
    }


def test_a_resume_with_another_judge_refuses(sources: list[Path], tmp_path: Path) -> None:
    vit, output = networks.vit(tmp_path / "vit"), tmp_path / "out"
    fields: dict[str, Any] = {"judges": f"label={vit}"}
    run = planned(sources[:1], output, **fields)
    was = run.judges["label"]
    networks.vit(vit, seed=7)
    with pytest.raises(diffaug.ConfigError) as caught:
        planned(sources[:1], output, **fields)
    said = str(caught.value)
    assert f"the judge label={vit} ({was[:8]} there, " in said
    assert "Choose a new OUTPUT" in said
    with pytest.raises(diffaug.ConfigError, match="a job ends with the judges it began with"):
        list(diffaug.augment_shards(run.sources, str(output), run=run))


@pytest.mark.parametrize(
    "change",
    [
        {"filters": "ssim >= 0.5"},
        {"judges": ()},
        {"keep_best": 1},
        {"keep_best_by": "ssim"},
        {"keep_rejects": False},
        {"layout": "paired"},
    ],
)
def test_a_resume_with_other_filters_refuses(
    change: dict[str, Any], sources: list[Path], finished: Path
) -> None:
    fields = FILTERED | {"keep_best_by": "-psnr"} if "judges" in change else FILTERED
    with pytest.raises(diffaug.ConfigError, match=f"{next(iter(change))} .* there, .* asked"):
        planned(sources, finished, **fields | change)


def test_an_estimate_times_the_judges(sources: list[Path], tmp_path: Path, cli: Cli) -> None:
    flags = ["--model", GREY, "--sampler", "one-step", "--batch-size", "8", "--layout", "paired"]
    flags += ["--judges", "label=tests.support.ridge:classify"]
    said = cli("augment", sources[0], tmp_path / "out", *flags, "--dry-run")
    assert said.code == 0, said
    assert "about 8 images, 8 network calls" in said.out
