"""The flow `augment-dataset` on a Ray cluster, with a worker killed under way."""

from __future__ import annotations

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

import psutil  # type: ignore[import-untyped]
import pytest

from diffaug.output.survey import read_report
from tests.conftest import ROOT
from tests.support.flow_runs import (
    SHARDS,
    TOLD,
    Augmenting,
    Undisturbed,
    assert_equal,
    assert_most_completed,
    on_a_cluster,
    parts,
    task_runs,
)
from tests.support.services import free_ports, listens, wait_until

pytestmark = pytest.mark.services


def test_ray_one_killed(
    environment: dict[str, str],
    sources: list[Path],
    undisturbed: Undisturbed,
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
