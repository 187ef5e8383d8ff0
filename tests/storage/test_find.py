"""Looking for files: what a glob leaves out, odd names, and listings that are never remembered."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from diffaug import ConfigError, storage


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for name in ("a.tar", "b.tar", "c.tar"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_a_folder_in_a_glob_is_no_shard(shards: Path) -> None:
    (shards / "folder.tar").mkdir()
    (shards / "linked.tar").symlink_to(shards / "folder.tar")
    found = storage.expand([f"{shards}/[a-z]*.tar"])
    assert found == [f"{shards}/{name}.tar" for name in "abc"]
    with pytest.raises(ConfigError, match="no shard matches"):
        storage.expand([f"{shards}/f*.tar"])


def test_a_tar_that_a_job_has_not_finished_is_in_no_glob(shards: Path) -> None:
    with storage.scratch(str(shards)) as folder:
        (folder / "half.tar").write_bytes(b"half")
        assert not [url for url in storage.expand([f"{shards}/**/*.tar"]) if "half" in url]


def test_any_letter_may_be_in_an_objects_name() -> None:
    folder = uuid.uuid4().hex
    names = ["a#1.tar", "b?x.tar", "c;d e.tar", "d.tar"]
    for name in names:
        storage.replace(name.encode(), f"memory://{folder}/{name}")
    found = storage.expand([f"memory://{folder}/*.tar"])
    assert [url.rpartition("/")[2] for url in found] == names
    assert [storage.public_url(url) for url in found] == found
    assert [storage.read_bytes(url).decode() for url in found] == names
    assert storage.expand([found[1]]) == [found[1]]


class _Pages(MemoryFileSystem):  # type: ignore[misc]
    """A store whose URLs may have a query, as those of web pages do."""

    protocol = "pages"


def test_one_signed_url_does_not_stop_a_glob(caplog: pytest.LogCaptureFixture) -> None:
    fsspec.register_implementation("pages", _Pages, clobber=True)
    folder = uuid.uuid4().hex
    for name in ("a.tar", "b?token=hush.tar"):
        storage.replace(b"", f"pages://{folder}/{name}")
    found = storage.expand([f"pages://{folder}/*.tar"])
    assert [url.rpartition("/")[2] for url in found] == ["a.tar"]
    assert "b: its URL has a query" in caplog.text
    assert "hush" not in caplog.text


class _Listed(MemoryFileSystem):  # type: ignore[misc]
    """A store whose listings and sizes a client remembers, as s3fs does."""

    protocol = "listed"
    remembered: ClassVar[dict[tuple[str, str], Any]] = {}

    def invalidate_cache(self, path: str | None = None) -> None:
        self.remembered.clear()

    def _remember(self, what: str, path: str, now: Any) -> Any:
        key = what, self._strip_protocol(path).rstrip("/")
        if key not in self.remembered:
            self.remembered[key] = now(path)
        return self.remembered[key]

    def find(self, path: str, *arguments: Any, **options: Any) -> Any:
        now = super().find
        return self._remember("find", path, lambda path: now(path, *arguments, **options))

    def info(self, path: str, **options: Any) -> Any:
        return self._remember("info", path, super().info)


def test_a_living_process_sees_what_another_wrote() -> None:
    """`another` keeps no memory of its own, and tells this client nothing."""
    fsspec.register_implementation("listed", _Listed, clobber=True)
    url, another = f"listed://{uuid.uuid4()}", fsspec.filesystem("memory")
    for name in ("a.tar", "b.tar"):
        with pytest.raises(ConfigError):
            storage.expand([f"{url}/{name}"])
        another.pipe_file(f"{url}/{name}", b"x")
        found = storage.expand([f"{url}/*.tar"])
        assert found[-1] == f"{url}/{name}"
    assert [stat.size for stat in storage.stats(found).values()] == [1, 1]
    another.pipe_file(f"{url}/a.tar", b"longer")
    assert storage.stats(found)[found[0]].size == len(b"longer")
    another.rm_file(f"{url}/b.tar")
    assert storage.expand([f"{url}/*.tar"]) == found[:1]
