"""Against a real S3-compatible store, by a good network and by a bad one."""

from __future__ import annotations

import io
import os
from pathlib import Path

import fsspec
import pandas as pd
import pytest

import diffaug
from diffaug import storage
from diffaug.output.survey import survey
from tests.conftest import ROOT, SHARDS, Cli, commands
from tests.support.forks import LANES, Forks
from tests.support.jobs import GREY, augmented, by_identity, planned
from tests.support.services import KEY, SECRET, Store, bad_network, use

pytestmark = pytest.mark.services


def put(store: Store, url: str, data: bytes) -> str:
    store.files().pipe_file(url, data)
    return url


def upload(store: Store, bucket: str) -> list[str]:
    """The fixture shards, in the bucket."""
    return [put(store, f"{bucket}/in/{path.name}", path.read_bytes()) for path in SHARDS]


def local_file(folder: Path, data: bytes) -> Path:
    path = folder / "local"
    path.write_bytes(data)
    return path


def manifest(store: Store, output: str) -> pd.DataFrame:
    """The rows, as pandas and an s3fs of its own read them."""
    files = store.files()
    parts = [io.BytesIO(files.cat_file(path)) for path in files.glob(f"{output}/manifest/*")]
    return by_identity(pd.concat([pd.read_parquet(part) for part in parts]))


def test_create_is_once_only(store: Store, bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/part"
    assert storage.create(local_file(tmp_path, b"first"), url)
    assert not storage.create(local_file(tmp_path, b"second"), url)
    assert store.files().cat_file(url) == b"first"


def test_the_store_itself_refuses_a_second_commit(
    store: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the look before the write comes too early to see the first."""
    url = put(store, f"{bucket}/part", b"first")
    looks = iter([False, True])
    monkeypatch.setattr("diffaug.storage.write.exists", lambda url: next(looks))
    assert not storage.create(local_file(tmp_path, b"second"), url)
    assert store.files().cat_file(url) == b"first"


def test_patterns_are_looked_up_in_the_store(store: Store, bucket: str) -> None:
    for name in ("a", "b", "c"):
        put(store, f"{bucket}/in/{name}.tar", b"x")
    assert storage.expand([f"{bucket}/in/*.tar"]) == [f"{bucket}/in/{n}.tar" for n in "abc"]
    assert storage.expand([f"{bucket}/in/{{c,a}}.tar"]) == [f"{bucket}/in/{n}.tar" for n in "ca"]
    with pytest.raises(diffaug.ConfigError, match="no such shard"):
        storage.expand([f"{bucket}/in/{{a,d}}.tar"])
    with pytest.raises(diffaug.ConfigError, match="is a folder"):
        storage.expand([f"{bucket}/in"])
    with pytest.raises(diffaug.ConfigError, match="no shard matches"):
        storage.expand([f"{bucket}/none-*.tar"])
    many = [f"{bucket}/many/{number:03}.tar" for number in range(12)]
    for url in many:
        put(store, url, b"x")
    assert storage.expand([f"{bucket}/many/{{000..011}}.tar"]) == many
    assert {stat.size for stat in storage.stats(many).values()} == {1}


def test_a_task_sees_what_was_committed_since_it_looked(
    store: Store, bucket: str, forked: Forks
) -> None:
    """Of a few shards each part is asked for, whatever a listing said before."""
    sources, output = upload(store, bucket), f"{bucket}/out"
    run = planned(sources, output)
    assert survey(run.sources, output).missing == list(run.sources)
    assert storage.listing(f"{output}/manifest", "") == []
    flags = ("--model=fashion-mnist-32", "--strength=0.4", "--sampler=one-step", "--batch-size=8")
    elsewhere = ("augment", *sources, output, *flags)
    assert forked(*elsewhere).returncode == 0
    found = survey(run.sources, output)
    assert found.missing == []
    assert [report.ok for report in found.committed.values()] == [40, 40, 40]


def test_a_plan_sees_what_was_put_there_since_it_looked(store: Store, bucket: str) -> None:
    """In a living process, whose s3fs remembers listings; also objects of odd names."""
    first, *more = [path.read_bytes() for path in SHARDS]
    names = ["a.tar", "b#1.tar", "c?x y.tar"]
    put(store, f"{bucket}/in/a.tar", first)
    pattern, output = f"{bucket}/in/*.tar".replace("s3://", "s3a://"), f"{bucket}/in/out"
    assert len(planned([pattern], output).sources) == 1
    for name, data in zip(names[1:], more, strict=True):
        put(store, f"{bucket}/in/{name}", data)
    run = planned([pattern], output)
    assert [shard.url for shard in run.sources] == [f"{bucket}/in/{name}" for name in names]
    for shard, data in zip(run.sources, [first, *more], strict=True):
        with storage.open_read(shard.url) as stream:
            assert stream.read() == data
    put(store, f"{output}/shards/a-01234567.tar", b"")
    everything = f"{bucket}/in/**/*.tar"
    assert planned([everything], output) == run
    assert len(storage.expand([everything])) == 4
    put(store, f"{bucket}/in//a.tar", first)  # another key, and so another object
    assert len(planned([f"{bucket}/in//a.tar"], output).sources) == 4


def test_a_file_comes_whole_through_a_bad_network(
    store: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(7 << 20)
    with bad_network(store, 0.3, seed=1) as (seen, made):
        use(seen, monkeypatch)
        for number in range(6):
            url = f"{bucket}/{number}"
            storage.publish(local_file(tmp_path, data), url)
            assert store.files().cat_file(url) == data
            with storage.open_whole(url) as source:
                found = b"".join(iter(lambda: source.stream.read(300_000), b""))
                assert source.fingerprint().size == len(data)
            assert found == data
    assert {"refused", "unavailable", "unanswered", "cut", "slow"} <= made.keys()


def test_a_file_that_changes_while_it_is_read_is_noticed(store: Store, bucket: str) -> None:
    url = put(store, f"{bucket}/x", b"a" * 1000)
    with storage.open_whole(url) as source:
        assert source.stream.read(10) == b"a" * 10
        put(store, url, b"b" * 1000)
        with pytest.raises(OSError, match="changed"):
            source.fingerprint()


def test_a_dead_store_is_an_error_of_storage(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Store(1), monkeypatch)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(OSError, match="connect"):
        storage.read_bytes(f"{bucket}/x")
    with pytest.raises(diffaug.ConfigError, match="cannot look for"):
        storage.expand([f"{bucket}/x.tar"])


def test_a_job_on_the_store_is_the_job_on_a_disk(
    store: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """The commands of docs/jobs.md, of every five requests one going wrong; and no secret told."""
    sources, output = upload(store, bucket), f"{bucket}/augmented"
    page = (ROOT / "docs/jobs.md").read_text(encoding="utf-8")
    told: list[bytes] = []
    with bad_network(store, 0.2, seed=2) as (seen, made):
        use(seen, monkeypatch)
        for _, *arguments in commands(page.replace("s3://bucket", bucket))[1:]:
            quick = ["--model", GREY, "--sampler", "one-step"]
            done = cli(*arguments, *(quick if arguments[0] == "augment" else []))
            assert done.code == 0, done
            told.append(str(done).encode())
    assert sum(made.values()) > made["none"] > 0
    suggested = {"strength": "0.2:0.4", "steps": 20, "sampler": "one-step"}
    here = augmented(SHARDS, tmp_path / "out", **suggested, batch_size=LANES)
    there = manifest(store, output)
    pd.testing.assert_frame_equal(
        there.drop(columns="source_shard"), here.drop(columns="source_shard")
    )
    assert sorted(set(there["source_shard"])) == sources
    files = store.files()
    for path in (tmp_path / "out/shards").iterdir():
        assert files.cat_file(f"{output}/shards/{path.name}") == path.read_bytes()
    merged = pd.read_parquet(io.BytesIO(files.cat_file(f"{output}/lineage/00000.parquet")))
    pd.testing.assert_frame_equal(by_identity(merged), there)
    told += [files.cat_file(path) for path in files.find(output)]
    for secret in (SECRET, KEY):
        assert not any(secret.encode() in data for data in told)


def test_a_source_that_changed_is_noticed(store: Store, bucket: str, cli: Cli) -> None:
    sources, output = upload(store, bucket), f"{bucket}/out"
    flags = ("--model=fashion-mnist-32", "--sampler=one-step", "--batch-size=8")
    command = ("augment", *sources, output, *flags)
    assert cli(*command).code == 0
    data = bytearray(SHARDS[1].read_bytes())
    put(store, sources[1], bytes(data))
    assert cli(*command).code == 0  # newer, but the same
    data[-1] ^= 1
    put(store, sources[1], bytes(data))
    files = store.files()
    before = {path: files.cat_file(path) for path in files.find(output)}
    cli(*command).assert_mistake(f"{sources[1]} has changed since being augmented")
    assert {path: files.cat_file(path) for path in files.find(output)} == before
    said = cli("verify", output)
    assert (said.code, said.out.count("the source has changed")) == (1, 1)
    stem = Path(sources[1]).stem
    assert cli(*command, "--redo", stem).code == 0
    after = {path: files.cat_file(path) for path in files.find(output)}
    changed = {path for path in before if after.get(path) != before[path]}
    assert {path.rpartition("/")[2] for path in changed} == {f"{stem}.parquet"}
    assert cli("verify", output, "--clean").code == 0


def test_the_doctor_tries_the_store(
    store: Store, bucket: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, *_ = upload(store, bucket)
    said = cli("doctor", f"{bucket}/out", shard)
    assert said.code == 0, said
    assert f"{bucket}/out: a file was written, read and removed" in said.out
    assert f"{shard}: a file that can be read" in said.out
    assert not any(".diffaug-doctor" in name for name in store.files().find(f"{bucket}/out"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    fsspec.filesystem("s3").clear_instance_cache()
    said = cli("doctor", f"{bucket}/out")
    assert said.code == 1
    assert f"WRONG  {bucket}/out: cannot be " in said.out
