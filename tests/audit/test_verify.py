"""Whatever is changed in an output is found, and named."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

import diffaug
from diffaug import storage
from diffaug.audit.verify import ShardCheck, strays, verify_shards
from diffaug.output.run import read_run, the_run
from tests.support.hostile import broken_images, cut_in_image, fashion, write_samples, zero_bytes
from tests.support.jobs import augmented, differences, planned


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job with good, broken, cut and empty shards."""
    folder = tmp_path_factory.mktemp("verify")
    write_samples(folder / "s0.tar", fashion(4))
    broken_images(folder / "s1.tar")
    cut_in_image(folder / "s2.tar")
    zero_bytes(folder / "s3.tar")
    write_samples(folder / "s4.tar", fashion(3, 10))
    augmented([folder / "s*.tar"], folder / "out")
    return folder / "out"


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def _tar(output: Path, stem: str = "s0") -> Path:
    (path,) = output.glob(f"shards/{stem}-*.tar")
    return path


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def test_a_finished_output_has_no_difference(finished: Path) -> None:
    assert differences(finished) == []
    checks = verify_shards(str(finished), the_run(str(finished)).sources)
    assert [checked.stem for checked in checks] == ["s0", "s1", "s2", "s3", "s4"]


@pytest.mark.parametrize("place", [0, 0.1, 0.33, 0.5, 0.9])
def test_a_flipped_byte_of_a_tar_is_named(output: Path, place: float) -> None:
    path = _tar(output)
    _flip(path, int(place * path.stat().st_size))
    found = differences(output)
    assert any(path.name in line and "sha256" in line for line in found)
    assert all("s0" in line for line in found)


def test_a_flipped_byte_of_an_image_names_the_image(output: Path) -> None:
    path = _tar(output)
    _flip(path, 512 + 60)  # within the first member's data
    assert any("00000-a0.png" in line for line in differences(output))
    assert not any("00001-a0.png" in line for line in differences(output))


def test_a_missing_tar_is_named(output: Path) -> None:
    path = _tar(output, "s4")
    path.unlink()
    assert differences(output) == [f"shards/{path.name}: missing"]


def test_a_tar_in_the_place_of_another_is_named(output: Path) -> None:
    _tar(output, "s4").write_bytes(_tar(output).read_bytes())
    assert any(_tar(output, "s4").name in line for line in differences(output))


def test_a_cut_tar_is_named(output: Path) -> None:
    path = _tar(output)
    path.write_bytes(path.read_bytes()[:3000])
    assert any(path.name in line for line in differences(output))


def test_a_stray_tar_is_named(output: Path) -> None:
    shutil.copy(_tar(output), output / "shards/stray-00000000.tar")
    assert differences(output) == ["shards/stray-00000000.tar: no manifest part names this tar"]


def test_the_tar_of_a_broken_part_is_not_called_a_stray(output: Path) -> None:
    """Whether the part names it is not to be known: only the part is named."""
    (output / "manifest/s4.parquet").write_bytes(b"no parquet")
    (line,) = differences(output)
    assert line.startswith("manifest/s4.parquet: cannot be read")


def test_some_shards_can_be_verified_alone(output: Path) -> None:
    run = read_run(str(output))
    assert run is not None
    _tar(output, "s4").unlink()
    found = list(verify_shards(str(output), run.sources[:2]))
    assert found == [ShardCheck("s0", []), ShardCheck("s1", [])]
    assert strays(str(output), run) == []


def test_a_missing_part_is_named(output: Path) -> None:
    (output / "manifest/s1.parquet").unlink()
    found = differences(output)
    assert found[0] == "manifest/s1.parquet: missing: the shard is not committed"


def test_a_stray_part_is_named(output: Path) -> None:
    """pandas reads it with the others, so its rows would count."""
    shutil.copy(output / "manifest/s4.parquet", output / "manifest/stray.parquet")
    assert any("stray.parquet" in line for line in differences(output))


def test_the_part_of_another_shard_is_named(output: Path) -> None:
    shutil.copy(output / "manifest/s0.parquet", output / "manifest/s3.parquet")
    assert any("s3.parquet" in line for line in differences(output))


@pytest.mark.parametrize("data", [b"", b"no parquet", b"PAR1PAR1"])
def test_a_broken_part_is_named(output: Path, data: bytes) -> None:
    (output / "manifest/s0.parquet").write_bytes(data)
    assert any("manifest/s0.parquet: cannot be read" in line for line in differences(output))


@pytest.mark.parametrize("fifth", range(5))
def test_a_flipped_byte_of_a_part_is_named(output: Path, fifth: int) -> None:
    path = output / "manifest/s0.parquet"
    whole = path.read_bytes()
    step = len(whole) // 40
    unnoticed = []
    for at in range(fifth * 8 * step, (fifth + 1) * 8 * step, step):
        _flip(path, at)
        if not any("s0" in line for line in differences(output)):
            unnoticed.append(at)
        path.write_bytes(whole)
    assert unnoticed == []


def test_an_unfinished_output_differs(tmp_path: Path) -> None:
    planned([write_samples(tmp_path / "s.tar", fashion(1))], tmp_path / "out")
    assert differences(tmp_path / "out") == [
        "manifest/s.parquet: missing: the shard is not committed"
    ]


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(diffaug.ConfigError, match="is not an output of diffaug"):
        differences(tmp_path)


# --- sources that change later


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A finished job, with sources of its own that a test may change."""
    for number in range(3):
        write_samples(tmp_path / f"in/s{number}.tar", fashion(2, 2 * number))
    augmented([tmp_path / "in/*.tar"], tmp_path / "out")
    return tmp_path


def _changed(source: Path) -> str:
    return (
        f"{source}: the source has changed since it was augmented, so its images can no longer be "
        f"rebuilt: augment with --redo {source.stem} does it again"
    )


def test_every_source_that_changed_is_named_and_no_other(own: Path) -> None:
    sources = [own / f"in/s{number}.tar" for number in range(3)]
    sources[0].touch()  # newer, but the same
    data = bytearray(sources[1].read_bytes())
    data[-1] ^= 1  # of the same size, and of no image
    sources[1].write_bytes(data)
    write_samples(sources[2], fashion(1))
    assert differences(own / "out") == [_changed(sources[1]), _changed(sources[2])]


def test_a_source_that_is_gone_or_out_of_reach_is_no_difference(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (own / "in/s0.tar").unlink()
    assert differences(own / "out") == []
    for name in ("s1.tar", "s2.tar"):
        write_samples(own / "in" / name, fashion(1))
    look = storage.stats

    def refused(urls: Iterable[str]) -> dict[str, storage.Stat]:
        urls = list(urls)
        if str(own / "in/s1.tar") in urls:
            raise PermissionError("the store allows nothing")
        return look(urls)

    monkeypatch.setattr(storage, "stats", refused)
    assert differences(own / "out") == [_changed(own / "in/s2.tar")]
    (said,) = caplog.messages
    assert said.startswith(f"{own}/in/s1.tar: whether a source has changed is not known: the store")
