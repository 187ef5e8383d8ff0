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


@pytest.mark.services
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
            lambda: is_ready(port) and len(replicas()) == 2, PATIENCE, serve_log(tmp_path), serve
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
            lambda: len(set(replicas()) - {before[0]}) == 2, PATIENCE, "another replica", serve
        )
        (described,) = httpx.get(f"{url}/v1/recipes", timeout=PATIENCE).json()
        assert described["name"] == "default"


def test_settings_are_named_in_errors() -> None:
    build = importlib.import_module("diffaug.serve.replicas").build  # Ray takes seconds to import
    with pytest.raises(ValidationError, match="max_weight"):
        build({"max_weight": 3})
    with pytest.raises(ConfigError, match=r"recipes, light: .*strength"):
        build({"recipes": {"light": {"strength": 7}}})


@contextmanager
def run(
    folder: Path, environment: dict[str, str], address: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`serve run` of the folder's file, on a cluster."""
    command = [str(Path(sys.executable).with_name("serve")), "run", "serve.yaml"]
    with Path(serve_log(folder)).open("wb") as log:
        process = subprocess.Popen(
            [*command, "--address", address],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def serve_log(folder: Path) -> str:
    return str(folder / "serve.log")


def replicas() -> list[int]:
    """The processes of the replicas of this cluster, by the names that Ray gives them."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "ServeReplica:diffaug:Replica" in " ".join(process.info["cmdline"] or [])
    ]
