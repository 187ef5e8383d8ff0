"""What tests of flows share: seven shards and what becomes of them, and for each file a server."""

from __future__ import annotations

import fcntl
import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from diffaug.shards import ShardWriter
from flows.server import prefect_server
from tests.conftest import SHARDS as FASHION
from tests.conftest import shared_folder
from tests.support.flow_runs import BATCH, RECIPE, SHARDS, Undisturbed
from tests.support.forks import MODULES, Forks, fork_server
from tests.support.jobs import augmented, tars, webdataset
from tests.support.prefect import CLI, client_of

IMAGES = 24
"""In a shard: a job that is stopped has no more than two shards in hand, and drops the others."""


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a Prefect server makes at its first start, which takes as long as all else it does."""
    folder = shared_folder(tmp_path_factory, "prefect-database")
    made = folder / "made.db"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with prefect_server(folder, folder / "server.log"):
                pass
            with closing(sqlite3.connect(folder / "prefect.db")) as database:
                database.execute(f"VACUUM INTO '{made}'")
    return made


@pytest.fixture(scope="module")
def environment(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of a client of a server of our own, on loopback."""
    home = tmp_path_factory.mktemp("prefect")
    shutil.copy(empty_database, home / "prefect.db")
    with prefect_server(home, home / "server.log") as url:
        yield client_of(url, home)


@pytest.fixture(scope="session")
def flows_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts processes that have imported the flows, and Prefect's command line."""
    flows = ("augment_dataset", "evaluate_augmentation", "train_denoiser", "verify_manifest")
    modules = (*MODULES, *CLI, *(f"flows.{flow}" for flow in flows))
    shared = shared_folder(tmp_path_factory, "flows-server")
    nowhere = client_of("http://127.0.0.1:9/api", shared)
    with fork_server(tmp_path_factory.mktemp("forks"), modules, nowhere, shared) as forks:
        yield forks


@pytest.fixture(scope="module")
def flows_forked(
    flows_server: Forks, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Forks]:
    """The same, as clients of our server."""
    forks = flows_server.of(tmp_path_factory.mktemp("forks"), environment)
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Seven shards of real images."""
    folder = tmp_path_factory.mktemp("sources")
    samples = itertools.cycle([sample for path in FASHION for sample in webdataset(path)])
    paths = [folder / f"s{number}.tar" for number in range(SHARDS)]
    for number, path in enumerate(paths):
        with path.open("wb") as stream:
            tar = ShardWriter(stream)
            for sample in itertools.islice(samples, IMAGES):
                key = f"{sample['__key__']}-{number}"
                tar.add(f"{key}.png", sample["png"])
                tar.add(f"{key}.cls", sample["cls"])
            tar.close()
    return paths


@pytest.fixture(scope="session")
def undisturbed(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Made without Prefect."""
    output = tmp_path_factory.mktemp("undisturbed")
    frame = augmented(sources, output, **RECIPE, batch_size=BATCH)
    return tars(output), frame
