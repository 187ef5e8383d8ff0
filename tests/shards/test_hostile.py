"""Hostile input: of each kind, a right image, or `failed` with a reason a person understands.

What must become of each input is written down beside it, in `hostile_*.py`.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from diffaug.manifest.part import Row
from tests.support.hostile_case import Case, Outcome
from tests.support.hostile_files import FILES, RAN
from tests.support.hostile_labels import LABELS
from tests.support.hostile_names import PICKLE, WITNESS
from tests.support.hostile_pictures import PICTURES
from tests.support.hostile_sources import REFUSED, refusal
from tests.support.hostile_table import CASES, PAGE, STRENGTH, page, rows, run
from tests.support.jobs import augmented, members, pixels, tars, webdataset

LEVELS = 15
"""How far from its picture, of 255 levels and on average, an image at `STRENGTH` may be."""


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
