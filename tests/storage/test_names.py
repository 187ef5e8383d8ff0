"""Names of files: which name nothing, and which name the same file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffaug import ConfigError, storage
from diffaug.storage.find import filesystem


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`in/s.tar`, a link to it, and a link to its folder; the current folder is theirs."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/s.tar").write_bytes(b"s")
    (tmp_path / "in/t.tar").write_bytes(b"t")
    (tmp_path / "link.tar.gz").symlink_to(tmp_path / "in/s.tar")
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "far/away/folder").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SPELLINGS = [
    "in/s.tar",
    "./in/s.tar",
    "in//s.tar",
    "in/./s.tar",
    "in/../in/s.tar",
    "far/away/../../in/s.tar",
    "far/away/folder/../in/s.tar",  # `..` of a link is above what it links to
    "{here}/in/s.tar",
    "/{here}//in/s.tar",
    "file:{here}/in/s.tar",
    "file://{here}/in/s.tar",
    "file:///{here}/in/s.tar",
    "file:////{here}/in//s.tar",
    "local://{here}/in/s.tar",
    "file:in/s.tar",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_local_file_has_one_name(spelling: str, shards: Path) -> None:
    url = spelling.format(here=shards)
    assert storage.expand([url]) == [f"{shards}/in/s.tar"]
    assert storage.expand([url, "in/s.tar"]) == [f"{shards}/in/s.tar"]


def test_a_link_keeps_its_name_and_is_its_file(shards: Path) -> None:
    """A name ends in .gz or not, and a stem comes from it."""
    for link in ("link.tar.gz", "far/away/folder/s.tar"):
        assert storage.expand([link]) == [f"{shards}/{link}"]
        assert storage.identity(link) == f"{shards}/in/s.tar"
        assert storage.expand([link, "in/s.tar"]) == [f"{shards}/in/s.tar"]
    found = storage.expand(["**/*.tar", "*.tar.gz"])
    assert {os.path.realpath(url) for url in found} == {f"{shards}/in/{name}.tar" for name in "st"}
    assert len(found) == 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("s3a://b/x.tar", "s3://b/x.tar", True),
        ("s3n://b/x.tar", "s3://b/x.tar", True),
        ("simplecache::s3a://b/x.tar", "simplecache::s3://b/x.tar", True),
        ("gcs://b/x.tar", "gs://b/x.tar", True),
        ("az://c/x.tar", "abfs://c/x.tar", True),
        ("memory://f/x.tar", "memory:///f/x.tar", True),
        ("sftp://h/a//x.tar", "ssh://h/a/./x.tar", True),
        ("hdfs:///a//b///x.tar", "hdfs:///a/b/x.tar", True),
        ("zip://a.tar::in//x.zip", "zip://a.tar::in/x.zip", True),
        ("s3://b/a//x.tar", "s3://b/a/x.tar", False),  # two objects of a store of keys
        ("gs://b/a/./x.tar", "gs://b/a/x.tar", False),
        ("http://h/a//x.tar", "http://h/a/x.tar", False),
        ("s3://b/a.tar", "gs://b/a.tar", False),
        ("zip://a.tar::in/x.zip", "zip://b.tar::in/x.zip", False),
    ],
)
def test_a_remote_file_has_one_identity_where_its_store_has_one(
    one: str, other: str, same: bool
) -> None:
    assert (storage.identity(one) == storage.identity(other)) is same


def test_what_lies_in_a_folder_does_so_however_it_is_spelled(shards: Path) -> None:
    assert storage.lies_in("in/s.tar", ".")
    assert storage.lies_in("far/away/folder/s.tar", "in/")
    assert storage.lies_in("in", "in")
    assert storage.lies_in("s3a://b/out/x", "s3://b/out/")
    assert not storage.lies_in("in/s.tar", "i")
    assert not storage.lies_in("in/../s.tar", "in")
    assert not storage.lies_in("s3://b/output", "s3://b/out")


def test_hadoops_names_of_s3_are_opened_as_s3() -> None:
    pytest.importorskip("s3fs")
    assert {type(filesystem(f"{name}://b/x")[0]).__name__ for name in ("s3", "s3a", "s3n")} == {
        "S3FileSystem"
    }
    assert storage.tidy("s3n://b/x.tar") == "s3://b/x.tar"


NOWHERE = ["", " ", "\t\n", "\u3000", "file:", "file://", "local://", "file:// "]
NO_HOST = ["s3://", "s3:///out", "s3a:// /out", "gs://", "https:///x", "simplecache::s3:///x"]


@pytest.mark.parametrize("url", [*NOWHERE, *NO_HOST])
def test_what_names_no_place_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = "is empty or blank" if url in NOWHERE else "names no bucket or host"
    for use in (
        lambda: storage.join(url, "run.json"),
        lambda: storage.replace(b"", url),
        lambda: storage.exists(url),
        lambda: storage.expand([url]),
        lambda: storage.refuse_root(url),
    ):
        with pytest.raises(ConfigError, match=said):
            use()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["/", "//", "/./", "/..", "file:/", "file:///"])
def test_no_output_is_the_root_of_the_disk(url: str) -> None:
    with pytest.raises(ConfigError, match="OUTPUT is the root of the disk"):
        storage.refuse_root(url)


@pytest.mark.parametrize("url", ["memory://", "file:///x", "hdfs:///x", "/.x", "...", "s3://b"])
def test_what_names_a_place_is_not_refused(url: str) -> None:
    storage.refuse_root(url)


def test_a_store_without_a_bucket_is_joined_as_a_store() -> None:
    assert storage.join("memory://", "x") == "memory:///x"
    assert storage.join("/", "x") == "/x"
