"""A shard that is done again: its part alone is withdrawn, and nothing else changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

import diffaug
from diffaug.audit.clean import clean
from diffaug.job import Job
from diffaug.output.compact import compact
from tests.conftest import Cli
from tests.support.hostile import cut_in_image, fashion, write_samples
from tests.support.jobs import BATCH, GREY, augmented, differences, manifest, tars, tree

RECIPE = diffaug.Recipe(model=GREY, sampler="one-step", strength=0.4, steps=20)
FAST = ("--model=fashion-mnist-32", "--sampler=one-step", "--strength=0.4", "--batch-size=8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished job in `out` of three shards in `in`; the second was cut short, and is mended."""
    for number in (0, 2):
        write_samples(tmp_path / f"in/s{number}.tar", fashion(3, 3 * number))
    cut_in_image(tmp_path / "in/s1.tar")
    augmented([tmp_path / "in/*.tar"], tmp_path / "out")
    write_samples(tmp_path / "in/s1.tar", fashion(3, 3))
    return tmp_path


def _plan(folder: Path, redo: Sequence[str] = ()) -> Job:
    sources = [str(folder / "in/*.tar")]
    return Job.plan(sources, str(folder / "out"), RECIPE, batch_size=BATCH, redo=redo)


def _done(job: Job) -> list[str]:
    """Run a job to its end; the stems of what it did."""
    stems = [report.stem for report in job.run()]
    assert job.finish().complete
    return stems


def _assert_as_if_never_cut(folder: Path) -> None:
    augmented([folder / "in/*.tar"], folder / "straight")
    assert tars(folder / "out") == tars(folder / "straight")
    pd.testing.assert_frame_equal(manifest(folder / "out"), manifest(folder / "straight"))
    listed = [(folder / name / "shards.txt").read_text() for name in ("out", "straight")]
    assert listed[0] == listed[1]


def test_a_mended_shard_is_done_again_and_the_rest_kept(folder: Path) -> None:
    before = tree(folder / "out")
    stray = next(name for name in before if name.startswith("shards/s1-"))
    with pytest.raises(diffaug.ConfigError, match=r"in/s1\.tar has changed .* --redo s1 does"):
        _plan(folder).missing  # noqa: B018
    assert _done(_plan(folder, ["s1"])) == ["s1"]
    after = tree(folder / "out")
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {"manifest", "manifest/s1.parquet", "shards", "shards.txt"}
    assert differences(folder / "out") == [f"{stray}: no manifest part names this tar"]
    assert [gone.where for gone in clean(str(folder / "out"))] == [stray]
    assert differences(folder / "out") == []
    _assert_as_if_never_cut(folder)


SPELLINGS: dict[str, Callable[[Path], str]] = {
    "stem": lambda folder: "s1",
    "as planned": lambda folder: str(folder / "in/s1.tar"),
    "relative": lambda folder: "in/s1.tar",
    "URL": lambda folder: f"file://{folder}/in/s1.tar",
    "glob": lambda folder: "in/*1.tar",
    "braces": lambda folder: "./in/s{1..1}.tar",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_shard_is_named_by_its_stem_or_in_any_way_that_finds_it(
    spelling: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = tree(folder / "out")
    job = _plan(folder, [SPELLINGS[spelling](folder)])
    assert [shard.stem for shard in job.redo] == [shard.stem for shard in job.missing] == ["s1"]
    assert tree(folder / "out") == before


def test_several_are_done_again_once_each_and_only_once(folder: Path) -> None:
    job = _plan(folder, ["s1", str(folder / "in/s[12].tar")])
    assert _done(job) == ["s1", "s2"]
    assert list(job.run()) == []
    assert _done(_plan(folder)) == []


def test_killed_after_the_withdrawal_a_plain_rerun_does_it(folder: Path) -> None:
    _plan(folder, ["s1"]).freeze()
    assert not (folder / "out/manifest/s1.parquet").exists()
    assert not (folder / "out/shards.txt").exists()
    assert _done(_plan(folder)) == ["s1"]
    list(clean(str(folder / "out")))
    _assert_as_if_never_cut(folder)


def test_redone_twice_after_a_kill_says_that_nothing_is_withdrawn(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _plan(folder, ["s1"]).freeze()
    with caplog.at_level(logging.WARNING, "diffaug"):
        job = _plan(folder, ["s1"])
    assert caplog.messages == ["s1 has not been done yet, so nothing is withdrawn"]
    assert job.redo == ()
    assert _done(job) == ["s1"]


@pytest.mark.parametrize("redo", ["s9", "s", "in/s9.tar", "in/*9.tar", "", "pipe:cat", "{s1"])
def test_a_shard_that_the_plan_does_not_have_is_refused(redo: str, folder: Path) -> None:
    before = tree(folder / "out")
    with pytest.raises(diffaug.ConfigError, match=r"plan of .*out has no such shard: name a sour"):
        _plan(folder, ["s1", redo])
    assert tree(folder / "out") == before


def test_a_shard_beside_the_plan_is_refused_by_its_path(folder: Path) -> None:
    other = write_samples(folder / "other/s1.tar", fashion(1))
    with pytest.raises(diffaug.ConfigError, match=f"redo {other}: the plan"):
        _plan(folder, [str(other)])


def test_what_cannot_be_made_again_is_not_withdrawn(folder: Path) -> None:
    before = tree(folder / "out")
    (folder / "in/s1.tar").unlink()
    with pytest.raises(diffaug.ConfigError, match=r"source .*s1\.tar is gone, .* stays"):
        _plan(folder, ["s1"])
    assert tree(folder / "out") == before


def test_nothing_is_withdrawn_while_another_source_has_changed(folder: Path) -> None:
    write_samples(folder / "in/s2.tar", fashion(1))
    before = tree(folder / "out")
    job = _plan(folder, ["s1"])
    with pytest.raises(diffaug.ConfigError, match=r"s2\.tar has changed .* --redo s2 does"):
        job.freeze()
    assert tree(folder / "out") == before


def test_the_copy_of_the_manifest_goes_too_since_it_has_the_old_rows(folder: Path) -> None:
    list(compact(str(folder / "out")))
    assert _done(_plan(folder, ["s1"])) == ["s1"]
    assert list((folder / "out/lineage").iterdir()) == []
    dataset = diffaug.AugmentedDataset(folder / "out", train=False)
    assert sorted(sample["__key__"] for sample in dataset) == [f"0000{n}-a0" for n in range(9)]


def test_a_broken_part_can_be_done_again_and_anothers_cannot(folder: Path) -> None:
    part = folder / "out/manifest/s1.parquet"
    part.write_bytes(b"no parquet")
    assert _done(_plan(folder, ["s1"])) == ["s1"]
    theirs = (folder / "out/manifest/s0.parquet").read_bytes()
    part.write_bytes(theirs)
    with pytest.raises(diffaug.ConfigError, match="belongs to"):
        _plan(folder, ["s1"])
    assert part.read_bytes() == theirs


def test_the_command_withdraws_only_when_it_runs(folder: Path, cli: Cli) -> None:
    command = ("augment", folder / "in/*.tar", folder / "out", *FAST)
    before = tree(folder / "out")
    cli(*command, "--redo=s1", "--pilot=2").assert_mistake("--redo does nothing with --pilot")
    said = cli(*command, "--redo=s1", "--dry-run")
    assert (said.code, said.out.partition(",")[0]) == (0, "1 of 3 shards to do")
    assert tree(folder / "out") == before
    said = cli("verify", folder / "out")
    assert said.code == 1
    assert f"{folder}/in/s1.tar: the source has changed since it was augmented" in said.out
    assert "augment with --redo s1 does it again\n3 shards checked, 1 differences" in said.out
    said = cli(*command, "--redo", "s1", "--redo", folder / "in/s2.tar")
    assert said.code == 0
    assert "9 planned = 9 made" in said.out
    assert "6 images now" in said.out
    assert cli("verify", folder / "out", "--clean", "--replay=9").code == 0


def test_a_job_beside_it_lists_what_is_there_in_the_end(folder: Path) -> None:
    """It read the parts before the shard was done again by another process."""
    write_samples(folder / "in/s3.tar", fashion(3, 9))
    cut = (folder / "in/s1.tar").read_bytes()
    cut_in_image(folder / "in/s1.tar")
    beside = _plan(folder)
    assert [report.stem for report in beside.run()] == ["s3"]
    (folder / "in/s1.tar").write_bytes(cut)
    _done(_plan(folder, ["s1"]))
    assert beside.finish().failed == 0
    list(clean(str(folder / "out")))
    assert differences(folder / "out") == []
    _assert_as_if_never_cut(folder)


def test_a_list_of_other_tars_is_a_difference(folder: Path) -> None:
    _done(_plan(folder, ["s1"]))
    list(clean(str(folder / "out")))
    listed = folder / "out/shards.txt"
    listed.write_text(listed.read_text().replace("s1-", "s1-0"))
    (found,) = differences(folder / "out")
    assert "shards.txt" in str(found)
