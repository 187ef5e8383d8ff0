"""Which rows are chosen, and what of the manifest is read to know."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import diffaug
from diffaug.dataset import index as module
from diffaug.dataset.index import Index
from diffaug.dataset.query import Query
from diffaug.output.compact import compact
from tests.support.hostile import broken_images, fashion, png, write_samples
from tests.support.jobs import augmented
from tests.support.outputs import Counted, write_output, write_shard


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two good shards and one of broken images, two copies each."""
    folder = tmp_path_factory.mktemp("query")
    for number in (0, 2):
        write_samples(folder / f"in/s{number}.tar", fashion(6, 6 * number))
    broken_images(folder / "in/s1.tar")
    augmented([folder / "in/*.tar"], folder / "out", copies=2, strength="0.2:0.6")
    return folder / "out"


def chosen(output: Path, where: str | None) -> Counter[str]:
    dataset = diffaug.AugmentedDataset(output, train=False, where=where)
    found = Counter(sample["__key__"] for sample in dataset)
    assert dataset.chosen == found.total()
    return found


@pytest.mark.parametrize(
    "where",
    [
        "score_ssim > 0.6",
        'status == "ok" and score_ssim > .4',
        "0.3 < score_ssim <= 0.7 and not copy == 1",
        "label in [0, 1, 2, 9] or strength < 0.3",
        "(score_ssim > 0.5) & (copy == 0) | (score_psnr > 20)",
        'source_key not in ("00001", "00012")',
        "strength * steps / 2 >= calls + 0 and label % 2 == 0",
        "~(label == 9)",
    ],
)
def test_a_query_chooses_what_pandas_chooses(output: Path, where: str) -> None:
    rows = pd.read_parquet(output / "manifest").query(where)
    expected = Counter(rows.loc[rows["status"] == "ok", "output_key"])
    assert 0 < expected.total() < 28
    assert chosen(output, where) == expected


def test_without_a_query_all_that_are_ok_are_chosen(output: Path) -> None:
    rows = pd.read_parquet(output / "manifest")
    assert chosen(output, None) == Counter(rows.loc[rows["status"] == "ok", "output_key"])


def test_scores_of_any_name_and_rejects_can_be_chosen(tmp_path: Path) -> None:
    output = write_output(tmp_path / "out")
    rows: list[dict[str, Any]] = [
        {"tar": "shards", "output_member": "a-a0.png", "source_key": "a", "copy": 0},
        {"tar": "rejects", "output_member": "b-a0.png", "source_key": "b", "copy": 0},
        {"tar": "rejects", "output_member": "c-a0.png", "source_key": "c", "copy": 0},
        {"tar": "none", "output_member": None, "source_key": "d", "copy": 0, "status": "failed"},
    ]
    for row, score in zip(rows, (0.9, 0.5, 0.1, None), strict=True):
        row["score_clip"] = score
        if row["tar"] == "rejects":
            row["status"] = "filtered"
    tars = {
        "shards": [("a-a0.png", png(0))],
        "rejects": [("b-a0.png", png(1)), ("c-a0.png", png(2))],
    }
    write_shard(output, "some-shard", tars, rows)
    assert list(chosen(output, None)) == ["a-a0"]
    assert list(chosen(output, "score_clip > .3")) == ["a-a0"]
    assert list(chosen(output, 'status == "filtered"')) == ["b-a0", "c-a0"]
    assert list(chosen(output, 'score_clip > .3 and status != "failed"')) == ["b-a0", "a-a0"]


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("score_clip > 0.3", "the manifest has no column 'score_clip'; it has .*score_ssim"),
        ("@limit < 3", "is not a condition"),
        ("score_ssim = 3", "is not a condition"),
        ("score_ssim > 3; copy == 1", "is not a condition"),
        ("score_ssim", "is neither true nor false"),
        ("1 == 1", "names no column"),
        ("status > 3", "where: 'status > 3'"),
        ('__import__("os").system("touch x")', "contains a Call, which is not allowed"),
        ("status.str.len() > 1", "which is not allowed"),
        ("[score_ssim for score_ssim in status]", "which is not allowed"),
        ("copy ** 99", "contains a Pow, which is not allowed"),
        ("status[0] == 'o'", "which is not allowed"),
        ("(" * 500 + "copy" + ")" * 500, "is not a condition"),
        ("index == 0", "no column 'index'"),
    ],
)
def test_what_is_no_condition_is_refused(output: Path, where: str, sentence: str) -> None:
    with pytest.raises(diffaug.ConfigError, match=sentence):
        diffaug.AugmentedDataset(output, where=where)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files below an OUTPUT that the index opens, whose bytes `Counted` counts."""
    urls: list[str] = []

    @contextmanager
    def open_read(url: str) -> Iterator[Any]:
        urls.append(url)
        with Counted(url) as stream:
            yield stream

    monkeypatch.setattr("diffaug.dataset.index.storage.open_read", open_read)
    return urls


def test_of_the_manifest_only_the_columns_named_are_read(tmp_path: Path, opened: list[str]) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.bytes(3000).hex() for _ in range(500)]
    files = [(f"{number:03}-a0.png", png(0)) for number in range(500)]
    rows = [
        {"tar": "shards", "output_member": name, "source_key": name[:3], "copy": 0}
        | {"prompt": text, "label_text": text[::-1], "score_ssim": number / 500}
        for number, ((name, _), text) in enumerate(zip(files, texts, strict=True))
    ]
    output = write_output(tmp_path / "out")
    write_shard(output, "s", {"shards": files}, rows, row_group_size=100)
    size = (output / "manifest/s.parquet").stat().st_size
    Counted.total = 0
    index = Index(str(output), Query("score_ssim >= .5"))
    (tar,) = index.tars
    assert [place.key for place in index.images(tar)] == [f"{n:03}-a0" for n in range(250, 500)]
    assert len(opened) == 3  # its columns' names, its scores, and the tar's rows
    assert size > 3_000_000
    assert Counted.total < size / 20
    Index(str(output), Query("score_ssim >= .5 and prompt != 'x'"))
    assert Counted.total > size / 4  # what is named is read


def test_rows_are_kept_for_the_next_pass_but_do_not_travel(output: Path, opened: list[str]) -> None:
    index = Index(str(output), Query())
    tar = next(iter(index.tars))
    places = index.images(tar)
    count = len(opened)
    assert index.images(tar) is places
    assert len(opened) == count
    travelled = pickle.loads(pickle.dumps(index))
    assert travelled.images(tar) == places
    assert len(opened) == count + 1


def test_a_compacted_manifest_is_read_in_place_of_its_parts(
    output: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Index(str(output), Query("score_ssim > .5"))
    monkeypatch.undo()
    list(compact(str(output)))
    urls: list[str] = []
    open_part = module._part

    def noted(url: str) -> Any:
        urls.append(url)
        return open_part(url)

    monkeypatch.setattr(module, "_part", noted)
    after = Index(str(output), Query("score_ssim > .5"))
    assert (after.tars, after.every, after.sources) == (before.tars, before.every, before.sources)
    # of the parts one footer, for the names; the large file to see that it is whole, and for rows
    assert [re.sub(".*/", "", url) for url in urls] == ["s0.parquet", *["00000.parquet"] * 2]
    (output / "manifest/s2.parquet").rename(output / "s2")
    assert len(Index(str(output), Query()).tars) == 2  # it is of other parts: they count
    (output / "s2").rename(output / "manifest/s2.parquet")


def test_a_broken_part_is_told(tmp_path: Path) -> None:
    output = write_output(tmp_path / "out")
    (output / "manifest").mkdir()
    (output / "manifest/s.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(diffaug.UncommittedError, match="delete it and run the job again"):
        diffaug.AugmentedDataset(output)
