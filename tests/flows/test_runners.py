"""The flow `augment-dataset` on its runners, with workers, flows and servers killed under way."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest

import diffaug
from diffaug.output.survey import read_report
from diffaug.shards import ShardWriter
from flows import runners
from flows.runners import Local, Processes, Ray, choose
from flows.server import prefect_server
from tests.conftest import ROOT, SHARDS
from tests.support.jobs import augmented, manifest, tars, tree, webdataset
from tests.support.services import free_ports, listens, wait_until

pytestmark = pytest.mark.services

COUNT, IMAGES = 6, 24
TOLD = 1
"""Task runs of a flow run that is complete, beside its groups': the telling of the outcome."""
RECIPE: dict[str, Any] = {"sampler": "ddim", "strength": 0.5, "steps": 16}
BATCH = 8
PATIENCE = 480
"""Seconds that a run may take where other tests keep a slow machine busy; alone, 60 will do."""

SCRIPT = """\
import json, shutil, sys
sys.path.insert(0, sys.argv[1])
from flows.augment_dataset import augment_dataset
if len(sys.argv) > 3:
    shutil.rmtree(sys.argv[3])
state = augment_dataset(**json.loads(sys.argv[2]), return_state=True)
print(state.type.value, state.message)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six shards of real images, some seconds' work for two workers."""
    folder = tmp_path_factory.mktemp("sources")
    samples = itertools.cycle([sample for path in SHARDS for sample in webdataset(path)])
    paths = [folder / f"s{number}.tar" for number in range(COUNT)]
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


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client of a server of our own."""
    home = tmp_path_factory.mktemp("prefect")
    with prefect_server(home, home / "server.log") as url:
        yield client_of(url, home)


def client_of(url: str, home: Path) -> dict[str, str]:
    return os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }


class FlowRun:
    """A run of the flow in a process of its own, from a folder that is not the checkout."""

    def __init__(
        self,
        environment: dict[str, str],
        sources: list[Path],
        output: Path,
        checkout: Path = ROOT,
        *arguments: str,
        **parameters: Any,
    ) -> None:
        self.output = output
        given = {"source": list(map(str, sources)), "output": str(output), "recipe": RECIPE}
        given |= {"batch_size": BATCH, "shards_per_task": 1} | parameters
        output.parent.mkdir(exist_ok=True)
        self._log = output.parent / f"{output.name}.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(checkout), json.dumps(given), *arguments],
                cwd=output.parent,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def parts(self) -> list[Path]:
        return sorted(self.output.glob("manifest/*.parquet"))

    def wait_for_parts(self, count: int = 1) -> None:
        wait_until(lambda: len(self.parts()) >= count, PATIENCE, f"{count} parts", self.process)
        assert len(self.parts()) < COUNT, "too late to disturb anything"

    def worker(self) -> int:
        """The process that committed the first part."""
        return read_report(str(self.parts()[0])).pid

    def end(self, seconds: float = PATIENCE) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end after {seconds} seconds:\n{self.said}") from None
        finally:
            self.process.kill()
            self.process.wait()

    def assert_completed(self) -> None:
        assert self.end() == 0, self.said
        assert "COMPLETED" in self.said.splitlines()[-1], self.said


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
    least = COUNT - 1 + TOLD
    what = f"{least} completed task runs"
    wait_until(lambda: task_runs(environment)["COMPLETED"] >= least, 180, what)


def test_processes_one_killed(
    environment: dict[str, str],
    sources: list[Path],
    undisturbed: tuple[dict[str, bytes], pd.DataFrame],
    tmp_path: Path,
) -> None:
    """What was under way is begun again by new workers, and nothing else; then nothing is left."""
    run = FlowRun(environment, sources, tmp_path / "out", runner="processes", workers=2)
    run.wait_for_parts()
    kept = parts(run.output)
    os.kill(run.worker(), signal.SIGKILL)
    run.assert_completed()
    assert "a worker died" in run.said
    assert_equal(run.output, undisturbed)
    assert kept.items() <= parts(run.output).items()
    workers = {read_report(str(part)).pid for part in run.parts()}
    assert len(workers) in (3, 4)  # the model stays in each: two at first, two in the second pool
    wait_until(lambda: not any(map(psutil.pid_exists, workers)), 20, "an end of the workers")
    assert_most_completed(environment)
    # those in hand were begun again; a server may be told of a lost one before it knows of it
    assert task_runs(environment).total() <= COUNT + TOLD + 2

    before = tree(run.output)
    again = FlowRun(environment, sources, run.output, runner="processes", workers=2)
    again.assert_completed()
    assert "0 shards to do in 0 tasks" in again.said
    assert_task_runs(environment, {"COMPLETED": TOLD})
    changed = {name for name, state in tree(run.output).items() if before.get(name) != state}
    assert changed <= {"shards.txt", "report", "report/index.html"}


def test_ray_one_killed(
    environment: dict[str, str],
    sources: list[Path],
    undisturbed: tuple[dict[str, bytes], pd.DataFrame],
    tmp_path: Path,
) -> None:
    """On a running cluster whose workers know nothing of the checkout, which is gone besides."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "flows", checkout / "flows")
    with ray_cluster(environment) as address:
        flows = str(checkout / "flows")
        output = tmp_path / "runs" / "out"
        run = FlowRun(environment, sources, output, checkout, flows, runner="ray", address=address)
        run.wait_for_parts()
        assert not checkout.joinpath("flows").exists()
        kept = parts(run.output)
        killed = run.worker()
        os.kill(killed, signal.SIGKILL)
        run.assert_completed()
    assert_equal(run.output, undisturbed)
    assert kept.items() <= parts(run.output).items()
    workers = Counter(read_report(str(part)).pid for part in run.parts())
    assert workers[killed] <= len(kept)
    assert len(workers) in (2, 3)
    assert_most_completed(environment)
    assert task_runs(environment).total() == COUNT + TOLD  # the lost one was begun as the same


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
        ({"runner": "local"}, [signal.SIGINT, signal.SIGTERM]),
        ({"runner": "processes", "workers": 2}, [signal.SIGKILL, signal.SIGTERM]),
    ],
    ids=["local", "processes"],
)
def test_stopped_and_repeated(
    runner: dict[str, Any],
    signals: list[signal.Signals],
    environment: dict[str, str],
    sources: list[Path],
    undisturbed: tuple[dict[str, bytes], pd.DataFrame],
    tmp_path: Path,
) -> None:
    """By Ctrl-C, by a Prefect worker that cancels, by a kill: the shards in hand are dropped."""
    output, kept = tmp_path / "out", dict[str, tuple[int, str]]()
    for signum in signals:
        run = FlowRun(environment, sources, output, shards_per_task=2, **runner)
        run.wait_for_parts(len(run.parts()) + 1)
        family = psutil.Process(run.process.pid).children(recursive=True)
        told = time.monotonic()
        run.process.send_signal(signum)
        assert run.end(60) != 0
        _, alive = psutil.wait_procs(family, 20)
        assert not alive
        assert time.monotonic() - told < 20
        if signum != signal.SIGKILL:
            assert "run it again for the rest" in run.said
        now = parts(output)
        assert kept.items() <= now.items()
        kept = now
        assert 1 <= len(run.parts()) < COUNT
        assert not (output / "shards.txt").exists()
        assert not list(output.glob(".diffaug-*"))

    FlowRun(environment, sources, output).assert_completed()
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
        environment = client_of(url, home) | {"PREFECT_CLIENT_MAX_RETRIES": "1"}
        run = FlowRun(environment, sources, output, shards_per_task=COUNT // 2)
        run.wait_for_parts()
        kept = parts(output)
        port = str(httpx.URL(url).port)
        (server,) = [p for p in psutil.Process().children() if port in p.cmdline()]
        for process in [server, *server.children(recursive=True)]:
            process.kill()
        assert run.end() != 0
        assert "ConnectError" in run.said
    assert kept.items() <= parts(output).items()
    kept = parts(output)
    with prefect_server(home, home / "server.log") as url:
        FlowRun(client_of(url, home), sources, output).assert_completed()
    assert kept.items() <= parts(output).items()
    assert_equal(output, undisturbed)


def test_choice() -> None:
    assert choose("local", None, None, "cuda") == Local()
    assert choose("processes", 3, None, "cpu") == Processes(3)
    assert choose("processes", None, None, "cpu") == Processes(runners._cores())
    assert choose("ray", 2, None, "cuda") == Ray(None, 2, gpus=1)
    assert choose("ray", None, "auto", "cpu") == Ray("auto", runners._cores(), gpus=0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("local", 2, None, "cpu"), "workers: runner=local has no workers"),
        (("processes", 2, "auto", "cpu"), "use runner=ray"),
        (("processes", 2, None, "cuda"), "runner=local for one GPU, runner=ray for several"),
        (("ray", 2, "auto", "cpu"), "leave it out"),
        (("ray", None, None, "cuda:1"), "use device=cuda"),
        (("ray", None, "127.0.0.1:9", "cpu"), "no Ray cluster answers at 127.0.0.1:9"),
        (("ray", None, "ray://nowhere.invalid", "cpu"), "no Ray cluster answers at ray://nowhere"),
    ],
)
def test_choice_that_cannot_be(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(diffaug.ConfigError, match=sentence):
        choose(*arguments)
