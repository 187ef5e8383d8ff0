"""Hostile input: of each kind, a right image, or `failed` with a reason a person understands.

What must become of each input is written down beside it, in `hostile_*.py`.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from diffaug.manifest.part import Row
from diffaug.shards.stream import MAX_BYTES
from tests.support.forks import Forks
from tests.support.hostile_case import Case, Group, Outcome
from tests.support.hostile_files import FILES, RAN
from tests.support.hostile_images import IMAGES
from tests.support.hostile_labels import LABELS
from tests.support.hostile_names import NAMES, PICKLE, SAMPLES, WITNESS
from tests.support.hostile_pictures import PICTURES
from tests.support.hostile_sources import REFUSED, refusal
from tests.support.hostile_table import CASES, PAGE, STRENGTH, page, rows, run
from tests.support.hostile_tars import TARS
from tests.support.jobs import FIELDS, augmented, members, pixels, tars, webdataset
from tests.support.serving import Server, recipe_file, serving

LEVELS = 15
"""How far from its picture, of 255 levels and on average, an image at `STRENGTH` may be."""

SENT = [*TARS.cases, *NAMES.cases, *SAMPLES.cases, *LABELS.cases]
"""The shards that are sent over HTTP, but for the one of which nothing is wrong but its name."""
SENT.remove("no_gzip")

LONGEST_URL = 1 << 15
"""Bytes of a label that httpx sends in one."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The jobs over every input, in a folder where a `gs` stands on the path."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        _ghostscript(folder, patch)
        run(folder / "jobs")
    return folder / "jobs"


def _ghostscript(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put a `gs` on the path that leaves a file in the current folder, and go to `folder`."""
    (folder / "bin").mkdir()
    (folder / "bin/gs").write_text(f"#!/bin/sh\necho > {RAN}\n")
    (folder / "bin/gs").chmod(0o755)
    patch.setenv("PATH", str(folder / "bin"), prepend=":")
    patch.setattr(EpsImagePlugin, "gs_binary", None)
    patch.chdir(folder)


@pytest.mark.parametrize("name", CASES)
def test_it_becomes_what_is_written_down(folder: Path, name: str) -> None:
    group, case = CASES[name]
    output = folder / group.name / "out"
    found = rows(output, case.stem)
    _check_verdicts(found, case.outcome)
    good = [row for row in found if row["status"] == "ok"]
    _check_tar(output, case.stem, [f"{row['source_key']}-a0" for row in good])
    for row in good:
        if row["source_key"] in ("a", "z"):
            assert row["output_sha256"] == _row(output, "clean", row["source_key"])["output_sha256"]
        else:
            _check_picture(output, row, case)
    if case.label:
        row = _row(output, name, "b")
        assert (row["label"], row["label_text"]) == case.label


def _row(output: Path, shard: str, key: str) -> Row:
    (row,) = [row for row in rows(output, shard) if row["source_key"] == key]
    return row


def _check_verdicts(found: list[Row], outcome: tuple[Outcome, ...]) -> None:
    assert [(row["source_key"], row["reason_code"]) for row in found] == list(outcome)
    for row in found:
        assert row["status"] == ("failed" if row["reason_code"] else "ok")
        if row["status"] == "failed":
            assert len(row["reason"].split()) >= 4
            assert not re.search(r"at 0x|<_io|Traceback|line \d", row["reason"])


def _check_tar(output: Path, stem: str, keys: list[str]) -> None:
    """webdataset finds the right images in it, and nothing else."""
    paths = list(output.glob(f"shards/{stem}-????????.tar"))
    assert [sample["__key__"] for path in paths for sample in webdataset(path)] == keys


def _check_picture(output: Path, row: Row, case: Case) -> None:
    """It is near the picture, and what the same picture in a plain PNG becomes."""
    shown = PICTURES[case.like]
    assert (row["source_width"], row["source_height"]) == shown.size
    data = (output / row["output_shard"]).read_bytes()[row["output_offset"] :]
    made = pixels(data[: row["output_bytes"]]).astype(int)
    assert np.abs(made - np.asarray(shown.convert("L"))).mean() < LEVELS
    plain = _row(output, "pictures", case.like)
    assert (row["output_sha256"] == plain["output_sha256"]) is case.exact


def test_a_clean_shard_beside_hostile_ones_is_as_if_alone(folder: Path, tmp_path: Path) -> None:
    augmented([folder / "tars/clean.tar"], tmp_path / "out", strength=STRENGTH)
    (name,) = tars(tmp_path / "out")
    assert tars(tmp_path / "out")[name] == (folder / "tars/out/shards" / name).read_bytes()


def test_where_no_class_conditions_any_label_will_do(folder: Path, tmp_path: Path) -> None:
    sources = [folder / f"labels/{name}.tar" for name in LABELS.cases]
    made = augmented(sources, tmp_path / "out")
    assert set(made["status"]) == {"ok"}
    for name in LABELS.cases:
        for row in rows(tmp_path / "out", name):
            if row["source_key"] == "b":
                assert (row["label"], row["label_text"]) == LABELS.cases[name].label


def test_a_pickle_is_carried_as_it_is(folder: Path) -> None:
    (path,) = (folder / "samples/out/shards").glob("pickles-*.tar")
    carried = members(path)
    assert [carried[f"b-a0.{kind}"] for kind in ("pkl", "pyd", "pth")] == [PICKLE] * 3


def test_nothing_was_unpickled_or_run(folder: Path) -> None:
    left = {path.name for path in folder.parent.rglob("*")}
    assert not left & {WITNESS, RAN}


def test_the_pickle_and_the_eps_would_have_left_their_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ghostscript(tmp_path, monkeypatch)
    pickle.loads(PICKLE).close()
    assert (tmp_path / WITNESS).exists()
    FILES.cases["eps"].write(tmp_path)
    (tmp_path / "b.eps").write_bytes(members(tmp_path / "eps.tar")["b.png"])
    with pytest.raises(OSError, match="cannot identify"), Image.open(tmp_path / "b.eps") as image:
        image.load()
    assert (tmp_path / RAN).exists()


@pytest.mark.parametrize("name", REFUSED)
def test_a_source_or_model_that_would_run_is_refused(name: str) -> None:
    _, said = refusal(name)
    assert len(said.split()) >= 4


def test_the_page_is_what_this_run_gave(folder: Path) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(folder)


@pytest.fixture(scope="module")
def server(forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a recipe for labels, and one that does what the jobs over all other inputs do."""
    folder = tmp_path_factory.mktemp("hostile-recipes")
    usual = FIELDS | {"strength": STRENGTH, "detail": "none"}
    carry = {"carry": f"[{', '.join(SAMPLES.fields['carry'])}]"}
    labels = recipe_file(folder, "labels", **usual | LABELS.fields)
    others = recipe_file(folder, "others", **usual | FILES.fields | carry)
    largest = ("--max-body", str(MAX_BYTES))  # as in a job
    with serving(forked, "--recipe", labels, "--recipe", others, *largest) as server:
        yield server


def _recipe(group: Group) -> str:
    return "labels" if group is LABELS else "others"


@pytest.mark.services
@pytest.mark.parametrize("name", [*LABELS.cases, *IMAGES.cases, *FILES.cases])
def test_over_http_a_picture_becomes_what_a_job_makes_of_it(
    server: Server, folder: Path, name: str
) -> None:
    group, case = CASES[name]
    found = members(folder / f"{group.name}/{name}{case.ending}")
    (picture,) = (data for key, data in found.items() if key.startswith("b.") and key != "b.cls")
    asked: dict[str, Any] = {"recipe": _recipe(group), "key": "b"}
    if "b.cls" in found:
        asked["label"] = found["b.cls"][:LONGEST_URL].decode("utf-8", "replace")
    answer = server.post(picture, "application/octet-stream", **asked)
    row = _row(folder / group.name / "out", name, "b")
    if row["status"] == "ok":
        assert answer.status_code == 200, answer.text
        assert hashlib.sha256(answer.content).hexdigest() == row["output_sha256"]
        said = json.loads(answer.headers["diffaug-row"])
        for column in ("sample_id", "source_sha256", "source_width", "source_height", "label"):
            assert said.get(column) == row[column]
    else:
        _check_problem(answer, row, is_given="label" in asked)
    assert "Traceback" not in server.process.err


def _check_problem(answer: httpx.Response, row: Row, is_given: bool = False) -> None:
    problem = answer.json()
    assert 400 <= answer.status_code < 500
    assert problem["status"] == answer.status_code
    if row["reason_code"] == "no_label" and is_given:  # no integer: no such parameter
        assert problem["code"] == "bad_request"
        assert problem["detail"].startswith("label: must be an integer")
    elif row["reason_code"] == "empty_image":
        assert problem["code"] == "empty_body"
    else:
        assert (problem["code"], problem["detail"]) == (row["reason_code"], row["reason"])


@pytest.mark.services
@pytest.mark.parametrize("name", SENT)
def test_over_http_a_shard_becomes_what_a_job_makes_of_it(
    server: Server, folder: Path, name: str
) -> None:
    """The tars and the failed rows of the job; what is no tar at all is a problem."""
    group, case = CASES[name]
    output = folder / group.name / "out"
    found = rows(output, name)
    answer = server.post(case.data, "application/x-tar", recipe=_recipe(group))
    if case.data.startswith(b"\x1f\x8b"):
        assert (answer.status_code, answer.json()["code"]) == (415, "content_encoding")
    elif answer.headers["content-type"] == "application/problem+json":
        (row,) = found
        _check_problem(answer, row)
    else:
        (folder / "answer.tar").write_bytes(answer.content)
        answered = members(folder / "answer.tar")
        told = {
            member: row for member, row in _json(answered).items() if row.get("status") == "failed"
        }
        paths = output.glob(f"shards/{case.stem}-????????.tar")
        made = {member: data for path in paths for member, data in members(path).items()}
        assert {one: data for one, data in answered.items() if one not in told} == made
        failed = [row for row in found if row["status"] == "failed"]
        columns = ("source_key", "reason_code", "reason")
        assert [[row.get(column) for column in columns] for row in told.values()] == [
            [row[column] for column in columns] for row in failed
        ]
    assert "Traceback" not in server.process.err


def _json(files: dict[str, bytes]) -> dict[str, Row]:
    return {name: json.loads(data) for name, data in files.items() if name.endswith(".json")}


@pytest.mark.services
def test_over_http_work_goes_on_after_all_that(server: Server, folder: Path) -> None:
    found = members(folder / "files/clean.tar")
    answer = server.post(found["a.png"], recipe="others", key="a", label=9)
    row = _row(folder / "files/out", "clean", "a")
    assert hashlib.sha256(answer.content).hexdigest() == row["output_sha256"]
    assert server.count("diffaug_lanes_held") == 0
