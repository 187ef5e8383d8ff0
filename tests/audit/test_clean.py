"""What no part names goes; whatever a part names, or may, stays."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import fsspec
import pytest

import diffaug
from diffaug import storage
from diffaug.audit.clean import clean
from diffaug.audit.verify import Difference
from diffaug.output.run import read_run
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented, differences, planned, tree


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    for n in range(2):
        write_samples(folder / f"s{n}.tar", fashion(2, 2 * n))
    augmented([folder / "s*.tar"], folder / "out")
    return folder / "out"


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def _cleaned(output: Path | str) -> list[str]:
    return [difference.where for difference in clean(str(output))]


def _tar(output: Path, stem: str = "s0") -> Path:
    (path,) = output.glob(f"shards/{stem}-*.tar")
    return path


def test_a_finished_output_is_left_as_it_is(output: Path) -> None:
    (output / ".mine").write_text("not diffaug's")
    before = tree(output)
    assert _cleaned(output) == []
    assert tree(output) == before


def test_what_nothing_names_goes_and_nothing_else(output: Path) -> None:
    before = tree(output)
    shutil.copy(_tar(output), output / "shards/stray-00000000.tar")
    shutil.copy(_tar(output), output / "shards/s0-00000000.tar")
    shutil.copy(output / "manifest/s1.parquet", output / "manifest/stray.parquet")
    (output / "manifest/broken.parquet").write_bytes(b"no parquet")
    killed = output / ".diffaug-0123456789ab"
    killed.mkdir()
    (killed / "s0.tar").write_bytes(b"half")
    (output / ".run.json-0123456789ab").write_bytes(b"{")
    assert _cleaned(output) == [
        ".diffaug-0123456789ab",
        ".run.json-0123456789ab",
        "shards/s0-00000000.tar",
        "shards/stray-00000000.tar",
        "manifest/broken.parquet",
        "manifest/stray.parquet",
    ]
    after = tree(output)
    assert {name: what[1] for name, what in after.items()} == {
        name: what[1] for name, what in before.items()
    }
    assert differences(output) == []


def test_a_tar_whose_own_part_cannot_be_read_stays(output: Path) -> None:
    (output / "manifest/s0.parquet").write_bytes(b"no parquet any more")
    before = tree(output)
    assert _cleaned(output) == []
    assert tree(output) == before


def test_a_commit_the_plan_does_not_have_stays(output: Path) -> None:
    """As when two jobs wrote their plans at once: verify names it, clean leaves it."""
    run = read_run(str(output))
    assert run is not None
    short = run.model_copy(update={"sources": run.sources[:1]})
    (output / "run.json").write_text(short.model_dump_json())
    before = tree(output)
    assert _cleaned(output) == []
    assert tree(output) == before
    assert differences(output) == ["manifest/s1.parquet: the plan has no such shard"]


def test_a_tar_never_committed_goes(tmp_path: Path) -> None:
    """What a job killed between its tar and its part leaves."""
    planned([write_samples(tmp_path / "s.tar", fashion(1))], tmp_path / "out")
    (tmp_path / "out/shards").mkdir()
    (tmp_path / "out/shards/s-01234567.tar").write_bytes(b"whole")
    assert _cleaned(tmp_path / "out") == ["shards/s-01234567.tar"]


def test_an_output_that_is_written_to_is_refused(output: Path) -> None:
    shutil.copy(_tar(output), output / "shards/stray-00000000.tar")
    with storage.scratch(str(output)) as folder:
        before = tree(output)
        with pytest.raises(diffaug.ConfigError, match=f"now .{folder.name} is in use"):
            _cleaned(output)
        assert tree(output) == before
    assert _cleaned(output) == ["shards/stray-00000000.tar"]


def test_an_object_store_keeps_the_tars_of_shards_under_way(output: Path) -> None:
    url = f"memory://{uuid.uuid4()}"
    fs = fsspec.filesystem("memory")
    for path in output.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{url}/{path.relative_to(output)}", path.read_bytes())
    fs.rm_file(f"{url}/manifest/s1.parquet")
    for name in ("s0-00000000", "stray-00000000"):
        fs.pipe_file(f"{url}/shards/{name}.tar", b"left over")
    assert _cleaned(url) == ["shards/s0-00000000.tar", "shards/stray-00000000.tar"]
    kept = sorted(path.name for path in output.glob("shards/*"))
    assert storage.listing(f"{url}/shards", ".tar") == kept


def test_a_tar_that_was_committed_since_the_look_stays(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its part came after the parts were listed; another tar of that shard still goes."""
    kept = Difference(f"shards/{_tar(output).name}", "no manifest part names this tar")
    gone = Difference("shards/s0-00000000.tar", "no manifest part names this tar")
    shutil.copy(_tar(output), output / gone.where)
    monkeypatch.setattr("diffaug.audit.clean.strays", lambda *_: [kept, gone])
    assert _cleaned(output) == [gone.where]
    assert (output / kept.where).exists()


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(diffaug.ConfigError, match="is not an output of diffaug"):
        _cleaned(tmp_path)
