"""Whole jobs: what they leave, what a rerun does, what faults of storage leave.

What hostile input becomes is in test_hostile.py.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import json
import pickle
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar

import fsspec
import pandas as pd
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

import diffaug
from diffaug.diffusion.batched import Batched
from diffaug.job.writer import Tally
from diffaug.output.run import SourceShard
from tests.support.hostile import broken_images, fashion, write_files, write_samples
from tests.support.jobs import GREY, augmented, manifest, planned, tars, tree, webdataset


def test_a_source_that_cannot_be_read_has_a_row_for_each_copy(tmp_path: Path) -> None:
    broken_images(tmp_path / "s.tar")
    rows = augmented([tmp_path / "s.tar"], tmp_path / "out", copies=2)
    assert list(
        zip(rows["source_key"], rows["copy"], rows["reason_code"].fillna(""), strict=True)
    ) == [
        (key, copy, code)
        for key, code in [
            ("a", ""),
            ("half", "unreadable_image"),
            ("none", "empty_image"),
            ("text", "unreadable_image"),
            ("z", ""),
        ]
        for copy in (0, 1)
    ]


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz"])
def test_a_compressed_shard_is_the_same_shard(tmp_path: Path, ending: str) -> None:
    plain = write_samples(tmp_path / "x.tar", fashion(2))
    (tmp_path / f"y/x{ending}").parent.mkdir()
    (tmp_path / f"y/x{ending}").write_bytes(gzip.compress(plain.read_bytes()))
    augmented([plain], tmp_path / "out-plain")
    augmented([tmp_path / f"y/x{ending}"], tmp_path / "out")
    assert tars(tmp_path / "out") == tars(tmp_path / "out-plain")


CUT_SHORT = gzip.compress(bytes(9999), mtime=0)[:30]


@pytest.mark.parametrize("data", [b"no gzip at all" * 99, CUT_SHORT], ids=["not", "cut-short"])
def test_a_broken_compressed_shard_is_not_called_empty(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(data)
    rows = augmented([tmp_path / "x.tar.gz"], tmp_path / "out")
    assert list(rows["status"]) == ["failed"]
    assert "zero bytes" not in rows["reason"].item()


# --- outputs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job over two good shards with a JSON member, two copies, in `out`."""
    folder = tmp_path_factory.mktemp("finished")
    for shard in range(2):
        samples = fashion(4, 4 * shard)
        for sample in samples:
            sample["meta.json"] = b'{"key": "%b"}' % sample["__key__"]
        write_samples(folder / f"s{shard}.tar", samples)
    augmented(
        [folder / "s0.tar", folder / "s1.tar"],
        folder / "out",
        copies=2,
        carry=("txt", "meta.json"),
    )
    return folder


def test_webdataset_reads_the_tars_as_they_are(finished: Path) -> None:
    samples = [s for path in sorted(finished.glob("out/shards/*.tar")) for s in webdataset(path)]
    sources = {sample["__key__"].decode(): sample for sample in fashion(8)}
    keys = [f"{key}-a{copy}" for key in sources for copy in (0, 1)]
    assert [sample["__key__"] for sample in samples] == keys
    for sample in samples:
        key = sample["__key__"].rpartition("-")[0]
        extensions = {name for name in sample if not name.startswith("__")}
        assert extensions == {"png", "cls", "txt", "meta.json", "diffaug.json"}
        assert sample["cls"] == sources[key]["cls"]
        assert sample["txt"] == sources[key]["txt"]
        assert json.loads(sample["meta.json"]) == {"key": key}


def test_lineage_rides_along_and_names_no_shard(finished: Path) -> None:
    rows = manifest(finished / "out").set_index("output_key")
    for path in finished.glob("out/shards/*.tar"):
        for sample in webdataset(path):
            lineage = json.loads(sample["diffaug.json"])
            row = rows.loc[sample["__key__"]]
            assert {"sample_id", "source_sha256", "copy", "strength"} <= lineage.keys()
            assert all(row[name] == value for name, value in lineage.items())
            for url in rows["source_shard"]:
                assert Path(url).stem not in sample["diffaug.json"].decode()


def test_a_tar_is_named_by_its_digest(finished: Path) -> None:
    for name, data in tars(finished / "out").items():
        assert name.endswith(f"-{hashlib.sha256(data).hexdigest()[:8]}.tar")


def test_shards_txt_lists_the_tars(finished: Path) -> None:
    listed = (finished / "out/shards.txt").read_text().splitlines()
    assert listed == [f"shards/{name}" for name in tars(finished / "out")]


def test_an_output_holds_what_the_contract_names(finished: Path) -> None:
    assert {path.name for path in (finished / "out").iterdir()} == {
        "run.json",
        "shards",
        "manifest",
        "shards.txt",
    }


@pytest.mark.parametrize("carry", ["png", "diffaug.json", "cls"])
def test_a_carried_member_is_never_written_twice(tmp_path: Path, carry: str) -> None:
    samples = [sample | {"diffaug.json": b"{}"} for sample in fashion(2)]
    source = write_samples(tmp_path / "x.tar", samples)
    try:
        augmented([source], tmp_path / "out", carry=(carry,))
    except diffaug.ConfigError:
        return  # refusing is as good
    tars = list((tmp_path / "out/shards").glob("*.tar"))
    if not tars:  # nor is it left out in silence
        assert set(manifest(tmp_path / "out")["reason_code"]) == {"name_taken"}
        return
    with tarfile.open(tars[0]) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))  # webdataset raises at a duplicate


# --- reruns


def test_reports_come_one_a_shard_and_a_rerun_does_nothing(tmp_path: Path) -> None:
    sources = [write_samples(tmp_path / f"s{n}.tar", fashion(3, 3 * n)) for n in range(3)]
    output = tmp_path / "out"
    run = planned(sources, output)
    tally = Tally()
    reports = list(diffaug.augment_shards(run.sources, str(output), run=run, tally=tally))
    assert [report.source for report in reports] == [str(source) for source in sources]
    assert [(r.planned, r.ok, r.failed) for r in reports] == [(3, 3, 0)] * 3
    assert (tally.images, tally.failed) == (9, 0)
    diffaug.finish(run, str(output))

    before = tree(output)
    again = planned(sources, output)
    assert list(diffaug.augment_shards(again.sources, str(output), run=again)) == []
    assert {k: v for k, v in tree(output).items() if k != "shards.txt"} == {
        k: v for k, v in before.items() if k != "shards.txt"
    }
    diffaug.finish(again, str(output))
    assert {k: v[1] for k, v in tree(output).items()} == {k: v[1] for k, v in before.items()}


def test_shards_added_to_the_source_are_taken_in(tmp_path: Path) -> None:
    first = write_samples(tmp_path / "in/a.tar", fashion(2))
    augmented([first], tmp_path / "out")
    before = tree(tmp_path / "out")
    write_samples(tmp_path / "in/b.tar", fashion(2, 2))
    run = planned([tmp_path / "in/*.tar"], tmp_path / "out")
    (report,) = diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run)
    assert report.source == str(tmp_path / "in/b.tar")
    kept = [name for name in before if name.endswith((".tar", ".parquet"))]
    assert all(tree(tmp_path / "out")[name] == before[name] for name in kept)
    assert diffaug.finish(run, str(tmp_path / "out")).complete


def test_the_plan_is_read_from_the_output(tmp_path: Path) -> None:
    source = write_samples(tmp_path / "s.tar", fashion(1))
    run = planned([source], tmp_path / "out")
    assert len(list(diffaug.augment_shards(run.sources, str(tmp_path / "out")))) == 1


def test_an_output_without_a_plan_is_refused(tmp_path: Path) -> None:
    shard = SourceShard(url="x.tar", stem="x")
    with pytest.raises(diffaug.ConfigError, match=r"no run\.json"):
        list(diffaug.augment_shards([shard], str(tmp_path)))


def test_stopping_early_leaves_no_thread_and_no_litter(tmp_path: Path) -> None:
    sources = [write_samples(tmp_path / f"s{n}.tar", fashion(16)) for n in range(3)]
    run = planned(sources, tmp_path / "out")
    diffaug.augment(
        Image.new("L", (28, 28)), diffaug.Recipe(model=GREY, steps=1)
    )  # its threads stay
    gc.collect()  # other tests' threads, too, end with what they belong to
    before = set(threading.enumerate())
    reports = diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run)
    next(iter(reports))
    reports.close()
    gc.collect()
    assert set(threading.enumerate()) <= before
    left = [path.name for path in (tmp_path / "out").rglob(".*")]
    assert left == []
    run = planned(sources, tmp_path / "out")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    assert diffaug.finish(run, str(tmp_path / "out")).ok == 48


# --- faults of storage


def test_a_vanished_shard_is_left_and_the_others_are_done(tmp_path: Path) -> None:
    sources = [write_samples(tmp_path / f"s{n}.tar", fashion(2, n)) for n in range(3)]
    run = planned(sources, tmp_path / "out")
    sources[1].rename(tmp_path / "hidden")
    reports = diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run)
    assert [next(reports).stem, next(reports).stem] == ["s0", "s2"]
    with pytest.raises(diffaug.UncommittedError, match=r"s1\.tar"):
        next(reports)
    assert sorted(path.name for path in (tmp_path / "out/manifest").iterdir()) == [
        "s0.parquet",
        "s2.parquet",
    ]
    assert not diffaug.finish(run, str(tmp_path / "out")).complete
    assert not (tmp_path / "out/shards.txt").exists()

    (tmp_path / "hidden").rename(sources[1])
    assert [r.stem for r in diffaug.augment_shards(run.sources, str(tmp_path / "out"))] == ["s1"]
    assert diffaug.finish(run, str(tmp_path / "out")).complete
    assert (tmp_path / "out/shards.txt").exists()


def test_shards_txt_goes_when_the_job_is_no_longer_complete(tmp_path: Path) -> None:
    first = write_samples(tmp_path / "a.tar", fashion(1))
    augmented([first], tmp_path / "out")
    second = write_samples(tmp_path / "b.tar", fashion(1, 1))
    run = planned([first, second], tmp_path / "out")
    second.unlink()
    with pytest.raises(diffaug.UncommittedError):
        list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    assert not diffaug.finish(run, str(tmp_path / "out")).complete
    assert not (tmp_path / "out/shards.txt").exists()


class _Flaky(MemoryFileSystem):  # type: ignore[misc]
    """A store in memory whose reads break off after a while, until it is mended."""

    protocol = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    root_marker = ""
    cachable = False
    error: ClassVar[Exception | None] = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("flaky:").strip("/")

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> IO[bytes]:
        file: IO[bytes] = super()._open(path, mode, **kwargs)
        if self.error is None or path != "in/1.tar":
            return file
        return _BreaksOff(file.read(), self.error)


class _BreaksOff(io.BytesIO):
    def __init__(self, data: bytes, error: Exception) -> None:
        super().__init__(data)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 50_000:
            raise self._error
        return super().read(min(size or 0, 20_000))


@pytest.fixture
def flaky() -> Iterator[type[_Flaky]]:
    fsspec.register_implementation("flaky", _Flaky, clobber=True)
    yield _Flaky
    _Flaky.store.clear()
    _Flaky.error = None


@pytest.mark.parametrize("kind", [TimeoutError, ValueError])  # fsspec's HTTP raises both
def test_a_store_that_breaks_off_never_becomes_a_row(
    kind: type[Exception], flaky: type[_Flaky], tmp_path: Path
) -> None:
    for n, images in enumerate((4, 40, 4)):
        local = write_samples(tmp_path / f"{n}.tar", fashion(images, 40 * n))
        flaky().pipe_file(f"in/{n}.tar", local.read_bytes())
    run = planned(["flaky://in/{0..2}.tar"], tmp_path / "out")
    flaky.error = kind("the store does not answer")
    with pytest.raises(diffaug.UncommittedError, match="does not answer"):
        list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    assert [name[:2] for name in tars(tmp_path / "out")] == ["0-", "2-"]
    assert list(manifest(tmp_path / "out")["status"]) == ["ok"] * 8

    flaky.error = None
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    augmented([tmp_path / f"{n}.tar" for n in range(3)], tmp_path / "straight")
    assert tars(tmp_path / "out") == tars(tmp_path / "straight")


def test_an_output_that_cannot_be_written_commits_nothing(tmp_path: Path) -> None:
    source = write_samples(tmp_path / "s.tar", fashion(2))
    run = planned([source], tmp_path / "out")
    (tmp_path / "out/shards").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="shards"):
        list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    assert not (tmp_path / "out/manifest").exists()
    (tmp_path / "out/shards").unlink()
    assert len(list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))) == 1


@pytest.mark.parametrize("late", [True, False])
def test_a_part_of_another_source_under_the_stem_is_refused(tmp_path: Path, late: bool) -> None:
    """Two jobs planned at once can give one stem to two sources; only one may have it."""
    mine = write_samples(tmp_path / "mine/s.tar", fashion(2))
    other = write_samples(tmp_path / "other/s.tar", fashion(2, 2))
    augmented([other], tmp_path / "theirs")
    run = planned([mine], tmp_path / "out")

    def plant() -> None:
        shutil.copytree(tmp_path / "theirs/manifest", tmp_path / "out/manifest")

    def shards() -> Iterator[SourceShard]:
        plant()  # after augment_shards has looked for what is done
        yield from run.sources

    if not late:
        plant()
    with pytest.raises(diffaug.ConfigError, match="belongs to"):
        list(
            diffaug.augment_shards(
                shards() if late else run.sources, str(tmp_path / "out"), run=run
            )
        )
    assert set(pd.read_parquet(tmp_path / "out/manifest")["source_shard"]) == {str(other)}


def test_a_job_on_an_object_store_is_the_same_in_bytes(tmp_path: Path) -> None:
    sources = [write_samples(tmp_path / f"s{n}.tar", fashion(3, 3 * n)) for n in range(2)]
    augmented(sources, tmp_path / "local")
    store = MemoryFileSystem()
    url = f"memory://{tmp_path.name}"
    run = planned(sources, url)
    reports = list(diffaug.augment_shards(run.sources, url, run=run))
    assert [report.ok for report in reports] == [3, 3]
    assert diffaug.finish(run, url).complete
    for name, data in tars(tmp_path / "local").items():
        assert store.cat_file(f"/{tmp_path.name}/shards/{name}") == data
    assert store.cat_file(f"/{tmp_path.name}/shards.txt") == (
        (tmp_path / "local/shards.txt").read_bytes()
    )
    pd.testing.assert_frame_equal(manifest(url), manifest(tmp_path / "local"))
    assert list(diffaug.augment_shards(run.sources, url, run=run)) == []


def test_a_source_on_an_object_store_gives_the_same_tars(tmp_path: Path) -> None:
    local = write_samples(tmp_path / "s.tar", fashion(3))
    MemoryFileSystem().pipe_file(f"/{tmp_path.name}/s.tar", local.read_bytes())
    augmented([local], tmp_path / "out-local")
    augmented([f"memory://{tmp_path.name}/*.tar"], tmp_path / "out")
    assert tars(tmp_path / "out") == tars(tmp_path / "out-local")


def test_images_with_several_image_members_use_the_preferred(tmp_path: Path) -> None:
    (first, second) = fashion(2)
    files = [("a.pgm", b"no image"), ("a.png", first["png"]), ("b.mask.png", second["png"])]
    source = write_files(tmp_path / "s.tar", files)
    rows = augmented([source], tmp_path / "out", image_key="png,pgm")
    assert list(rows["source_member"].dropna()) == ["a.png"]
    assert list(rows["reason_code"].fillna("ok")) == ["ok", "no_image"]
    rows = augmented([source], tmp_path / "out2", image_key="mask.png")
    assert list(rows["source_member"].dropna()) == ["b.mask.png"]


@pytest.mark.parametrize("spelling", [".cls", " .CLS "])
def test_a_label_is_the_same_however_its_member_is_spelt(tmp_path: Path, spelling: str) -> None:
    source = write_samples(tmp_path / "s.tar", fashion(2))
    rows = augmented([source], tmp_path / "out", label_key=spelling)
    assert list(rows["label"]) == [int(sample["cls"]) for sample in fashion(2)]
    augmented([source], tmp_path / "usual")
    assert tars(tmp_path / "out") == tars(tmp_path / "usual")


@pytest.fixture
def room_for_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no network can be called for more than four images."""
    called = Batched._called

    def short(self: Batched, inputs: tuple[torch.Tensor, ...], size: int) -> torch.Tensor:
        if size > 4:
            raise MemoryError("no more")
        return called(self, inputs, size)

    monkeypatch.setattr(Batched, "_called", short)


@pytest.mark.usefixtures("room_for_four")
def test_too_little_memory_leaves_shards_uncommitted(tmp_path: Path) -> None:
    source = write_samples(tmp_path / "s.tar", fashion(9))
    with pytest.raises(diffaug.UncommittedError) as caught:
        augmented([source], tmp_path / "out", batch_size=16)
    assert str(caught.value) == (
        "out of memory on cpu with 16 images a call: a batch_size of 4 fits (no more); what was "
        "committed stays; another batch_size requires a new OUTPUT"
    )
    assert not list((tmp_path / "out").glob("manifest/*.parquet"))
    assert len(augmented([source], tmp_path / "other", batch_size=4)) == 9


@pytest.mark.usefixtures("room_for_four")
def test_too_little_memory_for_pictures_in_hand() -> None:
    images = [Image.new("L", (28, 28))] * 9
    with pytest.raises(diffaug.OutOfMemoryError) as caught:
        diffaug.augment(images, {"model": GREY, "sampler": "one-step"}, batch_size=12)
    assert (caught.value.device, caught.value.batch_size, caught.value.fits) == ("cpu", 12, 3)
    assert str(caught.value).endswith("12 images a call: a batch_size of 3 fits (no more)")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.fits) == (str(caught.value), 3)
