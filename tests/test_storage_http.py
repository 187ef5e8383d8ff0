"""Reading over HTTP, from a server that knows no ranges, by a network that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import diffaug
from diffaug import storage
from tests.conftest import FIXTURES, SHARDS
from tests.jobs import augmented, tars
from tests.services import FAULTS, Store, bad_network


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Store]:
    """The fixtures, served as plain files."""
    handler = partial(_Quiet, directory=str(FIXTURES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Store(server.server_address[1])
        server.shutdown()


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
