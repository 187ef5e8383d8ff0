"""The service on Ray Serve: two replicas on a local cluster, one of them killed."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from pydantic import ValidationError

import diffaug
from diffaug.errors import ConfigError
from tests.benchmarks.serving.pictures import as_samples, pictures
from tests.benchmarks.serving.processes import is_ready
from tests.conftest import ROOT
from tests.support.clusters import ray_cluster
from tests.support.jobs import GREY
from tests.support.services import free_ports, wait_until
from tests.support.serving import PATIENCE

RECIPE = {"model": GREY, "strength": 0.4, "steps": 4, "copies": 2}
BATCH = 4
LOG = "serve.log"


@pytest.mark.services
@pytest.mark.timeout(1800)  # it may wait for another cluster to go
@pytest.mark.proof
def test_one_replica_of_two_is_killed(tmp_path: Path) -> None:
    """Nothing is lost, doubled, out of order or different, and another replica takes its place."""
    config = yaml.safe_load((ROOT / "deploy/ray-serve.yaml").read_text())
    (port,) = free_ports(1)
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    application["args"] = {"recipes": {"default": RECIPE}, "batch_size": BATCH, "dtype": "float32"}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config))
    found = pictures(GREY, 24)
    local = diffaug.Augmenter(RECIPE, batch_size=BATCH, dtype="float32")
    expected = [(made["__key__"], made["png"].tobytes()) for made in local(as_samples(found))]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    with ray_cluster(environment) as address, run(tmp_path, environment, address) as serve:
        url = f"http://127.0.0.1:{port}"
        wait_until(
            lambda: is_ready(port) and len(replicas()) == 2,
            PATIENCE,
            (tmp_path / LOG).read_text,
            serve,
        )
        before = replicas()
        stage = diffaug.RemoteAugmenter(url, RECIPE)
        got = []
        for made in stage(as_samples(found)):
            got.append((made["__key__"], made["png"].tobytes()))
            if len(got) == 5:
                os.kill(before[0], signal.SIGKILL)
        assert got == expected
        wait_until(
            lambda: len(set(replicas()) - {before[0]}) == 2,
            PATIENCE,
            (tmp_path / LOG).read_text,
            serve.process,
        )
        (described,) = httpx.get(f"{url}/v1/recipes", timeout=PATIENCE).json()
        assert described["name"] == "default"


def test_settings_are_named_in_errors() -> None:
    build = importlib.import_module("diffaug.serve.replicas").build  # Ray takes seconds to import
    with pytest.raises(ValidationError, match="max_weight"):
        build({"max_weight": 3})
    with pytest.raises(ConfigError, match=r"recipes, light: .*strength"):
        build({"recipes": {"light": {"strength": 7}}})


class Serve:
    """`serve run`, started again where it gave up: Ray's proxies have a minute to come up, which
    a machine busy with other tests may take longer for; the proxies come up all the same."""

    def __init__(self, folder: Path, environment: dict[str, str], address: str) -> None:
        self._folder = folder
        self._environment = environment
        command = str(Path(sys.executable).with_name("serve"))
        self._command = [command, "run", "serve.yaml", "--address", address]
        self._left = 3
        self._start()

    def poll(self) -> int | None:
        """Its exit status, if it is not to be started again; None while it runs."""
        ended = self.process.poll()
        if ended is None or not self._left:
            return ended
        self._start()
        return None

    def _start(self) -> None:
        self._left -= 1
        with (self._folder / LOG).open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


@contextmanager
def run(folder: Path, environment: dict[str, str], address: str) -> Iterator[Serve]:
    """`serve run` of the folder's file, on a cluster."""
    serve = Serve(folder, environment, address)
    try:
        yield serve
    finally:
        serve.process.terminate()
        serve.process.wait()


def replicas() -> list[int]:
    """The processes of the replicas of this cluster, by the names that Ray gives them."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "ServeReplica:diffaug:Replica" in " ".join(process.info["cmdline"] or [])
    ]
