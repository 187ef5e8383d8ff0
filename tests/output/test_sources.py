"""Sources are told apart from what diffaug wrote, by where it lies; no model and no tar is read."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path

import pytest

from diffaug import ConfigError, storage
from diffaug.output.sources import source_shards
from tests.support.outputs import write_output


@pytest.fixture(params=["disk", "memory"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Two sources, a job's output, another one, and an evaluation, all below one folder."""
    place = str(tmp_path / "data") if request.param == "disk" else f"memory:///{uuid.uuid4()}"
    for path in (
        *("a.tar", "in/b.tar"),
        *("out/run.json", "out/shards/a-01234567.tar", "out/rejects/a-89abcdef.tar"),
        *("earlier/run.json", "earlier/shards/a-01234567.tar", "earlier/shards/b-01234567.tar"),
        *("tried/evaluation.json", "tried/test/test.tar", "tried/seed-0/labelled.tar"),
        *("tried/seed-0/one-step/run.json", "tried/seed-0/one-step/shards/c-01234567.tar"),
    ):
        storage.replace(b"{}", f"{place}/{path}")
    return place


def _names(data: str, found: list[str]) -> list[str]:
    return [url.removeprefix(f"{data}/") for url in found]


def test_a_glob_leaves_out_what_diffaug_wrote(data: str, caplog: pytest.LogCaptureFixture) -> None:
    found = source_shards([f"{data}/**/*.tar"], f"{data}/out")
    assert _names(data, found) == ["a.tar", "in/b.tar"]
    said = [record.getMessage() for record in caplog.records]
    assert f"left out 2 shards in {data}/earlier, an output of diffaug" in "\n".join(said)
    assert f"left out 2 shards in {data}/tried, an output" in "\n".join(said)
    assert f"left out 1 shard in {data}/tried/seed-0/one-step," in "\n".join(said)
    assert len(said) == 3  # nothing is said of the job's own output, which is usual
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_sources_beside_what_the_job_wrote_are_sources(data: str) -> None:
    """OUTPUT may be a folder that holds its sources too."""
    assert _names(data, source_shards([f"{data}/*.tar"], data)) == ["a.tar"]
    storage.replace(b"", f"{data}/shards/a-01234567.tar")
    found = source_shards([f"{data}/*/*.tar", f"{data}/**/*.tar"], data)
    assert _names(data, found) == ["in/b.tar", "a.tar"]
    with pytest.raises(ConfigError, match=r"no shard is left of .*: all 1 were written"):
        source_shards([f"{data}/out/s*/*.tar"], f"{data}/out")


def test_an_output_is_its_own_before_it_has_a_plan(data: str) -> None:
    storage.remove(f"{data}/out/run.json")
    assert "out/shards/a-01234567.tar" in _names(data, source_shards([f"{data}/**/*.tar"]))
    found = source_shards([f"{data}/**/*.tar"], f"{data}/out/")
    assert _names(data, found) == ["a.tar", "in/b.tar"]


@pytest.mark.parametrize(
    "pattern",
    [
        "out/shards/a-01234567.tar",
        "out/rejects/a-89abcdef.tar",
        "out/shards/*.tar",
        "out/shards/{a,b}-01234567.tar",
    ],
)
def test_what_the_job_itself_wrote_is_refused_when_named(pattern: str, data: str) -> None:
    storage.replace(b"", f"{data}/out/shards/b-01234567.tar")
    with pytest.raises(ConfigError, match=r"lies in .*/out, the OUTPUT of this very job"):
        source_shards([f"{data}/a.tar", f"{data}/{pattern}"], f"{data}/out")


def test_what_another_job_wrote_is_taken_when_named(
    data: str, caplog: pytest.LogCaptureFixture
) -> None:
    for pattern in ("earlier/shards/*.tar", "earlier/shards/{a,b}-01234567.tar", "earlier/**/*"):
        caplog.clear()
        found = source_shards([f"{data}/a.tar", f"{data}/{pattern}"], f"{data}/out")
        shards = [url for url in _names(data, found) if url.endswith(".tar")]
        assert shards == ["a.tar", "earlier/shards/a-01234567.tar", "earlier/shards/b-01234567.tar"]
        (said,) = caplog.messages
        assert said == (
            "the source includes 2 shards of augmented images, in "
            f"{data}/earlier, an output of diffaug"
        )


def test_a_name_counts_more_than_a_glob(data: str) -> None:
    patterns = [f"{data}/**/*.tar", f"{data}/earlier/shards/b-01234567.tar"]
    for given in (patterns, patterns[::-1]):
        found = _names(data, source_shards(given, f"{data}/out"))
        assert sorted(found) == ["a.tar", "earlier/shards/b-01234567.tar", "in/b.tar"]


def test_pictures_that_an_evaluation_drew_are_real(
    data: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A glob passes over the copies, but a job may be given them, as the evaluation's own are."""
    pattern = f"{data}/tried/seed-0/labelled.tar"
    assert source_shards([pattern], f"{data}/tried/seed-0/one-step") == [pattern]
    assert caplog.messages == []


def test_an_evaluation_does_not_draw_from_itself(
    data: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = source_shards([f"{data}/*.tar"], f"{data}/tried")
    assert _names(data, found) == ["a.tar"]
    found = source_shards([f"{data}/**/*.tar"], f"{data}/tried")
    assert _names(data, found) == ["a.tar", "in/b.tar"]
    assert not any("tried" in said for said in caplog.messages)
    with pytest.raises(ConfigError, match=r"lies in .*/tried, the OUTPUT"):
        source_shards([f"{data}/tried/test/test.tar"], f"{data}/tried")


def test_where_nothing_is_left_the_error_says_why(data: str) -> None:
    for path in ("a.tar", "in/b.tar"):
        storage.remove(f"{data}/{path}")
    with pytest.raises(
        ConfigError, match=r"no shard is left of .*/\*\*/\*\.tar: all 7 were written"
    ):
        source_shards([f"{data}/**/*.tar"], f"{data}/out")


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="no SOURCE is given"):
        source_shards([])


def test_sources_of_a_plan_stay_wherever_they_lie(data: str) -> None:
    """Such as one that 0.1.0 began with, when OUTPUT was the folder above its sources."""
    theirs = f"{data}/out/shards/a-01234567.tar"
    assert source_shards([theirs], f"{data}/out", planned=[theirs]) == [theirs]


@pytest.mark.parametrize("folder", ["shards", "test"])
def test_a_folder_of_that_name_is_an_output_only_beside_its_plan(
    folder: str, tmp_path: Path
) -> None:
    storage.replace(b"", f"{tmp_path}/data/{folder}/a.tar")
    pattern = f"{tmp_path}/**/*.tar"
    assert source_shards([pattern]) == [f"{tmp_path}/data/{folder}/a.tar"]
    write_output(tmp_path / "data")
    (tmp_path / "data/evaluation.json").write_text("{}")
    with pytest.raises(ConfigError, match="no shard is left"):
        source_shards([pattern])


def test_links_hide_no_output(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = write_output(tmp_path / "out")
    storage.replace(b"", f"{out}/shards/a.tar")
    storage.replace(b"", f"{tmp_path}/data/a.tar")
    (tmp_path / "data/b.tar").symlink_to(out / "shards/a.tar")
    (tmp_path / "other").symlink_to(out)
    assert source_shards([f"{tmp_path}/data/*.tar"]) == [f"{tmp_path}/data/a.tar"]
    for name in ("data/b.tar", "other/shards/a.tar", "other/shards/*.tar"):
        assert len(source_shards([f"{tmp_path}/{name}"])) == 1
        assert f"in {out}, an output of diffaug" in caplog.messages[-1]
        for output in (out, tmp_path / "other", f"{tmp_path}//data/../out"):
            with pytest.raises(ConfigError, match="OUTPUT of this very job"):
                source_shards([f"{tmp_path}/{name}"], str(output))


def test_shards_on_another_disk_are_still_the_outputs(tmp_path: Path) -> None:
    storage.replace(b"", f"{tmp_path}/disk/a.tar")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shards").symlink_to(tmp_path / "disk")
    for name in ("out/shards/a.tar", "out/shards/*.tar", "disk/a.tar"):
        with pytest.raises(ConfigError, match="OUTPUT of this very job"):
            source_shards([f"{tmp_path}/{name}"], f"{tmp_path}/out")


def test_each_folder_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def noted(url: str) -> bool:
        looked.append(url)
        return False

    monkeypatch.setattr(storage, "exists", noted)
    for number in range(20):
        storage.replace(b"", f"{tmp_path}/{number % 2}/shards/{number}.tar")
        storage.replace(b"", f"{tmp_path}/{number % 2}/{number}.tar")
    assert len(source_shards([f"{tmp_path}/**/*.tar"])) == 40
    assert sorted(looked) == [f"{tmp_path}/{number}/run.json" for number in (0, 1)]
