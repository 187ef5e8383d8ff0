"""Reading over HTTP, from a server that knows no ranges, by a network that fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import diffaug
from diffaug import storage
from tests.conftest import FIXTURES, SHARDS
from tests.support.jobs import augmented, tars
from tests.support.services import FAULTS, Store, bad_network


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Store]:
    """A folder, served as plain files."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Store(server.server_address[1])
        server.shutdown()


@pytest.fixture
def server() -> Iterator[Store]:
    with serving(FIXTURES) as server:
        yield server


def test_a_large_file_is_read_on_where_it_broke_off(tmp_path: Path) -> None:
    """Without ranges: what was read before is passed over."""
    data = os.urandom(12 << 20)
    (tmp_path / "x.tar").write_bytes(data)
    with (
        serving(tmp_path) as server,
        bad_network(server, 0.4, seed=5, faults=("cut",)) as (seen, made),
    ):
        for _ in range(4):
            with storage.open_whole(f"{seen.endpoint}/x.tar") as source:
                assert b"".join(iter(partial(source.stream.read, 1 << 20), b"")) == data
                assert source.fingerprint().size == len(data)
    assert made["cut"] > 2


def test_a_job_reads_over_a_bad_network(server: Store, tmp_path: Path) -> None:
    with bad_network(server, 0.3, seed=3) as (seen, made):
        source = f"{seen.endpoint}/fashion-mnist-{{000000..000002}}.tar"
        frame = augmented([source], tmp_path / "over")
    assert min(made[fault] for fault in FAULTS) > 0
    augmented(SHARDS, tmp_path / "here")
    assert tars(tmp_path / "over") == tars(tmp_path / "here")
    assert frame["source_shard"].str.startswith("http://127.0.0.1:").all()


def test_what_is_not_there_is_not_waited_for(server: Store) -> None:
    with pytest.raises(diffaug.ConfigError, match="no such shard: http"):
        storage.expand([f"{server.endpoint}/none.tar"])


def test_a_server_that_is_down_is_not_a_file_that_is_missing(server: Store) -> None:
    with (
        bad_network(server, 1.0, faults=("unavailable",)) as (seen, made),
        pytest.raises(diffaug.ConfigError, match=r"cannot look for .*503"),
    ):
        storage.expand([f"{seen.endpoint}/fashion-mnist-000000.tar"])
    assert made["unavailable"] > 2


def test_a_signed_url_is_refused_before_anything_is_asked(server: Store) -> None:
    with bad_network(server, 1.0, faults=("unavailable",)) as (seen, made):
        url = f"{seen.endpoint}/fashion-mnist-000000.tar?token=hush"
        with pytest.raises(diffaug.ConfigError, match="no query") as refused:
            diffaug.plan_run([url], "memory://out", diffaug.Recipe())
        with pytest.raises(OSError, match="503") as failed:
            storage.read_bytes(url)
    assert "hush" not in str(refused.value) + str(failed.value)
    assert made["unavailable"] > 0
