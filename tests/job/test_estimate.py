"""What a dry run foretells, beside what the job then does."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pytest

from diffaug import storage
from tests.conftest import SHARDS, Cli
from tests.support.detail_sheet import photographs
from tests.support.hostile import broken_images, encoded, fashion, write_samples
from tests.support.jobs import augmented, tars


@pytest.fixture(autouse=True)
def _timed_as_by_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long enough for some results to be finished, whose sizes are looked at here."""
    monkeypatch.setattr("diffaug.job.estimate._SECONDS", 2.0)


def foretold(said: str) -> tuple[int, int, float]:
    """Images, calls and megabytes, as the dry run says them."""
    found = re.search(r"about ([\d,]+) images, ([\d,]+) network calls .*, ([\d.]+) MB of", said)
    assert found is not None, said
    images, calls, megabytes = (float(text.replace(",", "")) for text in found.groups())
    return int(images), int(calls), megabytes


def test_it_is_near_the_truth(tmp_path: Path, cli: Cli) -> None:
    flags = ["--copies=2", "--strength=0.2,0.4", "--steps=5", "--carry=txt", "--batch-size=16"]
    flags += ["--model=fashion-mnist-32"]
    said = cli("augment", *SHARDS, tmp_path / "out", *flags, "--dry-run")
    assert said.code == 0
    assert "3 of 3 shards to do" in said.out
    images, calls, megabytes = foretold(said.out)
    frame = augmented(
        SHARDS,
        tmp_path / "out",
        copies=2,
        strength=(0.2, 0.4),
        steps=5,
        carry=("txt",),
        sampler="dpmsolver++",
        batch_size=16,
    )
    assert images == pytest.approx(len(frame), rel=0.1)
    assert calls == pytest.approx(frame["calls"].sum(), rel=0.1)
    size = sum(map(len, tars(tmp_path / "out").values()))
    assert megabytes == pytest.approx(size / 1e6, rel=0.15)
    sources = sum(Path(shard).stat().st_size for shard in SHARDS)
    assert f" MB of shards from {sources / 1e6:.1f} MB\n" in said.out
    assert " free" not in said.err
    said = cli("augment", *SHARDS, tmp_path / "out", *flags, "--dry-run")
    assert "0 of 3 shards to do" in said.out


def test_of_shards_without_a_good_image(tmp_path: Path, cli: Cli) -> None:
    write_samples(tmp_path / "empty.tar", [])
    said = cli("augment", tmp_path / "empty.tar", tmp_path / "out", "--dry-run")
    assert foretold(said.out) == (0, 0, 0.0)
    broken_images(tmp_path / "broken.tar")
    flags = ("--model=fashion-mnist-32", "--condition=label", "--dry-run")  # no sample has one
    said = cli("augment", tmp_path / "broken.tar", tmp_path / "out", *flags)
    images, calls, megabytes = foretold(said.out)
    assert (calls, megabytes) == (0, 0.0)
    assert images == pytest.approx(5, abs=2)


def test_photographs_are_encoded_as_they_will_be_stored(tmp_path: Path, cli: Cli) -> None:
    files = [encoded(image, "JPEG", quality=90) for image in photographs()]
    samples = [{"__key__": b"%d" % n, "jpg": data} for n, data in enumerate(files)]
    source = write_samples(tmp_path / "s.tar", samples)
    fields = {"fit": "resize", "strength": 0.2, "steps": 5}
    sizes = []
    for format in ("auto", "png"):
        flags = [f"--{name}={value}" for name, value in (fields | {"format": format}).items()]
        said = cli("augment", source, tmp_path / "new", *flags, "--batch-size=2", "--dry-run")
        augmented([source], tmp_path / format, **fields, format=format)
        sizes.append(sum(map(len, tars(tmp_path / format).values())) / 1e6)
        assert foretold(said.out)[2] == pytest.approx(sizes[-1], rel=0.1)
    assert sizes[0] < sizes[1] / 2


def test_a_disk_that_is_too_small_is_reported(tmp_path: Path, cli: Cli) -> None:
    """A shard larger than all that is free, most of which is a hole behind many images."""
    (picture,) = fashion(1)
    samples = [{"__key__": b"%d" % n, "png": picture["png"]} for n in range(250)]
    source = write_samples(tmp_path / "s.tar", samples)
    with source.open("r+b") as stream:
        stream.seek(-1024, io.SEEK_END)
        stream.truncate()  # the tar's end
        stream.truncate(4 * shutil.disk_usage(tmp_path).free)
    said = cli("augment", source, tmp_path / "not" / "yet", "--steps=1", "--dry-run")
    assert said.code == 0
    assert re.search(r"take about [\d,.]+ GB, and the disk of .*yet has [\d,.]+ GB free", said.err)


def test_what_is_free_is_known_of_disks_alone(tmp_path: Path) -> None:
    for url in (tmp_path, tmp_path / "a" / "b", (tmp_path / "c").as_uri()):
        free = storage.free_bytes(str(url))
        assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.5)
    assert storage.free_bytes("memory://a/b") is None
