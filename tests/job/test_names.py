"""What shards and folders may be called: stems, and how the tars are read whatever they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import fsspec
import pytest

import diffaug
from diffaug import storage
from diffaug.job.plan import plan_run
from diffaug.output.run import read_run
from tests.conftest import ROOT, Python, blocks
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented, planned, tars, webdataset


def _stems(urls: list[str], output: str) -> dict[str, str]:
    """The stem of each source, by its file's name."""
    run = plan_run(urls, output, diffaug.Recipe(), batch_size=8)
    return {shard.url.rpartition("/")[2]: shard.stem for shard in run.sources}


STEMS = {
    "train-000.v1_2.tar": "train-000.v1_2",
    "-x.tgz": "-x",
    "._x.tar.gz": "x",
    "a b.tar": "a_b",
    "a#b?c;d.tar": "a_b_c_d",
    "a:b.tar": "a_b",
    "q::r.tar": "q__r",
    "{0..2}.tar": "0..2_",
    "100%25.tar": "100_25",
    "é-ß.tar": "-_",
    "手袋.tar": "shard",
    "a\n'\"$(id)*\\.tar": "a_____id___",
}


@pytest.mark.parametrize("name", STEMS)
def test_a_stem_is_safe_in_every_path_and_url(name: str, tmp_path: Path) -> None:
    write_samples(tmp_path / f"in/{name}", [])
    assert _stems([f"{tmp_path}/in/*"], f"{tmp_path}/out") == {name: STEMS[name]}


def test_stems_that_become_equal_are_made_unique_in_any_order(tmp_path: Path) -> None:
    names = ["a_b.tar", "a#b.tar", "a b.tar", "c d.tar", "é.tar", "shard.tar"]
    urls = [str(write_samples(tmp_path / f"in/{name}", [])) for name in names]
    found = _stems(urls, str(tmp_path / "out"))
    assert found == _stems(urls[::-1], str(tmp_path / "out"))
    assert len(set(found.values())) == len(names)
    assert [found["a_b.tar"], found["c d.tar"], found["shard.tar"]] == ["a_b", "c_d", "shard"]
    assert found["a#b.tar"].startswith("a_b-")
    assert found["é.tar"].startswith("shard-")


def test_a_recorded_stem_stays_and_is_not_given_twice(tmp_path: Path) -> None:
    old = str(write_samples(tmp_path / "a#b.tar", []))
    new = [str(write_samples(tmp_path / name, [])) for name in ("a b.tar", "a_b.tar")]
    run = planned([old], tmp_path / "out")
    recorded = run.model_dump_json().replace('"stem":"a_b"', '"stem":"a#b"')
    (tmp_path / "out/run.json").write_text(recorded)
    run = planned([*new, old], tmp_path / "out")
    stems = {shard.url: shard.stem for shard in run.sources}
    assert (stems[old], stems[new[1]]) == ("a#b", "a_b")
    assert stems[new[0]].startswith("a_b-")
    again = planned([old, *new], tmp_path / "out")
    assert again == run == read_run(str(tmp_path / "out"))


def test_a_long_name_has_a_stem_that_file_systems_take(tmp_path: Path) -> None:
    letters = "x" * 242
    short, long = (str(write_samples(tmp_path / f"{letters}{end}.tar", [])) for end in ("", "yy"))
    found = _stems([short, long], str(tmp_path / "out"))
    assert found[f"{letters}.tar"] == letters
    stem = found[f"{letters}yy.tar"]
    assert len(stem) == 242
    assert stem.startswith("x" * 233 + "-")


def test_a_name_that_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "in/s.tar", [])
    path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/in/s\xff.tar"))
    with pytest.raises(diffaug.ConfigError, match=r"s\\udcff\.tar': the names of .* must be UTF-8"):
        plan_run([f"{tmp_path}/in/*.tar"], str(tmp_path / "out"), diffaug.Recipe())


def test_a_chain_is_still_a_chain_and_a_name_with_colons_a_name() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/names/q::r.tar", b"x")
    (url,) = storage.expand(["memory://names/*.tar"])
    assert storage.read_bytes(url) == b"x"
    assert list(storage.stats([url])) == [url]
    fs.pipe_file("/names/q.tar", b"y")
    (cached,) = storage.expand(["simplecache::memory://names/q.tar"])
    assert storage.read_bytes(cached) == b"y"


# --- reading


ODD = ("a b.tar", "c#d?e;f.tar", "q::r.tar", "100%.tar")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job over sources of odd names, found by a glob; its OUTPUT is `read`."""
    folder = tmp_path_factory.mktemp("names")
    for number, name in enumerate(ODD):
        write_samples(folder / "in" / name, fashion(2, 2 * number))
    rows = augmented([folder / "in/*.tar"], folder / "read")
    assert set(rows["source_shard"]) == {str(folder / "in" / name) for name in ODD}
    return folder


def test_odd_sources_are_done_and_webdataset_reads_every_tar(folder: Path) -> None:
    keys = [s["__key__"] for path in sorted(folder.glob("read/shards/*")) for s in webdataset(path)]
    assert len(set(keys)) == len(keys) == 2 * len(ODD)
    names = sorted(name.rpartition("-")[0] for name in tars(folder / "read"))
    assert names == ["100_", "a_b", "c_d_e_f", "q__r"]


PAGE = (ROOT / "docs/manifest.md").read_text(encoding="utf-8")
(BLOCK,) = (block for block in blocks(PAGE, "python") if "shards.txt" in block and "80" in block)
(PARTS,) = (block for block in blocks(PAGE, "python") if "SimpleShardList" in block)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a b  {c,d} [e]", BLOCK),
        ("a:b", BLOCK),
        ("x::y", BLOCK),
        ("a#b?c;d {e..f}", BLOCK.rpartition("assert")[0] + PARTS),
    ],
)
def test_the_documented_way_reads_the_tars_in_any_folder(
    name: str, code: str, folder: Path, tmp_path: Path, python: Python
) -> None:
    shutil.copytree(folder / "read", tmp_path / name / "read")
    assert "== 80" in code
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / name)
        python(code.replace("== 80", f"== {2 * len(ODD)}"))
