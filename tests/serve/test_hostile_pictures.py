"""Hostile pictures and labels over HTTP: each is answered as a job answers it, in its words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffaug.manifest.part import Row
from tests.support.forks import Forks
from tests.support.hostile_files import FILES
from tests.support.hostile_images import IMAGES
from tests.support.hostile_labels import LABELS
from tests.support.hostile_table import CASES, STRENGTH, rows, run
from tests.support.jobs import FIELDS, members
from tests.support.serving import Server, recipe_file, serving

pytestmark = pytest.mark.services

GROUPS = (LABELS, IMAGES, FILES)
NAMES = [case for group in GROUPS for case in group.cases]

LONGEST = 1 << 16
"""Bytes of a label that a job reads."""

OTHER = {"empty_image": "empty_body"}
"""Codes of what a request's body is before it is a picture."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The jobs over these inputs."""
    folder = tmp_path_factory.mktemp("hostile-jobs")
    run(folder, GROUPS)
    return folder


@pytest.fixture(scope="module")
def server(forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a recipe for each group, but `files` for `images`, of which it makes the same."""
    folder = tmp_path_factory.mktemp("hostile-recipes")
    fields = FIELDS | {"strength": STRENGTH, "detail": "none"}
    files = [recipe_file(folder, one.name, **fields | one.fields) for one in (LABELS, FILES)]
    with serving(forked, *(word for file in files for word in ("--recipe", file))) as server:
        yield server


@pytest.mark.parametrize("name", NAMES)
def test_it_is_answered_as_by_a_job(server: Server, folder: Path, name: str) -> None:
    group, case = CASES[name]
    found = members(folder / f"{group.name}/{name}{case.ending}")
    (picture,) = (data for key, data in found.items() if key.startswith("b.") and key != "b.cls")
    asked: dict[str, object] = {"recipe": "labels" if group is LABELS else "files", "key": "b"}
    if "b.cls" in found:
        asked["label"] = found["b.cls"][:LONGEST].decode("utf-8", "replace")
    answer = server.post(picture, "application/octet-stream", **asked)
    (row,) = (one for one in rows(folder / group.name / "out", name) if one["source_key"] == "b")
    if row["status"] == "ok":
        assert answer.status_code == 200, answer.text
        assert hashlib.sha256(answer.content).hexdigest() == row["output_sha256"]
        said = json.loads(answer.headers["diffaug-row"])
        for column in ("sample_id", "source_sha256", "source_width", "source_height", "label"):
            assert said.get(column) == row[column]
    else:
        _check_problem(answer.status_code, answer.json(), row, is_given="label" in asked)
    assert "Traceback" not in server.process.err


def _check_problem(status: int, problem: Row, row: Row, is_given: bool) -> None:
    assert 400 <= status < 500
    assert problem["status"] == status
    if row["reason_code"] == "no_label" and is_given:  # no integer: no such parameter
        assert problem["code"] == "bad_request"
        assert problem["detail"].startswith("label: must be an integer")
    elif row["reason_code"] in OTHER:
        assert problem["code"] == OTHER[row["reason_code"]]
    else:
        assert (problem["code"], problem["detail"]) == (row["reason_code"], row["reason"])


def test_after_all_that_it_works(server: Server, folder: Path) -> None:
    found = members(folder / "files/clean.tar")
    answer = server.post(found["a.png"], recipe="files", key="a", label=9)
    (row,) = (one for one in rows(folder / "files/out", "clean") if one["source_key"] == "a")
    assert hashlib.sha256(answer.content).hexdigest() == row["output_sha256"]
    assert server.count("diffaug_lanes_held") == 0
