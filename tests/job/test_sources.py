"""Which sources are new: one identity a source, moved shards known, and no copies of copies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import diffaug
from diffaug import storage
from diffaug.job.plan import freeze, plan_run
from diffaug.output.run import Run
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import BATCH, GREY, augmented, planned, tree

BASE: dict[str, Any] = {"model": GREY, "strength": 0.4, "steps": 20, "sampler": "one-step"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [str(write_samples(tmp_path_factory.mktemp("in") / "a.tar", fashion(1)))]


def _plan(sources: list[str], output: Path) -> Run:
    return plan_run(sources, str(output), diffaug.Recipe(**BASE), batch_size=BATCH)


def _stems(run: Run) -> dict[str, str]:
    return {shard.url: shard.stem for shard in run.sources}


def test_a_source_spelled_otherwise_is_the_same_source(tmp_path: Path) -> None:
    source = write_samples(tmp_path / "in/s.tar", fashion(1))
    (tmp_path / "link").symlink_to(tmp_path / "in")
    first = planned([source], tmp_path / "out")
    for spelling in (
        tmp_path / "in//s.tar",
        f"{tmp_path}/in/../in/s.tar",
        f"file:{source}",
        f"file:////{source}",
        tmp_path / "link/s.tar",
    ):
        assert planned([spelling, source], tmp_path / "out") == first
    assert _stems(_plan([f"{tmp_path}//in/s.tar", str(source)], tmp_path / "new")) == {
        str(source): "s"
    }


@pytest.mark.parametrize("spelling", ["link/s.tar", "in//s.tar", "in/../in/s.tar", "by-name.tar"])
def test_a_source_that_was_recorded_by_another_spelling_is_known(
    spelling: str, tmp_path: Path
) -> None:
    """As 0.1.0 recorded it: what is planned stays, and is neither refused nor planned again."""
    source = write_samples(tmp_path / "in/s.tar", fashion(1))
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "by-name.tar").symlink_to(source)
    planned([source], tmp_path / "out")
    recorded = f"{tmp_path}/{spelling}"
    plan = tmp_path / "out/run.json"
    shards = [{"url": recorded, "stem": "s"}]
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"sources": shards}))
    for again in (recorded, str(source), f"{tmp_path}/in/*.tar"):
        assert _stems(_plan([again], tmp_path / "out")) == {recorded: "s"}


def test_two_jobs_planned_at_once_by_two_spellings_have_one_source(
    sources: list[str], tmp_path: Path
) -> None:
    first = _plan(sources[:1], tmp_path)
    second = _plan([sources[0].replace("/a.tar", "//a.tar")], tmp_path)
    freeze(first, str(tmp_path))
    assert list(_stems(freeze(second, str(tmp_path)))) == sources[:1]


def test_shards_of_a_moved_or_copied_folder_are_not_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """But a copy of another name, or other bytes under a name that is known, are new."""
    for number, name in enumerate(("a", "c")):
        write_samples(tmp_path / f"in/{name}.tar", fashion(2, 2 * number))
    rows = augmented([tmp_path / "in/*.tar"], tmp_path / "out")
    before = tree(tmp_path / "out")
    shutil.copytree(tmp_path / "in", tmp_path / "copied")
    (tmp_path / "in").rename(tmp_path / "moved")
    for place in ("copied", "moved"):
        caplog.clear()
        again = augmented([tmp_path / f"{place}/*.tar"], tmp_path / "out")
        pd.testing.assert_frame_equal(again, rows)
        assert caplog.messages == [
            f"2 shards are already done under another path: {tmp_path}/{place}/a.tar is "
            f"{tmp_path}/in/a.tar, {tmp_path}/{place}/c.tar is {tmp_path}/in/c.tar"
        ]
    assert set(tree(tmp_path / "out")) == set(before)
    shutil.copy(tmp_path / "moved/a.tar", tmp_path / "copied/b.tar")
    write_samples(tmp_path / "copied/c.tar", fashion(2, 7))
    shutil.copy(tmp_path / "moved/a.tar", tmp_path / "other-a.tar")
    caplog.clear()
    patterns = [f"{tmp_path}/copied/*.tar", f"{tmp_path}/other-a.tar"]
    run = planned(patterns, tmp_path / "out")
    new = [url.removeprefix(f"{tmp_path}/") for url in _stems(run)][2:]
    assert new == ["copied/b.tar", "copied/c.tar", "other-a.tar"]
    assert len(caplog.messages) == 1


def test_equal_shards_of_one_plan_stay_two_sources(tmp_path: Path) -> None:
    twins = [str(write_samples(tmp_path / f"{n}/0.tar", fashion(1))) for n in ("train", "test")]
    rows = augmented(twins, tmp_path / "out")
    assert set(rows["source_shard"]) == set(twins)
    assert augmented(twins[::-1], tmp_path / "out").equals(rows)


def test_only_what_agrees_in_name_and_size_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmented([write_samples(tmp_path / "in/a.tar", fashion(1))], tmp_path / "out")
    write_samples(tmp_path / "new/a.tar", fashion(9))
    shutil.copy(tmp_path / "in/a.tar", tmp_path / "new/b.tar")
    shutil.copytree(tmp_path / "in", tmp_path / "same")
    hashed: list[str] = []
    digest = storage.sha256

    def noted(url: str) -> str:
        hashed.append(url)
        return digest(url)

    monkeypatch.setattr(storage, "sha256", noted)
    planned([f"{tmp_path}/*/[ab].tar"], tmp_path / "out")
    assert hashed == [f"{tmp_path}/same/a.tar"]


# --- what the job itself wrote


def test_a_job_run_again_over_its_own_folder_plans_the_same(tmp_path: Path) -> None:
    write_samples(tmp_path / "data/in/s.tar", fashion(2))
    pattern, output = tmp_path / "data/**/*.tar", tmp_path / "data/augmented"
    rows = augmented([pattern], output)
    for _ in range(2):
        pd.testing.assert_frame_equal(augmented([pattern], output), rows)
    assert len(rows) == 2


@pytest.mark.parametrize("url", ["", " ", "\t", "s3://", "file://", "/", "file:///"])
def test_an_output_that_is_nowhere_is_refused(url: str, sources: list[str]) -> None:
    with pytest.raises(diffaug.ConfigError, match=r"^OUTPUT .*is a variable unset"):
        plan_run(sources, url, diffaug.Recipe(**BASE))
    with pytest.raises(diffaug.ConfigError, match="is a variable unset"):
        diffaug.summarise(url)


@pytest.mark.parametrize("given", [[], [""], [" "], ["s3:///x.tar"], ["{,a}.tar", ""]])
def test_a_source_that_is_nothing_is_refused(given: list[str], tmp_path: Path) -> None:
    with pytest.raises(diffaug.ConfigError, match=r"SOURCE|no such shard"):
        plan_run(given, str(tmp_path / "out"), diffaug.Recipe(**BASE))
