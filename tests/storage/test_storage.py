"""Files on any fsspec URL: found, published whole, created once."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import re
import signal
import tempfile
import threading
import uuid
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from diffaug import ConfigError, storage
from diffaug.storage.read import Fingerprint, WholeFile
from diffaug.storage.retry import ATTEMPTS


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for name in ("a.tar", "b.tar", "c.tar", "00.tar", "01.tar", "02.tar"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that is not there yet, here or on an object store."""
    return str(tmp_path / "new/folder") if request.param == "local" else f"memory://{uuid.uuid4()}"


def _local(folder: Path, data: bytes) -> Path:
    path = folder / f"{uuid.uuid4()}.part"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["a.tar"], ["a"]),
        (["b.tar", "a.tar"], ["b", "a"]),
        (["{c,a}.tar"], ["c", "a"]),
        (["{00..02}.tar"], ["00", "01", "02"]),
        (["[abc].tar"], ["a", "b", "c"]),
        (["*.tar"], ["00", "01", "02", "a", "b", "c"]),
        (["?.tar"], ["a", "b", "c"]),
        (["b.tar", "*.tar", "b.tar"], ["b", "00", "01", "02", "a", "c"]),
        (["{a,b}.tar", "{b,c}.tar"], ["a", "b", "c"]),
    ],
)
def test_patterns_become_files_in_order_each_once(
    shards: Path, patterns: list[str], names: list[str]
) -> None:
    found = storage.expand([f"{shards}/{pattern}" for pattern in patterns])
    assert found == [f"{shards}/{name}.tar" for name in names]


def test_relative_paths_come_back_absolute(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)
    assert storage.expand(["a.tar", "./a.tar", f"file://{shards}/a.tar"]) == [f"{shards}/a.tar"]


def test_a_name_with_a_bracket_is_still_a_name(shards: Path) -> None:
    (shards / "d[1].tar").write_bytes(b"")
    assert storage.expand([f"{shards}/d[1].tar"]) == [f"{shards}/d[1].tar"]


def test_an_object_store_keeps_its_protocol() -> None:
    folder = uuid.uuid4().hex
    fsspec.filesystem("memory").pipe_file(f"/{folder}/x.tar", b"x")
    (url,) = storage.expand([f"memory://{folder}/*.tar"])
    assert url.startswith("memory://")
    assert storage.read_bytes(url) == b"x"


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("nothing.tar", "no such shard"),
        ("nothing-*.tar", "no shard matches"),
        ("{a,nothing}.tar", "no such shard"),
        ("{a,b.tar", "braces"),
        ("", "is a folder: name its shards"),
    ],
)
def test_a_pattern_that_means_nothing_is_refused(shards: Path, pattern: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        storage.expand([f"{shards}/{pattern}"])


@pytest.mark.parametrize("url", ["pipe:touch {}", "pipe:cat {} | tar x"])
def test_a_pipe_is_never_run(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="never opened"):
        storage.expand([url.format(tmp_path / "witness")])
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("url", ["carrier-pigeon://a/b.tar", "s4://bucket/b.tar"])
def test_an_unknown_protocol_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"not a URL diffaug can open"):
        storage.expand([url])


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("/data/a.tar", "/data/a.tar"),
        ("relative/a#b?.tar", "relative/a#b?.tar"),
        ("s3://bucket/a.tar", "s3://bucket/a.tar"),
        ("s3://key:secret@bucket/a.tar", "s3://bucket/a.tar"),
        ("https://me:secret@host:8080/a.tar?token=secret#secret", "https://host:8080/a.tar"),
        ("ftp://me@host/a.tar", "ftp://host/a.tar"),
        ("ftp://me:se@cret@host/a.tar", "ftp://host/a.tar"),
        ("hf://datasets/me/it@main/a.tar", "hf://datasets/me/it@main/a.tar"),
        ("simplecache::s3://key:secret@bucket/a.tar", "simplecache::s3://bucket/a.tar"),
        (
            "zip://a.tar::https://me:secret@host/a.zip?token=secret",
            "zip://a.tar::https://host/a.zip",
        ),
    ],
)
def test_a_public_url_holds_no_secret(url: str, public: str) -> None:
    assert storage.public_url(url) == public


def test_create_moves_a_file_once(place: str, tmp_path: Path) -> None:
    url = storage.join(place, "part")
    first, second = _local(tmp_path, b"first"), _local(tmp_path, b"second")
    assert storage.create(first, url)
    assert not storage.create(second, url)
    assert storage.read_bytes(url) == b"first"
    assert not first.exists()
    assert second.read_bytes() == b"second"


def test_of_many_creators_one_wins(tmp_path: Path) -> None:
    url = str(tmp_path / "manifest/part")
    won: list[bytes] = []
    start = threading.Barrier(8)

    def race(data: bytes) -> None:
        path = _local(tmp_path, data)
        start.wait()
        if storage.create(path, url):
            won.append(data)

    racers = [threading.Thread(target=race, args=(bytes([n]) * 1000,)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert won == [storage.read_bytes(url)]


def test_publish_moves_a_file_and_takes_the_same_again(place: str, tmp_path: Path) -> None:
    url = storage.join(place, "tar")
    for _ in range(2):
        local = _local(tmp_path, b"content")
        storage.publish(local, url)
        assert not local.exists()
        assert storage.read_bytes(url) == b"content"


def test_replace_puts_new_bytes(place: str) -> None:
    url = storage.join(place, "run.json")
    storage.replace(b"old", url)
    storage.replace(b"new", url)
    assert storage.read_bytes(url) == b"new"
    assert storage.listing(place, "") == ["run.json"]


def test_listing_sees_only_finished_names(place: str) -> None:
    assert storage.listing(place, ".parquet") == []
    for name in ("b.parquet", "a.parquet", ".c.parquet", "d.txt"):
        storage.replace(b"", storage.join(place, name))
    assert storage.listing(place, ".parquet") == ["a.parquet", "b.parquet"]


def test_exists_follows_the_truth(place: str) -> None:
    url = storage.join(place, "x")
    assert not storage.exists(url)
    storage.replace(b"", url)
    assert storage.exists(url)


def test_sha256_is_of_the_stored_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # more than one block
    (tmp_path / "x.tar.gz").write_bytes(data)
    assert storage.sha256(str(tmp_path / "x.tar.gz")) == hashlib.sha256(data).hexdigest()


def test_sha256_of_a_file_that_another_writer_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create` links a file to its place, and then removes its other name."""
    path, once = tmp_path / "x.tar", iter([True])
    path.write_bytes(b"shard")
    fingerprint = WholeFile.fingerprint

    def changing(source: WholeFile) -> Fingerprint:
        if next(once, False):
            os.utime(path, ns=(0, 2))
        return fingerprint(source)

    monkeypatch.setattr(WholeFile, "fingerprint", changing)
    os.utime(path, ns=(0, 1))
    assert storage.sha256(str(path)) == hashlib.sha256(b"shard").hexdigest()


def test_scratch_hides_in_a_local_output_and_goes(tmp_path: Path) -> None:
    def fails() -> None:
        with storage.scratch(str(tmp_path / "out")) as folder:
            assert folder.parent == tmp_path / "out"
            assert folder.name.startswith(".")
            (folder / "half.tar").write_bytes(b"half")
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert list((tmp_path / "out").iterdir()) == []


def test_scratch_goes_though_a_signal_interrupts_its_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def interrupted(*args: Any, **named: Any) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        signal.raise_signal(signal.SIGINT)

    def ends() -> None:
        with storage.scratch(str(tmp_path / "out")) as folder:
            (folder / "half.tar").write_bytes(b"half")
            monkeypatch.setattr(os, "unlink", interrupted)

    with pytest.raises(KeyboardInterrupt):
        ends()
    assert list((tmp_path / "out").iterdir()) == []


def test_scratch_of_an_object_store_is_local() -> None:
    with storage.scratch("memory://somewhere") as folder:
        (folder / "x").write_bytes(b"x")
    assert not folder.exists()


def test_a_chained_url_leads_back_to_its_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.tar", b"inside")
    (url,) = storage.expand([f"zip://a.tar::{tmp_path}/x.zip"])
    with storage.open_read(url) as stream:
        assert stream.read() == b"inside"


def test_leftovers_are_dead_only_when_nobody_holds_them(tmp_path: Path) -> None:
    for name in (".diffaug-killed", ".diffaug-0123456789ab"):
        (tmp_path / name).mkdir()
    for name in (".run.json-0123456789ab", "run.json", ".mine", ".shards.txt-short"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".diffaug-link").symlink_to(tmp_path / ".diffaug-killed")
    dead = {".diffaug-killed", ".diffaug-0123456789ab", ".run.json-0123456789ab"}
    with storage.scratch(str(tmp_path)) as folder:
        found = storage.leftovers(str(tmp_path))
        assert {path.name: alive for path, alive in found.items()} == {
            **dict.fromkeys(dead, False),
            folder.name: True,
        }
    assert {path.name for path in storage.leftovers(str(tmp_path))} == dead
    assert storage.leftovers(str(tmp_path / "none")) == {}
    assert storage.leftovers("memory://somewhere") == {}


def test_what_killed_jobs_left_of_a_remote_output_is_swept_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("diffaug-scratch-old", "diffaug-scratch-young", "diffaug-other")
    for name in names:
        (tmp_path / name).mkdir()
    for name in ("diffaug-scratch-old", "diffaug-other"):
        os.utime(tmp_path / name, (0, 0))
    with storage.scratch("memory://here") as held:
        os.utime(held, (0, 0))
        with storage.scratch("memory://there") as folder:
            left = {path.name for path in tmp_path.iterdir()}
    assert left == {*names[1:], held.name, folder.name}


@pytest.mark.parametrize("zipped", [False, True])
def test_a_source_is_read_and_hashed_whole(tmp_path: Path, zipped: bool) -> None:
    data = os.urandom(3 << 20)
    stored = gzip.compress(data) if zipped else data
    path = tmp_path / ("x.tar.gz" if zipped else "x.tar")
    path.write_bytes(stored + b"and more behind")
    with storage.open_whole(str(path)) as source:
        assert source.stream.read(1000) == data[:1000]
        found = source.fingerprint()
    whole = path.read_bytes()
    assert (found.size, found.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())


@pytest.mark.parametrize("place", ["local", "memory"], indirect=True)
def test_a_source_that_changes_while_it_is_read_is_noticed(place: str) -> None:
    url = storage.join(place, "x.tar")
    storage.replace(b"a" * 100, url)
    with storage.open_whole(url) as source:
        source.stream.read(10)
        storage.replace(b"b" * 101, url)
        with pytest.raises(OSError, match="changed while it was being read"):
            source.fingerprint()


class _Moody(MemoryFileSystem):  # type: ignore[misc]
    """A store that fails so often before it works."""

    protocol = "moody"
    errors: ClassVar[list[Exception]] = []

    def cat_file(self, path: str, **options: object) -> Any:
        if self.errors:
            raise self.errors.pop()
        return super().cat_file(path, **options)


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> str:
    fsspec.register_implementation("moody", _Moody, clobber=True)
    monkeypatch.setattr(_Moody, "errors", [])
    monkeypatch.setattr("diffaug.storage.retry._retrying.sleep", lambda seconds: None)
    storage.replace(b"here", "moody://x")
    return "moody://x"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        OSError(errno.EREMOTEIO, "internal error"),
        OSError(errno.EBUSY, "slow down"),
        RuntimeError("of a library of the store's own"),
    ],
)
def test_what_may_pass_is_waited_for_and_no_longer(moody: str, error: Exception) -> None:
    _Moody.errors += [error] * (ATTEMPTS - 1)
    assert storage.read_bytes(moody) == b"here"
    _Moody.errors += [error] * ATTEMPTS
    with pytest.raises(OSError, match=re.escape(str(error)) or None):
        storage.read_bytes(moody)
    assert _Moody.errors == []


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("x"),
        PermissionError("not yours"),
        OSError(errno.EINVAL, "no such request"),
        OSError(errno.ENOSPC, "full"),
    ],
)
def test_what_lasts_is_not_waited_for(moody: str, error: Exception) -> None:
    _Moody.errors += [error] * 2
    with pytest.raises(type(error)):
        storage.read_bytes(moody)
    assert len(_Moody.errors) == 1
