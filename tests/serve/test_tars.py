"""Shards as bodies: what a job writes, in order, with a row for each copy that has no picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from diffaug.serve.store import Store
from tests.support.conversations import House, contents
from tests.support.hostile import END, blocks, fashion, png, write_files, write_samples
from tests.support.jobs import GREY, augmented, tars

BASE: dict[str, Any] = {"model": GREY, "sampler": "dpmsolver++", "strength": 0.4, "steps": 5}
RECIPES: dict[str, dict[str, Any]] = {
    "plain": BASE,
    "label": BASE
    | {
        "strength": "0.2:0.8",
        "copies": 2,
        "condition": "label",
        "guidance": 2,
        "format": "webp",
        "carry": "txt",
    },
    "paired": BASE | {"seed": 1, "copies": 2, "layout": "paired", "carry": "txt"},
    "best": BASE
    | {
        "copies": 3,
        "strength": "0.2,0.4,0.9",
        "filters": "score_ssim >= 0.5",
        "keep_best": 1,
        "keep_best_by": "score_psnr",
        "judges": "phash",
    },
    "paired-best": BASE
    | {"seed": 2, "copies": 2, "layout": "paired", "filters": "score_ssim >= 0.8"},
}
BATCH = 4


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House(RECIPES, BATCH)
    yield house
    house.close()


def job(tmp_path: Path, shard: Path, name: str) -> tuple[bytes, pd.DataFrame]:
    """The tar and the rows of a job, in the order of the shard."""
    output = tmp_path / "job"
    augmented([shard], output, batch_size=BATCH, **RECIPES[name])
    (written,) = tars(output).values()
    (part,) = output.glob("manifest/*.parquet")
    return written, pd.read_parquet(part)


def rows_in(answer: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """The rows of copies without a picture, by the names of their members."""
    found = {name: json.loads(data) for name, data in answer.items() if name.endswith(".json")}
    return {name: row for name, row in found.items() if "status" in row}


@pytest.mark.parametrize("name", ["plain", "label", "paired"])
def test_the_answer_is_the_jobs_tar_byte_for_byte(house: House, tmp_path: Path, name: str) -> None:
    shard = write_samples(tmp_path / "s.tar", fashion(6))
    answer = house.tar(shard.read_bytes(), f"recipe={name}")
    assert answer.status == 200
    assert answer.is_complete
    assert answer.answer == job(tmp_path, shard, name)[0]


@pytest.mark.parametrize("name", ["best", "paired-best"])
def test_what_a_job_turns_away_is_a_row_in_its_place(
    house: House, tmp_path: Path, name: str
) -> None:
    shard = write_samples(tmp_path / "s.tar", fashion(6))
    written, rows = job(tmp_path, shard, name)
    answer = contents(house.tar(shard.read_bytes(), f"recipe={name}").answer)
    said = rows_in(answer)
    kept = {member: data for member, data in answer.items() if member not in said}
    assert kept == contents(written)
    away = rows[rows.status == "filtered"]
    assert 0 < len(away) < len(rows)
    for row, (member, found) in zip(away.itertuples(), said.items(), strict=True):
        stem = f"{row.source_key}.aug" if name == "paired-best" else f"{row.source_key}-a"
        assert member == f"{stem}{row.copy}.diffaug.json"
        told = {"status": row.status, "reason": row.reason, "reason_code": row.reason_code}
        assert {column: found[column] for column in told} == told
        assert found["score_ssim"] == pytest.approx(row.score_ssim)


def broken() -> bytes:
    """Samples of every kind that goes wrong, between good ones, and a cut."""
    good = fashion(3)
    files = [
        ("a.png", png(0)),
        ("a.cls", b"1"),
        ("README.md", b"no sample"),
        ("half.png", png(1)[:200]),
        ("half.cls", b"2"),
        ("noclass.png", png(1)),
        ("noimage.cls", b"3"),
        ("../up.png", png(2)),
        ("a.png", png(3)),
        ("a.cls", b"1"),
        ("b.png", good[1]["png"]),
        ("b.cls", b"1"),
        ("cut.png", png(4)),
        ("cut.cls", b"1"),
    ]
    return blocks(files)


def test_what_is_broken_is_a_row_in_its_place_as_in_a_job(house: House, tmp_path: Path) -> None:
    data = broken()
    (tmp_path / "s.tar").write_bytes(data)
    written, rows = job(tmp_path, tmp_path / "s.tar", "label")
    answer = contents(house.tar(data, "recipe=label").answer)
    said = rows_in(answer)
    assert {member: one for member, one in answer.items() if member not in said} == contents(
        written
    )
    failed = rows[rows.status == "failed"]
    columns = ["source_key", "copy", "status", "reason_code", "reason", "source_offset"]
    theirs = [
        {name: row[name] for name in columns if not pd.isna(row[name])}
        for row in failed.to_dict("records")
    ]
    ours = [{name: row[name] for name in columns if name in row} for row in said.values()]
    assert ours == theirs
    assert [*said] == [
        *("half-a0.diffaug.json", "half-a1.diffaug.json"),
        *("noclass-a0.diffaug.json", "noclass-a1.diffaug.json"),
        *("noimage-a0.diffaug.json", "noimage-a1.diffaug.json"),
        *("failed-000004-a0.diffaug.json", "failed-000004-a1.diffaug.json"),
        *("failed-000005-a0.diffaug.json", "failed-000005-a1.diffaug.json"),
        *("cut-a0.diffaug.json", "cut-a1.diffaug.json"),
        "failed-000008.diffaug.json",
    ]
    assert sum(member.endswith(".json") for member in answer) == len(rows)
    assert f"at byte {len(data)}" in said["failed-000008.diffaug.json"]["reason"]


def test_an_empty_tar_is_answered_by_one(house: House) -> None:
    answer = house.tar(END, "recipe=plain")
    assert (answer.status, answer.is_complete) == (200, True)
    assert contents(answer.answer) == {}


@pytest.mark.parametrize(
    ("data", "query", "headers", "status", "code"),
    [
        (b"<html>no tar</html>" * 100, "recipe=plain", {}, 400, "unreadable_tar"),
        (b"", "recipe=plain", {}, 400, "unreadable_tar"),
        (b"\x1f\x8b" + bytes(600), "recipe=plain", {}, 415, "content_encoding"),
        (END, "recipe=plain", {"content_encoding": "gzip"}, 415, "content_encoding"),
        (END, "recipe=plain&copy=1", {}, 400, "bad_request"),
        (END, "recipe=plain&label=1", {}, 400, "bad_request"),
        (END, "", {}, 400, "unknown_recipe"),
    ],
)
def test_a_mistake_is_a_problem_before_anything_is_answered(
    house: House, data: bytes, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = house.tar(data, query, **headers)
    assert (answer.status, answer.problem["code"]) == (status, code)
    assert house.state.active == 0


def test_another_type_is_refused_with_the_name_of_a_tars(house: House) -> None:
    answer = house.tar(END, "recipe=plain", content_type="application/zip")
    assert answer.status == 415
    assert "application/x-tar" in answer.problem["detail"]


def test_a_sample_larger_than_a_picture_may_be_is_a_row(tmp_path: Path) -> None:
    house = House({"plain": BASE | {"carry": "txt"}}, BATCH, body=2000)
    try:
        files = [
            ("a.png", png(0)),
            ("a.txt", bytes(1900)),
            ("b.png", png(1)),
            ("c.png", b"x" * 2001),
        ]
        data = write_files(tmp_path / "s.tar", files).read_bytes()
        answer = contents(house.tar(data).answer)
    finally:
        house.close()
    said = {name: row["reason_code"] for name, row in rows_in(answer).items()}
    assert said == {
        "a-a0.diffaug.json": "too_large_sample",
        "c-a0.diffaug.json": "too_large_member",
    }
    assert "b-a0.png" in answer


def test_a_cache_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    data = write_samples(tmp_path / "s.tar", fashion(3)).read_bytes()
    house = House({"plain": BASE}, BATCH, Store(str(tmp_path / "s.tar" / "cache"), 10**9))
    try:
        answer = contents(house.tar(data).answer)
    finally:
        house.close()
    assert sum(name.endswith(".png") for name in answer) == 3


def test_what_is_in_the_cache_is_not_made_again(tmp_path: Path) -> None:
    data = write_samples(tmp_path / "s.tar", fashion(5)).read_bytes()
    house = House({"plain": BASE}, BATCH, Store(str(tmp_path / "cache"), 10**9))
    try:
        first = house.tar(data)
        rows = house.count("diffaug_rows_total")
        again = house.tar(data)
        assert house.count("diffaug_rows_total") == rows
        assert house.count("diffaug_cache_hits_total") == 5
    finally:
        house.close()
    assert again.answer == first.answer
