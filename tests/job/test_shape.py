"""The batch shape of a new job: small where there is little to make, and then for good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import diffaug
from diffaug import execution
from diffaug.job.shape import lanes_for
from diffaug.output.run import the_run
from diffaug.recipe import Recipe
from tests.conftest import Cli
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import FIELDS, manifest, tars


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default that users have; other tests have a smaller one."""
    monkeypatch.setattr(execution, "DEFAULT_BATCH_SIZE", 32)


GUIDED = {"condition": "label", "guidance": 2.0}


def shard(path: Path, count: int, start: int = 0) -> str:
    return str(write_samples(path, fashion(count, start)))


@pytest.mark.parametrize(
    ("counts", "fields", "lanes"),
    [
        ([1], {}, 4),
        ([16], {}, 4),
        ([17], {}, None),
        ([10, 6], {}, 4),
        ([10, 7], {}, None),
        ([8], {"copies": 2}, 4),
        ([9], {"copies": 2}, None),
        ([8], GUIDED, 4),
        ([9], GUIDED, None),
        ([1], {"copies": 17}, None),
        ([1], {"balance": "classes"}, None),
        ([0], {}, 4),
    ],
)
def test_up_to_sixteen_rows_are_few(
    counts: list[int], fields: dict[str, object], lanes: int | None, tmp_path: Path
) -> None:
    urls = [shard(tmp_path / f"{n}.tar", count) for n, count in enumerate(counts)]
    assert lanes_for(urls, Recipe.of(fields)) == lanes


def test_what_is_no_sample_is_not_counted(tmp_path: Path) -> None:
    others = [{"__key__": b"note%d" % n, "txt": b"..."} for n in range(4)]
    for count, lanes in ((16, 4), (17, None)):
        url = str(write_samples(tmp_path / f"{count}.tar", others + fashion(count)))
        assert lanes_for([url], Recipe()) == lanes


def test_a_source_that_cannot_be_read_is_left_to_the_job(tmp_path: Path) -> None:
    assert lanes_for([str(tmp_path / "none.tar")], Recipe()) is None


def test_it_is_frozen_whatever_comes_later(tmp_path: Path) -> None:
    few, more = shard(tmp_path / "a.tar", 5), shard(tmp_path / "b.tar", 40, 5)
    output = str(tmp_path / "out")
    run = diffaug.freeze(diffaug.plan_run([few], output, Recipe(**FIELDS)), output)
    assert run.execution.batch_size == 4
    again = diffaug.plan_run([few, more], output, Recipe(**FIELDS))
    assert again.execution.batch_size == 4
    many = diffaug.plan_run([few, more], str(tmp_path / "other"), Recipe(**FIELDS))
    assert many.execution.batch_size == 32


def test_named_it_is_what_it_is_named_and_what_loaders_have(tmp_path: Path, cli: Cli) -> None:
    source = shard(tmp_path / "a.tar", 3)
    flags = ["--model=fashion-mnist-32", "--steps=4", "--strength=0.5"]
    said = cli("augment", source, tmp_path / "small", *flags)
    assert said.code == 0, said
    assert the_run(str(tmp_path / "small")).execution.batch_size == 4
    assert set(manifest(tmp_path / "small")["batch_size"]) == {4}
    said = cli("augment", source, tmp_path / "large", *flags, "--batch-size=32")
    assert said.code == 0, said
    assert json.loads((tmp_path / "large/run.json").read_text())["execution"]["batch_size"] == 32
    assert len(tars(tmp_path / "large")) == 1
