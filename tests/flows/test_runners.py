"""The flow `augment-dataset` on its runners, with workers, flows and servers killed under way."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest

from diffaug.output.survey import read_report
from diffaug.shards import ShardWriter
from flows.server import prefect_server
from tests.conftest import ROOT
from tests.conftest import SHARDS as FASHION
from tests.support.flow_runs import BATCH, PATIENCE, RECIPE, SHARDS, Augmenting, on_a_cluster
from tests.support.forks import Forks
from tests.support.jobs import augmented, manifest, tars, tree, webdataset
from tests.support.prefect import client_of
from tests.support.services import free_ports, listens, wait_until

pytestmark = pytest.mark.services

IMAGES = 24
"""In a shard: a job that is stopped has no more than two shards in hand, and drops the others."""

TOLD = 1
"""Task runs of a flow run that is complete, beside its groups': the telling of the outcome."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten shards of real images."""
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


@pytest.fixture(scope="module")
def undisturbed(
    sources: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], pd.DataFrame]:
    """What comes out where nothing is killed, without Prefect: every tar, and the manifest."""
    output = tmp_path_factory.mktemp("undisturbed")
    frame = augmented(sources, output, **RECIPE, batch_size=BATCH)
    return tars(output), frame


def assert_equal(output: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame]) -> None:
    expected, frame = undisturbed
    assert tars(output) == expected
    pd.testing.assert_frame_equal(manifest(output), frame)
    assert set((output / "shards.txt").read_text().split()) == {f"shards/{n}" for n in expected}


def parts(output: Path) -> dict[str, tuple[int, str]]:
    """The committed manifest parts, with their times and digests."""
    found = tree(output / "manifest")
    return {name: state for name, state in found.items() if name.endswith(".parquet")}


def task_runs(environment: dict[str, str]) -> Counter[str]:
    """How many task runs the last flow run has, by how they ended."""
    url = environment["PREFECT_API_URL"]
    latest = {"limit": 1, "sort": "START_TIME_DESC"}
    (run,) = httpx.post(f"{url}/flow_runs/filter", json=latest, timeout=60).json()
    of_it = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    found = httpx.post(f"{url}/task_runs/filter", json=of_it, timeout=60).json()
    return Counter(task["state_type"] for task in found)


def assert_task_runs(environment: dict[str, str], expected: dict[str, int]) -> None:
    """The server takes in what happened to tasks a little later than it happens."""
    what = f"task runs {expected}"
    wait_until(lambda: task_runs(environment) == expected, 180, what)


def assert_most_completed(environment: dict[str, str]) -> None:
    """All but one: of that the server may know only what the worker said that was killed."""
    least = SHARDS - 1 + TOLD
    what = f"{least} completed task runs"
    wait_until(lambda: task_runs(environment)["COMPLETED"] >= least, 180, what)


def test_processes_one_killed(
    environment: dict[str, str],
    flows_forked: Forks,
    sources: list[Path],
    undisturbed: tuple[dict[str, bytes], pd.DataFrame],
    tmp_path: Path,
) -> None:
    """What was under way is begun again by new workers, and nothing else; then nothing is left."""
    two: dict[str, Any] = {"runner": "processes", "workers": 2}
    output = tmp_path / "out"
    run = Augmenting(flows_forked, environment, sources, output, hold_at=1, **two)
    run.wait_until_held()
    kept, killed = parts(output), run.worker()
    os.kill(killed, signal.SIGKILL)
    run.go_on()
    run.assert_completed()
    assert "a worker died" in run.said
    assert_equal(output, undisturbed)
    assert kept.items() <= parts(output).items()
    made_by = {part.name: read_report(str(part)).pid for part in run.parts()}
    assert killed not in {pid for name, pid in made_by.items() if name not in kept}
    workers = set(made_by.values())
    assert 2 <= len(workers) <= 4  # the model stays in each: two at first, two in the second pool
    wait_until(lambda: not any(map(psutil.pid_exists, workers)), PATIENCE, "an end of the workers")
    assert_most_completed(environment)
    # those in hand were begun again; a server may be told of a lost one before it knows of it
    assert task_runs(environment).total() <= SHARDS + TOLD + 2

    before = tree(output)
    again = Augmenting(flows_forked, environment, sources, output, **two)
    again.assert_completed()
    assert "0 shards to do in 0 tasks" in again.said
    assert_task_runs(environment, {"COMPLETED": TOLD})
    changed = {name for name, state in tree(output).items() if before.get(name) != state}
    assert changed <= {"shards.txt", "report", "report/index.html"}


def test_ray_one_killed(
    environment: dict[str, str],
    sources: list[Path],
    undisturbed: tuple[dict[str, bytes], pd.DataFrame],
    tmp_path: Path,
) -> None:
    """On a running cluster whose workers know nothing of the checkout, which is gone besides."""
    checkout, output = tmp_path / "checkout", tmp_path / "runs" / "out"
    shutil.copytree(ROOT / "flows", checkout / "flows")
    client = on_a_cluster(environment, output, tmp_path / "judge")
    with ray_cluster(client) as address:
        run = Augmenting(
            None,
            client,
            sources,
            output,
            hold_at=1,
            checkout=checkout,
            remove=(str(checkout / "flows"),),
            runner="ray",
            address=address,
        )
        run.wait_until_held()
        assert not checkout.joinpath("flows").exists()
        kept = parts(output)
        killed = run.worker()
        os.kill(killed, signal.SIGKILL)
        run.go_on()
        run.assert_completed()
    assert_equal(output, undisturbed)
    assert kept.items() <= parts(output).items()
    workers = Counter(read_report(str(part)).pid for part in run.parts())
    assert workers[killed] <= len(kept)
    assert len(workers) in (2, 3)
    assert_most_completed(environment)
    assert task_runs(environment).total() == SHARDS + TOLD  # the lost one was begun as the same


@contextmanager
def ray_cluster(environment: dict[str, str]) -> Iterator[str]:
    """A Ray cluster of two workers on loopback, in a folder of its own; yields its address."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # its sockets' paths must be short
    (port,) = free_ports(1)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    command += [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2", "--num-gpus=0"]
    command += ["--include-dashboard=false", f"--temp-dir={folder}", "--disable-usage-stats"]
    command += ["--object-store-memory=100000000"]
    with (folder / "cluster.log").open("wb") as log:
        cluster = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: listens(port), 180, f"Ray; its log is {log.name}", cluster)
        yield f"127.0.0.1:{port}"
    finally:
        head = psutil.Process(cluster.pid)
        family = [head, *head.children(recursive=True)]
        cluster.terminate()
        _, alive = psutil.wait_procs(family, 60)
        for process in alive:
            process.kill()
        cluster.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("runner", "signals"),
    [
        ({"runner": "local", "shards_per_task": 2}, [signal.SIGINT, signal.SIGTERM]),
        ({"runner": "processes", "workers": 2}, [signal.SIGKILL, signal.SIGTERM]),
    ],
    ids=["local", "processes"],
)
def test_stopped_and_repeated(
    runner: dict[str, Any],
    signals: list[signal.Signals],
    environment: dict[str, str],
    flows_forked: Forks,
    sources: list[Path],
    undisturbed: tuple[dict[str, bytes], pd.DataFrame],
    tmp_path: Path,
) -> None:
    """By Ctrl-C, by a Prefect worker that cancels, by a kill: the shards in hand are dropped."""
    output, kept = tmp_path / "out", dict[str, tuple[int, str]]()
    for signum in signals:
        hold_at = len(kept) + 1
        run = Augmenting(flows_forked, environment, sources, output, hold_at=hold_at, **runner)
        run.wait_until_held()
        family = psutil.Process(run.process.pid).children(recursive=True)
        run.process.send_signal(signum)
        run.go_on()
        assert run.end() != 0
        _, alive = psutil.wait_procs(family, PATIENCE)
        assert not alive
        if signum != signal.SIGKILL:
            assert "run it again for the rest" in run.said
        now = parts(output)
        assert kept.items() <= now.items()
        kept = now
        assert 1 <= len(kept) < SHARDS
        assert not (output / "shards.txt").exists()
        assert not list(output.glob(".diffaug-*"))

    Augmenting(flows_forked, environment, sources, output).assert_completed()
    assert kept.items() <= parts(output).items()
    assert_equal(output, undisturbed)


def test_prefect_server_killed(
    sources: list[Path],
    undisturbed: tuple[dict[str, bytes], pd.DataFrame],
    tmp_path: Path,
) -> None:
    """The run goes on without it, then fails; repeated with a new server, it redoes nothing."""
    home, output = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    with prefect_server(home, home / "server.log") as url:
        client = client_of(url, home) | {"PREFECT_CLIENT_MAX_RETRIES": "1"}
        run = Augmenting(None, client, sources, output, hold_at=1, shards_per_task=SHARDS // 2)
        run.wait_until_held()
        kept = parts(output)
        port = str(httpx.URL(url).port)
        (server,) = [p for p in psutil.Process().children() if port in p.cmdline()]
        for process in [server, *server.children(recursive=True)]:
            process.kill()
        run.go_on()
        assert run.end() != 0
        assert "ConnectError" in run.said
    assert kept.items() <= parts(output).items()
    kept = parts(output)
    with prefect_server(home, home / "server.log") as url:
        Augmenting(None, client_of(url, home), sources, output).assert_completed()
    assert kept.items() <= parts(output).items()
    assert_equal(output, undisturbed)
