"""A Ray cluster on this machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.support.services import free_ports, listens, wait_until

__all__ = ["ray_cluster"]


@contextmanager
def ray_cluster(environment: Mapping[str, str]) -> Iterator[str]:
    """A Ray cluster of two workers on loopback, in a folder of its own; yields its address.

    One at a time: Ray gives its own parts fixed times to start in, which two clusters that share
    two cores with other tests may miss.
    """
    with _alone(), _cluster(environment) as address:
        yield address


@contextmanager
def _alone() -> Iterator[None]:
    """Whoever holds this user's lock; closing the file, or dying, gives it up."""
    with (Path(tempfile.gettempdir()) / f"diffaug-ray-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _cluster(environment: Mapping[str, str]) -> Iterator[str]:
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
